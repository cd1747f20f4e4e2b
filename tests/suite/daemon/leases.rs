//! Several instances on one Redis.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{Daemon, SHORT_LEASE, USERS, eventually, records, slow, tick, until, with};
use crate::{
    cli::{run, write_job},
    standstill::{Stopwatch, undisturbed},
    world::World,
};

#[tokio::test]
async fn two_instances_on_one_redis_run_each_tick_once() {
    undisturbed(async || {
        let world = World::new().await;
        for job in ["a", "b", "c"] {
            let every = "schedule = \"@every 2s\"\nrefresh = \"always\"\n";
            let text = format!("{every}{}", USERS.replace("user:", &format!("{job}:")));
            write_job(&world, &format!("{job}.toml"), &text);
        }
        let daemons = [Daemon::start(&world, "one", &[]).ready(), Daemon::start(&world, "two", &[]).ready()];
        // Of all, so that nothing runs when they are told to stop.
        let records = until(&world, "five ticks of all", |records| {
            let of = |job| with(records, "job", job);
            let newest: BTreeSet<_> = ["a", "b", "c"].iter().map(|job| of(job).last().map(|last| tick(last))).collect();
            newest.len() == 1 && of("c").len() >= 5
        })
        .await;
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
    })
    .await;
}

#[tokio::test]
async fn the_tick_of_a_killed_daemon_is_taken_over_within_one_lease() {
    undisturbed(async || {
        let world = World::new().await;
        write_job(&world, "slow.toml", &slow("schedule = \"0 0 1 1 *\""));
        world.redis_command::<String>(&["SET", "t:warmd:{slow}:tick", "1"]).await;
        let mut first = Daemon::start(&world, "first", &[SHORT_LEASE]).ready();
        eventually("the run", async || world.keys().await.len() >= 50).await;
        let second = Daemon::start(&world, "second", &[SHORT_LEASE]).ready();
        // By hand it does not run either, and says who does.
        let (code, _, err) = run(&world, &["warm", "slow"]);
        assert_eq!(code, Some(75), "{err}");
        assert!(err.contains("slow: skipped: the lease is held by first since 20"), "{err}");
        first.child.kill().unwrap();
        first.child.wait().unwrap();
        let killed = Stopwatch::start();
        let holder = async || world.redis_command::<Option<String>>(&["GET", "t:warmd:{slow}:lease"]).await;
        eventually("another holder", async || holder().await.is_some_and(|holder| holder.ends_with("second"))).await;
        // The lease, and a busy machine. Without a look at how long the lease lasts, it would be fifteen seconds.
        assert!(killed.elapsed() < Duration::from_secs(10), "{:?}", killed.elapsed());
        let records = until(&world, "the run", |records| !with(records, "outcome", "ok").is_empty()).await;
        let ok = with(&records, "outcome", "ok");
        assert_eq!((ok.len(), &ok[0]["instance"]), (1, &"second".into()));
        assert_eq!(world.keys().await.len(), 2000);
        assert_eq!(second.stop(), Some(0));
    })
    .await;
}

#[tokio::test]
async fn a_run_that_lost_its_lease_stops_and_its_tick_waits_for_the_next_occasion() {
    let world = World::new().await;
    write_job(&world, "slow.toml", &slow("schedule = \"0 0 1 1 *\""));
    world.redis_command::<String>(&["SET", "t:warmd:{slow}:tick", "1"]).await;
    let daemon = Daemon::start(&world, "a", &[]).ready();
    eventually("the run", async || world.keys().await.len() >= 50).await;
    world.redis_command::<String>(&["SET", "t:warmd:{slow}:lease", "stolen 0 thief", "PX", "60000"]).await;
    let records = until(&world, "the end", |records| !records.is_empty()).await;
    assert_eq!((&records[0]["outcome"], &records[0]["cause"]), (&"interrupted".into(), &"lease_lost".into()));
    let holder: String = world.redis_command(&["GET", "t:warmd:{slow}:lease"]).await;
    assert_eq!(holder, "stolen 0 thief", "the lease of another was released");
    // The tick is not over: its run goes on when the other turns out to have died.
    let written = world.keys().await.len();
    world.redis_command::<i64>(&["DEL", "t:warmd:{slow}:lease"]).await;
    eventually("the rest of the run", async || world.keys().await.len() > written).await;
    assert_eq!(daemon.stop(), Some(0));
}

#[tokio::test]
async fn a_run_longer_than_its_lease_keeps_it() {
    undisturbed(async || {
        let world = World::new().await;
        // Ten seconds, with a lease of five.
        write_job(&world, "slow.toml", &slow("schedule = \"0 0 1 1 *\""));
        world.redis_command::<String>(&["SET", "t:warmd:{slow}:tick", "1"]).await;
        let lease = [("WARMD__SCHEDULER__LEASE", "5s")];
        let daemons = [Daemon::start(&world, "one", &lease).ready(), Daemon::start(&world, "two", &lease).ready()];
        let begun = Stopwatch::start();
        let mut holders = BTreeSet::new();
        while records(&world).is_empty() {
            assert!(begun.elapsed() < Duration::from_secs(60), "it does not end");
            let value = world.redis_command::<Option<String>>(&["GET", "t:warmd:{slow}:lease"]).await;
            holders.extend(value.map(|value| value.rsplit(' ').next().unwrap().to_owned()));
        }
        for daemon in daemons {
            assert_eq!(daemon.stop(), Some(0));
        }
        let records = records(&world);
        assert_eq!((records.len(), &records[0]["outcome"]), (1, &"ok".into()), "{records:#?}");
        assert!(records[0]["seconds"].as_f64().unwrap() > 8.0, "{records:#?}");
        assert_eq!(holders.into_iter().collect::<Vec<_>>(), [records[0]["instance"].as_str().unwrap()]);
    })
    .await;
}
