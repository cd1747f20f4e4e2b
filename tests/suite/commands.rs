//! The commands are as docs/commands.md describes them: their options, and what they print for programs.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use serde_json::Value;

use crate::{
    cli::{run, warmd, write_job},
    daemon::eventually,
    http::{USERS, start},
    servers,
    world::World,
};

/// By the name of a command, its section of the documentation.
fn sections() -> BTreeMap<String, String> {
    let text = read("docs/commands.md");
    let mut sections = BTreeMap::new();
    for section in text.split("\n## ").skip(1) {
        if let Some((name, rest)) = section.strip_prefix("`warmd ").and_then(|section| section.split_once("`\n")) {
            sections.insert(name.to_owned(), rest.to_owned());
        }
    }
    sections
}

fn read(file: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap()
}

/// The cells of the tables' rows, without headers.
fn rows(text: &str) -> Vec<Vec<String>> {
    let cells = |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
    let lines: Vec<&str> = text.lines().collect();
    let is_row = |at: &usize| {
        let next = lines.get(at + 1).copied().unwrap_or_default();
        lines[*at].starts_with('|') && !lines[*at].starts_with("|-") && !next.starts_with("|-")
    };
    (0..lines.len()).filter(is_row).map(|at| cells(lines[at])).collect()
}

/// The words in backticks.
fn quoted(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn help(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_warmd")).args(arguments).arg("--help").output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// The long options of a command that are its own, in the order of their names.
fn own_options(command: &str) -> Vec<String> {
    let of_all = quoted(read("docs/commands.md").split("\n## ").find(|s| s.starts_with("Options of all")).unwrap());
    let is_of_all = |option: &String| of_all.iter().any(|known| known.split(' ').next() == Some(option));
    let help = help(&[command]);
    let lines = help.lines().map(str::trim_start).filter(|line| line.starts_with('-'));
    let words = lines.flat_map(|line| line.split("  ").next().unwrap_or_default().split([' ', ',', '=']));
    let mut options: Vec<String> = words.filter(|word| word.starts_with("--")).map(str::to_owned).collect();
    options.retain(|option| !is_of_all(option));
    options.sort();
    options
}

#[test]
fn every_command_is_described_with_all_of_its_options_and_an_example() {
    let sections = sections();
    let help = help(&[]);
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let mut commands: Vec<&str> = listed.map(|line| line.split_whitespace().next().unwrap()).collect();
    commands.retain(|command| *command != "help");
    commands.sort_unstable();
    assert_eq!(sections.keys().collect::<Vec<_>>(), commands);
    for (command, section) in &sections {
        assert!(section.contains(&format!("\n$ warmd {command}")), "{command} has no example");
        let described = rows(section).into_iter().flat_map(|row| quoted(&row[0]));
        let mut described: Vec<String> = described
            .filter_map(|option| option.split(' ').next().filter(|word| word.starts_with("--")).map(str::to_owned))
            .collect();
        described.sort();
        assert_eq!(described, own_options(command), "{command}");
    }
}

#[test]
fn options_of_all_commands_are_described_too() {
    let text = read("docs/commands.md");
    let section = text.split("\n## ").find(|section| section.starts_with("Options of all commands")).unwrap();
    let described: Vec<String> = rows(section).iter().flat_map(|row| quoted(&row[0])).collect();
    for option in ["--config FILE", "--jobs-dir DIR", "--database URL", "--redis URL", "--log LEVEL", "--color WHEN"] {
        assert!(described.iter().any(|known| known == option), "{option}");
        assert!(help(&["jobs"]).replace(['<', '>'], "").contains(option), "{option}");
    }
}

/// What is printed for programs, compared with what is described.
struct Described {
    /// Type by path.
    members: BTreeMap<String, String>,
    record: Vec<String>,
    seen: Vec<String>,
}

impl Described {
    fn of(command: &str) -> Self {
        let mut members = BTreeMap::new();
        for row in rows(&sections()[command]) {
            if row.len() == 3 {
                members.insert(quoted(&row[0])[0].clone(), row[1].clone());
            }
        }
        // What a status tells of a job begins with what `jobs` tells.
        if members.get("jobs[]").is_some_and(|kind| kind == "job") {
            members.remove("jobs[]");
            members.extend(Self::of("jobs").members.into_iter().filter(|(path, _)| path.starts_with("jobs[].")));
        }
        let operations = read("docs/operations.md");
        let records = operations.split("\n## ").find(|section| section.starts_with("Records")).unwrap();
        let record = rows(records).iter().flat_map(|row| quoted(&row[0])).collect();
        Self { members, record, seen: Vec::new() }
    }

    fn expect(&mut self, value: &Value) {
        assert_eq!(value["version"], 1, "{value}");
        self.look(String::new(), value);
    }

    fn look(&mut self, path: String, value: &Value) {
        let kind = self.kind(&path);
        if let Some((path, kind)) = kind {
            assert!(is(value, &kind, &self.record), "{path} is no {kind}: {value}");
            self.seen.push(path);
            return;
        }
        match value {
            Value::Object(members) => {
                for (name, value) in members {
                    self.look(if path.is_empty() { name.clone() } else { format!("{path}.{name}") }, value);
                }
            }
            Value::Array(items) => items.iter().for_each(|item| self.look(format!("{path}[]"), item)),
            _ => panic!("{path} is not described: {value}"),
        }
    }

    /// The described path, which may have stars for names, and the type.
    fn kind(&self, path: &str) -> Option<(String, String)> {
        let matches = |described: &str| {
            let (described, path): (Vec<_>, Vec<_>) = (described.split('.').collect(), path.split('.').collect());
            described.len() == path.len() && described.iter().zip(&path).all(|(a, b)| a == b || *a == "*")
        };
        let found = self.members.iter().find(|(described, _)| matches(described));
        found.map(|(path, kind)| (path.clone(), kind.clone()))
    }

    /// Every member that is described was there at least once, but for some that need not be.
    fn all_seen(&self, command: &str, but: &[&str]) {
        let is_unseen = |path: &&String| !self.seen.contains(path) && !but.contains(&path.as_str());
        let unseen: Vec<&String> = self.members.keys().filter(is_unseen).collect();
        assert!(unseen.is_empty(), "{command}: {unseen:?}");
    }
}

fn is(value: &Value, kind: &str, record: &[String]) -> bool {
    if let Some(kind) = kind.strip_suffix(" or null") {
        return value.is_null() || is(value, kind, record);
    }
    match kind {
        "text" => value.is_string(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "moment" => value
            .as_str()
            .is_some_and(|text| text.ends_with('Z') && text.parse::<chrono::DateTime<chrono::Utc>>().is_ok()),
        "object" => value.is_object() || value.is_array(),
        "record" => {
            let mut names: Vec<&String> = value.as_object().unwrap().keys().collect();
            let mut described: Vec<&String> = record.iter().collect();
            names.sort();
            described.sort();
            assert_eq!(names, described);
            true
        }
        other => panic!("no such type: {other}"),
    }
}

fn json(world: &World, arguments: &[&str], code: i32) -> Value {
    let (got, out, err) = run(world, arguments);
    assert_eq!(got, Some(code), "{arguments:?}: {err}");
    assert_eq!(out.lines().count(), 1, "one object on one line: {out}");
    serde_json::from_str(&out).unwrap()
}

#[tokio::test]
async fn what_is_printed_for_programs_has_the_members_that_are_described_and_no_others() {
    let world = World::on(servers::sqlite().await).await;
    world
        .sql(
            "CREATE TABLE people (id INTEGER, category TEXT); INSERT INTO people WITH RECURSIVE n(id) AS (SELECT 1 UNION \
             ALL SELECT id + 1 FROM n WHERE id < 40) SELECT id, 'a' FROM n UNION ALL SELECT id, 'b' FROM n",
        )
        .await;
    let people = "schedule = \"0 0 1 1 *\"\ncatch_up = \"none\"\nkey = \"p:{id}:{category}\"\nttl = \"10m\"\nrefresh = \"always\"\n[targets]\n\
                  id = { sql = \"SELECT DISTINCT id FROM people\" }\ncategory = { also = [\"a\", \"b\"] }\n\
                  [query]\nsql = \"SELECT id, category, 1 AS one FROM people WHERE id IN (:id)\"\n";
    write_job(&world, "people.toml", people);
    let check = |described: &mut Described, arguments: &[&str], code| {
        let value = json(&world, arguments, code);
        described.expect(&value);
        value
    };

    let mut warm = Described::of("warm");
    check(&mut warm, &["warm", "--json"], 0);
    // Reads are looked at only once a key is a few seconds old.
    let idle = async || world.redis_command::<u64>(&["OBJECT", "IDLETIME", "t:p:1:a"]).await >= 4;
    eventually("some age", idle).await;
    check(&mut warm, &["warm", "--json"], 0);
    warm.all_seen("warm", &[]);

    let mut history = Described::of("history");
    check(&mut history, &["history", "--json"], 0);
    history.all_seen("history", &[]);

    let mut advise = Described::of("advise");
    let advice = check(&mut advise, &["advise", "--json"], 0);
    assert!(advice["advice"][0]["sampled"].as_u64().unwrap() > 0, "{advice}");
    advise.all_seen("advise", &[]);

    let mut jobs = Described::of("jobs");
    check(&mut jobs, &["jobs", "--json"], 0);
    jobs.all_seen("jobs", &[]);

    let mut wait = Described::of("wait");
    check(&mut wait, &["wait", "--json"], 0);
    wait.all_seen("wait", &[]);

    let asked = start(&world, "a", &[]);
    eventually("ready", async || asked.place.get("/readyz").status == 200).await;
    let mut status = Described::of("status");
    check(&mut status, &["status", "--json", "--url", &asked.url()], 0);
    world.redis.server.kill();
    check(&mut status, &["status", "--json", "--url", &asked.url()], 1);
    status.all_seen("status", &["jobs[].progress"]);
    assert_eq!(asked.daemon.stop(), Some(0));

    let mut check_ = Described::of("check");
    check(&mut check_, &["check", "--json"], 0);
    write_job(&world, "wrong.toml", "ttl = 3\n");
    check(&mut check_, &["check", "--json"], 78);
    check_.all_seen("check", &[]);
}

#[tokio::test]
async fn a_plan_with_all_that_it_can_tell_is_as_described() {
    let world = World::new().await;
    let job = |key: &str, id: &str| {
        format!(
            "schedule = \"*/15 * * * *\"\nkey = \"{key}\"\nttl = \"10m\"\n[query]\nsql = \"SELECT {id} AS id, 1 AS one\"\n"
        )
    };
    write_job(&world, "a.toml", &job("x:{id}", "'1:2'"));
    write_job(&world, "b.toml", &job("x:{id}:2", "1"));
    let mut plan = Described::of("plan");
    plan.expect(&json(&world, &["plan", "--json"], 0));
    plan.all_seen("plan", &[]);
}

#[tokio::test]
async fn a_plot_and_json_are_not_asked_for_together() {
    let world = World::new().await;
    write_job(&world, "users.toml", USERS);
    let output = warmd(&world, &["history", "--plot", "--json"]).output().unwrap();
    assert_eq!(output.status.code(), Some(64));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("'--plot' cannot be used with '--json'"), "{said}");
}
