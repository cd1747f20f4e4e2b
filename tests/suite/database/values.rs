//! Values of every type, as JSON.

use sqlx::Connection as _;

use super::*;
use crate::servers::{execute, mariadb, postgres, sqlite};

/// Each expression alone, so that a failure names it.
async fn expect(url: &str, cases: &[(&str, &str)]) {
    let mut connection = connect(url).await;
    let mut wrong = Vec::new();
    for (sql, expected) in cases {
        let sql = format!("select {sql} as v");
        match read(&mut connection, &statement(url, &sql), &Arguments::new()).await {
            Ok(rows) if rows == [format!("[{expected}]")] => {}
            other => wrong.push(format!("{sql}: {other:?} instead of [{expected}]")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn every_postgres_type_becomes_exact_json() {
    let database = postgres().await;
    let types = "CREATE TYPE mood AS ENUM ('sad', 'it''s \"ok\"'); \
                 CREATE TYPE pair AS (a int, b text); CREATE DOMAIN cents AS bigint; CREATE DOMAIN names AS text[]";
    execute(&database.url, types).await;
    let scalars = [
        ("null::int", "null"),
        ("true", "true"),
        ("false", "false"),
        ("32767::int2", "32767"),
        ("(-2147483648)::int4", "-2147483648"),
        ("9223372036854775807::int8", "9223372036854775807"),
        ("9007199254740993::int8", "9007199254740993"),
        ("4294967295::oid", "4294967295"),
        ("0.99::numeric(10,2)", "0.99"),
        ("1::numeric(10,2)", "1.00"),
        ("-0.5::numeric", "-0.5"),
        ("123456789012345678901234567890.1234567890::numeric(40,10)", "123456789012345678901234567890.1234567890"),
        ("1e30::numeric", "1000000000000000000000000000000"),
        ("'NaN'::numeric", "\"NaN\""),
        ("'-Infinity'::numeric", "\"-Infinity\""),
        ("0.1::float8", "0.1"),
        ("1::float8", "1"),
        ("1e20::float8", "1e+20"),
        ("1e-7::float8", "1e-07"),
        ("'-0'::float8", "-0"),
        ("'NaN'::float8", "\"NaN\""),
        ("'Infinity'::float8", "\"Infinity\""),
        ("'-Infinity'::float4", "\"-Infinity\""),
        ("0.1::float4", "0.1"),
        ("16777216::float4", "1.6777216e+07"),
        ("'tex''t'", "\"tex't\""),
        ("'x'::varchar(5)", "\"x\""),
        ("'x'::char(3)", "\"x  \""),
        ("'x'::\"char\"", "\"x\""),
        ("'abc'::name", "\"abc\""),
        ("E'\\x01\\x1f\\t\\n\\r\"\\\\/\\x7f\\u2028é😀'", "\"\\u0001\\u001f\\t\\n\\r\\\"\\\\/\u{7f}\u{2028}é😀\""),
        ("date '2021-01-01'", "\"2021-01-01\""),
        ("date 'infinity'", "\"infinity\""),
        ("timestamp '2021-01-01'", "\"2021-01-01T00:00:00\""),
        ("timestamp '2021-01-01 10:20:30.120000'", "\"2021-01-01T10:20:30.12\""),
        ("timestamp 'infinity'", "\"infinity\""),
        ("timestamp '0044-03-15 12:00 BC'", "\"0044-03-15T12:00:00 BC\""),
        ("timestamptz '2026-03-29 01:30:00.123456+01'", "\"2026-03-29T00:30:00.123456+00:00\""),
        ("timestamptz '-infinity'", "\"-infinity\""),
        ("time '01:02:03.5'", "\"01:02:03.5\""),
        ("interval '1 year 2 days 03:04'", "\"1 year 2 days 03:04:00\""),
        ("'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'::uuid", "\"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11\""),
        ("'{\"b\" : 1.10,\n \"a\": [1, \" x \\\" : \"]}'::json", "{\"b\":1.10,\"a\":[1,\" x \\\" : \"]}"),
        ("'{\"b\" : 1.10, \"a\": [1, 2]}'::jsonb", "{\"a\":[1,2],\"b\":1.10}"),
        ("'null'::jsonb", "null"),
        ("'\\x00ff10'::bytea", "\"AP8Q\""),
        ("''::bytea", "\"\""),
        ("'10.0.0.1/8'::inet", "\"10.0.0.1/8\""),
        ("'12.5'::money", "\"$12.50\""),
        ("'[1,5)'::int4range", "\"[1,5)\""),
        ("'(1,2)'::point", "\"(1,2)\""),
        ("B'101'", "\"101\""),
        ("'<a/>'::xml", "\"<a/>\""),
        ("'sad'::mood", "\"sad\""),
        ("row(1, 'x y')::pair", "\"(1,\\\"x y\\\")\""),
        ("row(1, 'x')", "\"(1,x)\""),
        ("5::cents", "5"),
        ("'a'::tsvector", "\"'a'\""),
        ("'1 2'::int2vector", "\"1 2\""),
    ];
    expect(&database.url, &scalars).await;
    let arrays = [
        ("array[1,null,3]", "[1,null,3]"),
        ("'{}'::int[]", "[]"),
        ("array[[1,2],[3,4]]", "[[1,2],[3,4]]"),
        ("'[0:1]={5,6}'::int[]", "[5,6]"),
        ("'[1:1][-2:-1]={{5,6}}'::int[]", "[[5,6]]"),
        (
            "array['a', 'b c', 'NULL', null, '', 'q\"\\{},', 'é']",
            "[\"a\",\"b c\",\"NULL\",null,\"\",\"q\\\"\\\\{},\",\"é\"]",
        ),
        ("array[true,false,null]", "[true,false,null]"),
        ("array[0.10, 'NaN']::numeric[]", "[0.10,\"NaN\"]"),
        ("array[0.1, 1e20, 'Infinity']::float8[]", "[0.1,1e+20,\"Infinity\"]"),
        ("array[timestamptz '2026-01-01 00:00+00']", "[\"2026-01-01T00:00:00+00:00\"]"),
        ("array[timestamp '2026-01-01 10:00']", "[\"2026-01-01T10:00:00\"]"),
        ("array['{\"a\": [1, 2]}']::jsonb[]", "[{\"a\":[1,2]}]"),
        ("array['\\x01'::bytea]", "[\"AQ==\"]"),
        ("array['a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid]", "[\"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11\"]"),
        ("array['sad', 'it''s \"ok\"', null]::mood[]", "[\"sad\",\"it's \\\"ok\\\"\",null]"),
        ("array[5]::cents[]", "[5]"),
        ("array['a']::names", "[\"a\"]"),
        ("array[box '(1,1),(0,0)', box '(2,2),(0,0)']", "[\"(1,1),(0,0)\",\"(2,2),(0,0)\"]"),
        ("array[row(1, 'x')::pair]", "[\"(1,x)\"]"),
        ("array['10.0.0.1'::inet]", "[\"10.0.0.1\"]"),
    ];
    expect(&database.url, &arrays).await;
}

#[tokio::test]
async fn every_mariadb_type_becomes_exact_json() {
    let database = mariadb().await;
    let table = "CREATE TABLE t (id int, \
        ti tinyint, tu tinyint unsigned, b1 boolean, si smallint, mi mediumint, i int, iu int unsigned, \
        bi bigint, bu bigint unsigned, d decimal(30,10), d2 decimal(10,2), f float, db double, \
        c char(3), v varchar(20), tx text, e enum('x','it''s'), s set('a','b'), bt bit(9), y year, \
        dt date, dtm datetime(6), ts timestamp(6) null, tm time(6), bl blob, vb varbinary(9), fb binary(2), j json, \
        lt varchar(9) character set latin1, z int(5) zerofill); \
        SET sql_mode = '', time_zone = '+00:00'; \
        INSERT INTO t VALUES (1, -128, 255, true, -32768, -8388608, -2147483648, 4294967295, \
        -9223372036854775808, 18446744073709551615, 12345678901234567890.0123456789, 1, 0.1, 1e20, \
        'x', 'tab\\t\"é😀', 'NULL', 'it''s', 'a,b', b'100000001', 2026, \
        '2021-01-01', '2021-01-01 10:20:30.120000', '2026-03-29 00:30:00.123456', '-838:59:58.5', \
        x'00ff10', x'ff', x'01', '{\"b\" : [1, 2]}', 'é', 42), \
        (2, 7, 0, 2, 0, 0, 0, 0, 0, 0, -0.5, 0.99, 16777216, 1e-7, \
        '', '', '', 'x', '', 0, 0, '0000-00-00', '0000-00-00', '0000-00-00', 0, '', '', '', '1', '', 0), \
        (3, null, null, false, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, \
        null, null, null, '2021-01-01', null, '10:00', null, null, null, null, null, null)";
    execute(&database.url, table).await;
    assert_eq!(
        rows(&database.url, "select * from t order by id").await,
        [
            "[1,-128,255,true,-32768,-8388608,-2147483648,4294967295,-9223372036854775808,18446744073709551615,\
             12345678901234567890.0123456789,1.00,0.1,1e+20,\"x\",\"tab\\t\\\"é😀\",\"NULL\",\"it's\",\"a,b\",257,2026,\
             \"2021-01-01\",\"2021-01-01T10:20:30.12\",\"2026-03-29T00:30:00.123456+00:00\",\"-838:59:58.5\",\
             \"AP8Q\",\"/w==\",\"AQA=\",\"{\\\"b\\\" : [1, 2]}\",\"é\",42]",
            "[2,7,0,2,0,0,0,0,0,0,-0.5000000000,0.99,1.6777216e+07,1e-07,\"\",\"\",\"\",\"x\",\"\",0,0,\
             \"0000-00-00\",\"0000-00-00T00:00:00\",\"0000-00-00T00:00:00+00:00\",\"00:00:00\",\"\",\"\",\"AAA=\",\"1\",\"\",0]",
            "[3,null,null,false,null,null,null,null,null,null,null,null,null,null,null,null,null,null,null,null,null,\
             null,\"2021-01-01T00:00:00\",null,\"10:00:00\",null,null,null,null,null,null]",
        ]
    );
    let expressions = [
        ("null", "null"),
        ("1 + 1", "2"),
        ("9007199254740993", "9007199254740993"),
        ("(select sum(x) from (select 1 x union all select 2) q)", "3"),
        ("1.10", "1.10"),
        ("1e0", "1"),
        ("'text'", "\"text\""),
        ("concat('a', 1)", "\"a1\""),
        ("1 = 1", "1"),
        // `||` is what it is on this server, not what the driver would make of it.
        ("'1' || '0'", "1"),
        ("x'41'", "\"QQ==\""),
        ("date '2021-01-01'", "\"2021-01-01\""),
        ("uuid()  is null", "0"),
    ];
    expect(&database.url, &expressions).await;
}

#[tokio::test]
async fn every_sqlite_value_becomes_json_as_its_column_means_it() {
    let database = sqlite().await;
    let table = "CREATE TABLE t (id integer primary key, b boolean, n2 numeric(10,2), d decimal(12, 4), n0 numeric(10), \
        n numeric, r real, dt date, dtm datetime, ts timestamp, tz timestamptz, j json, x blob, a); \
        INSERT INTO t VALUES (1, 1, 1, 0.99, 5, 1.5, 1, '2021-01-01', '2021-01-01 10:20:30.120', '2021-01-01', \
        '2026-03-29 01:30:00.123456+01:00', '{\"b\" : [1, 2]}', x'00ff10', 9007199254740993), \
        (2, 0, 0.99, 12345.6, 5.5, 1e20, 1e20, 'soon', '2021-01-01T10:20', 1609459200, '2021-01-01 00:00', 'no json', \
        'text', 'é\"'), \
        (3, 2, 'free', -0.5, 0, 'x', 1e-7, '2021-01-01 10:00', 'soon', '2021-01-01T00:00:00Z', null, null, '', 1e999), \
        (4, null, null, 1.00005, null, null, 0.1, null, null, null, null, null, null, null)";
    execute(&database.url, table).await;
    assert_eq!(
        rows(&database.url, "select * from t order by id").await,
        [
            "[1,true,1.00,0.9900,5,1.5,1,\"2021-01-01\",\"2021-01-01T10:20:30.12\",\"2021-01-01T00:00:00\",\
             \"2026-03-29T00:30:00.123456+00:00\",{\"b\":[1,2]},\"AP8Q\",9007199254740993]",
            "[2,false,0.99,12345.6000,5.5,100000000000000000000,1e+20,\"soon\",\"2021-01-01T10:20:00\",1609459200,\
             \"2021-01-01T00:00:00+00:00\",\"no json\",\"text\",\"é\\\"\"]",
            "[3,2,\"free\",-0.5000,0,\"x\",1e-07,\"2021-01-01 10:00\",\"soon\",\"2021-01-01T00:00:00+00:00\",null,null,\
             \"\",\"Infinity\"]",
            "[4,null,null,1.00005,null,null,0.1,null,null,null,null,null,null,null]",
        ]
    );
    // Names, aliases and views lead to the declared type; an expression has none.
    execute(&database.url, "CREATE VIEW w AS SELECT n2 AS price, b FROM t").await;
    let sql = "select price, w.b as flag, t.n2, t.n2 + 0 as sum from w, t where t.id = 1 and price = 1";
    assert_eq!(rows(&database.url, sql).await, ["[1.00,true,1.00,1]"]);
}

#[tokio::test]
async fn the_same_values_are_the_same_bytes_from_all_engines() {
    let columns = "id, flag, small, big, price, ratio, single, name, born, seen, at, data, doc";
    let schema = |boolean, double, single, moment, zoned, bytes, json| {
        format!(
            "CREATE TABLE t (id integer primary key, flag {boolean}, small smallint, big bigint, price decimal(12,2), \
             ratio {double}, single {single}, name varchar(40), born date, seen {moment}, at {zoned}, data {bytes}, \
             doc {json})"
        )
    };
    let rows_of = |bytes: [&str; 2], zone: &str| {
        format!(
            "INSERT INTO t VALUES \
             (1, true, -5, 9223372036854775807, 1, 0.1, 1.5, 'é😀 \"q\"', '2021-01-01', '2021-01-01 00:00:00', \
             '2026-03-29 00:30:00.123456{zone}', {}, '{{\"a\":[1,null]}}'), \
             (2, false, 0, -9007199254740993, 1234567890.99, 1e20, 0.5, '', '1999-12-31', '2021-06-01 10:20:30.5', \
             '2021-01-01 00:00:00{zone}', {}, '[]'), \
             (3, null, null, null, null, null, null, null, null, null, null, null, null), \
             (4, true, 1, 1, 0.1, 1e-7, 250, 'NULL', '2024-02-29', '2024-02-29 23:59:59', \
             '2024-02-29 23:59:59{zone}', {}, '\"x\"')",
            bytes[0], bytes[1], bytes[0]
        )
    };
    let (pg, my, lite) = (postgres().await, mariadb().await, sqlite().await);
    let pg_schema = schema("boolean", "double precision", "real", "timestamp", "timestamptz", "bytea", "jsonb");
    execute(&pg.url, &pg_schema).await;
    execute(&pg.url, &rows_of(["'\\x00ff'", "''"], "+00")).await;
    let my_schema = schema("boolean", "double", "float", "datetime(6)", "timestamp(6) null", "blob", "text");
    execute(&my.url, &my_schema).await;
    execute(&my.url, &format!("SET time_zone = '+00:00'; {}", rows_of(["x'00ff'", "x''"], ""))).await;
    let lite_schema = schema("boolean", "double", "real", "datetime", "timestamptz", "blob", "json");
    execute(&lite.url, &lite_schema).await;
    execute(&lite.url, &rows_of(["x'00ff'", "x''"], "")).await;
    let sql = format!("select {columns} from t order by id");
    let expected = [
        "[1,true,-5,9223372036854775807,1.00,0.1,1.5,\"é😀 \\\"q\\\"\",\"2021-01-01\",\"2021-01-01T00:00:00\",\
         \"2026-03-29T00:30:00.123456+00:00\",\"AP8=\",{\"a\":[1,null]}]",
        "[2,false,0,-9007199254740993,1234567890.99,1e+20,0.5,\"\",\"1999-12-31\",\"2021-06-01T10:20:30.5\",\
         \"2021-01-01T00:00:00+00:00\",\"\",[]]",
        "[3,null,null,null,null,null,null,null,null,null,null,null,null]",
        "[4,true,1,1,0.10,1e-07,250,\"NULL\",\"2024-02-29\",\"2024-02-29T23:59:59\",\"2024-02-29T23:59:59+00:00\",\
         \"AP8=\",\"x\"]",
    ];
    assert_eq!(rows(&pg.url, &sql).await, expected);
    assert_eq!(rows(&my.url, &sql).await, expected.map(with_json_as_text));
    assert_eq!(rows(&lite.url, &sql).await, expected);
    // MariaDB stores JSON as text; the caller says which columns are JSON.
    let mut connection = connect(&my.url).await;
    let statement = statement(&my.url, "select doc from t where id = 1");
    let mut found = connection.query(&statement, &Arguments::new(), LONG).await.unwrap();
    let row = found.next().await.unwrap().unwrap();
    let mut json = Vec::new();
    row.cell(0).unwrap().into_json_column().unwrap().write_json(&mut json);
    assert_eq!(json, br#"{"a":[1,null]}"#);
}

/// The last column as MariaDB gives it.
fn with_json_as_text(line: &str) -> String {
    for doc in [r#"{"a":[1,null]}"#, "[]", r#""x""#] {
        if let Some(rest) = line.strip_suffix(&format!(",{doc}]")) {
            return format!("{rest},{}]", serde_json::to_string(doc).unwrap());
        }
    }
    line.to_owned()
}

#[tokio::test]
async fn floats_of_all_sizes_read_the_same_from_all_engines() {
    let (pg, my, lite) = (postgres().await, mariadb().await, sqlite().await);
    // A fixed sequence of bit patterns that covers all exponents, and the ends of the plain notation.
    let mut state = 1_u64;
    let mut numbers: Vec<f64> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        f64::from_bits(state)
    })
    .filter(|number| number.is_finite() && number.abs() > 1e-300)
    .take(400)
    .collect();
    // Ties between short numbers and middles between neighbours: whole numbers beyond the precision.
    numbers.extend((50..90).flat_map(|power| {
        let base = 2_f64.powi(power);
        (0..40).map(move |step| base + f64::from(step) * base * f64::EPSILON).chain([base.next_down()])
    }));
    numbers.extend((21..60).flat_map(|power| {
        let base = 2_f32.powi(power);
        (0..40).map(move |step| f64::from(base + step as f32 * base * f32::EPSILON))
    }));
    numbers.extend((-7..18).flat_map(|exponent| [10_f64.powi(exponent), 9.99 * 10_f64.powi(exponent)]));
    let list: Vec<_> = numbers.iter().enumerate().map(|(id, number)| format!("({id}, {number:e})")).collect();
    for (database, double) in [(&pg, "double precision"), (&my, "double")] {
        let sql = format!("CREATE TABLE t (id int, d {double}); INSERT INTO t VALUES {}", list.join(","));
        execute(&database.url, &sql).await;
    }
    // SQLite reads the last digit of some long literals wrong, so they are bound.
    execute(&lite.url, "CREATE TABLE t (id int, d double)").await;
    let mut writer = sqlx::SqliteConnection::connect(&lite.url).await.unwrap();
    sqlx::raw_sql("BEGIN").execute(&mut writer).await.unwrap();
    for (id, number) in (0_i64..).zip(&numbers) {
        let insert = sqlx::query("INSERT INTO t VALUES (?1, ?2)").bind(id).bind(number);
        insert.execute(&mut writer).await.unwrap();
    }
    sqlx::raw_sql("COMMIT").execute(&mut writer).await.unwrap();
    let sql = "select d from t order by id";
    let expected = rows(&pg.url, sql).await;
    assert_eq!(expected.len(), numbers.len());
    assert_eq!(differences(&expected, &rows(&my.url, sql).await), []);
    assert_eq!(differences(&expected, &rows(&lite.url, sql).await), []);
    let singles: Vec<_> = numbers.iter().map(|number| *number as f32).filter(|single| single.is_normal()).collect();
    let list: Vec<_> = singles.iter().enumerate().map(|(id, single)| format!("({id}, {single:e})")).collect();
    for database in [&pg, &my] {
        let sql = format!("CREATE TABLE s (id int, f float4); INSERT INTO s VALUES {}", list.join(","));
        execute(&database.url, &sql).await;
    }
    let sql = "select f from s order by id";
    assert_eq!(differences(&rows(&pg.url, sql).await, &rows(&my.url, sql).await), []);
}

fn differences<'a>(expected: &'a [String], found: &'a [String]) -> Vec<(&'a str, &'a str)> {
    assert_eq!(expected.len(), found.len());
    let pairs = expected.iter().zip(found).filter(|(expected, found)| expected != found);
    pairs.map(|(expected, found)| (expected.as_str(), found.as_str())).collect()
}

#[tokio::test]
async fn a_row_knows_the_bytes_of_its_values() {
    // The number is text in PostgreSQL, four bytes in MariaDB, and eight in SQLite.
    let cases = [
        (postgres().await, "SELECT 'äöü' AS a, 12345::bigint AS b, NULL::text AS c", 6 + 5),
        (mariadb().await, "SELECT 'äöü' AS a, CAST(12345 AS SIGNED) AS b, NULL AS c", 6 + 4),
        (sqlite().await, "SELECT 'äöü' AS a, 12345 AS b, NULL AS c", 6 + 8),
    ];
    for (database, sql, bytes) in cases {
        let mut connection = connect(&database.url).await;
        let statement = statement(&database.url, sql);
        let mut rows = connection.query(&statement, &Arguments::new(), LONG).await.unwrap();
        let row = rows.next().await.unwrap().unwrap();
        assert_eq!(row.size(), bytes, "{sql}");
        // Nothing was turned into something else by being measured.
        assert_eq!(row.cell(1).unwrap().text().unwrap(), "12345");
    }
}
