//! What is scraped: its form, its size, and the time that it takes.

use std::{
    collections::BTreeSet,
    io::Write,
    process::{Command, Stdio},
    time::Duration,
};

use super::{USERS, health::OFTEN, start, world};
use crate::{
    cli::write_job,
    daemon::{eventually, records, until},
    standstill::Stopwatch,
};

/// As docs/monitoring.md says.
const SERIES_OF_A_JOB: usize = 39;
const SERIES_OF_NONE: usize = 17;

fn series(scrape: &str) -> Vec<&str> {
    scrape.lines().filter(|line| !line.starts_with('#')).collect()
}

#[tokio::test]
async fn a_scrape_is_what_prometheus_reads_in_either_format() {
    let world = world(&[("users", USERS), ("more", &USERS.replace("user:", "more:"))]).await;
    let asked = start(&world, "a", &[]);
    assert_eq!(asked.place.run("users").status, 202);
    until(&world, "the record", |records| records.len() == 1).await;
    let plain = asked.place.get("/metrics");
    assert_eq!(plain.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    assert!(plain.body.contains("# TYPE warmd_runs_total counter\n"), "{}", plain.body);
    let accept = "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.5";
    let open = asked.place.ask("GET", "/metrics", &[("Accept", accept)]);
    assert_eq!(open.header("content-type"), Some("application/openmetrics-text; version=1.0.0; charset=utf-8"));
    assert!(open.body.contains("# TYPE warmd_runs counter\n") && open.body.ends_with("# EOF\n"), "{}", open.body);
    let names = |scrape: &str| -> BTreeSet<String> {
        let name = |line: &&str| line.rsplit_once(' ').unwrap().0.to_owned();
        series(scrape).iter().map(name).collect()
    };
    assert_eq!(names(&plain.body), names(&open.body));
    for secret in ["Ada", "user:1", &world.redis.url, &world.database.url] {
        assert!(!plain.body.contains(secret), "{secret}");
    }
    let memory = asked.place.metric("process_resident_memory_bytes").unwrap();
    assert!((1e6..1e9).contains(&memory), "{memory}");
    assert!(asked.place.metric("process_open_fds").unwrap() > 3.0);
    assert_eq!(
        asked.place.metric(&format!("warmd_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"))),
        Some(1.0)
    );
    assert_eq!(asked.daemon.stop(), Some(0));

    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool (Debian: prometheus)");
    promtool.stdin.take().unwrap().write_all(plain.body.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success() && said.trim().is_empty(), "{said}");
}

#[tokio::test]
async fn two_hundred_jobs_have_the_series_that_the_manual_says_and_are_scraped_in_a_moment() {
    let world = world(&[]).await;
    let schedule = "schedule = \"0 0 1 1 *\"\ncatch_up = \"none\"\n";
    for nth in 0..200 {
        // Half of them run all the time.
        let schedule = if nth % 2 == 0 { "schedule = \"@every 1s\"\nrefresh = \"always\"\n" } else { schedule };
        let sql = format!("SELECT id, name FROM users WHERE id <= {}", nth % 5 + 1);
        let text = format!("{schedule}key = \"j{nth}:{{id}}\"\nttl = \"10m\"\n[query]\nsql = \"{sql}\"\n");
        write_job(&world, &format!("job_{nth}.toml"), &text);
    }
    world.redis_command::<()>(&["CONFIG", "SET", "maxmemory", "1gb"]).await;
    let asked = start(&world, "a", &[OFTEN, ("WARMD__LOG__LEVEL", "info")]);
    let ran = |nth: usize| asked.place.metric(&format!("warmd_runs_total{{job_name=\"job_{nth}\",outcome=\"ok\"}}"));
    eventually("runs of all", async || (0..200).step_by(2).all(|nth| ran(nth) >= Some(1.0))).await;
    let seen = |nth: usize| asked.place.metric(&format!("warmd_coverage_ratio{{job_name=\"job_{nth}\"}}"));
    eventually("looks at all", async || (0..200).step_by(2).all(|nth| seen(nth) == Some(1.0))).await;
    let mut took = Vec::new();
    for _ in 0..20 {
        let begun = Stopwatch::start();
        let scrape = asked.place.get("/metrics").body;
        took.push(begun.elapsed());
        // Those that never ran have no last run, and no keys.
        let expected = 200 * SERIES_OF_A_JOB + SERIES_OF_NONE - 100 * (4 + 3);
        assert_eq!(series(&scrape).len(), expected);
    }
    took.sort();
    println!("a scrape of 200 jobs, half of them running every second: median {:?}, worst {:?}", took[10], took[19]);
    // Alone it takes a millisecond or two, to which a busy machine only adds.
    assert!(took[0] < Duration::from_millis(50), "{took:?}");
    // What a reload takes away is forgotten.
    for nth in 1..200 {
        std::fs::remove_file(world.folder().join(format!("job_{nth}.toml"))).unwrap();
    }
    asked.daemon.signal("HUP");
    eventually("the reload", async || asked.place.metric("warmd_jobs") == Some(1.0)).await;
    let scrape = asked.place.get("/metrics").body;
    assert_eq!(series(&scrape).len(), SERIES_OF_A_JOB + SERIES_OF_NONE, "{scrape}");
    assert_eq!(asked.daemon.stop(), Some(0));
}

#[tokio::test]
async fn ticks_that_are_missed_and_what_is_waited_for_are_counted() {
    let stuck = crate::daemon::STUCK;
    let world = world(&[("stuck", stuck), ("users", &USERS.replace("0 0 1 1 *", "@every 1s"))]).await;
    let mut asked = start(&world, "a", &[("WARMD__SCHEDULER__SHUTDOWN_GRACE", "100ms")]);
    let missed = || asked.place.metric("warmd_ticks_missed_total{job_name=\"stuck\"}").unwrap();
    eventually("missed ticks", async || missed() >= 2.0).await;
    assert_eq!(asked.place.metric("warmd_running{job_name=\"stuck\"}"), Some(1.0));
    assert_eq!(asked.place.metric("warmd_waiting{job_name=\"stuck\"}"), Some(0.0));
    assert!(asked.place.metric("warmd_last_run_success{job_name=\"stuck\"}").is_none(), "none has ended");
    let next = asked.place.metric("warmd_until_next_tick_seconds{job_name=\"users\"}").unwrap();
    assert!((0.0..=1.0).contains(&next), "{next}");
    let skipped = records(&world).iter().filter(|record| record["outcome"] == "skipped").count();
    assert!(missed() >= skipped as f64);
    world.redis.server.kill();
    eventually("the wait", async || asked.place.metric("warmd_waiting{job_name=\"users\"}") == Some(1.0)).await;
    asked.daemon.signal("TERM");
    assert_eq!(asked.daemon.ended(), Some(1));
}
