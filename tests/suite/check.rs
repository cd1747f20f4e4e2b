//! Mistakes in job files, and what people are told about them.

use std::{fs, path::Path, process::Command};

use tempfile::TempDir;
use warmd::{
    database::Engine,
    job::{self, Dialects},
    problems::Problems,
};

/// A job without mistakes, to make one mistake in.
const VALID: &str = r#"schedule = "*/15 * * * *"
key = "user:{user_id}"
ttl = "30m"

[targets]
user_id = { sql = "users.sql", limit = 10 }

[query]
sql = "SELECT id AS user_id, name FROM users WHERE id IN (:user_id)"
"#;

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("users.sql"), "SELECT id FROM users LIMIT :limit").unwrap();
    fs::write(folder.path().join("sales.sql"), "SELECT user_id, product_id, at FROM sales WHERE at >= :since").unwrap();
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

fn problems_of(folder: &Path) -> String {
    let dialects =
        Dialects { default: Some(Engine::Postgres), named: [("reporting".to_owned(), Engine::MySql)].into() };
    let mut problems = Problems::default();
    job::load(folder, &dialects, &mut problems);
    match problems.into_result() {
        Ok(()) => String::new(),
        Err(problems) => problems.to_string().replace(&format!("{}/", folder.display()), ""),
    }
}

/// What is said about `VALID` with one passage replaced.
fn said(passage: &str, replacement: &str) -> String {
    assert!(VALID.contains(passage), "{passage}");
    problems_of(folder(&[("job.toml", &VALID.replacen(passage, replacement, 1))]).path())
}

#[test]
fn a_job_without_mistakes_is_not_talked_about() {
    assert_eq!(problems_of(folder(&[("job.toml", VALID)]).path()), "");
}

#[test]
fn an_unknown_key_is_named_with_the_likely_meant_one() {
    assert_eq!(
        said("ttl = ", "tttl = "),
        "job.toml:1:1: `ttl` is missing: every entry expires, write for example `ttl = \"30m\"`\njob.toml:3:1: unknown key `tttl`, did you mean `ttl`?"
    );
    assert_eq!(
        said("limit = 10 }", "limt = 10, limit = 10 }"),
        "job.toml:6:32: unknown key `limt`, did you mean `limit`?"
    );
    assert_eq!(
        said("[query]\n", "[query]\nflavour = 1\n"),
        "job.toml:9:1: unknown key `flavour`; known here: `sql`, `each`, `limit`, `window`, `json`"
    );
}

#[test]
fn a_wrong_type_is_named_with_the_right_one() {
    assert_eq!(said("\"30m\"", "30"), "job.toml:3:7: `ttl`: invalid type: integer `30`, expected a string");
    assert_eq!(
        said("limit = 10", "limit = \"ten\""),
        "job.toml:6:40: `targets.user_id.limit`: invalid type: string \"ten\", expected a whole number from 1"
    );
    assert_eq!(
        said("[query]\n", "[query]\neach = \"rows\"\n"),
        "job.toml:9:8: `query.each`: unknown value `rows`, did you mean `row`?"
    );
    assert_eq!(
        said("ttl = \"30m\"", "ttl = \"30m\"\nrefresh = \"atuo\""),
        "job.toml:4:11: `refresh`: unknown value `atuo`, did you mean `auto`?"
    );
}

#[test]
fn a_job_has_exactly_one_kind() {
    let kinds = "[recommend], [trending], [similar] or [query]";
    let (without, _) = VALID.split_once("[query]").unwrap();
    let none = problems_of(folder(&[("job.toml", without)]).path());
    assert_eq!(none, format!("job.toml:1:1: the job has no kind: add one of {kinds}"));
    let two = format!("{VALID}\n[trending]\nwindow = \"7d\"\nevents = [ {{ sql = \"sales.sql\" }} ]\n");
    let two = problems_of(folder(&[("job.toml", &two)]).path());
    assert_eq!(two, format!("job.toml:11:1: the job has 2 kinds: keep one of {kinds}"));
}

#[test]
fn a_bad_schedule_is_told_with_its_reason() {
    assert_eq!(
        said("*/15 * * * *", "* * * *"),
        "job.toml:1:12: bad schedule `* * * *`: it has 4 fields; write five (minute hour day month weekday) or six \
         (seconds first)"
    );
    assert_eq!(
        said("*/15 * * * *", "0 0 31 2 *"),
        "job.toml:1:12: bad schedule `0 0 31 2 *`: no such moment ever comes"
    );
    assert_eq!(
        said("ttl = ", "timezone = \"Europe/Berlim\"\nttl = "),
        "job.toml:3:12: unknown time zone `Europe/Berlim`, did you mean `Europe/Berlin`?"
    );
}

#[test]
fn a_bad_duration_is_told_with_its_reason() {
    assert_eq!(
        said("\"30m\"", "\"30\""),
        "job.toml:3:7: `ttl`: bad duration `30`: it has no unit; did you mean `30s` or `30m`?"
    );
    assert_eq!(
        said("\"30m\"", "\"1M\""),
        "job.toml:3:7: `ttl`: bad duration `1M`: did you mean `1m` (minutes)? There is no unit for months"
    );
    assert_eq!(
        said("ttl = \"30m\"", "ttl = \"30m\"\nttl_jitter = \"0.1\""),
        "job.toml:4:14: `ttl_jitter`: bad share `0.1`: write for example `10%`"
    );
}

#[test]
fn limits_that_make_no_sense_are_refused() {
    assert_eq!(
        said("[query]\n", "[limits]\ntimeout = \"0s\"\nbatch = 20000\nconcurrency = 0\n[query]\n"),
        "job.toml:9:11: `limits.timeout` must be longer than 0s\n\
         job.toml:10:9: `limits.batch` is at most 10000\n\
         job.toml:11:15: `limits.concurrency`: invalid value: integer `0`, expected a whole number from 1"
    );
    assert_eq!(
        said("[query]\n", "[limits]\nmax_bytes = 0\n[query]\n"),
        "job.toml:9:13: `limits.max_bytes`: invalid value: integer `0`, expected a whole number from 1"
    );
}

#[test]
fn a_ttl_of_zero_or_under_a_second_is_refused() {
    assert_eq!(said("\"30m\"", "\"0s\""), "job.toml:3:7: ttl 0s is too short: at least 1s");
    assert_eq!(said("\"30m\"", "\"500ms\""), "job.toml:3:7: ttl 500ms is too short: at least 1s");
}

#[test]
fn a_key_variable_that_nothing_provides_is_refused() {
    assert_eq!(
        said("user:{user_id}", "user:{user_id}:{usre}"),
        "job.toml:2:7: key variable `{usre}` that nothing provides; here there are `{user_id}`"
    );
    assert_eq!(
        said("user:{user_id}", "user:{user_id}:{user_ids}"),
        "job.toml:2:7: key variable `{user_ids}` that nothing provides, did you mean `{user_id}`?"
    );
    let exploding = "key = \"user:{user_idd}\"\nttl = \"1h\"\n[query]\nsql = \"SELECT user_id, name FROM users\"\n";
    assert_eq!(
        problems_of(folder(&[("job.toml", exploding)]).path()),
        "job.toml:1:7: key variable `{user_idd}` is no column of the query, did you mean `user_id`?"
    );
    assert_eq!(
        said("user:{user_id}", "user:{user id}"),
        "job.toml:2:13: `{user id}` is no variable; write `{{` and `}}` for literal braces"
    );
}

#[test]
fn a_missing_sql_file_is_named_with_the_likely_meant_one() {
    let folder = folder(&[("job.toml", &VALID.replace("users.sql", "user.sql"))]);
    let said = problems_of(folder.path()).replace(&folder.path().display().to_string(), "FOLDER");
    assert_eq!(said, "job.toml:6:19: no SQL file `user.sql` in FOLDER, did you mean `users.sql`?");
}

#[test]
fn a_parameter_that_nothing_provides_is_told_at_its_place_in_the_statement() {
    let sql = "-- Users.\nSELECT id\n  FROM users WHERE seen > :sicne LIMIT :limit";
    let folder = folder(&[("job.toml", VALID), ("users.sql", sql)]);
    assert_eq!(
        problems_of(folder.path()),
        "users.sql:3:27: parameter `:sicne` that nothing provides; here there are `:now`, `:limit`"
    );
    assert_eq!(
        said("id IN (:user_id)", "id IN (:user_ids)"),
        "job.toml:9:59: parameter `:user_ids` that nothing provides, did you mean `:user_id`?"
    );
    assert_eq!(
        said("id IN (:user_id)", "id IN (:user_id) AND at > :since"),
        "job.toml:9:78: parameter `:since` that nothing provides; set `window` in [query]"
    );
}

#[test]
fn two_jobs_that_can_write_the_same_key_are_refused() {
    let other = VALID.replace("user:{user_id}", "{user_id}:{limit}").replace("[query]", "[query]\nlimit = 7");
    assert_eq!(
        problems_of(folder(&[("a.toml", VALID), ("b.toml", &other)]).path()),
        "b.toml:2:7: jobs `a` (user:{user_id}) and `b` ({user_id}:7) can write the same key; give one of them another key"
    );
}

#[test]
fn a_target_list_that_the_key_never_uses_is_refused() {
    assert_eq!(
        said("[targets]\n", "[targets]\ncategory = { also = [\"None\"] }\n"),
        "job.toml:6:1: target list `category` is never used in the key: its targets would write the same key"
    );
}

#[test]
fn a_query_that_ignores_its_targets_is_refused() {
    assert_eq!(
        said(" WHERE id IN (:user_id)", ""),
        "job.toml:9:7: the statement uses no target, so that every batch would read everything; filter by \
         `user_id IN (:user_id)`"
    );
}

#[test]
fn what_computed_kinds_need_is_asked_for() {
    let job = "key = \"r:{user}\"\nttl = \"1h\"\n[targets]\nuser = { sql = \"users.sql\", limit = 1 }\n[recommend]\nevents = [ { sql = \"sales.sql\", weight = -1.0 } ]\n";
    assert_eq!(
        problems_of(folder(&[("job.toml", job)]).path()),
        "job.toml:4:1: unknown target list `user`; known here: `user_id`, `category`\n\
         job.toml:5:1: [recommend] needs the target list `user_id`: add it to [targets]\n\
         job.toml:6:42: `recommend.events.weight` must be greater than 0\n\
         sales.sql:1:55: parameter `:since` that nothing provides; set `window` in [recommend]"
    );
    let job = "key = \"s:{product_id}\"\nttl = \"1h\"\n[similar]\nevents = []\n";
    assert_eq!(
        problems_of(folder(&[("job.toml", job)]).path()),
        "job.toml:3:1: `similar.of` is missing: write `of = \"products\"` or `of = \"users\"`"
    );
}

#[test]
fn several_connections_for_events_are_a_matter_of_postgres_and_at_most_sixteen() {
    let job = |more: &str| {
        format!(
            "key = \"s:{{product_id}}\"\nttl = \"1h\"\n{more}[similar]\nof = \"products\"\nwindow = \"7d\"\n\
             events = [ {{ sql = \"sales.sql\", connections = 2 }} ]\n"
        )
    };
    let said = |job: &str| problems_of(folder(&[("job.toml", job)]).path());
    assert_eq!(said(&job("")), "");
    assert_eq!(
        said(&job("database = \"reporting\"\n")),
        "job.toml:7:47: `similar.events.connections` is 1 with MySQL: only in PostgreSQL can several connections see one \
         snapshot"
    );
    assert_eq!(said(&job("database = \"reporting\"\n").replace("connections = 2", "connections = 1")), "");
    assert_eq!(
        said(&job("").replace("connections = 2", "connections = 17")),
        "job.toml:6:47: `similar.events.connections` is at most 16"
    );
    assert_eq!(
        said(&job("").replace("connections = 2", "connection = 2")),
        "job.toml:6:33: unknown key `connection`, did you mean `connections`?"
    );
}

#[test]
fn lists_by_category_need_products() {
    let job = "key = \"t:{category}\"\nttl = \"1h\"\n[targets]\ncategory = { also = [\"None\"] }\n[trending]\nwindow = \"7d\"\n\
               events = [ { sql = \"sales.sql\" } ]\n";
    assert_eq!(
        problems_of(folder(&[("job.toml", job)]).path()),
        "job.toml:4:1: lists by `category` need `products` in [trending]: a statement with the columns `product_id` and \
         `category`"
    );
}

#[test]
fn a_database_that_the_settings_do_not_have_is_refused() {
    assert_eq!(
        said("key = ", "database = \"reportin\"\nkey = "),
        "job.toml:2:12: unknown database `reportin`, did you mean `reporting`?"
    );
}

#[test]
fn broken_statements_and_broken_toml_are_told_at_their_place() {
    assert_eq!(said("IN (:user_id)\"", "IN (:user_id) AND name = 'x\""), "job.toml:9:80: the quote is not closed");
    let broken = problems_of(folder(&[("job.toml", "key = \"a\nttl = \"1h\"\n")]).path());
    assert!(broken.starts_with("job.toml:1:"), "{broken}");
}

#[test]
fn files_that_cannot_be_jobs_are_refused() {
    let folder = folder(&[]);
    fs::write(folder.path().join("bad name.toml"), VALID).unwrap();
    fs::write(folder.path().join("latin.toml"), b"description = \"caf\xe9\"\n").unwrap();
    assert_eq!(
        problems_of(folder.path()),
        "bad name.toml: a job's name is its file's, and ' ' cannot be part of it: use letters, digits, `_`, `-`, `.`\n\
         latin.toml: the file is not UTF-8"
    );
}

#[test]
fn all_mistakes_of_all_files_are_told_in_one_pass_with_exit_code_78() {
    let a = "schedule = \"61 * * * *\"\nkey = \"a:{x}\"\ntttl = \"1h\"\nrefresh = \"sometimes\"\n[query]\nsql = \"a.sql\"\n";
    let b = VALID.replace("\"30m\"", "\"0s\"").replace("user:", "b:");
    let folder = folder(&[("a.toml", a), ("b.toml", &b)]);
    let output = Command::new(env!("CARGO_BIN_EXE_warmd"))
        .args(["check", "--database", "sqlite:none.db", "--jobs-dir"])
        .arg(folder.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(78));
    let said = String::from_utf8(output.stderr).unwrap();
    let lines: Vec<&str> = said.lines().collect();
    let told = |start: &str| {
        let start = format!("{}/{start}", folder.path().display());
        assert!(lines.iter().any(|line| line.starts_with(&start)), "{start}\n{said}");
    };
    told("a.toml:1:12: bad schedule `61 * * * *`: ");
    told("a.toml:1:1: `ttl` is missing");
    told("a.toml:3:1: unknown key `tttl`, did you mean `ttl`?");
    told("a.toml:4:11: `refresh`: unknown value `sometimes`");
    told("a.toml:6:7: no SQL file `a.sql`");
    told("b.toml:3:7: ttl 0s is too short: at least 1s");
    assert_eq!(lines.len(), 6, "{said}");
}

#[test]
fn the_shipped_jobs_are_valid_on_every_engine() {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("jobs");
    for folder in [shipped.clone(), shipped.join("retail")] {
        for engine in [Engine::Postgres, Engine::MySql, Engine::Sqlite] {
            let mut problems = Problems::default();
            let dialects = Dialects { default: Some(engine), ..Dialects::default() };
            let jobs = job::load(&folder, &dialects, &mut problems);
            assert_eq!(problems, Problems::default());
            assert!(jobs.len() >= 4, "{} jobs in {}", jobs.len(), folder.display());
            let now = chrono::Utc::now();
            for job in jobs {
                assert_eq!(job.cold_warning(now), None, "{}", job.name);
            }
        }
    }
}
