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
    num::NonZeroU32,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{
    cache::{Entry, Keyspace, Presence, Store, Written},
    database::Database,
    id::Id,
    job::{Empty, Job, Kind, duration::Span, margin},
    produce::{Exploded, Produced, Producer},
    reader::Reader,
    record::{Cause, Failure, Meter, Outcome, Record, Trigger},
    targets::{self, Only, Target},
    throttle::{Quotas, Throttle, Throttles},
};

/// What a run finds around it.
pub struct Surroundings {
    /// The job's database.
    pub database: Database,
    /// The longest statement.
    pub statement_timeout: Duration,
    /// Where entries go.
    pub store: Store,
    /// How keys look.
    pub keyspace: Keyspace,
    /// The quotas of the whole process.
    pub throttle: Arc<Throttle>,
    /// Who runs.
    pub instance: String,
    /// Tells the run to stop.
    pub shutdown: CancellationToken,
}

/// What is asked of a run.
pub struct Request {
    /// Why it runs.
    pub trigger: Trigger,
    /// The tick that it belongs to.
    pub scheduled: Option<DateTime<Utc>>,
    /// What SQL sees as `:now`, and events are as old as.
    pub now: DateTime<Utc>,
    /// Only these targets.
    pub only: Vec<Only>,
    /// Every key is due.
    pub force: bool,
    /// Everything but the writing.
    pub dry: bool,
    /// How long recent runs took.
    pub expected: Duration,
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
            only: Vec::new(),
            force: false,
            dry: false,
            expected: Duration::ZERO,
            keys_seen: None,
        }
    }
}

/// Keys to look at together.
enum Batch {
    Targets(Vec<Target>),
    Exploded(Vec<Exploded>),
}

/// A key that is due.
struct Due {
    /// Its position in the batch.
    index: usize,
    key: String,
    ttl: Duration,
    stale: bool,
}

struct Run<'r> {
    job: &'r Job,
    around: &'r Surroundings,
    request: &'r Request,
    throttles: Arc<Throttles>,
    producer: Producer,
    reader: Arc<Reader>,
    meter: Arc<Meter>,
    /// Set by shutdown and by the run's own time limit.
    stop: CancellationToken,
    /// The time until the next run can have renewed a key, for `refresh = "auto"`.
    until_renewed: Option<Duration>,
    first_error: Mutex<Option<String>>,
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
    let throttles = Arc::new(Throttles::new(Arc::new(Throttle::new(quotas)), Arc::clone(&around.throttle)));
    let reader = Arc::new(Reader::new(
        around.database.clone(),
        around.statement_timeout,
        clock + job.limits.timeout,
        Arc::clone(&throttles),
        Arc::clone(meter),
    ));
    let run = Run {
        job,
        around,
        request,
        throttles,
        producer: Producer::new(Arc::clone(job), Arc::clone(&reader), request.now, Arc::clone(meter)),
        reader,
        meter: Arc::clone(meter),
        stop: around.shutdown.child_token(),
        until_renewed: until_renewed(job, started, request.expected),
        first_error: Mutex::new(None),
    };
    let ending = run.under_time_limit().await;
    run.record(started, clock.elapsed(), ending)
}

/// The next tick, the time that a run takes, and a margin.
fn until_renewed(job: &Job, now: DateTime<Utc>, expected: Duration) -> Option<Duration> {
    let next = job.schedule.as_ref()?.next_after(now)?;
    let after = job.schedule.as_ref()?.next_after(next)?;
    let interval = (after - next).to_std().ok()?;
    Some((next - now).to_std().ok()? + expected + margin(interval))
}

impl Run<'_> {
    /// Ends the run at the next safe point once its time is over.
    async fn under_time_limit(&self) -> Result<(), Failure> {
        let batches = self.all_batches();
        tokio::pin!(batches);
        tokio::select! {
            result = &mut batches => return result,
            () = tokio::time::sleep(self.job.limits.timeout) => self.stop.cancel(),
        }
        // Statements end with the run's time limit and Redis answers or times out, so this does not wait for long.
        let _ = batches.await;
        let timeout = Span(self.job.limits.timeout);
        Err(Failure { cause: Cause::Timeout, message: format!("the run took longer than its timeout of {timeout}") })
    }

    async fn all_batches(&self) -> Result<(), Failure> {
        let (batches, received) = mpsc::channel(2);
        let concurrency = self.job.limits.concurrency.get() as usize;
        let feed = self.feed(batches);
        let received =
            stream::unfold(received, async |mut received| received.recv().await.map(|batch| (batch, received)));
        // A failed batch ends the run; what is under way beside it is dropped, and found missing by the next run.
        let work = received.map(Ok).try_for_each_concurrent(concurrency, |batch| self.batch(batch));
        let feed = async {
            feed.await?;
            self.meter.complete.store(!self.stop.is_cancelled(), Ordering::Relaxed);
            Ok(())
        };
        tokio::try_join!(feed, work).map(|_| ())
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

    /// Hands batches on until the run is told to stop.
    async fn forward<T>(
        &self,
        mut from: mpsc::Receiver<Vec<T>>,
        to: &mpsc::Sender<Batch>,
        wrap: impl Fn(Vec<T>) -> Batch,
    ) {
        while let Some(items) = from.recv().await {
            if self.stop.is_cancelled() || to.send(wrap(items)).await.is_err() {
                break;
            }
        }
    }

    /// One batch: freshness, produce, throttle, write.
    async fn batch(&self, batch: Batch) -> Result<(), Failure> {
        let _slot = self.throttles.slot().await;
        if self.stop.is_cancelled() {
            return Ok(());
        }
        let keys = self.keys(&batch);
        let due = self.due(keys).await?;
        if due.is_empty() || self.stop.is_cancelled() {
            self.give_up(&due);
            return Ok(());
        }
        let produced = match batch {
            Batch::Targets(targets) => {
                let wanted: Vec<Target> = due.iter().map(|due| targets[due.index].clone()).collect();
                match self.produce(&wanted).await {
                    Ok(produced) => produced,
                    Err(failure) => {
                        self.fail(due.len(), &failure.message);
                        return Err(failure);
                    }
                }
            }
            Batch::Exploded(mut rows) => {
                due.iter().map(|due| Produced::Value(std::mem::take(&mut rows[due.index].value))).collect()
            }
        };
        let entries = self.entries(due, produced);
        self.write(entries).await
    }

    /// The values of some targets. A statement that fails over a value is tried with half of the targets, until the
    /// one with that value is alone: it fails, and costs itself only.
    async fn produce(&self, targets: &[Target]) -> Result<Vec<Produced>, Failure> {
        match self.producer.produce(targets).await {
            Err(failure) if failure.cause == Cause::Data => match targets.len() {
                0 | 1 => Ok(vec![Produced::Failed(failure.message); targets.len()]),
                count => {
                    let (first, second) = targets.split_at(count / 2);
                    let mut produced = Box::pin(self.produce(first)).await?;
                    produced.extend(Box::pin(self.produce(second)).await?);
                    Ok(produced)
                }
            },
            result => result,
        }
    }

    /// The Redis key of each target of the batch; targets without a valid key are failed.
    fn keys(&self, batch: &Batch) -> Vec<(usize, String)> {
        let rendered: Vec<Result<String, String>> = match batch {
            Batch::Targets(targets) => targets.iter().map(|target| self.target_key(target)).collect(),
            Batch::Exploded(rows) => rows.iter().map(|row| row.key.clone()).collect(),
        };
        let mut keys = Vec::with_capacity(rendered.len());
        for (index, key) in rendered.into_iter().enumerate() {
            match key.and_then(|rest| self.around.keyspace.key(&rest)) {
                Ok(key) => keys.push((index, key)),
                Err(why) => {
                    self.meter.invalid.add(1);
                    self.fail(1, &why);
                }
            }
        }
        if let Some(seen) = &self.request.keys_seen {
            seen.lock().unwrap_or_else(PoisonError::into_inner).extend(keys.iter().map(|(_, key)| key.clone()));
        }
        keys
    }

    fn target_key(&self, target: &Target) -> Result<String, String> {
        let texts: Vec<Option<String>> = target.iter().map(|id| id.as_ref().map(Id::to_string)).collect();
        self.job.key.render(|name| {
            // A job over its model's own rows has one variable and one value.
            let place = self.job.targets.iter().position(|list| list.name == name).unwrap_or(0);
            texts.get(place)?.as_deref()
        })
    }

    /// The keys that are missing or stale, by one pipeline; all of them are counted.
    async fn due(&self, keys: Vec<(usize, String)>) -> Result<Vec<Due>, Failure> {
        let (places, names): (Vec<usize>, Vec<String>) = keys.into_iter().unzip();
        let began = Instant::now();
        let presence = match self.around.store.presence(&names).await {
            Ok(presence) => presence,
            Err(error) => {
                self.meter.invalid.add(names.len());
                self.fail(names.len(), &error.message);
                return Err(error.into());
            }
        };
        self.meter.redis.add_time(began.elapsed());
        let mut due = Vec::new();
        for ((index, key), presence) in places.into_iter().zip(names).zip(presence) {
            let ttl = self.job.ttl.of(&key);
            let stale = match presence {
                Presence::Missing => false,
                Presence::Persistent => {
                    self.meter.foreign.add(1);
                    self.meter.fresh.add(1);
                    continue;
                }
                Presence::Expires(left) => {
                    let below = self.job.refresh.stale_below(ttl, self.until_renewed);
                    if !self.request.force && below.is_none_or(|below| left > below) {
                        self.meter.fresh.add(1);
                        continue;
                    }
                    true
                }
            };
            if stale { &self.meter.stale } else { &self.meter.missing }.add(1);
            due.push(Due { index, key, ttl, stale });
        }
        Ok(due)
    }

    /// Due keys that the run does not get to after all: they are unreached, not due.
    fn give_up(&self, due: &[Due]) {
        let stale = due.iter().filter(|due| due.stale).count();
        self.meter.stale.subtract(stale);
        self.meter.missing.subtract(due.len() - stale);
    }

    /// Entries for the values; empty and failed targets are counted.
    fn entries(&self, due: Vec<Due>, produced: Vec<Produced>) -> Vec<Entry> {
        let mut entries = Vec::with_capacity(due.len());
        for (due, produced) in due.into_iter().zip(produced) {
            let value = match produced {
                Produced::Value(value) => value,
                Produced::Empty if self.job.empty == Empty::Store => self.job.kind.empty_value().to_vec(),
                Produced::Empty => {
                    self.meter.empty.add(1);
                    continue;
                }
                Produced::Failed(why) => {
                    self.fail(1, &format!("{}: {why}", due.key));
                    continue;
                }
            };
            entries.push(Entry { key: due.key, value, ttl: due.ttl, only_absent: !due.stale });
        }
        entries
    }

    /// Writes entries at the pace of the quotas.
    async fn write(&self, entries: Vec<Entry>) -> Result<(), Failure> {
        let mut rest = entries.as_slice();
        while let Some(wanted) = u32::try_from(rest.len()).ok().and_then(NonZeroU32::new) {
            let granted = if self.request.dry { wanted } else { self.throttles.keys(wanted).await };
            let (piece, after) = rest.split_at(granted.get() as usize);
            if self.stop.is_cancelled() {
                self.meter.stale.subtract(rest.iter().filter(|entry| !entry.only_absent).count());
                self.meter.missing.subtract(rest.iter().filter(|entry| entry.only_absent).count());
                return Ok(());
            }
            let began = Instant::now();
            let written = match self.request.dry {
                true => Ok(vec![Written::Stored; piece.len()]),
                false => self.around.store.write(piece).await,
            };
            self.meter.redis.add_time(began.elapsed());
            match written {
                Ok(written) => piece.iter().zip(written).for_each(|(entry, written)| self.count(entry, written)),
                Err(error) => {
                    self.fail(rest.len(), &error.message);
                    return Err(error.into());
                }
            }
            rest = after;
        }
        Ok(())
    }

    fn count(&self, entry: &Entry, written: Written) {
        match written {
            Written::Stored => {
                self.meter.written.add(1);
                self.meter.bytes.add(entry.value.len());
            }
            // Somebody else was faster, perhaps the application: the key is there and was not ours to write.
            Written::Existed => {
                self.meter.missing.subtract(1);
                self.meter.fresh.add(1);
            }
            Written::Refused(why) => self.fail(1, &format!("{}: {why}", entry.key)),
        }
    }

    fn fail(&self, count: usize, why: &str) {
        self.meter.failed.add(count);
        let mut first = self.first_error.lock().unwrap_or_else(PoisonError::into_inner);
        if first.is_none() {
            *first = Some(why.to_owned());
        }
    }

    fn record(&self, started: DateTime<Utc>, took: Duration, ending: Result<(), Failure>) -> Record {
        let mut counts = self.meter.counts();
        let first_error = self.first_error.lock().unwrap_or_else(PoisonError::into_inner).take();
        // A batch that was dropped beside a failed one leaves its due keys neither written nor failed.
        let dropped = (counts.stale + counts.missing + counts.invalid)
            .saturating_sub(counts.written + counts.empty + counts.failed);
        counts.failed += if ending.is_err() { dropped } else { 0 };
        let cut_short = self.around.shutdown.is_cancelled()
            && (counts.unreached > 0 || !self.meter.complete.load(Ordering::Relaxed));
        let (outcome, cause) = match &ending {
            Err(failure) if counts.written > 0 => (Outcome::Partial, Some(failure.cause)),
            Err(failure) => (Outcome::Failed, Some(failure.cause)),
            Ok(()) if cut_short => (Outcome::Interrupted, Some(Cause::Shutdown)),
            Ok(()) if counts.failed > 0 && counts.written + counts.fresh > 0 => {
                (Outcome::Partial, Some(Cause::Targets))
            }
            Ok(()) if counts.failed > 0 => (Outcome::Failed, Some(Cause::Targets)),
            Ok(()) => (Outcome::Ok, None),
        };
        let seconds = took.as_secs_f64();
        Record {
            run_id: uuid::Uuid::now_v7().to_string(),
            job: self.job.name.clone(),
            instance: self.around.instance.clone(),
            trigger: self.request.trigger,
            scheduled: self.request.scheduled,
            started,
            finished: Utc::now(),
            outcome,
            cause,
            first_error: ending.err().map(|failure| failure.message).or(first_error),
            counts,
            bytes: self.meter.bytes.get(),
            queries: self.meter.queries.get(),
            rows: self.meter.rows.get(),
            database_seconds: self.meter.database.seconds(),
            compute_seconds: self.meter.compute.seconds(),
            redis_seconds: self.meter.redis.seconds(),
            throttle_seconds: self.throttles.waited().as_secs_f64(),
            seconds,
            keys_per_second: if seconds > 0.0 { counts.written as f64 / seconds } else { 0.0 },
        }
    }
}
