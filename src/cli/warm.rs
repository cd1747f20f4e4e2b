//! `warmd warm`: run jobs now, once.

use std::{io::IsTerminal, process::ExitCode, sync::Arc, time::Duration};

use serde_json::json;

use super::{
    Abort, Global, NOT_WARMED, UNAVAILABLE, progress,
    setup::{Connected, Selection, Setup, concerned},
    table,
};
use crate::{
    history::History,
    job::Job,
    record::{Cause, Meter, Outcome, Record},
    run::{self, Request},
};

#[derive(clap::Args)]
pub(super) struct Options {
    #[command(flatten)]
    selection: Selection,
    /// Print the records as JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn warm(global: &Global, options: &Options) -> Result<ExitCode, Abort> {
    let setup = Setup::load(global)?;
    let jobs = setup.select(&options.selection.jobs)?;
    let mut request = options.selection.request(&jobs)?;
    let jobs = concerned(jobs, &request);
    let connected = Arc::new(setup.connect(&jobs).await?);
    let history = setup.history().await;
    stop_on_signal(Arc::clone(&connected));
    let records = warm_all(&jobs, &connected, history.as_ref(), &mut request, options.json).await;
    if options.json {
        println!("{}", json!({ "version": 1, "runs": records }));
    } else {
        print_summary(&records);
    }
    if let Some(history) = &history {
        let oldest = chrono::Utc::now() - setup.settings.history.keep.0;
        if let Err(error) = history.forget_before(oldest).await {
            tracing::warn!("old records stay: {error:#}");
        }
    }
    Ok(exit_code(&records))
}

/// Runs jobs one after the other and records each run.
pub(super) async fn warm_all(
    jobs: &[Arc<Job>],
    connected: &Connected,
    history: Option<&History>,
    request: &mut Request,
    quiet: bool,
) -> Vec<Record> {
    let mut records = Vec::with_capacity(jobs.len());
    for job in jobs {
        let Some(around) = connected.around(job) else { continue };
        if around.shutdown.is_cancelled() {
            break;
        }
        request.expected = match history {
            Some(history) => history.expected_duration(&job.name).await.unwrap_or_default(),
            None => Duration::ZERO,
        };
        let meter = Arc::new(Meter::default());
        let record = progress::show(&job.name, &meter, quiet, run::run(job, around, request, &meter)).await;
        if let Some(history) = history
            && let Err(error) = history.add(&record).await
        {
            tracing::warn!("{}: {error:#}", job.name);
        }
        if !quiet && !std::io::stderr().is_terminal() {
            log(&record);
        }
        records.push(record);
    }
    records
}

/// One line a run, where no bar was seen moving.
fn log(record: &Record) {
    let counts = record.counts;
    let words = format!(
        "{}: {}, {} written, {} fresh in {}",
        record.job,
        record.outcome,
        table::count(counts.written, "key"),
        table::number(counts.fresh),
        table::time(record.seconds)
    );
    tracing::info!(
        job = record.job,
        run_id = record.run_id,
        outcome = %record.outcome,
        keys = counts.keys,
        written = counts.written,
        fresh = counts.fresh,
        empty = counts.empty,
        failed = counts.failed,
        "{words}"
    );
}

/// The first signal lets the runs end at a safe point; a second one ends the process at once.
fn stop_on_signal(connected: Arc<Connected>) {
    tokio::spawn(async move {
        let Ok(mut terminate) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) else {
            return;
        };
        let mut signal = async || {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
        };
        signal().await;
        eprintln!("stopping at the next batch; once more to stop at once");
        connected.shutdown();
        signal().await;
        std::process::exit(i32::from(NOT_WARMED));
    });
}

pub(super) fn print_summary(records: &[Record]) {
    println!("{}", table::summary(records));
    for record in records {
        if let Some(error) = &record.first_error {
            eprintln!("{}: {}: {error}", record.job, record.outcome);
        } else if record.outcome == Outcome::Interrupted {
            eprintln!("{}: interrupted, {} keys not reached", record.job, record.counts.unreached);
        }
        print_notes(record);
    }
    let sum = |count: fn(&Record) -> u64| records.iter().map(count).sum::<u64>();
    let (keys, fresh) = (sum(|record| record.counts.keys), sum(|record| record.counts.fresh));
    if keys > 0 && keys == fresh {
        println!(
            "nothing to write: {}",
            if keys == 1 {
                "the key is fresh".to_owned()
            } else {
                format!("all {} keys are fresh", table::number(keys))
            }
        );
    }
}

/// What a good outcome does not say by itself.
pub(super) fn print_notes(record: &Record) {
    let counts = record.counts;
    if counts.foreign > 0 {
        let keys = table::count(counts.foreign, "key");
        eprintln!("{}: {keys} without TTL, so another owner's, left alone", record.job);
    }
    if counts.keys == 0 && record.outcome == Outcome::Ok {
        eprintln!("{}: no targets, so nothing is warm; look at the target statements and their windows", record.job);
    } else if counts.keys > 0 && counts.empty == counts.keys {
        eprintln!("{}: nothing was found for any of {}", record.job, table::count(counts.keys, "key"));
    }
}

pub(super) fn exit_code(records: &[Record]) -> ExitCode {
    let unreachable =
        |record: &Record| matches!(record.cause, Some(Cause::DatabaseUnreachable | Cause::RedisUnreachable));
    if records.iter().any(unreachable) {
        ExitCode::from(UNAVAILABLE)
    } else if records.iter().all(|record| record.outcome == Outcome::Ok) {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(NOT_WARMED)
    }
}
