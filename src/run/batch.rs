//! One batch of a run: freshness, produce, throttle, write.

use std::{
    num::{NonZeroU32, NonZeroU64},
    sync::{PoisonError, atomic::Ordering},
    time::{Duration, Instant},
};

use bytes::Bytes;
use tracing::Instrument as _;

use super::{
    Run,
    guard::{self, length},
    usefulness::Candidate,
};
use crate::{
    cache::{Entry, Error, Presence, Written},
    job::Empty,
    produce::{Exploded, Produced},
    reader::delays,
    record::{Cause, Failure},
    targets::Target,
    throttle::Strain,
    traces,
};

/// Keys to look at together.
pub(super) enum Batch {
    Targets(Vec<Target>),
    Exploded(Vec<Exploded>),
}

/// A key that is due.
pub(super) struct Due {
    /// Its position in the batch.
    pub index: usize,
    pub key: String,
    ttl: Duration,
    pub stale: bool,
}

/// What Redis is asked: each takes a time of its own.
#[derive(Clone, Copy)]
pub(super) enum Question {
    Presence,
    Write,
    Usage,
    Lengths,
    Index,
    Prune,
}

impl Batch {
    pub fn len(&self) -> usize {
        match self {
            Self::Targets(targets) => targets.len(),
            Self::Exploded(rows) => rows.len(),
        }
    }
}

impl Question {
    fn name(self) -> &'static str {
        match self {
            Self::Presence => "presence",
            Self::Write => "write",
            Self::Usage => "usage",
            Self::Lengths => "lengths",
            Self::Index => "index",
            Self::Prune => "prune",
        }
    }
}

impl Due {
    fn entry(self, value: Bytes) -> Entry {
        Entry { key: self.key, value, ttl: self.ttl, only_absent: !self.stale }
    }
}

impl Run<'_> {
    /// One batch: freshness, produce, throttle, write.
    pub(super) async fn batch(&self, mut batch: Batch) -> Result<(), Failure> {
        let _slot = self.throttles.slot().await;
        self.gate.passed(&self.stop).await;
        if self.stop.is_cancelled() {
            return Ok(());
        }
        let mut keys = self.keys(&mut batch);
        self.remember(&keys).await?;
        let (asked, mut absent) = (keys.len(), 0);
        if let Batch::Exploded(rows) = &mut batch
            && self.may_write_first()
        {
            keys = self.write_absent(keys, rows).await?;
            absent = asked - keys.len();
        }
        let targets = match &batch {
            Batch::Targets(targets) => Some(targets.as_slice()),
            Batch::Exploded(_) => None,
        };
        let due = self.due(keys, targets).await?;
        absent += due.iter().filter(|due| !due.stale).count();
        // A batch without any valid key says nothing.
        if asked > 0 {
            self.mostly_absent.store(absent * 10 >= asked * 9, Ordering::Relaxed);
        }
        if due.is_empty() || self.stop.is_cancelled() {
            self.give_up(due.iter().map(|due| due.stale));
            return Ok(());
        }
        if self.request.look {
            self.meter.written.add(due.len());
            return Ok(());
        }
        let entries = match batch {
            Batch::Targets(targets) => {
                let wanted: Vec<Target> = due.iter().map(|due| targets[due.index].clone()).collect();
                match self.produce(&wanted).await {
                    Ok(produced) => {
                        self.compare(&due, |at, _| length(&produced[at])).await?;
                        self.entries(due, produced)
                    }
                    Err(failure) => {
                        self.fail(due.len(), &failure.message);
                        return Err(failure);
                    }
                }
            }
            Batch::Exploded(mut rows) => {
                self.compare(&due, |_, due| Some(rows[due.index].value.len())).await?;
                let entry = |due: Due| {
                    let value = std::mem::take(&mut rows[due.index].value);
                    due.entry(value)
                };
                due.into_iter().map(entry).collect()
            }
        };
        self.sample.note(entries.iter().map(|entry| entry.key.as_str()));
        self.write(entries).await
    }

    /// Asks Redis. What passes is waited for, as with the database: a restart takes some seconds.
    pub(super) async fn ask<T, F>(&self, question: Question, ask: impl Fn() -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let mut delays = delays();
        loop {
            let asked = Instant::now();
            let answer = ask().instrument(traces::redis(question.name())).await;
            let took = asked.elapsed();
            self.meter.redis.add_time(took);
            let error = match answer {
                Err(error) if error.transient && !self.stop.is_cancelled() => error,
                answer => {
                    // How full the server is is mostly known without asking it, which says nothing about its speed.
                    if answer.is_ok() && !matches!(question, Question::Usage) {
                        self.throttles.answered(Strain::Redis, question as u64, asked, took);
                    }
                    self.meter.waits_for.send_if_modified(|waits_for| waits_for.take().is_some());
                    return answer;
                }
            };
            let Some(delay) = delays.next() else { return Err(error) };
            tracing::warn!("{}: trying again in {delay:.1?}: {error}", self.job.name);
            self.meter.waits_for.send_replace(Some(error.message.clone()));
            tokio::select! {
                () = tokio::time::sleep(delay) => {}
                () = self.stop.cancelled() => return Err(error),
            }
        }
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

    /// Whether values that are there already are worth sending before anybody knows that they are needed. Under a quota
    /// they are not: it counts what is sent.
    fn may_write_first(&self) -> bool {
        self.mostly_absent.load(Ordering::Relaxed) && !self.request.dry && !self.throttles.limit_keys()
    }

    /// Writes what can be expected to be absent. `NX` tells what was not; that is given back, its value in its place.
    async fn write_absent(
        &self,
        keys: Vec<(usize, String)>,
        rows: &mut [Exploded],
    ) -> Result<Vec<(usize, String)>, Failure> {
        let entry = |(index, key): (usize, String)| {
            let (value, ttl) = (std::mem::take(&mut rows[index].value), self.job.ttl.of(&key));
            (index, Entry { key, value, ttl, only_absent: true })
        };
        let (places, entries): (Vec<usize>, Vec<Entry>) = keys.into_iter().map(entry).unzip();
        let written = match self.put(&entries).await {
            Ok(written) => written,
            Err(error) => return Err(self.unanswered(entries.len(), error)),
        };
        let is_absent = |(_, written): &(&Entry, &Written)| **written != Written::Existed;
        let absent = entries.iter().zip(&written).filter(is_absent);
        self.sample.note(absent.map(|(entry, _)| entry.key.as_str()));
        let mut present = Vec::new();
        // What was not to be written any more is not reached.
        for ((index, entry), written) in places.into_iter().zip(entries).zip(written) {
            if let Written::Existed = written {
                rows[index].value = entry.value;
                present.push((index, entry.key));
            } else {
                self.meter.missing.add(1);
                self.count(&entry, written);
            }
        }
        Ok(present)
    }

    /// The keys that are missing or stale, by one pipeline; all of them are counted.
    async fn due(&self, keys: Vec<(usize, String)>, targets: Option<&[Target]>) -> Result<Vec<Due>, Failure> {
        let (places, names): (Vec<usize>, Vec<String>) = keys.into_iter().unzip();
        let presence = match self.ask(Question::Presence, || self.around.store.presence(&names)).await {
            Ok(presence) => presence,
            Err(error) => return Err(self.unanswered(names.len(), error)),
        };
        let mut due = Vec::new();
        let mut ending = Vec::new();
        let mut fresh = Vec::new();
        for ((index, key), presence) in places.into_iter().zip(names).zip(presence) {
            let ttl = self.job.ttl.of(&key);
            let stale = match presence {
                Presence::Missing => false,
                Presence::Persistent => {
                    self.meter.foreign.add(1);
                    fresh.push(key);
                    continue;
                }
                Presence::Expires(left) => {
                    let expires_unrenewed = self.until_renewed.is_some_and(|until| left <= until);
                    let below = self.job.refresh.stale_below(ttl, self.until_renewed);
                    let is_fresh = !self.request.force && below.is_none_or(|below| left > below);
                    if !is_fresh || expires_unrenewed {
                        ending.push(Candidate { index, key: key.clone(), age: ttl.saturating_sub(left) });
                    }
                    if is_fresh {
                        fresh.push(key);
                        continue;
                    }
                    true
                }
            };
            if stale { &self.meter.stale } else { &self.meter.missing }.add(1);
            due.push(Due { index, key, ttl, stale });
        }
        self.meter.fresh.add(fresh.len());
        self.sample.note(fresh.iter().map(String::as_str));
        self.look_at_reads(ending, targets).await;
        Ok(due)
    }

    /// Keys of which nothing is known, because Redis did not answer.
    pub(super) fn unanswered(&self, count: usize, error: Error) -> Failure {
        self.meter.invalid.add(count);
        self.fail(count, &error.message);
        error.into()
    }

    /// Due keys that the run does not get to after all: they are unreached, not due.
    fn give_up(&self, stale: impl Iterator<Item = bool>) {
        stale.for_each(|stale| if stale { &self.meter.stale } else { &self.meter.missing }.subtract(1));
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
                    self.sample.note(std::iter::once(due.key.as_str()));
                    continue;
                }
            };
            entries.push(due.entry(value.into()));
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
                self.give_up(rest.iter().map(|entry| !entry.only_absent));
                return Ok(());
            }
            let written = match self.request.dry {
                true => vec![Written::Stored; piece.len()],
                false => match self.put(piece).await {
                    Ok(written) => written,
                    Err(error) => {
                        self.fail(rest.len(), &error.message);
                        return Err(error.into());
                    }
                },
            };
            let reached = written.len();
            piece.iter().zip(written).for_each(|(entry, written)| self.count(entry, written));
            self.give_up(piece[reached..].iter().map(|entry| !entry.only_absent));
            rest = after;
        }
        Ok(())
    }

    /// Writes the first of the entries, as many as there is room for in Redis and in the run's budget; what became of
    /// them. Where that is not all of them, nothing more will be written.
    async fn put(&self, entries: &[Entry]) -> Result<Vec<Written>, Error> {
        let size = guard::size(entries);
        if let Some(why) = self.ask(Question::Usage, || self.room.refusal(&self.around.store, size)).await? {
            self.refuse(Cause::Memory, why);
            return Ok(Vec::new());
        }
        let fitting = &entries[..self.budget.take(entries)];
        if fitting.len() < entries.len() {
            let most = self.job.limits.max_bytes.map_or(0, NonZeroU64::get);
            self.refuse(Cause::MaxBytes, format!("the values have more bytes than `limits.max_bytes` = {most}"));
        }
        self.writing.fetch_add(1, Ordering::Relaxed);
        let written = self.ask(Question::Write, || self.around.store.write(fitting)).await;
        self.writing.fetch_sub(1, Ordering::Relaxed);
        written
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
            Written::NoRoom(why) => {
                self.fail(1, &format!("{}: {why}", entry.key));
                self.refuse(Cause::Memory, why);
            }
            Written::Refused(why) => self.fail(1, &format!("{}: {why}", entry.key)),
        }
    }

    pub(super) fn fail(&self, count: usize, why: &str) {
        self.meter.failed.add(count);
        let mut first = self.first_error.lock().unwrap_or_else(PoisonError::into_inner);
        if first.is_none() {
            *first = Some(why.to_owned());
        }
    }
}
