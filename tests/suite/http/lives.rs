//! Where it listens, from start to end, and what it says of its health meanwhile.

use std::{fs, os::unix::fs::PermissionsExt as _};

use super::{Place, TOKEN, USERS, command, exists, log, place, start, start_on, world};
use crate::{
    cli::{run, warmd, write_job},
    daemon::{Daemon, eventually},
};

/// Whether the daemon listens on any port. At one that it has given up, another test's daemon may answer.
fn listens(daemon: &Daemon) -> bool {
    let sockets = fs::read_to_string(format!("/proc/{}/net/tcp", daemon.id())).unwrap();
    let own: Vec<String> = fs::read_dir(format!("/proc/{}/fd", daemon.id()))
        .unwrap()
        .filter_map(|fd| Some(fs::read_link(fd.unwrap().path()).ok()?.to_string_lossy().into_owned()))
        .collect();
    // State 0A is LISTEN, and the tenth field is the socket's number.
    sockets
        .lines()
        .skip(1)
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .any(|fields| fields[3] == "0A" && own.contains(&format!("socket:[{}]", fields[9])))
}

#[tokio::test]
async fn without_an_address_nothing_listens() {
    let world = world(&[("users", USERS)]).await;
    let daemon = Daemon::start(&world, "a", &[("WARMD__LOG__LEVEL", "info")]).ready();
    assert!(!log(&world, "a").contains("HTTP on"));
    assert!(!listens(&daemon));
    assert_eq!(daemon.stop(), Some(0));
}

#[tokio::test]
async fn a_socket_in_the_file_system_serves_its_group_and_ends_with_the_daemon() {
    let world = world(&[("users", USERS)]).await;
    let path = world.folder().join("http.sock");
    let listen = format!("unix:{}", path.display());
    let mut asked = start_on(&world, "a", &listen, &[]);
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o660);
    assert_eq!(asked.place.get("/healthz").status, 200);
    assert_eq!(asked.place.run("users").status, 202);
    eventually("the keys", async || world.keys().await.len() == 5).await;
    assert_eq!(asked.place.ask("GET", "/healthz", &[("Host", "evil.example")]).status, 421);
    // Another daemon does not take it away.
    let output = command(&world, &listen, &[]).output().unwrap();
    assert_eq!(output.status.code(), Some(69), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(asked.place.get("/healthz").status, 200);
    // One that was killed leaves its socket to the next.
    asked.daemon.signal("KILL");
    asked.daemon.ended();
    assert!(exists(&path));
    let asked = start_on(&world, "b", &listen, &[]);
    assert_eq!(asked.place.get("/healthz").status, 200);
    assert_eq!(asked.daemon.stop(), Some(0));
    assert!(!exists(&path));
    fs::write(&path, "precious").unwrap();
    let output = command(&world, &listen, &[]).output().unwrap();
    assert_eq!(output.status.code(), Some(78));
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
}

#[tokio::test]
async fn an_address_in_use_ends_the_daemon_before_anything_runs_so_that_it_is_tried_again() {
    let world = world(&[("users", USERS)]).await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap().to_string();
    let output = command(&world, &listen, &[]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(69), "{said}");
    let words = format!("`http.listen`: cannot listen on {listen}: another program listens there already");
    assert!(said.contains(&words), "{said}");
    assert!(!exists(&world.folder().join("state/history.db")) && world.keys().await.is_empty());
    // Of a documentation's network: an address that may come up later, with the network.
    let output = command(&world, "192.0.2.1:9187", &[("WARMD__HTTP__PUBLIC", "true")]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(69), "{said}");
    assert!(said.contains("cannot listen on 192.0.2.1:9187: "), "{said}");
}

#[tokio::test]
async fn settings_that_let_everybody_in_or_do_not_work_end_with_78() {
    let world = world(&[("users", USERS)]).await;
    for (name, value, words) in [
        ("WARMD__HTTP__LISTEN", "0.0.0.0:0", "which other machines can reach"),
        ("WARMD__HTTP__LISTEN", "9187", "write 127.0.0.1:9187"),
        ("WARMD__HTTP__TOKEN_FILE", "/nowhere/token", "`http.token_file`: /nowhere/token: cannot be read"),
        ("WARMD__HTTP__ALLOWED_HOSTS", "http://x", "`http://x` is no name"),
    ] {
        let output = command(&world, "127.0.0.1:0", &[(name, value)]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(78), "{said}");
        assert!(said.contains(words), "{said}");
    }
    let (code, _, err) = run(&world, &["check"]);
    assert_eq!(code, Some(0), "{err}");
    let checked = warmd(&world, &["check"]).env("WARMD__HTTP__LISTEN", "0.0.0.0:1").output().unwrap();
    assert_eq!(checked.status.code(), Some(78), "check says it before");
    let meant = start_on(&world, "a", "0.0.0.0:0", &[("WARMD__HTTP__PUBLIC", "true")]);
    let Place::Tcp(address) = meant.place.clone() else { panic!("no port") };
    let port = address.rsplit_once(':').unwrap().1;
    assert_eq!(Place::Tcp(format!("127.0.0.1:{port}")).get("/healthz").status, 200);
    assert_eq!(meant.daemon.stop(), Some(0));
}

#[tokio::test]
async fn a_reload_keeps_the_listener_and_changes_token_names_and_address() {
    let world = world(&[("users", USERS)]).await;
    let file = world.folder().join("settings");
    let token = world.folder().join("token");
    fs::write(&token, TOKEN).unwrap();
    let write = |http: &str| fs::write(&file, format!("[http]\n{http}\ntoken_file = \"token\"\n")).unwrap();
    write("listen = \"127.0.0.1:0\"");
    let mut command = warmd(&world, &["run", "--log", "info", "--config", file.to_str().unwrap()]);
    command.env_remove("WARMD__LOG__LEVEL");
    let mut daemon = Daemon::spawn(&world, "a", command).ready();
    let Place::Tcp(first) = place(&world, "a") else { panic!("no port") };
    let first_place = Place::Tcp(first.clone());

    let other = "another-token-of-some-length";
    fs::write(&token, other).unwrap();
    write("listen = \"127.0.0.1:0\"\nallowed_hosts = [\"warm.example\"]");
    daemon.signal("HUP");
    daemon.until("READY=1");
    assert_eq!(log(&world, "a").matches("HTTP on").count(), 1, "the listener stays");
    assert_eq!(first_place.run("users").status, 401);
    let headers = [("Authorization", format!("Bearer {other}"))].map(|(name, value)| (name, value));
    let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    assert_eq!(first_place.ask("POST", "/api/jobs/users/run", &headers).status, 202);
    assert_eq!(first_place.ask("GET", "/healthz", &[("Host", "warm.example")]).status, 200);

    // One that cannot be had changes nothing.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    write(&format!("listen = \"{}\"", taken.local_addr().unwrap()));
    daemon.signal("HUP");
    assert!(daemon.until("READY=1").contains("reload failed: `http.listen`: cannot listen on "));
    assert_eq!(first_place.ask("GET", "/healthz", &[("Host", "warm.example")]).status, 200);
    let ready = first_place.get("/readyz");
    assert_eq!((ready.status, &ready.json()["reasons"][0]["what"]), (503, &"settings".into()));
    assert_eq!(first_place.metric("warmd_last_reload_success"), Some(0.0));

    assert!(listens(&daemon));
    let path = world.folder().join("http.sock");
    write(&format!("listen = \"unix:{}\"", path.display()));
    daemon.signal("HUP");
    assert!(!daemon.until("READY=1").contains("reload failed"));
    assert!(!listens(&daemon), "the old address is given up");
    // Redis may need longer for an answer than who is asked waits.
    eventually("ready", async || Place::Unix(path.clone()).get("/readyz").status == 200).await;
    let written = || Place::Unix(path.clone()).metric("warmd_keys_total{job_name=\"users\",result=\"written\"}");
    eventually("the run that the old address was asked for", async || written() == Some(5.0)).await;
    write("");
    daemon.signal("HUP");
    daemon.until("READY=1");
    assert!(!exists(&path));
    assert_eq!(daemon.stop(), Some(0));
}

#[tokio::test]
async fn ready_is_who_has_a_schedule_and_a_redis_that_answers() {
    let world = world(&[]).await;
    let mut asked = start(&world, "a", &[]);
    let reasons = |place: &Place| -> Vec<String> {
        let answer = place.get("/readyz");
        let json = answer.json();
        let reasons = json["reasons"].as_array().unwrap();
        assert_eq!((answer.status == 200, &json["ready"]), (reasons.is_empty(), &reasons.is_empty().into()));
        reasons.iter().map(|reason| format!("{}: {}", reason["what"], reason["why"])).collect()
    };
    // Redis may need longer for an answer than who is asked waits.
    let others = |place: &Place| -> Vec<String> {
        reasons(place).into_iter().filter(|reason| !reason.starts_with("\"redis\"")).collect()
    };
    assert_eq!(others(&asked.place), ["\"schedule\": \"no enabled job has a schedule\""]);
    write_job(&world, "users.toml", USERS);
    asked.daemon.signal("HUP");
    asked.daemon.until("READY=1");
    eventually("no reason", async || reasons(&asked.place).is_empty()).await;
    write_job(&world, "users.toml", "schedule = 3");
    asked.daemon.signal("HUP");
    asked.daemon.until("READY=1");
    let told = others(&asked.place);
    assert!(
        told.len() == 1 && told[0].contains("the last reload failed: ") && told[0].contains("users.toml"),
        "{told:?}"
    );
    write_job(&world, "users.toml", USERS);
    asked.daemon.signal("HUP");
    asked.daemon.until("READY=1");
    world.redis.server.kill();
    let told = reasons(&asked.place);
    assert!(told.len() == 1 && told[0].contains("redis"), "{told:?}");
    assert_eq!(asked.place.get("/healthz").status, 200, "that is no reason to kill it");
    assert_eq!(asked.place.run("users").status, 503);
    assert_eq!(asked.daemon.stop(), Some(0));
}

#[tokio::test]
async fn who_watches_sees_the_drain_and_then_nobody_answers() {
    let world = world(&[("stuck", crate::daemon::STUCK)]).await;
    // No port, which another test's daemon may have a moment later.
    let listen = format!("unix:{}", world.folder().join("http.sock").display());
    let mut asked = start_on(&world, "a", &listen, &[("WARMD__SCHEDULER__SHUTDOWN_GRACE", "1m")]);
    // Its statement is under way by then; before, the run would end at once.
    let missed = || asked.place.metric("warmd_ticks_missed_total{job_name=\"stuck\"}");
    eventually("a tick that finds it running", async || missed() >= Some(1.0)).await;
    asked.daemon.signal("TERM");
    asked.daemon.until("STOPPING=1");
    let ready = asked.place.get("/readyz");
    assert_eq!((ready.status, &ready.json()["reasons"][0]["what"]), (503, &"stopping".into()));
    assert_eq!(asked.place.get("/healthz").status, 200);
    assert_eq!(asked.place.metric("warmd_running{job_name=\"stuck\"}"), Some(1.0));
    assert_eq!(asked.place.run("stuck").status, 503);
    // Once more, and it does not wait for the run.
    asked.daemon.signal("TERM");
    assert_eq!(asked.daemon.ended(), Some(1));
    assert!(asked.place.connect().is_err());
}
