//! The database goes, stands still, breaks off, is full, locked, changed, slow.

use std::time::Duration;

use serde_json::Value;
use sqlx::Connection as _;
use tokio::time::sleep;

use super::{
    SOON, Stage, TWO_SECONDS, connections, count, moments, people,
    proxy::{Network, Proxy, Upstream},
    redis_and, were_struck_within,
};
use crate::{
    daemon::eventually,
    servers::{self, OwnServer, TestDatabase, execute, mariadb, postgres, sqlite, try_execute},
    standstill::{Stopwatch, undisturbed},
};

/// What a run says that the database ended or left: out of reach, or in the server's own words.
const GONE: [&str; 2] = ["database_unreachable", "statement"];

/// A run tries again for half a minute, with longer and longer pauses, or waits for the rest of an answer.
const AGAIN: Duration = Duration::from_secs(2 * SOON.as_secs());

/// Whether it tries again, or has ended.
const NOTICES: [&str; 2] = ["trying again", "people: partial"];

async fn on(database: TestDatabase, variables: &[(&str, &str)]) -> Stage {
    Stage::set(redis_and(database).await, &people("name", TWO_SECONDS), variables).await
}

fn all_ok(struck: &[Value]) {
    assert!(struck.iter().all(|run| run["outcome"] == "ok"), "{struck:#?}");
}

/// Ended by the fault, or gone on after it: what the moment decides. At least one run was under way.
fn ended_or_went_on(struck: &[Value]) {
    assert!(!struck.is_empty());
    if struck.iter().any(|run| run["outcome"] != "ok") {
        were_struck_within(struck, AGAIN, &GONE, "");
    }
}

async fn killed_and_started_again(server: OwnServer) {
    let OwnServer { database, administrator, mut server } = server;
    let stage = on(database, &[]).await;
    server.kill();
    stage.eventually_logs(&NOTICES).await;
    server.start();
    eventually("the server", async || try_execute(&administrator, "SELECT 1").await.is_ok()).await;
    ended_or_went_on(&stage.recovered_within(AGAIN).await);
}

#[tokio::test]
async fn postgres_killed_and_started_again_is_waited_for() {
    killed_and_started_again(servers::own_postgres(&[]).await).await;
}

#[tokio::test]
async fn mariadb_killed_and_started_again_is_waited_for() {
    killed_and_started_again(servers::own_mariadb(&[]).await).await;
}

async fn stands_still(server: OwnServer) {
    let stage = on(server.database, &[]).await;
    server.server.signal("STOP");
    sleep(Duration::from_secs(moments(3, 10) as u64)).await;
    server.server.signal("CONT");
    all_ok(&stage.recovered().await);
}

#[tokio::test]
async fn a_postgres_that_stands_still_for_a_while_costs_the_while() {
    stands_still(servers::own_postgres(&[]).await).await;
}

#[tokio::test]
async fn a_mariadb_that_stands_still_for_a_while_costs_the_while() {
    stands_still(servers::own_mariadb(&[]).await).await;
}

#[tokio::test]
async fn a_postgres_that_does_not_answer_any_more_ends_the_run_in_time() {
    let server = servers::own_postgres(&[]).await;
    let stage = on(server.database, &[("WARMD__DATABASE__STATEMENT_TIMEOUT", "3s")]).await;
    server.server.signal("STOP");
    // Fifteen seconds beyond the time in which it should have ended the statement itself.
    stage.eventually_logs(&["no answer "]).await;
    server.server.signal("CONT");
    ended_or_went_on(&stage.recovered().await);
}

/// Ends the sessions of warmd, as an administrator or a failover does.
async fn end_sessions(url: &str) {
    if url.starts_with("postgres:") {
        let ours = "application_name = 'warmd' AND datname = current_database()";
        execute(url, &format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {ours}")).await;
        return;
    }
    let theirs = "information_schema.processlist WHERE db = database() AND id <> connection_id()";
    let newest = servers::number(url, &format!("SELECT coalesce(max(id), 0) FROM {theirs}")).await.unwrap();
    // Without those that are opened meanwhile, of which there may be no end.
    let oldest = format!("SELECT coalesce(min(id), 0) FROM {theirs} AND id <= {newest}");
    while let id @ 1.. = servers::number(url, &oldest).await.unwrap() {
        // It may be gone by itself.
        let _ = try_execute(url, &format!("KILL {id}")).await;
    }
}

#[tokio::test]
async fn sessions_that_an_administrator_ends_are_opened_again() {
    for database in [postgres().await, mariadb().await] {
        let stage = on(database, &[]).await;
        end_sessions(&stage.world.database.url).await;
        ended_or_went_on(&stage.recovered().await);
    }
}

#[tokio::test]
async fn sessions_that_an_administrator_ends_in_the_middle_of_a_statement_are_opened_again() {
    undisturbed(async || {
        for (database, columns) in [
            (postgres().await, "name, pg_sleep(0.005)::text AS slept"),
            (mariadb().await, "name, sleep(0.005) AS slept"),
        ] {
            let job = people(columns, "batch = 20\nconcurrency = 1\n");
            let stage = Stage::set(redis_and(database).await, &job, &[]).await;
            end_sessions(&stage.world.database.url).await;
            stage.eventually_logs(&["trying again"]).await;
            ended_or_went_on(&stage.recovered().await);
        }
    })
    .await;
}

#[tokio::test]
async fn a_postgres_without_a_free_connection_is_asked_again_until_it_has_one() {
    let database = postgres().await;
    let administrator = database.url.clone();
    let name = administrator.rsplit_once('/').unwrap().1.to_owned();
    // A superuser would be let in nevertheless.
    let url = administrator.replace("postgres@", "locked:right@");
    let world = redis_and(database).await;
    execute(&administrator, "GRANT SELECT ON people TO locked").await;
    let stage = Stage::set(world, &people("name", TWO_SECONDS), &[("WARMD__DATABASE__URL", &url)]).await;
    execute(&administrator, &format!("ALTER DATABASE {name} CONNECTION LIMIT 0")).await;
    end_sessions(&administrator).await;
    stage.eventually_logs(&["too many connections"]).await;
    execute(&administrator, &format!("ALTER DATABASE {name} CONNECTION LIMIT -1")).await;
    ended_or_went_on(&stage.recovered().await);
}

#[tokio::test]
async fn a_mariadb_without_a_free_connection_is_asked_again_until_it_has_one() {
    undisturbed(async || {
        let database = mariadb().await;
        let administrator = database.url.clone();
        let name = administrator.rsplit_once('/').unwrap().1.to_owned();
        let url = administrator.replace("tester@", &format!("{name}@"));
        let world = redis_and(database).await;
        execute(&administrator, &format!("CREATE USER {name}@'%'; GRANT SELECT ON {name}.* TO {name}@'%'")).await;
        let stage = Stage::set(world, &people("name", TWO_SECONDS), &[("WARMD__DATABASE__URL", &url)]).await;
        let limit = async |limit: u32| {
            execute(&administrator, &format!("ALTER USER {name}@'%' WITH MAX_USER_CONNECTIONS {limit}")).await;
        };
        // One of them is free as long as another program holds none.
        limit(1).await;
        let mut held = Vec::new();
        end_sessions(&administrator).await;
        held.extend(sqlx::MySqlConnection::connect(&url).await.ok());
        stage.eventually_logs(&["max_user_connections"]).await;
        limit(0).await;
        drop(held);
        ended_or_went_on(&stage.recovered().await);
    })
    .await;
}

/// A transaction that keeps everybody from the table.
enum Lock {
    Postgres(sqlx::PgConnection),
    MySql(sqlx::MySqlConnection),
    Sqlite(sqlx::SqliteConnection),
}

async fn lock(url: &str) -> Lock {
    match url.split_once(':').unwrap().0 {
        "postgres" => {
            let mut connection = sqlx::PgConnection::connect(url).await.unwrap();
            let lock = sqlx::raw_sql("BEGIN; LOCK TABLE people IN ACCESS EXCLUSIVE MODE");
            lock.execute(&mut connection).await.unwrap();
            Lock::Postgres(connection)
        }
        "mysql" => {
            let mut connection = sqlx::MySqlConnection::connect(url).await.unwrap();
            sqlx::raw_sql("LOCK TABLES people WRITE").execute(&mut connection).await.unwrap();
            Lock::MySql(connection)
        }
        _ => {
            let mut connection = sqlx::SqliteConnection::connect(url).await.unwrap();
            sqlx::raw_sql("PRAGMA busy_timeout = 30000; BEGIN EXCLUSIVE").execute(&mut connection).await.unwrap();
            Lock::Sqlite(connection)
        }
    }
}

impl Lock {
    async fn release(self) {
        match self {
            Self::Postgres(connection) => connection.close().await.unwrap(),
            Self::MySql(connection) => connection.close().await.unwrap(),
            Self::Sqlite(connection) => connection.close().await.unwrap(),
        }
    }
}

#[tokio::test]
async fn a_locked_table_is_waited_for() {
    for database in [postgres().await, mariadb().await, sqlite().await] {
        let stage = on(database, &[]).await;
        let lock = lock(&stage.world.database.url).await;
        sleep(Duration::from_secs(2)).await;
        lock.release().await;
        all_ok(&stage.recovered().await);
    }
}

#[tokio::test]
async fn a_table_that_is_locked_for_longer_than_a_statement_may_take_ends_the_run_with_the_servers_words() {
    undisturbed(async || {
        for (database, words) in [
            (postgres().await, "canceling statement due to statement timeout"),
            (mariadb().await, "max_statement_time exceeded"),
        ] {
            let stage = on(database, &[("WARMD__DATABASE__STATEMENT_TIMEOUT", "3s")]).await;
            let lock = lock(&stage.world.database.url).await;
            // Where the run was over, the next one gets no further than to its targets.
            stage.eventually_logs(&["people: partial", "people: failed"]).await;
            lock.release().await;
            let struck = stage.recovered().await;
            let is_told = |run: &Value| run["first_error"].as_str().is_some_and(|error| error.contains(words));
            assert!(struck.iter().any(|run| run["cause"] == "statement" && is_told(run)), "{words}: {struck:#?}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_column_that_is_gone_ends_the_run_at_once_and_is_told_with_its_place() {
    undisturbed(async || {
        for database in [postgres().await, mariadb().await, sqlite().await] {
            let stage = on(database, &[]).await;
            let url = &stage.world.database.url;
            let busy = if url.starts_with("sqlite") { "PRAGMA busy_timeout = 30000; " } else { "" };
            execute(url, &format!("{busy}ALTER TABLE people RENAME COLUMN name TO title")).await;
            stage.eventually_logs(&["people: failed"]).await;
            execute(url, &format!("{busy}ALTER TABLE people RENAME COLUMN title TO name")).await;
            let struck = stage.recovered().await;
            let ended: Vec<&Value> = struck.iter().filter(|run| run["outcome"] != "ok").collect();
            assert!(!ended.is_empty());
            for run in ended {
                let error = run["first_error"].as_str().unwrap();
                assert_eq!(run["cause"], "statement", "{run:#?}");
                assert!(error.contains("/people.toml:8:19: ") && error.contains("name"), "{error}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn the_loser_of_a_deadlock_tries_again() {
    undisturbed(async || {
        let database = postgres().await;
        let url = database.url.clone();
        let name = url.rsplit_once('/').unwrap().1.to_owned();
        let world = redis_and(database).await;
        // The statement holds a lock on `people` before it wants one on `others`.
        execute(
            &url,
            "CREATE TABLE others (id INT);
             CREATE FUNCTION others() RETURNS bigint LANGUAGE plpgsql AS
             $$ BEGIN RETURN (SELECT count(*) FROM others); END $$",
        )
        .await;
        // Who has waited for so long looks for a deadlock, once, and is ended when there is one.
        execute(&url, &format!("ALTER DATABASE {name} SET deadlock_timeout = '5s'")).await;
        let columns = "(SELECT pg_sleep(0.1))::text AS slept, others() AS others";
        let stage = Stage::set(world, &people(columns, "batch = 20\nconcurrency = 1\n"), &[]).await;
        let mut rival = sqlx::PgConnection::connect(&url).await.unwrap();
        // It waits for longer, so that the other side is the one that looks.
        let begin = "SET deadlock_timeout = '1min'; SET lock_timeout = '30s'; BEGIN; \
                     LOCK TABLE others IN ACCESS EXCLUSIVE MODE";
        sqlx::raw_sql(begin).execute(&mut rival).await.unwrap();
        let waiting = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'warmd' \
                       AND datname = current_database() AND wait_event_type = 'Lock'";
        let waits = async || servers::number(&url, waiting).await.unwrap() == 1;
        stage.eventually("a statement that waits", waits).await;
        sqlx::raw_sql("LOCK TABLE people IN ACCESS EXCLUSIVE MODE").execute(&mut rival).await.unwrap();
        rival.close().await.unwrap();
        stage.eventually_logs(&["deadlock detected"]).await;
        assert!(stage.log().contains("trying again"), "{}", stage.log());
        all_ok(&stage.recovered().await);
    })
    .await;
}

#[tokio::test]
async fn a_statement_that_finds_no_room_for_its_temporary_files_is_tried_again() {
    undisturbed(async || {
        let database = postgres().await;
        let url = database.url.clone();
        let name = url.rsplit_once('/').unwrap().1.to_owned();
        let world = redis_and(database).await;
        execute(&url, &format!("ALTER DATABASE {name} SET work_mem = '64kB'")).await;
        let sorted = "name, (SELECT max(t) FROM (SELECT repeat(name, 20) || n AS t FROM generate_series(1, 400) n \
                      ORDER BY t OFFSET 1) sorted) AS last";
        let stage =
            Stage::set(world, &people(sorted, "batch = 10\nkeys_per_second = 150\nconcurrency = 1\n"), &[]).await;
        // For sessions that begin now.
        execute(&url, &format!("ALTER DATABASE {name} SET temp_file_limit = '16kB'")).await;
        end_sessions(&url).await;
        stage.eventually_logs(&["temporary file size exceeds"]).await;
        execute(&url, &format!("ALTER DATABASE {name} RESET temp_file_limit")).await;
        ended_or_went_on(&stage.recovered().await);
    })
    .await;
}

/// A stage whose database is behind a network that can break.
async fn behind_a_network(database: TestDatabase, limits: &str, statement_timeout: &str) -> (Stage, Proxy) {
    let at = database.url.find("127.0.0.1:").unwrap();
    let (port, rest) = database.url[at + "127.0.0.1:".len()..].split_once('/').unwrap();
    let proxy = Proxy::before(Upstream::Port(port.parse().unwrap()));
    let url = format!("{}127.0.0.1:{}/{rest}", &database.url[..at], proxy.port);
    let world = redis_and(database).await;
    let variables = [("WARMD__DATABASE__URL", url.as_str()), ("WARMD__DATABASE__STATEMENT_TIMEOUT", statement_timeout)];
    (Stage::set(world, &people("name", limits), &variables).await, proxy)
}

#[tokio::test]
async fn connections_to_the_database_that_are_reset_are_opened_again() {
    for database in [postgres().await, mariadb().await] {
        let (stage, proxy) = behind_a_network(database, TWO_SECONDS, "1m").await;
        proxy.becomes(Network::Cuts(9));
        stage.eventually_logs(&NOTICES).await;
        proxy.becomes(Network::Sound);
        ended_or_went_on(&stage.recovered().await);
    }
}

#[tokio::test]
async fn answers_of_a_database_that_make_no_sense_are_not_taken_for_rows() {
    for database in [postgres().await, mariadb().await] {
        // Where it looks like the beginning of a long answer, the rest is waited for.
        let (stage, proxy) = behind_a_network(database, TWO_SECONDS, "5s").await;
        proxy.becomes(Network::Garbles);
        stage.eventually_logs(&NOTICES).await;
        proxy.becomes(Network::Sound);
        ended_or_went_on(&stage.recovered_within(AGAIN).await);
    }
}

#[tokio::test]
async fn a_database_that_answers_slowly_is_only_slow() {
    let limits = "batch = 50\nkeys_per_second = 200\nconcurrency = 2\n";
    let (stage, proxy) = behind_a_network(postgres().await, limits, "1m").await;
    proxy.becomes(Network::Slow(Duration::from_millis(500)));
    sleep(Duration::from_secs(5)).await;
    proxy.becomes(Network::Sound);
    all_ok(&stage.recovered().await);
}

/// Whether the server works on the job's statement, which sleeps.
async fn works(url: &str) -> bool {
    let sql = match url.starts_with("postgres:") {
        true => {
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'warmd' AND datname = current_database() \
             AND wait_event = 'PgSleep'"
        }
        false => {
            "SELECT count(*) FROM information_schema.processlist \
             WHERE db = database() AND id <> connection_id() AND state = 'User sleep'"
        }
    };
    servers::number(url, sql).await.unwrap() > 0
}

#[tokio::test]
async fn a_statement_of_a_run_that_ended_is_cancelled_on_the_server_too() {
    for (database, columns) in
        [(postgres().await, "name, pg_sleep(1)::text AS slept"), (mariadb().await, "name, sleep(1) AS slept")]
    {
        let url = database.url.clone();
        // By its own time limit, and by a shutdown that does not wait for it. Left alone, it takes a hundred seconds.
        let world = redis_and(database).await;
        let job = people(columns, "batch = 100\nconcurrency = 1\ntimeout = \"2s\"\n");
        crate::cli::write_job(&world, "people.toml", &job);
        let started = Stopwatch::start();
        let (_, out, _) = crate::cli::run(&world, &["warm", "--json"]);
        let json: Value = serde_json::from_str(&out).unwrap();
        assert_eq!((&json["runs"][0]["outcome"], &json["runs"][0]["cause"]), (&"failed".into(), &"timeout".into()));
        assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
        eventually("the server is free", async || !works(&url).await && connections(&world).await == 0).await;

        crate::cli::write_job(&world, "people.toml", &job.replace("timeout = \"2s\"", "timeout = \"1m\""));
        let daemon = crate::daemon::Daemon::start(&world, "warmer", &[("WARMD__SCHEDULER__SHUTDOWN_GRACE", "200ms")]);
        eventually("the statement", async || works(&url).await).await;
        assert_eq!(daemon.stop(), Some(1), "it was dropped");
        let gone = Stopwatch::start();
        eventually("the server is free", async || !works(&url).await && connections(&world).await == 0).await;
        assert!(gone.elapsed() < Duration::from_secs(15), "{url}: free after {:?}", gone.elapsed());
    }
}

#[tokio::test]
async fn counts_of_a_run_that_lost_its_database_are_those_of_its_keys() {
    undisturbed(async || {
        let stage = on(postgres().await, &[]).await;
        execute(&stage.world.database.url, "ALTER TABLE people RENAME TO elsewhere").await;
        stage.eventually_logs(&["people: partial"]).await;
        let there = stage.written().await as u64;
        execute(&stage.world.database.url, "ALTER TABLE elsewhere RENAME TO people").await;
        let struck = stage.recovered().await;
        let first = struck.iter().find(|run| run["outcome"] == "partial").unwrap();
        assert_eq!(count(first, "written"), there, "{first:#?}");
    })
    .await;
}
