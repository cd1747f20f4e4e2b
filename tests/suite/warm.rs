//! Runs of jobs against a real database and a real Redis.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use warmd::{
    cache::Store,
    database::Database,
    id::Id,
    job::Job,
    record::{Cause, Meter, Outcome, Past},
    run::{Request, run},
    targets::Only,
};

use crate::{
    servers,
    world::{World, secret, server},
};

const USERS: &str = r#"
key = "user:{user_id}"
ttl = "10m"
[targets]
user_id = { sql = "SELECT id FROM users ORDER BY score DESC LIMIT :limit", limit = 100 }
[query]
sql = "SELECT id AS user_id, name, score FROM users WHERE id IN (:user_id)"
"#;

const RECOMMEND: &str = r#"
key = "rec:{user_id}:{category}:{limit}"
ttl = "10m"
[targets]
user_id = { sql = "SELECT id FROM users ORDER BY id", also = [6] }
category = { also = ["None", "paper", "table", "garden"] }
[recommend]
limit = 4
window = "30d"
events = [ { sql = "SELECT user_id, product_id, sold_at AS at FROM sales WHERE sold_at >= :since" } ]
products = "SELECT id AS product_id, category, name, price FROM products WHERE id IN (:product_id)"
exclude_purchased = true
"#;

fn january() -> DateTime<Utc> {
    "2026-01-10T00:00:00Z".parse().unwrap()
}

fn as_of_january() -> Request {
    Request { now: january(), ..Request::manual() }
}

#[tokio::test]
async fn rows_become_objects_that_any_client_can_read() {
    let world = World::new().await;
    let record = world.run(&world.job(USERS)).await;
    assert_eq!((record.outcome, record.counts.keys, record.counts.written), (Outcome::Ok, 5, 5));
    assert_eq!(record.queries, 2, "one statement for the targets, one for the batch");
    assert_eq!(world.get("t:user:1").await.unwrap(), r#"{"name":"Ada","score":10}"#);
    assert!((599_000..=600_000).contains(&world.pttl("t:user:1").await));
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
    let database = servers::postgres().await;
    servers::execute(&database.url, crate::world::SHOP).await;
    let world = World::on(database).await;
    // The run has seen that the keys are missing, and the database is still at work, when the application writes.
    let slow = USERS.replace("name, score FROM users", "name, pg_sleep(0.2)::text AS slept FROM users");
    let job = world.job(&slow);
    let meter = Arc::new(Meter::default());
    let request = Request::manual();
    let application = async {
        while meter.missing.get() < 5 {
            tokio::task::yield_now().await;
        }
        world.redis_command::<String>(&["SET", "t:user:2", "live", "EX", "99"]).await;
    };
    let (record, ()) = tokio::join!(run(&job, &world.around, &request, &meter), application);
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
async fn a_redis_user_without_rights_is_told_in_the_servers_words() {
    let mut world = World::new().await;
    world.redis_command::<String>(&["ACL", "SETUSER", "weak", "on", ">x", "+@all", "~other:*"]).await;
    let url = format!("{}?user=weak&pass=x", world.redis.url);
    world.around.store = Store::connect(&server(&url)).await.unwrap();
    let record = world.run(&world.job(USERS)).await;
    assert_eq!((record.outcome, record.cause), (Outcome::Failed, Some(Cause::Redis)));
    let error = record.first_error.unwrap();
    assert!(error.contains("NOPERM") && error.contains("permissions"), "{error}");
}

#[tokio::test]
async fn a_statement_that_outlives_the_run_is_a_timeout_of_the_run() {
    let database = servers::postgres().await;
    servers::execute(&database.url, crate::world::SHOP).await;
    let world = World::on(database).await;
    let text = USERS.replace("name, score FROM users", "pg_sleep(30)::text AS slept FROM users")
        + "[limits]\ntimeout = \"300ms\"\n";
    let record = world.run(&world.job(&text)).await;
    assert_eq!((record.outcome, record.cause), (Outcome::Failed, Some(Cause::Timeout)), "{record:?}");
    assert!(record.seconds < 5.0, "{record:?}");
    // A statement that failed has cost the database its time all the same, and the targets were read before it.
    assert!(record.database_seconds > 0.2 && record.rows == 5, "{record:?}");
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
async fn recommendations_are_full_lists_for_every_user_and_category() {
    let world = World::new().await;
    let record = world.run_as(&world.job(RECOMMEND), as_of_january()).await;
    // Six users times four categories. Nothing is in the garden, and three lists have nothing that is not bought yet.
    assert_eq!((record.counts.keys, record.counts.empty, record.counts.written), (24, 6 + 3, 15));
    assert_eq!(record.queries, 1 + 1 + 1, "users, sales, products");
    // User 1 has pen and pad; the ink is what others with both have.
    let lists = world.json("t:rec:1:None:4").await;
    assert_eq!(lists[0]["id"], 3);
    assert_eq!(lists[0]["name"], "Ink");
    assert_eq!(lists[0]["price"], 3.25);
    let ids = |value: &serde_json::Value| -> Vec<i64> {
        value.as_array().unwrap().iter().map(|entry| entry["id"].as_i64().unwrap()).collect()
    };
    for bought in [1, 2] {
        assert!(!ids(&lists).contains(&bought));
    }
    // Product 9 was sold, but its statement does not know it any more.
    for user in 1..=6 {
        assert!(!ids(&world.json(&format!("t:rec:{user}:None:4")).await).contains(&9), "user {user}");
    }
    // A category's list is the whole ranking, filtered.
    let table = ids(&world.json("t:rec:1:table:4").await);
    let of_table: Vec<i64> = ids(&lists).into_iter().filter(|id| *id >= 4).collect();
    assert_eq!(table[..of_table.len()], of_table[..]);
    // Who never did anything, or is not even a user, gets what is trending.
    let idle = world.get("t:rec:5:None:4").await;
    assert_eq!(idle, world.get("t:rec:6:None:4").await);
    assert_eq!(ids(&world.json("t:rec:5:paper:4").await).len(), 3);
}

#[tokio::test]
async fn only_computes_one_target_like_the_whole_run_does() {
    let world = World::new().await;
    let job = world.job(RECOMMEND);
    world.run_as(&job, as_of_january()).await;
    let whole = world.get("t:rec:1:paper:4").await;
    world.redis_command::<String>(&["FLUSHALL"]).await;
    let only = |name: &str, value: Id| Only { name: name.to_owned(), values: vec![value] };
    let request =
        Request { only: vec![only("user_id", Id::Int(1)), only("category", Id::from("paper"))], ..as_of_january() };
    let record = world.run_as(&job, request).await;
    assert_eq!((record.counts.keys, record.counts.written), (1, 1));
    assert!(whole.is_some());
    assert_eq!(world.get("t:rec:1:paper:4").await, whole);
}

#[tokio::test]
async fn trending_lists_decay_and_are_scored_against_the_first() {
    let world = World::new().await;
    let job = world.job(
        r#"
key = "trend:{category}"
ttl = "1h"
[targets]
category = { sql = "SELECT DISTINCT category FROM products ORDER BY category", also = ["None"] }
[trending]
limit = 3
window = "30d"
half_life = "1d"
events = [ { sql = "SELECT user_id, product_id, sold_at AS at FROM sales WHERE sold_at >= :since" } ]
products = "SELECT id AS product_id, category, name FROM products"
"#,
    );
    let record = world.run_as(&job, as_of_january()).await;
    assert_eq!((record.counts.targets, record.counts.written), (3, 3));
    let list = world.json("t:trend:None").await;
    // Two cups, sold on the last two days, beat three pens of the week before.
    assert_eq!(list[0]["product_id"], 4);
    assert_eq!(list[0]["trend_score"], 1);
    assert_eq!(list[0]["category"], "table");
    assert_eq!(list[0]["name"], "Cup");
    assert_eq!(list.as_array().unwrap().len(), 3);
    let paper = world.json("t:trend:paper").await;
    assert!(paper.as_array().unwrap().iter().all(|entry| entry["category"] == "paper"));
    assert_eq!(paper[0]["product_id"], 3, "the ink was sold last");
}

#[tokio::test]
async fn similar_products_and_users_never_name_themselves() {
    let world = World::new().await;
    let job = |of: &str, target: &str| {
        world.job(&format!(
            r#"
key = "similar:{of}:{{{target}}}"
ttl = "1h"
[similar]
of = "{of}"
limit = 3
window = "30d"
events = [ {{ sql = "SELECT user_id, product_id, sold_at AS at FROM sales WHERE sold_at >= :since" }} ]
"#
        ))
    };
    let record = world.run_as(&job("products", "product_id"), as_of_january()).await;
    // Products 1 to 5 and 9 were sold; what is sold with nothing else has no list.
    assert_eq!(record.counts.keys, 6);
    let list = world.json("t:similar:products:1").await;
    assert_eq!(list[0]["id"], 2, "pen and pad go together");
    assert!(list.as_array().unwrap().iter().all(|entry| entry["id"] != 1));
    assert!((0.0..=1.0).contains(&list[0]["score"].as_f64().unwrap()));
    world.run_as(&job("users", "user_id"), as_of_january()).await;
    assert_eq!(world.json("t:similar:users:2").await[0]["id"], 3);
}

#[tokio::test]
async fn ids_may_be_texts() {
    let world = World::new().await;
    servers::execute(
        &world.database.url,
        "CREATE TABLE seen (user_id TEXT, product_id TEXT);
         INSERT INTO seen VALUES ('9f8b2c1e-0000-4000-8000-000000000001','85123A'),('ü','85123A'),('ü','71053')",
    )
    .await;
    let job = world.job(
        r#"
key = "rec:{user_id}"
ttl = "1h"
[targets]
user_id = { sql = "SELECT DISTINCT user_id FROM seen ORDER BY user_id" }
[recommend]
limit = 1
events = [ { sql = "SELECT user_id, product_id FROM seen" } ]
exclude_purchased = true
"#,
    );
    let record = world.run(&job).await;
    assert_eq!((record.counts.written, record.counts.empty), (1, 1), "one user has everything");
    let list = world.json("t:rec:9f8b2c1e-0000-4000-8000-000000000001").await;
    assert_eq!(list[0]["id"], "71053");
}

#[tokio::test]
async fn keys_are_written_at_the_pace_of_the_quota() {
    let world = World::new().await;
    let many =
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300) SELECT i AS id, 1 AS one FROM n";
    let job = world.job(&format!(
        "key = \"n:{{id}}\"\nttl = \"1h\"\n[query]\nsql = \"{many}\"\n[limits]\nkeys_per_second = 500\n"
    ));
    let began = Instant::now();
    let record = world.run(&job).await;
    // 300 keys less the burst of 11, at 500 a second.
    let seconds = began.elapsed().as_secs_f64();
    assert!((0.57..10.0).contains(&seconds), "{seconds}");
    assert_eq!(record.counts.written, 300);
    assert!(record.throttle_seconds > 0.4, "{record:?}");
}

#[tokio::test]
async fn a_run_ends_at_its_timeout_and_says_so() {
    let world = World::new().await;
    let many = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000) SELECT i AS id, 1 AS one FROM n";
    let text = format!(
        "key = \"n:{{id}}\"\nttl = \"1h\"\n[query]\nsql = \"{many}\"\n[limits]\nkeys_per_second = 100\ntimeout = \"500ms\"\nbatch = 50\n"
    );
    let record = world.run(&world.job(&text)).await;
    assert_eq!((record.outcome, record.cause), (Outcome::Partial, Some(Cause::Timeout)));
    assert_eq!(record.first_error.as_deref(), Some("the run took longer than its timeout of 500ms"));
    assert!(record.counts.written >= 10 && record.seconds < 10.0, "{record:?}");
    assert_eq!(world.keys().await.len() as u64, record.counts.written);
}

#[tokio::test]
async fn a_stopped_run_ends_at_the_next_batch_and_the_next_run_does_the_rest() {
    let world = World::new().await;
    let many =
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 600) SELECT i AS id, 1 AS one FROM n";
    let text = |limits: &str| {
        format!("key = \"n:{{id}}\"\nttl = \"1h\"\n[query]\nsql = \"{many}\"\n[limits]\nbatch = 20\n{limits}")
    };
    let request = Request::manual();
    let request_stop = request.stop.clone();
    let stop = async {
        while world.keys().await.len() < 40 {
            tokio::task::yield_now().await;
        }
        request_stop.shutdown.cancel();
    };
    let slow = world.job(&text("keys_per_second = 400"));
    let (record, ()) = tokio::join!(world.run_as(&slow, request), stop);
    assert_eq!((record.outcome, record.cause), (Outcome::Interrupted, Some(Cause::Shutdown)));
    let written = record.counts.written;
    assert!((40..600).contains(&written), "{written}");
    let rest = world.run(&world.job(&text(""))).await;
    assert_eq!((rest.counts.fresh, rest.counts.written, rest.outcome), (written, 600 - written, Outcome::Ok));
}

#[tokio::test]
async fn a_statement_error_ends_the_run_at_its_place_in_the_file() {
    let world = World::new().await;
    std::fs::write(
        world.folder().join("users.sql"),
        "-- Everybody.\nSELECT id AS user_id,\n       nme\nFROM users WHERE id IN (:user_id)\n",
    )
    .unwrap();
    let text =
        USERS.replace("\"SELECT id AS user_id, name, score FROM users WHERE id IN (:user_id)\"", "\"users.sql\"");
    let record = world.run(&world.job(&text)).await;
    assert_eq!((record.outcome, record.cause, record.counts.failed), (Outcome::Failed, Some(Cause::Statement), 5));
    let error = record.first_error.unwrap();
    assert!(error.ends_with("users.sql:3:8: no such column: nme"), "{error}");
}

#[tokio::test]
async fn a_value_that_the_statement_cannot_deal_with_fails_its_target_alone() {
    for (database, quotient) in [
        (servers::postgres().await, "100 / (score - 8)"),
        (servers::sqlite().await, "CASE score WHEN 8 THEN json('oops') ELSE 100 / (score - 8) END"),
    ] {
        servers::execute(&database.url, crate::world::SHOP).await;
        let world = World::on(database).await;
        let record = world.run(&world.job(&USERS.replace("name, score", &format!("{quotient} AS quotient")))).await;
        assert_eq!((record.outcome, record.cause), (Outcome::Partial, Some(Cause::Targets)), "{record:?}");
        assert_eq!((record.counts.written, record.counts.failed), (4, 1));
        assert_eq!(world.get("t:user:4").await.unwrap(), r#"{"quotient":-100}"#);
        assert_eq!(world.get("t:user:3").await, None);
        let error = record.first_error.unwrap();
        assert!(error.starts_with("t:user:3: ") && error.contains("/job.toml: "), "{error}");
    }
}

#[tokio::test]
async fn a_statement_without_a_needed_column_says_what_it_has() {
    let world = World::new().await;
    let text = USERS.replace("SELECT id AS user_id, name, score", "SELECT id AS userid, name");
    let error = world.run(&world.job(&text)).await.first_error.unwrap();
    assert!(error.ends_with("the statement has no column `user_id`; did you mean `userid AS user_id`?"), "{error}");
}

#[tokio::test]
async fn a_job_that_tries_to_write_is_refused_by_each_server_and_changes_nothing() {
    for database in [servers::postgres().await, servers::mariadb().await, servers::sqlite().await] {
        servers::execute(&database.url, crate::world::SHOP).await;
        let world = World::on(database).await;
        let dml = "DELETE FROM users";
        let text = format!("key = \"n:{{user_id}}\"\nttl = \"1h\"\n[query]\nsql = \"{dml}\"\n");
        let path = world.folder().join("job.toml");
        std::fs::write(&path, text.replace("{user_id}", "{users}")).unwrap();
        let record = world.run(&world.job(&text.replace("{user_id}", "{users}"))).await;
        assert_eq!((record.outcome, record.cause), (Outcome::Failed, Some(Cause::Statement)), "{record:?}");
        let count =
            "key = \"count:{one}\"\nttl = \"1h\"\n[query]\nsql = \"SELECT 1 AS one, COUNT(*) AS users FROM users\"\n";
        world.run(&world.job(count)).await;
        assert_eq!(world.get("t:count:1").await.unwrap(), r#"{"users":5}"#);
    }
}

#[tokio::test]
async fn the_three_engines_give_the_same_keys_and_values() {
    let mut dumps = Vec::new();
    for database in [servers::postgres().await, servers::mariadb().await, servers::sqlite().await] {
        servers::execute(&database.url, crate::world::SHOP).await;
        let world = World::on(database).await;
        for text in [USERS, RECOMMEND] {
            let record = world.run_as(&world.job(text), as_of_january()).await;
            assert_eq!(record.outcome, Outcome::Ok, "{record:?}");
        }
        let mut dump = Vec::new();
        for key in world.keys().await {
            dump.push((key.clone(), world.get(&key).await.unwrap()));
        }
        dumps.push(dump);
    }
    assert_eq!(dumps[0].len(), 5 + 15);
    assert_eq!(dumps[0], dumps[1]);
    assert_eq!(dumps[0], dumps[2]);
}

#[tokio::test]
async fn batches_run_beside_each_other_on_connections_of_their_own() {
    let database = servers::postgres().await;
    servers::execute(&database.url, crate::world::SHOP).await;
    let world = World::on(database).await;
    let text = USERS.replace(
        "SELECT id AS user_id, name, score FROM users",
        "SELECT id AS user_id, pg_sleep(1)::text AS slept FROM users",
    ) + "[limits]\nbatch = 1\nconcurrency = 5\n";
    let record = world.run(&world.job(&text)).await;
    assert_eq!(record.counts.written, 5);
    assert!(record.seconds < 4.0, "one after the other would take 5: {record:?}");
}

#[tokio::test]
async fn an_unreachable_database_is_told_as_such() {
    let world = World::new().await;
    let (world, closed) = without_database(world);
    let job: Arc<Job> = world.job(&format!("{USERS}[limits]\ntimeout = \"1s\"\n"));
    let record = world.run(&job).await;
    assert_eq!((record.outcome, record.cause), (Outcome::Failed, Some(Cause::DatabaseUnreachable)));
    let error = record.first_error.unwrap();
    assert!(error.contains(&closed.to_string()) && !error.contains("hunter2"), "{error}");
}

#[tokio::test]
async fn a_run_that_is_told_to_stop_does_not_wait_for_a_database_that_is_away() {
    let (world, _) = without_database(World::new().await);
    let request = Request::manual();
    let stop = request.stop.shutdown.clone();
    let begun = Instant::now();
    let job = world.job(USERS);
    let (record, ()) = tokio::join!(world.run_as(&job, request), async move { stop.cancel() });
    // Five attempts take fifteen seconds and more.
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!((record.outcome, record.cause), (Outcome::Interrupted, Some(Cause::Shutdown)));
    assert!(record.first_error.unwrap().starts_with("cannot connect to "));
}

/// The world with a database at an address where nobody listens.
fn without_database(mut world: World) -> (World, std::net::SocketAddr) {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    world.around.database = Database::new(&secret(&format!("postgres://u:hunter2@{closed}/x"))).unwrap();
    (world, closed)
}
