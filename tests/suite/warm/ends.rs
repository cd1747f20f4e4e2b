//! Runs that are held back, end early or cannot do their work.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use sqlx::Connection as _;
use warmd::{
    cache::Store,
    database::Database,
    job::Job,
    record::{Cause, Outcome},
    run::Request,
};

use super::{
    USERS,
    parts::{lock, shop, waiting},
};
use crate::{
    daemon::eventually,
    faults::proxy::{Network, Proxy, Upstream},
    servers,
    standstill::undisturbed,
    world::{World, secret, server},
};

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
    undisturbed(async || {
        let database = servers::postgres().await;
        servers::execute(&database.url, crate::world::SHOP).await;
        let world = World::on(database).await;
        let text = USERS.replace("name, score FROM users", "pg_sleep(30)::text AS slept FROM users")
            + "[limits]\ntimeout = \"3s\"\n";
        let record = world.run(&world.job(&text)).await;
        assert_eq!((record.outcome, record.cause), (Outcome::Failed, Some(Cause::Timeout)), "{record:?}");
        assert!(record.seconds < 15.0, "{record:?}");
        // A statement that failed has cost the database its time all the same, and the targets were read before it.
        // What a busy Redis took was no longer the statement's.
        assert!(record.database_seconds + record.redis_seconds > 2.0 && record.rows == 5, "{record:?}");
    })
    .await;
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
    // A pause is shorter by what the write before it took.
    assert!(record.throttle_seconds + record.redis_seconds > 0.4, "{record:?}");
}

#[tokio::test]
async fn a_run_ends_at_its_timeout_and_says_so() {
    let world = World::new().await;
    let many = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000) SELECT i AS id, 1 AS one FROM n";
    let text = format!(
        "key = \"n:{{id}}\"\nttl = \"1h\"\n[query]\nsql = \"{many}\"\n[limits]\nkeys_per_second = 100\ntimeout = \"3s\"\nbatch = 50\n"
    );
    let record = world.run(&world.job(&text)).await;
    assert_eq!((record.outcome, record.cause), (Outcome::Partial, Some(Cause::Timeout)));
    assert_eq!(record.first_error.as_deref(), Some("the run took longer than its timeout of 3s"));
    // All of them take fifty seconds.
    assert!(record.counts.written >= 10 && record.seconds < 30.0, "{record:?}");
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
async fn an_unreachable_database_is_told_as_such() {
    let world = without_database(World::new().await);
    // The third attempt comes after at most 7 s, and hardly ever a fourth before 8: none is cut off by the run's end.
    let job: Arc<Job> = world.job(&format!("{USERS}[limits]\ntimeout = \"8s\"\n"));
    let record = world.run(&job).await;
    assert_eq!((record.outcome, record.cause), (Outcome::Failed, Some(Cause::DatabaseUnreachable)));
    let error = record.first_error.unwrap();
    assert!(error.contains(NOBODY) && !error.contains("hunter2"), "{error}");
}

#[tokio::test]
async fn a_run_that_is_told_to_stop_does_not_wait_for_a_database_that_is_away() {
    let world = without_database(World::new().await);
    let request = Request::manual();
    let stop = request.stop.shutdown.clone();
    let begun = Instant::now();
    let job = world.job(USERS);
    let (record, ()) = tokio::join!(world.run_as(&job, request), async move { stop.cancel() });
    // Five attempts take fifteen seconds and more.
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    assert_eq!((record.outcome, record.cause), (Outcome::Interrupted, Some(Cause::Shutdown)));
    assert!(record.first_error.unwrap().starts_with("cannot connect to "));
}

/// An address where nobody listens. A port that was free a moment ago may be another test's by now.
const NOBODY: &str = "127.0.0.1:1";

/// The world with a database at that address.
fn without_database(mut world: World) -> World {
    world.around.database = Database::new(&secret(&format!("postgres://u:hunter2@{NOBODY}/x"))).unwrap();
    world
}

#[tokio::test]
async fn what_is_being_written_when_another_batch_fails_is_counted() {
    let mut world = shop().await;
    let proxy = Proxy::before(Upstream::Socket(world.redis.socket.clone()));
    world.around.store = Store::connect(&server(&format!("redis://127.0.0.1:{}", proxy.port))).await.unwrap();
    let held = "CREATE FUNCTION held(n int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN \
                PERFORM pg_advisory_xact_lock_shared(n); IF n = 2 THEN RAISE undefined_table; END IF; RETURN n; END $$";
    world.sql(held).await;
    let (first, second) = (lock(&world, 1).await, lock(&world, 2).await);
    let job = world.job(
        "key = \"n:{n}\"\nttl = \"1h\"\n[targets]\nn = { sql = \"SELECT generate_series(1, 2)\" }\n\
         [query]\nsql = \"SELECT n, held(n) AS v FROM unnest(ARRAY[:n]::int[]) AS n\"\n\
         [limits]\nbatch = 1\nconcurrency = 2\n",
    );
    let control = async {
        eventually("both statements", async || waiting(&world).await == 2).await;
        proxy.becomes(Network::Slow(Duration::from_secs(3)));
        first.close().await.unwrap();
        eventually("the key", async || world.get("t:n:1").await.is_some()).await;
        // Its answer is under way.
        second.close().await.unwrap();
    };
    let (record, ()) = tokio::join!(world.run(&job), control);
    assert_eq!((record.outcome, record.cause), (Outcome::Partial, Some(Cause::Statement)), "{record:?}");
    assert_eq!((record.counts.written, record.counts.failed), (1, 1), "{record:?}");
}
