//! Where records are kept, when that place fails.

use std::time::Duration;

use chrono::{TimeDelta, Utc};
use warmd::{
    history::History,
    record::{Cause, Outcome, Record},
    settings::HistorySettings,
};

use crate::{servers, standstill::Stopwatch, world::secret};

fn history(url: &str) -> History {
    History::new(&HistorySettings { url: Some(secret(url)), ..HistorySettings::default() }).unwrap().unwrap()
}

/// Records of jobs with these names, a second apart.
fn records(jobs: &[&str]) -> Vec<Record> {
    let why = || (Outcome::Skipped, Cause::Overlap, "for a test".to_owned());
    let started = |index| Utc::now() + TimeDelta::seconds(index);
    (0..).zip(jobs).map(|(index, job)| Record::without_run(job, "test", None, started(index), why())).collect()
}

async fn kept(history: &History) -> Vec<String> {
    let mut jobs: Vec<String> = history.newest(None, 100).await.unwrap().into_iter().map(|record| record.job).collect();
    jobs.reverse();
    jobs
}

#[tokio::test]
async fn records_wait_for_a_history_that_is_away_and_come_in_their_order() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    std::fs::write(&state, "in the way").unwrap();
    let history = history(&format!("sqlite:{}/history.db", state.display()));
    for record in records(&["a", "b", "c"]) {
        history.keep(&record).await;
    }
    assert!(!history.close().await);
    std::fs::remove_file(&state).unwrap();
    assert!(history.close().await);
    assert_eq!(kept(&history).await, ["a", "b", "c"]);
}

#[tokio::test]
async fn a_history_that_hangs_is_waited_for_once_and_not_by_every_run() {
    // Accepts connections, in its backlog, and never says anything.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let history = history(&format!("postgres://x@{}/x", silent.local_addr().unwrap()));
    let [first, second] = records(&["first", "second"]).try_into().unwrap();
    history.keep(&first).await;
    let begun = Stopwatch::start();
    history.keep(&second).await;
    let error = history.newest(None, 1).await.unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    assert!(format!("{error:#}").contains("did not answer a moment ago"), "{error:#}");
}

#[tokio::test]
async fn a_history_whose_connection_was_cut_connects_again() {
    for (database, cut) in [
        (
            servers::postgres().await,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()",
        ),
        // One that was cut before may be listed still.
        (
            servers::mariadb().await,
            "SET @other = (SELECT max(id) FROM information_schema.processlist
                           WHERE db = DATABASE() AND id <> CONNECTION_ID());
             EXECUTE IMMEDIATE CONCAT('KILL ', @other)",
        ),
    ] {
        let history = history(&database.url);
        let [first, second, third] = records(&["first", "second", "third"]).try_into().unwrap();
        history.keep(&first).await;
        servers::execute(&database.url, cut).await;
        history.keep(&second).await;
        servers::execute(&database.url, cut).await;
        assert_eq!(kept(&history).await, ["first", "second"]);
        history.keep(&third).await;
        assert_eq!(kept(&history).await, ["first", "second", "third"]);
    }
}

#[tokio::test]
async fn a_record_that_the_history_refuses_does_not_hold_the_others_up() {
    let database = servers::postgres().await;
    let history = history(&database.url);
    for record in records(&["before", &"too-long".repeat(40), "after"]) {
        history.keep(&record).await;
    }
    assert_eq!(kept(&history).await, ["before", "after"]);
}

#[tokio::test]
async fn the_same_record_twice_is_kept_once() {
    let database = servers::sqlite().await;
    let history = history(&database.url);
    let record = &records(&["a"])[0];
    history.keep(record).await;
    history.keep(record).await;
    assert_eq!(kept(&history).await, ["a"]);
}
