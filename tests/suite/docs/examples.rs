//! Each line behind a prompt is run, and prints what is shown below it.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
    process::{Command, Stdio},
};

use super::{
    Block,
    alike::{Numbers, compare},
    blocks, documents, files,
};
use crate::{
    cli::write_job,
    daemon::{Daemon, eventually},
    database::chinook,
    http::{TOKEN, USERS, start},
    servers::{self, TestDatabase, execute, number},
    world::World,
};

/// A command and what it prints.
pub struct Example {
    place: String,
    command: String,
    shown: Vec<String>,
}

pub fn examples(document: &str) -> Vec<Example> {
    let mut examples: Vec<Example> = Vec::new();
    for block in blocks(document).into_iter().filter(|block| block.text.starts_with("$ ")) {
        for line in block.text.lines() {
            if let Some(command) = line.strip_prefix("$ ") {
                let (place, command) = (block.place.clone(), command.to_owned());
                examples.push(Example { place, command, shown: Vec::new() });
            } else {
                examples.last_mut().unwrap().shown.push(line.to_owned());
            }
        }
    }
    examples
}

impl Example {
    pub fn check(&self, told: &str, numbers: Numbers) {
        let compared = compare(&self.shown, told, numbers);
        compared.unwrap_or_else(|difference| panic!("{}: `{}`: {difference}", self.place, self.command));
    }

    /// Of a line `warmd NAME ...`.
    fn name(&self) -> &str {
        self.command.split(' ').nth(1).unwrap_or_default()
    }
}

/// Where a reader of the documentation sits: a shell with `warmd` and `redis-cli` in its path, in a folder of files.
pub struct Machine {
    pub world: World,
    programs: tempfile::TempDir,
    variables: Vec<(&'static str, String)>,
}

impl Machine {
    pub async fn new(database: TestDatabase) -> Self {
        let world = World::on(database).await;
        let programs = tempfile::tempdir().unwrap();
        symlink(env!("CARGO_BIN_EXE_warmd"), programs.path().join("warmd")).unwrap();
        let redis_cli = programs.path().join("redis-cli");
        let script = format!("#!/bin/sh\nexec {} -s {} \"$@\"\n", found("redis-cli"), world.redis.socket.display());
        fs::write(&redis_cli, script).unwrap();
        fs::set_permissions(&redis_cli, fs::Permissions::from_mode(0o755)).unwrap();
        Self { world, programs, variables: Vec::new() }
    }

    /// What the shell does with the line.
    pub fn command(&self, line: &str) -> Command {
        let mut command = Command::new("sh");
        let path = format!("{}:{}", self.programs.path().display(), std::env::var("PATH").unwrap());
        command.args(["-c", &format!("exec 2>&1; {line}")]).current_dir(self.world.folder());
        ["XDG_STATE_HOME", "STATE_DIRECTORY", "CLICOLOR_FORCE"].iter().for_each(|name| _ = command.env_remove(name));
        command.env("PATH", path).env("HOME", self.programs.path()).env("LC_ALL", "C.UTF-8").env("COLUMNS", "150");
        command.env("WARMD__REDIS__URL", &self.world.redis.url);
        // On a terminal, the log does not tell of runs that went well.
        command.env("WARMD__LOG__LEVEL", "warn").envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Its exit code, and all that it prints.
    pub fn run(&self, line: &str) -> (Option<i32>, String) {
        let output = self.command(line).stdin(Stdio::null()).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    }

    /// For what is not shown.
    pub fn must(&self, line: &str) {
        let (code, told) = self.run(line);
        assert_eq!(code, Some(0), "{line}: {told}");
    }

    pub fn check(&self, example: &Example, numbers: Numbers) {
        let (_, told) = self.run(&example.command);
        example.check(&told, numbers);
    }

    pub fn write(&self, name: &str, text: &str) {
        let file = self.world.folder().join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }

    /// Settings, statements and the job of the README's walkthrough, on its table of orders and two more of the manual's shop.
    pub async fn of_the_readme() -> Self {
        let mut machine = Self::new(servers::postgres().await).await;
        machine.variables.push(("WARMD__DATABASE__URL", machine.world.database.url.clone()));
        let walkthrough = blocks("README.md");
        let exported =
            walkthrough.iter().flat_map(|block| block.text.lines()).filter_map(|line| line.strip_prefix("export "));
        let exported: Vec<&str> = exported.map(|line| line.split('=').next().unwrap()).collect();
        assert_eq!(exported, ["WARMD__DATABASE__URL", "WARMD__REDIS__URL"]);
        let orders = &walkthrough.iter().find(|block| block.language == "sql").unwrap().text;
        shop(&machine.world.database.url, orders).await;
        let written = files("README.md");
        assert_eq!(written.len(), 4, "{written:?}");
        written.iter().for_each(|(name, text)| machine.write(name, text));
        machine
    }
}

fn found(program: &str) -> String {
    let path = std::env::var("PATH").unwrap();
    let file = |folder: &str| Path::new(folder).join(program);
    path.split(':').map(file).find(|file| file.exists()).unwrap_or_else(|| panic!("no {program}")).display().to_string()
}

/// The orders are random; the customer and the product whose values are shown are among the most active.
async fn shop(url: &str, orders: &str) {
    for seed in 1.. {
        execute(url, &format!("DROP TABLE IF EXISTS orders; SELECT setseed(0.{seed}); {orders}")).await;
        let active = "SELECT count(*) FROM (SELECT customer_id FROM orders WHERE placed_at >= now() - interval '30 days' \
                      GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT 290) AS active WHERE customer_id = 17";
        if number(url, active).await.unwrap() == 1 {
            break;
        }
    }
    let products = "CREATE TABLE products AS SELECT n AS id, 'Product ' || n AS name, 5 + n::numeric(10,2) / 4 AS price, \
                    (ARRAY['Books', 'Kitchen', 'Garden'])[1 + n % 3] AS category FROM generate_series(1, 60) AS n; \
                    ALTER TABLE products ADD PRIMARY KEY (id); \
                    CREATE TABLE order_items AS SELECT id AS order_id, 1 + (id * k * k) % 60 AS product_id \
                    FROM orders, generate_series(1, 3) AS k";
    execute(url, products).await;
}

#[tokio::test]
async fn the_first_job_of_the_readme_warms_as_it_is_shown() {
    let machine = Machine::of_the_readme().await;
    let mut seen = 0;
    for example in examples("README.md") {
        match &*example.command {
            // Those of another database, which have a test of their own.
            "warmd init warm --database sqlite:Chinook_Sqlite.sqlite" | "warmd warm --config warm/warmd.toml" => {
                continue;
            }
            recommendations if recommendations.contains(":recommendations:") => {
                let job = blocks("README.md").into_iter().find(|block| block.text.contains("\n[recommend]\n")).unwrap();
                machine.write("jobs/recommendations.toml", &job.text);
                for (name, text) in files("docs/jobs.md").iter().filter(|(name, _)| name != "product_details.sql") {
                    machine.write(&format!("jobs/{name}"), text);
                }
                machine.must("warmd warm recommendations --config warmd.toml");
            }
            _ => {}
        }
        machine.check(&example, Numbers::Counted);
        seen += 1;
    }
    assert_eq!(seen, 7);
    machine.must("warmd warm --only customer_id=17 --force --config warmd.toml");
}

#[tokio::test]
async fn the_demo_prints_the_table_of_the_readme() {
    let machine = Machine::new(servers::sqlite().await).await;
    let shown = blocks("README.md").into_iter().find(|block| block.text.starts_with(" JOB ")).unwrap().text;
    let shown: Vec<String> =
        ["...".to_owned()].into_iter().chain(shown.lines().map(str::to_owned)).chain(["...".to_owned()]).collect();
    let (code, told) = machine.run("warmd demo");
    assert_eq!((code, compare(&shown, &told, Numbers::Counted)), (Some(0), Ok(())));
}

#[tokio::test]
#[ignore = "needs WARMD_DATA"]
async fn jobs_that_write_themselves_are_as_the_readme_shows_them() {
    let machine = Machine::new(servers::sqlite().await).await;
    fs::copy(chinook::folder().join("Chinook_Sqlite.sqlite"), machine.world.folder().join("Chinook_Sqlite.sqlite"))
        .unwrap();
    let of_chinook =
        |example: &Example| example.command.contains("init warm") || example.command.contains("warm/warmd.toml");
    let shown: Vec<Example> = examples("README.md").into_iter().filter(of_chinook).collect();
    assert_eq!(shown.len(), 2);
    shown.iter().for_each(|example| machine.check(example, Numbers::Counted));
}

/// What the application does with 96 of 300 keys, once they have some age.
async fn read_some(machine: &Machine) {
    let keys: Vec<String> = machine.world.redis_command(&["KEYS", "shop:customer_summary:*"]).await;
    let idle = async || machine.world.redis_command::<u64>(&["OBJECT", "IDLETIME", &keys[0]]).await;
    eventually("some age", async || idle().await >= 4).await;
    let mut commands = redis::pipe();
    keys[1..=96].iter().for_each(|key| _ = commands.get(key).ignore());
    commands.query_async::<()>(&mut machine.world.client().await).await.unwrap();
}

/// The example's command while a daemon listens that is running the job, until it prints what is shown.
async fn beside_a_daemon(machine: &mut Machine, example: &Example) {
    let socket = machine.world.folder().join("http.sock");
    machine.world.redis_command::<()>(&["CONFIG", "SET", "maxmemory", "64mb"]).await;
    machine.write("token", TOKEN);
    machine.variables.extend([
        ("WARMD__HTTP__LISTEN", format!("unix:{}", socket.display())),
        ("WARMD__HTTP__TOKEN_FILE", machine.world.folder().join("token").display().to_string()),
        // On a busy machine others do not look keys up every second, Redis may answer slowly, and a run is seconds old
        // before its status is seen.
        ("WARMD__MONITOR__INTERVAL", "5s".to_owned()),
        ("WARMD__ALERTS__RESPONSE_TIME", "off".to_owned()),
        ("WARMD__LIMITS__KEYS_PER_SECOND", "1".to_owned()),
    ]);
    // No tick comes in between.
    let job = fs::read_to_string(machine.world.folder().join("jobs/customer_summary.toml")).unwrap();
    machine.write("jobs/customer_summary.toml", &job.replace("*/15 * * * *", "0 0 1 1 *"));
    let daemon = Daemon::spawn(&machine.world, "daemon", machine.command("exec warmd run --config warmd.toml")).ready();
    let begin = format!(
        "curl -s --unix-socket {} -X POST -H 'Authorization: Bearer {TOKEN}' http://localhost/api/jobs/customer_summary/run",
        socket.display()
    );
    let status = || {
        // What others look up; without, Redis has no hit rate.
        machine.must("redis-cli --scan --pattern 'shop:customer_summary:1*' | xargs redis-cli MGET >told");
        machine.run(&example.command).1
    };
    let is_watched = async || status().contains("hit rate ") && !status().contains(" -  ");
    eventually("a first look at Redis and the keys", is_watched).await;
    machine.must("redis-cli --scan --pattern 'shop:customer_summary:2*' | head -n 12 | xargs redis-cli UNLINK >told");
    machine.must(&begin);
    let is_as_shown = async || {
        let compared = compare(&example.shown, &status(), Numbers::None);
        compared.inspect_err(|difference| println!("{difference}")).is_ok()
    };
    eventually(&example.place, is_as_shown).await;
    assert_eq!(daemon.stop(), Some(0));
    machine.write("jobs/customer_summary.toml", &job);
    machine.variables.truncate(1);
}

#[tokio::test]
async fn each_command_of_the_manual_prints_what_is_shown() {
    let mut machine = Machine::of_the_readme().await;
    machine.must("warmd warm --config warmd.toml");
    for example in examples("docs/commands.md") {
        let warm = "warmd warm --config warmd.toml --force";
        match example.name() {
            "run" => {
                let daemon =
                    Daemon::spawn(&machine.world, "run", machine.command(&format!("exec {}", example.command)));
                assert_eq!(daemon.ready().stop(), Some(0), "{}", example.command);
                continue;
            }
            "plan" => machine.must("redis-cli FLUSHDB"),
            // Warm, with the last run that of all keys.
            "jobs" => machine.must("warmd warm --config warmd.toml"),
            "history" if example.command.contains("--plot") => {
                for _ in 0..2 {
                    read_some(&machine).await;
                    machine.must(warm);
                }
            }
            "status" => {
                beside_a_daemon(&mut machine, &example).await;
                continue;
            }
            "wait" if example.shown[0].starts_with("ready") => machine.must("warmd warm --config warmd.toml"),
            "wait" => {
                machine.must(
                    "redis-cli --scan --pattern 'shop:customer_summary:*' | head -n 180 | xargs redis-cli UNLINK >told",
                );
                // On a busy machine the time may be over before its first look is.
                let mut tries = (0..10).map(|_| machine.run(&example.command).1);
                let told = tries.find(|told| !told.contains("there was no answer in time"));
                example.check(&told.expect("a look in time"), Numbers::Counted);
                continue;
            }
            // The README's test runs it, and compares what it prints.
            "init" if blocks("README.md").iter().any(|block| block.text.contains(&example.command)) => continue,
            "schema" => {
                machine.must(&example.command);
                let written = fs::read_to_string(machine.world.folder().join("settings.schema.json")).unwrap();
                assert!(written.starts_with('{'), "{written}");
                continue;
            }
            "completions" => {
                let folder = machine.world.folder().display().to_string();
                machine.must(&example.command.replace("/etc/bash_completion.d", &folder));
                machine.must("bash -c '. ./warmd && complete -p warmd'");
                continue;
            }
            // So does the test above.
            "demo" => continue,
            _ => {}
        }
        let counted = !matches!(example.name(), "history" | "advise") || example.command.contains("--limit 1");
        machine.check(&example, if counted { Numbers::Counted } else { Numbers::None });
    }
}

#[tokio::test]
async fn what_curl_is_shown_to_get_is_what_it_gets() {
    let world = World::new().await;
    write_job(&world, "customer_summary.toml", USERS);
    let asked = start(&world, "a", &[]);
    eventually("ready", async || asked.place.get("/readyz").status == 200).await;
    let shell = |line: &str| {
        let line = line.replace("http://127.0.0.1:9187", &asked.url());
        let output = Command::new("sh").args(["-c", &line]).env("TOKEN", TOKEN).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let shown = examples("docs/monitoring.md");
    assert_eq!(shown.len(), 4);
    for example in shown {
        if example.command.contains("/api/runs") {
            eventually("a record", async || shell(&example.command).contains("\"job\"")).await;
        }
        example.check(&shell(&example.command), Numbers::Counted);
    }
    assert_eq!(asked.daemon.stop(), Some(0));
}

/// Of a line for a shell that the tests of this folder do not run: the document, its beginning, the file that runs it, and
/// what stands there.
const ELSEWHERE: [(&str, &str, &str, &str); 10] = [
    ("README.md", "cargo run --release -- demo", ".ci/run", "cargo run --release --locked -- demo"),
    ("README.md", "scripts/test", ".ci/run", "WARMD_DATA=$data scripts/test"),
    ("README.md", "scripts/package", ".ci/run", "deb=$(scripts/package "),
    ("README.md", "cargo install --path .", "scripts/docs-test", FIRST_JOB),
    ("README.md", "mkdir -p warm/jobs && cd warm", "scripts/docs-test", FIRST_JOB),
    ("docs/reliability.md", "scripts/test faults", ".ci/run", "WARMD_DATA=$data scripts/test"),
    (
        "docs/reliability.md",
        "WARMD_TEST_LONG=1 scripts/test faults",
        "scripts/docs-test",
        "follow reliability \"$reliability\" 1 'WARMD_TEST_LONG=1 *'",
    ),
    (
        "docs/reliability.md",
        "scripts/soak 60",
        "scripts/docs-test",
        "follow reliability \"$reliability\" 1 'scripts/soak *'",
    ),
    ("docs/benchmarks.md", "scripts/retail DATA", "scripts/docs-test", SALES),
    ("docs/benchmarks.md", "cargo build --release", "scripts/docs-test", SALES),
];

const FIRST_JOB: &str = "follow_whole README \"A first job on your own database in five minutes\" 1";

const SALES: &str = "follow_whole benchmarks \"A year of a real shop's sales\" 1";

/// What runs documents out of their text; each fails for a command of its documents that it neither runs nor names.
const FOLLOWERS: [&str; 3] = ["scripts/docs-test", "scripts/systemd-test", "scripts/container-test"];

#[test]
fn what_is_run_elsewhere_stands_in_the_file_that_is_named() {
    let says = |file: &str, words: &str| {
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
        text.lines().any(|line| !line.trim_start().starts_with('#') && line.contains(words))
    };
    for (document, command, file, words) in ELSEWHERE {
        let is_shown = |block: &Block| block.text.lines().any(|line| line.starts_with(command));
        assert!(blocks(document).iter().any(is_shown), "{document} says `{command}` no more");
        assert!(says(file, words), "{document}: `{command}` is not run by {file}, which does not say `{words}`");
    }
    for script in FOLLOWERS {
        assert!(says(".ci/run", script), "{script} is not run by .ci/run");
    }
}

#[test]
fn no_command_is_shown_that_no_test_runs() {
    let mut unknown = Vec::new();
    for (name, _) in documents() {
        for block in blocks(&name).into_iter().filter(|block| matches!(&*block.language, "" | "sh" | "console")) {
            let is_run = match &*name {
                // By the tests of this file, to the last.
                "README.md" | "docs/commands.md" | "docs/monitoring.md" if block.text.starts_with("$ ") => true,
                // By the test of what is read.
                "docs/jobs.md" => {
                    block.text.starts_with("$ warmd advise people\n") || block.text.starts_with("warning: ")
                }
                // By scripts/systemd-test, which counts them itself.
                "docs/operations.md" | "docs/monitoring.md" => true,
                _ => false,
            };
            let words = ["cargo ", "scripts/", "warmd ", "$ ", "mkdir ", "WARMD_", "redis-cli ", "docker "];
            let commands = block.text.lines().filter(|line| words.iter().any(|word| line.starts_with(word)));
            let is_known =
                |line: &str| ELSEWHERE.iter().any(|(document, known, ..)| *document == name && line.starts_with(known));
            if !is_run {
                unknown.extend(commands.filter(|line| !is_known(line)).map(|line| format!("{}: {line}", block.place)));
            }
        }
    }
    assert_eq!(unknown, [""; 0]);
}
