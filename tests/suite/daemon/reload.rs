//! SIGHUP: other jobs take effect, all or none.

use std::fs;

use super::{Daemon, EVERY_SECOND, USERS, records, slow, until, with};
use crate::{
    cli::{warmd, write_job},
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
    while world.keys().await.is_empty() {
        tokio::task::yield_now().await;
    }
    fs::remove_file(world.folder().join("slow.toml")).unwrap();
    daemon.signal("HUP");
    daemon.until("RELOADING=1");
    assert!(daemon.until("READY=1").contains("no enabled job has a schedule"));
    let records = until(&world, "the run", |records| !with(records, "outcome", "ok").is_empty()).await;
    assert_eq!(with(&records, "outcome", "ok")[0]["written"], 400);
    assert_eq!(daemon.stop(), Some(0));
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
    daemon.until("last: users: ok");
    daemon.until("last: users: ok");
    assert!(log().contains("INFO users: ok") && log().contains("DEBUG"), "{}", log());
    assert_eq!(daemon.stop(), Some(0));
}
