//! How Redis and the keys are, as the daemon tells it.

use serde_json::Value;

use super::{Asked, USERS, start, world};
use crate::{daemon::eventually, world::World};

/// A look a second.
pub const OFTEN: (&str, &str) = ("WARMD__MONITOR__INTERVAL", "1s");

/// No alert of a Redis that answers slowly, which a busy machine makes of any.
pub const ANY_SPEED: (&str, &str) = ("WARMD__ALERTS__RESPONSE_TIME", "off");

fn health(asked: &Asked) -> Value {
    asked.place.get("/api/health").json()
}

/// What an application looks up: keys that are there, and keys that are not.
pub(super) async fn look_up(world: &World, hits: usize, misses: usize) {
    let mut commands = redis::pipe();
    commands.cmd("SET").arg("app:there").arg("1").ignore();
    (0..hits).for_each(|_| _ = commands.get("app:there").ignore());
    (0..misses).for_each(|_| _ = commands.get("app:away").ignore());
    commands.query_async::<()>(&mut world.client().await).await.unwrap();
}

#[tokio::test]
async fn lookups_of_the_application_make_the_hit_rate_and_those_of_warmd_do_not() {
    let often = USERS.replace("0 0 1 1 *", "@every 1s").replace("missing", "always");
    let world = world(&[("users", &often), ("more", &USERS.replace("user:", "more:"))]).await;
    let asked = start(&world, "a", &[OFTEN]);
    let runs = "warmd_runs_total{job_name=\"users\",outcome=\"ok\"}";
    eventually("runs", async || asked.place.metric(runs) >= Some(3.0)).await;
    let lookups =
        |result: &str| asked.place.metric(&format!("warmd_redis_lookups_total{{result=\"{result}\"}}")).unwrap();
    eventually("two looks", async || {
        health(&asked)["redis"]["summaries"]["response_seconds"]["count"].as_u64() > Some(2)
    })
    .await;
    let both = || (lookups("hit"), lookups("miss"));
    assert_eq!(both(), (0.0, 0.0));
    look_up(&world, 300, 100).await;
    // What was under way at the first look is not told apart from theirs ever.
    eventually("the lookups", async || lookups("hit") >= 290.0 && lookups("miss") >= 90.0).await;
    let (hits, misses) = both();
    assert!(hits <= 300.0 && (90.0..=100.0).contains(&misses), "{hits} hits and {misses} misses");
    let health = health(&asked);
    let redis = &health["redis"];
    assert_eq!(redis["error"], Value::Null);
    let lowest = redis["summaries"]["hit_rate"]["min"].as_f64().unwrap();
    assert!((0.0..=0.8).contains(&lowest), "{redis:#}");
    let response = &redis["summaries"]["response_seconds"];
    let measure = |name: &str| response[name].as_f64().unwrap();
    assert!(0.0 < measure("min") && measure("min") <= measure("median") && measure("median") <= measure("max"));
    // A busy machine makes any answer late, but not all of them.
    assert!(measure("min") < 1.0, "{response}");
    assert!(redis["latest"]["used_memory_bytes"].as_f64() > Some(100_000.0));
    assert!(redis["latest"]["connected_clients"].as_f64() >= Some(2.0));
    assert_eq!(redis["latest"]["memory_share"], Value::Null, "there is no maxmemory");
    assert_eq!(redis["points"].as_array().unwrap().len() as u64, response["count"].as_u64().unwrap());
    assert_eq!(asked.daemon.stop(), Some(0));
}

#[tokio::test]
async fn how_many_of_a_jobs_keys_are_there_is_known_from_its_last_run_on_any_instance() {
    let world = world(&[("users", USERS), ("idle", &USERS.replace("user:", "idle:"))]).await;
    let asked = start(&world, "a", &[OFTEN]);
    assert_eq!(asked.place.run("users").status, 202);
    let keys = |asked: &Asked| health(asked)["jobs"]["users"].clone();
    eventually("a look", async || keys(&asked)["coverage"] == 1.0).await;
    let found = keys(&asked);
    assert_eq!((&found["sampled_keys"], &found["keys"]), (&5.into(), &5.into()), "{found}");
    assert!((0.0..60.0).contains(&found["oldest_key_seconds"].as_f64().unwrap()), "{found}");
    assert!((540.0..=600.0).contains(&found["first_cold_seconds"].as_f64().unwrap()), "{found}");
    assert_eq!(health(&asked)["jobs"]["idle"], Value::Null, "it has never run");
    world.redis_command::<()>(&["PEXPIRE", "t:user:3", "90000"]).await;
    // Last of all, so that a look that finds them gone finds the other, too.
    world.redis_command::<()>(&["DEL", "t:user:1", "t:user:2"]).await;
    eventually("a look", async || keys(&asked)["coverage"] == 0.6).await;
    let first = keys(&asked)["first_cold_seconds"].as_f64().unwrap();
    assert!((30.0..=90.0).contains(&first), "{first}");
    // Another instance knows it as well, without a run of its own, and what Redis has lost is not forgotten.
    let other = start(&world, "b", &[OFTEN]);
    eventually("a look", async || keys(&other)["coverage"] == 0.6).await;
    world.redis_command::<()>(&["FLUSHALL"]).await;
    eventually("a look", async || keys(&other)["coverage"] == 0.0).await;
    let series = "warmd_coverage_ratio{job_name=\"users\"}";
    assert_eq!(other.place.metric(series), Some(0.0));
    for asked in [asked, other] {
        assert_eq!(asked.daemon.stop(), Some(0));
    }
}

#[tokio::test]
async fn a_target_for_which_nothing_is_found_is_no_missing_key() {
    // Of the five users, one has no row.
    let some = USERS.replace("WHERE id IN", "WHERE id > 1 AND id IN");
    let world = world(&[("users", &some)]).await;
    let asked = start(&world, "a", &[OFTEN]);
    assert_eq!(asked.place.run("users").status, 202);
    let keys = || health(&asked)["jobs"]["users"].clone();
    eventually("a look", async || keys()["coverage"] == 1.0).await;
    assert_eq!((keys()["sampled_keys"].as_u64(), keys()["keys"].as_u64()), (Some(4), Some(4)));
    assert_eq!(asked.daemon.stop(), Some(0));
}
