//! Runs that somebody asks the daemon for. They take the lease as every run does; a tick that comes meanwhile waits for
//! their end, and then finds what is fresh.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use tokio::sync::oneshot;

use super::{Active, Deployment, Phase, Scheduler, tick};
use crate::{
    cache::{Claimed, Lease},
    job::Job,
    problems::unknown,
    record::{Meter, Trigger},
    run::Stop,
};

/// A run by hand that is going.
pub(super) struct ByHand {
    pub since: DateTime<Utc>,
    /// What is out of reach, while it tries again.
    pub waits_for: Option<String>,
    /// How far it is.
    pub meter: Arc<Meter>,
}

/// Why a run by hand does not begin, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotBegun {
    /// There is no such job among those that are enabled.
    Unknown(String),
    /// The job runs already, here or on another instance, or a tick of it waits.
    Going(String),
    /// Redis, which has the leases, cannot be asked.
    Unreachable(String),
    /// The daemon ends.
    Stopping,
}

/// A job's entry among the runs by hand, for as long as this lives.
struct Place {
    scheduler: Scheduler,
    job: String,
    /// The one of the entry.
    meter: Arc<Meter>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.scheduler.0.state();
        state.by_hand.remove(&self.job);
        if let Some(active) = state.active.get(&self.job) {
            active.renewed.notify_one();
        }
        drop(state);
        self.scheduler.0.changed.notify_one();
    }
}

impl Scheduler {
    /// Begins a run of a job, and returns when it has its lease.
    pub async fn run_now(&self, name: &str) -> Result<(), NotBegun> {
        let (deployment, job, place) = self.enter_by_hand(name)?;
        let (answer, answered) = oneshot::channel();
        // A task of its own: whoever asked may not wait for the answer.
        self.0.tasks.spawn(live(place, deployment, job, answer));
        answered.await.unwrap_or(Err(NotBegun::Stopping))
    }

    fn enter_by_hand(&self, name: &str) -> Result<(Arc<Deployment>, Arc<Job>, Place), NotBegun> {
        if self.0.shutdown.is_cancelled() {
            return Err(NotBegun::Stopping);
        }
        let mut state = self.0.state();
        let deployment = Arc::clone(&state.deployment);
        let Some(job) = deployment.job(name).cloned() else {
            let known: Vec<&String> = deployment.jobs.iter().map(|job| &job.name).collect();
            return Err(NotBegun::Unknown(unknown("job", name, &known)));
        };
        if let Some(active) = state.active.get(name) {
            return Err(NotBegun::Going(going(name, active)));
        }
        if let Some(ByHand { since, .. }) = state.by_hand.get(name) {
            let since = since.format("%Y-%m-%d %H:%M:%S UTC");
            return Err(NotBegun::Going(format!("{name} has been running by hand since {since}")));
        }
        let meter = Arc::new(Meter::default());
        let by_hand = ByHand { since: Utc::now(), waits_for: None, meter: Arc::clone(&meter) };
        state.by_hand.insert(name.to_owned(), by_hand);
        Ok((deployment, job, Place { scheduler: self.clone(), job: name.to_owned(), meter }))
    }

    /// Whether a run by hand of this job is going. The lease says so, too, but not where there is no server.
    pub(super) fn runs_by_hand(&self, name: &str) -> bool {
        self.0.state().by_hand.contains_key(name)
    }
}

fn going(name: &str, active: &Active) -> String {
    match &active.phase {
        Phase::Running { since, .. } => {
            format!("{name} has been running since {}", since.format("%Y-%m-%d %H:%M:%S UTC"))
        }
        Phase::Claiming => format!("{name} is about to run: its tick of {} asks for the lease", active.tick.at),
        Phase::Elsewhere => format!("{name} runs on another instance"),
        Phase::Waiting { message, .. } => format!("a tick of {name} waits: {message}"),
    }
}

async fn live(place: Place, deployment: Arc<Deployment>, job: Arc<Job>, answer: oneshot::Sender<Result<(), NotBegun>>) {
    let claimed = match deployment.store.claim(deployment.claim(&job, None)).await {
        Ok(Claimed::Granted(lease)) => Ok(lease),
        Ok(Claimed::Held(holder)) => {
            let since = holder.since.format("%Y-%m-%d %H:%M:%S UTC");
            let words = format!("{} runs on another instance, {}, since {since}", job.name, holder.instance);
            Err(NotBegun::Going(words))
        }
        // Only ticks are ever done.
        Ok(Claimed::Done) => Err(NotBegun::Going(format!("{} has just run", job.name))),
        Err(error) => Err(NotBegun::Unreachable(error.message)),
    };
    match claimed {
        Ok(lease) => {
            let _ = answer.send(Ok(()));
            granted(&place, &deployment, &job, lease).await;
        }
        Err(why) => {
            // Before the answer: whoever asks again at once is not to hear of this attempt.
            drop(place);
            let _ = answer.send(Err(why));
        }
    }
}

async fn granted(place: &Place, deployment: &Arc<Deployment>, job: &Arc<Job>, lease: Lease) {
    let inner = &place.scheduler.0;
    inner.changed.notify_one();
    tracing::debug!("{}: a run by hand begins", job.name);
    let stop =
        Stop { shutdown: inner.shutdown.clone(), at_once: inner.at_once.clone(), lease_lost: lease.lost().clone() };
    let run = tick::run_alone(deployment, job, Trigger::Manual, None, stop, &place.meter);
    let record = tick::watched(run, &place.meter, |waits_for| {
        if let Some(by_hand) = inner.state().by_hand.get_mut(&job.name) {
            by_hand.waits_for = waits_for;
        }
        inner.changed.notify_one();
    });
    let record = record.await;
    tick::conclude(&place.scheduler, deployment, &record, lease, None).await;
}
