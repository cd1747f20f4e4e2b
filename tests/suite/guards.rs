//! What a run must not do to others: fill Redis, put little in the place of much, remove what is not outdated.

use warmd::{
    record::{Cause, Counts, Outcome, Past},
    run::Request,
    targets::Only,
};

use crate::world::World;

/// 2,000 values of 10 KB.
const LARGE: &str = r#"
key = "large:{id}"
ttl = "10m"
[query]
sql = "WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n WHERE id < 2000) SELECT id, hex(zeroblob(5000)) AS value FROM n"
[limits]
batch = 100
"#;

const USERS: &str = r#"
key = "user:{user_id}"
ttl = "10m"
prune = true
[targets]
user_id = { sql = "SELECT id FROM users ORDER BY id" }
[query]
sql = "SELECT id AS user_id, name FROM users WHERE id IN (:user_id)"
"#;

impl World {
    async fn info(&self, section: &str, field: &str) -> u64 {
        let info: String = self.redis_command(&["INFO", section]).await;
        let line = info.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        line.unwrap().trim().parse().unwrap()
    }

    /// Leaves Redis so many bytes.
    async fn leave_room(&self, bytes: u64, policy: &str) -> u64 {
        let most = self.info("memory", "used_memory").await + bytes;
        self.redis_command::<()>(&["CONFIG", "SET", "maxmemory-policy", policy, "maxmemory", &most.to_string()]).await;
        most
    }
}

fn had(keys: u64) -> Request {
    Request { past: Past { keys: Some(keys), ..Past::default() }, ..Request::manual() }
}

#[tokio::test]
async fn nothing_is_written_where_redis_is_fuller_than_it_may_be() {
    let world = World::new().await;
    world.redis_command::<()>(&["SET", "live", "theirs"]).await;
    world.leave_room(50_000, "noeviction").await;
    let record = world.run(&world.job(LARGE)).await;
    assert_eq!((record.outcome, record.cause), (Outcome::Refused, Some(Cause::Memory)));
    assert!(record.first_error.as_ref().unwrap().contains("`redis.max_memory` is 90%"), "{record:?}");
    assert_eq!((record.counts.written, record.counts.failed), (0, 0));
    assert_eq!(world.keys().await, ["live"]);
    // Where everything is fresh, nothing needs room.
    world.redis_command::<()>(&["CONFIG", "SET", "maxmemory", "0"]).await;
    world.run(&world.job(USERS)).await;
    world.leave_room(1000, "noeviction").await;
    assert_eq!(world.run(&world.job(USERS)).await.outcome, Outcome::Ok);
}

#[tokio::test]
async fn writing_stops_when_redis_fills_up_on_the_way() {
    let world = World::new().await;
    world.redis_command::<()>(&["SET", "live", "theirs"]).await;
    let most = world.leave_room(6_000_000, "noeviction").await;
    let record = world.run(&world.job(LARGE)).await;
    assert_eq!((record.outcome, record.cause), (Outcome::Partial, Some(Cause::Memory)), "{record:?}");
    let Counts { written, unreached, failed, .. } = record.counts;
    assert!((100..550).contains(&written) && unreached > 0 && failed == 0, "{record:?}");
    assert!(world.info("memory", "used_memory").await < most * 95 / 100);
    assert_eq!(world.get("live").await.unwrap(), "theirs");
    // With room again, the next run does the rest.
    world.redis_command::<()>(&["CONFIG", "SET", "maxmemory", "0"]).await;
    let record = world.run(&world.job(LARGE)).await;
    assert_eq!((record.outcome, record.counts.fresh, record.counts.written), (Outcome::Ok, written, 2000 - written));
}

#[tokio::test]
async fn writing_stops_when_redis_evicts_keys_for_it() {
    let mut world = World::new().await;
    world.around.max_memory = Some(1.0);
    world.leave_room(4_000_000, "allkeys-lru").await;
    let slow = LARGE.replace("[limits]", "[limits]\nkeys_per_second = 800");
    let record = world.run(&world.job(&slow)).await;
    assert_eq!((record.outcome, record.cause), (Outcome::Partial, Some(Cause::Memory)), "{record:?}");
    assert!(record.counts.written < 2000, "{record:?}");
}

#[tokio::test]
async fn a_server_that_is_full_all_the_same_stops_the_run_at_its_first_refusal() {
    let mut world = World::new().await;
    world.around.max_memory = None;
    world.leave_room(4_000_000, "noeviction").await;
    let record = world.run(&world.job(LARGE)).await;
    assert_eq!((record.outcome, record.cause), (Outcome::Partial, Some(Cause::Memory)), "{record:?}");
    assert!(record.first_error.unwrap().contains("OOM"));
    assert!(record.counts.failed < 1000, "{:?}", record.counts);
}

#[tokio::test]
async fn a_run_writes_no_more_bytes_than_its_limit() {
    let world = World::new().await;
    for (limit, written) in [(1_000_000, 99), (9_000, 0)] {
        let record = world.run(&world.job(&LARGE.replace("[limits]", &format!("[limits]\nmax_bytes = {limit}")))).await;
        let outcome = if written > 0 { Outcome::Partial } else { Outcome::Refused };
        assert_eq!((record.outcome, record.cause), (outcome, Some(Cause::MaxBytes)), "{record:?}");
        assert_eq!(record.counts.written, written, "{record:?}");
        assert!(record.bytes <= limit);
        assert!(record.first_error.unwrap().contains(&format!("`limits.max_bytes` = {limit}")));
    }
}

#[tokio::test]
async fn a_job_with_suspiciously_few_keys_writes_nothing_unless_forced() {
    let world = World::new().await;
    for text in [USERS.to_owned(), LARGE.replace("id < 2000", "id < 5")] {
        let job = world.job(&text);
        let record = world.run_as(&job, had(1000)).await;
        assert_eq!((record.outcome, record.cause), (Outcome::Refused, Some(Cause::Shrunk)), "{record:?}");
        assert!(record.first_error.unwrap().starts_with("5 keys where the last run had 1000"));
        assert_eq!(world.keys().await, [] as [&str; 0]);
        // Fifty is a tenth, and all of them are needed.
        assert_eq!(world.run_as(&job, had(50)).await.counts.written, 5);
        world.redis_command::<()>(&["FLUSHALL"]).await;
        let forced = Request { force: true, ..had(1000) };
        assert_eq!(world.run_as(&job, forced).await.counts.written, 5);
        world.redis_command::<()>(&["FLUSHALL"]).await;
        let none = text
            .replace("FROM users ORDER", "FROM users WHERE id < 0 ORDER")
            .replace("FROM n\"", "FROM n WHERE id < 0\"");
        assert_eq!(world.run_as(&world.job(&none), had(5)).await.outcome, Outcome::Refused);
        // A part of the job is no smaller job.
        let one = Only { name: job.target_names()[0].clone(), values: vec![warmd::id::Id::Int(2)] };
        assert_eq!(world.run_as(&job, Request { only: vec![one], ..had(1000) }).await.counts.written, 1);
        world.redis_command::<()>(&["FLUSHALL"]).await;
    }
}

#[tokio::test]
async fn values_that_shrink_do_not_replace_what_is_there_unless_forced() {
    let world = World::new().await;
    let text = LARGE.replace("id < 2000", "id < 300").replace("ttl = \"10m\"", "ttl = \"10m\"\nrefresh = \"always\"");
    let job = world.job(&text);
    world.run(&job).await;
    let shrunk = text.replace("zeroblob(5000)", "zeroblob(iif(id % 3 = 0, 5000, 5))");
    let record = world.run(&world.job(&shrunk)).await;
    assert_eq!((record.outcome, record.cause), (Outcome::Refused, Some(Cause::Shrunk)), "{record:?}");
    assert!(
        record.first_error.unwrap().contains("values that were compared would shrink, by more than `max_shrink` = 90%")
    );
    assert!(world.get("t:large:1").await.unwrap().len() > 10_000);
    // Half as large is not suspicious, nor is a list that shrinks here and there.
    for harmless in ["zeroblob(2500)", "zeroblob(iif(id % 3 = 0, 5, 2500))"] {
        assert_eq!(world.run(&world.job(&text.replace("zeroblob(5000)", harmless))).await.counts.written, 300);
    }
    let tolerant = format!("max_shrink = \"100%\"\n{shrunk}");
    assert_eq!(world.run(&world.job(&tolerant)).await.counts.written, 300);
    world.run(&job).await;
    let forced = Request { force: true, ..Request::manual() };
    assert_eq!(world.run_as(&world.job(&shrunk), forced).await.counts.written, 300);
}

#[tokio::test]
async fn an_empty_list_does_not_replace_a_full_one() {
    let world = World::new().await;
    let list = r#"
key = "sales"
ttl = "10m"
refresh = "always"
empty = "store"
[trending]
limit = 5
events = [ { sql = "SELECT user_id, product_id, sold_at AS at FROM sales" } ]
"#;
    let as_of = || Request { now: "2026-01-10T00:00:00Z".parse().unwrap(), ..Request::manual() };
    assert_eq!(world.run_as(&world.job(list), as_of()).await.counts.written, 1);
    let before = world.get("t:sales").await;
    world.sql("DELETE FROM sales").await;
    let record = world.run_as(&world.job(list), as_of()).await;
    assert_eq!((record.outcome, record.cause), (Outcome::Refused, Some(Cause::Shrunk)), "{record:?}");
    assert_eq!(world.get("t:sales").await, before);
}

#[tokio::test]
async fn keys_that_no_target_leads_to_are_removed_after_a_whole_run() {
    let world = World::new().await;
    let job = world.job(USERS);
    let record = world.run(&job).await;
    assert_eq!((record.counts.written, record.counts.pruned), (5, 0));
    world.sql("DELETE FROM users WHERE id IN (2, 3, 4)").await;
    // By now somebody else's.
    world.redis_command::<()>(&["PERSIST", "t:user:3"]).await;
    let other = world.job(&USERS.replace("user:", "other:").replace("prune = true", ""));
    world.run(&other).await;
    let one = Only { name: "user_id".to_owned(), values: vec![warmd::id::Id::Int(1)] };
    assert_eq!(world.run_as(&job, Request { only: vec![one], ..Request::manual() }).await.counts.pruned, 0);
    assert_eq!(world.run_as(&job, Request { dry: true, ..Request::manual() }).await.counts.pruned, 0);
    let record = world.run(&job).await;
    assert_eq!((record.outcome, record.counts.fresh, record.counts.pruned), (Outcome::Ok, 2, 2), "{record:?}");
    assert_eq!(world.keys().await, ["t:other:1", "t:other:5", "t:user:1", "t:user:3", "t:user:5"]);
    let index = "t:warmd:{job}:keys";
    assert_eq!(world.redis_command::<u64>(&["ZCARD", index]).await, 2);
    assert!((1_190_000..=1_200_000).contains(&world.pttl(index).await));
}

#[tokio::test]
async fn nothing_is_removed_after_a_run_that_failed_at_a_target_or_would_remove_nearly_all() {
    let world = World::new().await;
    let job = world.job(USERS);
    world.run(&job).await;
    world.sql("DELETE FROM users WHERE id = 2").await;
    // A name that is no key.
    let broken = world.job(&USERS.replace("FROM users ORDER BY id\"", "FROM users ORDER BY id\", also = [\"a\\nb\"]"));
    let record = world.run(&broken).await;
    assert_eq!((record.counts.failed, record.counts.pruned), (1, 0), "{record:?}");
    world.sql("DELETE FROM users").await;
    let record = world.run(&job).await;
    assert_eq!((record.outcome, record.cause), (Outcome::Refused, Some(Cause::Shrunk)), "{record:?}");
    assert!(record.first_error.unwrap().starts_with("5 of 5 keys would be removed"));
    assert_eq!(world.keys().await.len(), 5);
    let forced = world.run_as(&job, Request { force: true, ..Request::manual() }).await;
    assert_eq!((forced.outcome, forced.counts.pruned), (Outcome::Ok, 5));
    assert_eq!(world.keys().await, [] as [&str; 0]);
}

#[tokio::test]
async fn more_keys_than_a_chunk_are_removed_and_the_index_follows() {
    let world = World::new().await;
    let text = LARGE
        .replace("zeroblob(5000)", "zeroblob(1)")
        .replace("[query]", "prune = true\nmax_shrink = \"100%\"\n[query]");
    world.run(&world.job(&text)).await;
    let fewer = text.replace("id < 2000", "id < 40").replace("[limits]", "[limits]\nkeys_per_second = 1000");
    let record = world.run(&world.job(&fewer)).await;
    assert_eq!((record.counts.fresh, record.counts.pruned), (40, 1960), "{record:?}");
    assert!(record.seconds > 1.8, "removing keeps to the quota, too: {} s", record.seconds);
    assert_eq!(world.keys().await.len(), 40);
}
