//! Servers that are slow, or busier than they may be.

use std::{sync::Arc, time::Duration};

use sqlx::Connection as _;
use warmd::{
    cache::Store,
    database::{Database, LoadLimits},
    record::{Meter, Outcome},
    run::{Request, run},
    throttle::Strain,
};

use crate::{
    daemon::eventually,
    faults::proxy::{Network, Proxy, Upstream},
    servers::{self, TestDatabase, execute},
    world::{SHOP, World, secret, server},
};

/// 2,000 keys, 500 a second.
const MANY: &str = r#"
key = "many:{id}"
ttl = "10m"
[query]
sql = "WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n WHERE id < 2000) SELECT id, 'x' AS value FROM n"
[limits]
batch = 10
keys_per_second = 500
"#;

const USERS: &str = r#"
key = "user:{user_id}"
ttl = "10m"
[targets]
user_id = { sql = "SELECT id FROM users ORDER BY id" }
[query]
sql = "SELECT id AS user_id, name FROM users WHERE id IN (:user_id)"
"#;

/// How many statements of the run the server works on.
async fn at_work(world: &World) -> i64 {
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'warmd' AND wait_event = 'PgSleep' \
               AND datname = current_database()";
    let mut connection = sqlx::PgConnection::connect(&world.database.url).await.unwrap();
    sqlx::query_scalar(sql).fetch_one(&mut connection).await.unwrap()
}

#[tokio::test]
async fn a_database_that_becomes_slow_gets_fewer_batches_at_once() {
    let database = servers::postgres().await;
    execute(&database.url, SHOP).await;
    execute(&database.url, "CREATE TABLE delay AS SELECT 0.0 AS seconds").await;
    let world = World::on(database).await;
    let job = world.job(
        r#"
key = "n:{n}"
ttl = "10m"
[targets]
n = { sql = "SELECT generate_series(1, 4000)" }
[query]
sql = "SELECT n, (SELECT pg_sleep(seconds) FROM delay)::text AS slept FROM unnest(ARRAY[:n]::int[]) AS n LIMIT 1"
[limits]
batch = 1
concurrency = 4
"#,
    );
    let meter = Arc::new(Meter::default());
    let request = Request::manual();
    let control = async {
        // By then, what the first of them took to connect is no part of what is usual any more.
        while meter.written.get() < 200 {
            tokio::task::yield_now().await;
        }
        world.sql("UPDATE delay SET seconds = 0.3").await;
        let before = meter.written.get();
        // Four that had begun, four that are slow, four that show that it was no chance: no more than half as many are at
        // work then.
        while meter.written.get() < before + 12 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let mut most = 0;
        // A busy machine may look too seldom to see one of the first.
        while meter.written.get() < before + 17 || (most == 0 && meter.written.get() < before + 35) {
            most = most.max(at_work(&world).await);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        world.sql("UPDATE delay SET seconds = 0").await;
        most
    };
    let (record, most) = tokio::join!(run(&job, &world.around, &request, &meter), control);
    assert!((1..=2).contains(&most), "{most} at once");
    assert_eq!((record.outcome, record.counts.written), (Outcome::Ok, 4000), "{record:?}");
    assert!(record.backed_off[&Strain::Database] > 1.0, "{:?}", record.backed_off);
    assert_eq!(record.backed_off.len(), 1);
}

#[tokio::test]
async fn a_redis_that_becomes_slow_gets_fewer_batches_at_once() {
    let mut world = World::new().await;
    let proxy = Proxy::before(Upstream::Socket(world.redis.socket.clone()));
    world.around.store = Store::connect(&server(&format!("redis://127.0.0.1:{}", proxy.port))).await.unwrap();
    let job = world.job(MANY);
    let meter = Arc::new(Meter::default());
    let request = Request::manual();
    let control = async {
        while meter.written.get() < 100 {
            tokio::task::yield_now().await;
        }
        proxy.becomes(Network::Slow(Duration::from_millis(300)));
        let before = meter.written.get();
        while meter.written.get() < before + 50 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        proxy.becomes(Network::Sound);
    };
    let (record, ()) = tokio::join!(run(&job, &world.around, &request, &meter), control);
    assert_eq!((record.outcome, record.counts.written), (Outcome::Ok, 2000), "{record:?}");
    assert!(record.backed_off[&Strain::Redis] > 0.3, "{:?}", record.backed_off);
}

/// A world on a database that has the shop.
async fn shop_in(database: TestDatabase) -> World {
    execute(&database.url, SHOP).await;
    World::on(database).await
}

/// A run that must hold back until `relief` has happened.
async fn held_back(world: &World, strain: Strain, relief: impl AsyncFnOnce()) {
    let meter = Arc::new(Meter::default());
    let (job, request) = (world.job(USERS), Request::manual());
    let control = async {
        let mut waits_for = meter.waits_for.subscribe();
        let told = waits_for.wait_for(Option::is_some).await.unwrap().clone().unwrap();
        assert_eq!(meter.queries.get(), 0, "{told}");
        relief().await;
        told
    };
    let (record, told) = tokio::join!(Box::pin(run(&job, &world.around, &request, &meter)), control);
    assert_eq!((record.outcome, record.counts.written), (Outcome::Ok, 5), "{record:?}");
    assert!(record.backed_off[&strain] > 0.9, "{:?}", record.backed_off);
    assert!(told.contains("`max_"), "{told}");
}

#[tokio::test]
async fn batches_wait_while_more_connections_are_at_work_than_may_be() {
    let postgres =
        ["SELECT pg_sleep(60)", "pg_stat_activity WHERE wait_event = 'PgSleep'", "SELECT pg_terminate_backend(pid)"];
    let mariadb = ["SELECT sleep(60)", "information_schema.processlist WHERE info = 'SELECT sleep(60)'", ""];
    for (server, [sleep, asleep, wake]) in
        [(servers::own_postgres(&[]).await, postgres), (servers::own_mariadb(&[]).await, mariadb)]
    {
        // Held until the end: the server is the test's own.
        let _server = server.server;
        let mut world = shop_in(server.database).await;
        world.around.load_limits = LoadLimits { active_connections: Some(2), ..LoadLimits::default() };
        let url = world.database.url.clone();
        for _ in 0..4 {
            let url = url.clone();
            tokio::spawn(async move { servers::try_execute(&url, sleep).await });
        }
        let count = format!("SELECT count(*) FROM {asleep}");
        eventually("all of them at work", async || servers::number(&url, &count).await.unwrap() == 4).await;
        let relief = async || match wake {
            "" => {
                // All ids first: one that is told to end is still in the list for a moment.
                let mut ids = Vec::new();
                for n in 0..4 {
                    let nth = format!("SELECT id FROM {asleep} ORDER BY id LIMIT {n}, 1");
                    ids.push(servers::number(&url, &nth).await.unwrap());
                }
                for id in ids {
                    execute(&url, &format!("KILL {id}")).await;
                }
            }
            wake => execute(&url, &format!("{wake} FROM {asleep}")).await,
        };
        held_back(&world, Strain::ActiveConnections, relief).await;
    }
}

#[tokio::test]
async fn batches_wait_while_a_postgres_replica_lags_behind() {
    let primary = servers::own_postgres(&[]).await;
    execute(&primary.database.url, SHOP).await;
    let replica = servers::postgres_replica(&primary).await;
    let _server = replica.server;
    let mut world = World::on(replica.database).await;
    world.around.load_limits = LoadLimits { replica_lag: Some(Duration::from_secs(1)), ..LoadLimits::default() };
    let url = world.database.url.clone();
    execute(&primary.database.url, "UPDATE users SET name = 'Amy' WHERE id = 1").await;
    let applied = "SELECT count(*) FROM users WHERE name = 'Amy'";
    eventually("the change", async || servers::number(&url, applied).await.unwrap() == 1).await;
    // One that is idle does not lag, however long ago the last change was.
    assert_eq!(world.run(&world.job(USERS)).await.counts.written, 5);
    world.redis_command::<()>(&["FLUSHALL"]).await;
    execute(&url, "SELECT pg_wal_replay_pause()").await;
    execute(&primary.database.url, "UPDATE users SET name = 'Zoe' WHERE id = 1").await;
    let lags = "SELECT count(*) FROM pg_stat_wal_receiver WHERE pg_last_wal_replay_lsn() < pg_last_wal_receive_lsn() \
                AND clock_timestamp() - pg_last_xact_replay_timestamp() > interval '2 s'";
    eventually("the lag", async || servers::number(&url, lags).await.unwrap() == 1).await;
    held_back(&world, Strain::ReplicaLag, async || execute(&url, "SELECT pg_wal_replay_resume()").await).await;
    assert_eq!(world.get("t:user:1").await.unwrap(), r#"{"name":"Zoe"}"#);
}

#[tokio::test]
async fn batches_wait_while_a_mariadb_replica_does_not_replicate() {
    let options = |id: u32| [format!("--server-id={id}"), "--log-bin=changes".to_owned()];
    let primary = servers::own_mariadb(&options(1)).await;
    let replica = servers::own_mariadb(&options(2)).await;
    let _server = replica.server;
    execute(&primary.database.url, "RESET MASTER").await;
    execute(&primary.database.url, SHOP).await;
    let port = servers::number(&primary.database.url, "SELECT CAST(@@port AS SIGNED)").await.unwrap();
    let start = format!(
        "CHANGE MASTER TO master_host = '127.0.0.1', master_port = {port}, master_user = 'tester'; START SLAVE"
    );
    execute(&replica.database.url, &start).await;
    let url = replica.database.url.clone();
    eventually("the shop", async || servers::number(&url, "SELECT count(*) FROM sales").await.ok() == Some(12)).await;
    let mut world = World::on(replica.database).await;
    world.around.load_limits = LoadLimits { replica_lag: Some(Duration::from_secs(60)), ..LoadLimits::default() };
    assert_eq!(world.run(&world.job(USERS)).await.counts.written, 5);
    world.redis_command::<()>(&["FLUSHALL"]).await;
    execute(&url, "STOP SLAVE SQL_THREAD").await;
    held_back(&world, Strain::ReplicaLag, async || execute(&url, "START SLAVE SQL_THREAD").await).await;

    // The right that the manual names is enough, and needed.
    let overload = async || {
        let url = secret(&url.replace("tester@", "watcher@"));
        let mut connection = Database::new(&url).unwrap().connect().await.unwrap();
        connection.overload(&world.around.load_limits).await
    };
    execute(&url, "CREATE USER watcher@'%'; GRANT SELECT ON shop.* TO watcher@'%'").await;
    assert!(overload().await.unwrap_err().message.contains("MONITOR"));
    execute(&url, "GRANT REPLICA MONITOR ON *.* TO watcher@'%'").await;
    assert_eq!(overload().await.unwrap(), None);
}
