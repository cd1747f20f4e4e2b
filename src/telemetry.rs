//! The log.

use std::{
    fs::File,
    io::{Stderr, stderr},
    os::{fd::AsFd, unix::fs::MetadataExt},
    sync::OnceLock,
};

use anstream::{AutoStream, ColorChoice};
use chrono::SecondsFormat;
use tracing::{Level, Metadata};
use tracing_journald::{Priority, PriorityMappings};
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    filter::{LevelFilter, filter_fn},
    fmt::{
        self,
        format::{DefaultFields, Format, debug_fn},
    },
    layer::SubscriberExt,
    reload,
    util::SubscriberInitExt,
};

use crate::{
    problems::unknown,
    record::{Outcome, Record},
    settings::{LogFormat, LogSettings, TraceSettings},
    traces,
};

/// What the log lets through; a reload changes it.
static LEVEL: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();

/// The words for how much is logged.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// The target of the one line that a run leaves.
const RUN: &str = "warmd::run";

/// What of the events gets into the log; the error names the setting.
pub fn filter(settings: &LogSettings) -> Result<EnvFilter, String> {
    let filter = EnvFilter::try_new(&settings.level).map_err(|error| format!("`log.level`: {error}"))?;
    // What is no level would be the name of a part of the program, and nothing but that part would be logged.
    let mut words =
        settings.level.split(',').map(str::trim).filter(|word| !word.is_empty() && !word.contains(['=', ':', '[']));
    if let Some(word) = words.find(|word| word.parse::<LevelFilter>().is_err()) {
        return Err(format!("`log.level`: {}", unknown("level", word, &LEVELS)));
    }
    // The driver's own warnings speak of slow statements, which the record does better; the heartbeat's news are none.
    let quiet = [("sqlx", "sqlx=error"), ("tokio_cron_scheduler", "tokio_cron_scheduler=warn")];
    Ok(quiet
        .into_iter()
        .filter(|(target, _)| !settings.level.contains(target))
        .fold(filter, |filter, (_, quiet)| quiet.parse().map_or(filter.clone(), |quiet| filter.add_directive(quiet))))
}

/// Starts the log, and the spans for those who are to receive them. A later call changes what is let through, and not the
/// form.
pub fn init(settings: &LogSettings, traces: &TraceSettings, instance: &str) -> Result<(), String> {
    let filter = filter(settings)?;
    if let Some(level) = LEVEL.get() {
        let filter = if traces::are_on() { with_spans(filter) } else { filter };
        return level.reload(filter).map_err(|error| format!("`log.level`: {error}"));
    }
    let tracer = traces::tracer(traces, instance)?;
    let filter = if tracer.is_some() { with_spans(filter) } else { filter };
    let (filter, level) = reload::Layer::new(filter);
    let spans = tracer.map(|tracer| {
        let spans = tracing_opentelemetry::layer().with_tracer(tracer).with_location(false).with_threads(false);
        spans.with_filter(filter_fn(is_span))
    });
    let registry = tracing_subscriber::registry().with(filter).with(spans);
    let journal = match settings.format {
        LogFormat::Auto if stderr_is_the_journal() => Some(tracing_journald::layer()),
        LogFormat::Journal => Some(tracing_journald::layer()),
        _ => None,
    };
    let (journal, no_journal) = match journal {
        Some(Ok(journal)) => (Some(journal), None),
        Some(Err(error)) => (None, Some(error)),
        None => (None, None),
    };
    let started = match (journal, settings.format) {
        (Some(journal), _) => {
            let journal = journal.with_field_prefix(Some("WARMD".to_owned())).with_priority_mappings(PRIORITIES);
            let journal = journal.with_syslog_identifier("warmd".to_owned());
            registry.with(journal.with_filter(filter_fn(|event| !is_span(event)))).try_init()
        }
        (None, LogFormat::Json) => {
            let json = fmt::layer().json().with_writer(stderr).log_internal_errors(false);
            registry.with(json.with_filter(filter_fn(|event| !is_span(event)))).try_init()
        }
        (None, _) => {
            // The words of that line say all that people read; the fields are for programs.
            let words = debug_fn(|writer, field, value| match field.name() {
                "message" => write!(writer, "{value:?}"),
                _ => Ok(()),
            });
            let run = for_people().fmt_fields(words).with_filter(filter_fn(|event| event.target() == RUN));
            let others = |event: &Metadata| event.target() != RUN && !is_span(event);
            registry.with(run).with(for_people().with_filter(filter_fn(others))).try_init()
        }
    };
    // Another log, started by a program that uses this library, stays.
    if started.is_ok() {
        let _ = LEVEL.set(level);
    }
    if let Some(error) = no_journal {
        tracing::warn!("no journal takes the log, it goes to stderr: {error}");
    }
    Ok(())
}

/// Spans are for their receiver; in the log they would stand before every line.
fn is_span(event: &Metadata) -> bool {
    event.target() == traces::TARGET
}

fn with_spans(filter: EnvFilter) -> EnvFilter {
    let spans = format!("{}=trace", traces::TARGET);
    spans.parse().map_or(filter.clone(), |spans| filter.add_directive(spans))
}

/// A line that stderr does not take is lost: to say so, there would be stderr.
fn for_people<S>() -> fmt::Layer<S, DefaultFields, Format, fn() -> Stderr> {
    let colours = AutoStream::choice(&stderr()) != ColorChoice::Never;
    fmt::Layer::default()
        .with_writer(stderr as fn() -> Stderr)
        .with_ansi(colours)
        .with_target(false)
        .log_internal_errors(false)
}

/// As people read the journal: information is not notable, and what is for debugging looks like it.
const PRIORITIES: PriorityMappings = PriorityMappings {
    error: Priority::Error,
    warn: Priority::Warning,
    info: Priority::Informational,
    debug: Priority::Debug,
    trace: Priority::Debug,
};

/// Whether stderr leads to the journal: systemd names the file behind it, and a redirection leads elsewhere.
pub fn stderr_is_the_journal() -> bool {
    let named = std::env::var("JOURNAL_STREAM").unwrap_or_default();
    let stderr = stderr().as_fd().try_clone_to_owned().and_then(|stderr| File::from(stderr).metadata());
    stderr.is_ok_and(|file| named == format!("{}:{}", file.dev(), file.ino()))
}

/// A run in one line, for people.
pub fn run_words(record: &Record) -> String {
    let Record { job, outcome, counts, seconds, .. } = record;
    match &record.first_error {
        Some(error) if *outcome == Outcome::Skipped => format!("{job}: {outcome}: {error}"),
        error => {
            let (written, fresh) = (counts.written, counts.fresh);
            let keys = if written == 1 { "key" } else { "keys" };
            let mut words = format!("{job}: {outcome}, {written} {keys} written, {fresh} fresh in {seconds:.2}s");
            if counts.pruned > 0 {
                words.push_str(&format!(", {} removed", counts.pruned));
            }
            for (strain, seconds) in &record.backed_off {
                words.push_str(&format!(", backed off for {seconds:.1}s from {}", strain.name()));
            }
            error.as_ref().map_or(words.clone(), |error| format!("{words}: {error}"))
        }
    }
}

/// One line a run. The fields are those of the record, with the same names.
pub fn log_run(record: &Record) {
    let words = run_words(record);
    let moment = |moment: chrono::DateTime<chrono::Utc>| moment.to_rfc3339_opts(SecondsFormat::Millis, true);
    let counts = record.counts;
    macro_rules! log {
        ($level:expr) => {
            tracing::event!(
                target: RUN,
                $level,
                job = record.job,
                run_id = record.run_id,
                instance = record.instance,
                trigger = %record.trigger,
                scheduled = record.scheduled.map(moment),
                started = moment(record.started),
                finished = moment(record.finished),
                outcome = %record.outcome,
                cause = record.cause.map(|cause| cause.to_string()),
                first_error = record.first_error,
                targets = counts.targets,
                keys = counts.keys,
                fresh = counts.fresh,
                stale = counts.stale,
                missing = counts.missing,
                invalid = counts.invalid,
                unreached = counts.unreached,
                written = counts.written,
                empty = counts.empty,
                failed = counts.failed,
                foreign = counts.foreign,
                bytes = record.bytes,
                queries = record.queries,
                rows = record.rows,
                database_bytes = record.database_bytes,
                database_seconds = record.database_seconds,
                compute_seconds = record.compute_seconds,
                redis_seconds = record.redis_seconds,
                throttle_seconds = record.throttle_seconds,
                seconds = record.seconds,
                keys_per_second = record.keys_per_second,
                "{words}"
            )
        };
    }
    match record.outcome {
        Outcome::Failed => log!(Level::ERROR),
        Outcome::Partial | Outcome::Refused => log!(Level::WARN),
        Outcome::Ok | Outcome::Interrupted | Outcome::Skipped => log!(Level::INFO),
    }
}
