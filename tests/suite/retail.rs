//! The shipped retail jobs on a year of a real shop's sales: "Online Retail", Daqing Chen, UCI Machine Learning
//! Repository, 2015, DOI 10.24432/C5BW33, CC BY 4.0.

use std::{collections::BTreeMap, path::Path, process::Command};

use serde_json::Value;

use crate::{
    servers::{self, TestDatabase},
    world::World,
};

/// Customers active in the fourteen days before 2011-11-01.
const CUSTOMERS: u64 = 736;
/// Product groups that sold anything, and the one list of all.
const LISTS: u64 = 33;

fn load(database: &TestDatabase) {
    let data = std::env::var("WARMD_DATA").expect("WARMD_DATA names the folder with online_retail/");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/retail");
    let output = Command::new(script).arg(Path::new(&data).join("online_retail")).arg(&database.url).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn warm(world: &World) -> Vec<Value> {
    let output = Command::new(env!("CARGO_BIN_EXE_warmd"))
        .args(["warm", "--json", "--as-of", "2011-11-01", "--jobs-dir", "jobs/retail"])
        .args(["--database", &world.database.url, "--redis", &world.redis.url])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("WARMD__HISTORY__ENABLED", "false")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    json["runs"].as_array().unwrap().clone()
}

fn sum(runs: &[Value], field: &str) -> u64 {
    runs.iter().map(|run| run[field].as_u64().unwrap()).sum()
}

#[tokio::test]
#[ignore = "needs WARMD_DATA"]
async fn a_year_of_real_sales_warms_alike_from_the_three_engines() {
    let mut dumps: Vec<BTreeMap<String, String>> = Vec::new();
    for database in [servers::postgres().await, servers::mariadb().await, servers::sqlite().await] {
        load(&database);
        let world = World::on(database).await;
        let first = warm(&world);
        let by_job = |name: &str| first.iter().find(|run| run["job"] == name).unwrap();
        assert_eq!(by_job("recommendations")["targets"], CUSTOMERS);
        assert_eq!(by_job("recommendations")["written"], CUSTOMERS * 7);
        assert_eq!(by_job("trending")["written"], LISTS);
        assert_eq!(by_job("details")["written"], 3659);
        assert_eq!(sum(&first, "failed") + sum(&first, "empty"), 0);
        let statements_per_thousand = sum(&first, "queries") as f64 / sum(&first, "written") as f64 * 1000.0;
        assert!(statements_per_thousand <= 3.0, "{statements_per_thousand}");
        let second = warm(&world);
        assert_eq!(sum(&second, "written"), 0);
        assert_eq!(sum(&second, "fresh"), sum(&second, "keys"));
        let keys = world.keys().await;
        let mut values: Vec<Option<String>> = Vec::new();
        for chunk in keys.chunks(1000) {
            let words: Vec<&str> = std::iter::once("MGET").chain(chunk.iter().map(String::as_str)).collect();
            values.extend(world.redis_command::<Vec<Option<String>>>(&words).await);
        }
        dumps.push(keys.into_iter().zip(values.into_iter().map(Option::unwrap)).collect());
    }
    for value in dumps[0].values() {
        serde_json::from_str::<Value>(value).unwrap();
    }
    for other in &dumps[1..] {
        assert_eq!(dumps[0].len(), other.len());
        for (key, value) in &dumps[0] {
            assert_eq!(other.get(key), Some(value), "{key}");
        }
    }
}
