//! Values without end.

use std::{fs, num::NonZeroU32};

use warmd::{
    job::{self, Dialects},
    problems::Problems,
    record::Outcome,
    settings::Settings,
};

use crate::{
    cli::{warmd, write_job},
    servers,
    world::World,
};

/// A world whose `texts` hold a text of each size.
async fn texts(sizes: &[usize]) -> World {
    let database = servers::sqlite().await;
    let rows: Vec<String> = sizes
        .iter()
        .enumerate()
        .map(|(id, size)| format!("({id}, replace(hex(zeroblob({})), '00', 'x') || '{}')", size / 2, &"x"[..size % 2]))
        .collect();
    // hex() makes two digits of a byte, and replace() one character of two.
    let rows = rows.join(",").replace("'00', 'x'", "'0', 'x'");
    let sql = format!("CREATE TABLE texts (id INTEGER PRIMARY KEY, text TEXT); INSERT INTO texts VALUES {rows};");
    servers::execute(&database.url, &sql).await;
    World::on(database).await
}

#[tokio::test]
async fn a_value_over_the_limit_fails_with_its_key_its_size_and_the_limit_and_costs_nothing_else() {
    // `{"text":"` and `"}` are 11 bytes, the brackets of a list two more.
    let (row, list) = (1_000 - 11, 1_000 - 13);
    for (each, fits) in [("row", row), ("list", list)] {
        let world = texts(&[5, fits, fits + 1, 100_000, 7]).await;
        let targets = "[targets]\nid = { sql = \"SELECT id FROM texts ORDER BY id\" }\n";
        let (with, without) = ("WHERE id IN (:id)", "ORDER BY id");
        for (name, targets, condition) in [("with", targets, with), ("without", "", without)] {
            let job = world.job(&format!(
                "key = \"{name}:{{id}}\"\nttl = \"1h\"\n{targets}[query]\neach = \"{each}\"\n\
                 sql = \"SELECT id, text FROM texts {condition}\"\n[limits]\nmax_value_bytes = 1000\n"
            ));
            let record = world.run(&job).await;
            let c = record.counts;
            assert_eq!((record.outcome, c.written, c.failed), (Outcome::Partial, 3, 2), "{each} {name}: {record:?}");
            let why = "the value has at least 1001 bytes, and `limits.max_value_bytes` is 1000";
            // What is known of a row without a target is the template's key.
            let prefix = if targets.is_empty() { "" } else { "t:" };
            assert_eq!(record.first_error, Some(format!("{prefix}{name}:2: {why}")));
            assert_eq!(world.get(&format!("t:{name}:1")).await.unwrap().len(), 1_000);
            for id in [2, 3] {
                assert_eq!(world.get(&format!("t:{name}:{id}")).await, None);
            }
            assert!(world.get(&format!("t:{name}:4")).await.unwrap().contains("xxxxxxx"));
        }
    }
}

#[tokio::test]
async fn ten_megabytes_are_too_much_unless_job_and_settings_allow_them() {
    let mut world = texts(&[10 << 20, 3]).await;
    let job = |limit: &str| {
        format!(
            "key = \"text:{{id}}\"\nttl = \"1h\"\n[targets]\nid = {{ sql = \"SELECT id FROM texts\" }}\n[query]\n\
             sql = \"SELECT id, text FROM texts WHERE id IN (:id)\"\n{limit}"
        )
    };
    let small = world.job(&job(""));
    let record = world.run(&small).await;
    assert_eq!((record.counts.written, record.counts.failed), (1, 1));
    let why = "t:text:0: the value has at least 10485771 bytes, and `limits.max_value_bytes` is 8388608";
    assert_eq!(record.first_error.as_deref(), Some(why));
    // The stricter limit holds: here that of the settings.
    let large = world.job(&job("[limits]\nmax_value_bytes = 20000000\n"));
    assert_eq!(world.run(&large).await.counts.failed, 1);
    world.around.max_value_bytes = NonZeroU32::new(20_000_000).unwrap();
    let record = world.run(&large).await;
    assert_eq!((record.counts.written, record.counts.failed, record.bytes), (1, 0, 10_485_771));
    assert_eq!(world.get("t:text:0").await.unwrap().len(), 10_485_771);
}

#[tokio::test]
async fn computed_lists_keep_the_limit_too() {
    let world = World::new().await;
    let events = "limit = 3\nevents = [ { sql = \"SELECT user_id, product_id FROM sales\" } ]\n\
        products = \"SELECT id AS product_id, category, CASE id WHEN 2 THEN replace(hex(zeroblob(3000)), '0', 'x') \
        ELSE name END AS name FROM products\"\n[limits]\nmax_value_bytes = 4000\n";
    for (job, written, failed) in [
        // Products 1 and 3 to 5 are bought with others; only those that are bought with 2 have a long list.
        (format!("key = \"s:{{product_id}}\"\n[similar]\nof = \"products\"\n{events}"), 3, 3),
        (
            format!(
                "key = \"t:{{category}}\"\n[targets]\ncategory = {{ also = [\"paper\", \"table\"] }}\n[trending]\n{events}"
            ),
            1,
            1,
        ),
        (
            format!(
                "key = \"r:{{user_id}}:{{category}}\"\n[targets]\nuser_id = {{ also = [1, 2] }}\ncategory = {{ also = [\"paper\", \"table\"] }}\n[recommend]\n{events}"
            ),
            2,
            2,
        ),
    ] {
        let job = world.job(&format!("ttl = \"1h\"\n{job}"));
        let record = world.run(&job).await;
        let c = record.counts;
        assert_eq!((c.written, c.failed), (written, failed), "{record:?}");
        let why = record.first_error.unwrap();
        assert!(why.contains("the value has at least 6") && why.ends_with("`limits.max_value_bytes` is 4000"), "{why}");
    }
}

#[tokio::test]
async fn a_list_that_grows_without_end_takes_no_more_memory_than_the_limit() {
    let database = servers::sqlite().await;
    servers::execute(&database.url, "CREATE TABLE t (x)").await;
    let world = World::on(database).await;
    // Of 1.2 GB each; the rows with a NULL key belong to no list at all.
    let rows = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 120000) \
                SELECT k.id, replace(hex(zeroblob(5000)), '0', 'x') AS text FROM k, n";
    write_job(
        &world,
        "explodes.toml",
        &format!(
            "key = \"e:{{id}}\"\nttl = \"1h\"\n[query]\neach = \"list\"\n\
         sql = \"\"\"WITH k(id) AS (SELECT NULL UNION ALL SELECT 1), {}\"\"\"\n",
            &rows["WITH RECURSIVE ".len()..]
        )
        .replace("WITH k", "WITH RECURSIVE k"),
    );
    write_job(
        &world,
        "gathers.toml",
        &format!(
            "key = \"g:{{id}}\"\nttl = \"1h\"\n[targets]\nid = {{ also = [1] }}\n[query]\neach = \"list\"\n\
         sql = \"\"\"WITH RECURSIVE k(id) AS (SELECT 1 WHERE 1 IN (:id)), {}\"\"\"\n",
            &rows["WITH RECURSIVE ".len()..]
        ),
    );
    for (job, failed) in [("explodes", 2), ("gathers", 1)] {
        let inner = warmd(&world, &["warm", "--json", job]);
        // As the shell sets it: what the process may have at most.
        let mut command = std::process::Command::new("sh");
        command.args(["-c", "ulimit -v 1000000 && exec \"$0\" \"$@\""]).arg(inner.get_program()).args(inner.get_args());
        command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let output = command.output().unwrap();
        let json: serde_json::Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
        let run = &json["runs"][0];
        assert_eq!((&run["outcome"], run["failed"].as_i64()), (&"failed".into(), Some(failed)), "{run:#}");
    }
}

#[test]
fn a_limit_that_redis_does_not_have_is_refused_in_jobs_and_settings() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let limit = |bytes: &str| format!("[limits]\nmax_value_bytes = {bytes}\n");
    let job = "key = \"a:{id}\"\nttl = \"1h\"\n[query]\nsql = \"SELECT id FROM users\"\n";
    for (bytes, refused) in [("536870912", false), ("536870913", true), ("0", true), ("\"8MiB\"", true)] {
        fs::write(at("job.toml"), format!("{job}{}", limit(bytes))).unwrap();
        let mut problems = Problems::default();
        job::load_file(&at("job.toml"), &Dialects::default(), &mut problems);
        assert_eq!(!problems.0.is_empty(), refused, "job {bytes}: {problems}");
        fs::write(at("warmd.toml"), limit(bytes)).unwrap();
        let mut problems = Problems::default();
        if let Some(settings) = Settings::load(Some(&at("warmd.toml")), Vec::new(), &Vec::new(), &mut problems) {
            settings.check(&mut problems);
        }
        assert_eq!(!problems.0.is_empty(), refused, "settings {bytes}: {problems}");
        assert!(problems.0.iter().all(|problem| problem.message.contains("max_value_bytes")), "{problems}");
    }
}
