//! `warmd init`: what it writes is accepted and warms as it stands.

use std::{fs, path::Path, process::Command};

use serde_json::Value;

use crate::{
    database::chinook,
    servers::{self, TestDatabase, TestRedis, execute},
};

mod small;

/// warmd without any settings of the machine's, in a folder of its own.
fn warmd(folder: &Path, redis: &TestRedis, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_warmd"))
        .args(arguments)
        .current_dir(folder)
        .env("WARMD__REDIS__URL", &redis.url)
        .env("WARMD__LOG__LEVEL", "warn")
        .env("WARMD__HISTORY__URL", format!("sqlite:{}", folder.join("history.db").display()))
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

async fn keys(redis: &TestRedis, pattern: &str) -> Vec<String> {
    let mut connection = servers::redis_client(&redis.url).await;
    let mut keys: Vec<String> = redis::cmd("KEYS").arg(pattern).query_async(&mut connection).await.unwrap();
    keys.sort();
    keys
}

async fn value(redis: &TestRedis, key: &str) -> Value {
    let mut connection = servers::redis_client(&redis.url).await;
    let text: Option<String> = redis::cmd("GET").arg(key).query_async(&mut connection).await.unwrap();
    serde_json::from_str(&text.unwrap_or_else(|| panic!("no key {key}"))).unwrap()
}

/// Writes jobs for a database, has them checked, and warms, without a change to any file.
async fn made_and_warmed(database: &TestDatabase, flags: &[&str]) -> (tempfile::TempDir, TestRedis, String) {
    let (folder, redis) = (tempfile::tempdir().unwrap(), servers::redis().await);
    let arguments = [&["init", "warm", "--database", &database.url], flags].concat();
    let (code, told, error) = warmd(folder.path(), &redis, &arguments);
    assert_eq!((code, error.as_str()), (Some(0), ""), "{told}");
    let (code, out, error) = warmd(folder.path(), &redis, &["check", "--connect", "--config", "warm/warmd.toml"]);
    assert_eq!((code, error.as_str()), (Some(0), ""), "{out}");
    let (code, out, error) = warmd(folder.path(), &redis, &["warm", "--json", "--config", "warm/warmd.toml"]);
    assert_eq!((code, error.as_str()), (Some(0), ""), "{out}");
    let runs: Value = serde_json::from_str(&out).unwrap();
    let runs = runs["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 4, "{out}");
    for run in runs {
        assert!(run["outcome"] == "ok" && run["written"].as_u64().unwrap() > 0 && run["failed"] == 0, "{run}");
    }
    (folder, redis, told)
}

/// The shop of music, on whatever engine.
async fn is_warm_for_chinook(database: &TestDatabase) {
    let (folder, redis, told) = made_and_warmed(database, &[]).await;
    let row = |role: &str| told.lines().find(|line| line.contains(role)).unwrap_or_else(|| panic!("{role}: {told}"));
    for (role, table) in
        [("events", "invoiceline"), ("users", "customer"), ("products", "track"), ("categories", "genre")]
    {
        let line = row(&format!("  {role} ")).to_lowercase().replace('_', "");
        assert!(line.trim_start().starts_with(table), "{role}: {line}");
    }
    // Every customer has bought something, and a customer's list overall and in each of the popular genres.
    assert_eq!(keys(&redis, "warm:user_history:*").await.len(), 59);
    assert_eq!(keys(&redis, "warm:recommendations:*:None:10").await.len(), 59);
    let recommended = value(&redis, "warm:recommendations:1:None:10").await;
    let list = recommended.as_array().unwrap();
    assert_eq!(list.len(), 10);
    assert!(list.iter().all(|entry| entry["name"].is_string() && entry["unit_price"].is_number()), "{recommended}");
    let rock = value(&redis, "warm:recommendations:1:Rock:10").await;
    assert!(rock.as_array().unwrap().iter().all(|entry| entry["category"] == "Rock"), "{rock}");
    // What the customer has bought is not recommended: 38 tracks, of which the last 20 are told, the newest first.
    let history = value(&redis, "warm:user_history:1").await;
    let history = history.as_array().unwrap();
    assert_eq!(history.len(), 20);
    let moments: Vec<&str> = history.iter().map(|entry| entry["at"].as_str().unwrap()).collect();
    assert!(moments.is_sorted_by(|a, b| a >= b), "{moments:?}");
    let bought: Vec<&Value> = history.iter().map(|entry| &entry["product_id"]).collect();
    assert!(list.iter().all(|entry| !bought.contains(&&entry["id"])), "{recommended}");
    let trending = value(&redis, "warm:trending_products:None").await;
    assert_eq!(trending.as_array().unwrap().len(), 20);
    // 1,984 different tracks were ever sold.
    assert_eq!(keys(&redis, "warm:similar_products:*").await.len(), 1_984);
    let job = fs::read_to_string(folder.path().join("warm/jobs/similar_products.toml")).unwrap();
    assert!(job.contains("2021-01-01 to 2025-12-22"), "{job}");
}

#[tokio::test]
#[ignore = "needs WARMD_DATA"]
async fn jobs_for_chinook_in_postgresql_warm_as_they_were_written() {
    let database = servers::postgres().await;
    chinook::load(&database, "Chinook_PostgreSql.sql").await;
    is_warm_for_chinook(&database).await;
}

#[tokio::test]
#[ignore = "needs WARMD_DATA"]
async fn jobs_for_chinook_in_mariadb_warm_as_they_were_written() {
    let database = servers::mariadb().await;
    chinook::load(&database, "Chinook_MySql.sql").await;
    is_warm_for_chinook(&database).await;
}

#[tokio::test]
#[ignore = "needs WARMD_DATA"]
async fn jobs_for_chinook_in_sqlite_warm_as_they_were_written() {
    let database = servers::sqlite().await;
    let file = database.url.trim_start_matches("sqlite://");
    fs::copy(chinook::folder().join("Chinook_Sqlite.sqlite"), file).unwrap();
    is_warm_for_chinook(&database).await;
}

/// A shop without any declared key, with Unix seconds for moments, uuids for users, and names that need quotes.
const ODD: &str = r#"
CREATE TABLE "User" (id VARCHAR(40), email VARCHAR(100));
CREATE TABLE "group" (id INTEGER, name VARCHAR(40));
CREATE TABLE product (id INTEGER, group_id INTEGER, title VARCHAR(40), price NUMERIC(10,2));
CREATE TABLE "Order" (id INTEGER, user_id VARCHAR(40), placed_at BIGINT);
CREATE TABLE order_line (order_id INTEGER, product_id INTEGER, quantity INTEGER);
CREATE TABLE page_view (user_id VARCHAR(40), product_id INTEGER, viewed_at BIGINT);
INSERT INTO "User" VALUES ('u-a','a@shop'),('u-b','b@shop'),('u-c','c@shop');
INSERT INTO "group" VALUES (1,'Paper'),(2,'Table');
INSERT INTO product VALUES (1,1,'Pen',1.50),(2,1,'Pad',2.00),(3,2,'Cup',4.00),(4,2,'Jug',9.99);
INSERT INTO "Order" VALUES (1,'u-a',NOW-86400),(2,'u-b',NOW-90000),(3,'u-c',NOW-100000),(4,NULL,NOW-50);
INSERT INTO order_line VALUES (1,1,2),(1,2,1),(2,1,1),(2,3,1),(3,1,5),(4,4,1);
INSERT INTO page_view VALUES ('u-a',3,NOW-60),('u-c',4,NOW-4000);
"#;

fn odd(quote: &str) -> String {
    ODD.replace("NOW", &chrono::Utc::now().timestamp().to_string()).replace('"', quote)
}

async fn is_warm_for_the_odd_shop(database: &TestDatabase) {
    let (folder, redis, told) = made_and_warmed(database, &[]).await;
    assert!(told.contains("order_line") && told.contains("page_view"), "{told}");
    let expected = ["warm:user_history:u-a", "warm:user_history:u-b", "warm:user_history:u-c"];
    assert_eq!(keys(&redis, "warm:user_history:*").await, expected);
    let history = value(&redis, "warm:user_history:u-a").await;
    assert_eq!(history.as_array().unwrap().len(), 2, "{history}");
    let paper = value(&redis, "warm:trending_products:Paper").await;
    assert_eq!((&paper[0]["product_id"], &paper[0]["name"]), (&1.into(), &"Pen".into()), "{paper}");
    // The last to be looked at is popular, too, though a look says less.
    let all = value(&redis, "warm:trending_products:None").await;
    assert_eq!(all.as_array().unwrap().len(), 4, "{all}");
    // Once more: everything is there already.
    let before = fs::read_to_string(folder.path().join("warm/warmd.toml")).unwrap();
    let (code, _, error) = warmd(folder.path(), &redis, &["init", "warm", "--database", &database.url]);
    assert_eq!(code, Some(1));
    assert!(error.contains("warm/warmd.toml") && error.contains("--force"), "{error}");
    fs::write(folder.path().join("warm/warmd.toml"), "mine").unwrap();
    let (code, ..) = warmd(folder.path(), &redis, &["init", "warm", "--force", "--database", &database.url]);
    assert_eq!(code, Some(0));
    assert_eq!(fs::read_to_string(folder.path().join("warm/warmd.toml")).unwrap(), before);
}

#[tokio::test]
async fn names_that_need_quotes_and_unix_seconds_are_no_hindrance_in_postgresql() {
    let database = servers::postgres().await;
    execute(&database.url, &odd("\"")).await;
    is_warm_for_the_odd_shop(&database).await;
}

#[tokio::test]
async fn names_that_need_quotes_and_unix_seconds_are_no_hindrance_in_mariadb() {
    let database = servers::mariadb().await;
    execute(&database.url, &odd("`")).await;
    is_warm_for_the_odd_shop(&database).await;
}

#[tokio::test]
async fn names_that_need_quotes_and_unix_seconds_are_no_hindrance_in_sqlite() {
    let database = servers::sqlite().await;
    execute(&database.url, &odd("\"")).await;
    is_warm_for_the_odd_shop(&database).await;
}

#[tokio::test]
async fn postgresql_may_keep_its_tables_in_other_schemas_and_partitions() {
    let database = servers::postgres().await;
    let sql = "CREATE SCHEMA crm; CREATE SCHEMA sales;
        CREATE TABLE crm.clients (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), email text);
        CREATE TABLE sales.articles (id int PRIMARY KEY, name text, category text, price numeric);
        CREATE TABLE sales.purchases (tenant int, id int, client_id uuid REFERENCES crm.clients, article_id int REFERENCES sales.articles,
            purchased_at timestamptz NOT NULL, PRIMARY KEY (tenant, id, purchased_at)) PARTITION BY RANGE (purchased_at);
        CREATE TABLE sales.purchases_all PARTITION OF sales.purchases DEFAULT;
        CREATE VIEW broken AS SELECT 1 / (id - id) AS product_id, id AS user_id FROM sales.purchases;
        INSERT INTO crm.clients (email) SELECT 'c' || n FROM generate_series(1, 20) AS n;
        INSERT INTO sales.articles SELECT n, 'Article ' || n, CASE n % 2 WHEN 0 THEN 'even' ELSE 'odd' END, n FROM generate_series(1, 30) AS n;
        INSERT INTO sales.purchases SELECT 1, row_number() OVER (), c.id, a.id, now() - interval '1 day' * a.id
            FROM crm.clients AS c JOIN sales.articles AS a ON a.id % 5 = length(c.email) % 5;";
    execute(&database.url, sql).await;
    let (_, redis, told) = made_and_warmed(&database, &[]).await;
    for table in ["sales.purchases ", "crm.clients ", "sales.articles "] {
        assert!(told.contains(table), "{table}: {told}");
    }
    assert!(!told.contains("purchases_all"), "{told}");
    let even = value(&redis, "warm:trending_products:even").await;
    assert!(even.as_array().unwrap().iter().all(|entry| entry["product_id"].as_u64().unwrap() % 2 == 0), "{even}");
}

#[tokio::test]
async fn what_cannot_be_told_is_said_with_the_flags_that_settle_it() {
    let database = servers::sqlite().await;
    let sql = "CREATE TABLE kunden (nr INTEGER PRIMARY KEY, ort TEXT);
        CREATE TABLE waren (nr INTEGER PRIMARY KEY, text TEXT);
        CREATE TABLE kauf (kunde INTEGER REFERENCES kunden, ware INTEGER REFERENCES waren (nr), am TEXT);
        CREATE VIEW gone AS SELECT * FROM no_table;
        INSERT INTO kunden VALUES (1, 'Ulm'), (2, 'Jena');
        INSERT INTO waren VALUES (1, 'Stift'), (2, 'Block');
        INSERT INTO kauf VALUES (1, 1, '2024-05-01T10:00:00'), (1, 2, '2024-05-02T10:00:00'), (2, 1, '2024-05-03T10:00:00');";
    execute(&database.url, sql).await;
    let (folder, redis) = (tempfile::tempdir().unwrap(), servers::redis().await);
    let (code, out, error) = warmd(folder.path(), &redis, &["init", "--database", &database.url]);
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(error.contains("there is no table of events") && error.contains("--users TABLE"), "{error}");
    assert!(error.ends_with("nothing was written\n"), "{error}");
    let (code, out, _) = warmd(folder.path(), &redis, &["init", "--json", "--database", &database.url]);
    let told: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &told["decided"]), (Some(1), &false.into()));
    let (code, _, error) = warmd(folder.path(), &redis, &["init", "--users", "kundn", "--database", &database.url]);
    assert_eq!(code, Some(1));
    assert!(error.starts_with("--users: unknown table `kundn`, did you mean `kunden`?\n"), "{error}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    let flags = ["--users", "kunden", "--products", "waren", "--events", "kauf.am"];
    let (code, out, error) =
        warmd(folder.path(), &redis, &[&["init", "--dry-run", "--database", &database.url], &flags[..]].concat());
    assert_eq!((code, error.as_str()), (Some(0), ""));
    assert!(out.contains("datetime(e.am) >= :since") && out.ends_with("nothing was written\n"), "{out}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    let (_, redis, _) = made_and_warmed(&database, &flags).await;
    let history = value(&redis, "warm:user_history:1").await;
    assert_eq!(history.as_array().unwrap().len(), 2, "{history}");
    assert_eq!(history[0]["product_id"], 2);
}

#[tokio::test]
async fn a_password_in_the_url_is_not_written_down() {
    let database = servers::sqlite().await;
    execute(&database.url, crate::world::SHOP).await;
    let (folder, redis) = (tempfile::tempdir().unwrap(), servers::redis().await);
    let secret = ["--redis", "redis://:hunter2@localhost:6379"];
    let (code, out, _) =
        warmd(folder.path(), &redis, &[&["init", "--json", "--database", &database.url], &secret[..]].concat());
    assert_eq!(code, Some(0), "{out}");
    assert!(!out.contains("hunter2"), "{out}");
    let settings = fs::read_to_string(folder.path().join("warmd.toml")).unwrap();
    assert!(settings.contains("give it in WARMD__REDIS__URL") && !settings.contains("hunter2"), "{settings}");
}
