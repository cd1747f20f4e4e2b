//! The life of one tick: lease, run, record, release.

use std::{
    ops::RangeInclusive,
    sync::Arc,
    time::{Duration, Instant},
};

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use chrono::{DateTime, TimeDelta, Utc};

use super::{Active, Deployment, Due, Phase, Scheduler};
use crate::{
    cache::{Claimed, Done, Lease, Tick},
    job::{CatchUp, Job},
    record::{Cause, Meter, Outcome, Past, Record, Trigger},
    run::{self, Request, Stop},
    telemetry,
};

/// What a look at the lease led to.
enum Next {
    /// The tick is over, here or on another instance.
    Over,
    /// Ask again after this time, or when something changes.
    Again(Duration),
}

/// Lives until the tick, or the newer one that took its place, is over.
pub(super) async fn live(scheduler: Scheduler, name: String) {
    let inner = &scheduler.0;
    let mut delays = delays();
    loop {
        let (tick, renewed, deployment) = {
            let state = inner.state();
            let Some(active) = state.active.get(&name) else { return };
            (active.tick, Arc::clone(&active.renewed), Arc::clone(&state.deployment))
        };
        let next = match deployment.job(&name) {
            Some(job) if !inner.shutdown.is_cancelled() => {
                attempt(&scheduler, &deployment, job, tick, &mut delays).await
            }
            // A reload took it away, or the daemon ends: whoever runs next finds what was missed.
            _ => Next::Over,
        };
        match next {
            Next::Over => {
                let mut state = inner.state();
                // A newer tick may have come while this one turned out to be done.
                let is_newer = |active: &Active| active.tick != tick && !inner.shutdown.is_cancelled();
                if state.active.get(&name).is_some_and(is_newer) && deployment.job(&name).is_some() {
                    continue;
                }
                state.active.remove(&name);
                drop(state);
                inner.changed.notify_one();
                return;
            }
            Next::Again(pause) => tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = renewed.notified() => {}
                () = inner.shutdown.cancelled() => {}
            },
        }
    }
}

async fn attempt(
    scheduler: &Scheduler,
    deployment: &Arc<Deployment>,
    job: &Arc<Job>,
    tick: Tick,
    delays: &mut ExponentialBackoff,
) -> Next {
    if scheduler.runs_by_hand(&job.name) {
        scheduler.enter(&job.name, Phase::Elsewhere);
        // Its end is told; the pause is for the case that it is not.
        return Next::Again(LONGEST_PAUSE);
    }
    match deployment.store.claim(deployment.claim(job, Some(tick))).await {
        Ok(Claimed::Done) => Next::Over,
        Ok(Claimed::Held(holder)) => {
            scheduler.enter(&job.name, Phase::Elsewhere);
            // When the holder dies, the lease ends then. Most runs are over long before.
            let turn = Duration::from_millis(10);
            Next::Again((holder.expires_in + turn).min((deployment.lease / 3).max(turn)))
        }
        // Another daemon of this job had the clock that was ahead, or this one before it was restarted.
        Ok(Claimed::Granted(lease)) if lease.repeats() && job.catch_up == CatchUp::None => {
            let _ = lease.release(None).await;
            Next::Over
        }
        Ok(Claimed::Granted(lease)) => match granted(scheduler, deployment, job, tick.at, lease).await {
            None => Next::Over,
            Some((cause, message)) => wait(scheduler, job, cause, message, delays),
        },
        Err(error) => wait(scheduler, job, Cause::RedisUnreachable, error.message, delays),
    }
}

/// Waits for what is out of reach; says so once, not at every attempt.
fn wait(scheduler: &Scheduler, job: &Job, cause: Cause, message: String, delays: &mut ExponentialBackoff) -> Next {
    if scheduler.enter(&job.name, Phase::Waiting { cause, message: message.clone() }) {
        tracing::warn!("{}: waiting: {message}", job.name);
    }
    Next::Again(delays.next().unwrap_or(LONGEST_PAUSE))
}

/// Runs the job under its lease. Gives what was out of reach, when that is why the tick is not over.
async fn granted(
    scheduler: &Scheduler,
    deployment: &Arc<Deployment>,
    job: &Arc<Job>,
    tick: DateTime<Utc>,
    lease: Lease,
) -> Option<(Cause, String)> {
    let inner = &scheduler.0;
    let (since, started) = (Utc::now(), Instant::now());
    let meter = Arc::new(Meter::default());
    scheduler.enter(&job.name, Phase::Running { since, waits_for: None, meter: Arc::clone(&meter) });
    // A run in the place of a tick is not that tick's.
    let scheduled = (!lease.repeats()).then_some(tick);
    match scheduled {
        Some(tick) => tracing::debug!(job = job.name, %tick, "{}: the tick of {tick} begins", job.name),
        None => tracing::info!("{}: the tick of {tick} has had its run, an interval ago or longer", job.name),
    }
    let stop =
        Stop { shutdown: inner.shutdown.clone(), at_once: inner.at_once.clone(), lease_lost: lease.lost().clone() };
    let run = run_alone(deployment, job, Trigger::Schedule, scheduled, stop, &meter);
    let record = watched(run, &meter, |waits_for| {
        scheduler.enter(&job.name, Phase::Running { since, waits_for, meter: Arc::clone(&meter) });
    });
    let record = record.await;
    let newest = scheduler.end(&job.name).map_or(tick, |missed| missed.max(tick));
    let is_over = record.ends_its_tick();
    let done = is_over.then(|| done(job, &lease, tick..=newest, started.elapsed())).flatten();
    conclude(scheduler, deployment, &record, lease, done).await;
    if record.outcome == Outcome::Interrupted && !inner.shutdown.is_cancelled() {
        // The lease was lost: another instance may have it, or nobody.
        return Some((Cause::LeaseLost, "the lease was lost".to_owned()));
    }
    record.is_out_of_reach().then(|| (record.cause.unwrap_or(Cause::Internal), record.first_error.unwrap_or_default()))
}

/// What the run of the first of these ticks leaves behind; it has made the others miss theirs.
fn done(job: &Job, lease: &Lease, passed: RangeInclusive<DateTime<Utc>>, took: Duration) -> Option<Done> {
    let schedule = job.schedule.as_ref()?;
    let (tick, newest) = passed.into_inner();
    let mut ticks = lease.ticks().clone();
    if !lease.repeats() {
        ticks.add(tick, newest, |before, after| schedule.is_next(before, after));
    }
    let interval = (schedule.next_after(newest)? - newest).to_std().ok()?;
    // The next run may begin a moment early.
    let rest = (interval * 9 / 10).saturating_sub(took);
    Some(Done { ticks, rest })
}

/// Waits for a run, and tells meanwhile what it waits for.
pub(super) async fn watched(
    run: impl Future<Output = Record>,
    meter: &Meter,
    mut tell: impl FnMut(Option<String>),
) -> Record {
    let mut waits_for = meter.waits_for.subscribe();
    tokio::pin!(run);
    loop {
        tokio::select! {
            record = &mut run => return record,
            Ok(()) = waits_for.changed() => tell(waits_for.borrow_and_update().clone()),
        }
    }
}

/// Gives the lease back, with the tick that has had its run, and keeps the record.
pub(super) async fn conclude(
    scheduler: &Scheduler,
    deployment: &Deployment,
    record: &Record,
    lease: Lease,
    done: Option<Done>,
) {
    match lease.release(done).await {
        Ok(true) => {}
        Ok(false) => tracing::warn!("{}: the lease was lost before the run ended", record.job),
        Err(error) => tracing::warn!("{}: the lease stays until it expires: {error}", record.job),
    }
    keep(deployment, record).await;
    forget_old(scheduler, deployment).await;
    scheduler.0.state().last = Some(telemetry::run_words(record));
    scheduler.0.changed.notify_one();
}

/// Runs the job, for a tick or by hand; a panic is this run's failure and nothing else's.
pub(super) async fn run_alone(
    deployment: &Arc<Deployment>,
    job: &Arc<Job>,
    trigger: Trigger,
    tick: Option<DateTime<Utc>>,
    stop: Stop,
    meter: &Arc<Meter>,
) -> Record {
    let started = Utc::now();
    let past = match &deployment.history {
        Some(history) => history.past(&job.name).await.unwrap_or_default(),
        None => Past::default(),
    };
    let (run_job, run_deployment, meter) = (Arc::clone(job), Arc::clone(deployment), Arc::clone(meter));
    let run = isolated(async move {
        let now = as_of(tick, started);
        let request = Request { trigger, scheduled: tick, now, past, stop, ..Request::manual() };
        let around = run_deployment.around.get(&run_job.database)?;
        Some(run::run(&run_job, around, &request, &meter).await)
    });
    let why = match run.await {
        Ok(Some(record)) => return record,
        Ok(None) => "its database is not among the settings".to_owned(),
        Err(why) => why,
    };
    let why = (Outcome::Failed, Cause::Internal, why);
    Record::without_run(&job.name, &deployment.instance, tick, started, why)
}

/// What a run sees as now. Jobs with a tick at the same moment see that moment, and so can share what they read; a run
/// that comes late, or without a tick, goes by the clock.
fn as_of(tick: Option<DateTime<Utc>>, started: DateTime<Utc>) -> DateTime<Utc> {
    let on_time = TimeDelta::zero()..ON_TIME;
    tick.filter(|tick| on_time.contains(&(started - tick))).unwrap_or(started)
}

/// Half a second until the heart beats, and what it takes to get the lease from a Redis that is slow to answer.
const ON_TIME: TimeDelta = TimeDelta::seconds(10);

/// What a task of its own gives; a panic in it is an error here and nothing else.
async fn isolated<T: Send + 'static>(task: impl Future<Output = T> + Send + 'static) -> Result<T, String> {
    tokio::spawn(task).await.map_err(|error| format!("a defect of warmd: {error}"))
}

/// Tells a record to all who are to know it: the log, the observer and the history.
pub(super) async fn keep(deployment: &Deployment, record: &Record) {
    telemetry::log_run(record);
    (deployment.observer)(record);
    if let Some(history) = &deployment.history {
        history.keep(record).await;
    }
}

/// Removes old records, once an hour.
async fn forget_old(scheduler: &Scheduler, deployment: &Deployment) {
    let now = Utc::now();
    let Some(history) = &deployment.history else { return };
    let before = scheduler.0.state().tidied.replace(now);
    if before.is_some_and(|before| now - before < TimeDelta::hours(1)) {
        scheduler.0.state().tidied = before;
        return;
    }
    if let Err(error) = history.forget_before(now - deployment.keep).await {
        tracing::warn!("old records stay: {error:#}");
    }
}

/// Finds out whether a tick passed while no daemon was running, and makes up for the newest.
pub(super) async fn catch_up(scheduler: Scheduler, job: Arc<Job>, started: DateTime<Utc>) {
    let inner = &scheduler.0;
    let mut delays = delays();
    let marked = loop {
        // A reload may name another Redis meanwhile.
        match seen_before(&inner.deployment(), &job, started).await {
            Ok(marked) => break marked,
            Err(error) => tracing::debug!("{}: not known which ticks were missed: {error}", job.name),
        }
        tokio::select! {
            () = tokio::time::sleep(delays.next().unwrap_or(LONGEST_PAUSE)) => {}
            () = inner.shutdown.cancelled() => return,
        }
    };
    let missed = marked.zip(job.schedule.as_ref());
    let Some(tick) = missed.and_then(|(last, schedule)| schedule.newest_between(last, started)) else { return };
    if inner.state().active.contains_key(&job.name) {
        return;
    }
    tracing::info!("{}: catching up with the tick of {tick}", job.name);
    inner.state().plan.ran(&job.name, tick);
    scheduler.begin(Due { job: job.name.clone(), tick, again: false }, Utc::now());
}

/// The tick up to which a job has had its runs. The first daemon that knows a job marks the moment, so that a tick after
/// it is made up for even when every daemon dies before the job's first run.
async fn seen_before(
    deployment: &Deployment,
    job: &Job,
    started: DateTime<Utc>,
) -> Result<Option<DateTime<Utc>>, crate::cache::Error> {
    let (store, prefix) = (&deployment.store, &deployment.prefix);
    let ticks = store.ticks(prefix, &job.name).await?;
    if !ticks.is_empty() {
        // Others are ahead where the clock was wrong.
        return Ok(ticks.newest_until(started));
    }
    // Redis may have been emptied since, or be none.
    let recorded = match &deployment.history {
        Some(history) => history.done_until(&job.name).await.unwrap_or_default(),
        None => None,
    };
    // Another daemon may have begun within the same second, and have a tick in it.
    let first = recorded.unwrap_or(started - TimeDelta::seconds(1));
    store.mark_first_tick(prefix, &job.name, first).await?;
    Ok(recorded)
}

/// A daemon that asks more often would be the first load on a server that comes back.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

fn delays() -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(250))
        .with_max_delay(LONGEST_PAUSE)
        .with_jitter()
        .without_max_times()
        .build()
}

impl Scheduler {
    /// Changes what is told of a tick; whether that is news.
    fn enter(&self, name: &str, phase: Phase) -> bool {
        let mut state = self.0.state();
        let Some(active) = state.active.get_mut(name) else { return false };
        let is_news = match (&active.phase, &phase) {
            (Phase::Waiting { message: before, .. }, Phase::Waiting { message, .. }) => before != message,
            _ => true,
        };
        active.phase = phase;
        active.ended = false;
        drop(state);
        self.0.changed.notify_one();
        is_news
    }

    /// A run has ended: the newest tick that it has made miss its own. From now on, a tick takes its place.
    fn end(&self, name: &str) -> Option<DateTime<Utc>> {
        let mut state = self.0.state();
        let active = state.active.get_mut(name)?;
        active.ended = true;
        active.missed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_on_time_is_as_of_its_tick_and_any_other_as_of_its_start() {
        let moment = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
        let tick = moment("2026-11-27T12:00:00Z");
        let now = |started: &str| as_of(Some(tick), moment(started));
        for on_time in ["2026-11-27T12:00:00Z", "2026-11-27T12:00:00.437Z", "2026-11-27T12:00:09.999Z"] {
            assert_eq!(now(on_time), tick, "{on_time}");
        }
        // After an outage, with a start delay, after a clock was set back.
        for other in ["2026-11-27T12:00:10Z", "2026-11-27T12:05:00.5Z", "2026-11-27T11:59:59.5Z"] {
            assert_eq!(now(other), moment(other));
        }
        assert_eq!(as_of(None, moment("2026-11-27T12:00:01Z")), moment("2026-11-27T12:00:01Z"));
    }

    #[tokio::test]
    async fn a_panic_is_an_error_of_its_own_run() {
        let why = isolated(async { panic!("index out of bounds") }).await.map(|(): ()| ()).unwrap_err();
        assert!(why.starts_with("a defect of warmd: ") && why.contains("index out of bounds"), "{why}");
        assert_eq!(isolated(async { 5 }).await, Ok(5));
    }
}
