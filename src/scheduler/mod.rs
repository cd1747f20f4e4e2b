//! When: hands each tick of the schedule to one run, once, on one of the instances.
//!
//! ```text
//! heartbeat ─► plan ─────► tick ──► lease ──► run ──► record, release
//! (twice a     (what is    (waits   (Redis)
//! second)      due now)    its turn)
//! ```
//!
//! A job never overlaps itself. A tick is over when its run has ended for any other reason than a database or a Redis
//! out of reach: then it waits, until they are back or the next tick takes its place.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use tokio::sync::Notify;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    cache::{Claim, Store, Tick},
    history::History,
    job::{CatchUp, Job},
    record::{Cause, Meter, Outcome, Record},
    run::Surroundings,
    systemd,
};

mod by_hand;
mod heartbeat;
mod plan;
mod tick;
mod watch;

pub use by_hand::NotBegun;
pub use watch::{Doing, Standing};

use by_hand::ByHand;
use heartbeat::Heartbeat;
use plan::{Due, Plan};

/// What a daemon works with; a reload replaces it as a whole, and a run keeps the one that it began with.
pub struct Deployment {
    /// All jobs that are enabled.
    pub jobs: Vec<Arc<Job>>,
    /// What runs find around them, by the name of their database.
    pub around: BTreeMap<Option<String>, Arc<Surroundings>>,
    /// Where entries and leases go.
    pub store: Store,
    /// Where records go.
    pub history: Option<Arc<History>>,
    /// Stands before the names of leases, as before every key.
    pub prefix: String,
    /// Who this is.
    pub instance: String,
    /// How long a dead instance keeps others out.
    pub lease: Duration,
    /// How long records are kept.
    pub keep: Duration,
    /// Who hears of every record, beside log and history.
    pub observer: Observer,
}

/// Is told of every record once, at the end of its run.
pub type Observer = Arc<dyn Fn(&Record) + Send + Sync>;

impl Deployment {
    fn job(&self, name: &str) -> Option<&Arc<Job>> {
        self.jobs.iter().find(|job| job.name == name)
    }

    fn claim<'c>(&'c self, job: &'c Job, tick: Option<Tick>) -> Claim<'c> {
        Claim { prefix: &self.prefix, job: &job.name, instance: &self.instance, tick, length: self.lease }
    }
}

/// The scheduler of one daemon; clones are the same one.
#[derive(Clone)]
pub struct Scheduler(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
    at_once: CancellationToken,
    changed: Notify,
}

struct State {
    plan: Plan,
    deployment: Arc<Deployment>,
    /// Jobs with a tick that is not over.
    active: HashMap<String, Active>,
    /// Jobs that run because somebody asked.
    by_hand: HashMap<String, ByHand>,
    /// When the heart last beat.
    beaten: Option<Instant>,
    last: Option<String>,
    reload_failed: Option<String>,
    /// When old records were last removed.
    tidied: Option<DateTime<Utc>>,
}

/// A tick that is not over.
struct Active {
    tick: Tick,
    /// The newest tick that found a run of this one going: recorded as missed, so nobody is to run it.
    missed: Option<DateTime<Utc>>,
    phase: Phase,
    /// Its run has ended; the lease is given back, and the record is kept. A newer tick need not wait for that.
    ended: bool,
    /// A newer tick has taken the place of the one that waits.
    renewed: Arc<Notify>,
}

enum Phase {
    /// Asks for the lease.
    Claiming,
    /// Another instance runs the job.
    Elsewhere,
    /// Something is out of reach.
    Waiting { cause: Cause, message: String },
    /// Runs, or tries to: what is out of reach, if anything, and how far it is.
    Running { since: DateTime<Utc>, waits_for: Option<String>, meter: Arc<Meter> },
}

/// Beats the scheduler until it is told to stop.
pub struct Pulse(Heartbeat);

impl Scheduler {
    /// A scheduler that has not begun to beat.
    pub fn new(deployment: Deployment, now: DateTime<Utc>) -> Self {
        let mut plan = Plan::new(now);
        plan.replace(deployment.jobs.iter().map(AsRef::as_ref), now);
        Self(Arc::new(Inner {
            state: Mutex::new(State {
                plan,
                deployment: Arc::new(deployment),
                active: HashMap::new(),
                by_hand: HashMap::new(),
                beaten: None,
                last: None,
                reload_failed: None,
                tidied: None,
            }),
            tasks: TaskTracker::new(),
            shutdown: CancellationToken::new(),
            at_once: CancellationToken::new(),
            changed: Notify::new(),
        }))
    }

    /// Begins to beat, and looks for ticks that passed while no daemon was running.
    pub async fn start(&self) -> anyhow::Result<Pulse> {
        let scheduler = self.clone();
        // Who asks before the first beat is told how long it has been due.
        self.0.state().beaten = Some(Instant::now());
        let interval = systemd::watchdog_interval();
        let pulse = Heartbeat::start(move || {
            scheduler.look(Utc::now());
            // Told by the beat itself: a daemon whose scheduler hangs must not look alive.
            if interval.is_some() {
                systemd::watchdog();
            }
        });
        let pulse = Pulse(pulse.await?);
        self.catch_up(&self.0.deployment().jobs, Utc::now());
        Ok(pulse)
    }

    fn catch_up(&self, jobs: &[Arc<Job>], started: DateTime<Utc>) {
        for job in jobs.iter().filter(|job| job.catch_up == CatchUp::Once && job.schedule.is_some()) {
            self.0.tasks.spawn(tick::catch_up(self.clone(), Arc::clone(job), started));
        }
    }

    /// Starts what is due.
    pub fn look(&self, now: DateTime<Utc>) {
        if self.0.shutdown.is_cancelled() {
            return;
        }
        let due = {
            let mut state = self.0.state();
            state.beaten = Some(Instant::now());
            state.plan.look(now)
        };
        due.into_iter().for_each(|due| self.begin(due, now));
    }

    /// Works with other settings and jobs from now on.
    pub fn replace(&self, deployment: Deployment, now: DateTime<Utc>) {
        let mut state = self.0.state();
        let due = state.plan.replace(deployment.jobs.iter().map(AsRef::as_ref), now);
        let before = std::mem::replace(&mut state.deployment, Arc::new(deployment));
        let new: Vec<Arc<Job>> =
            state.deployment.jobs.iter().filter(|job| before.job(&job.name).is_none()).cloned().collect();
        state.reload_failed = None;
        // Those that wait look at what is new: their database may be another, their job gone.
        state.active.values().for_each(|active| active.renewed.notify_one());
        drop(state);
        due.into_iter().for_each(|due| self.begin(due, now));
        self.catch_up(&new, now);
        if let Some(history) = before.history.clone() {
            self.0.tasks.spawn(async move { _ = history.close().await });
        }
        self.0.changed.notify_one();
    }

    /// Remembers that a reload failed, for the status.
    pub fn reload_failed(&self, why: &str) {
        self.0.state().reload_failed = Some(why.lines().next().unwrap_or_default().to_owned());
        self.0.changed.notify_one();
    }

    fn begin(&self, due: Due, now: DateTime<Utc>) {
        let Due { job: name, tick: at, again } = due;
        let tick = Tick { at, again };
        let mut state = self.0.state();
        let deployment = Arc::clone(&state.deployment);
        let skipped = match state.active.get_mut(&name) {
            None => {
                let active =
                    Active { tick, missed: None, phase: Phase::Claiming, ended: false, renewed: Arc::default() };
                state.active.insert(name.clone(), active);
                self.0.tasks.spawn(tick::live(self.clone(), name));
                return;
            }
            // What is due already is as good as a run in the place of an old tick.
            Some(_) if again => None,
            Some(Active { phase: Phase::Running { since, .. }, ended: false, missed, .. }) => {
                *missed = Some(at);
                let why = format!("the run before has been going since {}", since.format("%Y-%m-%d %H:%M:%S UTC"));
                Some((at, Cause::Overlap, why))
            }
            Some(active) => {
                let before = std::mem::replace(&mut active.tick, tick);
                active.renewed.notify_one();
                match &active.phase {
                    Phase::Waiting { cause, message } if !before.again => Some((before.at, *cause, message.clone())),
                    _ => None,
                }
            }
        };
        drop(state);
        if let Some((tick, cause, why)) = skipped {
            tracing::warn!("{name}: the tick of {} is missed: {why}", tick.format("%Y-%m-%d %H:%M:%S UTC"));
            let why = (Outcome::Skipped, cause, why);
            let record = Record::without_run(&name, &deployment.instance, Some(tick), now, why);
            self.0.tasks.spawn(async move { tick::keep(&deployment, &record).await });
        }
    }

    /// One line on how things stand.
    pub fn status(&self) -> String {
        let state = self.0.state();
        let mut parts = Vec::new();
        parts.extend(state.reload_failed.as_ref().map(|why| format!("reload failed: {why}")));
        let mut active: Vec<(&String, &Active)> = state.active.iter().collect();
        active.sort_by_key(|(name, _)| name.as_str());
        for (name, active) in active {
            match &active.phase {
                Phase::Running { since, waits_for: None, .. } => {
                    parts.push(format!("running: {name} since {}", since.format("%H:%M:%S")));
                }
                Phase::Running { waits_for: Some(message), .. } | Phase::Waiting { message, .. } => {
                    parts.push(format!("waiting: {name}: {message}"));
                }
                Phase::Claiming | Phase::Elsewhere => {}
            }
        }
        let mut by_hand: Vec<(&String, &ByHand)> = state.by_hand.iter().collect();
        by_hand.sort_by_key(|(name, _)| name.as_str());
        for (name, ByHand { since, waits_for, .. }) in by_hand {
            parts.push(match waits_for {
                None => format!("running: {name} by hand since {}", since.format("%H:%M:%S")),
                Some(message) => format!("waiting: {name}: {message}"),
            });
        }
        parts.extend(state.last.as_ref().map(|last| format!("last: {last}")));
        parts.push(match state.plan.next() {
            Some((tick, job)) => format!("next: {job} at {}", tick.format("%Y-%m-%d %H:%M:%S UTC")),
            None => "no enabled job has a schedule".to_owned(),
        });
        parts.push(match state.plan.len() {
            1 => "1 job".to_owned(),
            jobs => format!("{jobs} jobs"),
        });
        parts.join("; ")
    }

    /// Waits until the status is another.
    pub async fn changed(&self) {
        self.0.changed.notified().await;
    }

    /// No new runs; those that go end at their next batch.
    pub fn stop(&self) {
        self.0.shutdown.cancel();
    }

    /// Waits for the runs to end, of a scheduler that was told to stop. After `grace`, they are dropped where they stand.
    /// Gives the jobs for which that was necessary.
    pub async fn drain(&self, mut pulse: Pulse, grace: Duration) -> Vec<String> {
        pulse.0.stop().await;
        self.0.tasks.close();
        let mut dropped = Vec::new();
        if tokio::time::timeout(grace, self.0.tasks.wait()).await.is_err() {
            dropped.extend(self.unfinished());
            self.0.at_once.cancel();
            // Only the records and the leases are left.
            let _ = tokio::time::timeout(LAST_WORDS, self.0.tasks.wait()).await;
        }
        if let Some(history) = &self.0.deployment().history {
            // Records that wait must not hold the end up for longer than the service manager does.
            let _ = tokio::time::timeout(LAST_WORDS, history.close()).await;
        }
        dropped
    }
}

impl Scheduler {
    fn unfinished(&self) -> Vec<String> {
        let state = self.0.state();
        state.active.keys().chain(state.by_hand.keys()).cloned().collect()
    }
}

/// What it takes at most to keep the records of dropped runs.
const LAST_WORDS: Duration = Duration::from_secs(5);

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn deployment(&self) -> Arc<Deployment> {
        Arc::clone(&self.state().deployment)
    }
}
