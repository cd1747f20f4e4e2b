//! One statement over several connections.

use chrono::DateTime;
use futures_util::future::try_join_all;
use warmd::database::{ErrorKind, Part};

use super::*;
use crate::servers::{self, execute, mariadb, postgres, sqlite};

async fn shared(url: &str, connections: usize) -> Vec<Part> {
    let connections = try_join_all((0..connections).map(|_| async { database(url).connect().await })).await.unwrap();
    Part::share(connections, LONG).await.unwrap()
}

/// Each part's rows as the text of their first column, sorted.
async fn first_columns(
    parts: &mut [Part],
    statement: &Statement,
    arguments: &Arguments,
) -> Result<Vec<Vec<String>>, Error> {
    let mut read = Vec::new();
    for part in parts {
        let mut rows = part.query(statement, arguments, "user_id", LONG).await?;
        let mut texts = Vec::new();
        while let Some(row) = rows.next().await? {
            texts.push(row.cell(0)?.text().unwrap_or("NULL".into()).into_owned());
        }
        texts.sort();
        read.push(texts);
    }
    Ok(read)
}

#[tokio::test]
async fn all_parts_see_what_was_there_when_they_were_shared() {
    let database = postgres().await;
    let url = &database.url;
    execute(url, "CREATE TABLE events AS SELECT n AS user_id, n * 10 AS at FROM generate_series(1, 100) AS n").await;
    // The server cannot tell what `:since` is in the second one, and its transaction has to go back a step for that.
    for sql in ["select user_id from events", "select user_id from events where at > extract(epoch from :since)"] {
        let mut parts = shared(url, 3).await;
        execute(url, "UPDATE events SET user_id = user_id + 100").await;
        let since = arguments([("since", one(Value::Time(DateTime::from_timestamp(0, 0).unwrap())))]);
        let read = first_columns(&mut parts, &statement(url, sql), &since).await.unwrap();
        let mut users: Vec<u32> = read.concat().iter().map(|text| text.parse().unwrap()).collect();
        users.sort_unstable();
        assert_eq!(users, (1..=100).collect::<Vec<_>>(), "{sql}");
        assert!(read.iter().all(|part| part.len() > 15), "uneven: {read:?}");
        for part in parts {
            let mut connection = part.into_connection();
            assert!(connection.is_usable());
            let later = super::read(&mut connection, &statement(url, "select min(user_id) from events"), &since).await;
            assert_eq!(later.unwrap(), ["[101]"]);
        }
        execute(url, "UPDATE events SET user_id = user_id - 100").await;
    }
}

#[tokio::test]
async fn each_row_is_in_one_part_whatever_the_type_of_the_column_and_the_form_of_the_statement() {
    let database = postgres().await;
    let url = &database.url;
    execute(url, "CREATE TYPE mood AS ENUM ('calm', 'busy'); CREATE DOMAIN id AS bigint CHECK (value <> 0)").await;
    let values = [
        "(values (1), (2), (3), (-1), (-2), (-3), (2147483647), (-2147483648), (null), (null), (2)) as t (user_id)",
        "(select (n * 1000)::int8 as user_id from generate_series(-20, 20) as n) as t",
        "(values ('-9223372036854775808'::int8), ('9223372036854775807'), (0), (null)) as t (user_id)",
        "(values (1::id), (2), (3), (null)) as t (user_id)",
        "(values (1.0::numeric), (1.00), (2.5), (-7), ('NaN'), (12345678901234567890123), (null)) as t (user_id)",
        "(values ('a'), (''), ('ä'), ('A'), (repeat('x', 3000)), (null)) as t (user_id)",
        "(values ('a' collate \"C\"), ('b'), (null)) as t (user_id)",
        "(select a || b as user_id from (values ('a' collate \"C\", 'b' collate \"POSIX\")) as u (a, b)) as t",
        "(values ('00000000-0000-0000-0000-000000000001'::uuid), (null)) as t (user_id)",
        "(values ('calm'::mood), ('busy'), (null)) as t (user_id)",
        "(values (true), (false), (null)) as t (user_id)",
        "(values ('{\"a\": 1}'::jsonb), ('[]'), (null)) as t (user_id)",
        "(values (array[1, 2]), (array[null::int]), (null)) as t (user_id)",
    ];
    let statements = values.iter().map(|values| format!("select user_id from {values}")).chain([
        "select * from (values (1), (2), (3)) as t (user_id) ; -- behind".to_owned(),
        "select 7 as user_id -- at the end".to_owned(),
        "-- before\nwith x as (select 1 as user_id union all select 2) select user_id from x".to_owned(),
        "select n as user_id from generate_series(1, 50) as n order by n desc limit 20".to_owned(),
        "select 1 as user_id, 2 as warmd_part, 3 as \"Odd \"\"Name\"".to_owned(),
    ]);
    for sql in statements {
        let sql = statement(url, &sql);
        let whole = first_columns(&mut shared(url, 1).await, &sql, &Arguments::new()).await.unwrap().concat();
        for count in [2, 3, 5, 16] {
            let read = first_columns(&mut shared(url, count).await, &sql, &Arguments::new()).await.unwrap();
            let nulls: Vec<usize> =
                read.iter().map(|part| part.iter().filter(|text| *text == "NULL").count()).collect();
            assert_eq!(nulls[1..].iter().sum::<usize>(), 0, "NULL is read with the first part");
            let mut all = read.concat();
            all.sort();
            assert_eq!(all, whole, "{count} parts of {sql:?}");
        }
    }
}

#[tokio::test]
async fn a_mistake_is_placed_in_the_users_own_text() {
    let database = postgres().await;
    let url = &database.url;
    execute(url, "CREATE TABLE events (user_id int, product_id int)").await;
    for (sql, position, message) in [
        ("select user_id,\n  produkt_id from events", Some((2, 3)), "column \"produkt_id\" does not exist"),
        ("-- é\nwith x as (delete from events returning user_id)\nselect user_id from x;", Some((2, 6)), "WITH clause"),
        ("select user_id as usr_id from events", Some((1, 1)), "the statement has no column `user_id`; did you mean"),
        ("select user_id, product_id as user_id from events", None, "two columns named `user_id`"),
    ] {
        let error =
            first_columns(&mut shared(url, 2).await, &statement(url, sql), &Arguments::new()).await.unwrap_err();
        assert!(error.message.starts_with(message), "{sql}: {error}");
        assert_eq!((error.kind, error.position), (ErrorKind::Permanent, position), "{sql}: {error}");
    }
    let escaping = statement(url, "select 1 as user_id) as t where true or (true");
    let error = first_columns(&mut shared(url, 2).await, &escaping, &Arguments::new()).await.unwrap_err();
    assert_eq!((error.message.as_str(), error.position), ("syntax error at or near \")\"", Some((1, 20))));
}

#[tokio::test]
async fn other_engines_and_other_servers_share_no_snapshot() {
    for database in [mariadb().await, sqlite().await] {
        let connections = vec![connect(&database.url).await, connect(&database.url).await];
        let error = Part::share(connections, LONG).await.err().unwrap();
        assert_eq!(error.kind, ErrorKind::Permanent);
        assert_eq!(error.message, "connections share a snapshot with PostgreSQL alone");
    }
    let (one, other) = (postgres().await, servers::own_postgres(&[]).await);
    let connections = vec![connect(&one.url).await, connect(&other.database.url).await];
    let error = Part::share(connections, LONG).await.err().unwrap();
    assert_eq!(error.kind, ErrorKind::Transient, "the next ones may lead to one server");
    assert!(error.message.ends_with("; do all connections lead to the same server?"), "{error}");
}
