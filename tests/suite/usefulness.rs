//! Whether anybody reads the keys.

use serde_json::Value;
use warmd::{record::Reads, run::Request};

use crate::{
    cli::{run, write_job},
    daemon::eventually,
    docs::{Numbers, examples},
    servers,
    world::World,
};

/// A thousand people in two categories; each run renews all of their keys.
const PEOPLE: &str = r#"
key = "people:{id}:{category}"
ttl = "10m"
refresh = "always"
[targets]
id = { sql = "SELECT DISTINCT id FROM people ORDER BY id LIMIT :limit", limit = 1000 }
category = { also = ["paper", "garden"] }
[query]
sql = "SELECT id, category, 'x' AS value FROM people WHERE id IN (:id)"
[limits]
batch = 100
"#;

async fn world() -> World {
    let world = World::on(servers::sqlite().await).await;
    let people = "CREATE TABLE people (id INTEGER, category TEXT); INSERT INTO people \
                  WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n WHERE id < 1000) \
                  SELECT id, 'paper' FROM n UNION ALL SELECT id, 'garden' FROM n";
    world.sql(people).await;
    world
}

/// As an application does. What nobody reads, also what was written last, is idle for longer than Redis's clock is
/// coarse by then.
async fn read(world: &World, is_read: impl Fn(usize, &str) -> bool) {
    let idle = async || world.redis_command::<u64>(&["OBJECT", "IDLETIME", "t:people:1000:garden"]).await;
    eventually("some age", async || idle().await >= 4).await;
    let mut commands = redis::pipe();
    commands.cmd("PING").ignore();
    for id in 1..=1000 {
        for category in ["paper", "garden"] {
            if is_read(id, category) {
                commands.get(format!("t:people:{id}:{category}")).ignore();
            }
        }
    }
    commands.query_async::<()>(&mut world.client().await).await.unwrap();
}

#[tokio::test]
async fn the_share_of_keys_that_were_read_is_found_by_a_sample() {
    let world = world().await;
    let job = world.job(PEOPLE);
    assert_eq!(world.run(&job).await.reads, Reads::default(), "nothing is known of new keys");
    read(&world, |id, category| id != 1 && (category == "paper") == (id % 2 == 0)).await;
    // Neither looking at what is there nor a plan is reading.
    world.run_as(&job, Request { dry: true, ..Request::manual() }).await;
    world.run(&world.job(&PEOPLE.replace("always", "missing"))).await;
    let record = world.run(&job).await;
    assert_eq!(record.counts.written, 2000);
    assert!((800..=1000).contains(&record.reads.sampled), "{:?}", record.reads);
    let share = record.reads.share().unwrap();
    assert!((0.45..=0.55).contains(&share), "{share}");
    let by_category = &record.reads_by_target["category"];
    assert!(by_category.values().all(|reads| reads.sampled > 300), "{by_category:?}");
    assert_eq!(record.reads_by_target.len(), 1, "users are not told apart");
}

#[tokio::test]
async fn a_server_that_does_not_keep_the_time_of_the_last_access_leaves_it_unknown() {
    let world = world().await;
    let job = world.job(PEOPLE);
    world.run(&job).await;
    read(&world, |_, _| true).await;
    world.redis_command::<()>(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lfu"]).await;
    let record = world.run(&job).await;
    assert_eq!((record.reads, record.counts.written), (Reads::default(), 2000));
}

#[tokio::test]
async fn advice_names_what_nobody_reads() {
    let world = world().await;
    write_job(&world, "people.toml", PEOPLE);
    let advice = || {
        let (code, out, err) = run(&world, &["advise"]);
        assert_eq!((code, err.as_str()), (Some(0), ""));
        out
    };
    assert_eq!(advice(), "people: unknown whether its keys are read: 0 keys looked at in 0 runs, 20 are needed\n");
    let warm = || assert_eq!(run(&world, &["warm"]).0, Some(0));
    warm();
    read(&world, |_, category| category == "paper").await;
    warm();
    let told = advice();
    assert!(told.contains("people: nobody reads the keys of category = garden: leave it out\n"), "{told}");
    assert!(!told.contains("category = paper"), "{told}");
    let shown = examples("docs/jobs.md");
    assert_eq!(shown.len(), 1);
    shown[0].check(&told, Numbers::None);
    let (_, history, _) = run(&world, &["history"]);
    let share = history.lines().nth(1).unwrap().split("  ").filter(|cell| cell.contains('%')).count();
    assert_eq!(share, 1, "{history}");

    // From now on nobody reads any; the two runs before are not looked at.
    read(&world, |_, _| false).await;
    warm();
    let (_, json, _) = run(&world, &["advise", "people", "--runs", "1", "--json"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    let advice = &json["advice"][0];
    assert_eq!((&advice["job"], &advice["read"], &advice["share"]), (&"people".into(), &0.into(), &0.0.into()));
    assert!(advice["advice"].to_string().contains("nobody needs this job"), "{advice}");
}
