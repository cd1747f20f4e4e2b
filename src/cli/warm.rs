//! `warmd warm`: run jobs now, once.

use std::{
    io::IsTerminal,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::json;

use super::{
    Abort, Global, HELD, NOT_WARMED, UNAVAILABLE, progress,
    setup::{Connected, Selection, Setup, concerned},
    style, table,
};
use crate::{
    cache::{Claim, Claimed, Holder, Lease},
    history::History,
    job::Job,
    record::{Cause, Failure, Meter, Outcome, Past, Record},
    run::{self, Request, Stop, Surroundings},
    telemetry,
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
    let connected = setup.connect(&jobs).await?;
    let history = setup.history();
    stop_on_signal(request.stop.clone());
    let lease = setup.settings.scheduler.lease.0;
    let records = warm_all(&jobs, &connected, history.as_ref(), &mut request, lease, options.json).await;
    if options.json {
        out!("{}", json!({ "version": 1, "runs": records }));
    } else {
        print_summary(&records);
    }
    if let Some(history) = &history
        && history.close().await
    {
        let oldest = chrono::Utc::now() - setup.settings.history.keep.0;
        if let Err(error) = history.forget_before(oldest).await {
            tracing::warn!("old records stay: {error:#}");
        }
    }
    Ok(exit_code(&records))
}

/// Runs jobs one after the other, each under its lease, and records each run.
pub(super) async fn warm_all(
    jobs: &[Arc<Job>],
    connected: &Connected,
    history: Option<&History>,
    request: &mut Request,
    lease: Duration,
    quiet: bool,
) -> Vec<Record> {
    let mut records = Vec::with_capacity(jobs.len());
    let now = request.now;
    // All of them from the start, so that what one job reads is kept for those after it.
    let needs: Vec<_> = jobs.iter().map(|job| Some(connected.around(job)?.models.needs(job, now))).collect();
    for (job, needs) in jobs.iter().zip(needs) {
        let Some(around) = connected.around(job) else { continue };
        request.needs = needs;
        if request.stop.shutdown.is_cancelled() {
            break;
        }
        request.past = match history {
            Some(history) => history.past(&job.name).await.unwrap_or_default(),
            None => Past::default(),
        };
        let record = match claim(job, around, lease, &request.stop).await {
            Ok(Some(lease)) => {
                request.stop.lease_lost = lease.lost().clone();
                let meter = Arc::new(Meter::default());
                let record = progress::show(&job.name, &meter, quiet, run::run(job, around, request, &meter)).await;
                if let Err(error) = lease.release(None).await {
                    tracing::warn!("{}: the lease stays until it expires: {error}", job.name);
                }
                record
            }
            Ok(None) => break,
            Err(why) => Record::without_run(&job.name, &around.instance, None, chrono::Utc::now(), why),
        };
        if let Some(history) = history {
            history.keep(&record).await;
        }
        if !quiet && !std::io::stderr().is_terminal() {
            telemetry::log_run(&record);
        }
        records.push(record);
    }
    records
}

/// The lease of a job; `None` when told to stop. A holder that renews it is alive, and then the error says who it is;
/// the lease of one that was killed ends by itself, and is waited for.
async fn claim(
    job: &Job,
    around: &Surroundings,
    length: Duration,
    stop: &Stop,
) -> Result<Option<Lease>, (Outcome, Cause, String)> {
    let claim =
        Claim { prefix: &around.keyspace.prefix, job: &job.name, instance: &around.instance, tick: None, length };
    let mut before: Option<(Holder, Instant)> = None;
    loop {
        let asked = Instant::now();
        let holder = match around.store.claim(claim).await {
            Ok(Claimed::Granted(lease)) => return Ok(Some(lease)),
            // Only ticks are ever done.
            Ok(Claimed::Done) => return Ok(None),
            Ok(Claimed::Held(holder)) => holder,
            Err(error) => {
                let Failure { cause, message } = error.into();
                return Err((Outcome::Failed, cause, message));
            }
        };
        let since = holder.since.format("%Y-%m-%d %H:%M:%S UTC");
        match &before {
            // With another holder the wait begins anew.
            Some((before, answered)) if holder.has_renewed_since(before, asked - *answered) => {
                let why = format!("the lease is held by {} since {since}", holder.instance);
                return Err((Outcome::Skipped, Cause::Overlap, why));
            }
            None if holder.expires_in > Duration::from_millis(100) => {
                tracing::warn!("{}: the lease is held by {} since {since}; is it alive?", job.name, holder.instance);
            }
            _ => {}
        }
        let pause = holder.expires_in.min(length / 4).max(Duration::from_millis(10));
        before = Some((holder, Instant::now()));
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.shutdown.cancelled() => return Ok(None),
        }
    }
}

/// The first signal lets the runs end at a safe point; a second one ends the process at once.
fn stop_on_signal(stop: Stop) {
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
        err!("stopping at the next batch; once more to stop at once");
        stop.shutdown.cancel();
        signal().await;
        std::process::exit(i32::from(NOT_WARMED));
    });
}

pub(super) fn print_summary(records: &[Record]) {
    out!("{}", table::summary(records));
    for record in records {
        if let Some(error) = &record.first_error {
            err!("{}: {}: {error}", record.job, style::outcome(record.outcome));
        } else if record.outcome == Outcome::Interrupted {
            let outcome = style::outcome(record.outcome);
            err!("{}: {outcome}, {} keys not reached", record.job, record.counts.unreached);
        }
        print_notes(record);
    }
    let sum = |count: fn(&Record) -> u64| records.iter().map(count).sum::<u64>();
    let (keys, fresh) = (sum(|record| record.counts.keys), sum(|record| record.counts.fresh));
    if keys > 0 && keys == fresh {
        out!(
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
        err!("{}: {keys} without TTL, so another owner's, left alone", record.job);
    }
    if counts.pruned > 0 {
        err!("{}: {} removed, to which no target leads any more", record.job, table::count(counts.pruned, "key"));
    }
    for (strain, seconds) in &record.backed_off {
        err!("{}: backed off for {seconds:.1}s from {}", record.job, strain.name());
    }
    if counts.keys == 0 && record.outcome == Outcome::Ok {
        err!("{}: no targets, so nothing is warm; look at the target statements and their windows", record.job);
    } else if counts.keys > 0 && counts.empty == counts.keys {
        err!("{}: nothing was found for any of {}", record.job, table::count(counts.keys, "key"));
    }
}

pub(super) fn exit_code(records: &[Record]) -> ExitCode {
    if records.iter().any(Record::is_out_of_reach) {
        ExitCode::from(UNAVAILABLE)
    } else if records.iter().any(|record| !matches!(record.outcome, Outcome::Ok | Outcome::Skipped)) {
        ExitCode::from(NOT_WARMED)
    } else if records.iter().any(|record| record.outcome == Outcome::Skipped) {
        ExitCode::from(HELD)
    } else {
        ExitCode::SUCCESS
    }
}
