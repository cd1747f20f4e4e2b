//! Settings and options that cannot be, and servers that are none: told by each command with the same words and code.

use std::net::TcpListener;

use crate::{
    cli::{run, warmd, write_job},
    http::USERS,
    servers,
    world::World,
};

async fn world() -> World {
    let world = World::new().await;
    write_job(&world, "users.toml", USERS);
    world
}

/// Exit code and stderr of a command with one more variable.
fn said(world: &World, arguments: &[&str], (name, value): (&str, &str)) -> (Option<i32>, String) {
    let output = warmd(world, arguments).env(name, value).output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[tokio::test]
async fn a_url_or_a_level_that_cannot_be_is_told_by_its_name_before_anything_begins() {
    let world = world().await;
    for (name, value, words) in [
        ("WARMD__REDIS__URL", "http://u:hunter2@h", "settings: `redis.url`: no URL of a Redis"),
        ("WARMD__REDIS__URL", "redis://u:hunter2@h:99999", "settings: `redis.url`: "),
        ("WARMD__REDIS__URL", "redis://u:hunter2@h/abc", "settings: `redis.url`: "),
        ("WARMD__REDIS__URL", "x", "settings: `redis.url`: "),
        ("WARMD__REDIS__URL", "", "settings: `redis.url`: "),
        ("WARMD__HISTORY__URL", "redis://u:hunter2@x", "settings: `history.url`: "),
        ("WARMD__HISTORY__URL", "postgres://u:hunter2@h:99999/x", "settings: `history.url`: "),
        ("WARMD__LOG__LEVEL", "inof", "settings: `log.level`: unknown level `inof`, did you mean `info`?"),
        ("WARMD__LOG__LEVEL", "info;debug", "settings: `log.level`: unknown level `info;debug`"),
        ("WARMD__LOG__LEVEL", "warn,loud", "settings: `log.level`: unknown level `loud`"),
    ] {
        for arguments in [&["check"][..], &["check", "--connect"], &["warm"], &["run"]] {
            let (code, told) = said(&world, arguments, (name, value));
            assert!(code == Some(78) && told.starts_with(words), "{arguments:?} {value}: {code:?} {told}");
            assert!(!told.contains("hunter2") && told.lines().count() == 1, "{arguments:?} {value}: {told}");
        }
    }
    for level in ["off", "WARN", "warn,sqlx=debug", "warmd::run=info", "error,[run]=trace"] {
        assert_eq!(said(&world, &["check"], ("WARMD__LOG__LEVEL", level)).0, Some(0), "{level}");
    }
}

#[tokio::test]
async fn what_takes_connections_and_is_no_redis_is_found_out() {
    let world = world().await;
    assert_eq!(run(&world, &["check", "--connect"]).0, Some(0));
    let authority = |url: &str| url.split(['@', '/']).nth(3).unwrap().to_owned();
    let (postgres, mariadb) = (servers::postgres().await, servers::mariadb().await);
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    for place in [authority(&postgres.url), authority(&mariadb.url), silent.local_addr().unwrap().to_string()] {
        let url = format!("redis://{place}/0");
        let mut command = warmd(&world, &["check", "--connect"]);
        let output =
            command.env("WARMD__REDIS__URL", &url).env("WARMD__REDIS__RESPONSE_TIMEOUT", "1s").output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(69) && told.contains(&place), "{url}: {:?} {told}", output.status);
    }
}

#[tokio::test]
async fn a_history_that_cannot_be_read_is_out_of_reach_and_one_that_is_not_there_is_not_made() {
    let world = world().await;
    for command in ["history", "advise"] {
        let away = ("WARMD__HISTORY__URL", "postgres://u:hunter2@127.0.0.1:1/x");
        let (code, told) = said(&world, &[command], away);
        assert!(code == Some(69) && told.contains("127.0.0.1:1") && !told.contains("hunter2"), "{code:?} {told}");
    }
    let nowhere = warmd(&world, &["history"])
        .env_remove("WARMD__HISTORY__URL")
        .env_remove("HOME")
        .env_remove("XDG_STATE_HOME")
        .env_remove("STATE_DIRECTORY")
        .output()
        .unwrap();
    assert_eq!(nowhere.status.code(), Some(78));

    let misspelt = world.folder().join("misspelt/history.db");
    let url = format!("sqlite:{}", misspelt.display());
    for arguments in [&["history"][..], &["advise"], &["jobs"], &["plan"], &["history", "--json"]] {
        let (code, told) = said(&world, arguments, ("WARMD__HISTORY__URL", &url));
        assert_eq!(code, Some(0), "{arguments:?}: {told}");
        assert!(!misspelt.parent().unwrap().exists(), "{arguments:?} made it");
    }
    assert_eq!(said(&world, &["warm"], ("WARMD__HISTORY__URL", &url)).0, Some(0));
    assert!(misspelt.exists());
}

#[tokio::test]
async fn history_knows_jobs_of_the_folder_and_of_its_records_and_no_others() {
    let world = world().await;
    assert_eq!(run(&world, &["history", "users"]), (Some(0), "no run is recorded\n".to_owned(), String::new()));
    assert_eq!(run(&world, &["warm"]).0, Some(0));
    for arguments in [["history", "uesrs"], ["advise", "uesrs"]] {
        let (code, _, told) = run(&world, &arguments);
        assert!(code == Some(64) && told.contains("did you mean `users`?"), "{arguments:?}: {code:?} {told}");
    }
    for arguments in [["history", "--limit", "0"], ["advise", "--runs", "0"]] {
        assert_eq!(run(&world, &arguments).0, Some(64), "{arguments:?}");
    }
    std::fs::rename(world.folder().join("users.toml"), world.folder().join("people.toml")).unwrap();
    let (code, out, _) = run(&world, &["history", "users"]);
    assert!(code == Some(0) && out.contains(" users "), "{out}");
}
