//! One run of one job, top to bottom.
//!
//! ```text
//! targets ─► freshness ─► produce ─► throttle ─► write ─► record
//! (SQL)      (PTTL,       (SQL and   (governor)  (SET PX
//!            pipelined)   compute)               NX)
//! ```
//!
//! Targets come in batches, several of which are under way at once. A batch costs one freshness pipeline, one statement
//! or none, and one write pipeline. Memory is bounded by the batches and the model.

use std::{
    num::{NonZeroU32, NonZeroU64},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::{
    cache::{Index, Keyspace, Store},
    database::{Database, LoadLimits},
    job::{Job, Kind, duration::Span, margin},
    produce::{Models, Needs, Producer},
    reader::Reader,
    record::{Cause, Failure, Meter, Past, Record, Trigger},
    targets::{self, Only, Target},
    throttle::{Quotas, Throttle, Throttles},
    traces,
};

mod batch;
mod ending;
mod guard;
mod keys;
mod load;
mod prune;
mod sample;
mod usefulness;

use batch::Batch;
use guard::{Budget, Room, Shrinkage};
use keys::Owners;
use load::Gate;
use sample::Sample;
use usefulness::Usefulness;

/// What a run finds around it.
pub struct Surroundings {
    /// The job's database.
    pub database: Database,
    /// The longest statement.
    pub statement_timeout: Duration,
    /// How busy the database may be for batches to begin.
    pub load_limits: LoadLimits,
    /// What runs on this database read and compute once for all of them.
    pub models: Models,
    /// Where entries go.
    pub store: Store,
    /// How keys look.
    pub keyspace: Keyspace,
    /// The share of Redis's `maxmemory` that may be in use, 0.0 to 1.0.
    pub max_memory: Option<f64>,
    /// The largest value that any job may write.
    pub max_value_bytes: NonZeroU32,
    /// The quotas of the whole process.
    pub throttle: Arc<Throttle>,
    /// Who runs.
    pub instance: String,
}

/// The ways in which a run is told to end before it is done.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    /// The process ends: no further batch.
    pub shutdown: CancellationToken,
    /// The grace period is over: nothing is waited for.
    pub at_once: CancellationToken,
    /// Another instance may run the job now: no further batch.
    pub lease_lost: CancellationToken,
}

/// What is asked of a run.
pub struct Request {
    /// Why it runs.
    pub trigger: Trigger,
    /// The tick that it belongs to.
    pub scheduled: Option<DateTime<Utc>>,
    /// What SQL sees as `:now`, and events are as old as.
    pub now: DateTime<Utc>,
    /// What the run needs of models, for whoever holds it from before the run on: other runs leave it theirs.
    pub needs: Option<Needs>,
    /// Only these targets.
    pub only: Vec<Only>,
    /// Every key is due.
    pub force: bool,
    /// Everything but the writing.
    pub dry: bool,
    /// Nothing is computed for the keys that are due: each counts as written. Of a dry run only.
    pub look: bool,
    /// What is known of the runs before.
    pub past: Past,
    /// Tells the run to end.
    pub stop: Stop,
    /// Keeps the keys that the run is about, for a comparison between jobs.
    pub keys_seen: Option<Mutex<Vec<String>>>,
}

impl Request {
    /// By hand, all targets, as of now.
    pub fn manual() -> Self {
        Self {
            trigger: Trigger::Manual,
            scheduled: None,
            now: Utc::now(),
            needs: None,
            only: Vec::new(),
            force: false,
            dry: false,
            look: false,
            past: Past::default(),
            stop: Stop::default(),
            keys_seen: None,
        }
    }

    /// Looks which of all keys are there, as of now, and does no more.
    pub fn look() -> Self {
        Self { dry: true, look: true, ..Self::manual() }
    }
}

struct Run<'r> {
    job: &'r Job,
    around: &'r Surroundings,
    request: &'r Request,
    throttles: Arc<Throttles>,
    producer: Producer,
    reader: Arc<Reader>,
    meter: Arc<Meter>,
    /// Set by shutdown, by a lost lease, and by the run's own time limit.
    stop: CancellationToken,
    /// The time until the next run can have renewed a key, for `refresh = "auto"`.
    until_renewed: Option<Duration>,
    first_error: Mutex<Option<String>>,
    /// Why nothing more is written.
    refusal: Mutex<Option<Failure>>,
    gate: Gate,
    room: Room,
    budget: Budget,
    shrinkage: Shrinkage,
    /// Of a job that prunes.
    index: Option<Index>,
    owners: Mutex<Owners>,
    usefulness: Usefulness,
    sample: Sample,
    /// Nearly all keys of the last batch were.
    mostly_absent: AtomicBool,
    /// Batches that are on their way to Redis.
    writing: AtomicUsize,
}

/// Runs a job once and tells what happened. `meter` may be read meanwhile.
pub async fn run(job: &Arc<Job>, around: &Surroundings, request: &Request, meter: &Arc<Meter>) -> Record {
    let started = Utc::now();
    let clock = Instant::now();
    let quotas = Quotas {
        keys_per_second: job.limits.keys_per_second,
        queries_per_second: job.limits.queries_per_second,
        concurrency: Some(job.limits.concurrency),
    };
    let throttles = Arc::new(Throttles::new(&job.name, quotas, Arc::clone(&around.throttle)));
    let stop = request.stop.shutdown.child_token();
    let reader = Arc::new(Reader::new(
        around.database.clone(),
        around.statement_timeout,
        clock + job.limits.timeout,
        stop.clone(),
        Arc::clone(&throttles),
        Arc::clone(meter),
    ));
    // Fewer keys are what was asked for.
    let past_keys = request.past.keys.filter(|_| request.only.is_empty());
    let process = around.max_value_bytes;
    let largest = job.limits.max_value_bytes.map_or(process, |own| own.min(process)).get() as usize;
    let needs = request.needs.clone().unwrap_or_else(|| around.models.needs(job, request.now));
    let run = Run {
        job,
        around,
        request,
        throttles,
        producer: Producer::new(Arc::clone(job), needs, Arc::clone(&reader), request.now, Arc::clone(meter), largest),
        reader,
        meter: Arc::clone(meter),
        stop,
        until_renewed: until_renewed(job, started, request.past.expected),
        first_error: Mutex::new(None),
        refusal: Mutex::new(None),
        gate: Gate::new(around.load_limits),
        room: Room::new(around.max_memory),
        budget: Budget::new(job.limits.max_bytes.map(NonZeroU64::get)),
        shrinkage: Shrinkage::new((!request.force && !request.dry).then_some(job.max_shrink), past_keys),
        index: job.prune.then(|| Index::new(&around.keyspace.prefix, &job.name, started, job.ttl.longest)),
        owners: Mutex::new(Owners::default()),
        usefulness: Usefulness::default(),
        sample: Sample::default(),
        mostly_absent: AtomicBool::new(false),
        writing: AtomicUsize::new(0),
    };
    let span = traces::run(job, request.trigger);
    // On the heap: what awaits this has a layout that the compiler can still compute.
    let ending = Box::pin(run.through()).instrument(span.clone()).await;
    let record = run.record(started, clock.elapsed(), ending);
    traces::ended(&span, &record);
    record
}

/// The next tick, the time that a run takes, and a margin.
fn until_renewed(job: &Job, now: DateTime<Utc>, expected: Duration) -> Option<Duration> {
    let next = job.schedule.as_ref()?.next_after(now)?;
    let after = job.schedule.as_ref()?.next_after(next)?;
    let interval = (after - next).to_std().ok()?;
    Some((next - now).to_std().ok()? + expected + margin(interval))
}

impl Run<'_> {
    async fn through(&self) -> Result<(), Failure> {
        let mut ending = self.under_time_limit().await;
        if ending.is_ok() {
            ending = self.prune().await;
            self.leave_sample().await;
        }
        self.reader.close().await;
        ending
    }

    /// Ends the run at the next safe point once its time is over or its lease is lost.
    async fn under_time_limit(&self) -> Result<(), Failure> {
        let batches = self.all_batches();
        tokio::pin!(batches);
        let stop = &self.request.stop;
        tokio::select! {
            biased;
            // What is under way is dropped: the server ends a statement whose client has gone.
            () = stop.at_once.cancelled() => return Ok(()),
            () = self.watch_load() => return Ok(()),
            result = &mut batches => match result {
                // The server ended the statement at the run's time limit, a moment before the clock here did.
                Err(Failure { cause: Cause::Statement, .. }) if self.reader.time_is_over() => {}
                result => return result,
            },
            () = stop.lease_lost.cancelled() => {
                self.stop.cancel();
                return batches.await;
            }
            () = tokio::time::sleep(self.job.limits.timeout) => {
                self.stop.cancel();
                // Statements end with the run's time limit and Redis answers or times out: this is not for long.
                let _ = batches.await;
            }
        }
        let timeout = Span(self.job.limits.timeout);
        Err(Failure { cause: Cause::Timeout, message: format!("the run took longer than its timeout of {timeout}") })
    }

    async fn all_batches(&self) -> Result<(), Failure> {
        let (batches, mut received) = mpsc::channel(2);
        let concurrency = self.job.limits.concurrency.get() as usize;
        let feed = self.feed(batches);
        let mut under_way = FuturesUnordered::new();
        let work = async {
            loop {
                tokio::select! {
                    Some(batch) = received.recv(), if under_way.len() < concurrency => {
                        let span = traces::batch(batch.len());
                        under_way.push(self.batch(batch).instrument(span));
                    }
                    Some(result) = under_way.next() => result?,
                    else => return Ok(()),
                }
            }
        };
        let feed = async {
            self.gate.passed(&self.stop).await;
            feed.await?;
            self.meter.complete.store(!self.stop.is_cancelled(), Ordering::Relaxed);
            Ok(())
        };
        let ending = tokio::try_join!(feed, work).map(|_| ());
        if ending.is_err() {
            // What fails ends the run. What is being written will be there, and is counted; the rest of what is under way is
            // dropped, and found missing by the next run.
            self.stop.cancel();
            while self.writing.load(Ordering::Relaxed) > 0 && under_way.next().await.is_some() {}
        }
        ending
    }

    /// Finds the work and sends it in batches.
    async fn feed(&self, batches: mpsc::Sender<Batch>) -> Result<(), Failure> {
        let request = self.request;
        if !self.job.targets.is_empty() || self.producer.has_own_targets() {
            let (sender, receiver) = mpsc::channel(1);
            let find = async {
                let sender = sender;
                match self.producer.has_own_targets() {
                    true => self.producer.own_targets(&request.only, &sender).await,
                    false => {
                        targets::stream(self.job, &self.reader, request.now, &request.only, &self.meter, &sender).await
                    }
                }
            };
            let (found, ()) = tokio::join!(find, self.forward(receiver, &batches, Batch::Targets));
            return found;
        }
        if let Kind::Query(_) = self.job.kind {
            let (sender, receiver) = mpsc::channel(1);
            let find = async {
                let sender = sender;
                self.producer.explode(&request.only, &sender).await
            };
            let (found, ()) = tokio::join!(find, self.forward(receiver, &batches, Batch::Exploded));
            return found;
        }
        // One list for everybody.
        self.meter.targets.add(1);
        self.meter.keys.add(1);
        let _ = batches.send(Batch::Targets(vec![Target::default()])).await;
        Ok(())
    }
}
