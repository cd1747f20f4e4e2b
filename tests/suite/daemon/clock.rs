//! Clocks that are set back.

use std::{collections::BTreeMap, fs, path::PathBuf, process::Command, time::Duration};

use chrono::{TimeDelta, Utc};
use serde_json::Value;

use super::{Daemon, EVERY_SECOND, USERS, marked, records, until, with};
use crate::{
    cli::{warmd, write_job},
    standstill::{Stopwatch, undisturbed},
    world::World,
};

/// A daemon with a clock of its own, which the test sets: `None` where the library for that is not installed.
pub struct Clock {
    file: PathBuf,
    pub daemon: Daemon,
}

impl Clock {
    pub fn start(world: &World, name: &str, shift: &str) -> Option<Self> {
        let mut command = warmd(world, &["run"]);
        command.env("WARMD__LOG__LEVEL", "info");
        let file = give_clock(&mut command, world, name, shift)?;
        Some(Self { file, daemon: Daemon::spawn(world, name, command).ready() })
    }

    pub fn is_set_to(&self, shift: &str) {
        let new = self.file.with_extension("new");
        fs::write(&new, shift).unwrap();
        // At once: half a file is another time.
        fs::rename(new, &self.file).unwrap();
    }
}

/// Gives a command a clock that is off by what the file says; `None` where the library for that is not installed.
pub fn give_clock(command: &mut Command, world: &World, name: &str, shift: &str) -> Option<PathBuf> {
    let library = ["x86_64-linux-gnu", "aarch64-linux-gnu"]
        .map(|machine| PathBuf::from(format!("/usr/lib/{machine}/faketime/libfaketimeMT.so.1")))
        .into_iter()
        .find(|path| path.exists())?;
    let file = world.folder().join(format!("{name}.clock"));
    fs::write(&file, shift).unwrap();
    command.env("LD_PRELOAD", library).env("FAKETIME_TIMESTAMP_FILE", &file).env("FAKETIME_NO_CACHE", "1");
    // Only the time of day: no step of it moves the clock that timers go by.
    command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    Some(file)
}

/// Runs in the place of ticks that have had theirs.
fn in_place(records: &[Value]) -> usize {
    with(records, "trigger", "schedule").iter().filter(|record| record["scheduled"].is_null()).count()
}

/// No tick of a job stands in two records.
fn each_ran_once(records: &[Value]) {
    let mut ticks: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for record in records.iter().filter(|record| record["scheduled"].is_string()) {
        *ticks.entry((record["job"].as_str().unwrap(), record["scheduled"].as_str().unwrap())).or_default() += 1;
    }
    assert!(ticks.values().all(|runs| *runs == 1), "{ticks:#?}");
    // On a machine with much to do, a run may take longer than a second.
    let is_good = |record: &Value| record["outcome"] == "ok" || record["cause"] == "overlap";
    assert!(records.iter().all(is_good), "{records:#?}");
}

#[tokio::test]
async fn a_clock_that_is_set_back_has_no_tick_run_twice_and_no_job_wait_for_it() {
    undisturbed(async || {
        let world = World::new().await;
        write_job(&world, "users.toml", &format!("{EVERY_SECOND}{USERS}"));
        let soon = Utc::now() + TimeDelta::seconds(10);
        let daily = format!("schedule = \"{}\"\n{}", soon.format("%S %M %H * * *"), USERS.replace("user:", "daily:"));
        write_job(&world, "daily.toml", &daily);
        let Some(clock) = Clock::start(&world, "a", "+0s") else {
            eprintln!("not tested: libfaketime is not installed");
            return;
        };
        until(&world, "its tick", |records| !with(records, "job", "daily").is_empty()).await;
        until(&world, "six ticks", |records| with(records, "job", "users").len() >= 6).await;
        clock.is_set_to("-10s");
        let back = Stopwatch::start();
        let repeated = until(&world, "three runs in their place", |records| in_place(records) >= 3).await;
        assert!(back.elapsed() < Duration::from_secs(10), "they took {:?}", back.elapsed());
        let ticks = |records: &[Value]| records.iter().filter(|record| record["scheduled"].is_string()).count();
        let before = ticks(&repeated);
        // The clock is where it was, and all goes on.
        let records = until(&world, "later ticks", |records| ticks(records) >= before + 3).await;
        assert_eq!(clock.daemon.stop(), Some(0));
        each_ran_once(&records);
        assert!(in_place(&records) <= 11, "{records:#?}");
        // The clock has shown its time once more, a moment after its run.
        assert_eq!(with(&records, "job", "daily").len(), 1, "{records:#?}");
    })
    .await;
}

#[tokio::test]
async fn a_daemon_that_begins_where_the_clock_has_been_runs_no_tick_that_another_has_run() {
    let world = World::new().await;
    write_job(&world, "users.toml", &format!("{EVERY_SECOND}{USERS}"));
    write_job(&world, "none.toml", &format!("catch_up = \"none\"\n{EVERY_SECOND}{}", USERS.replace("user:", "none:")));
    // An hour of ticks has had its run, in part by a clock that was an hour ahead.
    let now = Utc::now().timestamp();
    let mark = format!("{}-{}", now - 60, now + 3600);
    for job in ["users", "none"] {
        world.redis_command::<String>(&["SET", &format!("t:warmd:{{{job}}}:tick"), &mark]).await;
    }
    let begun = std::time::Instant::now();
    let daemons = [Daemon::start(&world, "one", &[]).ready(), Daemon::start(&world, "two", &[]).ready()];
    let records = until(&world, "runs in their place", |records| in_place(records) >= 5).await;
    // Not more often than an interval allows, however many daemons there are.
    let most = begun.elapsed().as_secs_f64() / 0.9 + 1.0;
    assert!((in_place(&records) as f64) <= most, "{} in {:?}", in_place(&records), begun.elapsed());
    for daemon in daemons {
        assert_eq!(daemon.stop(), Some(0));
    }
    let records = self::records(&world);
    assert_eq!(in_place(&records), records.len(), "{records:#?}");
    assert!(with(&records, "job", "none").is_empty(), "{records:#?}");
    assert_eq!(marked(&world, "users").await.to_string(), mark);
}

#[tokio::test]
async fn ticks_that_a_wrong_clock_jumped_over_have_their_run_when_it_is_set_right() {
    undisturbed(async || {
        let world = World::new().await;
        write_job(&world, "users.toml", &format!("{EVERY_SECOND}{USERS}"));
        let now = Utc::now().timestamp();
        // A clock that was a year ahead for a minute.
        let ahead = now + 365 * 86_400;
        let mark = format!("{},{ahead}-{}", now - 1, ahead + 60);
        world.redis_command::<String>(&["SET", "t:warmd:{users}:tick", &mark]).await;
        let daemon = Daemon::start(&world, "a", &[]).ready();
        let records = until(&world, "three ticks", |records| records.len() >= 3).await;
        assert_eq!(daemon.stop(), Some(0));
        each_ran_once(&records);
        assert_eq!(in_place(&records), 0, "{records:#?}");
        let marked = marked(&world, "users").await.to_string();
        assert!(marked.ends_with(&format!(",{ahead}-{}", ahead + 60)), "{marked}");
    })
    .await;
}
