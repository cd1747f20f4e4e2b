//! Values bound to parameters.

use chrono::{DateTime, Utc};
use warmd::database::ErrorKind;

use super::*;
use crate::servers::{execute, mariadb, postgres, sqlite};

fn moment() -> DateTime<Utc> {
    "2026-03-29T00:30:00.123456Z".parse().unwrap()
}

fn many<const N: usize>(values: [Value; N]) -> Argument {
    Argument::Many(values.to_vec())
}

#[tokio::test]
async fn in_expands_to_the_values_of_a_list_on_all_engines() {
    for database in [postgres().await, mariadb().await, sqlite().await] {
        let table = "CREATE TABLE t (id bigint, name varchar(20)); \
                     INSERT INTO t VALUES (1, 'one'), (2, 'two'), (9007199254740993, 'big'), (4, 'it''s')";
        execute(&database.url, table).await;
        let sql =
            "select name, id from t where id in (:ids) or name in (:names) or id in (:ids) and 1 = :one order by id";
        let values = arguments([
            ("ids", many([Value::Int(2), Value::Int(9_007_199_254_740_993)])),
            ("names", many([Value::Text("it's".to_owned()), Value::Text("é; drop table t".to_owned())])),
            ("one", int(1)),
        ]);
        let found = rows_with(&database.url, sql, &values).await.unwrap();
        assert_eq!(found, ["[\"two\",2]", "[\"it's\",4]", "[\"big\",9007199254740993]"]);
        let thousand = Argument::Many((0..1000).map(Value::Int).collect());
        let sql = "select count(*) as n from t where id in (:ids)";
        assert_eq!(rows_with(&database.url, sql, &arguments([("ids", thousand)])).await.unwrap(), ["[3]"]);
    }
}

#[tokio::test]
async fn a_parameter_without_a_value_is_refused_with_its_place() {
    let database = sqlite().await;
    let refused = |values: Arguments| {
        let url = database.url.clone();
        async move { rows_with(&url, "select 1\n where 1 in (:ids)", &values).await.unwrap_err() }
    };
    let missing = refused(Arguments::new()).await;
    assert_eq!((missing.kind, missing.position), (ErrorKind::Permanent, Some((2, 14))));
    assert_eq!(missing.message, "no value for the parameter :ids");
    let empty = refused(arguments([("ids", Argument::Many(Vec::new()))])).await;
    assert_eq!((empty.kind, empty.position), (ErrorKind::Permanent, Some((2, 14))));
    assert_eq!(empty.message, "the list for the parameter :ids is empty");
    let long = refused(arguments([("ids", Argument::Many((0..40_000).map(Value::Int).collect()))])).await;
    assert_eq!(long.message, "40000 values are more than the 32766 that a statement can bind");
}

#[tokio::test]
async fn postgres_parameters_take_the_type_that_the_server_finds() {
    let database = postgres().await;
    execute(
        &database.url,
        "CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE DOMAIN cents AS bigint; \
         CREATE TABLE t (i2 int2, i4 int4, i8 int8, f4 float4, f8 float8, n numeric(30,10), b bool, t text, v varchar(9), \
         c char(3), u uuid, d date, ts timestamp, tz timestamptz, j jsonb, m mood, ip inet, iv interval, a int[], tm time, \
         ce cents, o oid, by bytea); \
         INSERT INTO t VALUES (-5, 5, 9007199254740993, 0.5, 0.1, 12345678901234567890.0123456789, true, 'te''xt', 'v', 'c', \
         'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '2026-03-29', '2026-03-29 00:30:00.123456', \
         '2026-03-29 00:30:00.123456+00', '{\"a\": 1}', 'ok', '10.0.0.1', '1 day', '{1,2}', '10:00', 7, 42, '\\x00ff')",
    )
    .await;
    let mut connection = connect(&database.url).await;
    let now = || one(Value::Time(moment()));
    let cases = [
        ("i2 = :p", int(-5)),
        ("i4 = :p", int(5)),
        ("i4 = :p", text("5")),
        ("i8 = :p", int(9_007_199_254_740_993)),
        ("f4 = :p", text("0.5")),
        ("f8 = :p", text("0.1")),
        ("f8 < :p", int(1)),
        ("n = :p", text("12345678901234567890.0123456789")),
        ("n > :p", int(-10_000)),
        ("n > :p and n < 12345678901234567891", text("12345678901234567890")),
        ("b = :p", text("true")),
        ("b = :p", int(1)),
        ("t = :p", text("te'xt")),
        ("t <> :p", int(5)),
        ("v = :p", text("v")),
        ("c = :p", text("c")),
        ("u = :p", text("A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11")),
        ("d = :p", text("2026-03-29")),
        ("d = :p", now()),
        ("ts = :p", text("2026-03-29 00:30:00.123456")),
        ("ts = :p", now()),
        ("tz = :p", text("2026-03-29 01:30:00.123456+01:00")),
        ("tz = :p", text("2026-03-29T00:30:00.123456Z")),
        ("tz = :p", now()),
        ("tz > :p - interval '1 hour' and ts > :p - interval '1 hour' and d > :p - interval '1 day'", now()),
        ("date_trunc('day', :p) < tz and extract(year from :p) = 2026", now()),
        ("tz > CAST(:p AS timestamptz) - interval '1 hour'", now()),
        ("tz > :p::timestamptz - interval '1 hour'", now()),
        ("j = :p", text("{\"a\":1}")),
        ("m = :p", text("ok")),
        ("m in (:p)", many([Value::Text("ok".to_owned()), Value::Text("sad".to_owned())])),
        ("ip = :p", text("10.0.0.1")),
        ("ip << :p", text("10.0.0.0/8")),
        ("iv = :p", text("24 hours")),
        ("a = :p", text("{1,2}")),
        ("tm = :p", text("10:00")),
        ("ce = :p", int(7)),
        ("o = :p", int(42)),
        ("by = :p", text("\\x00ff")),
        (":p = t or true", text("x")),
    ];
    let mut wrong = Vec::new();
    for (condition, value) in cases {
        let found = read(
            &mut connection,
            &statement(&database.url, &format!("select 1 as v from t where {condition}")),
            &arguments([("p", value.clone())]),
        )
        .await;
        match found {
            Ok(rows) if rows == ["[1]"] => {}
            found => wrong.push(format!("{condition} with {value:?}: {found:?}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let prepared = statement(&database.url, "select tz - :since as a from t where tz > :now - interval '1 hour'");
    assert_eq!(connection.prepare(&prepared).await.unwrap(), ["a"]);
    assert_eq!(
        rows_with(&database.url, "select :p::text as v", &arguments([("p", now())])).await.unwrap(),
        ["[\"2026-03-29T00:30:00.123456+00:00\"]"]
    );
}

#[tokio::test]
async fn numerics_of_all_shapes_arrive_at_postgres_as_they_were_written() {
    let database = postgres().await;
    let mut connection = connect(&database.url).await;
    let statement = statement(&database.url, "select :p::numeric as v");
    let same = [
        "0",
        "0.00",
        "1",
        "-1",
        "10000",
        "9999",
        "123456789",
        "0.1",
        "0.0001",
        "0.00001",
        "-0.00000000012345",
        "1.50",
        "10000.0001",
        "100000000000000000000",
        "99999999.99999999",
        "1234567890123456789012345678901234567890.1",
    ];
    for number in same {
        let found = read(&mut connection, &statement, &arguments([("p", text(number))])).await.unwrap();
        assert_eq!(found, [format!("[{number}]")]);
    }
    for (number, expected) in
        [("1e3", "1000"), ("1.5e-3", "0.0015"), ("+7", "7"), (".5", "0.5"), ("5.", "5"), ("-0", "0"), ("12e-1", "1.2")]
    {
        let found = read(&mut connection, &statement, &arguments([("p", text(number))])).await.unwrap();
        assert_eq!(found, [format!("[{expected}]")], "{number}");
    }
}

#[tokio::test]
async fn a_value_that_does_not_fit_names_the_parameter() {
    let database = postgres().await;
    execute(&database.url, "CREATE TABLE t (i4 int4, u uuid, n numeric, iv interval, tz timestamptz)").await;
    let cases = [
        ("i4 = :id", text("seven"), "parameter :id: \"seven\" is not a value of type INT4"),
        ("i4 = :id", int(1 << 40), "parameter :id: 1099511627776 is not a value of type INT4"),
        ("u = :id", text("x"), "parameter :id: \"x\" is not a value of type UUID"),
        ("n = :id", text("1.2.3"), "parameter :id: \"1.2.3\" is not a value of type NUMERIC"),
        ("tz = :id", text("tomorrow"), "parameter :id: \"tomorrow\" is not a value of type TIMESTAMPTZ"),
        (
            "iv = :id and tz > :id",
            one(Value::Time(moment())),
            "operator does not exist: timestamp with time zone > interval \
             (No operator matches the given name and argument types. You might need to add explicit type casts.)",
        ),
    ];
    for (condition, value, message) in cases {
        let sql = format!("select 1 as v from t where {condition}");
        let error = rows_with(&database.url, &sql, &arguments([("id", value)])).await.unwrap_err();
        // A value of the wrong form is that value's own fault; a comparison that never works is the statement's.
        let kind = if message.starts_with("operator") { ErrorKind::Permanent } else { ErrorKind::Data };
        assert_eq!((error.kind, error.message.as_str()), (kind, message));
    }
}

#[tokio::test]
async fn now_compares_with_the_moments_that_each_engine_stores() {
    let (pg, my, lite) = (postgres().await, mariadb().await, sqlite().await);
    for (database, zoned) in [(&pg, "timestamptz"), (&my, "timestamp"), (&lite, "timestamp")] {
        let sql = format!(
            "CREATE TABLE t (id int, local_time {}, zoned {zoned} null, d date); \
             INSERT INTO t VALUES (1, '2026-03-29 00:29:59', '2026-03-29 00:29:59', '2026-03-28'), \
             (2, '2026-03-29 00:30:01', '2026-03-29 00:30:01', '2026-03-30')",
            if zoned == "timestamptz" { "timestamp" } else { "datetime" }
        );
        let zone = if database.url.starts_with("mysql") { "SET time_zone = '+00:00'; " } else { "" };
        execute(&database.url, &format!("{zone}{sql}")).await;
        for column in ["local_time", "zoned", "d"] {
            let sql = format!("select id from t where {column} <= :now");
            let values = arguments([("now", one(Value::Time(moment())))]);
            assert_eq!(rows_with(&database.url, &sql, &values).await.unwrap(), ["[1]"], "{} {column}", database.url);
        }
    }
}
