//! What several runs read and compute once.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::Connection as _;
use warmd::{
    job::Job,
    record::{Cause, Meter, Outcome, Record},
    run::run,
};

use super::{
    computed::as_of_january,
    parts::{HELD, dump, lock, shop, waiting},
};
use crate::{
    cli::{self, write_job},
    daemon::{Daemon, EVERY_SECOND, eventually, until},
    world::World,
};

const SALES: &str = "SELECT user_id, product_id, sold_at AS at FROM sales WHERE sold_at >= :since AND sold_at < :now";
const PRODUCTS: &str = "SELECT id AS product_id, category, name FROM products";

/// A job of each computed kind on the same events, which each counts in its own way.
fn kinds(sql: &str) -> [(&'static str, String); 4] {
    let source = |rest: &str| format!("limit = 5\nwindow = \"30d\"\nevents = [ {{ sql = \"{sql}\"{rest} }} ]\n");
    let products = format!("products = \"{PRODUCTS}\"\n");
    let head = |key: &str| format!("key = \"{key}\"\nttl = \"1h\"\n");
    let users = "[targets]\nuser_id = { sql = \"SELECT id FROM users\" }\n";
    [
        ("a_recommend", head("r:{user_id}") + users + "[recommend]\n" + &source(", weight = 2.0") + &products),
        ("b_products", head("p:{product_id}") + "[similar]\nof = \"products\"\n" + &source("") + &products),
        ("c_users", head("u:{user_id}") + "[similar]\nof = \"users\"\n" + &source(", purchase = false")),
        ("d_trending", head("t") + "[trending]\n" + &source(", weight = 0.3") + &products),
    ]
}

fn runs(world: &World, arguments: &[&str]) -> Vec<Value> {
    let (code, out, err) = cli::run(world, &[&["warm", "--json", "--as-of", "2026-01-10"], arguments].concat());
    assert_eq!((code, err.as_str()), (Some(0), ""));
    serde_json::from_str::<Value>(&out).unwrap()["runs"].as_array().unwrap().clone()
}

/// Statements and rows of each run.
fn read(runs: &[Value]) -> Vec<(u64, u64)> {
    runs.iter().map(|run| (run["queries"].as_u64().unwrap(), run["rows"].as_u64().unwrap())).collect()
}

#[tokio::test]
async fn jobs_that_are_warmed_together_read_their_events_once_and_have_the_same_values() {
    let world = World::new().await;
    let jobs = kinds(SALES);
    for (name, text) in &jobs {
        write_job(&world, &format!("{name}.toml"), text);
    }
    let alone: Vec<Value> = jobs.iter().flat_map(|(name, _)| runs(&world, &[name])).collect();
    let values = dump(&world).await;
    // Twelve sales each; five users, and six products for those that describe them.
    assert_eq!(read(&alone), [(3, 5 + 12 + 6), (2, 12 + 6), (1, 12), (2, 12 + 6)]);
    assert_eq!(values.len(), 5 + 6 + 4 + 1);

    world.redis_command::<String>(&["FLUSHALL"]).await;
    let together = runs(&world, &[]);
    assert_eq!(read(&together), [(3, 5 + 12 + 6), (1, 6), (0, 0), (1, 6)]);
    assert_eq!(dump(&world).await, values);
}

#[tokio::test]
async fn only_the_same_statement_with_the_same_parameters_is_read_once() {
    let world = World::new().await;
    let similar = |window: &str, limit: u32, sql: &str| {
        format!(
            "key = \"JOB:{{user_id}}\"\nttl = \"1h\"\nrefresh = \"always\"\n[similar]\nof = \"users\"\n\
             limit = {limit}\nwindow = \"{window}\"\nevents = [ {{ sql = \"{sql}\" }} ]\n"
        )
    };
    let write = |first: &str, second: &str| {
        write_job(&world, "first.toml", &first.replace("JOB", "first"));
        write_job(&world, "second.toml", &second.replace("JOB", "second"));
    };
    let limited = format!("{SALES} ORDER BY sold_at LIMIT :limit");
    let first = similar("30d", 5, SALES);
    for (second, is_shared, why) in [
        (similar("30d", 7, SALES), true, "the statement does not know the limit"),
        (similar("20d", 5, SALES), false, "another `:since`"),
        (similar("30d", 5, &limited), false, "another text"),
        (similar("30d", 5, &SALES.replace(" AND sold_at < :now", "")), false, "another text"),
    ] {
        write(&first, &second);
        let runs = runs(&world, &[]);
        assert_eq!(
            (runs[0]["rows"].as_u64(), runs[1]["queries"].as_u64()),
            (Some(12), Some(u64::from(!is_shared))),
            "{why}"
        );
    }
    write(&similar("30d", 4, &limited), &similar("30d", 3, &limited));
    assert_eq!(read(&runs(&world, &[])), [(1, 4), (1, 3)], "another `:limit`");
}

#[tokio::test]
async fn a_model_that_two_jobs_need_is_built_once() {
    let world = World::new().await;
    let [(_, recommend), ..] = kinds(SALES);
    write_job(&world, "few.toml", &recommend);
    // What a list is like is no matter of the model.
    let many = recommend
        .replace("r:", "many:")
        .replace("limit = 5", "limit = 6\ntrending = \"50%\"\nexclude_purchased = true");
    write_job(&world, "many.toml", &many);
    let together = runs(&world, &[]);
    assert_eq!(read(&together), [(3, 5 + 12 + 6), (1, 5)], "the second reads its users only");
    let values = dump(&world).await;
    assert_eq!(values.len(), 10);
    world.redis_command::<String>(&["FLUSHALL"]).await;
    runs(&world, &["many"]);
    runs(&world, &["few"]);
    assert_eq!(dump(&world).await, values);
}

fn similar(world: &World, key: &str, limits: &str) -> Arc<Job> {
    world.job(&format!(
        "key = \"{key}:{{user_id}}\"\nttl = \"1h\"\n[similar]\nof = \"users\"\nlimit = {}\n\
         events = [ {{ sql = \"{HELD}\" }} ]\n[limits]\n{limits}",
        key.len()
    ))
}

async fn ran(world: &World, job: &Arc<Job>, meter: &Arc<Meter>) -> Record {
    run(job, &world.around, &as_of_january(), meter).await
}

#[tokio::test]
async fn a_run_waits_for_what_another_one_reads() {
    let world = shop().await;
    let holder = lock(&world, 7).await;
    let jobs = [similar(&world, "a", ""), similar(&world, "ab", "")];
    let meters = [Arc::new(Meter::default()), Arc::new(Meter::default())];
    let together = async { tokio::join!(ran(&world, &jobs[0], &meters[0]), ran(&world, &jobs[1], &meters[1])) };
    let let_go = async {
        // The runs are polled in turn: when the first waits for the lock, the second waits for the first.
        eventually("the statement", async || waiting(&world).await == 1).await;
        holder.close().await.unwrap();
    };
    let ((first, second), ()) = tokio::join!(together, let_go);
    assert_eq!((first.outcome, second.outcome), (Outcome::Ok, Outcome::Ok));
    assert_eq!((first.queries + second.queries, first.rows + second.rows), (1, 12));
    assert_eq!(world.keys().await.len(), 8);
    assert_eq!(world.json("t:a:1").await[0], world.json("t:ab:1").await[0]);
}

#[tokio::test]
async fn a_run_waits_no_longer_for_another_than_its_own_time_limit() {
    let world = shop().await;
    let holder = lock(&world, 7).await;
    let patient = similar(&world, "a", "");
    let hasty = similar(&world, "ab", "timeout = \"500ms\"");
    let meters = [Arc::new(Meter::default()), Arc::new(Meter::default())];
    let hurry = async {
        let record = ran(&world, &hasty, &meters[1]).await;
        assert_eq!((record.outcome, record.cause), (Outcome::Failed, Some(Cause::Timeout)));
        assert_eq!(record.first_error.unwrap(), "the run took longer than its timeout of 500ms");
        assert_eq!(record.queries, 0);
        assert!(record.seconds < 10.0, "{}", record.seconds);
        holder.close().await.unwrap();
    };
    let (record, ()) = tokio::join!(ran(&world, &patient, &meters[0]), hurry);
    assert_eq!((record.outcome, record.rows), (Outcome::Ok, 12));
}

#[tokio::test]
async fn a_run_goes_on_with_what_another_one_has_given_up() {
    let world = shop().await;
    let holder = lock(&world, 7).await;
    // Long enough to begin the statement.
    let hasty = similar(&world, "a", "timeout = \"3s\"");
    let patient = similar(&world, "ab", "");
    let meters = [Arc::new(Meter::default()), Arc::new(Meter::default())];
    let let_go = async {
        let record = ran(&world, &hasty, &meters[0]).await;
        assert_eq!((record.cause, record.queries), (Some(Cause::Timeout), 1));
        holder.close().await.unwrap();
    };
    let ((), record) = tokio::join!(let_go, ran(&world, &patient, &meters[1]));
    assert_eq!((record.outcome, record.queries, record.rows), (Outcome::Ok, 1, 12));
}

#[tokio::test]
async fn each_run_tells_a_mistake_in_the_events_by_its_own_file() {
    let world = World::new().await;
    let wrong = SALES.replace("product_id", "produkt_id");
    for (name, text) in kinds(&wrong) {
        write_job(&world, &format!("{name}.toml"), &text);
    }
    let (code, out, _) = cli::run(&world, &["warm", "--json", "--as-of", "2026-01-10"]);
    assert_eq!(code, Some(1));
    let json: Value = serde_json::from_str(&out).unwrap();
    for (run, (name, _)) in json["runs"].as_array().unwrap().iter().zip(kinds("")) {
        let error = run["first_error"].as_str().unwrap();
        assert!(error.contains(&format!("{name}.toml:")) && error.contains("produkt_id"), "{error}");
    }
}

#[tokio::test]
async fn two_statements_of_events_are_read_at_once_as_far_as_the_concurrency_goes() {
    let world = shop().await;
    let job = |concurrency: u32| {
        let more = HELD.replace("sales,", "sales AS others,");
        world.job(&format!(
            "key = \"{{user_id}}\"\nttl = \"1h\"\nrefresh = \"always\"\n[similar]\nof = \"users\"\n\
             events = [ {{ sql = \"{HELD}\" }}, {{ sql = \"{more}\" }} ]\n[limits]\nconcurrency = {concurrency}\n"
        ))
    };
    for (concurrency, at_once) in [(2, 2), (1, 1)] {
        let holder = lock(&world, 7).await;
        let most = Mutex::new(0);
        let let_go = async {
            eventually("as many as may", async || {
                let now = waiting(&world).await;
                *most.lock().unwrap() = now;
                now >= at_once
            })
            .await;
            holder.close().await.unwrap();
        };
        let (job, meter) = (job(concurrency), Arc::default());
        let (record, ()) = tokio::join!(ran(&world, &job, &meter), let_go);
        assert_eq!((record.outcome, record.queries, record.rows), (Outcome::Ok, 2, 24));
        assert_eq!(*most.lock().unwrap(), at_once);
    }
}

#[tokio::test]
async fn jobs_of_one_tick_see_the_same_moment_and_read_their_events_once() {
    let world = World::new().await;
    for (name, text) in kinds(SALES) {
        write_job(&world, &format!("{name}.toml"), &(EVERY_SECOND.to_owned() + &text.replace("30d", "9000d")));
    }
    let daemon = Daemon::start(&world, "a", &[]).ready();
    // Who comes first reads them. Runs that are over before the next one begins have nothing to leave it, so it takes
    // a tick or two until all four meet.
    let met = until(&world, "a tick with one reading", |records| !readers(records).is_empty()).await;
    assert!(readers(&met).iter().all(|(_, rows)| *rows == 12), "{:?}", readers(&met));
    assert_eq!(daemon.stop(), Some(0));
}

/// The ticks at which all four jobs ran and only one read sales: the sales that it read.
fn readers(records: &[Value]) -> Vec<(DateTime<Utc>, u64)> {
    // A tick that a longer run before has made miss its own leaves a record without any rows.
    let computed = |record: &&Value| record["scheduled"].is_string() && record["outcome"] == "ok";
    let mut ticks: BTreeMap<DateTime<Utc>, Vec<u64>> = BTreeMap::new();
    for record in records.iter().filter(computed) {
        let tick = record["scheduled"].as_str().unwrap().parse().unwrap();
        // Besides sales, five users and six products.
        let sales = record["rows"].as_u64().unwrap();
        let own = match record["job"].as_str().unwrap() {
            "a_recommend" => 11,
            "c_users" => 0,
            _ => 6,
        };
        ticks.entry(tick).or_default().push(sales - own);
    }
    let met = |(tick, sales): (DateTime<Utc>, Vec<u64>)| {
        let readers = sales.iter().filter(|rows| **rows > 0).count();
        (sales.len() == 4 && readers == 1).then(|| (tick, sales.iter().sum()))
    };
    ticks.into_iter().filter_map(met).collect()
}
