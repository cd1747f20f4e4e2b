//! SIGHUP: other jobs take effect, all or none.

use std::{
    fs,
    time::{Duration, Instant},
};

use super::{Daemon, EVERY_SECOND, USERS, eventually, records, slow, tick, until, with};
use crate::{
    cli::{warmd, write_job},
    standstill::undisturbed,
    world::World,
};

#[tokio::test]
async fn a_reload_takes_all_or_nothing() {
    let world = World::new().await;
    write_job(&world, "users.toml", &format!("{EVERY_SECOND}{USERS}"));
    let mut daemon = Daemon::start(&world, "a", &[]).ready();
    write_job(&world, "more.toml", &format!("{EVERY_SECOND}{}", USERS.replace("user:", "more:")));
    write_job(&world, "bad.toml", "schedule = \"61 * * * *\"\n");
    daemon.signal("HUP");
    daemon.until("RELOADING=1\nMONOTONIC_USEC=");
    let status = daemon.until("READY=1");
    assert!(status.contains("reload failed: ") && status.contains("bad.toml:1:1: `ttl` is missing"), "{status}");
    let count = records(&world).len();
    let after = until(&world, "more ticks", |records| records.len() >= count + 2).await;
    assert!(with(&after, "job", "more").is_empty(), "a job of a refused reload ran");
    fs::remove_file(world.folder().join("bad.toml")).unwrap();
    daemon.signal("HUP");
    let status = daemon.until("READY=1");
    assert!(status.contains("2 jobs") && !status.contains("reload failed"), "{status}");
    until(&world, "the new job", |records| !with(records, "job", "more").is_empty()).await;
    write_job(&world, "users.toml", &format!("enabled = false\n{EVERY_SECOND}{USERS}"));
    daemon.signal("HUP");
    assert!(daemon.until("READY=1").contains("1 job"));
    assert_eq!(daemon.stop(), Some(0));
}

#[tokio::test]
async fn a_running_run_ends_with_the_definition_it_began_with() {
    let world = World::new().await;
    write_job(&world, "slow.toml", &slow("schedule = \"@every 1s\"").replace("< 2000", "< 400"));
    let mut daemon = Daemon::start(&world, "a", &[]).ready();
    eventually("the run", async || !world.keys().await.is_empty()).await;
    fs::remove_file(world.folder().join("slow.toml")).unwrap();
    daemon.signal("HUP");
    daemon.until("RELOADING=1");
    assert!(daemon.until("READY=1").contains("no enabled job has a schedule"));
    let records = until(&world, "the run", |records| !with(records, "outcome", "ok").is_empty()).await;
    assert_eq!(with(&records, "outcome", "ok")[0]["written"], 400);
    assert_eq!(daemon.stop(), Some(0));
}

#[tokio::test]
async fn reloads_without_end_lose_no_tick_and_repeat_none() {
    undisturbed(async || {
        let world = World::new().await;
        write_job(&world, "users.toml", &format!("schedule = \"@every 2s\"\nrefresh = \"always\"\n{USERS}"));
        let mut daemon = Daemon::start(&world, "a", &[]).ready();
        let begun = Instant::now();
        // The daemon looks for what is due twice a second: nearly every tick is found by a reload.
        while begun.elapsed() < Duration::from_secs(10) {
            daemon.signal("HUP");
            daemon.until("READY=1");
        }
        assert_eq!(daemon.stop(), Some(0));
        let mut records = records(&world);
        // The end may come in the middle of a run.
        records.pop_if(|last| last["outcome"] == "interrupted");
        assert_eq!(with(&records, "outcome", "ok").len(), records.len(), "{records:#?}");
        let ticks: Vec<i64> = records.iter().map(|record| tick(record).timestamp()).collect();
        assert!(ticks.len() >= 4 && ticks.windows(2).all(|pair| pair[1] == pair[0] + 2), "{ticks:?}");
    })
    .await;
}

#[tokio::test]
async fn a_changed_job_is_what_the_next_tick_runs() {
    let world = World::new().await;
    write_job(&world, "users.toml", &format!("{EVERY_SECOND}{USERS}"));
    let mut daemon = Daemon::start(&world, "a", &[]).ready();
    until(&world, "a run", |records| !records.is_empty()).await;
    write_job(&world, "users.toml", &format!("{EVERY_SECOND}{}", USERS.replace("user:", "changed:")));
    daemon.signal("HUP");
    daemon.until("READY=1");
    eventually("its keys", async || world.keys().await.contains(&"t:changed:1".to_owned())).await;
    assert_eq!(daemon.stop(), Some(0));
}

#[tokio::test]
async fn a_job_that_a_reload_brings_makes_up_for_what_it_missed() {
    let world = World::new().await;
    let mut daemon = Daemon::start(&world, "a", &[]).ready();
    write_job(&world, "back.toml", &format!("schedule = \"0 0 1 1 *\"\n{USERS}"));
    world.redis_command::<String>(&["SET", "t:warmd:{back}:tick", "1577836800"]).await;
    daemon.signal("HUP");
    daemon.until("READY=1");
    until(&world, "a run", |records| !with(records, "outcome", "ok").is_empty()).await;
    assert_eq!(daemon.stop(), Some(0));
}

#[tokio::test]
async fn what_waits_for_a_server_takes_up_the_one_that_a_reload_names() {
    let world = World::new().await;
    for (job, schedule) in [("stays", "@every 1s"), ("goes", "@every 1s"), ("missed", "0 0 1 1 *")] {
        let text = USERS.replace("user:", &format!("{job}:"));
        write_job(&world, &format!("{job}.toml"), &format!("schedule = \"{schedule}\"\n{text}"));
    }
    world.redis_command::<String>(&["SET", "t:warmd:{missed}:tick", "1577836800"]).await;
    let url = world.folder().join("url");
    fs::write(&url, "redis+unix:///nowhere/redis.sock").unwrap();
    let mut command = warmd(&world, &["run"]);
    command.env_remove("WARMD__REDIS__URL").env("WARMD__REDIS__URL_FILE", &url);
    let mut daemon = Daemon::spawn(&world, "a", command).ready();
    daemon.until("waiting: goes: Redis at /nowhere/redis.sock: ");
    daemon.until("waiting: stays: ");
    fs::remove_file(world.folder().join("goes.toml")).unwrap();
    fs::write(&url, &world.redis.url).unwrap();
    daemon.signal("HUP");
    daemon.until("RELOADING=1");
    for job in ["stays", "missed"] {
        until(&world, job, |records| with(records, "outcome", "ok").iter().any(|record| record["job"] == job)).await;
    }
    while daemon.until("STATUS=").contains("waiting: ") {}
    assert_eq!(daemon.stop(), Some(0));
    assert!(with(&records(&world), "job", "goes").iter().all(|record| record["outcome"] == "skipped"));
}

#[tokio::test]
async fn a_reload_changes_what_is_logged_and_a_refused_one_does_not() {
    let world = World::new().await;
    write_job(&world, "users.toml", &format!("{EVERY_SECOND}{USERS}"));
    let file = world.folder().join("settings");
    let log = || fs::read_to_string(world.folder().join("a.log")).unwrap();
    fs::write(&file, "[log]\nlevel = \"warn\"\n").unwrap();
    let mut command = warmd(&world, &["run", "--config", file.to_str().unwrap()]);
    command.env_remove("WARMD__LOG__LEVEL");
    let mut daemon = Daemon::spawn(&world, "a", command).ready();
    fs::write(&file, "[log]\nlevel = \"debug\"\n[lgo]\n").unwrap();
    daemon.signal("HUP");
    assert!(daemon.until("READY=1").contains("reload failed: "));
    until(&world, "two ticks", |records| records.len() >= 2).await;
    assert!(!log().contains("INFO"), "{}", log());
    fs::write(&file, "[log]\nlevel = \"debug\"\n").unwrap();
    daemon.signal("HUP");
    daemon.until("READY=1");
    eventually("what was not logged before", async || log().contains("INFO users: ok") && log().contains("DEBUG"))
        .await;
    assert_eq!(daemon.stop(), Some(0));
}
