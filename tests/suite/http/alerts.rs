//! Alerts, each by its real cause, and by the end of it.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Router, extract::State, http::StatusCode, routing::post};
use serde_json::Value;

use super::{
    Asked, USERS, closed,
    health::{ANY_SPEED, OFTEN, look_up},
    log, start, start_by, world,
};
use crate::{
    cli::{run, write_job},
    daemon::{eventually, give_clock},
    faults::proxy::{Network, Proxy, Upstream},
    world::World,
};

/// The alert of this name, active or over; of one job where it says so: "coverage of users".
fn alert(asked: &Asked, name: &str) -> Option<Value> {
    let (name, job) = name.split_once(" of ").map_or((name, None), |(name, job)| (name, Some(job)));
    let alerts = asked.place.get("/api/alerts").json()["alerts"].as_array().unwrap().clone();
    alerts.into_iter().find(|alert| alert["alert"] == name && job.is_none_or(|job| alert["job"] == job))
}

async fn fires(asked: &Asked, name: &str) -> Value {
    eventually(name, async || alert(asked, name).is_some_and(|alert| alert["state"] == "active")).await;
    alert(asked, name).unwrap()
}

async fn resolves(asked: &Asked, name: &str) -> Value {
    let is_over = || alert(asked, name).is_some_and(|alert| alert["state"] == "resolved");
    eventually(&format!("the end of {name}"), async || is_over()).await;
    let alert = alert(asked, name).unwrap();
    assert!(alert["resolved"].as_str() > alert["since"].as_str(), "{alert}");
    alert
}

async fn configure(world: &World, setting: &str, value: &str) {
    world.redis_command::<String>(&["CONFIG", "SET", setting, value]).await;
}

/// Five keys a second.
fn every_second() -> String {
    USERS.replace("0 0 1 1 *", "@every 1s").replace("missing", "always")
}

#[tokio::test]
async fn a_full_redis_is_an_alert_until_it_has_room() {
    let world = world(&[("users", USERS)]).await;
    let asked = start(&world, "a", &[OFTEN]);
    configure(&world, "maxmemory", "1000000").await;
    let full = fires(&asked, "memory").await;
    assert_eq!((&full["severity"], &full["threshold"], &full["job"]), (&"warning".into(), &0.9.into(), &Value::Null));
    assert!(
        full["value"].as_f64() > Some(0.9) && full["message"].as_str().unwrap().contains("of its maxmemory"),
        "{full}"
    );
    assert_eq!(asked.place.metric("warmd_alerts_active{severity=\"warning\"}"), Some(1.0));
    configure(&world, "maxmemory", "1000000000").await;
    resolves(&asked, "memory").await;
    assert_eq!(asked.place.metric("warmd_alerts_active{severity=\"warning\"}"), Some(0.0));
    let log = log(&world, "a");
    assert!(
        log.contains("alert: Redis uses ")
            && log.contains("alert: over after ")
            && log.contains("; it was: Redis uses "),
        "{log}"
    );
    assert_eq!(asked.daemon.stop(), Some(0));
}

#[tokio::test]
async fn a_slow_redis_and_one_that_is_away_are_alerts_until_it_answers_as_before() {
    let world = world(&[("users", USERS)]).await;
    let proxy = Proxy::before(Upstream::Socket(world.redis.socket.clone()));
    let url = format!("redis://127.0.0.1:{}", proxy.port);
    let asked = start(&world, "a", &[OFTEN, ("WARMD__REDIS__URL", &url), ("WARMD__REDIS__RESPONSE_TIMEOUT", "1s")]);
    proxy.becomes(Network::Slow(Duration::from_millis(200)));
    let slow = fires(&asked, "response_time").await;
    assert_eq!((&slow["severity"], &slow["threshold"]), (&"critical".into(), &0.1.into()));
    // On a busy machine it may have begun before, with less.
    let is_late = || alert(&asked, "response_time").unwrap()["value"].as_f64() >= Some(0.2);
    eventually("all of the delay", async || is_late()).await;
    proxy.becomes(Network::Sound);
    resolves(&asked, "response_time").await;
    proxy.becomes(Network::Cuts(0));
    fires(&asked, "redis_unreachable").await;
    // A look whose attempts take too long only says how long.
    let message = || alert(&asked, "redis_unreachable").unwrap()["message"].as_str().unwrap().to_owned();
    eventually("its address", async || message().starts_with("Redis at 127.0.0.1:")).await;
    assert_eq!(asked.place.metric("warmd_redis_up"), Some(0.0));
    assert!(asked.place.get("/api/health").json()["redis"]["error"].is_string());
    proxy.becomes(Network::Sound);
    resolves(&asked, "redis_unreachable").await;
    assert_eq!(asked.place.metric("warmd_redis_up"), Some(1.0));
    assert_eq!(asked.daemon.stop(), Some(0));
}

#[tokio::test]
async fn an_application_that_misses_its_keys_is_an_alert_until_it_finds_them() {
    let world = world(&[("users", USERS)]).await;
    let asked = start(&world, "a", &[OFTEN]);
    let looks = || asked.place.get("/api/health").json()["redis"]["summaries"]["hit_rate"]["count"].as_u64();
    eventually("a look", async || asked.place.metric("warmd_redis_up") == Some(1.0)).await;
    look_up(&world, 70, 130).await;
    let low = fires(&asked, "hit_rate").await;
    assert_eq!(low["threshold"], 0.8);
    assert!((0.3..0.4).contains(&low["value"].as_f64().unwrap()), "{low}");
    assert!(looks() >= Some(1));
    look_up(&world, 5000, 0).await;
    resolves(&asked, "hit_rate").await;
    assert_eq!(asked.daemon.stop(), Some(0));
}

#[tokio::test]
async fn keys_that_are_gone_are_an_alert_of_their_job_until_a_run_has_written_them() {
    let world = world(&[("users", USERS), ("more", &USERS.replace("user:", "more:"))]).await;
    let asked = start(&world, "a", &[OFTEN]);
    for job in ["users", "more"] {
        assert_eq!(asked.place.run(job).status, 202);
        let coverage = format!("warmd_coverage_ratio{{job_name=\"{job}\"}}");
        eventually("a look", async || asked.place.metric(&coverage) == Some(1.0)).await;
    }
    world.redis_command::<()>(&["DEL", "t:user:1"]).await;
    let gone = fires(&asked, "coverage").await;
    assert_eq!((&gone["job"], &gone["value"], &gone["threshold"]), (&"users".into(), &0.8.into(), &0.95.into()));
    assert_eq!(gone["message"], "users: 80 % of its keys are there, less than 95 %");
    assert_eq!(asked.place.run("users").status, 202);
    let over = resolves(&asked, "coverage").await["message"].as_str().unwrap().to_owned();
    assert!(over.starts_with("users: over after "), "{over}");
    assert!(over.ends_with("; it was: 80 % of its keys are there, less than 95 %"), "{over}");
    // A job that a reload takes away has none.
    world.redis_command::<()>(&["DEL", "t:more:1"]).await;
    eventually("the alert", async || alert(&asked, "coverage").unwrap()["job"] == "more").await;
    std::fs::remove_file(world.folder().join("more.toml")).unwrap();
    asked.daemon.signal("HUP");
    resolves(&asked, "coverage").await;
    assert_eq!(asked.daemon.stop(), Some(0));
}

#[tokio::test]
async fn a_job_that_fails_is_an_alert_at_once_and_another_when_none_of_its_runs_has_ended_well_in_two_intervals() {
    let world = world(&[("users", &every_second()), ("more", &every_second().replace("user:", "more:"))]).await;
    let asked = start(&world, "a", &[OFTEN]);
    let ran = |job: &str| asked.place.metric(&format!("warmd_last_run_success{{job_name=\"{job}\"}}")) == Some(1.0);
    eventually("runs", async || ran("users") && ran("more")).await;
    let good = std::fs::read_to_string(world.folder().join("users.toml")).unwrap();
    write_job(&world, "users.toml", &good.replace("FROM users WHERE", "FROM nowhere WHERE"));
    asked.daemon.signal("HUP");
    let failed = fires(&asked, "failed_run").await;
    assert_eq!((&failed["job"], &failed["severity"]), (&"users".into(), &"warning".into()));
    assert!(failed["message"].as_str().unwrap().contains("nowhere"), "{failed}");
    // A machine that stands still keeps the other job from its runs, too.
    let dry = fires(&asked, "no_success of users").await;
    assert_eq!(dry["severity"], "critical");
    write_job(&world, "users.toml", &good);
    asked.daemon.signal("HUP");
    resolves(&asked, "no_success of users").await;
    resolves(&asked, "failed_run").await;
    assert_eq!(asked.daemon.stop(), Some(0));
}

#[tokio::test]
async fn a_tick_that_finds_its_run_going_is_an_alert_until_runs_keep_up_again() {
    // Each run takes as long as the table says, in hundredths of a second.
    let job = "schedule = \"@every 1s\"\nrefresh = \"always\"\nkey = \"n:{id}\"\nttl = \"1h\"\n[query]\nsql = \"\"\"\
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < (SELECT rows FROM work)) \
        SELECT i AS id, 1 AS one FROM n\"\"\"\n[limits]\nbatch = 10\nkeys_per_second = 100\nconcurrency = 1\n";
    let world = world(&[]).await;
    world.sql("CREATE TABLE work (rows INTEGER); INSERT INTO work VALUES (350)").await;
    write_job(&world, "work.toml", job);
    let asked = start(&world, "a", &[OFTEN]);
    let missed = fires(&asked, "missed_tick").await;
    assert_eq!(missed["job"], "work");
    let words = missed["message"].as_str().unwrap();
    assert!(words.contains("was missed: the run before has been going since"), "{words}");
    world.sql("UPDATE work SET rows = 5").await;
    resolves(&asked, "missed_tick").await;
    assert_eq!(asked.daemon.stop(), Some(0));
}

#[tokio::test]
async fn a_second_instance_that_runs_nothing_itself_finds_nothing_wrong() {
    let world = world(&[("users", &every_second().replace("1s", "5s"))]).await;
    let first = start(&world, "a", &[OFTEN]);
    let ran = |asked: &Asked| asked.place.metric("warmd_runs_total{job_name=\"users\",outcome=\"ok\"}");
    eventually("runs", async || ran(&first) >= Some(2.0)).await;
    let second = {
        // Its ticks come when the first has had its run of them, for which it has nearly the whole interval.
        let mut command = super::command(&world, "127.0.0.1:0", &[OFTEN]);
        if give_clock(&mut command, &world, "b", "-4s").is_none() {
            eprintln!("not tested: libfaketime is not installed");
            return;
        }
        start_by(&world, "b", command)
    };
    let looks = || second.place.get("/api/health").json()["redis"]["summaries"]["response_seconds"]["count"].as_u64();
    eventually("looks", async || looks() >= Some(8)).await;
    // Two intervals and more.
    eventually("runs", async || ran(&first) >= Some(5.0)).await;
    let alerts = second.place.get("/api/alerts").body;
    assert!(!alerts.contains("\"users\""), "{alerts}");
    assert_eq!(ran(&second), Some(0.0));
    for asked in [first, second] {
        assert_eq!(asked.daemon.stop(), Some(0));
    }
}

#[tokio::test]
async fn a_rule_that_is_off_fires_no_alert_and_a_reload_changes_the_rules() {
    let world = world(&[("users", USERS)]).await;
    configure(&world, "maxmemory", "1000000").await;
    // Beside the jobs it would be one.
    let settings = world.folder().join("conf/warmd.toml");
    std::fs::create_dir(settings.parent().unwrap()).unwrap();
    std::fs::write(&settings, "[alerts]\nmemory = \"off\"\n").unwrap();
    let asked = {
        let mut command = super::command(&world, "127.0.0.1:0", &[OFTEN]);
        command.arg("--config").arg(&settings);
        start_by(&world, "a", command)
    };
    let looks = || asked.place.get("/api/health").json()["redis"]["summaries"]["memory_share"]["count"].as_u64();
    eventually("looks", async || looks() >= Some(4)).await;
    assert_eq!(alert(&asked, "memory"), None);
    std::fs::write(&settings, "[alerts]\nmemory = \"99%\"\n").unwrap();
    asked.daemon.signal("HUP");
    assert_eq!(fires(&asked, "memory").await["threshold"], 0.99);
    std::fs::write(&settings, "[alerts]\nmemory = \"off\"\n").unwrap();
    asked.daemon.signal("HUP");
    resolves(&asked, "memory").await;
    assert_eq!(asked.daemon.stop(), Some(0));
}

/// Keeps what is posted to it; the first time it is not ready.
async fn receiver() -> (String, Arc<Mutex<Vec<Value>>>) {
    type Posts = Arc<Mutex<(usize, Vec<Value>)>>;
    async fn take(State((posts, kept)): State<(Posts, Arc<Mutex<Vec<Value>>>)>, body: String) -> StatusCode {
        let mut posts = posts.lock().unwrap();
        posts.0 += 1;
        if posts.0 == 1 {
            return StatusCode::SERVICE_UNAVAILABLE;
        }
        kept.lock().unwrap().push(serde_json::from_str(&body).unwrap());
        StatusCode::OK
    }
    let kept = Arc::new(Mutex::new(Vec::new()));
    let state = (Posts::default(), Arc::clone(&kept));
    let router = Router::new().route("/hook/s3cret", post(take)).with_state(state);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook/s3cret", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (url, kept)
}

#[tokio::test]
async fn a_webhook_hears_of_the_beginning_and_the_end_of_an_alert_in_the_form_of_alertmanager() {
    let world = world(&[("users", USERS)]).await;
    let (url, kept) = receiver().await;
    let file = world.folder().join("hook");
    std::fs::write(&file, format!("{url}\n")).unwrap();
    let variables = [OFTEN, ANY_SPEED, ("WARMD__ALERTS__WEBHOOK_URL_FILE", file.to_str().unwrap())];
    let asked = start(&world, "a", &variables);
    assert_eq!(asked.place.run("users").status, 202);
    eventually("a look", async || asked.place.metric("warmd_coverage_ratio{job_name=\"users\"}") == Some(1.0)).await;
    world.redis_command::<()>(&["DEL", "t:user:1", "t:user:2"]).await;
    eventually("the post", async || kept.lock().unwrap().len() == 1).await;
    assert_eq!(asked.place.run("users").status, 202);
    eventually("the other", async || kept.lock().unwrap().len() == 2).await;
    let [firing, resolved] = &kept.lock().unwrap().clone()[..] else { unreachable!() };
    for (post, status) in [(firing, "firing"), (resolved, "resolved")] {
        assert_eq!(
            (&post["version"], &post["status"], &post["receiver"]),
            (&"4".into(), &status.into(), &"warmd".into())
        );
        let alert = &post["alerts"][0];
        assert_eq!(alert["status"], status);
        let labels = serde_json::json!({
            "alertname": "WarmdCoverageLow", "severity": "warning", "instance": "a", "job_name": "users"
        });
        assert_eq!((&alert["labels"], &post["commonLabels"]), (&labels, &labels));
        assert!(alert["annotations"]["summary"].as_str().unwrap().starts_with("users: "), "{alert}");
    }
    let (begun, ended) = (&firing["alerts"][0], &resolved["alerts"][0]);
    assert_eq!(begun["fingerprint"], ended["fingerprint"]);
    assert_eq!((&begun["startsAt"], &begun["endsAt"]), (&ended["startsAt"], &"0001-01-01T00:00:00Z".into()));
    assert!(ended["endsAt"].as_str() > ended["startsAt"].as_str());
    assert!(!log(&world, "a").contains("s3cret"));
    assert_eq!(asked.daemon.stop(), Some(0));
}

#[tokio::test]
async fn posts_that_wait_go_to_the_webhook_of_a_reload_and_those_that_lose_theirs_are_in_the_log() {
    let world = world(&[("users", USERS)]).await;
    configure(&world, "maxmemory", "1000000").await;
    let settings = world.folder().join("conf/warmd.toml");
    std::fs::create_dir(settings.parent().unwrap()).unwrap();
    let (_held, closed) = closed();
    let nowhere = format!("[alerts]\nwebhook_url = \"http://{closed}/geheim\"\n");
    std::fs::write(&settings, &nowhere).unwrap();
    let mut asked = {
        let mut command = super::command(&world, "127.0.0.1:0", &[OFTEN, ANY_SPEED]);
        command.arg("--config").arg(&settings);
        start_by(&world, "a", command)
    };
    fires(&asked, "memory").await;
    let (url, kept) = receiver().await;
    std::fs::write(&settings, format!("[alerts]\nwebhook_url = \"{url}\"\n")).unwrap();
    asked.daemon.signal("HUP");
    eventually("the post", async || kept.lock().unwrap().len() == 1).await;
    assert_eq!(kept.lock().unwrap()[0]["alerts"][0]["labels"]["alertname"], "WarmdRedisMemoryHigh");
    assert!(!log(&world, "a").contains("does not learn"), "{}", log(&world, "a"));

    std::fs::write(&settings, &nowhere).unwrap();
    asked.daemon.signal("HUP");
    asked.daemon.until("READY=1");
    configure(&world, "maxmemory", "1000000000").await;
    resolves(&asked, "memory").await;
    std::fs::write(&settings, "").unwrap();
    asked.daemon.signal("HUP");
    let words = format!(
        "the webhook at http://{closed} does not learn of an alert: the settings name no webhook any more; it was: over after "
    );
    eventually("the word of it", async || log(&world, "a").contains(&words)).await;
    assert_eq!(kept.lock().unwrap().len(), 1);
    assert!(!log(&world, "a").contains("geheim"), "{}", log(&world, "a"));
    assert_eq!(asked.daemon.stop(), Some(0));
}

#[tokio::test]
async fn settings_of_the_monitor_that_make_no_sense_are_refused_in_words() {
    let world = world(&[("users", USERS)]).await;
    let refused = |variable: &str, value: &str| {
        let mut command = crate::cli::warmd(&world, &["check"]);
        let output = command.env(variable, value).output().unwrap();
        assert_eq!(output.status.code(), Some(78), "{variable}={value}");
        String::from_utf8(output.stderr).unwrap()
    };
    for (variable, value, words) in [
        ("WARMD__MONITOR__INTERVAL", "500ms", "`monitor.interval` is 500ms; it is at least 1s and at most 1h"),
        ("WARMD__MONITOR__WINDOW", "5s", "with an interval of 15s it is at least that and at most 15d"),
        ("WARMD__ALERTS__HIT_RATE", "0.8", "bad share `0.8`"),
        ("WARMD__ALERTS__RESPONSE_TIME", "100", "did you mean `100s`"),
        ("WARMD__ALERTS__WEBHOOK_URL", "alerts.example/secret", "`alerts.webhook_url` is no URL of a web server"),
        ("WARMD__ALERTS__HITRATE", "80%", "hit_rate"),
        ("WARMD__ALERTS__MEMORY", "of", "; or \"off\""),
        ("WARMD__ALERTS__FAILED_RUN", "of", "expected true, false, \"on\" or \"off\""),
        ("WARMD__HTTP__TOKEN_FILE", "", "`http.token_file` is empty: it is to name a file"),
        ("WARMD__HISTORY__ENABLED", "x", "environment: `history.enabled`: invalid type: string \"x\""),
    ] {
        let said = refused(variable, value);
        assert!(said.contains(words) && !said.contains("secret"), "{variable}={value}: {said}");
    }
    let (code, _, err) = run(&world, &["check"]);
    assert_eq!(code, Some(0), "{err}");
    for name in [
        "HIT_RATE",
        "RESPONSE_TIME",
        "MEMORY",
        "COVERAGE",
        "REDIS_UNREACHABLE",
        "MISSED_TICK",
        "FAILED_RUN",
        "NO_SUCCESS",
    ] {
        for off in ["off", "false"] {
            let output =
                crate::cli::warmd(&world, &["check"]).env(format!("WARMD__ALERTS__{name}"), off).output().unwrap();
            assert_eq!(output.status.code(), Some(0), "{name}={off}");
        }
    }
}
