//! A small shop with what is wrong in real ones: dirty moments, odd names, files in the way.

use std::{fs, process::Command};

use serde_json::Value;

use super::{made_and_warmed, value, warmd};
use crate::servers::{self, TestDatabase, TestRedis, execute};

/// A small shop with orders, of which each engine understands every word.
const SMALL: &str = "
CREATE TABLE users (id INTEGER PRIMARY KEY, email VARCHAR(100));
CREATE TABLE products (id INTEGER PRIMARY KEY, name VARCHAR(40), price NUMERIC(10,2), category VARCHAR(40));
CREATE TABLE orders (id INTEGER PRIMARY KEY, user_id INTEGER, product_id INTEGER, created_at MOMENT);
INSERT INTO users VALUES (1,'a@shop'),(2,'b@shop'),(3,'c@shop');
INSERT INTO products VALUES (1,'Pen',1.50,'Paper'),(2,'Pad',2.00,'Paper'),(3,'Ink',4.00,'Paper'),(4,'Nib',0.50,'Paper'),
    (5,'Cup',4.00,'Table'),(6,'Jug',9.99,'Table'),(7,'Pot',12.00,'Table');
";

/// The shop, with orders at moments that are told by their age in seconds. Nobody has ordered everything.
fn small(kind: &str, ages: impl Iterator<Item = i64>, written: impl Fn(i64) -> String) -> String {
    let now = chrono::Utc::now().timestamp();
    let order = |(nth, age): (usize, i64)| {
        format!("({},{},{},{})", nth + 1_000, nth % 3 + 1, nth / 3 % 5 + nth % 3 + 1, written(now - age))
    };
    let orders: Vec<String> = ages.enumerate().map(order).collect();
    format!("{}INSERT INTO orders VALUES {};", SMALL.replace("MOMENT", kind), orders.join(","))
}

fn as_text(seconds: i64) -> String {
    format!("'{}'", chrono::DateTime::from_timestamp(seconds, 0).unwrap().format("%Y-%m-%d %H:%M:%S"))
}

/// The text of a file that `init` would write.
fn file_of<'t>(told: &'t Value, name: &str) -> &'t str {
    let files = told["files"].as_array().unwrap();
    let file = files.iter().find(|file| file["path"].as_str().unwrap().ends_with(name));
    file.unwrap_or_else(|| panic!("no {name} in {told}"))["text"].as_str().unwrap()
}

fn told_as_json(redis: &TestRedis, database: &TestDatabase) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let (_, out, error) = warmd(folder.path(), redis, &["init", "--json", "--dry-run", "--database", &database.url]);
    serde_json::from_str(&out).unwrap_or_else(|why| panic!("{why}: {out}{error}"))
}

#[tokio::test]
async fn files_that_the_settings_name_are_found_from_the_written_ones() {
    let (database, redis) = (servers::sqlite().await, servers::redis().await);
    execute(&database.url, &small("DATETIME", (1..60).map(|nth| nth * 3_600), as_text)).await;
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_warmd"))
            .args(arguments)
            .current_dir(folder.path())
            .env_remove("WARMD__REDIS__URL")
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    fs::write(folder.path().join("uf"), &database.url).unwrap();
    fs::write(folder.path().join("ru"), &redis.url).unwrap();
    fs::write(folder.path().join("cf.toml"), "[database]\nurl_file = \"uf\"\n[redis]\nurl_file = \"ru\"\n").unwrap();
    let (code, _, error) = run(&["init", "v1", "--config", "cf.toml"]);
    assert_eq!((code, error.as_str()), (Some(0), ""));
    let (code, out, error) = run(&["check", "--connect", "--config", "v1/warmd.toml"]);
    assert_eq!((code, error.as_str()), (Some(0), ""), "{out}");
    // What a server with TLS asks for, and the prefix that its rules for users may ask for.
    let redis = "[redis]\nurl = \"rediss://cache:6380\"\nca_file = \"ca.pem\"\ncert_file = \"a.pem\"\nkey_file = \"a.key\"\n\
        key_prefix = \"shop:\"\n";
    fs::write(folder.path().join("tls.toml"), format!("[database]\nurl_file = \"uf\"\n{redis}")).unwrap();
    let (code, out, error) = run(&["init", "v2", "--dry-run", "--config", "tls.toml"]);
    assert_eq!((code, error.as_str()), (Some(0), ""));
    let here = folder.path().canonicalize().unwrap();
    for (name, file) in [("url_file", "uf"), ("ca_file", "ca.pem"), ("cert_file", "a.pem"), ("key_file", "a.key")] {
        let line = format!("\n{name} = \"{}\"\n", here.join(file).display());
        assert!(out.contains(&line), "{line}: {out}");
    }
    assert!(out.contains("\nkey_prefix = \"shop:\"\n"), "{out}");
}

/// 2,000 orders of the last 60 days, and some moments that nobody has lived.
async fn is_of_sixty_days(database: &TestDatabase, kind: &str, dirty: &[&str]) {
    let mut sql = small(kind, (1..=2_000).map(|nth| nth * 60 * 86_400 / 2_000), as_text);
    for (nth, moment) in dirty.iter().enumerate() {
        // The first and the last row of the table are among them.
        let id = if nth % 2 == 0 { nth + 1 } else { nth + 90_000 };
        sql.push_str(&format!("INSERT INTO orders VALUES ({id},1,1,'{moment}');"));
    }
    execute(&database.url, &sql).await;
    let told = told_as_json(&servers::redis().await, database);
    let trending = file_of(&told, "trending_products.toml");
    assert!(trending.contains("\nwindow = \"60d\"\n") && trending.contains("\nhalf_life = \"15d\"\n"), "{trending}");
}

#[tokio::test]
async fn a_few_moments_that_nobody_has_lived_do_not_make_windows_long_in_sqlite() {
    let dirty = ["1970-01-01 00:00:00", "0001-01-01 00:00:00", "1985-06-01 12:00:00", "9999-12-31 00:00:00"];
    is_of_sixty_days(&servers::sqlite().await, "DATETIME", &dirty).await;
}

#[tokio::test]
async fn a_few_moments_that_nobody_has_lived_do_not_make_windows_long_in_mariadb() {
    let dirty = ["1970-01-01 00:00:00", "9999-12-31 00:00:00", "1985-06-01 12:00:00", "2099-01-01 00:00:00"];
    is_of_sixty_days(&servers::mariadb().await, "DATETIME", &dirty).await;
}

#[tokio::test]
async fn a_few_moments_that_nobody_has_lived_do_not_make_windows_long_in_postgresql() {
    let dirty = ["-infinity", "infinity", "0001-01-01 00:00:00 BC", "9999-12-31", "1985-06-01", "2099-01-01"];
    is_of_sixty_days(&servers::postgres().await, "TIMESTAMPTZ", &dirty).await;
}

#[tokio::test]
async fn one_moment_of_eternity_alone_leaves_the_column_of_use_in_postgresql() {
    let database = servers::postgres().await;
    let sql = small("TIMESTAMP", (1..20).map(|nth| nth * 86_400), as_text);
    execute(&database.url, &format!("{sql}INSERT INTO orders VALUES (1,1,1,'infinity'),(2,2,1,'-infinity');")).await;
    let (_, _, told) = made_and_warmed(&database, &[]).await;
    assert!(told.contains("`orders.created_at` tells when"), "{told}");
}

#[tokio::test]
async fn unix_seconds_in_a_column_of_text_are_made_numbers() {
    let sql = small("VARCHAR(20)", (1..60).map(|nth| nth * 3_600), |seconds| format!("'{seconds}'"));
    let (sqlite, mariadb, postgres) = (servers::sqlite().await, servers::mariadb().await, servers::postgres().await);
    for database in [sqlite, mariadb] {
        execute(&database.url, &sql).await;
        let (_, redis, told) = made_and_warmed(&database, &[]).await;
        assert!(told.contains("`orders.created_at` tells when"), "{told}");
        let history = value(&redis, "warm:user_history:1").await;
        assert!(history[0]["at"].is_number(), "{history}");
    }
    // There, one text that is no number would end every statement.
    execute(&postgres.url, &sql).await;
    let (_, _, told) = made_and_warmed(&postgres, &[]).await;
    assert!(told.contains("nothing tells when"), "{told}");
}

#[tokio::test]
async fn a_category_that_is_called_none_keeps_its_lists() {
    let database = servers::sqlite().await;
    let sql = small("DATETIME", (1..60).map(|nth| nth * 3_600), as_text).replace("'Table'", "'None'");
    execute(&database.url, &sql).await;
    let (folder, redis, _) = made_and_warmed(&database, &[]).await;
    let none = value(&redis, "warm:trending_products:None").await;
    assert_eq!(none.as_array().unwrap().len(), 3, "{none}");
    assert!(none.as_array().unwrap().iter().all(|entry| entry["category"] == "None"), "{none}");
    assert_eq!(value(&redis, "warm:trending_products:All").await.as_array().unwrap().len(), 7);
    // Whoever makes it the word for all of them is told what that costs.
    let job = folder.path().join("warm/jobs/trending_products.toml");
    let text = fs::read_to_string(&job).unwrap().replace("\"All\"", "\"None\"");
    fs::write(&job, text).unwrap();
    let arguments = ["warm", "trending_products", "--force", "--config", "warm/warmd.toml"];
    let (code, _, error) = warmd(folder.path(), &redis, &arguments);
    assert_eq!(code, Some(0), "{error}");
    assert!(error.contains("trending_products: products have the category `None`, which stands for all"), "{error}");
}

#[tokio::test]
async fn a_schema_on_the_search_path_may_be_named() {
    let database = servers::postgres().await;
    execute(&database.url, &small("TIMESTAMP", (1..60).map(|nth| nth * 3_600), as_text)).await;
    let flags = ["--users", "public.users", "--products", "public.products", "--events", "public.orders.created_at"];
    made_and_warmed(&database, &flags).await;
}

#[tokio::test]
async fn carts_ratings_favourites_and_views_count_beside_orders() {
    let database = servers::sqlite().await;
    let mut sql = small("TEXT", (1..60).map(|nth| nth * 3_600), as_text);
    for (table, when) in
        [("cart_items", "added_at"), ("ratings", "rated_at"), ("favourites", "created_at"), ("page_views", "viewed_at")]
    {
        sql.push_str(&format!("CREATE TABLE {table} (user_id INTEGER, product_id INTEGER, {when} TEXT);"));
        let moment = as_text(chrono::Utc::now().timestamp() - 7_200);
        sql.push_str(&format!("INSERT INTO {table} VALUES (1,1,{moment}),(2,2,{moment});"));
    }
    execute(&database.url, &sql).await;
    let (folder, _, told) = made_and_warmed(&database, &[]).await;
    assert!(!told.contains("without a part"), "{told}");
    for file in ["purchases.sql", "carts.sql", "ratings.sql", "favourites.sql", "views.sql"] {
        assert!(folder.path().join("warm/jobs").join(file).exists(), "{file}: {told}");
    }
}

#[tokio::test]
async fn what_stands_in_the_way_is_named_and_nothing_is_written() {
    let (database, redis) = (servers::sqlite().await, servers::redis().await);
    execute(&database.url, &small("DATETIME", (1..2).map(|nth| nth * 3_600), as_text)).await;
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("afile"), "").unwrap();
    fs::create_dir(folder.path().join("shop")).unwrap();
    fs::write(folder.path().join("shop/jobs"), "").unwrap();
    let init = |arguments: &[&str]| {
        warmd(folder.path(), &redis, &[&["init", "--database", &database.url], arguments].concat())
    };
    for (name, way) in [("afile", "afile"), ("afile/deep", "afile"), ("shop", "shop/jobs")] {
        let (code, out, error) = init(&[name]);
        assert_eq!((code, out.as_str()), (Some(1), ""), "{name}");
        assert_eq!(error, format!("nothing was written: {way} is a file, and is to be a folder\n"), "{name}");
        // Programs are told the same.
        let (code, out, error) = init(&[name, "--json"]);
        assert_eq!((code, error.as_str()), (Some(1), ""), "{name}");
        let told: Value = serde_json::from_str(&out).unwrap();
        assert_eq!((&told["version"], &told["decided"]), (&1.into(), &true.into()));
        assert!(told["reasons"][0].as_str().unwrap().contains("is a file"), "{told}");
        assert!(told["files"].as_array().unwrap().iter().all(|file| file["written"] == false), "{told}");
    }
    assert_eq!(fs::read_dir(folder.path().join("shop")).unwrap().count(), 1);
    // So the next attempt finds nothing in its way.
    fs::remove_file(folder.path().join("shop/jobs")).unwrap();
    assert_eq!(init(&["shop"]).0, Some(0));
    let (code, out, _) = init(&["shop", "--json"]);
    let told: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(code, Some(1));
    assert!(told["reasons"][0].as_str().unwrap().contains("--force overwrites it"), "{told}");
    // What comes next may be typed as it stands, and one row is one.
    let (_, out, _) = init(&["my shop"]);
    assert!(out.contains("  warmd plan --config 'my shop/warmd.toml'\n"), "{out}");
    assert!(out.contains(" one row; "), "{out}");
}

#[tokio::test]
async fn a_url_that_names_no_database_is_told_so() {
    let (database, redis) = (servers::mariadb().await, servers::redis().await);
    let (server, _) = database.url.rsplit_once('/').unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (code, _, error) = warmd(folder.path(), &redis, &["init", "--database", &format!("{server}/")]);
    assert_eq!(code, Some(1));
    assert!(error.starts_with("the URL names no database: "), "{error}");
}
