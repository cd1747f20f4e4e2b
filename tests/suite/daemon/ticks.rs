//! What is due runs: on time, once, later when something is away, made up for after a downtime.

use std::{fs, time::Duration};

use chrono::{TimeDelta, Utc};
use serde_json::Value;

use super::{Daemon, EVERY_SECOND, USERS, eventually, lock_history, marked, moment, records, slow, tick, until, with};
use crate::{cli::write_job, standstill::undisturbed, world::World};

#[tokio::test]
async fn every_tick_runs_once_and_within_a_second_and_sigterm_ends_well() {
    undisturbed(async || {
        let world = World::new().await;
        write_job(&world, "users.toml", &format!("schedule = \"@every 3s\"\nrefresh = \"always\"\n{USERS}"));
        let mut daemon = Daemon::start(&world, "a", &[]).ready();
        let status = daemon.until("last: users: ok, 5 keys written");
        assert!(status.contains("next: users at 2") && status.contains("1 job"), "{status}");
        let records = until(&world, "three ticks", |records| records.len() >= 3).await;
        assert_eq!(daemon.stop(), Some(0));
        for record in &records {
            assert_eq!((&record["trigger"], &record["outcome"]), (&"schedule".into(), &"ok".into()));
        }
        let lateness = |record: &Value| (moment(&record["started"]) - tick(record)).num_milliseconds();
        let late: Vec<i64> = records.iter().map(lateness).collect();
        // A machine with much to do adds to one or the other.
        assert!(late.iter().all(|late| *late >= 0) && late.iter().any(|late| *late < 1000), "{late:?}");
        let ticks: Vec<i64> = records.iter().map(|record| tick(record).timestamp()).collect();
        assert!(ticks.windows(2).all(|pair| pair[1] == pair[0] + 3), "{ticks:?}");
        assert_eq!(world.keys().await.len(), 5);
        assert_eq!(world.redis_command::<i64>(&["EXISTS", "t:warmd:{users}:lease"]).await, 0);
    })
    .await;
}

#[tokio::test]
async fn a_daemon_starts_without_its_redis_and_runs_when_it_is_there() {
    let world = World::new().await;
    write_job(&world, "users.toml", &format!("schedule = \"@every 1s\"\n{USERS}"));
    let socket = world.folder().join("redis.sock");
    let url = format!("redis+unix://{}", socket.display());
    let mut daemon = Daemon::start(&world, "a", &[("WARMD__REDIS__URL", url.as_str())]).ready();
    daemon.until("waiting: users: Redis at");
    // What the next tick takes the place of is a record, so that somebody sees it.
    let missed = until(&world, "a missed tick", |records| !records.is_empty()).await;
    assert_eq!((&missed[0]["outcome"], &missed[0]["cause"]), (&"skipped".into(), &"redis_unreachable".into()));
    std::os::unix::fs::symlink(&world.redis.socket, &socket).unwrap();
    until(&world, "a run", |records| !with(records, "outcome", "ok").is_empty()).await;
    assert_eq!(world.keys().await.len(), 5);
    assert_eq!(daemon.stop(), Some(0));
}

#[tokio::test]
async fn a_tick_waits_for_its_database_and_runs_when_it_is_there() {
    let world = World::new().await;
    write_job(&world, "users.toml", &format!("schedule = \"0 0 1 1 *\"\n{USERS}"));
    world.redis_command::<String>(&["SET", "t:warmd:{users}:tick", "1"]).await;
    let file = world.folder().join("later.sqlite");
    let url = format!("sqlite://{}", file.display());
    let mut daemon = Daemon::start(&world, "a", &[("WARMD__DATABASE__URL", url.as_str())]).ready();
    // The last new year was missed: that is the tick.
    daemon.until("waiting: users: ");
    assert!(records(&world).is_empty(), "the run tries again for a while, and the status says for what");
    until(&world, "the failed run", |records| !records.is_empty()).await;
    let copy = file.with_extension("copy");
    fs::copy(world.database.url.strip_prefix("sqlite://").unwrap(), &copy).unwrap();
    // At once: half a file has no tables.
    fs::rename(copy, &file).unwrap();
    let records = until(&world, "a run", |records| !with(records, "outcome", "ok").is_empty()).await;
    let ticks: Vec<&Value> = records.iter().map(|record| &record["scheduled"]).collect();
    assert!(ticks.iter().all(|tick| *tick == ticks[0]), "{ticks:?}");
    assert_eq!(daemon.stop(), Some(0));
}

#[tokio::test]
async fn a_tick_missed_while_no_daemon_ran_is_made_up_for_once() {
    let world = World::new().await;
    write_job(&world, "once.toml", &format!("schedule = \"0 0 1 1 *\"\n{USERS}"));
    write_job(
        &world,
        "none.toml",
        &format!("schedule = \"0 0 1 1 *\"\ncatch_up = \"none\"\n{}", USERS.replace("user:", "none:")),
    );
    write_job(&world, "new.toml", &format!("schedule = \"0 0 1 1 *\"\n{}", USERS.replace("user:", "new:")));
    for job in ["once", "none"] {
        world.redis_command::<String>(&["SET", &format!("t:warmd:{{{job}}}:tick"), "1577836800"]).await;
    }
    for _ in 0..2 {
        let mut daemon = Daemon::start(&world, "a", &[]).ready();
        // The second time there is nothing to be seen but the daemon itself.
        until(&world, "a run", |records| !records.is_empty()).await;
        daemon.signal("HUP");
        daemon.until("READY=1");
        assert_eq!(daemon.stop(), Some(0));
        fs::remove_file(world.folder().join("a.notify")).unwrap();
    }
    let records = records(&world);
    assert_eq!((records.len(), &records[0]["job"]), (1, &"once".into()), "{records:#?}");
    let scheduled = records[0]["scheduled"].as_str().unwrap();
    assert!(scheduled.ends_with("-01-01T00:00:00Z"), "{scheduled}");
}

#[tokio::test]
async fn a_tick_that_finds_its_run_going_is_recorded_as_missed() {
    let world = World::new().await;
    write_job(&world, "slow.toml", &slow(EVERY_SECOND));
    let daemon = Daemon::start(&world, "a", &[]).ready();
    let records = until(&world, "a missed tick", |records| !records.is_empty()).await;
    assert_eq!((&records[0]["outcome"], &records[0]["cause"]), (&"skipped".into(), &"overlap".into()));
    let why = records[0]["first_error"].as_str().unwrap();
    assert!(why.starts_with("the run before has been going since 20"), "{why}");
    // In mid-run: the record says so, nothing is left held, and the tick is not marked as run.
    eventually("a key", async || !world.keys().await.is_empty()).await;
    assert_eq!(daemon.stop(), Some(0));
    let interrupted = until(&world, "the run", |records| !with(records, "outcome", "interrupted").is_empty()).await;
    let interrupted = with(&interrupted, "outcome", "interrupted")[0].clone();
    assert_eq!(interrupted["cause"], "shutdown");
    assert!(interrupted["written"].as_u64().unwrap() > 0, "{interrupted}");
    assert_eq!(world.redis_command::<i64>(&["EXISTS", "t:warmd:{slow}:lease"]).await, 0);
    let marked = marked(&world, "slow").await.newest().unwrap();
    let tick = tick(&interrupted);
    assert!(marked < tick, "{marked} is marked, and the run of {tick} was interrupted");
}

#[tokio::test]
async fn a_run_that_takes_longer_than_its_timeout_ends_and_the_next_tick_runs() {
    undisturbed(async || {
        let world = World::new().await;
        write_job(&world, "slow.toml", &format!("{}timeout = \"3s\"\n", slow("schedule = \"@every 5s\"")));
        let daemon = Daemon::start(&world, "a", &[]).ready();
        let ended = until(&world, "two runs", |records| with(records, "cause", "timeout").len() >= 2).await;
        assert_eq!(daemon.stop(), Some(0));
        for record in with(&ended, "cause", "timeout") {
            assert_eq!(record["outcome"], "partial", "{record}");
            let why = "the run took longer than its timeout of 3s";
            assert!(record["first_error"].as_str().unwrap().contains(why), "{record}");
            // Without it, ten.
            assert!((3.0..8.0).contains(&record["seconds"].as_f64().unwrap()), "{record}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_tick_whose_run_fails_for_good_is_over() {
    let world = World::new().await;
    let text = USERS.replace("SELECT id AS user_id, name FROM users", "SELECT id AS user_id FROM nobody");
    write_job(&world, "users.toml", &format!("schedule = \"0 0 1 1 *\"\n{text}"));
    world.redis_command::<String>(&["SET", "t:warmd:{users}:tick", "1"]).await;
    for name in ["a", "b"] {
        let mut daemon = Daemon::start(&world, name, &[]).ready();
        until(&world, "a run", |records| !records.is_empty()).await;
        daemon.signal("HUP");
        daemon.until("READY=1");
        assert_eq!(daemon.stop(), Some(0));
    }
    let records = records(&world);
    assert_eq!((records.len(), &records[0]["cause"]), (1, &"statement".into()), "{records:#?}");
}

#[tokio::test]
async fn a_tick_that_was_recorded_as_missed_is_not_made_up_for() {
    let world = World::new().await;
    // Runs of a bit more than two seconds.
    let slow =
        |schedule: &str| slow(&format!("schedule = \"{schedule}\"\nrefresh = \"always\"")).replace("< 2000", "< 500");
    write_job(&world, "slow.toml", &slow("@every 2s"));
    let mut daemon = Daemon::start(&world, "a", &[]).ready();
    until(&world, "a missed tick", |records| !with(records, "cause", "overlap").is_empty()).await;
    // Soon there is no further tick.
    write_job(&world, "slow.toml", &slow("0 0 1 1 *"));
    daemon.signal("HUP");
    daemon.until("READY=1");
    let lease = ["EXISTS", "t:warmd:{slow}:lease"];
    eventually("the end of the last run", async || world.redis_command::<i64>(&lease).await == 0).await;
    assert_eq!(daemon.stop(), Some(0));
    let mut records = records(&world);
    // One may have begun since.
    records.retain(|record| record["outcome"] != "interrupted");
    assert!(records.iter().all(|record| record["outcome"] == "ok" || record["cause"] == "overlap"), "{records:#?}");
    assert_eq!(marked(&world, "slow").await.newest(), records.iter().map(tick).max(), "{records:#?}");
}

#[tokio::test]
async fn a_tick_after_the_first_start_of_a_job_is_made_up_for_even_when_no_daemon_lived_to_run_it() {
    let world = World::new().await;
    // Not due while the test runs, unless it is in the first seconds of a year.
    write_job(&world, "yearly.toml", &format!("schedule = \"0 0 1 1 *\"\n{USERS}"));
    let mut daemon = Daemon::start(&world, "a", &[]).ready();
    eventually("a mark", async || world.redis_command(&["EXISTS", "t:warmd:{yearly}:tick"]).await).await;
    daemon.child.kill().unwrap();
    daemon.child.wait().unwrap();
    let marked: i64 = world.redis_command(&["GET", "t:warmd:{yearly}:tick"]).await;
    let now = Utc::now().timestamp();
    assert!((now - 60..=now).contains(&marked), "{marked} was marked at {now}");
    // Two years go by.
    world.redis_command::<String>(&["SET", "t:warmd:{yearly}:tick", &(marked - 2 * 366 * 86_400).to_string()]).await;
    let daemon = Daemon::start(&world, "b", &[]).ready();
    let records = until(&world, "the newest missed tick", |records| !records.is_empty()).await;
    assert_eq!((records.len(), &records[0]["outcome"]), (1, &"ok".into()), "{records:#?}");
    assert_eq!(daemon.stop(), Some(0));
}

#[tokio::test]
async fn a_tick_that_comes_while_the_one_before_turns_out_to_be_done_has_its_run() {
    undisturbed(async || {
        let world = World::new().await;
        write_job(&world, "users.toml", &format!("schedule = \"@every 4s\"\nrefresh = \"always\"\n{USERS}"));
        let daemon = Daemon::start(&world, "a", &[]).ready();
        // Redis says nothing from before the tick that another instance has run until after the next.
        let done = (Utc::now().timestamp() / 4 + 2) * 4;
        world.redis_command::<String>(&["SET", "t:warmd:{users}:tick", &done.to_string()]).await;
        while Utc::now().timestamp_millis() < done * 1000 - 200 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        world.redis_command::<String>(&["CLIENT", "PAUSE", "5000"]).await;
        let records =
            until(&world, "later ticks", |records| records.iter().any(|r| tick(r).timestamp() > done + 4)).await;
        assert_eq!(daemon.stop(), Some(0));
        let next: Vec<_> = records.iter().filter(|record| tick(record).timestamp() == done + 4).collect();
        assert_eq!((next.len(), &next[0]["outcome"]), (1, &"ok".into()), "{records:#?}");
    })
    .await;
}

#[tokio::test]
async fn a_tick_that_comes_while_the_record_of_the_one_before_is_kept_has_its_run() {
    let world = World::new().await;
    write_job(&world, "users.toml", &format!("schedule = \"@every 2s\"\nrefresh = \"always\"\n{USERS}"));
    let daemon = Daemon::start(&world, "a", &[]).ready();
    let before = until(&world, "a run", |records| !records.is_empty()).await.iter().map(tick).max().unwrap();
    let unlock = lock_history(&world);
    let newest = async || marked(&world, "users").await.newest().unwrap();
    eventually("a run that is to be recorded", async || newest().await > before).await;
    let next = newest().await + TimeDelta::seconds(2);
    // Past the moment in which the next tick is looked for, and before the history is given up.
    eventually("the next tick", async || Utc::now() > next + TimeDelta::milliseconds(1200)).await;
    unlock();
    let of_next = |record: &&Value| tick(record) == next;
    let records = until(&world, "its record", |records| records.iter().any(|record| of_next(&record))).await;
    assert_eq!(records.iter().find(of_next).unwrap()["outcome"], "ok", "{records:#?}");
    assert_eq!(daemon.stop(), Some(0));
}

#[tokio::test]
async fn an_interrupted_run_is_made_up_for_even_when_redis_was_emptied() {
    let world = World::new().await;
    write_job(&world, "slow.toml", &slow("schedule = \"0 0 1 1 *\""));
    world.redis_command::<String>(&["SET", "t:warmd:{slow}:tick", "1"]).await;
    for attempt in ["a", "b"] {
        let daemon = Daemon::start(&world, attempt, &[]).ready();
        eventually("the run", async || !world.keys().await.is_empty()).await;
        assert_eq!(daemon.stop(), Some(0));
        world.redis_command::<String>(&["FLUSHALL"]).await;
    }
    let records = records(&world);
    assert_eq!(with(&records, "outcome", "interrupted").len(), 2, "{records:#?}");
    assert_eq!(records[0]["scheduled"], records[1]["scheduled"]);
}
