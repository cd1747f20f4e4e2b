//! `warmd history`: what happened.

use std::process::ExitCode;

use chrono::Utc;
use serde_json::json;

use super::{
    Abort, Global,
    advise::percent,
    jobs::ago,
    plot::{self, Canvas},
    setup::{Setup, settings},
    style, table,
};
use crate::{history::History, problems::Problems, record::Outcome};

#[derive(clap::Args)]
pub(super) struct Options {
    /// Only runs of this job
    job: Option<String>,
    /// Runs shown, the newest first [default: 20, of a plot 1000]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// Draw them: a line of blocks for each number of a job
    #[arg(long, conflicts_with = "json")]
    plot: bool,
    /// Print the records as JSON
    #[arg(long)]
    json: bool,
}

const DEFAULT_LIMIT: u32 = 20;

/// A block is drawn for a run, or for several.
const DEFAULT_PLOT_LIMIT: u32 = 1000;

/// A history that the settings do not allow to be.
pub(super) fn unusable(error: anyhow::Error) -> Abort {
    Abort::configuration(format!("{error:#}"))
}

/// A history that cannot be read now.
pub(super) fn out_of_reach(error: anyhow::Error) -> Abort {
    Abort::unavailable(format!("{error:#}"))
}

pub(super) async fn history(global: &Global, options: &Options) -> Result<ExitCode, Abort> {
    let (settings, problems) = settings(global)?;
    problems.into_result()?;
    let Some(history) = History::new(&settings.history).map_err(unusable)? else {
        return Err(Abort::configuration("no history is kept: `history.enabled` is false"));
    };
    let limit = options.limit.unwrap_or(if options.plot { DEFAULT_PLOT_LIMIT } else { DEFAULT_LIMIT });
    let records = history.newest(options.job.as_deref(), limit).await.map_err(out_of_reach)?;
    // A job that is gone has its records still; without any, it may be a slip of the fingers.
    if records.is_empty()
        && let Some(job) = &options.job
        && let Ok(setup) = Setup::with_problems(settings, Problems::default())
    {
        setup.select(std::slice::from_ref(job))?;
    }
    if options.json {
        out!("{}", json!({ "version": 1, "runs": records }));
        return Ok(ExitCode::SUCCESS);
    }
    if records.is_empty() || options.plot && records.iter().all(|record| record.outcome == Outcome::Skipped) {
        out!("no run is recorded");
        return Ok(ExitCode::SUCCESS);
    }
    if options.plot {
        out!("{}", plot::plot(&records, &Canvas::of_stdout()));
        return Ok(ExitCode::SUCCESS);
    }
    let headers =
        ["finished", "job", "outcome", "keys", "fresh", "warmed", "failed", "time", "keys/s", "read", "first error"];
    let mut table = table::new(&headers, &[3, 4, 5, 6, 7, 8, 9]);
    let now = Utc::now();
    for record in &records {
        let counts = record.counts;
        table.add_row([
            ago(now, record.finished),
            record.job.clone(),
            style::outcome(record.outcome),
            table::number(counts.keys),
            table::number(counts.fresh),
            table::number(counts.written),
            table::number(counts.failed),
            table::time(record.seconds),
            if counts.written > 0 { table::number(record.keys_per_second.round() as u64) } else { "-".to_owned() },
            record.reads.share().map_or("-".to_owned(), percent),
            record.first_error.clone().unwrap_or_default(),
        ]);
    }
    out!("{table}");
    Ok(ExitCode::SUCCESS)
}
