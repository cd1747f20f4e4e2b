//! How things stand, for those who watch: HTTP and, some day, others.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};

use super::{Deployment, Phase, Scheduler, State, by_hand::ByHand};
use crate::record::Progress;

/// How a job stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// What it is doing.
    pub doing: Doing,
    /// Its next tick, if it has a schedule.
    pub next_tick: Option<DateTime<Utc>>,
    /// The time from that tick to the one after it.
    pub interval: Option<TimeDelta>,
}

/// What a job is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Doing {
    /// Nothing.
    Idle,
    /// Asks for the lease.
    Starting,
    /// Runs on another instance, for whose end a tick waits here.
    Elsewhere,
    /// A tick waits for what is out of reach, in words.
    Waiting(String),
    /// Runs here.
    Running {
        /// Since when.
        since: DateTime<Utc>,
        /// Because somebody asked.
        by_hand: bool,
        /// What is out of reach, in words, while it tries again.
        waits_for: Option<String>,
        /// How far it is.
        progress: Progress,
    },
}

impl Scheduler {
    /// What the daemon works with now.
    pub fn deployment(&self) -> Arc<Deployment> {
        self.0.deployment()
    }

    /// How each job stands that is enabled, by its name.
    pub fn standings(&self) -> BTreeMap<String, Standing> {
        let state = self.0.state();
        let standing = |name: &str| Standing {
            doing: doing(&state, name),
            next_tick: state.plan.next_of(name),
            interval: state.plan.interval_of(name),
        };
        state.deployment.jobs.iter().map(|job| (job.name.clone(), standing(&job.name))).collect()
    }

    /// How many jobs have ticks to come.
    pub fn scheduled(&self) -> usize {
        self.0.state().plan.len()
    }

    /// Why the last reload failed, if it did.
    pub fn reload_failure(&self) -> Option<String> {
        self.0.state().reload_failed.clone()
    }

    /// Whether no run begins any more.
    pub fn is_stopping(&self) -> bool {
        self.0.shutdown.is_cancelled()
    }

    /// How long ago the heart last beat, which it does twice a second.
    pub fn last_beat(&self) -> Option<Duration> {
        self.0.state().beaten.map(|beaten| beaten.elapsed())
    }
}

fn doing(state: &State, name: &str) -> Doing {
    // A tick may wait for a run by hand, which is the one that does something.
    if let Some(ByHand { since, waits_for, meter }) = state.by_hand.get(name) {
        let (waits_for, progress) = (waits_for.clone(), meter.progress());
        return Doing::Running { since: *since, by_hand: true, waits_for, progress };
    }
    match state.active.get(name).map(|active| &active.phase) {
        None => Doing::Idle,
        Some(Phase::Claiming) => Doing::Starting,
        Some(Phase::Elsewhere) => Doing::Elsewhere,
        Some(Phase::Waiting { message, .. }) => Doing::Waiting(message.clone()),
        Some(Phase::Running { since, waits_for, meter }) => {
            let (waits_for, progress) = (waits_for.clone(), meter.progress());
            Doing::Running { since: *since, by_hand: false, waits_for, progress }
        }
    }
}
