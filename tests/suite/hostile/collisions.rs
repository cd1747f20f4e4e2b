//! Targets whose keys are the same.

use warmd::record::Outcome;

use crate::{
    cli::{run as warmd, write_job},
    servers,
    world::World,
};

/// Pairs of which two give the key `a:b:c`.
const PAIRS: &str = "
CREATE TABLE lefts (l TEXT, place INTEGER);
CREATE TABLE rights (r TEXT, place INTEGER);
INSERT INTO lefts VALUES ('a:b', 1), ('a', 2);
INSERT INTO rights VALUES ('c', 1), ('b:c', 2);
";

const JOB: &str = r#"
key = "{l}:{r}"
ttl = "1h"
refresh = "always"
[targets]
l = { sql = "SELECT l FROM lefts ORDER BY place" }
r = { sql = "SELECT r FROM rights ORDER BY place" }
[query]
sql = "SELECT l, r, l || '+' || r AS pair FROM lefts, rights WHERE l IN (:l) AND r IN (:r)"
"#;

#[tokio::test]
async fn the_second_target_with_a_key_fails_and_the_first_ones_value_stays() {
    let database = servers::sqlite().await;
    servers::execute(&database.url, PAIRS).await;
    let world = World::on(database).await;
    // In one batch, and in batches of their own.
    for batch in [500, 1] {
        let job = world.job(&format!("{JOB}[limits]\nconcurrency = 1\nbatch = {batch}\n"));
        for _ in 0..2 {
            let record = world.run(&job).await;
            let c = record.counts;
            assert_eq!((record.outcome, c.keys, c.written, c.failed), (Outcome::Partial, 4, 3, 1), "{record:?}");
            let why =
                "t:a:b:c: another target of this run has the same key; separate the variables by what no value holds";
            assert_eq!(record.first_error.as_deref(), Some(why));
            assert_eq!(world.get("t:a:b:c").await.as_deref(), Some(r#"{"pair":"a:b+c"}"#));
        }
        assert_eq!(world.keys().await, ["t:a:b:b:c", "t:a:b:c", "t:a:c"]);
    }
}

#[tokio::test]
async fn plan_names_the_key_that_two_targets_have() {
    let database = servers::sqlite().await;
    servers::execute(&database.url, PAIRS).await;
    let world = World::on(database).await;
    write_job(&world, "pairs.toml", JOB);
    let (code, out, err) = warmd(&world, &["plan"]);
    assert_eq!(code, Some(1), "{out}{err}");
    assert!(err.contains("pairs: t:a:b:c: another target of this run has the same key"), "{err}");
    assert!(err.contains("warning: key t:a:b:c would be written by `pairs` and by `pairs`"), "{err}");
}

#[tokio::test]
async fn a_number_and_its_text_are_one_target() {
    let database = servers::sqlite().await;
    let sql = "CREATE TABLE ids (id); INSERT INTO ids VALUES (1), ('1'), ('01'), (2), (2.0), (NULL), (NULL);";
    servers::execute(&database.url, sql).await;
    let world = World::on(database).await;
    let job = world.job(
        "key = \"n:{id}\"\nttl = \"1h\"\nempty = \"store\"\n[targets]\nid = { sql = \"SELECT id FROM ids\", also = [2, 3] }\n\
         [query]\nsql = \"SELECT id, 'v' AS v FROM ids WHERE typeof(id) = 'integer' AND id IN (:id)\"\n",
    );
    let record = world.run(&job).await;
    // 1, 01, 2, 3, and NULL, which fails.
    let c = record.counts;
    assert_eq!((c.keys, c.written, c.failed), (5, 4, 1), "{record:?}");
    assert_eq!(world.get("t:n:1").await.as_deref(), Some(r#"{"v":"v"}"#));
    assert_eq!(world.get("t:n:2").await.as_deref(), Some(r#"{"v":"v"}"#));
    assert_eq!(world.get("t:n:01").await.as_deref(), Some("null"));
}

#[tokio::test]
async fn an_id_that_is_another_ones_digest_does_not_take_its_key() {
    let database = servers::sqlite().await;
    let long = "x".repeat(201);
    // printf 'x%.0s' $(seq 201) | md5sum
    let digest = "3ea01af1716230e4a1484e78b3199f61";
    let sql =
        format!("CREATE TABLE ids (id TEXT, place INTEGER); INSERT INTO ids VALUES ('{long}', 1), ('{digest}', 2);");
    servers::execute(&database.url, &sql).await;
    let world = World::on(database).await;
    for job in [
        "[targets]\nid = { sql = \"SELECT id FROM ids ORDER BY place\" }\n[query]\n\
         sql = \"SELECT id, length(id) AS length FROM ids WHERE id IN (:id)\"\n",
        "[query]\nsql = \"SELECT id, length(id) AS length FROM ids ORDER BY place\"\n",
    ] {
        let job = world.job(&format!("key = \"{{id}}\"\nttl = \"1h\"\nrefresh = \"always\"\n{job}"));
        let record = world.run(&job).await;
        assert_eq!((record.counts.written, record.counts.failed), (1, 1), "{record:?}");
        assert_eq!(world.get(&format!("t:{digest}")).await.as_deref(), Some(r#"{"length":201}"#));
    }
}

#[tokio::test]
async fn lists_that_multiply_beyond_measure_end_the_run_before_they_fill_the_memory() {
    let world = World::new().await;
    let numbers = |count: u32| {
        format!("\"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count}) SELECT i FROM n\"")
    };
    for (second, third) in [(400, 400), (200_000, 1)] {
        let job = world.job(&format!(
            "key = \"x:{{a}}:{{b}}:{{c}}\"\nttl = \"1h\"\n[targets]\na = {{ also = [1] }}\nb = {{ sql = {} }}\n\
             c = {{ sql = {} }}\n[query]\nsql = \"SELECT 1 AS a, 2 AS b, 3 AS c WHERE 1 IN (:a)\"\n",
            numbers(second),
            numbers(third)
        ));
        let record = world.run(&job).await;
        assert_eq!((record.outcome, record.counts.keys), (Outcome::Failed, 0), "{record:?}");
        let why = record.first_error.unwrap();
        assert!(why.contains("the target lists behind the first have more than 100000 combinations"), "{why}");
    }
}

#[tokio::test]
async fn a_list_that_fails_in_the_middle_costs_itself_only() {
    let database = servers::sqlite().await;
    let sql = "CREATE TABLE notes (id INTEGER, place INTEGER, note TEXT); INSERT INTO notes VALUES \
               (1, 1, '[1]'), (1, 2, '{'), (1, 3, '[3]'), (1, 4, '{'), (2, 1, '[2]');";
    servers::execute(&database.url, sql).await;
    let world = World::on(database).await;
    let job = world.job(
        "key = \"l:{id}\"\nttl = \"1h\"\n[query]\neach = \"list\"\njson = [\"note\"]\n\
         sql = \"SELECT id, note FROM notes ORDER BY id, place\"\n",
    );
    let record = world.run(&job).await;
    assert_eq!((record.outcome, record.counts.written, record.counts.failed), (Outcome::Partial, 1, 1), "{record:?}");
    assert!(record.first_error.unwrap().starts_with("l:1: \"note\": "));
    assert_eq!(world.keys().await, ["t:l:2"]);
    assert_eq!(world.get("t:l:2").await.as_deref(), Some(r#"[{"note":[2]}]"#));
}
