//! The program as a person runs it.

use std::{
    fs,
    path::Path,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use chrono::Datelike as _;
use serde_json::Value;

use crate::{servers, standstill, world::World};

const USERS: &str = "key = \"user:{user_id}\"\nttl = \"10m\"\n[targets]\nuser_id = { sql = \"SELECT id FROM users\" }\n\
                     [query]\nsql = \"SELECT id AS user_id, name FROM users WHERE id IN (:user_id)\"\n";

/// warmd with the world's servers and jobs, and a history of its own.
pub fn warmd(world: &World, arguments: &[&str]) -> Command {
    standstill::step();
    let mut command = Command::new(env!("CARGO_BIN_EXE_warmd"));
    command
        .args(arguments)
        .env("WARMD__DATABASE__URL", &world.database.url)
        .env("WARMD__REDIS__URL", &world.redis.url)
        .env("WARMD__REDIS__KEY_PREFIX", "t:")
        .env("WARMD__JOBS_DIR", world.folder())
        .env("WARMD__LOG__LEVEL", "warn")
        .env("WARMD__SCHEDULER__LEASE", "10s")
        .env("WARMD__HISTORY__URL", format!("sqlite:{}", world.folder().join("state/history.db").display()));
    command
}

pub fn run(world: &World, arguments: &[&str]) -> (Option<i32>, String, String) {
    told(warmd(world, arguments).output().unwrap())
}

fn told(output: Output) -> (Option<i32>, String, String) {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

pub fn write_job(world: &World, name: &str, text: &str) {
    fs::write(world.folder().join(name), text).unwrap();
}

#[tokio::test]
async fn warm_ends_with_a_table_and_the_second_time_says_that_nothing_was_to_write() {
    let world = World::new().await;
    write_job(&world, "users.toml", USERS);
    let (code, out, err) = run(&world, &["warm"]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert!(out.contains("users  ok             5     5      0       5"), "{out}");
    let (code, out, _) = run(&world, &["warm"]);
    assert_eq!(code, Some(0));
    assert!(out.ends_with("nothing to write: all 5 keys are fresh\n"), "{out}");
}

#[tokio::test]
async fn without_a_terminal_each_run_is_a_line_in_the_log() {
    let world = World::new().await;
    write_job(&world, "users.toml", USERS);
    let text = warmd(&world, &["warm", "--log", "info"]).output().unwrap();
    let line = told(text).2;
    // The words, and nothing of the fields that programs read.
    assert!(line.contains(" INFO users: ok, 5 keys written, 0 fresh in ") && line.ends_with("s\n"), "{line}");
    let json = warmd(&world, &["warm", "--log", "info"]).env("WARMD__LOG__FORMAT", "json").output().unwrap();
    let line: Value = serde_json::from_str(&told(json).2).unwrap();
    assert_eq!((&line["level"], &line["fields"]["fresh"]), (&"INFO".into(), &5.into()));
    // Every field of the record that has a value, under the same name.
    let (_, out, _) = run(&world, &["history", "--json", "--limit", "1"]);
    let history: Value = serde_json::from_str(&out).unwrap();
    let record = history["runs"][0].as_object().unwrap();
    assert!(record.len() > 25, "{record:?}");
    for (name, value) in record {
        let logged = &line["fields"][name];
        let moment = |value: &Value| value.as_str().and_then(|text| text.get(..19)).map(str::to_owned);
        let is_same = value.is_null() && logged.is_null() || value == logged || moment(value) == moment(logged);
        assert!(is_same, "{name}: {value} in the history, {logged} in the log");
    }
}

#[tokio::test]
async fn json_is_one_document_that_adds_up() {
    let world = World::new().await;
    write_job(&world, "users.toml", USERS);
    let (code, out, _) = run(&world, &["warm", "--json", "--only", "user_id=2"]);
    assert_eq!(code, Some(0));
    let json: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(json["version"], 1);
    let record = &json["runs"][0];
    assert_eq!(
        (&record["job"], &record["outcome"], &record["trigger"]),
        (&"users".into(), &"ok".into(), &"manual".into())
    );
    assert_eq!((&record["keys"], &record["written"], &record["missing"]), (&1.into(), &1.into(), &1.into()));
    let (_, out, _) = run(&world, &["plan", "--json"]);
    let plan: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&plan["plans"][0]["fresh"], &plan["plans"][0]["to_write"]), (&1.into(), &4.into()));
    let (_, out, _) = run(&world, &["history", "--json"]);
    let history: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(history["runs"], json["runs"], "the record is what was printed, and a plan leaves none");
    let (_, out, _) = run(&world, &["jobs", "--json"]);
    let jobs: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(jobs["jobs"][0]["last_run"]["run_id"], record["run_id"]);
}

#[tokio::test]
async fn a_killed_run_is_finished_by_the_next_which_writes_only_the_rest() {
    let world = World::new().await;
    let many = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000) SELECT i AS id, 1 AS one FROM n";
    let job = |limits: &str| {
        format!("key = \"n:{{id}}\"\nttl = \"1h\"\n[query]\nsql = \"{many}\"\n[limits]\nbatch = 50\n{limits}")
    };
    write_job(&world, "many.toml", &job("keys_per_second = 200"));
    let mut child = warmd(&world, &["warm"]).stdout(Stdio::null()).spawn().unwrap();
    while world.keys().await.len() < 100 {
        tokio::task::yield_now().await;
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let written = world.keys().await.len() as u64;
    assert!((100..3000).contains(&written), "{written}");
    write_job(&world, "many.toml", &job(""));
    // The lease of the killed one is still there, and is waited for.
    assert_eq!(world.redis_command::<i64>(&["EXISTS", "t:warmd:{many}:lease"]).await, 1);
    let (code, out, _) = run(&world, &["warm", "--json"]);
    let json: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(code, Some(0));
    assert_eq!(json["runs"][0]["fresh"], written);
    assert_eq!(json["runs"][0]["written"], 3000 - written);
    assert_eq!(world.keys().await.len(), 3000);
}

#[tokio::test]
async fn whoever_renews_a_lease_is_seen_to_be_alive_however_long_after_a_renewal_one_looks() {
    let world = World::new().await;
    write_job(&world, "users.toml", USERS);
    let begun = Instant::now();
    // Renewed all the time, and at each look there is a bit less of it.
    let renew = async || {
        let left = Duration::from_secs(20).checked_sub(begun.elapsed() / 4).expect("an answer within a minute");
        let left = left.as_millis().to_string();
        world.redis_command::<String>(&["SET", "t:warmd:{users}:lease", "x 0 somebody", "PX", &left]).await;
    };
    renew().await;
    let mut child = warmd(&world, &["warm"]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    while child.try_wait().unwrap().is_none() {
        renew().await;
    }
    let (code, _, err) = told(child.wait_with_output().unwrap());
    assert_eq!(code, Some(75), "{err}");
    assert!(err.contains("users: skipped: the lease is held by somebody since "), "{err}");
    assert!(world.keys().await.is_empty());
}

#[tokio::test]
async fn exit_codes_tell_what_kind_of_trouble_it_is() {
    let world = World::new().await;
    write_job(&world, "users.toml", USERS);
    for (arguments, code, said) in [
        (vec!["warm", "--bogus"], 64, "unexpected argument '--bogus'"),
        (vec!["warm", "usres"], 64, "unknown job `usres`, did you mean `users`?"),
        (vec!["warm", "--only", "user=1"], 64, "unknown target `user`; known here: `user_id`"),
        (vec!["warm", "--only", "user_id"], 64, "--only user_id: write NAME=VALUE, for example --only user_id=42"),
        (vec!["warm", "--as-of", "yesterday"], 64, "write 2011-11-01"),
        (vec!["warm", "--redis", "redis://127.0.0.1:1"], 69, "Redis at 127.0.0.1:1: "),
        (vec!["warm", "--database", "postgres://u:hunter2@127.0.0.1:1/x"], 69, "127.0.0.1:1"),
        (vec!["warm", "--database", "oracle://x"], 78, "settings: `database.url`: "),
        (vec!["warm", "--config", "/nowhere.toml"], 78, "/nowhere.toml: the settings cannot be read: "),
        (vec!["warm", "--jobs-dir", "/nowhere"], 78, "/nowhere: the folder of jobs cannot be read: "),
        (vec!["check", "--log", "loud=very"], 78, "`log.level`: "),
    ] {
        let (got, _, err) = run(&world, &arguments);
        assert_eq!(got, Some(code), "{arguments:?}: {err}");
        assert!(err.contains(said), "{arguments:?}: {err}");
        assert!(!err.contains("hunter2") && !err.contains("panicked"), "{err}");
    }
    write_job(
        &world,
        "broken.toml",
        "key = \"b:{id}\"\nttl = \"1h\"\n[query]\nsql = \"SELECT 1 AS id FROM nowhere\"\n",
    );
    let (code, out, err) = run(&world, &["warm"]);
    assert_eq!(code, Some(1), "one job failed, the other one ran");
    assert!(out.contains("broken  failed") && out.contains("users   ok"), "{out}");
    assert!(err.contains("broken.toml:4:28: no such table: nowhere"), "{err}");
}

#[tokio::test]
async fn check_connect_has_the_server_prepare_every_statement() {
    let database = servers::postgres().await;
    servers::execute(&database.url, crate::world::SHOP).await;
    let world = World::on(database).await;
    write_job(&world, "users.toml", USERS);
    assert_eq!(run(&world, &["check", "--connect"]).1, "settings and 1 job are valid, 2 statements prepared\n");
    write_job(&world, "users.toml", &USERS.replace("id AS user_id, name", "id AS uid, nmae"));
    write_job(
        &world,
        "other.toml",
        &USERS.replace("user:", "other:").replace("id AS user_id, name", "id AS userid, name"),
    );
    let (code, _, err) = run(&world, &["check", "--connect"]);
    assert_eq!(code, Some(78));
    let folder = format!("{}/", world.folder().display());
    assert_eq!(
        err.replace(&folder, ""),
        "other.toml:6:8: the statement has no column `user_id`; did you mean `userid AS user_id`?\n\
         users.toml:6:26: column \"nmae\" does not exist (Perhaps you meant to reference the column \"users.name\".)\n"
    );
}

#[tokio::test]
async fn check_and_plan_say_what_a_short_ttl_leaves_cold() {
    let world = World::new().await;
    write_job(&world, "users.toml", &format!("schedule = \"*/15 * * * *\"\n{USERS}"));
    let words = "warning: users: ttl 10m < every 15m: keys are cold 33 % of the time; use a ttl of at least 16m30s\n";
    let (code, out, err) = run(&world, &["check"]);
    assert_eq!((code, out.as_str(), err.as_str()), (Some(0), "settings and 1 job are valid\n", words));
    assert_eq!(run(&world, &["plan"]).2, words);
}

#[tokio::test]
async fn plan_says_how_long_the_stricter_quota_makes_a_run() {
    let world = World::new().await;
    write_job(&world, "users.toml", &format!("{USERS}[limits]\nkeys_per_second = 2\n"));
    let seconds = |process: &str| {
        let output =
            warmd(&world, &["plan", "--json"]).env("WARMD__LIMITS__KEYS_PER_SECOND", process).output().unwrap();
        let json: Value = serde_json::from_str(&told(output).1).unwrap();
        json["plans"][0]["seconds_at_quota"].as_u64().unwrap()
    };
    assert_eq!((seconds("1000"), seconds("1")), (3, 5));
}

#[tokio::test]
async fn plan_finds_keys_that_two_jobs_would_write() {
    let world = World::new().await;
    let job = |key: &str, id: &str| {
        format!("key = \"{key}\"\nttl = \"1h\"\n[query]\nsql = \"SELECT {id} AS id, 1 AS one\"\n")
    };
    write_job(&world, "a.toml", &job("x:{id}", "'1:2'"));
    write_job(&world, "b.toml", &job("x:{id}:2", "1"));
    let (code, out, err) = run(&world, &["plan"]);
    assert_eq!(code, Some(0), "{err}");
    assert_eq!(err, "warning: key t:x:1:2 would be written by `a` and by `b`\n");
    assert!(out.ends_with("nothing was written\n"), "{out}");
    assert_eq!(world.keys().await, [] as [&str; 0]);
}

#[tokio::test]
async fn a_broken_history_is_a_warning_and_the_keys_are_warm() {
    let world = World::new().await;
    write_job(&world, "users.toml", USERS);
    fs::write(world.folder().join("state"), "a file where a folder should be").unwrap();
    let (code, _, err) = run(&world, &["warm"]);
    assert_eq!(code, Some(0));
    assert!(err.contains("runs are not recorded"), "{err}");
    assert_eq!(world.keys().await.len(), 5);
}

#[tokio::test]
async fn history_lives_in_any_of_the_three_engines() {
    for database in [servers::postgres().await, servers::mariadb().await] {
        let world = World::new().await;
        write_job(&world, "users.toml", USERS);
        for _ in 0..2 {
            let output = warmd(&world, &["warm"]).env("WARMD__HISTORY__URL", &database.url).output().unwrap();
            assert_eq!(told(output).0, Some(0));
        }
        let output = warmd(&world, &["history", "users", "--json"]).env("WARMD__HISTORY__URL", &database.url).output();
        let json: Value = serde_json::from_str(&told(output.unwrap()).1).unwrap();
        let written: Vec<&Value> = json["runs"].as_array().unwrap().iter().map(|run| &run["written"]).collect();
        assert_eq!(written, [0, 5], "the newest first");
    }
}

#[tokio::test]
async fn the_demo_warms_the_shipped_jobs_and_leaves_what_it_was_told_to_keep() {
    let folder = tempfile::tempdir().unwrap();
    let kept = folder.path().join("kept");
    let temporary = folder.path().join("tmp");
    fs::create_dir(&temporary).unwrap();
    let demo = |path: &str, arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_warmd"));
        command.arg("demo").args(arguments).env("PATH", path).env("TMPDIR", &temporary).env("HOME", folder.path());
        let (code, out, err) = told(command.output().unwrap());
        // On a busy machine a run may rightly say that it backed off.
        let err: String = err.split_inclusive('\n').filter(|line| !line.contains(": backed off for ")).collect();
        (code, out, err)
    };
    let (code, out, err) = demo("/nowhere", &["--keep", kept.to_str().unwrap()]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert!(out.contains("Keys go to a store in this process"), "{out}");
    assert!(out.contains("rec_service:user_recommendations:") && out.contains(":None:10  (TTL "), "{out}");
    assert!(out.contains("nothing to write: all "), "{out}");
    for file in ["shop.db", "warmd.toml", "jobs/user_recommendations.toml", "jobs/purchases.sql"] {
        assert!(kept.join(file).exists(), "{file}");
    }
    let (code, _, err) = demo("/nowhere", &["--keep", kept.to_str().unwrap()]);
    assert_eq!((code, err.contains("is not empty")), (Some(64), true), "{err}");
    let (code, out, err) = demo(&std::env::var("PATH").unwrap(), &[]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert!(out.contains("Keys go to a private redis-server"), "{out}");
    assert!(left_behind(&temporary).is_empty(), "{:?}", left_behind(&temporary));
}

fn left_behind(folder: &Path) -> Vec<String> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[tokio::test]
async fn jobs_tells_the_next_three_ticks_by_the_clock_of_the_jobs_zone() {
    let world = World::new().await;
    // Half a year from now, so that no midnight comes in between.
    let now = chrono::Utc::now();
    let month = (now.month() + 5) % 12 + 1;
    let year = now.year() + i32::from(month <= now.month());
    write_job(&world, "users.toml", &format!("schedule = \"30 2 9 {month} *\"\ntimezone = \"Asia/Kolkata\"\n{USERS}"));
    let (code, out, err) = run(&world, &["jobs"]);
    assert_eq!(code, Some(0), "{err}");
    let ticks = |day_and_time: &str| [0, 1, 2].map(|years| format!("{}-{month:02}-{day_and_time}", year + years));
    let told = format!(" Asia/Kolkata  {}  10m ", ticks("09 02:30:00").join(", "));
    assert!(out.contains(&told), "no `{told}` in {out}");
    let (_, out, _) = run(&world, &["jobs", "--json"]);
    let jobs: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(jobs["jobs"][0]["next_ticks"], serde_json::json!(ticks("08T21:00:00Z")));
}
