//! `warmd jobs`: what is due when, and how it went last.

use std::{process::ExitCode, time::Duration};

use chrono::{DateTime, Utc};
use serde_json::json;

use super::{Abort, Global, setup::Setup, style, table};
use crate::{
    job::{Job, SHOWN_TICKS, duration::Span},
    record::Record,
};

#[derive(clap::Args)]
pub(super) struct Options {
    /// Print the jobs as JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn jobs(global: &Global, options: &Options) -> Result<ExitCode, Abort> {
    let setup = Setup::load(global)?;
    let mut history = setup.history();
    let now = Utc::now();
    let mut listed = Vec::new();
    for job in &setup.jobs {
        let newest = match &history {
            Some(history) => history.newest(Some(&job.name), 1).await,
            None => Ok(Vec::new()),
        };
        let newest = newest.unwrap_or_else(|error| {
            tracing::warn!("the last runs are not known: {error:#}");
            history = None;
            Vec::new()
        });
        listed.push((job, newest.into_iter().next()));
    }
    if options.json {
        let jobs: Vec<_> = listed.iter().map(|(job, last)| as_json(job, last.as_ref(), now)).collect();
        out!("{}", json!({ "version": 1, "jobs": jobs }));
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = table::new(&["job", "kind", "schedule", "zone", "next ticks", "ttl", "refresh", "last run"], &[]);
    for (job, last) in &listed {
        table.add_row([
            job.name.clone(),
            job.kind.name().to_owned(),
            job.schedule.as_ref().map_or("by hand".to_owned(), ToString::to_string),
            job.schedule.as_ref().map_or(String::new(), |schedule| schedule.zone().to_string()),
            if job.enabled { shown_ticks(job, now) } else { "disabled".to_owned() },
            Span(job.ttl.longest).to_string(),
            job.refresh.to_string(),
            last.as_ref().map_or("never".to_owned(), |last| {
                format!("{} {}", style::outcome(last.outcome), ago(now, last.finished))
            }),
        ]);
    }
    out!("{table}");
    Ok(ExitCode::SUCCESS)
}

fn shown_ticks(job: &Job, now: DateTime<Utc>) -> String {
    let Some(schedule) = &job.schedule else {
        return "-".to_owned();
    };
    let ticks = schedule.ticks_after(now, SHOWN_TICKS);
    let local = ticks.iter().map(|tick| tick.with_timezone(&schedule.zone()));
    let mut day = now.with_timezone(&schedule.zone()).date_naive();
    let shown: Vec<String> = local
        .map(|tick| {
            let format = if tick.date_naive() == day { "%H:%M:%S" } else { "%Y-%m-%d %H:%M:%S" };
            day = tick.date_naive();
            tick.format(format).to_string()
        })
        .collect();
    shown.join(", ")
}

pub(super) fn ago(now: DateTime<Utc>, moment: DateTime<Utc>) -> String {
    format!("{} ago", roughly((now - moment).num_seconds().max(0).unsigned_abs()))
}

/// A time from now on, in words.
pub(super) fn until(now: DateTime<Utc>, moment: DateTime<Utc>) -> String {
    match (moment - now).num_seconds() {
        ..=0 => "now".to_owned(),
        seconds => format!("in {}", roughly(seconds.unsigned_abs())),
    }
}

/// A time that is of interest only roughly.
pub(super) fn roughly(seconds: u64) -> Span {
    // Minutes are enough beyond the first, hours beyond the first day.
    let unit = if seconds < 60 {
        1
    } else if seconds < 86_400 {
        60
    } else {
        3600
    };
    Span(Duration::from_secs(seconds / unit * unit))
}

fn as_json(job: &Job, last: Option<&Record>, now: DateTime<Utc>) -> serde_json::Value {
    let mut shown = job.shown(now);
    shown.insert("last_run".to_owned(), json!(last));
    shown.into()
}
