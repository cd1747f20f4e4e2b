//! Passwords and queries of URLs, which no output holds, whatever is wrong with the URL.

use std::process::{Command, Stdio};

use crate::{
    cli::{run, warmd, write_job},
    daemon::{Daemon, eventually},
    http::USERS,
    world::World,
};

/// Passwords and queries of all URLs here.
const SECRET: &str = "geheim";

/// What may be wrong with a URL of this scheme, and one with which nothing is.
fn wrong(scheme: &str) -> Vec<String> {
    [
        "u:geheim@127.0.0.1:99999/x",
        "u:geheim@[::1/x",
        "u:geheim@ 127.0.0.1/x",
        "u:\"geheim@h/x",
        "u:`geheim@h/x",
        "u:geheim@/x",
        "127.0.0.1:99999/x?token=geheim",
        "127.0.0.1:1/x?token=geheim#geheim",
        "u:geheim@127.0.0.1:1/x",
    ]
    .map(|rest| format!("{scheme}://{rest}"))
    .into_iter()
    .chain([
        format!("{scheme}:u:geheim@127.0.0.1/x"),
        "u:geheim@127.0.0.1/x".to_owned(),
        format!("nothing://u:{SECRET}@h/x"),
    ])
    .collect()
}

/// Every setting that holds a URL, with the flag for it, and its scheme.
const SETTINGS: [(&str, Option<&str>, &str); 6] = [
    ("database.url", Some("--database"), "postgres"),
    ("databases.other.url", None, "mysql"),
    ("redis.url", Some("--redis"), "redis"),
    ("history.url", None, "postgres"),
    ("alerts.webhook_url", None, "http"),
    ("traces.endpoint", None, "http"),
];

/// What a command says, and that it says something where it fails.
fn said(mut command: Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
    assert!(output.status.success() || !said.is_empty(), "{command:?}");
    said
}

#[tokio::test]
async fn no_output_holds_the_password_or_the_query_of_a_url_not_even_of_one_that_cannot_be_parsed() {
    let world = World::new().await;
    write_job(&world, "users.toml", USERS);
    let file = world.folder().join("conf/warmd.toml");
    std::fs::create_dir(file.parent().unwrap()).unwrap();
    for (setting, flag, scheme) in SETTINGS {
        let variable = format!("WARMD__{}", setting.to_uppercase().replace('.', "__"));
        let (table, key) = setting.rsplit_once('.').unwrap();
        for url in wrong(scheme) {
            let secret_file = world.folder().join("conf/secret");
            std::fs::write(&secret_file, &url).unwrap();
            for arguments in [&["check"][..], &["check", "--json"]] {
                let mut by_variable = warmd(&world, arguments);
                by_variable.env(&variable, &url);
                let mut by_file = warmd(&world, arguments);
                std::fs::write(&file, format!("[{table}]\n{key} = {}\n", toml::Value::from(url.as_str()))).unwrap();
                by_file.env_remove(&variable).arg("--config").arg(&file);
                let by_flag = flag.map(|flag| {
                    let mut command = warmd(&world, arguments);
                    command.args([flag, &url]);
                    command
                });
                let by_secret_file = (setting != "traces.endpoint").then(|| {
                    let mut command = warmd(&world, arguments);
                    command.env_remove(&variable).env(format!("{variable}_FILE"), &secret_file);
                    command
                });
                for command in [by_variable, by_file].into_iter().chain(by_flag).chain(by_secret_file) {
                    let told = format!("{command:?}");
                    let said = said(command);
                    assert!(!said.contains(SECRET), "{told}: {said}");
                }
            }
        }
        // What connects, or tries to.
        for url in wrong(scheme) {
            let mut command = warmd(&world, &["warm", "--log", "debug"]);
            command.env(&variable, &url).env_remove("WARMD__LOG__LEVEL");
            let said = said(command);
            assert!(!said.contains(SECRET), "{setting} {url}: {said}");
        }
    }
}

#[tokio::test]
async fn a_url_in_the_place_of_something_else_is_not_repeated_either() {
    let world = World::new().await;
    write_job(&world, "users.toml", USERS);
    let url = "http://u:geheim@127.0.0.1:1/x?token=geheim";
    for (variable, words) in [
        ("WARMD__DATABASE", "environment: `database` is a table: what belongs to it stands under WARMD__DATABASE__..."),
        (
            "WARMD__DATABASES",
            "environment: `databases` is a table: what belongs to it stands under WARMD__DATABASES__...",
        ),
        ("WARMD__REDIS", "environment: `redis` is a table: what belongs to it stands under WARMD__REDIS__..."),
        ("WARMD__HTTP", "environment: `http` is a table: what belongs to it stands under WARMD__HTTP__..."),
        ("WARMD__HTTP__LISTEN", "environment: `http.listen`: bad address `http://...`; write 127.0.0.1:9187"),
        ("WARMD__REDIS__OVERLONG_KEYS", "`redis.overlong_keys`: unknown value `http://...`"),
        ("WARMD__MONITOR__INTERVAL", "`monitor.interval`: bad duration `http://...`"),
    ] {
        let output = warmd(&world, &["check"])
            .env_remove("WARMD__DATABASE__URL")
            .env_remove("WARMD__REDIS__URL")
            .env_remove("WARMD__REDIS__KEY_PREFIX")
            .env(variable, url)
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(78), "{variable}: {said}");
        assert!(said.contains(words) && !said.contains(SECRET), "{variable}: {said}");
    }
    let file = world.folder().join("conf/warmd.toml");
    std::fs::create_dir(file.parent().unwrap()).unwrap();
    std::fs::write(&file, format!("database = \"{url}\"\nhttp = \"{url}\"\n")).unwrap();
    let (code, _, err) = run(&world, &["check", "--config", file.to_str().unwrap()]);
    assert_eq!(code, Some(78));
    for name in ["database", "http"] {
        assert!(err.contains(&format!("`{name}` is a table: what belongs to it stands under [{name}]\n")), "{err}");
    }
    assert!(!err.contains(SECRET), "{err}");
    for arguments in [
        vec!["status", "--url", "http://u:geheim@127.0.0.1:99999"],
        vec!["status", "--url", "http://u:geheim@[::1"],
        vec!["status", "--url", "u:geheim@127.0.0.1:1"],
        vec!["status", "--url", "http://u:geheim@127.0.0.1:1/?token=geheim"],
        vec!["status", "--url", "https://u:geheim@127.0.0.1:1/?token=geheim#geheim"],
        vec!["status", url],
        vec!["status", "--ulr", url],
        vec!["status", "--ulr=http://u:geheim@h"],
        vec!["status", "--watch", url],
        vec!["--color", url, "status"],
        vec!["warm", url],
        vec!["plan", "users", "--as-of", url],
        vec!["wait", "--min", url],
        vec![url],
    ] {
        let (code, out, err) = run(&world, &arguments);
        let codes = [Some(64), Some(69)];
        assert!(codes.contains(&code) && out.is_empty() && !err.is_empty(), "{arguments:?}: {code:?} {out}{err}");
        assert!(!err.contains(SECRET), "{arguments:?}: {err}");
    }
}

#[tokio::test]
async fn the_settings_in_the_log_hold_no_password_and_no_query() {
    let world = World::new().await;
    write_job(&world, "users.toml", USERS);
    let mut command = warmd(&world, &["run"]);
    command.env("WARMD__LOG__LEVEL", "info");
    for (setting, _, scheme) in SETTINGS {
        let variable = format!("WARMD__{}", setting.to_uppercase().replace('.', "__"));
        let url = match setting {
            "alerts.webhook_url" => "http://u:geheim@127.0.0.1:1/geheim?token=geheim#geheim".to_owned(),
            // Nothing else is let through.
            "traces.endpoint" => "http://127.0.0.1:1/v1/traces".to_owned(),
            // A parameter that is not known is refused.
            "history.url" | "database.url" | "databases.other.url" => format!("{scheme}://u:geheim@127.0.0.1:1/x"),
            _ => format!("{scheme}://u:geheim@127.0.0.1:1"),
        };
        command.env(variable, url);
    }
    let daemon = Daemon::spawn(&world, "a", command).ready();
    let log = || std::fs::read_to_string(world.folder().join("a.log")).unwrap();
    eventually("the settings", async || log().contains("settings: {")).await;
    assert_eq!(daemon.stop(), Some(0));
    assert!(log().contains("http://127.0.0.1:1/v1/traces"), "{}", log());
    assert!(!log().contains(SECRET), "{}", log());
}
