//! Which of the lookups that Redis counts are warmd's own.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use chrono::{TimeDelta, Utc};
use warmd::cache::{Claim, Claimed, Done, Entry, Idle, Index, Lookups, Sample, Store, Tick, Ticks, Vitals};

use crate::{
    daemon::{eventually, slow},
    http::{self, health::OFTEN},
    world::World,
};

/// Nobody else has looked anything up, and nothing is under way.
async fn all_is_own(store: &Store) -> Vitals {
    let vitals = store.vitals("t:").await.unwrap().unwrap();
    let counted = Lookups { hits: vitals.hits, misses: vitals.misses };
    assert_eq!((vitals.own.at_least, vitals.own.at_most), (counted, counted));
    vitals
}

fn names(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|number| format!("t:{number}")).collect()
}

fn entry(key: &str) -> Entry {
    Entry { key: key.to_owned(), value: "1".into(), ttl: Duration::from_secs(60), only_absent: false }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn lookups_whose_answers_are_on_their_way_are_taken_for_nobody_elses() {
    let world = World::new().await;
    let store = &world.around.store;
    let entries: Vec<Entry> = names(0..500).iter().map(|key| entry(key)).collect();
    store.write(&entries).await.unwrap();
    let is_over = AtomicBool::new(false);
    // Half of them are there.
    let keys = names(0..1000);
    let looks = async {
        while !is_over.load(Ordering::Relaxed) {
            store.presence(&keys).await.unwrap();
        }
    };
    let judge = async {
        let mut unknown = 0;
        for _ in 0..300 {
            let Vitals { hits, misses, own, .. } = store.vitals("t:").await.unwrap().unwrap();
            assert!((own.at_least.hits..=own.at_most.hits).contains(&hits), "{hits} hits, and {own:?}");
            assert!((own.at_least.misses..=own.at_most.misses).contains(&misses), "{misses} misses, and {own:?}");
            unknown += u32::from(own.at_least != own.at_most);
        }
        is_over.store(true, Ordering::Relaxed);
        assert!(unknown > 0, "nothing was under way");
    };
    tokio::join!(looks, judge);
    all_is_own(store).await;
}

#[tokio::test]
async fn all_that_is_looked_up_for_a_run_is_counted_as_its_own() {
    let world = World::new().await;
    let store = &world.around.store;
    let keys = names(0..10);
    store.write(&keys[..5].iter().map(|key| entry(key)).collect::<Vec<_>>()).await.unwrap();
    world.redis_command::<()>(&["SET", "t:5", "somebody else's"]).await;
    world.redis_command::<i64>(&["SADD", "t:6", "a set"]).await;

    let borrowed: Vec<&str> = keys.iter().map(String::as_str).collect();
    assert_eq!(store.lengths(&borrowed).await.unwrap().iter().sum::<u64>(), 5 + 15);
    assert!(matches!(store.idle(&borrowed).await.unwrap(), Idle::Times(_)));
    world.redis_command::<()>(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lfu"]).await;
    assert_eq!(store.idle(&borrowed).await.unwrap(), Idle::Unknown);
    assert!(store.get("t:1").await.unwrap().is_some());
    assert!(store.get("t:9").await.unwrap().is_none());
    all_is_own(store).await;

    store.keep_sample("t:", "a", &Sample { keys: keys.clone(), of: 10 }).await.unwrap();
    assert_eq!(store.samples("t:", &["a", "b"]).await.unwrap().iter().flatten().count(), 1);
    all_is_own(store).await;

    let index = |run| Index::new("t:", "a", run, Duration::from_secs(60));
    let (first, second) = (index(Utc::now() - TimeDelta::minutes(1)), index(Utc::now()));
    assert_eq!(store.indexed(&first).await.unwrap().all, 0);
    store.remember(&first, &keys).await.unwrap();
    store.remember(&second, &names(10..12)).await.unwrap();
    assert_eq!(store.indexed(&second).await.unwrap().outdated, 10);
    // Three never were; somebody else's string and set have no TTL.
    assert_eq!(store.prune(&second).await.unwrap(), (10, 5));
    assert_eq!(store.prune(&second).await.unwrap(), (0, 0));
    let vitals = all_is_own(store).await;
    assert!(vitals.hits >= 30 && vitals.misses >= 15, "{vitals:?}");
}

#[tokio::test]
async fn a_run_that_goes_on_over_a_reload_is_nobody_else() {
    let slow = slow("schedule = \"0 0 1 1 *\"\ncatch_up = \"none\"");
    // Twenty seconds, for a reload and four looks.
    let slower = slow.replace("keys_per_second = 200", "keys_per_second = 100");
    let world = http::world(&[("slow", &slower)]).await;
    let asked = http::start(&world, "a", &[OFTEN]);
    assert_eq!(asked.place.run("slow").status, 202);
    eventually("the run", async || world.keys().await.len() >= 20).await;
    asked.daemon.signal("HUP");
    let looks = || asked.place.get("/api/health").json()["redis"]["points"].as_array().unwrap().len();
    eventually("four looks", async || looks() >= 4).await;
    let others = |result| asked.place.metric(&format!("warmd_redis_lookups_total{{result=\"{result}\"}}"));
    assert_eq!((others("hit"), others("miss")), (Some(0.0), Some(0.0)));
    assert!(world.keys().await.len() < 2000, "the run was over");
    assert_eq!(asked.daemon.stop(), Some(0));
}

#[tokio::test]
async fn what_leases_look_up_is_counted_as_warmds_own() {
    let world = World::new().await;
    let store = &world.around.store;
    let tick = Some(Tick { at: Utc::now(), again: false });
    let claim = Claim { prefix: "t:", job: "users", instance: "a", tick, length: Duration::from_secs(10) };
    let done = Done { ticks: Ticks::one(Utc::now()), rest: Duration::from_secs(60) };
    for done in [None, Some(done)] {
        let Ok(Claimed::Granted(lease)) = store.claim(claim).await else { panic!("it was not granted") };
        assert!(matches!(store.claim(claim).await, Ok(Claimed::Held(_))));
        assert!(lease.release(done).await.unwrap());
    }
    assert!(matches!(store.claim(claim).await, Ok(Claimed::Done)));
    let vitals = all_is_own(store).await;
    assert!(vitals.hits >= 10 && vitals.misses >= 5, "{vitals:?}");
}
