//! What a session must not do, and what happens when something goes wrong.

use std::time::Instant;

use sqlx::Connection as _;
use warmd::database::{Cell, ErrorKind};

use super::*;
use crate::{
    servers::{TestDatabase, execute, mariadb, postgres, sqlite},
    standstill::Stopwatch,
};

async fn all_engines() -> [TestDatabase; 3] {
    [postgres().await, mariadb().await, sqlite().await]
}

/// A statement that gives a hundred million rows, or counts them.
fn hundred_million(engine: &str, count: bool) -> String {
    let what = if count { "count(*) as n" } else { "a.x * 10000 + b.x as n" };
    let digits = "select 0 as d union all select 1 union all select 2 union all select 3 union all select 4 union all \
                  select 5 union all select 6 union all select 7 union all select 8 union all select 9";
    let numbers = format!(
        "(select w.d * 1000 + x.d * 100 + y.d * 10 + z.d as x \
         from ({digits}) w, ({digits}) x, ({digits}) y, ({digits}) z)"
    );
    // A volatile condition keeps an engine from counting by multiplication.
    let condition = if engine == "sqlite" { "random() is not null" } else { "a.x + b.x >= 0" };
    format!("select {what} from {numbers} a, {numbers} b where {condition}")
}

fn engine(url: &str) -> &str {
    url.split_once(':').unwrap().0
}

#[tokio::test]
async fn every_way_to_write_is_refused_and_changes_nothing() {
    for database in all_engines().await {
        let url = &database.url;
        execute(url, "CREATE TABLE t (id int, name varchar(9)); INSERT INTO t VALUES (1, 'one')").await;
        let mut connection = connect(url).await;
        let both = [
            "DELETE FROM t",
            "INSERT INTO t VALUES (2, 'two')",
            "UPDATE t SET id = 3",
            "DROP TABLE t",
            "CREATE TABLE u (id int)",
        ];
        let own: &[&str] = match engine(url) {
            "postgres" => &[
                "WITH x AS (DELETE FROM t RETURNING *) SELECT * FROM x",
                "DELETE FROM t RETURNING id",
                "SELECT * INTO u FROM t",
                "SELECT * FROM t FOR UPDATE",
                "COPY t TO '/tmp/t'",
                "SET default_transaction_read_only = off",
                "COMMIT",
                "EXPLAIN ANALYZE DELETE FROM t",
                "SELECT nextval('s')",
                "TRUNCATE t",
            ],
            "mysql" => &[
                "REPLACE INTO t VALUES (1, 'x')",
                "TRUNCATE t",
                "ALTER TABLE t ADD x int",
                "SELECT * FROM t INTO OUTFILE '/tmp/warmd-t'",
                "SET GLOBAL max_connections = 100",
                "COMMIT",
                "INSERT INTO t VALUES (2, 'x') RETURNING id",
                "DELETE FROM t RETURNING id",
            ],
            _ => &[
                "DELETE FROM t RETURNING id",
                "REPLACE INTO t VALUES (1, 'x')",
                "PRAGMA query_only = off",
                "VACUUM INTO '/tmp/warmd-vacuum.db'",
                "ATTACH '/tmp/warmd-attach.db' AS a",
                "WITH x AS (SELECT 1) INSERT INTO t SELECT 5, 'x' FROM x",
                "COMMIT",
            ],
        };
        if engine(url) == "postgres" {
            execute(url, "CREATE SEQUENCE s").await;
        }
        for sql in both.iter().chain(own) {
            let error = read(&mut connection, &statement(url, sql), &Arguments::new()).await;
            let error = error.err().unwrap_or_else(|| panic!("{url}: {sql} was run"));
            assert_eq!(error.kind, ErrorKind::Permanent, "{sql}: {error}");
            assert!(connection.is_usable(), "{sql}: {error}");
        }
        let words = read(&mut connection, &statement(url, "DELETE FROM t"), &Arguments::new()).await.unwrap_err();
        let expected = match engine(url) {
            "postgres" => "syntax error at or near \"DELETE\"",
            "mysql" => "Cannot execute statement in a READ ONLY transaction",
            _ => "attempt to write a readonly database",
        };
        assert_eq!(words.message, expected);
        let two = Statement::parse("SELECT 1; DELETE FROM t", url.parse().unwrap()).unwrap_err();
        assert_eq!(two.0, (1, 11));
        assert_eq!(rows(url, "SELECT id, name FROM t").await, ["[1,\"one\"]"]);
    }
    assert!(!std::path::Path::new("/tmp/warmd-vacuum.db").exists());
    assert!(!std::path::Path::new("/tmp/warmd-attach.db").exists());
    assert!(!std::path::Path::new("/tmp/warmd-t").exists());
}

#[tokio::test]
async fn the_time_limit_ends_a_statement_and_the_connection_goes_on() {
    for database in all_engines().await {
        let url = &database.url;
        let mut connection = connect(url).await;
        let started = Stopwatch::start();
        let slow = statement(url, &hundred_million(engine(url), true));
        let limit = Duration::from_secs(1);
        let found = async {
            let mut rows = connection.query(&slow, &Arguments::new(), limit).await?;
            while rows.next().await?.is_some() {}
            Ok::<_, Error>(())
        };
        let error = found.await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::TimeLimit, "{url}: {error}");
        // The last are those for PostgreSQL where a busy machine takes so long to begin.
        let words = [
            "statement timeout",
            "max_statement_time exceeded",
            "time limit of 1000 ms",
            "time limit: the statement takes too long",
        ];
        assert!(words.iter().any(|words| error.message.contains(words)), "{error}");
        assert!(started.elapsed() < Duration::from_secs(30), "{url}: {:?}", started.elapsed());
        assert!(connection.is_usable());
        // The limit was that statement's.
        let next = read(&mut connection, &statement(url, "select 1 as v"), &Arguments::new()).await.unwrap();
        assert_eq!(next, ["[1]"]);
    }
}

#[tokio::test]
async fn the_time_limit_of_postgres_holds_for_all_fetches_together() {
    let database = postgres().await;
    let mut connection = connect(&database.url).await;
    // The first fetch takes a second; rows this large then come fifteen at a time, so no later one takes as long. All
    // together take a quarter of an hour.
    let slow = "select repeat('x', 65536) as x, pg_sleep(0.01)::text as s from generate_series(1, 100000)";
    let slow = statement(&database.url, slow);
    let started = Stopwatch::start();
    let mut rows = connection.query(&slow, &Arguments::new(), Duration::from_millis(1500)).await.unwrap();
    let error = loop {
        match rows.next().await {
            Ok(row) => assert!(row.is_some()),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind, ErrorKind::TimeLimit);
    assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
}

/// Resident memory. Other tests share the process, so only large growth tells.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

#[tokio::test]
async fn a_huge_result_streams_and_can_be_left_half_way() {
    for database in all_engines().await {
        let url = &database.url;
        let mut connection = connect(url).await;
        let before = resident();
        let started = Stopwatch::start();
        let huge = statement(url, &hundred_million(engine(url), false));
        let mut rows = connection.query(&huge, &Arguments::new(), LONG).await.unwrap();
        assert_eq!(rows.columns(), ["n"]);
        for _ in 0..200_000 {
            rows.next().await.unwrap().unwrap().cell(0).unwrap();
        }
        drop(rows);
        // Held as a whole, a hundred million rows are gigabytes and minutes.
        let grown = resident().saturating_sub(before);
        assert!(grown < 300 << 20, "{url}: {grown} bytes more");
        assert!(started.elapsed() < Duration::from_secs(60), "{url}: {:?}", started.elapsed());
        assert!(!connection.is_usable(), "{url}");
        drop(connection);
        assert_eq!(rows_with(url, "select 1 as v", &Arguments::new()).await.unwrap(), ["[1]"]);
    }
}

#[tokio::test]
async fn rows_of_many_megabytes_pass_one_by_one() {
    let database = postgres().await;
    let mut connection = connect(&database.url).await;
    let sql = "select n, case when n % 100 = 50 then repeat('x', 10000000) else 'small' end as t from generate_series(1, 500) n";
    let statement = statement(&database.url, sql);
    let mut rows = connection.query(&statement, &Arguments::new(), LONG).await.unwrap();
    let mut lengths = Vec::new();
    while let Some(row) = rows.next().await.unwrap() {
        let mut json = Vec::new();
        row.cell(1).unwrap().write_json(&mut json);
        lengths.push(json.len());
    }
    assert_eq!(lengths.len(), 500);
    assert_eq!(lengths.iter().filter(|length| **length == 10_000_002).count(), 5);
}

#[tokio::test]
async fn every_row_comes_once_and_in_order_whatever_their_number() {
    for database in all_engines().await {
        let url = &database.url;
        execute(url, "CREATE TABLE t (id int primary key)").await;
        let values: Vec<_> = (0..12_000).map(|id| format!("({id})")).collect();
        execute(url, &format!("INSERT INTO t VALUES {}", values.join(","))).await;
        let mut connection = connect(url).await;
        // Around the sizes of a fetch, where an end is easily missed.
        for count in [0, 1, 99, 100, 101, 1699, 1700, 1701, 6700, 12_000] {
            let sql = statement(url, "select id from t where id < :count order by id");
            let found = read(&mut connection, &sql, &arguments([("count", int(count))])).await.unwrap();
            let expected: Vec<_> = (0..count).map(|id| format!("[{id}]")).collect();
            assert!(found == expected, "{url}: {} rows instead of {count}", found.len());
        }
    }
}

#[tokio::test]
async fn a_dropped_future_leaves_the_connection_unusable_and_the_server_free() {
    let database = postgres().await;
    let mut connection = connect(&database.url).await;
    let sleep = statement(&database.url, "select pg_sleep(30)::text as s");
    {
        let mut rows = connection.query(&sleep, &Arguments::new(), LONG).await.unwrap();
        assert!(tokio::time::timeout(Duration::from_millis(100), rows.next()).await.is_err());
    }
    assert!(!connection.is_usable());
    drop(connection);
    let working = "select count(*) as n from pg_stat_activity where query like '%FETCH%' and state = 'active' \
                   and datname = current_database() and pid <> pg_backend_pid()";
    let started = Stopwatch::start();
    while rows(&database.url, working).await != ["[0]"] {
        assert!(started.elapsed() < Duration::from_secs(10), "the server still works for a client that has gone");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_dropped_statement_of_sqlite_lets_go_of_its_file() {
    let database = sqlite().await;
    let file = database.url.trim_start_matches("sqlite://").to_owned();
    let open = || {
        let files = std::fs::read_dir("/proc/self/fd").unwrap();
        files.filter(|entry| std::fs::read_link(entry.as_ref().unwrap().path()).is_ok_and(|to| to == *file)).count()
    };
    // One that computes without a row, and one whose rows nobody takes.
    for (what, is_silent) in [("count(*)", true), ("n", false)] {
        let endless = "with recursive s(n) as (select 1 union all select n + 1 from s)";
        let endless = statement(&database.url, &format!("{endless} select {what} as n from s"));
        let mut connection = connect(&database.url).await;
        let mut rows = connection.query(&endless, &Arguments::new(), LONG).await.unwrap();
        if is_silent {
            assert!(tokio::time::timeout(Duration::from_millis(100), rows.next()).await.is_err());
        } else {
            assert!(rows.next().await.unwrap().is_some());
        }
        assert_eq!(open(), 1);
        drop(rows);
        assert!(!connection.is_usable());
        let dropped = Stopwatch::start();
        while open() > 0 {
            assert!(dropped.elapsed() < Duration::from_secs(30), "still read, for nobody");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

#[tokio::test]
async fn an_error_has_its_place_in_the_text_that_the_user_wrote() {
    let [pg, my, lite] = all_engines().await;
    for database in [&pg, &my, &lite] {
        execute(&database.url, "CREATE TABLE t (user_id bigint, name varchar(9))").await;
    }
    let user = || arguments([("user_id", Argument::Many((0..12).map(Value::Int).collect())), ("n", text("x"))]);
    let wrong_column = "-- é\nselect name\nfrom t where user_id in (:user_id) and nam = :n;";
    for (database, message) in [
        (&pg, "column \"nam\" does not exist (Perhaps you meant to reference the column \"t.name\".)"),
        (&my, "Unknown column 'nam' in 'WHERE'"),
        (&lite, "no such column: nam"),
    ] {
        let error = rows_with(&database.url, wrong_column, &user()).await.unwrap_err();
        assert_eq!((error.kind, error.position), (ErrorKind::Permanent, Some((3, 40))), "{error}");
        assert!(error.message.eq_ignore_ascii_case(message), "{error}");
        let prepared = connect(&database.url).await.prepare(&statement(&database.url, wrong_column)).await;
        assert_eq!(prepared.unwrap_err().position, Some((3, 40)));
        let error = failure(&database.url, "select name\n  frm t wher 1").await;
        assert_eq!(error.position.map(|(line, _)| line), Some(2), "{error}");
        assert_eq!(error.kind, ErrorKind::Permanent);
    }
    // Only the cursor's own text stands before this one.
    let error = failure(&pg.url, "select name from t\nfor update").await;
    assert_eq!(error.message, "cannot execute SELECT FOR UPDATE in a read-only transaction");
    let error = failure(&pg.url, " delete from t").await;
    assert_eq!((error.message.as_str(), error.position), ("syntax error at or near \"delete\"", Some((1, 2))));
    let error = failure(&pg.url, "select name from t where").await;
    assert_eq!((error.message.as_str(), error.position), ("syntax error at end of input", Some((1, 25))));
    let error = failure(&pg.url, "select 1 / (user_id - user_id) as v from (values (1)) t (user_id)").await;
    assert_eq!((error.message.as_str(), error.kind), ("division by zero", ErrorKind::Data));
}

#[tokio::test]
async fn two_columns_of_one_name_are_refused() {
    for database in all_engines().await {
        let error = failure(&database.url, "select 1 as x, 2 as y, 3 as x").await;
        assert_eq!(error.message, "two columns named `x`: use AS");
        assert_eq!(error.kind, ErrorKind::Permanent);
    }
}

#[tokio::test]
async fn columns_are_known_without_rows_and_by_preparing() {
    for database in all_engines().await {
        let url = &database.url;
        execute(url, "CREATE TABLE t (id bigint, name varchar(9), price decimal(5,2))").await;
        let mut connection = connect(url).await;
        let sql =
            statement(url, "select id, price as \"cost\", count(*) as n from t where id = :id group by id, price");
        let expected = ["id", "cost", "n"];
        assert_eq!(connection.prepare(&sql).await.unwrap(), expected);
        assert!(connection.is_usable());
        let bound = arguments([("id", int(1))]);
        let mut rows = connection.query(&sql, &bound, LONG).await.unwrap();
        assert_eq!(rows.columns(), expected);
        assert!(rows.next().await.unwrap().is_none());
        assert!(rows.next().await.unwrap().is_none());
        drop(rows);
        assert!(connection.is_usable());
        let error = connection.prepare(&statement(url, "select nam from t")).await.unwrap_err();
        assert_eq!((error.kind, error.position), (ErrorKind::Permanent, Some((1, 8))));
        assert_eq!(connection.prepare(&sql).await.unwrap(), expected);
        let write = connection.prepare(&statement(url, "with x as (select 1) select * into u from x")).await;
        assert!(write.is_err());
    }
}

#[tokio::test]
async fn a_table_may_change_between_two_runs_of_a_statement() {
    for database in all_engines().await {
        let url = &database.url;
        execute(url, "CREATE TABLE t (a int); INSERT INTO t VALUES (1)").await;
        let mut connection = connect(url).await;
        let all = statement(url, "select * from t where a = :a");
        let one = arguments([("a", int(1))]);
        assert_eq!(read(&mut connection, &all, &one).await.unwrap(), ["[1]"]);
        execute(url, "ALTER TABLE t ADD b varchar(9)").await;
        assert_eq!(read(&mut connection, &all, &one).await.unwrap(), ["[1,null]"]);
        execute(url, "DROP TABLE t; CREATE TABLE t (a varchar(9), b int); INSERT INTO t VALUES ('1', 2)").await;
        let text = arguments([("a", text("1"))]);
        assert_eq!(read(&mut connection, &all, &text).await.unwrap(), ["[\"1\",2]"]);
    }
}

#[tokio::test]
async fn a_server_out_of_reach_is_named_and_secrets_are_not() {
    // Nobody listens there. A port that was free a moment ago may be another test's by now.
    let nobody = "127.0.0.1:1";
    for scheme in ["postgres", "postgresql", "mysql", "mariadb"] {
        let error = database(&format!("{scheme}://me:hunter2@{nobody}/shop")).connect().await.err().unwrap();
        assert_eq!(error.kind, ErrorKind::Unreachable, "{error}");
        let expected = format!("cannot connect to {nobody}: ");
        assert!(error.message.starts_with(&expected) && error.message.contains("refused"), "{error}");
        assert!(!format!("{error:?}").contains("hunter2"));
    }
    let error = database("sqlite:///nowhere/shop.db").connect().await.err().unwrap();
    assert_eq!(error.kind, ErrorKind::Unreachable);
    assert!(error.message.contains("/nowhere/shop.db"), "{error}");
    for (database, user) in [(postgres().await, "postgres"), (mariadb().await, "tester")] {
        let url = database.url.replace(&format!("{user}@"), "locked:hunter2@");
        let error = super::database(&url).connect().await.err().unwrap();
        assert_eq!(error.kind, ErrorKind::Unreachable, "{error}");
        assert!(!format!("{error:?}").contains("hunter2"), "{error}");
        assert!(error.message.to_lowercase().contains("locked"), "{error}");
        let missing = format!("{}_missing", database.url);
        let error = super::database(&missing).connect().await.err().unwrap();
        assert_eq!(error.kind, ErrorKind::Unreachable, "{error}");
    }
}

#[test]
fn a_url_that_is_none_is_refused_without_telling_it() {
    for url in [
        "hunter2",
        "http://hunter2@h/",
        "postgres://me:hunter2@h:port/",
        "mysql://me:hunter2@h:99999/d",
        "sqlite:x?mode=hunter2x",
    ] {
        let Err(error) = Database::new(&SecretString::from(url)) else { panic!("{url} was taken") };
        assert_eq!(error.kind, ErrorKind::Permanent);
        assert!(!error.message.contains("hunter2@") && !error.message.contains(":hunter2"), "{error}");
    }
}

#[tokio::test]
async fn a_relative_sqlite_path_is_relative_to_the_working_directory() {
    let folder = tempfile::Builder::new().tempdir_in(".").unwrap();
    let file = folder.path().join("ä b.db");
    let relative = PathFrom(".").strip(&file);
    execute(&format!("sqlite:{relative}?mode=rwc"), "CREATE TABLE t (a int); INSERT INTO t VALUES (7)").await;
    for url in [format!("sqlite:{relative}"), format!("sqlite://{relative}")] {
        assert_eq!(rows(&url, "select a from t").await, ["[7]"]);
    }
    let absolute = format!("sqlite://{}", file.canonicalize().unwrap().display());
    assert_eq!(rows(&absolute, "select a from t").await, ["[7]"]);
}

#[tokio::test]
async fn a_url_of_sqlite_may_say_more_than_its_path() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("50% #1?.db");
    let url = format!("sqlite://{}", file.display()).replace('%', "%25").replace('?', "%3f");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&file).create_if_missing(true);
    let mut writer = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
    sqlx::raw_sql("CREATE TABLE t (a int); INSERT INTO t VALUES (7)").execute(&mut writer).await.unwrap();
    for more in ["", "?mode=ro", "?mode=rwc", "?cache=shared", "?vfs=unix-none", "?immutable=true", "?immutable=0"] {
        assert_eq!(rows(&format!("{url}{more}"), "select a from t").await, ["[7]"], "{more}");
    }
    // Nobody waits for a writer of what does not change: who did would wait in vain.
    sqlx::raw_sql("BEGIN EXCLUSIVE").execute(&mut writer).await.unwrap();
    assert_eq!(rows(&format!("{url}?immutable=1"), "select a from t").await, ["[7]"]);
    let waited = Instant::now();
    let locked = failure(&url, "select a from t").await;
    assert_eq!((locked.kind, locked.message.as_str()), (ErrorKind::Transient, "database is locked"));
    assert!(waited.elapsed() > Duration::from_secs(4), "{:?}", waited.elapsed());

    let error = database(&format!("{url}?vfs=none")).connect().await.err().unwrap();
    assert!(error.message.ends_with(": no such vfs: none"), "{error}");
    let missing = folder.path().join("missing.db");
    let error = database(&format!("sqlite:{}?mode=rwc", missing.display())).connect().await.err().unwrap();
    let place = missing.display();
    assert_eq!(error.message, format!("cannot connect to {place}: unable to open database file"));
    assert!(!missing.exists());
    let error = failure("sqlite::memory:", "select a from t").await;
    assert_eq!(error.message, "no such table: t");
}

#[tokio::test]
async fn text_of_sqlite_that_is_not_utf8_is_told_by_its_column() {
    let database = sqlite().await;
    let sql = statement(&database.url, "select 1 as a, cast(x'61ff' as text) as b");
    let mut connection = connect(&database.url).await;
    let mut rows = connection.query(&sql, &Arguments::new(), LONG).await.unwrap();
    let row = rows.next().await.unwrap().unwrap();
    assert_eq!(row.cell(0).unwrap(), Cell::Int(1));
    let error = row.cell(1).unwrap_err();
    assert_eq!(
        (error.kind, error.message.as_str()),
        (ErrorKind::Data, "column 2: invalid utf-8 sequence of 1 bytes from index 1")
    );
}

struct PathFrom(&'static str);

impl PathFrom {
    fn strip(&self, path: &std::path::Path) -> String {
        let base = std::path::Path::new(self.0).canonicalize().unwrap();
        path.canonicalize().unwrap_or_else(|_| base.join(path)).strip_prefix(&base).unwrap().display().to_string()
    }
}

#[tokio::test]
async fn a_lost_connection_is_told_apart_from_a_wrong_statement() {
    let database = postgres().await;
    let mut connection = connect(&database.url).await;
    let sleep = statement(&database.url, "select pg_sleep(20)::text as s");
    let mut rows = connection.query(&sleep, &Arguments::new(), LONG).await.unwrap();
    let kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                WHERE datname = current_database() AND application_name = 'warmd'";
    let (found, ()) = tokio::join!(rows.next(), async {
        let asleep = "select count(*) as n from pg_stat_activity where query like '%FETCH%' and state = 'active' \
                      and datname = current_database() and pid <> pg_backend_pid()";
        while super::rows(&database.url, asleep).await != ["[1]"] {
            tokio::task::yield_now().await;
        }
        execute(&database.url, kill).await;
    });
    let error = found.err().unwrap();
    assert_eq!(error.kind, ErrorKind::Transient, "{error}");
    drop(rows);
    assert!(!connection.is_usable());
    let mut connection = connect(&database.url).await;
    execute(&database.url, kill).await;
    let one = statement(&database.url, "select 1 as v");
    let error = read(&mut connection, &one, &Arguments::new()).await.unwrap_err();
    assert_ne!(error.kind, ErrorKind::Permanent, "{error}");
    assert!(!connection.is_usable());
}

#[tokio::test]
async fn small_queries_do_not_wait_for_the_network() {
    for database in all_engines().await {
        let mut connection = connect(&database.url).await;
        let small = statement(&database.url, "select :n as n");
        let mut times = Vec::new();
        for n in 0..50 {
            let asked = Instant::now();
            read(&mut connection, &small, &arguments([("n", text(&n.to_string()))])).await.unwrap();
            times.push(asked.elapsed());
        }
        // Closing a MySQL statement after each run once made this 45 ms a query: the close has no answer, and the next
        // message waited for the delayed acknowledgement. The first of a connection are acknowledged at once; of the
        // others, a busy machine slows many, and not all.
        let fastest = times[10..].iter().min().unwrap();
        assert!(*fastest < Duration::from_millis(30), "{}: {times:?}", database.url);
    }
}
