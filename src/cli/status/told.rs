//! What a daemon tells of itself, put together.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::record::Reads;

/// The daemon's answers, as they came. An older one does not know all of the questions.
pub(super) struct Answers {
    pub readiness: Value,
    pub jobs: Value,
    pub health: Option<Value>,
    pub alerts: Option<Value>,
}

/// How things stand, as far as the daemon tells. An older one tells less.
pub(super) struct Told {
    pub at: DateTime<Utc>,
    pub readiness: Readiness,
    pub jobs: Vec<Job>,
    /// A job without a last run may have had one: there is no history that could say so.
    pub forgets_runs: bool,
    pub history_error: Option<String>,
    pub health: Option<Health>,
    /// Those that are active.
    pub alerts: Vec<Alert>,
    answers: Answers,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Readiness {
    pub ready: bool,
    pub reasons: Vec<Reason>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Reason {
    pub what: String,
    pub why: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Jobs {
    jobs: Vec<Job>,
    last_runs_from: Option<String>,
    history_error: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Alerts {
    alerts: Vec<Alert>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Job {
    pub job: String,
    pub schedule: Option<String>,
    pub next_ticks: Vec<DateTime<Utc>>,
    pub state: String,
    pub by_hand: bool,
    pub waits_for: Option<String>,
    pub progress: Option<Progress>,
    pub last_run: Option<Run>,
    /// The newest ones, the newest first, without those that did not begin.
    #[serde(skip)]
    pub runs: Vec<Run>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Progress {
    pub keys: u64,
    pub done: u64,
    pub complete: bool,
}

/// What the page needs of a record, whatever else a newer daemon has in it.
#[derive(Clone, Deserialize)]
pub(super) struct Run {
    pub run_id: String,
    pub outcome: String,
    pub finished: DateTime<Utc>,
    pub written: u64,
    pub keys_per_second: f64,
    pub first_error: Option<String>,
    #[serde(default)]
    pub reads: Reads,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Health {
    pub redis: Redis,
    pub jobs: BTreeMap<String, JobHealth>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Redis {
    pub error: Option<String>,
    pub latest: Option<Latest>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Latest {
    pub hit_rate: Option<f64>,
    pub response_seconds: Option<f64>,
    pub used_memory_bytes: Option<u64>,
    pub max_memory_bytes: Option<u64>,
    pub memory_share: Option<f64>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct JobHealth {
    pub coverage: Option<f64>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Alert {
    pub alert: String,
    pub severity: String,
    pub job: Option<String>,
    state: String,
    pub since: Option<DateTime<Utc>>,
    pub message: String,
}

impl Job {
    /// The newest run that began.
    pub fn last(&self) -> Option<&Run> {
        self.runs.first()
    }

    /// Of the keys that the newest runs looked at, how many were read.
    pub fn reads(&self) -> Reads {
        self.runs.iter().fold(Reads::default(), |sum, run| sum.and(run.reads))
    }

    /// What it waits for that is out of reach.
    pub fn waits_in_vain(&self) -> Option<&str> {
        // The end of a run elsewhere comes.
        self.waits_for.as_deref().filter(|_| matches!(&*self.state, "waiting" | "running"))
    }
}

impl Run {
    /// Whether somebody must look at it. What was interrupted goes on with the next tick.
    pub fn is_bad(&self) -> bool {
        matches!(&*self.outcome, "partial" | "failed" | "refused")
    }
}

impl Told {
    /// Makes sense of the answers; the error says which cannot be read.
    pub fn new(at: DateTime<Utc>, answers: Answers) -> Result<Self, String> {
        let Jobs { jobs, last_runs_from, history_error } = read("/api/jobs", &answers.jobs)?;
        let forgets_runs = history_error.is_some() || last_runs_from.is_some_and(|from| from != "history");
        let health = answers.health.as_ref().map(|answer| read("/api/health", answer)).transpose()?;
        let alerts = answers.alerts.as_ref().map(|answer| read("/api/alerts", answer)).transpose()?;
        let Alerts { mut alerts } = alerts.unwrap_or_default();
        alerts.retain(|alert| alert.state == "active");
        let readiness = read("/readyz", &answers.readiness)?;
        Ok(Self { at, readiness, jobs, forgets_runs, history_error, health, alerts, answers })
    }

    /// Whether nobody has to do anything.
    pub fn is_well(&self) -> bool {
        let is_well = |job: &Job| job.waits_in_vain().is_none() && !job.last().is_some_and(Run::is_bad);
        self.readiness.ready && self.alerts.is_empty() && self.jobs.iter().all(is_well)
    }

    /// One object for programs: the answers, and what follows from them.
    pub fn as_json(&self, place: &str) -> Value {
        let raw = self.answers.jobs["jobs"].as_array().into_iter().flatten();
        let jobs: Vec<Value> = raw
            .zip(&self.jobs)
            .map(|(raw, job)| {
                let (mut shown, reads) = (raw.clone(), job.reads());
                shown["reads"] = json!({ "runs": job.runs.len(), "sampled": reads.sampled, "read": reads.read });
                shown
            })
            .collect();
        let health = self.answers.health.clone().map(|mut health| {
            health.as_object_mut().map(|members| members.remove("version"));
            health
        });
        let reasons: Vec<_> =
            self.readiness.reasons.iter().map(|Reason { what, why }| json!({ "what": what, "why": why })).collect();
        json!({
            "version": 1,
            "address": place,
            "at": self.at,
            "well": self.is_well(),
            "ready": self.readiness.ready,
            "reasons": reasons,
            "jobs": jobs,
            "last_runs_from": self.answers.jobs["last_runs_from"],
            "history_error": self.history_error,
            "health": health,
            "alerts": self.answers.alerts.as_ref().map(|alerts| &alerts["alerts"]),
        })
    }
}

/// What is known here of an answer; what is missing in it, or new, does no harm.
pub(super) fn read<T: DeserializeOwned>(question: &str, answer: &Value) -> Result<T, String> {
    T::deserialize(answer).map_err(|error| format!("the answer to {question} cannot be read: {error}"))
}
