//! Statements that explode into many keys.

use crate::world::World;

/// Two thousand keys, in batches of fifty, one after the other.
const NUMBERS: &str = r#"
key = "n:{id}"
ttl = "1h"
refresh = "20%"
[query]
sql = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000) SELECT i AS id, i * i AS square FROM n"
[limits]
batch = 50
concurrency = 1
"#;

/// How often Redis has been sent a command.
async fn calls(world: &World, command: &str) -> u64 {
    let stats: String = world.redis_command(&["INFO", "commandstats"]).await;
    let calls = stats.split(&format!("cmdstat_{command}:calls=")).nth(1).and_then(|rest| rest.split(',').next());
    calls.map_or(0, |calls| calls.parse().unwrap())
}

#[tokio::test]
async fn keys_that_are_nearly_all_missing_are_written_unasked_and_those_that_are_not_are_told_apart() {
    let world = World::new().await;
    let job = world.job(NUMBERS);
    let first = world.run(&job).await;
    assert_eq!((first.counts.missing, first.counts.written, first.counts.fresh), (2000, 2000, 0));
    assert_eq!(calls(&world, "pttl").await, 50, "only the first batch asked");

    let second = world.run(&job).await;
    assert_eq!((second.counts.missing, second.counts.written, second.counts.fresh), (0, 0, 2000));
    assert_eq!(calls(&world, "pttl").await, 2050);
    // Each run leaves a sample of its keys.
    assert_eq!(calls(&world, "set").await, 2000 + 2, "a value that is there is not sent again");

    let gone: Vec<String> = (1..=1000).map(|id| format!("t:n:{id}")).collect();
    let words: Vec<&str> = std::iter::once("DEL").chain(gone.iter().map(String::as_str)).collect();
    assert_eq!(world.redis_command::<u64>(&words).await, 1000);
    // Beyond the gap, in the batch that is sent unasked: fresh, about to expire, another owner's.
    world.redis_command::<String>(&["SET", "t:n:1001", "mine", "PX", "3600000"]).await;
    world.redis_command::<String>(&["SET", "t:n:1002", "old", "PX", "60000"]).await;
    world.redis_command::<String>(&["SET", "t:n:1003", "for ever"]).await;
    let before = calls(&world, "set").await;
    let third = world.run(&job).await;
    let c = third.counts;
    assert_eq!((c.missing, c.stale, c.written, c.fresh, c.foreign), (1000, 1, 1001, 999, 1));
    assert_eq!(third.bytes, (1..=1002u64).filter(|id| *id != 1001).map(|id| square(id).len() as u64).sum::<u64>());
    assert_eq!(calls(&world, "set").await - before, 1000 + 50 + 1 + 1, "one batch was sent in vain, one key renewed");
    assert_eq!(world.get("t:n:1").await, Some(square(1)));
    assert_eq!(world.get("t:n:1001").await.as_deref(), Some("mine"));
    assert_eq!(world.get("t:n:1002").await, Some(square(1002)));
    assert_eq!(world.get("t:n:1003").await.as_deref(), Some("for ever"));
    assert_eq!(world.pttl("t:n:1003").await, -1);
}

fn square(id: u64) -> String {
    format!("{{\"square\":{}}}", id * id)
}

#[tokio::test]
async fn a_batch_without_any_valid_key_says_nothing_about_the_next() {
    let world = World::new().await;
    // The first batch is all NULL, the others are not.
    let job = world.job(&NUMBERS.replace("SELECT i AS id", "SELECT CASE WHEN i > 50 THEN i END AS id"));
    let first = world.run(&job).await;
    assert_eq!((first.counts.invalid, first.counts.written), (50, 1950));
    let before = calls(&world, "set").await;
    let second = world.run(&job).await;
    assert_eq!((second.counts.invalid, second.counts.fresh), (50, 1950));
    // The sample of the keys is.
    assert_eq!(calls(&world, "set").await - before, 1, "a value that is there was sent again");
}

#[tokio::test]
async fn the_size_of_a_batch_changes_no_value() {
    let world = World::new().await;
    // List k has k rows of k KB: some are larger than what is written together, many smaller.
    let rows = "WITH RECURSIVE k(k) AS (SELECT 1 UNION ALL SELECT k + 1 FROM k WHERE k < 40), \
                i(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM i WHERE i < 40) \
                SELECT k, i, replace(hex(zeroblob(k * 500)), '0', 'x') AS body FROM k JOIN i ON i <= k ORDER BY k, i";
    let row = |k: usize, i: usize| format!("{{\"i\":{i},\"body\":\"{}\"}}", "x".repeat(1000 * k));
    for batch in [1, 7, 10_000] {
        let limits = format!("[limits]\nbatch = {batch}\n");
        let job = world.job(&format!(
            "key = \"{batch}:{{k}}\"\nttl = \"1h\"\n[query]\neach = \"list\"\nsql = \"{rows}\"\n{limits}"
        ));
        assert_eq!(world.run(&job).await.counts.written, 40);
        for k in 1..=40 {
            let list = (1..=k).map(|i| row(k, i)).collect::<Vec<_>>().join(",");
            assert!(world.get(&format!("t:{batch}:{k}")).await == Some(format!("[{list}]")), "list {k}, batch {batch}");
        }
        let job = world.job(&format!(
            "key = \"{batch}:{{k}}:{{i}}\"\nttl = \"1h\"\n[query]\nsql = \"{}\"\n{limits}",
            rows.replace("SELECT k, i,", "SELECT k, i, k AS of_list,")
        ));
        assert_eq!(world.run(&job).await.counts.written, 820);
        for (k, i) in [(1, 1), (17, 4), (30, 30), (40, 1), (40, 40)] {
            let value = row(k, i).replace(&format!("\"i\":{i}"), &format!("\"of_list\":{k}"));
            assert!(world.get(&format!("t:{batch}:{k}:{i}")).await == Some(value), "row {k}:{i}, batch {batch}");
        }
    }
}
