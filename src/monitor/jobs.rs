//! What is known of each job: how its runs went, and how many of its keys are there.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::{
    cache::{Presence, Sample},
    job::Ttl,
    record::{Outcome, Record},
};

/// How the keys of a job are, judged by a sample of them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct KeyHealth {
    /// When they were looked at.
    pub sampled: DateTime<Utc>,
    /// How many were looked at.
    pub sampled_keys: usize,
    /// How many the job has, for which its last whole run found something.
    pub keys: u64,
    /// The share that is there, 0.0 to 1.0; `None` without any key.
    pub coverage: Option<f64>,
    /// Seconds since the oldest of those that are there was written.
    pub oldest_key_seconds: Option<f64>,
    /// Seconds until the first of those that are there expires.
    pub first_cold_seconds: Option<f64>,
}

impl KeyHealth {
    /// What was found of keys of a job with this TTL.
    pub(super) fn of(keys: &[String], presence: &[Presence], ttl: Ttl, all: u64, now: DateTime<Utc>) -> Self {
        let there = presence.iter().filter(|presence| **presence != Presence::Missing).count();
        let mut oldest: Option<Duration> = None;
        let mut first: Option<Duration> = None;
        for (key, presence) in keys.iter().zip(presence) {
            let Presence::Expires(left) = *presence else { continue };
            oldest = oldest.max(Some(ttl.of(key).saturating_sub(left)));
            first = Some(first.map_or(left, |first| first.min(left)));
        }
        Self {
            sampled: now,
            sampled_keys: keys.len(),
            keys: all,
            coverage: (!keys.is_empty()).then(|| there as f64 / keys.len() as f64),
            oldest_key_seconds: oldest.map(|age| age.as_secs_f64()),
            first_cold_seconds: first.map(|left| left.as_secs_f64()),
        }
    }
}

/// One job.
pub(super) struct Watch {
    /// Nothing was expected of it before.
    since: DateTime<Utc>,
    /// When a run last ended well.
    pub success: Option<DateTime<Utc>>,
    /// When one last did not, and why.
    failure: Option<(DateTime<Utc>, String)>,
    /// When a tick was last missed, and why.
    missed: Option<(DateTime<Utc>, String)>,
    /// The newest tick that ran here.
    tick: Option<DateTime<Utc>>,
    /// The newest tick that ran on any instance.
    mark: Option<DateTime<Utc>>,
    sample: Option<Sample>,
    /// The sample in Redis may be another by now.
    is_outdated: bool,
    pub keys: Option<KeyHealth>,
}

impl Watch {
    pub fn new(now: DateTime<Utc>) -> Self {
        Self {
            since: now,
            success: None,
            failure: None,
            missed: None,
            tick: None,
            mark: None,
            sample: None,
            is_outdated: true,
            keys: None,
        }
    }

    /// Takes note of a record of this instance.
    pub fn observe(&mut self, record: &Record) {
        let job = &record.job;
        let why = record.first_error.as_deref().unwrap_or("it does not say why");
        match record.outcome {
            Outcome::Ok => self.success = Some(record.finished),
            Outcome::Partial | Outcome::Failed | Outcome::Refused => {
                let words = format!("{job}: the last run ended as {}: {why}", record.outcome);
                self.failure = Some((record.finished, words));
            }
            Outcome::Skipped => {
                if let Some(tick) = record.scheduled {
                    let words =
                        format!("{job}: the tick of {} was missed: {why}", tick.format("%Y-%m-%d %H:%M:%S UTC"));
                    self.missed = Some((record.finished, words));
                }
                return;
            }
            // Somebody ended it, and it goes on with the next.
            Outcome::Interrupted => {}
        }
        self.tick = self.tick.max(record.scheduled);
        self.is_outdated = true;
    }

    /// Takes note of the newest tick that ran on any instance.
    pub fn mark(&mut self, mark: Option<DateTime<Utc>>) {
        self.is_outdated |= mark != self.mark;
        self.mark = mark;
    }

    /// Whether the sample is to be read, again or for the first time.
    pub fn wants_sample(&self) -> bool {
        self.is_outdated
    }

    /// Takes a sample that was read. Redis may have been emptied since the last run: then the one before is still right.
    pub fn set_sample(&mut self, sample: Option<Sample>) {
        self.is_outdated = false;
        self.sample = sample.or(self.sample.take());
    }

    /// The keys to look at, and how many there are of them in all.
    pub fn sample(&self, most: usize) -> Option<(Vec<String>, u64)> {
        let sample = self.sample.as_ref()?;
        // In the order of their hashes, so that any part is a sample, too.
        Some((sample.keys.iter().take(most).cloned().collect(), sample.of))
    }

    pub fn failure(&self) -> Option<(DateTime<Utc>, &str)> {
        self.failure.as_ref().map(|(at, why)| (*at, why.as_str()))
    }

    pub fn missed(&self) -> Option<(DateTime<Utc>, &str)> {
        self.missed.as_ref().map(|(at, why)| (*at, why.as_str()))
    }

    /// When all was last well: a run here ended well, another instance had one, or this one began to watch.
    pub fn last_well(&self) -> DateTime<Utc> {
        let elsewhere = self.mark.filter(|mark| self.tick.is_none_or(|tick| *mark > tick));
        self.since.max(self.success.max(elsewhere).unwrap_or(self.since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Cause;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(second, 0).unwrap()
    }

    #[test]
    fn the_keys_of_a_job_are_judged_by_those_that_were_looked_at() {
        let ttl = Ttl { longest: Duration::from_secs(100), jitter: 0.0 };
        let keys: Vec<String> = ["a", "b", "c", "d"].map(str::to_owned).into();
        let left = |seconds| Presence::Expires(Duration::from_secs(seconds));
        let health =
            KeyHealth::of(&keys, &[left(30), Presence::Missing, left(80), Presence::Persistent], ttl, 40, at(7));
        let expected = KeyHealth {
            sampled: at(7),
            sampled_keys: 4,
            keys: 40,
            coverage: Some(0.75),
            oldest_key_seconds: Some(70.0),
            first_cold_seconds: Some(30.0),
        };
        assert_eq!(health, expected);
        let none = KeyHealth::of(&[], &[], ttl, 0, at(7));
        assert_eq!((none.coverage, none.oldest_key_seconds, none.first_cold_seconds), (None, None, None));
    }

    #[test]
    fn a_job_is_well_while_any_instance_runs_it_and_its_own_failures_are_no_sign_of_that() {
        let mut watch = Watch::new(at(100));
        assert_eq!(watch.last_well(), at(100));
        // A mark from before it was watched.
        watch.mark(Some(at(60)));
        assert_eq!(watch.last_well(), at(100));
        watch.mark(Some(at(160)));
        assert_eq!(watch.last_well(), at(160));
        let why = (Outcome::Failed, Cause::Statement, "no such table".to_owned());
        watch.observe(&Record::without_run("a", "here", Some(at(220)), at(221), why));
        watch.mark(Some(at(220)));
        assert_eq!(watch.last_well(), at(100));
        let (_, words) = watch.failure().unwrap();
        assert_eq!(words, "a: the last run ended as failed: no such table");
    }

    #[test]
    fn a_sample_is_read_again_after_every_run_and_kept_when_redis_has_lost_it() {
        let mut watch = Watch::new(at(100));
        assert!(watch.wants_sample());
        watch.set_sample(Some(Sample { keys: vec!["a".to_owned(), "b".to_owned()], of: 2 }));
        assert!(!watch.wants_sample());
        watch.mark(Some(at(160)));
        assert!(watch.wants_sample());
        watch.set_sample(None);
        assert_eq!(watch.sample(1), Some((vec!["a".to_owned()], 2)));
    }
}
