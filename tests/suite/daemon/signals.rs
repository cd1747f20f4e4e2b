//! The daemon ends: well, dropped after the grace, at once, or before it began.

use std::{fs, time::Duration};

use chrono::{TimeDelta, Utc};
use serde_json::Value;

use super::{Daemon, EVERY_SECOND, STUCK, USERS, eventually, records, slow, stuck, tick, with};
use crate::{
    cli::{warmd, write_job},
    standstill::Stopwatch,
    world::World,
};

#[tokio::test]
async fn a_run_that_does_not_end_within_the_grace_is_dropped_and_said_so() {
    let world = World::new().await;
    write_job(&world, "stuck.toml", STUCK);
    let daemon = Daemon::start(&world, "a", &[("WARMD__SCHEDULER__SHUTDOWN_GRACE", "100ms")]).ready();
    stuck(&world).await;
    let begun = Stopwatch::start();
    assert_eq!(daemon.stop(), Some(1));
    // The statement would take minutes.
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    let log = fs::read_to_string(world.folder().join("a.log")).unwrap();
    assert!(log.contains("did not end in 100ms and was dropped: stuck"), "{log}");
    let records = records(&world);
    let interrupted = with(&records, "outcome", "interrupted");
    assert_eq!(interrupted.len(), 1, "{records:#?}");
    assert_eq!(world.redis_command::<i64>(&["EXISTS", "t:warmd:{stuck}:lease"]).await, 0);
}

#[tokio::test]
async fn a_second_signal_ends_the_daemon_at_once() {
    let world = World::new().await;
    write_job(&world, "stuck.toml", STUCK);
    let mut daemon = Daemon::start(&world, "a", &[]).ready();
    stuck(&world).await;
    daemon.signal("INT");
    daemon.until("STOPPING=1");
    let begun = Stopwatch::start();
    assert_eq!(daemon.stop(), Some(1));
    // The grace would be thirty seconds.
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn wrong_settings_end_with_78_before_anything_runs() {
    let world = World::new().await;
    write_job(&world, "users.toml", &format!("{EVERY_SECOND}{USERS}"));
    for (name, value, words) in [
        ("WARMD__SCHEDULER__LEASE", "1ms", "`scheduler.lease` is 1ms; it is at least 1s and at most 1h"),
        ("WARMD__SCHEDULER__LAESE", "1s", "unknown setting `laese`, did you mean `lease`?"),
        ("WARMD__REDIS__URL", "http://x", "`redis.url`: no URL of a Redis"),
        ("WARMD__LOG__LEVEL", "a=b=c", "`log.level`: "),
    ] {
        let output = warmd(&world, &["run"]).env(name, value).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(78), "{said}");
        assert!(said.contains(words), "{said}");
    }
}

#[tokio::test]
async fn both_signals_let_a_run_reach_its_next_safe_point() {
    for signal in ["TERM", "INT"] {
        let world = World::new().await;
        write_job(&world, "slow.toml", &slow(EVERY_SECOND));
        let mut daemon = Daemon::start(&world, "a", &[]).ready();
        eventually("the run", async || !world.keys().await.is_empty()).await;
        daemon.signal(signal);
        let told = daemon.until("STOPPING=1");
        assert!(told.contains("running: slow since "), "{told}");
        assert_eq!(daemon.ended(), Some(0));
        let records = records(&world);
        let interrupted = with(&records, "outcome", "interrupted");
        assert_eq!((interrupted.len(), &interrupted[0]["cause"]), (1, &"shutdown".into()), "{records:#?}");
        let written = interrupted[0]["written"].as_u64().unwrap();
        assert_eq!(written, world.keys().await.len() as u64, "what was written is counted");
        assert!((1..2000).contains(&written), "{written}");
        assert_eq!(world.redis_command::<i64>(&["EXISTS", "t:warmd:{slow}:lease"]).await, 0);
    }
}

#[tokio::test]
async fn while_a_daemon_drains_no_run_begins() {
    let world = World::new().await;
    write_job(&world, "stuck.toml", STUCK);
    write_job(&world, "users.toml", &format!("{EVERY_SECOND}{USERS}"));
    let mut daemon = Daemon::start(&world, "a", &[("WARMD__SCHEDULER__SHUTDOWN_GRACE", "3s")]).ready();
    stuck(&world).await;
    let begun = Utc::now();
    daemon.signal("TERM");
    daemon.until("STOPPING=1");
    let stopped = Utc::now();
    assert_eq!(daemon.ended(), Some(1));
    assert!(Utc::now() - begun > TimeDelta::seconds(2), "no tick was due meanwhile");
    let records = records(&world);
    assert!(records.iter().all(|record| tick(record) < stopped), "{stopped}: {records:#?}");
}

#[tokio::test]
async fn the_settings_are_logged_once_at_the_start_without_their_secrets() {
    let world = World::new().await;
    write_job(&world, "users.toml", &format!("{EVERY_SECOND}{USERS}"));
    let url = "redis://warmer:hunter2@127.0.0.1:1/3?password=hunter2";
    let mut daemon = Daemon::start(&world, "a", &[("WARMD__REDIS__URL", url), ("WARMD__LOG__LEVEL", "debug")]).ready();
    daemon.signal("HUP");
    daemon.until("READY=1");
    assert_eq!(daemon.stop(), Some(0));
    let log = fs::read_to_string(world.folder().join("a.log")).unwrap();
    let mut lines = log.lines().filter_map(|line| line.split_once("INFO settings: "));
    let settings: Value = serde_json::from_str(lines.next().unwrap().1).unwrap();
    assert!(lines.next().is_none(), "{log}");
    assert_eq!(settings["redis"]["url"], "redis://127.0.0.1:1/3");
    assert_eq!((&settings["scheduler"]["lease"], &settings["log"]["level"]), (&"10s".into(), &"debug".into()));
    assert!(!log.contains("hunter2") && !log.contains("warmer"), "{log}");
}
