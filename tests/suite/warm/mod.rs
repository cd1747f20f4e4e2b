//! Runs of jobs against a real database and a real Redis.

use std::time::{Duration, Instant};

use sqlx::Connection as _;
use warmd::{
    id::Id,
    record::{Cause, Outcome, Past},
    run::Request,
    targets::Only,
};

use crate::{daemon::eventually, servers, world::World};

mod computed;
mod ends;
mod parts;
mod shared;

use computed::{RECOMMEND, as_of_january};
use parts::{lock, shop, waiting};

const USERS: &str = r#"
key = "user:{user_id}"
ttl = "10m"
[targets]
user_id = { sql = "SELECT id FROM users ORDER BY score DESC LIMIT :limit", limit = 100 }
[query]
sql = "SELECT id AS user_id, name, score FROM users WHERE id IN (:user_id)"
"#;

/// The same with values that are not to be had before a lock is let go.
fn held() -> String {
    USERS.replace("name, score FROM users", "name, pg_advisory_xact_lock_shared(7)::text AS held FROM users")
}

#[tokio::test]
async fn rows_become_objects_that_any_client_can_read() {
    let world = World::new().await;
    let began = Instant::now();
    let record = world.run(&world.job(USERS)).await;
    assert_eq!((record.outcome, record.counts.keys, record.counts.written), (Outcome::Ok, 5, 5));
    assert_eq!(record.queries, 2, "one statement for the targets, one for the batch");
    assert_eq!(world.get("t:user:1").await.unwrap(), r#"{"name":"Ada","score":10}"#);
    let left = world.pttl("t:user:1").await;
    // Redis counts whole milliseconds.
    let passed = began.elapsed().as_millis() as i64 + 1;
    assert!((600_000 - passed..=600_000).contains(&left), "{left} ms left after {passed}");
}

#[tokio::test]
async fn a_second_run_finds_all_fresh_and_asks_nothing_but_the_targets() {
    let world = World::new().await;
    for text in [USERS, RECOMMEND] {
        let job = world.job(text);
        world.run_as(&job, as_of_january()).await;
        let second = world.run_as(&job, as_of_january()).await;
        assert_eq!(second.outcome, Outcome::Ok);
        assert_eq!((second.counts.written, second.counts.fresh + second.counts.empty), (0, second.counts.keys));
    }
    let record = world.run(&world.job(USERS)).await;
    assert_eq!((record.queries, record.counts.fresh), (1, 5));
}

#[tokio::test]
async fn only_missing_keys_are_computed_and_written() {
    let world = World::new().await;
    let job = world.job(USERS);
    world.run(&job).await;
    world.redis_command::<i64>(&["DEL", "t:user:2", "t:user:4"]).await;
    servers::execute(&world.database.url, "UPDATE users SET score = 99").await;
    let record = world.run(&job).await;
    assert_eq!((record.counts.missing, record.counts.fresh, record.counts.written), (2, 3, 2));
    assert_eq!(record.rows, 5 + 2);
    assert_eq!(world.get("t:user:1").await.unwrap(), r#"{"name":"Ada","score":10}"#);
    assert_eq!(world.get("t:user:2").await.unwrap(), r#"{"name":"Bob","score":99}"#);
}

#[tokio::test]
async fn auto_renews_a_key_that_would_not_last_until_the_next_run() {
    let world = World::new().await;
    let job = world.job(&format!("schedule = \"@every 4m\"\n{USERS}"));
    world.run(&job).await;
    // The next tick is at most four minutes away, and its margin 24 seconds.
    world.redis_command::<i64>(&["PEXPIRE", "t:user:1", "20000"]).await;
    let record = world.run(&job).await;
    assert_eq!((record.counts.stale, record.counts.fresh, record.counts.written), (1, 4, 1));
    assert!(world.pttl("t:user:1").await > 590_000);
    // A run that is known to take long needs a longer reserve: then ten minutes are not enough for any.
    let slow = Request { past: Past { expected: Duration::from_secs(900), ..Past::default() }, ..Request::manual() };
    assert_eq!(world.run_as(&job, slow).await.counts.stale, 5);
}

#[tokio::test]
async fn missing_share_and_always_choose_what_is_due() {
    let world = World::new().await;
    world.run(&world.job(USERS)).await;
    world.redis_command::<i64>(&["PEXPIRE", "t:user:1", "100000"]).await;
    for (refresh, stale) in [("missing", 0), ("10%", 0), ("20%", 1), ("always", 5)] {
        let job = world.job(&format!("refresh = \"{refresh}\"\n{USERS}"));
        let dry = Request { dry: true, ..Request::manual() };
        assert_eq!(world.run_as(&job, dry).await.counts.stale, stale, "{refresh}");
    }
    let force = Request { force: true, ..Request::manual() };
    assert_eq!(world.run_as(&world.job(USERS), force).await.counts.written, 5);
}

#[tokio::test]
async fn a_key_without_ttl_is_another_owners_and_never_touched() {
    let world = World::new().await;
    world.redis_command::<String>(&["SET", "t:user:3", "mine"]).await;
    let force = Request { force: true, ..Request::manual() };
    let record = world.run_as(&world.job(&format!("refresh = \"always\"\n{USERS}")), force).await;
    assert_eq!((record.counts.foreign, record.counts.fresh, record.counts.written), (1, 1, 4));
    assert_eq!(world.get("t:user:3").await.unwrap(), "mine");
    assert_eq!(world.pttl("t:user:3").await, -1);
}

#[tokio::test]
async fn a_value_that_the_application_writes_meanwhile_stays() {
    let world = shop().await;
    let holder = lock(&world, 7).await;
    let job = world.job(&held());
    let application = async {
        // Then the run has seen that the keys are missing.
        eventually("the statement", async || waiting(&world).await == 1).await;
        world.redis_command::<String>(&["SET", "t:user:2", "live", "EX", "99"]).await;
        holder.close().await.unwrap();
    };
    let (record, ()) = tokio::join!(world.run(&job), application);
    assert_eq!((record.counts.written, record.counts.fresh, record.counts.missing), (4, 1, 4), "{record:?}");
    assert_eq!(world.get("t:user:2").await.unwrap(), "live");
}

#[tokio::test]
async fn a_dry_run_counts_and_writes_nothing() {
    let world = World::new().await;
    let dry = Request { dry: true, ..Request::manual() };
    let record = world.run_as(&world.job(USERS), dry).await;
    assert_eq!((record.counts.missing, record.counts.written), (5, 5));
    assert_eq!(record.bytes, 5 * r#"{"name":"Ada","score":10}"#.len() as u64 - 4);
    assert_eq!(world.keys().await, [] as [&str; 0]);
}

#[tokio::test]
async fn nothing_found_is_not_written_unless_that_was_asked_for() {
    let world = World::new().await;
    let text = USERS.replace("user_id = { ", "user_id = { also = [77, 78], ");
    let record = world.run(&world.job(&text)).await;
    assert_eq!((record.counts.empty, record.counts.written, record.outcome), (2, 5, Outcome::Ok));
    assert_eq!(world.get("t:user:77").await, None);
    let record = world.run(&world.job(&format!("empty = \"store\"\n{text}"))).await;
    assert_eq!((record.counts.fresh, record.counts.written), (5, 2));
    assert_eq!(world.get("t:user:77").await.unwrap(), "null");
}

#[tokio::test]
async fn rows_are_gathered_in_lists_in_their_order() {
    let world = World::new().await;
    let job = world.job(
        r#"
key = "bought:{user_id}"
ttl = "1h"
[targets]
user_id = { sql = "SELECT id FROM users" }
[query]
each = "list"
sql = "SELECT user_id, product_id, sold_at FROM sales WHERE user_id IN (:user_id) ORDER BY user_id, sold_at DESC"
"#,
    );
    let record = world.run(&job).await;
    assert_eq!((record.counts.written, record.counts.empty), (4, 1));
    assert_eq!(
        world.get("t:bought:4").await.unwrap(),
        r#"[{"product_id":5,"sold_at":"2026-01-09T10:00:00"},{"product_id":4,"sold_at":"2026-01-08T10:00:00"}]"#
    );
}

#[tokio::test]
async fn one_statement_explodes_into_many_keys() {
    let world = World::new().await;
    let job = |each: &str, sql: &str| {
        let text =
            format!("key = \"c:{{category}}:{{id}}\"\nttl = \"1h\"\n[query]\neach = \"{each}\"\nsql = \"{sql}\"\n");
        world.job(&text)
    };
    let record = world.run(&job("row", "SELECT id, category, name FROM products")).await;
    assert_eq!((record.counts.keys, record.counts.written, record.queries), (6, 6, 1));
    assert_eq!(world.get("t:c:table:5").await.unwrap(), r#"{"name":"Jug"}"#);
    let list = job("list", "SELECT category, 'all' AS id, name FROM products ORDER BY category, name");
    assert_eq!(world.run(&list).await.counts.written, 2);
    assert_eq!(world.get("t:c:table:all").await.unwrap(), r#"[{"name":"Cup"},{"name":"Jug"},{"name":"Mat"}]"#);
}

#[tokio::test]
async fn rows_that_would_overwrite_each_other_fail_their_key_alone() {
    let world = World::new().await;
    let text = "key = \"p:{category}\"\nttl = \"1h\"\n[query]\nsql = \"SELECT category, name FROM products\"\n";
    let record = world.run(&world.job(text)).await;
    assert_eq!((record.outcome, record.cause), (Outcome::Partial, Some(Cause::Targets)));
    assert_eq!((record.counts.written, record.counts.failed), (2, 4));
    let error = record.first_error.unwrap();
    assert!(error.contains("p:paper: a second row for the same key; gather rows with each = \"list\""), "{error}");
    // Half a list would be worse than none, so rows that are apart end the run.
    let text =
        text.replace("[query]", "[query]\neach = \"list\"").replace("FROM products", "FROM products ORDER BY name");
    let record = world.run(&world.job(&text.replace("p:{", "q:{"))).await;
    assert_eq!((record.outcome, record.cause), (Outcome::Failed, Some(Cause::Statement)));
    let error = record.first_error.unwrap();
    assert!(error.ends_with("do not come one after the other; add ORDER BY"), "{error}");
}

#[tokio::test]
async fn a_target_that_comes_twice_is_computed_once() {
    let world = World::new().await;
    let text = format!("empty = \"store\"\n{USERS}")
        .replace("SELECT id FROM users ORDER BY score DESC", "SELECT user_id FROM sales");
    let record = world.run(&world.job(&text)).await;
    assert_eq!((record.counts.keys, record.counts.written), (4, 4));
    assert_eq!(world.get("t:user:1").await.unwrap(), r#"{"name":"Ada","score":10}"#);
}

#[tokio::test]
async fn a_number_finds_the_user_whose_id_is_that_text() {
    let world = World::new().await;
    let as_text =
        RECOMMEND.replace("SELECT user_id, product_id", "SELECT CAST(user_id AS TEXT) AS user_id, product_id");
    let only = Only { name: "user_id".to_owned(), values: vec![Id::Int(1)] };
    world.run_as(&world.job(&as_text), Request { only: vec![only], ..as_of_january() }).await;
    let alone = world.get("t:rec:1:None:4").await;
    world.redis_command::<String>(&["FLUSHALL"]).await;
    world.run_as(&world.job(RECOMMEND), as_of_january()).await;
    assert_eq!(alone, world.get("t:rec:1:None:4").await);
    assert_ne!(alone, world.get("t:rec:5:None:4").await);
}

#[tokio::test]
async fn a_target_that_makes_no_key_costs_itself_only() {
    let world = World::new().await;
    servers::execute(
        &world.database.url,
        "CREATE TABLE odd (id TEXT); INSERT INTO odd VALUES ('a'), (NULL), ('b' || char(10)), ('ü:1')",
    )
    .await;
    let job = world.job(
        r#"
key = "odd:{id}"
ttl = "1h"
[targets]
id = { sql = "SELECT id FROM odd" }
[query]
sql = "SELECT id, 1 AS one FROM odd WHERE id IN (:id)"
"#,
    );
    let record = world.run(&job).await;
    assert_eq!((record.outcome, record.counts.invalid, record.counts.written), (Outcome::Partial, 2, 2));
    assert_eq!(world.keys().await, ["t:odd:a", "t:odd:ü:1"]);
}

#[tokio::test]
async fn a_batch_without_any_valid_key_is_counted_and_asks_redis_nothing() {
    let world = World::new().await;
    let sql = "SELECT NULL AS id, 1 AS one UNION ALL SELECT NULL, 2";
    let record = world.run(&world.job(&format!("key = \"n:{{id}}\"\nttl = \"1h\"\n[query]\nsql = \"{sql}\"\n"))).await;
    assert_eq!((record.outcome, record.cause), (Outcome::Failed, Some(Cause::Targets)), "{record:?}");
    assert_eq!((record.counts.invalid, record.counts.failed), (2, 2));
    assert_eq!(record.first_error.as_deref(), Some("a row for n:{id}: `id` is NULL"));
}

#[tokio::test]
async fn a_key_over_200_characters_becomes_the_prefix_and_an_md5() {
    let world = World::new().await;
    let long = "x".repeat(200);
    let text = format!("key = \"{long}:{{id}}\"\nttl = \"1h\"\n[query]\nsql = \"SELECT 7 AS id, 1 AS one\"\n");
    world.run(&world.job(&text)).await;
    let digest = <md5::Md5 as md5::Digest>::digest(format!("{long}:7").as_bytes());
    assert_eq!(world.keys().await, [format!("t:{:032x}", u128::from_be_bytes(digest.into()))]);
}

#[tokio::test]
async fn batches_run_beside_each_other_on_connections_of_their_own() {
    let world = shop().await;
    let holder = lock(&world, 7).await;
    let job = world.job(&(held() + "[limits]\nbatch = 1\nconcurrency = 5\n"));
    let let_go = async {
        eventually("all batches at work", async || waiting(&world).await == 5).await;
        holder.close().await.unwrap();
    };
    let (record, ()) = tokio::join!(world.run(&job), let_go);
    assert_eq!((record.outcome, record.counts.written), (Outcome::Ok, 5));
}
