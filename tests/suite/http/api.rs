//! Jobs, runs, and runs that are asked for.

use serde_json::Value;

use super::{TOKEN, USERS, start, world};
use crate::{
    cli::{run, write_job},
    daemon::{eventually, records, slow, until},
};

#[tokio::test]
async fn a_run_that_is_asked_for_warms_keys_and_appears_in_history_jobs_and_metrics() {
    let world = world(&[("users", USERS)]).await;
    let asked = start(&world, "a", &[]);
    let place = &asked.place;
    let jobs = place.get("/api/jobs").json();
    assert_eq!((&jobs["version"], &jobs["jobs"][0]["state"]), (&1.into(), &"idle".into()));
    assert_eq!(jobs["jobs"][0]["last_run"], Value::Null);
    assert_eq!(place.metric("warmd_runs_total{job_name=\"users\",outcome=\"ok\"}"), Some(0.0));

    let begun = place.run("users");
    assert_eq!(begun.status, 202, "{}", begun.body);
    let look = begun.json()["record"].as_str().unwrap().to_owned();
    assert_eq!(begun.header("location"), Some(look.as_str()));
    eventually("the record", async || !place.get(&look).json()["runs"].as_array().unwrap().is_empty()).await;

    let record = place.get(&look).json()["runs"][0].clone();
    assert_eq!(
        (&record["outcome"], &record["trigger"], &record["written"]),
        (&"ok".into(), &"manual".into(), &5.into())
    );
    assert_eq!(world.keys().await.len(), 5);
    assert_eq!(records(&world), std::slice::from_ref(&record), "what the command shows is what the API shows");
    eventually("the end", async || place.get("/api/jobs").json()["jobs"][0]["state"] == "idle").await;
    assert_eq!(place.get("/api/jobs").json()["jobs"][0]["last_run"], record);
    for (series, value) in [
        ("warmd_runs_total{job_name=\"users\",outcome=\"ok\"}", 1.0),
        ("warmd_keys_total{job_name=\"users\",result=\"written\"}", 5.0),
        ("warmd_keys_total{job_name=\"users\",result=\"missing\"}", 5.0),
        ("warmd_keys_total{job_name=\"users\",result=\"fresh\"}", 0.0),
        ("warmd_written_bytes_total{job_name=\"users\"}", record["bytes"].as_f64().unwrap()),
        ("warmd_database_statements_total{job_name=\"users\"}", record["queries"].as_f64().unwrap()),
        ("warmd_spent_seconds_total{job_name=\"users\",in=\"database\"}", record["database_seconds"].as_f64().unwrap()),
        ("warmd_last_run_success{job_name=\"users\"}", 1.0),
        ("warmd_last_run_duration_seconds{job_name=\"users\"}", record["seconds"].as_f64().unwrap()),
        ("warmd_running{job_name=\"users\"}", 0.0),
    ] {
        assert_eq!(place.metric(series), Some(value), "{series}");
    }
    assert_eq!(world.redis_command::<i64>(&["EXISTS", "t:warmd:{users}:lease"]).await, 0);
    // The second one finds all fresh.
    assert_eq!(place.run("users").status, 202);
    until(&world, "the second record", |records| records.len() == 2).await;
    assert_eq!(place.get("/api/runs?job=users&limit=1").json()["runs"][0]["fresh"], 5);
    assert_eq!(asked.daemon.stop(), Some(0));
}

#[tokio::test]
async fn a_job_that_runs_already_is_not_run_twice_and_a_tick_waits_for_the_run_by_hand() {
    let scheduled = slow("schedule = \"@every 1s\"\nrefresh = \"always\"");
    let world = world(&[("slow", &scheduled)]).await;
    let asked = start(&world, "a", &[]);
    let place = &asked.place;
    eventually("a run", async || place.metric("warmd_running{job_name=\"slow\"}") == Some(1.0)).await;
    let refused = place.run("slow");
    assert_eq!(refused.status, 409);
    assert!(refused.error().contains("slow has been running since "), "{}", refused.error());
    assert_eq!(asked.daemon.stop(), Some(0));

    // A minute of work by hand, in which a schedule comes to one that has none.
    write_job(&world, "slow.toml", &slow("refresh = \"always\"").replace("< 2000", "< 12000"));
    let mut asked = start(&world, "b", &[]);
    let place = asked.place.clone();
    assert_eq!(place.run("slow").status, 202);
    let again = place.run("slow");
    assert_eq!(again.status, 409);
    assert!(again.error().contains("slow has been running by hand since "), "{}", again.error());
    let other = start(&world, "c", &[]);
    let elsewhere = other.place.run("slow");
    assert_eq!(elsewhere.status, 409);
    assert!(elsewhere.error().contains("slow runs on another instance, b, since "), "{}", elsewhere.error());
    assert_eq!(other.daemon.stop(), Some(0));
    write_job(&world, "slow.toml", &scheduled);
    asked.daemon.signal("HUP");
    assert!(asked.daemon.until("READY=1").contains("running: slow by hand since "));
    let is_by_hand = |jobs: &Value| jobs["jobs"][0]["by_hand"] == true && jobs["jobs"][0]["state"] == "running";
    assert!(is_by_hand(&place.get("/api/jobs").json()));
    // Ticks come, and wait: all that is written is the run's by hand, which the end of the daemon interrupts.
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    assert!(is_by_hand(&place.get("/api/jobs").json()));
    let count = records(&world).len();
    assert_eq!(asked.daemon.stop(), Some(0));
    let records = records(&world);
    assert_eq!(records.len(), count + 1, "{records:#?}");
    let last = records.last().unwrap();
    assert_eq!((&last["trigger"], &last["outcome"]), (&"manual".into(), &"interrupted".into()));
    assert_eq!(world.redis_command::<i64>(&["EXISTS", "t:warmd:{slow}:lease"]).await, 0);
}

#[tokio::test]
async fn without_a_server_for_leases_a_tick_waits_for_the_run_by_hand_too() {
    let world =
        world(&[("slow", &slow("schedule = \"@every 1s\"\nrefresh = \"always\"").replace("< 2000", "< 300"))]).await;
    let asked = start(&world, "a", &[("WARMD__REDIS__URL", "memory:")]);
    eventually("a run by hand", async || asked.place.run("slow").status == 202).await;
    let runs = |records: &[Value]| -> Vec<Value> {
        records.iter().filter(|record| record["outcome"] != "skipped").cloned().collect()
    };
    let enough = |records: &[Value]| {
        let runs = runs(records);
        let by_hand = runs.iter().position(|record| record["trigger"] == "manual");
        by_hand.is_some_and(|place| runs.len() > place + 1)
    };
    let records = until(&world, "a run by hand and one after it", enough).await;
    assert_eq!(asked.daemon.stop(), Some(0));
    let mut spans: Vec<_> = runs(&records)
        .iter()
        .map(|record| (crate::daemon::moment(&record["started"]), crate::daemon::moment(&record["finished"])))
        .collect();
    spans.sort();
    assert!(spans.len() >= 2 && spans.windows(2).all(|pair| pair[0].1 <= pair[1].0), "runs overlap: {spans:?}");
}

#[tokio::test]
async fn only_the_right_token_starts_runs_and_without_one_nobody_does() {
    let world = world(&[("users", USERS)]).await;
    let asked = start(&world, "a", &[]);
    let short = &TOKEN[..TOKEN.len() - 1];
    for given in [
        "",
        "Bearer",
        "Bearer ",
        &format!("Bearer {short}"),
        &format!("Bearer {TOKEN}x"),
        &format!("Basic {TOKEN}"),
        TOKEN,
    ] {
        let answer = asked.place.ask("POST", "/api/jobs/users/run", &[("Authorization", given)]);
        assert_eq!((answer.status, answer.header("www-authenticate")), (401, Some("Bearer")), "{given}");
    }
    assert_eq!(asked.place.ask("POST", "/api/jobs/users/run", &[]).status, 401);
    // Nobody learns without it what there is.
    assert_eq!(asked.place.ask("POST", "/api/jobs/nothing/run", &[]).status, 401);
    let unknown = asked.place.run("usres");
    assert_eq!((unknown.status, unknown.error()), (404, "unknown job `usres`, did you mean `users`?".to_owned()));
    assert_eq!(asked.daemon.stop(), Some(0));
    assert!(!super::log(&world, "a").contains(TOKEN));

    let mut command = super::command(&world, "127.0.0.1:0", &[]);
    command.env_remove("WARMD__HTTP__TOKEN_FILE");
    let daemon = crate::daemon::Daemon::spawn(&world, "b", command).ready();
    let refused = super::place(&world, "b").run("users");
    assert_eq!(refused.status, 403);
    assert_eq!(refused.error(), "runs cannot be started over HTTP: `http.token_file` is not set");
    assert_eq!(daemon.stop(), Some(0));
    assert!(records(&world).is_empty(), "nothing ran");
    assert!(world.keys().await.is_empty());
}

#[tokio::test]
async fn runs_are_those_that_are_asked_for_and_a_history_that_is_away_is_told() {
    let world = world(&[("users", USERS), ("more", &USERS.replace("user:", "more:"))]).await;
    let (code, _, err) = run(&world, &["warm"]);
    assert_eq!(code, Some(0), "{err}");
    let asked = start(&world, "a", &[]);
    let jobs = |path: &str| -> Vec<Value> {
        asked.place.get(path).json()["runs"].as_array().unwrap().iter().map(|run| run["job"].clone()).collect()
    };
    assert_eq!(jobs("/api/runs"), ["users", "more"]);
    assert_eq!(jobs("/api/runs?job=more"), ["more"]);
    assert_eq!(jobs("/api/runs?limit=1"), ["users"]);
    assert!(jobs("/api/runs?job=nobody").is_empty());
    let started = asked.place.get("/api/runs?limit=1").json()["runs"][0]["started"].as_str().unwrap().to_owned();
    assert_eq!(jobs(&format!("/api/runs?since={started}")), ["users"]);
    assert!(jobs(&format!("/api/runs?job=more&since={started}")).is_empty());
    assert_eq!(jobs("/api/runs?since=2020-01-01T00:00:00Z"), ["users", "more"]);
    for late in ["2999-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "9999-12-31T23:59:59-12:00"] {
        assert!(jobs(&format!("/api/runs?since={late}")).is_empty(), "{late}");
    }
    for (path, why) in [
        ("/api/runs?limit=0", "`limit` is a number from 1 to 1000"),
        ("/api/runs?since=yesterday", "`since` is a moment such as 2026-01-31T08:00:00Z"),
        ("/api/runs?jbo=users", "unknown parameter `jbo`, did you mean `job`?"),
    ] {
        let answer = asked.place.get(path);
        assert_eq!((answer.status, answer.error().as_str()), (400, why));
    }
    assert_eq!(asked.daemon.stop(), Some(0));

    let away = start(&world, "b", &[("WARMD__HISTORY__URL", "postgres://127.0.0.1:1/x")]);
    let answer = away.place.get("/api/runs");
    assert_eq!(answer.status, 503);
    assert!(answer.error().contains("the history cannot be read"), "{}", answer.error());
    let listed = away.place.get("/api/jobs").json();
    assert_eq!(listed["jobs"].as_array().unwrap().len(), 2);
    assert!(listed["history_error"].is_string(), "{listed}");
    assert_eq!(away.daemon.stop(), Some(0));
    let none = start(&world, "c", &[("WARMD__HISTORY__ENABLED", "false")]);
    assert_eq!(none.place.get("/api/runs").status, 404);
    assert_eq!(none.daemon.stop(), Some(0));
}
