//! `warmd history`: what happened.

use std::process::ExitCode;

use chrono::Utc;
use serde_json::json;

use super::{Abort, Global, advise::percent, jobs::ago, setup::settings, table};
use crate::history::History;

#[derive(clap::Args)]
pub(super) struct Options {
    /// Only runs of this job
    job: Option<String>,
    /// Runs shown, the newest first
    #[arg(long, default_value_t = 20, value_name = "COUNT")]
    limit: u32,
    /// Print the records as JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn history(global: &Global, options: &Options) -> Result<ExitCode, Abort> {
    let (settings, problems) = settings(global)?;
    problems.into_result()?;
    let Some(history) = History::new(&settings.history)? else {
        return Err(Abort::configuration("no history is kept: `history.enabled` is false"));
    };
    let records = history.newest(options.job.as_deref(), options.limit).await?;
    if options.json {
        println!("{}", json!({ "version": 1, "runs": records }));
        return Ok(ExitCode::SUCCESS);
    }
    if records.is_empty() {
        println!("no run is recorded");
        return Ok(ExitCode::SUCCESS);
    }
    let headers =
        ["finished", "job", "outcome", "keys", "fresh", "warmed", "failed", "time", "keys/s", "read", "first error"];
    let mut table = table::new(&headers, &[3, 4, 5, 6, 7, 8, 9]);
    let now = Utc::now();
    for record in &records {
        let counts = record.counts;
        table.add_row([
            ago(now, record),
            record.job.clone(),
            record.outcome.to_string(),
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
    println!("{}", table.trim_fmt());
    Ok(ExitCode::SUCCESS)
}
