//! How Redis and the keys are doing, looked at again and again beside the runs, and what is wrong.
//!
//! ```text
//! every interval:  Redis ─► vitals ─► window (summaries)
//!                        ─► a sample of each job's keys ─► coverage
//! every record ─────────────────────────────────────────► rules ─► alerts ─► log, webhook
//! ```
//!
//! Nothing is asked of a database, and of Redis little: its `INFO`, and the `PTTL` of a bounded number of keys.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use chrono::{DateTime, Utc};
use secrecy::SecretString;
use serde::Serialize;
use tokio::{sync::Notify, time::Instant};
use tokio_util::task::AbortOnDropHandle;

use crate::{
    cache,
    record::Record,
    scheduler::{Deployment, Scheduler},
    settings::{AlertSettings, MonitorSettings},
};

mod alerts;
mod jobs;
mod judge;
mod redis;
mod rules;
mod webhook;
mod window;

pub use alerts::{Alert, AlertState, Rule, Severity};
pub use jobs::KeyHealth;
pub use redis::Totals;
pub use window::{Point, Summaries, Summary};

use alerts::Alerts;
use jobs::Watch;
use redis::Redis;
use webhook::Webhook;
use window::Window;

/// Watches Redis and the jobs of one daemon; clones are the same one.
#[derive(Clone)]
pub struct Monitor(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    /// Other settings are there.
    changed: Notify,
}

struct State {
    settings: MonitorSettings,
    rules: AlertSettings,
    webhook: Option<Webhook>,
    window: Window,
    redis: Redis,
    jobs: BTreeMap<String, Watch>,
    alerts: Alerts,
}

/// Settings that are known to work.
pub struct Change {
    settings: MonitorSettings,
    rules: AlertSettings,
    url: Option<SecretString>,
}

/// How Redis and the keys are.
#[derive(Debug, Serialize)]
pub struct Health {
    /// The server.
    pub redis: RedisHealth,
    /// The keys of each job of which something is known.
    pub jobs: BTreeMap<String, KeyHealth>,
}

/// How Redis is.
#[derive(Debug, Serialize)]
pub struct RedisHealth {
    /// When it was last asked.
    pub sampled: Option<DateTime<Utc>>,
    /// Why it did not answer then.
    pub error: Option<String>,
    /// What was measured last.
    pub latest: Option<Latest>,
    /// How far back the summaries go.
    pub window_seconds: f64,
    /// Over the window.
    pub summaries: Summaries,
    /// The course of it, the oldest first.
    pub points: Vec<Point>,
}

/// The newest point, and what it is measured by.
#[derive(Debug, Serialize)]
pub struct Latest {
    /// The point.
    #[serde(flatten)]
    pub point: Point,
    /// Bytes that Redis may use, where it has a bound.
    pub max_memory_bytes: Option<u64>,
}

/// What a scrape tells.
pub struct Glance {
    /// What was measured last, and whether Redis answered; `None` before the first look.
    pub redis: Option<(Point, bool)>,
    /// Bytes that Redis may use, where it has a bound.
    pub max_memory: Option<u64>,
    /// Since the monitor began.
    pub totals: Totals,
    /// The keys of each job of which something is known.
    pub jobs: BTreeMap<String, KeyHealth>,
    /// How many alerts go on.
    pub active: [(Severity, usize); 2],
}

/// A server that does not answer for this long is away.
const PATIENCE: Duration = Duration::from_secs(5);

/// Keys of all jobs that are looked at together, at most: some tens of milliseconds of Redis's time.
const MOST_KEYS: usize = 10_000;

/// Points that are told of the course.
const SHOWN_POINTS: usize = 300;

impl Monitor {
    /// Settings that a monitor can work with.
    pub fn prepare(settings: &MonitorSettings, rules: &AlertSettings) -> Result<Change, String> {
        Ok(Change { settings: settings.clone(), rules: rules.clone(), url: rules.webhook()? })
    }

    /// A monitor that has not begun to look.
    pub fn new(change: &Change) -> Self {
        Self(Arc::new(Inner {
            state: Mutex::new(State {
                settings: change.settings.clone(),
                rules: change.rules.clone(),
                webhook: None,
                window: Window::new(change.settings.window.0),
                redis: Redis::default(),
                jobs: BTreeMap::new(),
                alerts: Alerts::default(),
            }),
            changed: Notify::new(),
        }))
    }

    /// Looks, from now on and until what is given is dropped.
    pub fn start(&self, change: Change, scheduler: Scheduler) -> AbortOnDropHandle<()> {
        self.change(change, &scheduler);
        let monitor = self.clone();
        AbortOnDropHandle::new(tokio::spawn(async move {
            let mut looked: Option<Instant> = None;
            loop {
                let interval = monitor.0.state().settings.interval.0;
                // Also after a reload: two looks in a row must not see the same moment.
                let next = looked.map_or_else(Instant::now, |looked| looked + interval);
                tokio::select! {
                    () = tokio::time::sleep_until(next) => {
                        looked = Some(Instant::now());
                        monitor.look(&scheduler.deployment()).await;
                    }
                    // The interval may be another.
                    () = monitor.0.changed.notified() => {}
                }
            }
        }))
    }

    /// Works with other settings from now on.
    pub fn change(&self, change: Change, scheduler: &Scheduler) {
        let Change { settings, rules, url } = change;
        let mut state = self.0.state();
        let instance = scheduler.deployment().instance.clone();
        let led = match (&state.webhook, url) {
            (Some(webhook), Some(url)) => webhook.lead_to(url, instance),
            (None, Some(url)) => Webhook::new(url, instance).map(|webhook| state.webhook = Some(webhook)),
            (_, None) => {
                let none = state.webhook.take();
                none.into_iter().for_each(|webhook| webhook.give_up("the settings name no webhook any more"));
                Ok(())
            }
        };
        if let Err(why) = led {
            tracing::error!("alerts do not go where the settings say: {why}");
        }
        state.window.set_length(settings.window.0);
        (state.settings, state.rules) = (settings, rules);
        drop(state);
        self.0.changed.notify_one();
    }

    /// Tells nobody of alerts any more; those that were not told yet are in the log.
    pub fn end(&self) {
        let webhook = self.0.state().webhook.take();
        webhook.into_iter().for_each(|webhook| webhook.give_up("the daemon ends"));
    }

    /// Takes note of a record.
    pub fn observe(&self, record: &Record) {
        let mut state = self.0.state();
        state.jobs.entry(record.job.clone()).or_insert_with(|| Watch::new(record.started)).observe(record);
    }

    /// One look at everything.
    async fn look(&self, deployment: &Deployment) {
        let (store, prefix) = (&deployment.store, &deployment.prefix);
        let vitals = match tokio::time::timeout(PATIENCE, store.vitals(prefix)).await {
            Ok(Ok(vitals)) => Ok(vitals),
            Ok(Err(error)) => Err(error.message),
            Err(_) => Err(format!("Redis has not answered for {} s", PATIENCE.as_secs())),
        };
        let is_there = vitals.is_ok();
        let now = Utc::now();
        {
            let mut state = self.0.state();
            state.redis.turn_to(store.address());
            if let Some(point) = state.redis.measure(vitals, now) {
                state.window.add(point);
            }
        }
        if is_there {
            match tokio::time::timeout(PATIENCE, self.look_at_keys(deployment)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!("the keys of jobs were not looked at: {error}"),
                Err(_) => tracing::debug!("the keys of jobs were not looked at: Redis did not answer in time"),
            }
        }
        self.0.state().judge(&deployment.jobs, Utc::now());
    }

    async fn look_at_keys(&self, deployment: &Deployment) -> Result<(), cache::Error> {
        let (store, prefix) = (&deployment.store, &deployment.prefix);
        let names: Vec<&str> = deployment.jobs.iter().map(|job| job.name.as_str()).collect();
        let now = Utc::now();
        let ticks = store.ticks_of(prefix, &names).await?;
        let marks = ticks.iter().map(|ticks| ticks.newest_until(now));
        let wanted: Vec<&str> = {
            let mut state = self.0.state();
            let mut wants = |(name, mark): (&&str, _)| {
                let watch = state.jobs.entry((*name).to_owned()).or_insert_with(|| Watch::new(now));
                watch.mark(mark);
                watch.wants_sample()
            };
            names.iter().zip(marks).filter_map(|(name, mark)| wants((name, mark)).then_some(*name)).collect()
        };
        let samples = store.samples(prefix, &wanted).await?;
        for (name, sample) in wanted.into_iter().zip(samples) {
            if let Some(watch) = self.0.state().jobs.get_mut(name) {
                watch.set_sample(sample);
            }
        }
        let share = MOST_KEYS / deployment.jobs.len().max(1);
        for job in &deployment.jobs {
            let sample = self.0.state().jobs.get(&job.name).and_then(|watch| watch.sample(share));
            let Some((keys, all)) = sample else { continue };
            let presence = store.presence(&keys).await?;
            let health = KeyHealth::of(&keys, &presence, job.ttl, all, Utc::now());
            if let Some(watch) = self.0.state().jobs.get_mut(&job.name) {
                watch.keys = Some(health);
            }
        }
        Ok(())
    }

    /// How Redis and the keys are.
    pub fn health(&self) -> Health {
        let state = self.0.state();
        let points = state.window.points(SHOWN_POINTS);
        Health {
            redis: RedisHealth {
                sampled: state.redis.sampled,
                error: state.redis.error.clone(),
                latest: state.window.newest().map(|point| Latest { point, max_memory_bytes: state.max_memory() }),
                window_seconds: state.settings.window.0.as_secs_f64(),
                summaries: state.window.summaries(),
                points,
            },
            jobs: state.keys(),
        }
    }

    /// What is wrong, and what was within a day: the most urgent first, then the newest.
    pub fn alerts(&self) -> Vec<Alert> {
        self.0.state().alerts.list(Utc::now())
    }

    /// What a scrape tells.
    pub fn glance(&self) -> Glance {
        let state = self.0.state();
        let count = |severity| (severity, state.alerts.active(severity));
        Glance {
            redis: state.window.newest().map(|point| (point, state.redis.error.is_none())),
            max_memory: state.max_memory(),
            totals: state.redis.totals,
            jobs: state.keys(),
            active: [count(Severity::Warning), count(Severity::Critical)],
        }
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn max_memory(&self) -> Option<u64> {
        self.redis.vitals().map(|vitals| vitals.most).filter(|most| *most > 0)
    }

    fn keys(&self) -> BTreeMap<String, KeyHealth> {
        self.jobs.iter().filter_map(|(name, watch)| Some((name.clone(), watch.keys.clone()?))).collect()
    }
}
