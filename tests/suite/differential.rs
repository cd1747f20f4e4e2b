//! The fast ways from rows to values against the plain one, on random schemas and values, in the three engines.

use std::collections::BTreeMap;

use serde_json::json;

use crate::{
    servers::{self, TestDatabase},
    world::World,
};

/// Reproducible numbers, spread well enough to find mistakes.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    fn text(&mut self) -> String {
        const ALL: &[char] = &[
            'a', 'Z', '0', ' ', '"', '\\', '\'', '/', '\n', '\r', '\t', '\u{1}', '\u{1f}', '\u{7f}', 'é', '😀',
            '\u{2028}', '\u{202e}', '{', '}', ':', '?', '$', '%', ';', '-',
        ];
        // Plain, full of everything, or plain but for one; some are long.
        let longest = self.of(&[40, 3000]);
        let all = self.of(&[&ALL[..4], ALL]);
        let mut text: String = (0..self.below(longest)).map(|_| self.of(all)).collect();
        if self.below(2) == 0 {
            text.push(self.of(ALL));
        }
        text
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Int,
    Text,
    Decimal,
    Double,
    Bool,
    Moment,
    Json,
}

impl Kind {
    const ALL: [Kind; 7] = [Kind::Int, Kind::Text, Kind::Decimal, Kind::Double, Kind::Bool, Kind::Moment, Kind::Json];

    fn declared(self, engine: &str) -> &'static str {
        match (self, engine) {
            (Kind::Int, _) => "BIGINT",
            (Kind::Text, "mysql") => "TEXT CHARACTER SET utf8mb4",
            (Kind::Text, _) => "TEXT",
            (Kind::Decimal, _) => "DECIMAL(18,4)",
            (Kind::Double, _) => "DOUBLE PRECISION",
            (Kind::Bool, _) => "BOOLEAN",
            (Kind::Moment, "mysql") => "DATETIME",
            (Kind::Moment, _) => "TIMESTAMP",
            (Kind::Json, _) => "JSON",
        }
    }

    /// A literal without quotes (quoted where the second says so), and what it is as JSON.
    fn value(self, random: &mut Random) -> (String, bool, String) {
        if random.below(6) == 0 {
            return ("NULL".to_owned(), false, "null".to_owned());
        }
        match self {
            Kind::Int => {
                let number = random.of(&[0, -1, i64::MAX, i64::MIN + 1, 9_007_199_254_740_993, 42]);
                (number.to_string(), false, number.to_string())
            }
            Kind::Text => {
                let text = random.text();
                let json = serde_json::to_string(&text).unwrap();
                (text, true, json)
            }
            Kind::Decimal => {
                let (whole, part) = (random.below(10_000_000_000), random.below(10_000));
                let text = format!("{}{whole}.{part:04}", random.of(&["", "-"]));
                (text.clone(), true, text)
            }
            Kind::Double => {
                let all = [("0.1", "0.1"), ("1e20", "1e+20"), ("-2.5", "-2.5"), ("1e-7", "1e-07"), ("3", "3")];
                let (literal, json) = random.of(&all);
                (literal.to_owned(), false, json.to_owned())
            }
            Kind::Bool => {
                let value = random.of(&["true", "false"]);
                (value.to_owned(), false, value.to_owned())
            }
            Kind::Moment => {
                let day =
                    format!("{:04}-{:02}-{:02}", 1900 + random.below(200), 1 + random.below(12), 1 + random.below(28));
                let time = format!("{:02}:{:02}:{:02}", random.below(24), random.below(60), random.below(60));
                (format!("{day} {time}"), true, format!("\"{day}T{time}\""))
            }
            Kind::Json => {
                let value = json!({ "a": [1, random.text(), null], "b": { "c": random.below(9), "d": [] } });
                (serde_json::to_string_pretty(&value).unwrap(), true, value.to_string())
            }
        }
    }
}

struct Table {
    kinds: Vec<Kind>,
    /// Literals, quoted or not, and what they are as JSON.
    rows: Vec<Vec<(String, bool, String)>>,
}

/// Lists have this many rows at most.
const OF_A_LIST: usize = 7;

impl Table {
    fn random(random: &mut Random) -> Self {
        let kinds: Vec<Kind> = (0..1 + random.below(9)).map(|_| random.of(&Kind::ALL)).collect();
        let rows = (0..40).map(|_| kinds.iter().map(|kind| kind.value(random)).collect()).collect();
        Self { kinds, rows }
    }

    fn columns(&self) -> String {
        (0..self.kinds.len()).map(|column| format!("c{column}")).collect::<Vec<_>>().join(", ")
    }

    async fn create(&self, database: &TestDatabase) {
        let engine = database.url.split(':').next().unwrap();
        let quote = |text: &str| match engine {
            "mysql" => text.replace('\\', "\\\\").replace('\'', "''"),
            _ => text.replace('\'', "''"),
        };
        let declared = |(column, kind): (usize, &Kind)| format!("c{column} {}", kind.declared(engine));
        let columns: Vec<String> = self.kinds.iter().enumerate().map(declared).collect();
        let mut sql = format!("DROP TABLE IF EXISTS t; CREATE TABLE t (id BIGINT, g BIGINT, {});", columns.join(", "));
        for (id, row) in self.rows.iter().enumerate() {
            let literal = |(text, quoted, _): &(String, bool, String)| match quoted {
                true => format!("'{}'", quote(text)),
                false => text.clone(),
            };
            let row: Vec<String> = row.iter().map(literal).collect();
            sql += &format!("INSERT INTO t VALUES ({id}, {}, {});", id / OF_A_LIST, row.join(", "));
        }
        servers::execute(&database.url, &sql).await;
    }

    /// What the keys should hold, by plain means.
    fn expected(&self) -> BTreeMap<String, String> {
        let object = |row: &Vec<(String, bool, String)>| {
            let members = row.iter().enumerate().map(|(column, (.., json))| format!("\"c{column}\":{json}"));
            format!("{{{}}}", members.collect::<Vec<_>>().join(","))
        };
        let rows = self.rows.iter().enumerate().map(|(id, row)| (format!("t:row:{id}"), object(row)));
        let lists = self.rows.chunks(OF_A_LIST).enumerate().map(|(list, rows)| {
            (format!("t:list:{list}"), format!("[{}]", rows.iter().map(object).collect::<Vec<_>>().join(",")))
        });
        rows.chain(lists).collect()
    }

    /// The columns that hold JSON, for engines that do not know it.
    fn json(&self) -> String {
        let columns = self.kinds.iter().enumerate().filter(|(_, kind)| matches!(kind, Kind::Json));
        format!("json = [{}]\n", columns.map(|(column, _)| format!("\"c{column}\"")).collect::<Vec<_>>().join(", "))
    }
}

#[tokio::test]
async fn every_way_from_any_schema_to_values_gives_what_the_plain_way_gives_in_every_engine() {
    let mut random = Random(7);
    let worlds = [
        World::on(servers::postgres().await).await,
        World::on(servers::mariadb().await).await,
        World::on(servers::sqlite().await).await,
    ];
    for round in 0..12 {
        let table = Table::random(&mut random);
        let (columns, json, expected) = (table.columns(), table.json(), table.expected());
        let batch = 1 + random.below(50);
        for world in &worlds {
            table.create(&world.database).await;
            let one_statement = |key: &str, id: &str, each: &str| {
                format!(
                    "key = \"{key}:{{{id}}}\"\nttl = \"1h\"\n[query]\neach = \"{each}\"\n{json}\
                     sql = \"SELECT {id}, {columns} FROM t ORDER BY id\"\n[limits]\nbatch = {batch}\n"
                )
            };
            let by_targets = |key: &str, id: &str, each: &str| {
                format!(
                    "key = \"{key}:{{{id}}}\"\nttl = \"1h\"\n[targets]\n{id} = {{ sql = \"SELECT DISTINCT {id} FROM t\" }}\n\
                     [query]\neach = \"{each}\"\n{json}sql = \"SELECT {id}, {columns} FROM t WHERE {id} IN (:{id}) \
                     ORDER BY id\"\n[limits]\nbatch = {batch}\n"
                )
            };
            for jobs in [
                [one_statement("row", "id", "row"), one_statement("list", "g", "list")],
                [by_targets("row", "id", "row"), by_targets("list", "g", "list")],
            ] {
                world.redis_command::<String>(&["FLUSHALL"]).await;
                // Some are there already, also in batches that are sent before anybody asked.
                for key in expected.keys().filter(|key| key.ends_with('3')) {
                    world.redis_command::<String>(&["SET", key, "mine", "PX", "3600000"]).await;
                }
                for job in &jobs {
                    let record = world.run(&world.job(job)).await;
                    assert_eq!((record.outcome.to_string().as_str(), record.counts.failed), ("ok", 0), "{record:?}");
                }
                for (key, expected) in &expected {
                    let expected = if key.ends_with('3') { "mine" } else { expected };
                    let found = world.get(key).await;
                    let url = &world.database.url;
                    assert_eq!(
                        found.as_deref(),
                        Some(expected),
                        "{key}, round {round}, batch {batch}, {url}, {jobs:?}"
                    );
                }
            }
        }
    }
}
