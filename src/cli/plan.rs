//! `warmd plan`: what a run would do.

use std::{
    collections::HashMap,
    num::NonZeroU32,
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use chrono::Utc;
use rayon::prelude::*;
use serde_json::json;

use super::{
    Abort, Global, progress,
    setup::{Selection, Setup, concerned},
    style, table, warm,
};
use crate::{
    job::{Job, duration::Span},
    record::{Meter, Past, Record},
    run,
    throttle::Quotas,
};

#[derive(clap::Args)]
pub(super) struct Options {
    #[command(flatten)]
    selection: Selection,
    /// Print the plan as JSON
    #[arg(long)]
    json: bool,
}

/// A key that two jobs would write, or one job twice.
struct Collision {
    key: String,
    jobs: [String; 2],
}

pub(super) async fn plan(global: &Global, options: &Options) -> Result<ExitCode, Abort> {
    let setup = Setup::load(global)?;
    let jobs = setup.select(&options.selection.jobs)?;
    let mut request = options.selection.request(&jobs)?;
    request.dry = true;
    let jobs = concerned(jobs, &request);
    let connected = setup.connect(&jobs).await?;
    let history = setup.history();
    let mut records = Vec::new();
    let mut owners: HashMap<String, usize> = HashMap::new();
    let mut collisions = Vec::new();
    for (index, job) in jobs.iter().enumerate() {
        let Some(around) = connected.around(job) else { continue };
        request.keys_seen = Some(Mutex::new(Vec::new()));
        request.past = match &history {
            Some(history) => history.past(&job.name).await.unwrap_or_default(),
            None => Past::default(),
        };
        let meter = Arc::new(Meter::default());
        records.push(progress::show(&job.name, &meter, options.json, run::run(job, around, &request, &meter)).await);
        let keys = request.keys_seen.take().map(Mutex::into_inner);
        for key in keys.map(|keys| keys.unwrap_or_else(PoisonError::into_inner)).unwrap_or_default() {
            match owners.get(&key) {
                Some(&owner) => {
                    let jobs = [jobs[owner].name.clone(), job.name.clone()];
                    collisions.push(Collision { key, jobs });
                }
                None => {
                    owners.insert(key, index);
                }
            }
        }
    }
    let warnings = warnings(&jobs);
    let process = setup.settings.quotas();
    if options.json {
        print_json(&jobs, &process, &records, &collisions, &warnings);
    } else {
        print(&jobs, &process, &records, &collisions, &warnings);
    }
    Ok(warm::exit_code(&records))
}

/// What schedules and TTLs leave cold.
pub(super) fn warnings(jobs: &[Arc<Job>]) -> Vec<String> {
    let now = Utc::now();
    // Hundreds of ticks are looked at for each job.
    jobs.par_iter().filter_map(|job| Some(format!("{}: {}", job.name, job.cold_warning(now)?))).collect()
}

/// The least time that the quotas leave for a run's keys and statements: the job's own and the process's, the stricter.
fn time_at_quota(job: &Job, process: &Quotas, record: &Record) -> Option<Duration> {
    let seconds = |amount: u64, quotas: [Option<NonZeroU32>; 2]| {
        let strictest = quotas.into_iter().flatten().min()?;
        Some((amount as f64 / f64::from(strictest.get())).ceil())
    };
    let keys = seconds(record.counts.written, [job.limits.keys_per_second, process.keys_per_second]);
    let queries = seconds(record.queries, [job.limits.queries_per_second, process.queries_per_second]);
    keys.into_iter().chain(queries).reduce(f64::max).map(Duration::from_secs_f64)
}

fn print(jobs: &[Arc<Job>], process: &Quotas, records: &[Record], collisions: &[Collision], warnings: &[String]) {
    let headers = [
        "job",
        "targets",
        "keys",
        "fresh",
        "stale",
        "missing",
        "to write",
        "empty",
        "failed",
        "bytes",
        "at quota",
        "statements",
    ];
    let mut table = table::new(&headers, &(1..headers.len()).collect::<Vec<_>>());
    for (job, record) in jobs.iter().zip(records) {
        let counts = record.counts;
        let numbers = [counts.targets, counts.keys, counts.fresh, counts.stale, counts.missing, counts.written];
        let mut row = vec![job.name.clone()];
        row.extend(numbers.map(table::number));
        row.extend([counts.empty, counts.failed].map(table::number));
        row.push(table::bytes(record.bytes));
        row.push(time_at_quota(job, process, record).map_or("-".to_owned(), |time| Span(time).to_string()));
        row.push(table::number(record.queries));
        table.add_row(row);
    }
    out!("{table}");
    for (job, record) in jobs.iter().zip(records) {
        if let Some(error) = &record.first_error {
            err!("{}: {error}", job.name);
        }
        warm::print_notes(record);
    }
    for collision in collisions.iter().take(5) {
        let [first, second] = &collision.jobs;
        err!("{} key {} would be written by `{first}` and by `{second}`", style::warning(), collision.key);
    }
    if collisions.len() > 5 {
        err!("{} and {} more keys that two targets share", style::warning(), collisions.len() - 5);
    }
    for warning in warnings {
        err!("{} {warning}", style::warning());
    }
    out!("nothing was written");
}

fn print_json(jobs: &[Arc<Job>], process: &Quotas, records: &[Record], collisions: &[Collision], warnings: &[String]) {
    let plans: Vec<_> = jobs
        .iter()
        .zip(records)
        .map(|(job, record)| {
            json!({
                "job": job.name,
                "targets": record.counts.targets,
                "keys": record.counts.keys,
                "fresh": record.counts.fresh,
                "stale": record.counts.stale,
                "missing": record.counts.missing,
                "to_write": record.counts.written,
                "empty": record.counts.empty,
                "failed": record.counts.failed,
                "bytes": record.bytes,
                "queries": record.queries,
                "rows": record.rows,
                "database_bytes": record.database_bytes,
                "seconds_at_quota": time_at_quota(job, process, record).map(|time| time.as_secs()),
                "first_error": record.first_error,
            })
        })
        .collect();
    let shared: Vec<_> =
        collisions.iter().map(|collision| json!({ "key": collision.key, "jobs": collision.jobs })).collect();
    out!("{}", json!({ "version": 1, "plans": plans, "collisions": shared, "warnings": warnings }));
}
