//! warmd itself is killed, told to end, stopped, given a wrong clock, a broken history, few descriptors, little memory.

use std::{fs, iter, path::PathBuf, process::Command, thread, time::Duration};

use chrono::{TimeDelta, Utc};
use serde_json::Value;
use tokio::time::sleep;

use super::{
    KEYS, LEASE, LONG_LEASE, SOON, Stage, TWO_SECONDS, adds_up, application_keys, application_writes, count, fill,
    forget, is_complete, moments, open, people, runs, sqlite_and, were_struck_within,
};
use crate::{
    cli::{run, warmd, write_job},
    daemon::{BRIEF_LEASE, Chance, Clock, Daemon, eventually, lock_history, moment, records, until},
    servers,
    standstill::{Stopwatch, undisturbed},
    world::World,
};

const MANY: usize = 5000;

/// Five thousand keys in about half a second.
fn many(limits: &str) -> String {
    let numbers = format!(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {MANY}) SELECT i AS id, 'v' || i AS v FROM n"
    );
    format!(
        "schedule = \"0 0 1 1 *\"\nrefresh = \"missing\"\nkey = \"p:{{id}}\"\nttl = \"1h\"\n[query]\nsql = \"{numbers}\"\n\
         [limits]\nbatch = 100\n{limits}"
    )
}

/// A world with that job, and the application's keys in it.
async fn with_many(limits: &str) -> World {
    let world = World::new().await;
    write_job(&world, "people.toml", &many(limits));
    application_writes(&world).await;
    world
}

async fn written(world: &World) -> usize {
    let keys: Vec<String> = world.redis_command(&["KEYS", "t:p:*"]).await;
    keys.len() - super::FOREIGN.len()
}

/// A daemon that has something to catch up with as soon as it starts.
async fn catches_up(world: &World, variables: &[(&str, &str)]) -> Daemon {
    world.redis_command::<String>(&["SET", "t:warmd:{people}:tick", "1"]).await;
    Daemon::start(world, "warmer", &[&[("WARMD__LOG__LEVEL", "info")], variables].concat())
}

fn log(world: &World) -> String {
    let log = fs::read_to_string(world.folder().join("warmer.log")).unwrap();
    assert!(!log.contains("panicked") && !log.contains("a defect of warmd"), "{log}");
    log
}

/// Whether another moment is to be tried: as many as a quarter of them must be in the middle of a run, and when that
/// begins and how long it lasts is up to the machine.
fn goes_on(tried: usize, in_the_middle: usize, moments: usize) -> bool {
    tried < moments || (in_the_middle * 4 < moments && tried < 8 * moments)
}

#[tokio::test]
async fn killed_at_any_moment_of_a_run_it_loses_nothing_and_the_next_run_writes_the_rest() {
    let world = with_many("keys_per_second = 10000\n").await;
    let others = application_keys(&world).await;
    let mut chance = Chance::of_this_test();
    let (mut tried, mut in_the_middle, moments) = (0, 0, moments(15, 1000));
    while goes_on(tried, in_the_middle, moments) {
        tried += 1;
        forget(&world).await;
        let mut daemon = catches_up(&world, &[BRIEF_LEASE]).await;
        chance.pause(900);
        daemon.signal("KILL");
        assert_eq!(daemon.ended(), None);
        let lease = world.pttl("t:warmd:{people}:lease").await;
        assert!(lease != -1 && lease <= 1000, "the lease lasts for {lease} ms");
        let there = written(&world).await;
        in_the_middle += usize::from(there > 0 && there < MANY - 2);
        let (code, out, err) = run(&world, &["warm", "--json"]);
        let json: Value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{code:?}: {err}"));
        let record = &json["runs"][0];
        adds_up(record);
        assert_eq!((code, &record["outcome"]), (Some(0), &"ok".into()), "{err}");
        assert_eq!(count(record, "fresh"), there as u64 + 2, "{record:#?}");
        assert_eq!(count(record, "written"), (MANY - 2 - there) as u64, "{record:#?}");
        assert_eq!(written(&world).await, MANY - 2);
        log(&world);
    }
    assert!(in_the_middle * 4 >= moments, "{in_the_middle} of {tried} in the middle");
    assert_eq!(others, application_keys(&world).await);
}

#[tokio::test]
async fn told_to_end_at_any_moment_of_a_run_it_leaves_a_true_record_and_no_lease() {
    let world = with_many("keys_per_second = 10000\n").await;
    let others = application_keys(&world).await;
    let mut chance = Chance::of_this_test();
    let (mut tried, mut interrupted, moments) = (0, 0, moments(15, 200));
    while goes_on(tried, interrupted, moments) {
        tried += 1;
        forget(&world).await;
        let before = records(&world).len();
        // Before that, nothing listens to signals.
        let mut daemon = catches_up(&world, &[]).await.ready();
        chance.pause(700);
        daemon.signal("TERM");
        let told = Stopwatch::start();
        assert_eq!(daemon.ended(), Some(0), "{}", log(&world));
        assert!(told.elapsed() < Duration::from_secs(5), "{:?}", told.elapsed());
        assert_eq!(world.redis_command::<i64>(&["EXISTS", "t:warmd:{people}:lease"]).await, 0);
        let records = records(&world);
        assert!(records.len() - before <= 1, "{records:#?}");
        if let Some(record) = records.get(before) {
            adds_up(record);
            assert_eq!(count(record, "written"), written(&world).await as u64, "{record:#?}");
            let is_interrupted = record["outcome"] == "interrupted" && record["cause"] == "shutdown";
            assert!(is_interrupted || record["outcome"] == "ok", "{record:#?}");
            interrupted += usize::from(is_interrupted);
        } else {
            assert_eq!(written(&world).await, 0);
        }
        log(&world);
    }
    assert!(interrupted * 4 >= moments, "{interrupted} of {tried} in the middle");
    assert_eq!(others, application_keys(&world).await);
}

async fn on_sqlite() -> World {
    sqlite_and(servers::redis().await).await
}

#[tokio::test]
async fn stopped_for_less_than_its_lease_it_goes_on_as_if_nothing_were() {
    let stage = Stage::set(on_sqlite().await, &people("name", TWO_SECONDS), &[LONG_LEASE]).await;
    stage.daemon.signal("STOP");
    sleep(Duration::from_secs(2)).await;
    stage.daemon.signal("CONT");
    let struck = stage.recovered().await;
    assert!(struck.iter().all(|run| run["outcome"] == "ok"), "{struck:#?}");
}

#[tokio::test]
async fn stopped_for_longer_than_its_lease_it_notices_and_begins_again() {
    undisturbed(async || {
        let stage = Stage::set(on_sqlite().await, &people("name", TWO_SECONDS), &[]).await;
        stage.daemon.signal("STOP");
        let pause = Duration::from_secs(moments(8, 30) as u64);
        sleep(pause).await;
        stage.daemon.signal("CONT");
        // The standstill is part of the run.
        were_struck_within(&stage.recovered().await, pause + SOON, &["lease_lost"], "");
    })
    .await;
}

#[tokio::test]
async fn stopped_for_longer_than_its_lease_beside_another_it_leaves_the_run_to_that_one() {
    undisturbed(async || {
        let world = with_many("keys_per_second = 1000\n").await;
        world.redis_command::<String>(&["SET", "t:warmd:{people}:tick", "1"]).await;
        let first = Daemon::start(&world, "first", &[LEASE]).ready();
        eventually("the run", async || written(&world).await > 300).await;
        first.signal("STOP");
        let second = Daemon::start(&world, "second", &[LEASE]).ready();
        let done =
            until(&world, "the run of the second", |records| runs(records).any(|run| run["outcome"] == "ok")).await;
        assert_eq!(done[0]["instance"], "second");
        assert_eq!(written(&world).await, MANY - 2);
        first.signal("CONT");
        let records = until(&world, "the record of the first", |records| runs(records).count() == 2).await;
        let lost = records.iter().find(|record| record["instance"] == "first").unwrap();
        assert_eq!((&lost["outcome"], &lost["cause"]), (&"interrupted".into(), &"lease_lost".into()), "{lost:#?}");
        adds_up(lost);
        assert_eq!((first.stop(), second.stop()), (Some(0), Some(0)));
        assert_eq!(self::records(&world).len(), 2, "the tick was run again");
    })
    .await;
}

/// Removes all keys and waits until they are warm again, which must not take long, after doing something in the middle.
async fn is_warmed(world: &World, what: &str, in_the_middle: impl FnOnce()) {
    forget(world).await;
    let begun = Stopwatch::start();
    eventually(what, async || written(world).await >= 20).await;
    in_the_middle();
    eventually(what, async || written(world).await == KEYS - 2).await;
    assert!(begun.elapsed() < Duration::from_secs(15), "{what}: {:?}", begun.elapsed());
    let life = world.pttl("t:p:1").await;
    assert!((3_500_000..=3_600_000).contains(&life), "{what}: {life} ms");
}

async fn has_record_of(world: &World, instance: &str, hours: i64) {
    let is_shifted =
        |run: &Value| (moment(&run["started"]) - Utc::now() - TimeDelta::hours(hours)).abs() < TimeDelta::minutes(2);
    let is_it = |run: &Value| run["instance"] == instance && is_complete(run) && is_shifted(run);
    let records = until(world, "its record", |records| runs(records).any(is_it)).await;
    records.iter().for_each(adds_up);
}

#[tokio::test]
async fn a_clock_that_is_wrong_by_an_hour_and_set_right_keeps_no_key_cold() {
    let world = on_sqlite().await;
    write_job(&world, "people.toml", &people("name", TWO_SECONDS));
    application_writes(&world).await;
    let others = application_keys(&world).await;
    let Some(fast) = Clock::start(&world, "fast", "+1h") else {
        eprintln!("not tested: libfaketime is not installed");
        return;
    };
    is_warmed(&world, "an hour ahead", || {}).await;
    has_record_of(&world, "fast", 1).await;
    is_warmed(&world, "in the middle of a run set right", || fast.is_set_to("+0h")).await;
    is_warmed(&world, "set right", || {}).await;
    has_record_of(&world, "fast", 0).await;
    is_warmed(&world, "in the middle of a run wrong again", || fast.is_set_to("+1h")).await;
    is_warmed(&world, "wrong again", || {}).await;
    assert_eq!(fast.daemon.stop(), Some(0));
    // What those before have marked as done lies an hour ahead.
    let right = Daemon::start(&world, "right", &[]).ready();
    is_warmed(&world, "another with a right clock", || {}).await;
    assert_eq!(right.stop(), Some(0));
    let slow = Clock::start(&world, "slow", "-1h").unwrap();
    is_warmed(&world, "another that is an hour behind", || {}).await;
    has_record_of(&world, "slow", -1).await;
    assert_eq!(slow.daemon.stop(), Some(0));
    assert_eq!(others, application_keys(&world).await);
}

/// A stage whose history breaks in the middle; `breaks` gives back what mends it.
async fn history<M: FnOnce()>(breaks: impl FnOnce(&World) -> M, is_told: bool) {
    let stage = Stage::set(on_sqlite().await, &people("name", TWO_SECONDS), &[]).await;
    let mend = breaks(&stage.world);
    eventually("all keys", async || stage.written().await == KEYS - 2).await;
    if is_told {
        eventually("a word of it", async || log(&stage.world).contains("runs are not recorded, for now: ")).await;
    }
    mend();
    let again = "runs are recorded again, also those that waited for it";
    eventually("a word of it", async || log(&stage.world).contains(again)).await;
    let struck = stage.recovered().await;
    assert!(struck.iter().any(|run| count(run, "written") > 0), "the run's record was written later: {struck:#?}");
    assert!(struck.iter().all(|run| run["outcome"] == "ok"), "{struck:#?}");
}

fn history_file(world: &World) -> PathBuf {
    world.folder().join("state/history.db")
}

#[tokio::test]
async fn a_history_that_is_locked_holds_no_run_up_and_gets_its_records_later() {
    history(lock_history, true).await;
}

#[tokio::test]
async fn a_history_whose_folder_is_gone_costs_no_run() {
    undisturbed(async || {
        let stage = Stage::set(on_sqlite().await, &people("name", TWO_SECONDS), &[]).await;
        let folder = stage.world.folder().join("state");
        // What the daemon writes meanwhile may be in the way of it.
        eventually("the end of the folder", async || fs::remove_dir_all(&folder).is_ok() || !folder.exists()).await;
        // Else the record of the run went with it.
        stage.was_in_time();
        let struck = stage.recovered().await;
        assert!(struck.iter().any(|run| count(run, "written") > 0), "{struck:#?}");
    })
    .await;
}

#[tokio::test]
async fn a_history_that_is_damaged_costs_no_run_and_is_taken_up_again_once_it_is_away() {
    let world = on_sqlite().await;
    write_job(&world, "people.toml", &people("name", TWO_SECONDS));
    application_writes(&world).await;
    let file = history_file(&world);
    fs::create_dir(file.parent().unwrap()).unwrap();
    fs::write(&file, [0xa5; 20_000]).unwrap();
    let daemon = Daemon::start(&world, "warmer", &[("WARMD__LOG__LEVEL", "info")]).ready();
    eventually("all keys", async || written(&world).await == KEYS - 2).await;
    eventually("a word of it", async || log(&world).contains("runs are not recorded, for now: ")).await;
    fs::remove_file(&file).unwrap();
    let again = "runs are recorded again, also those that waited for it";
    eventually("a word of it", async || log(&world).contains(again)).await;
    assert_eq!(daemon.stop(), Some(0));
    let records = records(&world);
    records.iter().for_each(adds_up);
    assert!(records.iter().any(|run| is_complete(run) && count(run, "written") > 0), "{records:#?}");
}

/// A daemon behind a limit of the shell.
fn limited(world: &World, limit: &str) -> Daemon {
    let inner = warmd(world, &["run"]);
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{limit} && exec \"$0\" run")]).arg(inner.get_program());
    command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.env("WARMD__LOG__LEVEL", "info");
    Daemon::spawn(world, "warmer", command).ready()
}

#[tokio::test]
async fn a_history_that_has_no_room_costs_no_run() {
    let world = on_sqlite().await;
    write_job(&world, "people.toml", &people("name", "batch = 100\n"));
    application_writes(&world).await;
    // Files of 50 KiB at most, which is enough for a table and not for the records of many runs.
    let daemon = limited(&world, "trap '' XFSZ && ulimit -f 100");
    eventually("a word of it", async || {
        forget(&world).await;
        log(&world).contains("runs are not recorded, for now: ")
    })
    .await;
    forget(&world).await;
    eventually("all keys", async || written(&world).await == KEYS - 2).await;
    assert_eq!(daemon.stop(), Some(0));
    for record in records(&world) {
        adds_up(&record);
    }
}

#[tokio::test]
async fn a_history_that_may_not_be_written_costs_no_run() {
    let world = on_sqlite().await;
    write_job(&world, "people.toml", &people("name", TWO_SECONDS));
    application_writes(&world).await;
    assert_eq!(run(&world, &["warm"]).0, Some(0));
    forget(&world).await;
    let url = format!("sqlite:{}?mode=ro", history_file(&world).display());
    let variables = [("WARMD__HISTORY__URL", url.as_str()), ("WARMD__LOG__LEVEL", "info")];
    let daemon = Daemon::start(&world, "warmer", &variables).ready();
    eventually("all keys", async || written(&world).await == KEYS - 2).await;
    eventually("a word of it", async || log(&world).contains("runs are not recorded, for now: ")).await;
    assert_eq!(daemon.stop(), Some(0));
    assert!(log(&world).contains("lost for the history: the records of "), "{}", log(&world));
    assert_eq!(records(&world).len(), 1, "the one that was there stays");
}

#[tokio::test]
async fn sixty_four_descriptors_are_enough() {
    let world = World::with(servers::postgres().await, servers::redis().await).await;
    fill(&world.database.url).await;
    for name in ["people", "more", "most"] {
        let job = people("name, pg_sleep(0.02)::text AS slept", "batch = 20\nconcurrency = 6\n");
        write_job(&world, &format!("{name}.toml"), &job.replace("p:{id}", &format!("{name}:{{id}}")));
    }
    let daemon = limited(&world, "ulimit -n 64");
    let all_ok = |records: &[Value]| {
        let names = ["people", "more", "most"];
        names.iter().all(|name| runs(records).any(|run| run["job"] == *name && count(run, "written") == KEYS as u64))
    };
    let id = daemon.id();
    // Without a pause, as long as it lives: there are many for some moments only.
    let most = thread::spawn(move || iter::from_fn(|| open(id)).max());
    let records = until(&world, "a run of each", all_ok).await;
    assert!(runs(&records).all(|run| run["outcome"] == "ok"), "{records:#?}");
    assert_eq!(daemon.stop(), Some(0));
    let most = most.join().unwrap().unwrap();
    assert!((20..64).contains(&most), "{most}");
    log(&world);
}

#[tokio::test]
async fn a_hundred_megabytes_are_enough_for_a_hundred_thousand_keys() {
    let world = World::new().await;
    let job = many("").replace("< 5000", "< 100000").replace("'v' || i AS v", "hex(zeroblob(400)) AS v");
    write_job(&world, "people.toml", &job.replace("batch = 100\n", "batch = 500\n"));
    world.redis_command::<String>(&["SET", "t:warmd:{people}:tick", "1"]).await;
    // Of data: what is only set aside by address costs nothing.
    let daemon = limited(&world, "ulimit -d 102400");
    let records = until(&world, "the run", |records| !records.is_empty()).await;
    assert_eq!((&records[0]["outcome"], count(&records[0], "written")), (&"ok".into(), 100_000), "{records:#?}");
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.id())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(peak < 100 << 10, "{peak} KiB");
    assert_eq!(daemon.stop(), Some(0));
    log(&world);
}
