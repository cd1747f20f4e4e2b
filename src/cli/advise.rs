//! `warmd advise`: what the reads of a job's keys say about its targets and its TTL.

use std::{collections::BTreeMap, process::ExitCode};

use serde_json::json;

use super::{
    Abort, Global,
    history::{out_of_reach, unusable},
    setup::Setup,
    table,
};
use crate::{
    history::History,
    job::{Job, duration::Span},
    record::{Reads, ReadsByTarget, Record},
};

#[derive(clap::Args)]
pub(super) struct Options {
    /// Jobs by name [default: all that are enabled]
    #[arg(value_name = "JOB")]
    jobs: Vec<String>,
    /// Runs looked at, the newest ones
    #[arg(long, default_value_t = 100, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Print the advice as JSON
    #[arg(long)]
    json: bool,
}

/// Fewer keys say nothing about the others.
const FEWEST: u64 = 20;

/// A value of a target list that is read less is not worth its keys.
const UNREAD: f64 = 0.05;

/// What is known of a job.
struct Advice<'j> {
    job: &'j Job,
    runs: usize,
    reads: Reads,
    by_target: ReadsByTarget,
    words: Vec<String>,
}

pub(super) async fn advise(global: &Global, options: &Options) -> Result<ExitCode, Abort> {
    let setup = Setup::load(global)?;
    let jobs = setup.select(&options.jobs)?;
    let Some(history) = History::new(&setup.settings.history).map_err(unusable)? else {
        return Err(Abort::configuration("no history is kept: `history.enabled` is false"));
    };
    let mut advice = Vec::new();
    for job in &jobs {
        let records = history.newest(Some(&job.name), options.runs).await.map_err(out_of_reach)?;
        advice.push(Advice::new(job, &records));
    }
    if options.json {
        let advice: Vec<_> = advice.iter().map(Advice::as_json).collect();
        out!("{}", json!({ "version": 1, "advice": advice }));
        return Ok(ExitCode::SUCCESS);
    }
    for advice in &advice {
        for words in &advice.words {
            out!("{}: {words}", advice.job.name);
        }
    }
    Ok(ExitCode::SUCCESS)
}

impl<'j> Advice<'j> {
    fn new(job: &'j Job, records: &[Record]) -> Self {
        let reads = records.iter().fold(Reads::default(), |sum, record| sum.and(record.reads));
        let mut by_target = ReadsByTarget::new();
        for (list, values) in records.iter().flat_map(|record| &record.reads_by_target) {
            for (value, reads) in values {
                let sum: &mut BTreeMap<String, Reads> = by_target.entry(list.clone()).or_default();
                let sum = sum.entry(value.clone()).or_default();
                *sum = sum.and(*reads);
            }
        }
        let mut advice = Self { job, runs: records.len(), reads, by_target, words: Vec::new() };
        advice.words = advice.words();
        advice
    }

    fn words(&self) -> Vec<String> {
        let Some(share) = self.reads.share().filter(|_| self.reads.sampled >= FEWEST) else {
            return vec![format!(
                "unknown whether its keys are read: {} looked at in {}, {FEWEST} are needed",
                table::count(self.reads.sampled, "key"),
                table::count(self.runs as u64, "run")
            )];
        };
        let told = format!(
            "{} of the keys are read before they are renewed or expire ({} of {} looked at, {})",
            percent(share),
            table::number(self.reads.read),
            table::number(self.reads.sampled),
            table::count(self.runs as u64, "run")
        );
        let mut words = vec![told];
        let unread = self.unread();
        words.extend(unread.iter().map(|(list, value, reads)| {
            let read = if reads.read == 0 {
                "nobody reads".to_owned()
            } else {
                format!("hardly anybody reads ({})", percent(reads.share().unwrap_or_default()))
            };
            format!("{read} the keys of {list} = {value}: leave it out")
        }));
        // What is right for the rest shows once those are left out.
        if unread.is_empty() || share < UNREAD {
            words.push(self.conclusion(share));
        }
        words
    }

    /// Values of target lists that are not worth their keys.
    fn unread(&self) -> Vec<(&str, &str, Reads)> {
        let values = self.by_target.iter().flat_map(|(list, values)| values.iter().map(move |value| (list, value)));
        let is_unread = |reads: &Reads| reads.sampled >= FEWEST && reads.share().is_some_and(|share| share < UNREAD);
        let unread = values.filter(|(_, (_, reads))| is_unread(reads));
        unread.map(|(list, (value, reads))| (list.as_str(), value.as_str(), *reads)).collect()
    }

    fn conclusion(&self, share: f64) -> String {
        let first = self.job.targets.first();
        let limit = first.and_then(|list| Some((&list.name, list.sql.as_ref()?.limit?)));
        let ttl = self.job.ttl.longest;
        match (share, limit) {
            (share, _) if share < UNREAD => {
                "nobody needs this job: switch it off with `enabled = false`, or look whether \
                 the application reads other keys"
                    .to_owned()
            }
            (share, Some((list, limit))) if share < 0.5 => {
                let enough = ((f64::from(limit) * share * 1.2).ceil() as u32).clamp(1, limit);
                format!(
                    "a smaller `limit` of {list}, {enough} instead of {limit}, would do for as many readers if the \
                     list begins with those who read most"
                )
            }
            (share, _) if share < 0.5 => format!(
                "a longer `ttl`, {} instead of {}, would halve the writes, and give each key twice the time to be read",
                Span(ttl * 2),
                Span(ttl)
            ),
            (share, Some((list, limit))) if share > 0.9 => {
                format!("nearly all are read: a larger `limit` of {list} than {limit} may find more readers")
            }
            _ => "nothing to change".to_owned(),
        }
    }

    fn as_json(&self) -> serde_json::Value {
        json!({
            "job": self.job.name,
            "runs": self.runs,
            "sampled": self.reads.sampled,
            "read": self.reads.read,
            "share": self.reads.share(),
            "by_target": self.by_target,
            "advice": self.words,
        })
    }
}

/// A share in words.
pub(super) fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}
