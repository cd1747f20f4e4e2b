//! Whether the keys are read, wherever it is told.

use super::{start, world};
use crate::{
    cli::{run, write_job},
    daemon::{eventually, until},
};

/// A thousand keys, all of which each run renews.
const PEOPLE: &str = "key = \"people:{id}\"\nttl = \"10m\"\nrefresh = \"always\"\n[query]\nsql = \"\"\"\
    WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n WHERE id < 1000) SELECT id, 'x' AS value FROM n\"\"\"\n\
    [limits]\nbatch = 100\n";

#[tokio::test]
async fn half_of_the_keys_being_read_is_half_in_the_history_in_the_metrics_and_in_the_advice() {
    let world = world(&[("people", PEOPLE)]).await;
    write_job(&world, "nobody.toml", &PEOPLE.replace("people:", "nobody:"));
    let asked = start(&world, "a", &[]);
    let both = async |runs: usize| {
        for job in ["people", "nobody"] {
            assert_eq!(asked.place.run(job).status, 202);
        }
        until(&world, "the records", |records| records.len() == runs).await
    };
    both(2).await;
    // What nobody reads, also what was written last, is idle for longer than Redis's clock is coarse by then.
    let idle = async || world.redis_command::<u64>(&["OBJECT", "IDLETIME", "t:people:1000"]).await;
    eventually("some age", async || idle().await >= 4).await;
    let mut reads = redis::pipe();
    (1..=1000).step_by(2).for_each(|id| _ = reads.get(format!("t:people:{id}")).ignore());
    reads.query_async::<()>(&mut world.client().await).await.unwrap();
    let records = both(4).await;

    // Half of them are looked at, by chance: the standard deviation is 1.6 points.
    let is_half = |share: f64| (0.40..=0.60).contains(&share);
    let record = records.iter().rev().find(|record| record["job"] == "people").unwrap();
    let share = record["reads"]["read"].as_f64().unwrap() / record["reads"]["sampled"].as_f64().unwrap();
    assert!(is_half(share), "{record:#}");
    let total = |name: &str, job: &str| {
        let series = format!("warmd_keys_{name}_total{{job_name=\"{job}\"}}");
        asked.place.metric(&series).unwrap()
    };
    assert!(is_half(total("read", "people") / total("sampled", "people")));
    assert_eq!(total("read", "nobody"), 0.0);
    let (_, table, _) = run(&world, &["history", "people", "--limit", "1"]);
    let words: Vec<&str> = table.split_whitespace().collect();
    let sign = words.iter().position(|word| *word == "%").unwrap_or_else(|| panic!("{table}"));
    assert!(is_half(words[sign - 1].parse::<f64>().unwrap() / 100.0), "{table}");
    let (code, advice, err) = run(&world, &["advise", "nobody"]);
    assert_eq!(code, Some(0), "{err}");
    assert!(advice.contains("nobody") && advice.contains("read"), "{advice}");
    assert_eq!(asked.daemon.stop(), Some(0));
}
