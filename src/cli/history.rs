//! `warmd history`: what happened.

use std::process::ExitCode;

use chrono::Utc;
use serde_json::json;

use super::{
    Abort, Global,
    advise::percent,
    jobs::ago,
    plot::{self, Canvas},
    setup::settings,
    style, table,
};
use crate::{history::History, record::Outcome};

#[derive(clap::Args)]
pub(super) struct Options {
    /// Only runs of this job
    job: Option<String>,
    /// Runs shown, the newest first [default: 20, of a plot 1000]
    #[arg(long, value_name = "COUNT")]
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

pub(super) async fn history(global: &Global, options: &Options) -> Result<ExitCode, Abort> {
    let (settings, problems) = settings(global)?;
    problems.into_result()?;
    let Some(history) = History::new(&settings.history)? else {
        return Err(Abort::configuration("no history is kept: `history.enabled` is false"));
    };
    let limit = options.limit.unwrap_or(if options.plot { DEFAULT_PLOT_LIMIT } else { DEFAULT_LIMIT });
    let records = history.newest(options.job.as_deref(), limit).await?;
    if options.json {
        println!("{}", json!({ "version": 1, "runs": records }));
        return Ok(ExitCode::SUCCESS);
    }
    if records.is_empty() || options.plot && records.iter().all(|record| record.outcome == Outcome::Skipped) {
        println!("no run is recorded");
        return Ok(ExitCode::SUCCESS);
    }
    if options.plot {
        anstream::println!("{}", plot::plot(&records, &Canvas::of_stdout()));
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
    anstream::println!("{table}");
    Ok(ExitCode::SUCCESS)
}
