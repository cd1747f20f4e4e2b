//! Several instances on one Redis.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::{Daemon, EVERY_SECOND, USERS, slow, until, with};
use crate::{
    cli::{run, write_job},
    world::World,
};

#[tokio::test]
async fn two_instances_on_one_redis_run_each_tick_once() {
    let world = World::new().await;
    for job in ["a", "b", "c"] {
        let text = format!("{EVERY_SECOND}{}", USERS.replace("user:", &format!("{job}:")));
        write_job(&world, &format!("{job}.toml"), &text);
    }
    let daemons = [Daemon::start(&world, "one", &[]).ready(), Daemon::start(&world, "two", &[]).ready()];
    let records = until(&world, "five ticks", |records| with(records, "job", "c").len() >= 5).await;
    for daemon in daemons {
        assert_eq!(daemon.stop(), Some(0));
    }
    let mut ticks: BTreeMap<(String, String), usize> = BTreeMap::new();
    for record in &records {
        let text = |field: &str| record[field].as_str().unwrap().to_owned();
        *ticks.entry((text("job"), text("scheduled"))).or_default() += 1;
    }
    assert!(ticks.values().all(|runs| *runs == 1), "{ticks:#?}");
    assert!(with(&records, "outcome", "ok").len() == records.len(), "{records:#?}");
}

#[tokio::test]
async fn the_tick_of_a_killed_daemon_is_taken_over_within_one_lease() {
    let world = World::new().await;
    write_job(&world, "slow.toml", &slow("schedule = \"0 0 1 1 *\"").replace("< 2000", "< 500"));
    world.redis_command::<String>(&["SET", "t:warmd:{slow}:tick", "1"]).await;
    let mut first = Daemon::start(&world, "first", &[]).ready();
    while world.keys().await.len() < 50 {
        tokio::task::yield_now().await;
    }
    let second = Daemon::start(&world, "second", &[]).ready();
    // By hand it does not run either, and says who does.
    let (code, _, err) = run(&world, &["warm", "slow"]);
    assert_eq!(code, Some(75), "{err}");
    assert!(err.contains("slow: skipped: the lease is held by first since 20"), "{err}");
    first.child.kill().unwrap();
    first.child.wait().unwrap();
    let killed = Instant::now();
    while !world
        .redis_command::<Option<String>>(&["GET", "t:warmd:{slow}:lease"])
        .await
        .is_some_and(|holder| holder.ends_with("second"))
    {
        tokio::task::yield_now().await;
        assert!(killed.elapsed() < Duration::from_secs(20));
    }
    // A lease of one second, and a busy machine.
    assert!(killed.elapsed() < Duration::from_secs(3), "{:?}", killed.elapsed());
    let records = until(&world, "the run", |records| !with(records, "outcome", "ok").is_empty()).await;
    let ok = with(&records, "outcome", "ok");
    assert_eq!((ok.len(), &ok[0]["instance"]), (1, &"second".into()));
    assert_eq!(world.keys().await.len(), 500);
    assert_eq!(second.stop(), Some(0));
}

#[tokio::test]
async fn a_run_that_lost_its_lease_stops_and_says_so() {
    let world = World::new().await;
    write_job(&world, "slow.toml", &slow("schedule = \"0 0 1 1 *\""));
    world.redis_command::<String>(&["SET", "t:warmd:{slow}:tick", "1"]).await;
    let daemon = Daemon::start(&world, "a", &[]).ready();
    while world.keys().await.len() < 50 {
        tokio::task::yield_now().await;
    }
    world.redis_command::<String>(&["SET", "t:warmd:{slow}:lease", "stolen 0 thief", "PX", "60000"]).await;
    let records = until(&world, "the end", |records| !records.is_empty()).await;
    assert_eq!((&records[0]["outcome"], &records[0]["cause"]), (&"interrupted".into(), &"lease_lost".into()));
    assert_eq!(daemon.stop(), Some(0));
    let holder: String = world.redis_command(&["GET", "t:warmd:{slow}:lease"]).await;
    assert_eq!(holder, "stolen 0 thief", "the lease of another was released");
}
