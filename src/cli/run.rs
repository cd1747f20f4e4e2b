//! `warmd run`: the daemon.

use std::{collections::BTreeMap, process::ExitCode, sync::Arc, time::Duration};

use anyhow::Context;
use chrono::Utc;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::Instant,
};

use super::{
    Abort, Global, NOT_WARMED,
    setup::{Setup, surroundings},
};
use crate::{
    cache::Store,
    http::{self, Http, Metrics, Refused},
    job::Job,
    monitor::{self, Monitor},
    scheduler::{Deployment, Observer, Scheduler},
    systemd,
    throttle::Throttle,
};

#[derive(clap::Args)]
pub(super) struct Options {}

/// Many jobs change phase many times a second, and every telling makes work for the service manager.
const BETWEEN_STATUSES: Duration = Duration::from_secs(1);

/// The two signals that tell the daemon to stop.
struct Stops {
    terminate: Signal,
    interrupt: Signal,
}

impl Stops {
    fn listen() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

pub(super) async fn run(global: &Global, _: &Options) -> Result<ExitCode, Abort> {
    // First of all: a signal that comes while the settings are read must not end the process unheard.
    let (mut stops, mut hangups) = listen().context("cannot listen to signals")?;
    let setup = Setup::load(global)?;
    tracing::info!("settings: {}", serde_json::to_string(&setup.settings).context("the settings")?);
    let mut grace = setup.settings.scheduler.shutdown_grace.0;
    let metrics = Arc::new(Metrics::default());
    let watching = watching(&setup)?;
    let monitor = Monitor::new(&watching);
    let observer: Observer = {
        let (metrics, monitor) = (Arc::clone(&metrics), monitor.clone());
        Arc::new(move |record| {
            metrics.observe(record);
            monitor.observe(record);
        })
    };
    // Before anything runs: an address that is in use ends the daemon.
    let prepared = Http::prepare(&setup.settings.http).await?;
    let deployment = deploy(setup, &observer, None).await?;
    say_jobs(&deployment);
    let scheduler = Scheduler::new(deployment, Utc::now());
    let pulse = scheduler.start().await?;
    let watch = monitor.start(watching, scheduler.clone());
    let mut http = Http::start(prepared, scheduler.clone(), metrics, monitor.clone());
    systemd::ready(&scheduler.status());
    // When the status that has changed since may be told.
    let mut telling = None;
    let mut told = Instant::now();
    let reason = loop {
        tokio::select! {
            reason = stops.next() => break reason,
            _ = hangups.recv() => {
                systemd::reloading();
                match reload(global, &observer, &http, &scheduler).await {
                    Ok(reloaded) => {
                        say_jobs(&reloaded.deployment);
                        scheduler.replace(reloaded.deployment, Utc::now());
                        monitor.change(reloaded.watching, &scheduler);
                        http.change(reloaded.http).await;
                        grace = reloaded.grace;
                    }
                    Err(abort) => {
                        tracing::error!("the reload failed, everything stays as it was: {}", abort.message);
                        scheduler.reload_failed(&abort.message);
                    }
                }
                systemd::ready(&scheduler.status());
            }
            () = scheduler.changed() => telling = telling.or(Some(told + BETWEEN_STATUSES)),
            () = tokio::time::sleep_until(telling.unwrap_or(told)), if telling.is_some() => {
                systemd::status(&scheduler.status());
                (telling, told) = (None, Instant::now());
            }
        }
    };
    tracing::info!("{reason}: runs end at their next batch, at the latest in {grace:.0?}");
    let status = scheduler.status();
    // Before anybody is told: whoever asks then finds that it is so.
    scheduler.stop();
    systemd::stopping(&format!("stopping: {status}"));
    let dropped = tokio::select! {
        dropped = scheduler.drain(pulse, grace) => dropped,
        reason = stops.next() => {
            tracing::warn!("{reason} again: ends at once");
            // Not by returning: that would wait for threads that compute.
            std::process::exit(i32::from(NOT_WARMED));
        }
    };
    drop(watch);
    monitor.end();
    // Who watches may see the drain.
    http.end().await;
    if dropped.is_empty() {
        tracing::info!("stopped");
        return Ok(ExitCode::SUCCESS);
    }
    tracing::error!("did not end in {grace:.0?} and was dropped: {}", dropped.join(", "));
    Ok(ExitCode::from(NOT_WARMED))
}

fn listen() -> std::io::Result<(Stops, Signal)> {
    Ok((Stops::listen()?, signal(SignalKind::hangup())?))
}

/// What new settings lead to, all of it known to work.
struct Reloaded {
    deployment: Deployment,
    watching: monitor::Change,
    http: http::Change,
    grace: Duration,
}

async fn reload(global: &Global, observer: &Observer, http: &Http, now: &Scheduler) -> Result<Reloaded, Abort> {
    let setup = Setup::load(global)?;
    let grace = setup.settings.scheduler.shutdown_grace.0;
    let watching = watching(&setup)?;
    let http = http.prepare_change(&setup.settings.http).await?;
    let deployment = deploy(setup, observer, Some(&now.deployment())).await?;
    Ok(Reloaded { deployment, watching, http, grace })
}

fn watching(setup: &Setup) -> Result<monitor::Change, Abort> {
    Monitor::prepare(&setup.settings.monitor, &setup.settings.alerts).map_err(Abort::configuration)
}

impl From<Refused> for Abort {
    fn from(refused: Refused) -> Self {
        // What passes by itself is tried again by the service manager: the daemon before may be about to end.
        match refused.passing {
            true => Self::unavailable(refused.message),
            false => Self::configuration(refused.message),
        }
    }
}

/// Makes everything that runs need, without a connection: what is away now may be there at the next tick.
async fn deploy(setup: Setup, observer: &Observer, before: Option<&Deployment>) -> Result<Deployment, Abort> {
    let settings = &setup.settings;
    let server = settings.redis.server().map_err(Abort::configuration)?;
    let mut store = Store::lazy(&server).map_err(Abort::configuration)?;
    if let Some(before) = before {
        // Runs of before go on, and look things up.
        store.count_with(&before.store);
    }
    let throttle = Arc::new(Throttle::new(settings.quotas()));
    let history = setup.history().map(Arc::new);
    let jobs: Vec<Arc<Job>> = setup.jobs.iter().filter(|job| job.enabled).cloned().map(Arc::new).collect();
    let mut around = BTreeMap::new();
    for job in &jobs {
        if !around.contains_key(&job.database) {
            around.insert(job.database.clone(), Arc::new(surroundings(settings, job, &store, &throttle)?));
        }
    }
    Ok(Deployment {
        jobs,
        around,
        store,
        history,
        instance: settings.instance(),
        lease: settings.scheduler.lease.0,
        keep: settings.history.keep.0,
        prefix: settings.redis.key_prefix.clone(),
        observer: Arc::clone(observer),
    })
}

fn say_jobs(deployment: &Deployment) {
    let scheduled = deployment.jobs.iter().filter(|job| job.schedule.is_some()).count();
    match scheduled {
        0 => tracing::warn!("no enabled job has a schedule: nothing will run; add jobs and reload"),
        count => {
            let jobs = if count == 1 { "job" } else { "jobs" };
            tracing::info!("{count} {jobs} on schedule, as instance {}", deployment.instance);
        }
    }
}
