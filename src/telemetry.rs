//! The log.

use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt};

use crate::{
    record::{Outcome, Record},
    settings::{LogFormat, LogSettings},
};

/// Starts the log on stderr. A second call changes nothing.
pub fn init(settings: &LogSettings) -> Result<(), String> {
    let filter = EnvFilter::try_new(&settings.level).map_err(|error| format!("`log.level`: {error}"))?;
    // The driver's own warnings speak of slow statements, which the record does better; the heartbeat's news are none.
    let quiet = [("sqlx", "sqlx=error"), ("tokio_cron_scheduler", "tokio_cron_scheduler=warn")];
    let filter = quiet
        .into_iter()
        .filter(|(target, _)| !settings.level.contains(target))
        .fold(filter, |filter, (_, quiet)| quiet.parse().map_or(filter.clone(), |quiet| filter.add_directive(quiet)));
    let registry = tracing_subscriber::registry().with(filter);
    let _ = match settings.format {
        LogFormat::Text => {
            let terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
            let colours = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
            registry.with(fmt::layer().with_writer(std::io::stderr).with_ansi(colours).with_target(false)).try_init()
        }
        LogFormat::Json => registry.with(fmt::layer().json().with_writer(std::io::stderr)).try_init(),
    };
    Ok(())
}

/// A run in one line, for people.
pub fn run_words(record: &Record) -> String {
    let Record { job, outcome, counts, seconds, .. } = record;
    match &record.first_error {
        Some(error) if *outcome == Outcome::Skipped => format!("{job}: {outcome}: {error}"),
        error => {
            let (written, fresh) = (counts.written, counts.fresh);
            let keys = if written == 1 { "key" } else { "keys" };
            let words = format!("{job}: {outcome}, {written} {keys} written, {fresh} fresh in {seconds:.2}s");
            error.as_ref().map_or(words.clone(), |error| format!("{words}: {error}"))
        }
    }
}

/// One line a run. Every field of the record that programs filter by is a field of the line.
pub fn log_run(record: &Record) {
    let words = run_words(record);
    macro_rules! log {
        ($level:ident) => {
            tracing::$level!(
                job = record.job,
                run_id = record.run_id,
                trigger = %record.trigger,
                outcome = %record.outcome,
                keys = record.counts.keys,
                written = record.counts.written,
                fresh = record.counts.fresh,
                empty = record.counts.empty,
                failed = record.counts.failed,
                queries = record.queries,
                seconds = record.seconds,
                "{words}"
            )
        };
    }
    match record.outcome {
        Outcome::Failed => log!(error),
        Outcome::Partial | Outcome::Refused => log!(warn),
        Outcome::Ok | Outcome::Interrupted | Outcome::Skipped => log!(info),
    }
}
