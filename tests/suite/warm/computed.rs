//! Recommendations, trending and similar products.

use chrono::{DateTime, Utc};
use warmd::{id::Id, record::Outcome, run::Request, targets::Only};

use super::USERS;
use crate::{servers, world::World};

pub(super) const RECOMMEND: &str = r#"
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

pub(super) fn as_of_january() -> Request {
    Request { now: january(), ..Request::manual() }
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
