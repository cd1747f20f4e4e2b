//! What happened in a run, in numbers and words.

use std::{collections::BTreeMap, fmt, time::Duration};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{problems::in_words, throttle::BackedOff};

mod meter;

pub use meter::{Count, Meter};

/// One run, told once.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    /// Unique, and sorted by time (UUID version 7).
    pub run_id: String,
    /// The job's name.
    pub job: String,
    /// Who ran it.
    pub instance: String,
    /// Why it ran.
    pub trigger: Trigger,
    /// It was about some targets only (`--only`), which says nothing about the job's size.
    #[serde(default)]
    pub restricted: bool,
    /// The tick that it belongs to. None of a run by hand, and of one in the place of a tick that the clock repeats.
    pub scheduled: Option<DateTime<Utc>>,
    /// When it began.
    pub started: DateTime<Utc>,
    /// When it ended.
    pub finished: DateTime<Utc>,
    /// How it ended.
    pub outcome: Outcome,
    /// What kept it from `ok`.
    pub cause: Option<Cause>,
    /// The first error, with its place where it has one.
    pub first_error: Option<String>,
    /// Keys and what became of them.
    #[serde(flatten)]
    pub counts: Counts,
    /// Bytes of the values written.
    pub bytes: u64,
    /// Statements sent to the database.
    pub queries: u64,
    /// Rows read from it.
    pub rows: u64,
    /// Bytes of the values in those rows, as the database sent them. Older records do not tell.
    #[serde(default)]
    pub database_bytes: u64,
    /// Seconds that batches spent waiting for the database, added up over all of them.
    pub database_seconds: f64,
    /// Seconds of computing, added up likewise.
    pub compute_seconds: f64,
    /// Seconds of waiting for Redis, added up likewise.
    pub redis_seconds: f64,
    /// Seconds of waiting for a quota, added up likewise.
    pub throttle_seconds: f64,
    /// Seconds of the run with fewer batches at once than configured, by the reason.
    #[serde(default)]
    pub backed_off: BackedOff,
    /// Of keys that were about to be renewed or to expire, how many were read; all zero where nothing is known.
    #[serde(default)]
    pub reads: Reads,
    /// The same by the values of the target lists behind the first.
    #[serde(default)]
    pub reads_by_target: ReadsByTarget,
    /// Seconds from start to end.
    pub seconds: f64,
    /// Keys written a second, over the whole run.
    pub keys_per_second: f64,
}

impl Record {
    /// Whether its tick has had its run: after an outage and after an interruption there is another attempt.
    pub fn ends_its_tick(&self) -> bool {
        !matches!(self.outcome, Outcome::Skipped | Outcome::Interrupted) && !self.is_out_of_reach()
    }

    /// Whether the database or Redis was.
    pub fn is_out_of_reach(&self) -> bool {
        matches!(self.cause, Some(Cause::DatabaseUnreachable | Cause::RedisUnreachable))
    }

    /// A run that did not begin, or did not live to tell what it did; with its tick, when it had one.
    pub fn without_run(
        job: &str,
        instance: &str,
        tick: Option<DateTime<Utc>>,
        started: DateTime<Utc>,
        (outcome, cause, why): (Outcome, Cause, String),
    ) -> Self {
        let finished = Utc::now().max(started);
        Self {
            run_id: uuid::Uuid::now_v7().to_string(),
            job: job.to_owned(),
            instance: instance.to_owned(),
            trigger: if tick.is_some() { Trigger::Schedule } else { Trigger::Manual },
            restricted: false,
            scheduled: tick,
            started,
            finished,
            outcome,
            cause: Some(cause),
            first_error: Some(in_words(&why)),
            counts: Counts::default(),
            bytes: 0,
            queries: 0,
            rows: 0,
            database_bytes: 0,
            database_seconds: 0.0,
            compute_seconds: 0.0,
            redis_seconds: 0.0,
            throttle_seconds: 0.0,
            backed_off: BackedOff::new(),
            reads: Reads::default(),
            reads_by_target: ReadsByTarget::new(),
            seconds: (finished - started).as_seconds_f64(),
            keys_per_second: 0.0,
        }
    }
}

/// Why a run ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Trigger {
    /// A tick of the schedule.
    Schedule,
    /// Somebody asked.
    Manual,
}

impl fmt::Display for Trigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Schedule => "schedule",
            Self::Manual => "manual",
        })
    }
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Every key that was due is warm.
    Ok,
    /// Some are, some are not.
    Partial,
    /// Nothing was written, and something should have been.
    Failed,
    /// It was told to stop.
    Interrupted,
    /// It did not begin: another run of the job was going.
    Skipped,
    /// It was not allowed to write.
    Refused,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ok => "ok",
            Self::Partial => "partial",
            Self::Failed => "failed",
            Self::Interrupted => "interrupted",
            Self::Skipped => "skipped",
            Self::Refused => "refused",
        })
    }
}

/// What kept a run from `ok`, for those who decide what to do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The database could not be reached, or refused the login.
    DatabaseUnreachable,
    /// The database refused a statement.
    Statement,
    /// The database could not deal with a value.
    Data,
    /// Redis could not be reached.
    RedisUnreachable,
    /// Redis refused a command.
    Redis,
    /// Redis has no room left, or less than `max_memory` leaves it.
    Memory,
    /// The run would have written more than its `max_bytes`.
    MaxBytes,
    /// There was so much less than before that it is not to be trusted (`max_shrink`).
    Shrunk,
    /// Single targets failed.
    Targets,
    /// The run took longer than its `timeout`.
    Timeout,
    /// The process was told to stop.
    Shutdown,
    /// Its lease went to another instance.
    LeaseLost,
    /// The run before had not ended.
    Overlap,
    /// A defect of warmd.
    Internal,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::DatabaseUnreachable => "database_unreachable",
            Self::Statement => "statement",
            Self::Data => "data",
            Self::RedisUnreachable => "redis_unreachable",
            Self::Redis => "redis",
            Self::Memory => "memory",
            Self::MaxBytes => "max_bytes",
            Self::Shrunk => "shrunk",
            Self::Targets => "targets",
            Self::Timeout => "timeout",
            Self::Shutdown => "shutdown",
            Self::LeaseLost => "lease_lost",
            Self::Overlap => "overlap",
            Self::Internal => "internal",
        })
    }
}

/// An error that ends a run.
#[derive(Debug, Clone)]
pub struct Failure {
    /// Of what sort.
    pub cause: Cause,
    /// In words, with file, line and column where there are some.
    pub message: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

impl From<crate::cache::Error> for Failure {
    fn from(error: crate::cache::Error) -> Self {
        let cause = if error.transient { Cause::RedisUnreachable } else { Cause::Redis };
        Self { cause, message: error.message }
    }
}

/// Keys, and what became of them. Two sums always hold:
///
/// - `keys = fresh + stale + missing + invalid + unreached`
/// - `written + empty + failed = stale + missing + invalid`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Values of the first target list: users, for most jobs.
    pub targets: u64,
    /// Targets times lists: the keys that the job is about.
    pub keys: u64,
    /// Present, and will last.
    pub fresh: u64,
    /// Present, but would expire too soon.
    pub stale: u64,
    /// Absent.
    pub missing: u64,
    /// Failed before anything was known of the key: the target makes no valid one, or Redis did not answer.
    pub invalid: u64,
    /// Not looked at, because the run ended before.
    pub unreached: u64,
    /// Stored.
    pub written: u64,
    /// Nothing was found for the target, and nothing stored.
    pub empty: u64,
    /// Neither stored nor empty; `invalid` is part of it.
    pub failed: u64,
    /// Of the fresh: present without TTL, so another owner's, and left alone.
    pub foreign: u64,
    /// Beside all these: removed, because no target leads to them any more. Older records do not tell.
    #[serde(default)]
    pub pruned: u64,
}

/// Of some keys, how many were read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reads {
    /// Keys that were looked at.
    pub sampled: u64,
    /// Of these, read since they were written.
    pub read: u64,
}

impl Reads {
    /// The share that was read; `None` when nothing is known.
    pub fn share(self) -> Option<f64> {
        (self.sampled > 0).then(|| self.read as f64 / self.sampled as f64)
    }

    /// Both together.
    pub fn and(self, other: Self) -> Self {
        Self { sampled: self.sampled + other.sampled, read: self.read + other.read }
    }
}

/// By the name of a target list and the value: what is known of each.
pub type ReadsByTarget = BTreeMap<String, BTreeMap<String, Reads>>;

/// What a run may know of those before it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Past {
    /// How long they took.
    pub expected: Duration,
    /// How many keys the last one had that was about all of the job's.
    pub keys: Option<u64>,
}

/// How far a run under way is, in keys; [`Counts`] says what the numbers mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Progress {
    /// Keys that are known so far.
    pub keys: u64,
    /// Of these, keys that are done with.
    pub done: u64,
    /// All targets are known: `keys` will not grow.
    pub complete: bool,
    /// See [`Counts::fresh`].
    pub fresh: u64,
    /// See [`Counts::written`].
    pub written: u64,
    /// See [`Counts::empty`].
    pub empty: u64,
    /// See [`Counts::failed`].
    pub failed: u64,
}
