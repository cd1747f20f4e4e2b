//! The numbers of all runs since this process began, and how things stand, in the formats that Prometheus reads.
//!
//! Each job has a fixed number of series, whatever it warms: labels are names of jobs and words from closed sets.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::Response,
};
use chrono::{DateTime, TimeDelta, Utc};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, NoLabelSet, prometheus_text, text},
    metrics::MetricType,
    registry::{Registry, Unit},
};

use super::{App, failure, process::Process};
use crate::{
    monitor::{Glance, Monitor},
    record::{Outcome, Reads, Record},
    scheduler::{Doing, Scheduler, Standing},
    throttle::Strain,
};

mod health;

/// What all runs since the process began have done, by their job. Fed by an observer of the records.
pub struct Metrics {
    /// Counters begin at 0 with the process.
    started: DateTime<Utc>,
    jobs: Mutex<HashMap<String, Totals>>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self { started: Utc::now(), jobs: Mutex::default() }
    }
}

#[derive(Debug, Clone, Default)]
struct Totals {
    runs: [u64; OUTCOMES.len()],
    ticks_missed: u64,
    keys: [u64; RESULTS.len()],
    reads: Reads,
    written_bytes: u64,
    statements: u64,
    rows: u64,
    database_bytes: u64,
    spent: [f64; PLACES.len()],
    backed_off: [f64; STRAINS.len()],
    last: Option<Arc<Record>>,
    last_success: Option<DateTime<Utc>>,
}

/// Not `job`, which is what Prometheus calls the scrape.
const JOB: &str = "job_name";

const OUTCOMES: [(Outcome, &str); 6] = [
    (Outcome::Ok, "ok"),
    (Outcome::Partial, "partial"),
    (Outcome::Failed, "failed"),
    (Outcome::Interrupted, "interrupted"),
    (Outcome::Skipped, "skipped"),
    (Outcome::Refused, "refused"),
];

const RESULTS: [&str; 7] = ["written", "fresh", "stale", "missing", "empty", "failed", "pruned"];

const PLACES: [&str; 4] = ["database", "compute", "redis", "throttle"];

const STRAINS: [(Strain, &str); 4] = [
    (Strain::Database, "database"),
    (Strain::Redis, "redis"),
    (Strain::ReplicaLag, "replica_lag"),
    (Strain::ActiveConnections, "active_connections"),
];

impl Metrics {
    /// Adds a run.
    pub fn observe(&self, record: &Record) {
        let mut jobs = self.jobs();
        let totals = jobs.entry(record.job.clone()).or_default();
        for ((outcome, _), total) in OUTCOMES.iter().zip(&mut totals.runs) {
            *total += u64::from(*outcome == record.outcome);
        }
        let counts = record.counts;
        let keys =
            [counts.written, counts.fresh, counts.stale, counts.missing, counts.empty, counts.failed, counts.pruned];
        let spent = [record.database_seconds, record.compute_seconds, record.redis_seconds, record.throttle_seconds];
        totals.keys.iter_mut().zip(keys).for_each(|(total, keys)| *total += keys);
        totals.spent.iter_mut().zip(spent).for_each(|(total, seconds)| *total += seconds);
        for ((strain, _), total) in STRAINS.iter().zip(&mut totals.backed_off) {
            *total += record.backed_off.get(strain).copied().unwrap_or_default();
        }
        totals.reads = totals.reads.and(record.reads);
        totals.written_bytes += record.bytes;
        totals.statements += record.queries;
        totals.rows += record.rows;
        totals.database_bytes += record.database_bytes;
        if record.outcome == Outcome::Skipped {
            totals.ticks_missed += u64::from(record.scheduled.is_some());
            return;
        }
        let is_ok = record.outcome == Outcome::Ok;
        totals.last = Some(Arc::new(record.clone()));
        if is_ok {
            totals.last_success = Some(record.finished);
        }
    }

    /// The last run of a job in this process, if it has had one.
    pub fn last_run(&self, job: &str) -> Option<Arc<Record>> {
        self.jobs().get(job)?.last.clone()
    }

    /// How things stand, of the jobs that there are now: what was counted for others is forgotten.
    fn snapshot(&self, scheduler: &Scheduler, monitor: &Monitor) -> Snapshot {
        let standings = scheduler.standings();
        let mut jobs = self.jobs();
        jobs.retain(|job, _| standings.contains_key(job));
        let of_job = |(job, standing): (String, Standing)| {
            let totals = jobs.get(&job).cloned().unwrap_or_default();
            Shown { job, standing, totals }
        };
        Snapshot {
            now: Utc::now(),
            started: self.started,
            jobs: standings.into_iter().map(of_job).collect(),
            is_reloaded: scheduler.reload_failure().is_none(),
            process: Process::now(),
            glance: monitor.glance(),
        }
    }

    fn jobs(&self) -> MutexGuard<'_, HashMap<String, Totals>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All that one scrape tells.
struct Snapshot {
    now: DateTime<Utc>,
    started: DateTime<Utc>,
    jobs: Vec<Shown>,
    is_reloaded: bool,
    process: Process,
    glance: Glance,
}

struct Shown {
    job: String,
    standing: Standing,
    totals: Totals,
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot").field("jobs", &self.jobs.len()).finish_non_exhaustive()
    }
}

/// A counter's value: whole, or seconds.
#[derive(Clone, Copy)]
enum Total {
    Whole(u64),
    Seconds(f64),
}

/// Writes one family of series after the other.
struct Writer<'w>(DescriptorEncoder<'w>);

type Label<'l> = (&'static str, &'l str);

impl Writer<'_> {
    fn counter<'l, const N: usize>(
        &mut self,
        name: &str,
        unit: Option<&Unit>,
        help: &str,
        series: impl IntoIterator<Item = ([Label<'l>; N], Total)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, unit, MetricType::Counter)?;
        for (labels, total) in series {
            let mut one = family.encode_family(&labels)?;
            match total {
                Total::Whole(total) => one.encode_counter::<NoLabelSet, _, f64>(&total, None)?,
                Total::Seconds(total) => one.encode_counter::<NoLabelSet, _, f64>(&total, None)?,
            }
        }
        Ok(())
    }

    fn gauge<'l, const N: usize>(
        &mut self,
        name: &str,
        unit: Option<&Unit>,
        help: &str,
        series: impl IntoIterator<Item = ([Label<'l>; N], f64)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, unit, MetricType::Gauge)?;
        series.into_iter().try_for_each(|(labels, value)| family.encode_family(&labels)?.encode_gauge(&value))
    }
}

impl Collector for Snapshot {
    fn encode(&self, encoder: DescriptorEncoder) -> fmt::Result {
        let mut writer = Writer(encoder);
        self.process(&mut writer)?;
        self.redis(&mut writer)?;
        self.totals(&mut writer)?;
        self.standings(&mut writer)?;
        self.keys(&mut writer)
    }
}

impl Snapshot {
    fn process(&self, writer: &mut Writer) -> fmt::Result {
        let build = [[("version", env!("CARGO_PKG_VERSION"))]];
        writer.gauge(
            "warmd_build_info",
            None,
            "1, with the version of warmd as its label.",
            build.map(|on| (on, 1.0)),
        )?;
        let alone = |value: f64| [([], value)];
        let optional = |value: Option<u64>| value.map(|value| ([], value as f64));
        writer.gauge("warmd_jobs", None, "Jobs that are enabled.", alone(self.jobs.len() as f64))?;
        let help = "Whether the settings and jobs in the files are those that are in force.";
        writer.gauge("warmd_last_reload_success", None, help, alone(f64::from(self.is_reloaded)))?;
        let Process { resident, descriptors, most_descriptors } = self.process;
        let (seconds, bytes) = (Some(&Unit::Seconds), Some(&Unit::Bytes));
        let help = "When the process began, in Unix time.";
        writer.gauge("process_start_time", seconds, help, alone(unix(self.started)))?;
        writer.gauge("process_resident_memory", bytes, "Memory that is resident.", optional(resident))?;
        writer.gauge("process_open_fds", None, "Open descriptors.", optional(descriptors))?;
        writer.gauge("process_max_fds", None, "The most that may be open.", optional(most_descriptors))
    }

    fn totals(&self, writer: &mut Writer) -> fmt::Result {
        let (seconds, bytes) = (Some(&Unit::Seconds), Some(&Unit::Bytes));
        let runs = self.by(|totals| {
            OUTCOMES.iter().zip(totals.runs).map(|((_, name), total)| (("outcome", *name), Total::Whole(total)))
        });
        writer.counter("warmd_runs", None, "Records of runs, by outcome.", runs)?;
        let missed = self.each(|totals| totals.ticks_missed);
        writer.counter("warmd_ticks_missed", None, "Ticks that had no run of their own.", missed)?;
        let keys = self
            .by(|totals| RESULTS.iter().zip(totals.keys).map(|(name, total)| (("result", *name), Total::Whole(total))));
        writer.counter("warmd_keys", None, "Keys, by what was found and what became of them.", keys)?;
        let sampled = self.each(|totals| totals.reads.sampled);
        let help = "Keys that were looked at before they were renewed or expired.";
        writer.counter("warmd_keys_sampled", None, help, sampled)?;
        let read = self.each(|totals| totals.reads.read);
        writer.counter("warmd_keys_read", None, "Of these, keys that had been read since they were written.", read)?;
        let written = self.each(|totals| totals.written_bytes);
        writer.counter("warmd_written", bytes, "Bytes of the values written to Redis.", written)?;
        let statements = self.each(|totals| totals.statements);
        writer.counter("warmd_database_statements", None, "Statements sent to the database.", statements)?;
        let rows = self.each(|totals| totals.rows);
        writer.counter("warmd_database_rows", None, "Rows read from the database.", rows)?;
        let read = self.each(|totals| totals.database_bytes);
        writer.counter("warmd_database_read", bytes, "Bytes of the values in these rows.", read)?;
        let spent = self
            .by(|totals| PLACES.iter().zip(totals.spent).map(|(name, total)| (("in", *name), Total::Seconds(total))));
        let help = "Time of all batches waiting for the database, computing, waiting for Redis and for quotas.";
        writer.counter("warmd_spent", seconds, help, spent)?;
        let backed_off = self.by(|totals| {
            STRAINS.iter().zip(totals.backed_off).map(|((_, name), total)| (("reason", *name), Total::Seconds(total)))
        });
        let help = "Time of runs with fewer batches at once than configured, by the reason.";
        writer.counter("warmd_backed_off", seconds, help, backed_off)
    }

    fn standings(&self, writer: &mut Writer) -> fmt::Result {
        let seconds = Some(&Unit::Seconds);
        let finished = self.gauges(|job| job.totals.last.as_ref().map(|last| unix(last.finished)));
        writer.gauge("warmd_last_run_timestamp", seconds, "When the last run ended, in Unix time.", finished)?;
        let took = self.gauges(|job| job.totals.last.as_ref().map(|last| last.seconds));
        writer.gauge("warmd_last_run_duration", seconds, "How long the last run took.", took)?;
        let is_ok = self.gauges(|job| job.totals.last.as_ref().map(|last| f64::from(last.outcome == Outcome::Ok)));
        writer.gauge("warmd_last_run_success", None, "Whether the last run ended as ok.", is_ok)?;
        let success = self.gauges(|job| job.totals.last_success.map(unix));
        writer.gauge("warmd_last_success_timestamp", seconds, "When a run last ended as ok, in Unix time.", success)?;
        let running = self.gauges(|job| Some(f64::from(matches!(job.standing.doing, Doing::Running { .. }))));
        writer.gauge("warmd_running", None, "Whether a run is going on this instance.", running)?;
        let waiting = self.gauges(|job| {
            let waits = matches!(job.standing.doing, Doing::Waiting(_) | Doing::Running { waits_for: Some(_), .. });
            Some(f64::from(waits))
        });
        writer.gauge("warmd_waiting", None, "Whether a tick or a run waits for what is out of reach.", waiting)?;
        let until = self.gauges(|job| {
            let until = job.standing.next_tick? - self.now;
            Some(until.as_seconds_f64().max(0.0))
        });
        writer.gauge("warmd_until_next_tick", seconds, "Time to the next tick of the schedule.", until)?;
        let interval = self.gauges(|job| job.standing.interval.map(TimeDelta::as_seconds_f64));
        writer.gauge("warmd_schedule_interval", seconds, "From that tick to the one after it.", interval)
    }

    /// One series a job.
    fn each(&self, total: impl Fn(&Totals) -> u64) -> impl Iterator<Item = ([Label<'_>; 1], Total)> {
        self.jobs.iter().map(move |job| ([(JOB, job.job.as_str())], Total::Whole(total(&job.totals))))
    }

    /// A series a job and word.
    fn by<'s, I>(&'s self, totals: impl Fn(&'s Totals) -> I) -> impl Iterator<Item = ([Label<'s>; 2], Total)>
    where
        I: Iterator<Item = (Label<'s>, Total)>,
    {
        self.jobs
            .iter()
            .flat_map(move |job| totals(&job.totals).map(|(label, total)| ([(JOB, job.job.as_str()), label], total)))
    }

    fn gauges(&self, value: impl Fn(&Shown) -> Option<f64>) -> impl Iterator<Item = ([Label<'_>; 1], f64)> {
        self.jobs.iter().filter_map(move |job| Some(([(JOB, job.job.as_str())], value(job)?)))
    }
}

fn unix(moment: DateTime<Utc>) -> f64 {
    moment.timestamp_millis() as f64 / 1e3
}

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// One scrape.
pub(super) async fn answer(State(app): State<App>, headers: HeaderMap) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let snapshot = app.shared.metrics.snapshot(&app.shared.scheduler, &app.shared.monitor);
    let mut registry = Registry::default();
    registry.register_collector(Box::new(snapshot));
    let mut written = String::new();
    let (result, form) = match wants_open_metrics(accept) {
        true => (text::encode(&mut written, &registry), OPEN_METRICS),
        false => (prometheus_text::encode(&mut written, &registry), prometheus_text::CONTENT_TYPE),
    };
    if result.is_err() {
        return failure(StatusCode::INTERNAL_SERVER_ERROR, "the metrics cannot be written");
    }
    let mut response = Response::new(Body::from(written));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(form));
    response
}

/// Whether OpenMetrics is at least as welcome as the plain format.
fn wants_open_metrics(accept: &str) -> bool {
    let weight = |wanted: &str| {
        let ranges = accept
            .split(',')
            .filter(|range| range.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case(wanted)));
        let weights = ranges.map(|range| {
            let q = range.split(';').find_map(|parameter| parameter.trim().strip_prefix("q="));
            q.map_or(Some(1.0), |q| q.parse().ok()).unwrap_or(0.0_f64)
        });
        weights.fold(0.0, f64::max)
    };
    let open = weight("application/openmetrics-text");
    open > 0.0 && open >= weight("text/plain")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_the_one_that_is_asked_for() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1";
        for (accept, open) in [
            ("", false),
            ("*/*", false),
            ("text/plain", false),
            ("application/openmetrics-text", true),
            (prometheus, true),
            ("application/openmetrics-text;q=0", false),
            ("application/openmetrics-text;q=0.1, text/plain", false),
            ("text/html,application/xhtml+xml;q=0.9", false),
        ] {
            assert_eq!(wants_open_metrics(accept), open, "{accept}");
        }
    }
}
