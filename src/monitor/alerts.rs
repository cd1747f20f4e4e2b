//! What is wrong now, and what was lately.
//!
//! An alert fires when its reading was bad as often in a row as its rule wants, and ends when it was good as often; between
//! the two bounds it stays what it is, so that a value at the threshold does not make it flap.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;

use crate::job::duration::Span;

/// What may be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// Redis does not answer.
    RedisUnreachable,
    /// Redis answers slowly.
    ResponseTime,
    /// Redis is nearly full.
    Memory,
    /// Too few of the keys that are looked up are there.
    HitRate,
    /// No run of a job has ended well in two intervals.
    NoSuccess,
    /// A run of a job failed.
    FailedRun,
    /// A tick of a job had no run of its own.
    MissedTick,
    /// Too few of a job's keys are there.
    Coverage,
}

/// How urgent an alert is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Somebody should look at it soon.
    Warning,
    /// Somebody should look at it now.
    Critical,
}

impl Rule {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::RedisUnreachable,
        Self::ResponseTime,
        Self::Memory,
        Self::HitRate,
        Self::NoSuccess,
        Self::FailedRun,
        Self::MissedTick,
        Self::Coverage,
    ];

    /// How urgent it is.
    pub fn severity(self) -> Severity {
        match self {
            Self::RedisUnreachable | Self::ResponseTime | Self::NoSuccess => Severity::Critical,
            Self::Memory | Self::HitRate | Self::FailedRun | Self::MissedTick | Self::Coverage => Severity::Warning,
        }
    }

    /// The name that the rules for Prometheus give it, too.
    pub fn alert_name(self) -> &'static str {
        match self {
            Self::RedisUnreachable => "WarmdRedisUnreachable",
            Self::ResponseTime => "WarmdRedisSlow",
            Self::Memory => "WarmdRedisMemoryHigh",
            Self::HitRate => "WarmdHitRateLow",
            Self::NoSuccess => "WarmdNoSuccess",
            Self::FailedRun => "WarmdRunFailed",
            Self::MissedTick => "WarmdTickMissed",
            Self::Coverage => "WarmdCoverageLow",
        }
    }

    /// After how many bad readings in a row it fires, and after how many good ones it ends. Those about runs wait by
    /// themselves.
    fn patience(self) -> (u32, u32) {
        match self {
            Self::FailedRun | Self::MissedTick => (1, 1),
            // What was done elsewhere is learnt with the next look.
            Self::NoSuccess => (2, 1),
            Self::RedisUnreachable | Self::ResponseTime | Self::Memory | Self::HitRate | Self::Coverage => (2, 3),
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Warning => "warning",
            Self::Critical => "critical",
        })
    }
}

/// What a look at a rule's subject found.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Reading {
    /// It is wrong.
    Bad(Wrong),
    /// Neither: an alert stays what it is.
    Between,
    /// It is well.
    Good,
    /// It cannot be known now.
    Unknown,
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Wrong {
    /// What was measured, where it is a number.
    pub value: Option<f64>,
    /// The bound that it has crossed.
    pub threshold: Option<f64>,
    /// In words.
    pub message: String,
}

/// One alert, active or over.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Alert {
    /// Which rule it is about.
    #[serde(rename = "alert")]
    pub rule: Rule,
    /// How urgent it is.
    pub severity: Severity,
    /// The job that it is about, if it is about one.
    pub job: Option<String>,
    /// Whether it goes on.
    pub state: AlertState,
    /// When it began.
    pub since: DateTime<Utc>,
    /// When it ended.
    pub resolved: Option<DateTime<Utc>>,
    /// What was measured last while it was bad, where it is a number: a share (0.0 to 1.0) or seconds.
    pub value: Option<f64>,
    /// The bound of it.
    pub threshold: Option<f64>,
    /// In words; of one that is over, that it is, and how it was.
    pub message: String,
}

impl Alert {
    /// The words of one that is over: how long it lasted, and how it was.
    fn past(&self, now: DateTime<Utc>) -> String {
        let lasted = Span(Duration::from_secs((now - self.since).num_seconds().max(0).unsigned_abs()));
        let job = self.job.as_ref().map(|job| format!("{job}: ")).unwrap_or_default();
        let was = self.message.strip_prefix(&job).unwrap_or(&self.message);
        format!("{job}over after {lasted}; it was: {was}")
    }
}

/// Whether an alert goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AlertState {
    /// It does.
    Active,
    /// It is over.
    Resolved,
}

/// All alerts of this process.
#[derive(Default)]
pub(super) struct Alerts {
    watched: BTreeMap<(Rule, Option<String>), Watched>,
    /// The oldest first.
    resolved: VecDeque<Alert>,
}

#[derive(Default)]
struct Watched {
    active: Option<Alert>,
    /// Readings in a row that speak against the present state.
    streak: u32,
}

/// How long one that is over is told of.
const REMEMBERED: TimeDelta = TimeDelta::days(1);

/// And how many.
const MOST_REMEMBERED: usize = 200;

impl Alerts {
    /// Takes a reading. An alert that begins or ends by it is given.
    pub fn see(&mut self, rule: Rule, job: Option<&str>, reading: Reading, now: DateTime<Utc>) -> Option<Alert> {
        let (bad, good) = rule.patience();
        let watched = self.watched.entry((rule, job.map(str::to_owned))).or_default();
        match (&mut watched.active, reading) {
            (None, Reading::Bad(wrong)) => {
                watched.streak += 1;
                if watched.streak < bad {
                    return None;
                }
                let Wrong { value, threshold, message } = wrong;
                let alert = Alert {
                    rule,
                    severity: rule.severity(),
                    job: job.map(str::to_owned),
                    state: AlertState::Active,
                    since: now,
                    resolved: None,
                    value,
                    threshold,
                    message,
                };
                *watched = Watched { active: Some(alert.clone()), streak: 0 };
                Some(alert)
            }
            (Some(active), Reading::Bad(wrong)) => {
                let Wrong { value, threshold, message } = wrong;
                (active.value, active.threshold, active.message) = (value, threshold, message);
                watched.streak = 0;
                None
            }
            (Some(_), Reading::Good) => {
                watched.streak += 1;
                if watched.streak < good { None } else { self.end(rule, job, now) }
            }
            (_, Reading::Between | Reading::Unknown) | (None, Reading::Good) => {
                watched.streak = 0;
                None
            }
        }
    }

    /// Ends an alert for which there is nothing to look at any more: its rule is off, its job is gone.
    pub fn end(&mut self, rule: Rule, job: Option<&str>, now: DateTime<Utc>) -> Option<Alert> {
        let mut alert = self.watched.remove(&(rule, job.map(str::to_owned)))?.active?;
        (alert.state, alert.resolved) = (AlertState::Resolved, Some(now));
        alert.message = alert.past(now);
        self.resolved.retain(|resolved| resolved.resolved.is_some_and(|at| now - at < REMEMBERED));
        self.resolved.push_back(alert.clone());
        if self.resolved.len() > MOST_REMEMBERED {
            self.resolved.pop_front();
        }
        Some(alert)
    }

    /// What is looked at.
    pub fn subjects(&self) -> impl Iterator<Item = &(Rule, Option<String>)> {
        self.watched.keys()
    }

    /// Those that go on, the most urgent and then the oldest first; then those that are over, the last first.
    pub fn list(&self, now: DateTime<Utc>) -> Vec<Alert> {
        let mut list: Vec<Alert> = self.watched.values().filter_map(|watched| watched.active.clone()).collect();
        list.sort_by_key(|alert| (std::cmp::Reverse(alert.severity), alert.since));
        let is_recent = |alert: &&Alert| alert.resolved.is_some_and(|at| now - at < REMEMBERED);
        list.extend(self.resolved.iter().rev().filter(is_recent).cloned());
        list
    }

    /// How many go on.
    pub fn active(&self, severity: Severity) -> usize {
        let active = self.watched.values().filter_map(|watched| watched.active.as_ref());
        active.filter(|alert| alert.severity == severity).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bad(value: f64) -> Reading {
        Reading::Bad(Wrong { value: Some(value), threshold: Some(0.8), message: format!("{value}") })
    }

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(second, 0).unwrap()
    }

    #[test]
    fn a_reading_that_is_bad_once_is_no_alert_and_one_that_is_good_once_is_no_end() {
        let mut alerts = Alerts::default();
        let mut see = |reading, second| alerts.see(Rule::HitRate, None, reading, at(second)).map(|alert| alert.state);
        assert_eq!(see(bad(0.7), 0), None);
        assert_eq!(see(Reading::Good, 15), None);
        assert_eq!(see(bad(0.7), 30), None);
        assert_eq!(see(bad(0.6), 45), Some(AlertState::Active));
        assert_eq!(see(bad(0.5), 60), None);
        for (second, reading) in [(75, Reading::Good), (90, Reading::Good), (105, Reading::Between)] {
            assert_eq!(see(reading, second), None);
        }
        for (second, reading) in [(120, Reading::Good), (135, Reading::Good), (150, bad(0.4))] {
            assert_eq!(see(reading, second), None);
        }
        for second in [165, 180] {
            assert_eq!(see(Reading::Good, second), None);
        }
        assert_eq!(see(Reading::Good, 195), Some(AlertState::Resolved));
        let list = alerts.list(at(200));
        assert_eq!((list.len(), list[0].since, list[0].resolved), (1, at(45), Some(at(195))));
        // As bad as it was when it was last bad.
        assert_eq!((list[0].value, list[0].message.as_str()), (Some(0.4), "over after 2m30s; it was: 0.4"));
        assert_eq!(alerts.list(at(195 + 86_400)), []);
    }

    #[test]
    fn what_cannot_be_known_neither_begins_nor_ends_an_alert() {
        let mut alerts = Alerts::default();
        for second in 0..100 {
            assert_eq!(alerts.see(Rule::Memory, None, Reading::Unknown, at(second)), None);
        }
        alerts.see(Rule::Memory, None, bad(0.95), at(100));
        alerts.see(Rule::Memory, None, Reading::Unknown, at(101));
        assert_eq!(alerts.see(Rule::Memory, None, bad(0.95), at(102)), None);
        assert!(alerts.see(Rule::Memory, None, bad(0.95), at(103)).is_some());
        for second in 104..200 {
            assert_eq!(alerts.see(Rule::Memory, None, Reading::Unknown, at(second)), None);
        }
        assert_eq!(alerts.active(Severity::Warning), 1);
    }

    #[test]
    fn a_value_that_swings_about_the_threshold_makes_one_alert() {
        let mut alerts = Alerts::default();
        let changes = (0..200).filter_map(|n| {
            let reading = if n % 3 == 2 { Reading::Good } else { bad(0.79) };
            alerts.see(Rule::Coverage, Some("a"), reading, at(n))
        });
        assert_eq!(changes.count(), 1);
    }

    #[test]
    fn the_most_urgent_alert_comes_first_and_the_end_of_a_job_ends_its_alerts() {
        let mut alerts = Alerts::default();
        alerts.see(Rule::FailedRun, Some("a"), bad(0.0), at(0));
        alerts.see(Rule::FailedRun, Some("b"), bad(0.0), at(1));
        alerts.see(Rule::NoSuccess, Some("b"), bad(0.0), at(2));
        alerts.see(Rule::NoSuccess, Some("b"), bad(0.0), at(3));
        let shown = |alerts: &Alerts| -> Vec<(Rule, Option<String>, AlertState)> {
            alerts.list(at(9)).into_iter().map(|alert| (alert.rule, alert.job, alert.state)).collect()
        };
        let (a, b) = (Some("a".to_owned()), Some("b".to_owned()));
        let active = AlertState::Active;
        assert_eq!(
            shown(&alerts),
            [
                (Rule::NoSuccess, b.clone(), active),
                (Rule::FailedRun, a.clone(), active),
                (Rule::FailedRun, b.clone(), active)
            ]
        );
        assert!(alerts.end(Rule::FailedRun, Some("a"), at(3)).is_some());
        assert_eq!(alerts.end(Rule::FailedRun, Some("a"), at(4)), None);
        assert_eq!(shown(&alerts).last(), Some(&(Rule::FailedRun, a, AlertState::Resolved)));
    }
}
