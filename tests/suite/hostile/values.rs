//! Ids and values that mean something to somebody: to SQL, to Redis, to terminals, to templates.

use warmd::record::Outcome;

use crate::{
    servers::{self, TestDatabase},
    world::World,
};

/// Ids that make keys as they stand.
const HARMLESS: [&str; 22] = [
    " a b ",
    "a:b",
    "{x}",
    "{{x}}",
    "}{",
    "%s%n%d",
    "é",
    "e\u{301}",
    "😀👨‍👩‍👧",
    "\u{202e}live",
    "\u{feff}bom",
    "'; DROP TABLE things; --",
    "x' OR '1'='1",
    "`x`",
    "\\",
    "\\'",
    "\"",
    "$$",
    "?1",
    ":a",
    "*",
    "[a-z]",
];

/// Ids that no key holds.
const REFUSED: [&str; 6] = ["a\nb", "a\r\nSET x y", "\u{1b}[2J", "tab\t", "\u{7f}", "\u{85}"];

const ENGINES: [&str; 3] = ["postgres", "mariadb", "sqlite"];

async fn database(engine: &str) -> TestDatabase {
    match engine {
        "postgres" => servers::postgres().await,
        "mariadb" => servers::mariadb().await,
        _ => servers::sqlite().await,
    }
}

/// A text that reaches the database whatever it holds.
fn literal(engine: &str, text: &str) -> String {
    let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
    match engine {
        "postgres" => format!("convert_from('\\x{hex}'::bytea, 'UTF8')"),
        "mariadb" => format!("CONVERT(x'{hex}' USING utf8mb4)"),
        _ => format!("CAST(x'{hex}' AS TEXT)"),
    }
}

/// A world with a table of ids and values.
async fn things(engine: &str, things: &[(&str, &str)]) -> World {
    let database = database(engine).await;
    let (table, key) = match engine {
        "mariadb" => ("id LONGTEXT, v LONGTEXT) COLLATE utf8mb4_bin", ""),
        _ => ("id TEXT, v TEXT)", ""),
    };
    servers::execute(&database.url, &format!("CREATE TABLE things ({table}{key}")).await;
    for (id, v) in things {
        let sql = format!("INSERT INTO things VALUES ({}, {})", literal(engine, id), literal(engine, v));
        servers::execute(&database.url, &sql).await;
    }
    World::on(database).await
}

const WITH_TARGETS: &str = "key = \"h:{id}\"\nttl = \"1h\"\n[targets]\nid = { sql = \"SELECT id FROM things\" }\n\
    [query]\nsql = \"SELECT id, v FROM things WHERE id IN (:id)\"\n";
const WITHOUT: &str = "key = \"h:{id}\"\nttl = \"1h\"\n[query]\nsql = \"SELECT id, v FROM things\"\n";

#[tokio::test]
async fn an_id_is_a_part_of_its_key_or_an_error_of_its_target_and_never_anything_else() {
    let long = "n".repeat(100_000);
    for engine in ENGINES {
        let refused: Vec<&str> = REFUSED.iter().copied().chain([long.as_str()]).collect();
        let all: Vec<(&str, &str)> = HARMLESS.iter().chain(&refused).map(|id| (*id, *id)).collect();
        let world = things(engine, &all).await;
        for job in [WITH_TARGETS, WITHOUT] {
            let job = world.job(&format!("refresh = \"always\"\n{job}"));
            let record = world.run(&job).await;
            let c = record.counts;
            let counted = (record.outcome, c.written, c.failed);
            assert_eq!(
                counted,
                (Outcome::Partial, HARMLESS.len() as u64, refused.len() as u64),
                "{engine}: {record:?}"
            );
            let why = record.first_error.unwrap();
            assert!(why.contains("has control characters: \"a\\\\nb\"") || why.contains("\\nb"), "{engine}: {why}");
            assert!(!why.contains(char::is_control), "{engine}: {why}");
            let mut expected: Vec<String> = HARMLESS.iter().map(|id| format!("t:h:{id}")).collect();
            expected.sort();
            assert_eq!(world.keys().await, expected, "{engine}");
            for id in HARMLESS {
                assert_eq!(world.json(&format!("t:h:{id}")).await, serde_json::json!({ "v": id }), "{engine}");
            }
        }
    }
}

#[tokio::test]
async fn a_value_reaches_the_application_character_by_character() {
    let long = "😀\u{1}\"\\".repeat(25_000);
    let all: String =
        (1..0x300).chain([0x2028, 0x202e, 0xfeff, 0xfffd, 0x10_ffff]).filter_map(char::from_u32).collect();
    for engine in ENGINES {
        let mut values = vec![("long", long.as_str()), ("all", &all), ("empty", "")];
        // PostgreSQL has no texts with NUL.
        values.extend((engine != "postgres").then_some(("nul", "a\0b\0")));
        let world = things(engine, &values).await;
        for job in [WITH_TARGETS, WITHOUT] {
            let record = world.run(&world.job(&format!("refresh = \"always\"\n{job}"))).await;
            assert_eq!((record.outcome, record.counts.written), (Outcome::Ok, values.len() as u64), "{record:?}");
            for (id, value) in &values {
                assert_eq!(world.json(&format!("t:h:{id}")).await, serde_json::json!({ "v": value }), "{engine}: {id}");
            }
        }
    }
}

#[tokio::test]
async fn an_id_with_nul_fails_alone() {
    for engine in ["mariadb", "sqlite"] {
        let world = things(engine, &[("a\0b", "x"), ("a", "y")]).await;
        for job in [WITH_TARGETS, WITHOUT] {
            let record = world.run(&world.job(&format!("refresh = \"always\"\n{job}"))).await;
            assert_eq!((record.counts.written, record.counts.failed), (1, 1), "{engine}: {record:?}");
            assert_eq!(world.keys().await, ["t:h:a"]);
        }
    }
}

#[tokio::test]
async fn colons_that_are_no_parameters_stay_what_they_are() {
    let own = |engine: &str| match engine {
        "postgres" => {
            "$$:a$$ AS d1, $t$':b'$t$ AS d2, E'\\':c' AS d3, 1::text AS d4, (ARRAY[1,2,3])[2:3] AS d5, /* /* :z */ */ \
             'a\\' AS d6, '{\"a:b\": 1}'::json->>'a:b' AS d7"
        }
        "mariadb" => "'\\':a' AS d1, \"\\\":b\" AS d2, 5--1 AS d3, `a:b` AS d4, # :z '\n 'a\\\\' AS d5, @v:=3 AS d6",
        _ => "[a:b] AS d1, `a:b` AS d2, 'a\\' AS d3, x'00' AS d4",
    };
    for engine in ENGINES {
        let database = database(engine).await;
        let quote = if engine == "mariadb" { '`' } else { '"' };
        servers::execute(&database.url, &format!("CREATE TABLE t (id INTEGER, {quote}a:b{quote} INTEGER)")).await;
        servers::execute(&database.url, "INSERT INTO t VALUES (7, 8)").await;
        let world = World::on(database).await;
        let sql = format!(
            "/* :y */ SELECT id, -- :x '\n'a:b' AS c1, ':now' AS c2, 'it''s :id' AS c3, {}\nFROM t -- :v\n\
             WHERE id IN (:id) /* ' :u */ ; -- :t",
            own(engine)
        );
        std::fs::write(world.folder().join("colons.sql"), sql).unwrap();
        let job = world
            .job("key = \"c:{id}\"\nttl = \"1h\"\n[targets]\nid = { also = [7] }\n[query]\nsql = \"colons.sql\"\n");
        let record = world.run(&job).await;
        assert_eq!(record.outcome, Outcome::Ok, "{engine}: {record:?}");
        let common = r#"{"c1":"a:b","c2":":now","c3":"it's :id","#;
        let expected = match engine {
            "postgres" => r#""d1":":a","d2":"':b'","d3":"':c","d4":"1","d5":[2,3],"d6":"a\\","d7":"1"}"#,
            "mariadb" => r#""d1":"':a","d2":"\":b","d3":6,"d4":8,"d5":"a\\","d6":3}"#,
            _ => r#""d1":8,"d2":8,"d3":"a\\","d4":"AA=="}"#,
        };
        assert_eq!(world.get("t:c:7").await.unwrap(), format!("{common}{expected}"), "{engine}");
    }
}

#[tokio::test]
async fn events_that_make_no_sense_are_an_error_of_the_run_or_left_out_but_no_defect() {
    let odd = [
        "NULL",
        "''",
        "'x'",
        "-1",
        "0",
        "9e999",
        "-9e999",
        "1e308",
        "9223372036854775807",
        "-9223372036854775808",
        "x'ff'",
        "'2026-99-99'",
        "'infinity'",
        "'9999-12-31 23:59:59'",
        "'0000-00-00'",
        "'\u{202e}\u{1b}'",
        "1e-320",
    ];
    let world = World::new().await;
    for column in ["at", "weight", "user_id", "product_id"] {
        for value in odd {
            let columns = ["at", "weight", "user_id", "product_id"].map(|name| match (name == column, name) {
                (true, _) => format!("{value} AS {name}"),
                (_, "weight") => "1 AS weight".to_owned(),
                (_, "at") => "sold_at AS at".to_owned(),
                _ => name.to_owned(),
            });
            let sql = format!("SELECT {} FROM sales", columns.join(", "));
            std::fs::write(world.folder().join("events.sql"), sql).unwrap();
            let job = world.job(
                "key = \"e:{user_id}\"\nttl = \"1h\"\nrefresh = \"always\"\n[targets]\nuser_id = { also = [1, \"x\"] }\n\
                 [recommend]\nevents = [ { sql = \"events.sql\" } ]\n",
            );
            let record = world.run(&job).await;
            let told = record.first_error.clone().unwrap_or_default();
            assert_ne!(
                record.cause.map(|cause| cause.to_string()).as_deref(),
                Some("internal"),
                "{column} {value}: {told}"
            );
            assert!(!told.contains(char::is_control) && !told.contains('\u{202e}'), "{column} {value}: {told:?}");
        }
    }
}

#[tokio::test]
async fn what_a_server_says_of_a_value_neither_fills_nor_steers_whoever_reads_it() {
    let world = things("postgres", &[("1", &format!("\u{1b}[2J\n\u{202e}{}", "9".repeat(100_000)))]).await;
    let job = world.job("key = \"h:{id}\"\nttl = \"1h\"\n[query]\nsql = \"SELECT id, v::integer FROM things\"\n");
    let why = world.run(&job).await.first_error.unwrap();
    assert!(why.contains("invalid input syntax for type integer: \"\\u{1b}[2J \\u{202e}9999"), "{why}");
    assert!(why.len() < 10_000 && why.ends_with(" ..."), "{} bytes", why.len());
}

#[tokio::test]
async fn digits_that_a_column_declares_beyond_measure_are_not_filled_in() {
    let database = servers::sqlite().await;
    let sql = "CREATE TABLE d (id INTEGER, a DECIMAL(9,70000), b NUMERIC(1,2000000000), c DECIMAL(9,-1), d DEC(9,3)); \
               INSERT INTO d VALUES (1, 1.5, 2, 3, 4);";
    servers::execute(&database.url, sql).await;
    let world = World::on(database).await;
    let job = world.job("key = \"d:{id}\"\nttl = \"1h\"\n[query]\nsql = \"SELECT id, a, b, c, d FROM d\"\n");
    let record = world.run(&job).await;
    assert_eq!(record.outcome, Outcome::Ok, "{record:?}");
    assert_eq!(world.get("t:d:1").await.as_deref(), Some(r#"{"a":1.5,"b":2,"c":3,"d":4.000}"#));
}
