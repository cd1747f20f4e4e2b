//! Events that are read over several connections.

use std::{
    cell::Cell,
    num::NonZeroU32,
    sync::Arc,
    time::{Duration, Instant},
};

use sqlx::{Connection as _, PgConnection};
use tokio_util::sync::CancellationToken;
use warmd::{
    job::Job,
    record::{Cause, Meter, Outcome, Record},
    run::{Request, Stop, run},
    throttle::{Quotas, Throttle},
};

use super::computed::as_of_january;
use crate::{
    daemon::eventually,
    servers::{self, execute},
    world::{SHOP, World},
};

/// Users who are alike, by a statement of its own and the sales.
fn similar(world: &World, connections: u32, sql: &str) -> Arc<Job> {
    world.job(&format!(
        r#"
key = "alike:{{user_id}}"
ttl = "1h"
refresh = "always"
[similar]
of = "users"
events = [ {{ sql = """{sql}""", connections = {connections} }} ]
"#
    ))
}

pub(super) async fn shop() -> World {
    let database = servers::postgres().await;
    execute(&database.url, SHOP).await;
    World::on(database).await
}

async fn ran(world: &World, job: &Arc<Job>) -> Record {
    let record = world.run_as(job, as_of_january()).await;
    assert_eq!(record.outcome, Outcome::Ok, "{record:?}");
    record
}

pub(super) async fn dump(world: &World) -> Vec<(String, String)> {
    let mut dump = Vec::new();
    for key in world.keys().await {
        dump.push((key.clone(), world.get(&key).await.unwrap()));
    }
    dump
}

#[tokio::test]
async fn values_are_the_same_however_many_connections_read_the_events() {
    let world = shop().await;
    let tables = [
        "SELECT n AS user_id, n AS who FROM generate_series(1, 60) AS n",
        "SELECT -n AS user_id, n AS who FROM generate_series(1, 60) AS n",
        "SELECT 9007199254740993 + n * 1000 AS user_id, n AS who FROM generate_series(1, 60) AS n",
        "SELECT 'User ' || n AS user_id, n AS who FROM generate_series(1, 60) AS n",
        "SELECT md5(n::text)::uuid AS user_id, n AS who FROM generate_series(1, 60) AS n",
        "SELECT n::numeric / 4 AS user_id, n AS who FROM generate_series(1, 60) AS n",
        "SELECT CASE WHEN n % 3 > 0 THEN n END AS user_id, n AS who FROM generate_series(1, 60) AS n",
    ];
    for table in tables {
        let sql = format!(
            "SELECT u.user_id, who * step % 13 AS product_id, timestamp '2026-01-01' + who * step * interval '1 hour' AS at,
                 who % 4 + 1 AS weight
             FROM ({table}) AS u, generate_series(1, 5) AS step;  -- all of them"
        );
        let one = ran(&world, &similar(&world, 1, &sql)).await;
        let values = dump(&world).await;
        assert!(values.len() >= 40, "{table}: {values:?}");
        assert_eq!((one.queries, one.rows), (1, 300));
        for connections in [2, 3, 5] {
            world.redis_command::<String>(&["FLUSHALL"]).await;
            let several = ran(&world, &similar(&world, connections, &sql)).await;
            assert_eq!(dump(&world).await, values, "{connections} connections: {table}");
            assert_eq!(several.queries, u64::from(connections), "each part is a statement");
            assert_eq!((several.rows, several.database_bytes), (one.rows, one.database_bytes), "{table}");
        }
        world.redis_command::<String>(&["FLUSHALL"]).await;
    }
}

#[tokio::test]
async fn events_that_move_between_users_meanwhile_are_read_once_each() {
    let world = shop().await;
    world
        .sql("CREATE TABLE moving AS SELECT n AS user_id, n % 7 AS product_id FROM generate_series(1, 400) AS n")
        .await;
    let job = similar(&world, 3, "SELECT user_id, product_id FROM moving");
    let done = CancellationToken::new();
    let moves = Cell::new(0);
    let writer = async {
        let mut connection = PgConnection::connect(&world.database.url).await.unwrap();
        while !done.is_cancelled() {
            // From one half of the users to the other and back, always all of them.
            let sql = "UPDATE moving SET user_id = CASE WHEN user_id > 400 THEN user_id - 400 ELSE user_id + 400 END";
            sqlx::query(sql).execute(&mut connection).await.unwrap();
            moves.set(moves.get() + 1);
        }
    };
    let reader = async {
        let mut runs = 0;
        // Whichever of the two a busy machine holds up.
        while runs < 50 || moves.get() <= 20 {
            let record = ran(&world, &job).await;
            assert_eq!((record.rows, record.counts.keys), (400, 400), "a mixture of two moments");
            runs += 1;
        }
        done.cancel();
    };
    tokio::join!(writer, reader);
}

#[tokio::test]
async fn a_mistake_has_the_same_place_with_any_number_of_connections() {
    let world = shop().await;
    for (sql, message) in [
        ("SELECT user_id, produkt_id FROM sales", "job.toml:7:39: column \"produkt_id\" does not exist"),
        ("SELECT user_id AS who FROM sales", "job.toml:7:23: the statement has no column `user_id`; it has `who`"),
        ("SELECT user_id FROM sales", "job.toml:7:23: the statement has no column `product_id`"),
        ("SELECT user_id, product_id, 'soon' AS at FROM sales", "job.toml:7:23: column `at`: soon is no moment"),
        ("SELECT user_id, product_id, 1 / (user_id - 4) AS weight FROM sales", "job.toml: division by zero"),
    ] {
        for connections in [1, 2] {
            let record = world.run(&similar(&world, connections, sql)).await;
            let error = record.first_error.unwrap();
            let told = error.rsplit('/').next().unwrap();
            assert!(record.outcome == Outcome::Failed && told.starts_with(message), "{connections}: {error}");
        }
    }
}

/// Events that are not to be had before a lock is let go.
pub(super) const HELD: &str = "SELECT user_id, product_id FROM sales, (SELECT pg_advisory_xact_lock_shared(7)) AS held";

/// Sessions of warmd's that wait for the lock.
pub(super) async fn waiting(world: &World) -> i64 {
    let sql = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted \
               AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    servers::number(&world.database.url, sql).await.unwrap()
}

pub(super) async fn lock(world: &World, number: i64) -> PgConnection {
    let mut holder = PgConnection::connect(&world.database.url).await.unwrap();
    sqlx::query("SELECT pg_advisory_lock($1)").bind(number).execute(&mut holder).await.unwrap();
    holder
}

#[tokio::test]
async fn a_part_whose_session_is_ended_has_all_of_them_begin_again() {
    let world = shop().await;
    let record = ran(&world, &similar(&world, 1, HELD)).await;
    let values = dump(&world).await;
    assert_eq!(record.queries, 1);
    let holder = lock(&world, 7).await;
    let job = similar(&world, 2, HELD);
    let fault = async {
        eventually("both parts at work", async || waiting(&world).await == 2).await;
        world
            .sql(
                "SELECT pg_terminate_backend(min(pid)) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
                 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
            )
            .await;
        holder.close().await.unwrap();
    };
    let (record, ()) = tokio::join!(ran(&world, &job), fault);
    assert_eq!(record.queries, 2 + 2);
    assert_eq!(dump(&world).await, values);
}

#[tokio::test]
async fn a_run_that_is_given_up_leaves_no_part_at_work() {
    let world = shop().await;
    let holder = lock(&world, 7).await;
    let job = similar(&world, 3, HELD);
    let stop = Stop::default();
    let request = Request { stop: stop.clone(), ..Request::manual() };
    let meter = Arc::new(Meter::default());
    let end = async {
        eventually("all parts at work", async || waiting(&world).await == 3).await;
        stop.shutdown.cancel();
        stop.at_once.cancel();
    };
    tokio::join!(run(&job, &world.around, &request, &meter), end);
    eventually("no part at work", async || waiting(&world).await == 0).await;
    holder.close().await.unwrap();
}

#[tokio::test]
async fn the_time_limit_of_a_statement_ends_all_of_its_parts() {
    let mut world = shop().await;
    world.around.statement_timeout = Duration::from_secs(2);
    let holder = lock(&world, 7).await;
    let began = Instant::now();
    let record = world.run(&similar(&world, 3, HELD)).await;
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    let error = record.first_error.unwrap();
    // The second are warmd's own, where a busy machine takes so long to begin.
    let words = ["statement timeout", "time limit: the statement takes too long"];
    assert_eq!(record.outcome, Outcome::Failed);
    assert!(words.iter().any(|words| error.contains(words)), "{error}");
    assert_eq!((record.cause, record.queries), (Some(Cause::Statement), 3), "such a statement is not tried again");
    // One that began a moment later than the first is ended as well, which takes another moment.
    eventually("no part at work", async || waiting(&world).await == 0).await;
    holder.close().await.unwrap();
}

#[tokio::test]
async fn each_part_is_a_statement_for_the_quota() {
    let mut world = shop().await;
    let job = similar(&world, 4, "SELECT user_id, product_id FROM sales");
    let queries_per_second = NonZeroU32::new(4);
    world.around.throttle = Arc::new(Throttle::new(Quotas { queries_per_second, ..Quotas::default() }));
    let began = Instant::now();
    assert_eq!(ran(&world, &job).await.queries, 4);
    // Three wait for a quarter of a second each.
    assert!(began.elapsed() >= Duration::from_millis(700), "{:?}", began.elapsed());
}

#[tokio::test]
async fn target_lists_are_read_at_once_and_a_mistake_in_one_does_not_wait_for_the_others() {
    let world = shop().await;
    let held = "SELECT id FROM users, (SELECT pg_advisory_xact_lock_shared(7)) AS held";
    let job = |category: &str| {
        world.job(&format!(
            "key = \"{{user_id}}:{{category}}\"\nttl = \"1h\"\n[targets]\nuser_id = {{ sql = \"{held}\" }}\n\
             category = {{ sql = \"{category}\" }}\n[query]\n\
             sql = \"SELECT id AS user_id, category, name FROM users, \
             (SELECT DISTINCT category FROM products) AS c WHERE id IN (:user_id) AND category IN (:category)\"\n"
        ))
    };
    let holder = lock(&world, 7).await;
    let record = world.run(&job("SELECT kategorie FROM products")).await;
    let error = record.first_error.unwrap();
    assert!(record.outcome == Outcome::Failed && error.contains("column \"kategorie\" does not exist"), "{error}");
    eventually("the other list's end", async || waiting(&world).await == 0).await;

    let categories = held.replace("id FROM users", "DISTINCT category FROM products");
    let both = async {
        eventually("both lists", async || waiting(&world).await == 2).await;
        holder.close().await.unwrap();
    };
    let job = job(&categories);
    let (record, ()) = tokio::join!(world.run(&job), both);
    assert_eq!((record.outcome, record.counts.written), (Outcome::Ok, 10));
}
