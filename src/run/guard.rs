//! What a run must not do: fill Redis, write more than it may, or put little in the place of much.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::mpsc;

use super::{
    Run,
    batch::{Batch, Due, Question},
};
use crate::{
    cache::{Entry, Error, Store, Usage},
    job::duration::Percent,
    produce::Produced,
    record::{Cause, Failure},
};

/// Whether there is room for more in Redis. Asked before the first write, then once a second, and whenever what was
/// written since would pass the limit.
pub(super) struct Room {
    /// The share of `maxmemory` that may be used.
    most: Option<f64>,
    state: tokio::sync::Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    asked: Option<Instant>,
    usage: Usage,
    /// Bytes written since.
    written: u64,
    /// The server does not tell.
    blind: bool,
}

/// Batches that are held back, at most: some megabytes.
const MOST_HELD: usize = 16;

/// How long an answer holds.
const HOLDS: Duration = Duration::from_secs(1);

/// What a key takes beside its name and its value: about as much in the tables of keys and of expiries.
const BESIDE: usize = 100;

impl Room {
    pub fn new(most: Option<f64>) -> Self {
        Self { most, state: tokio::sync::Mutex::default() }
    }

    /// Why entries of so many bytes must not be written, if they must not.
    pub async fn refusal(&self, store: &Store, bytes: u64) -> Result<Option<String>, Error> {
        let Some(most) = self.most else { return Ok(None) };
        let mut seen = self.state.lock().await;
        let holds = seen.asked.is_some_and(|asked| asked.elapsed() < HOLDS) && !seen.passes(most, bytes);
        if !seen.blind && !holds {
            let usage = match store.usage().await {
                Ok(Some(usage)) => usage,
                Ok(None) => {
                    seen.blind = true;
                    return Ok(None);
                }
                Err(error) if error.transient => return Err(error),
                Err(error) => {
                    tracing::warn!("nobody looks after the memory of Redis, which does not tell: {error}");
                    seen.blind = true;
                    return Ok(None);
                }
            };
            let evicted = match seen.asked {
                Some(_) => usage.evicted.saturating_sub(seen.usage.evicted),
                None => 0,
            };
            (seen.asked, seen.usage, seen.written) = (Some(Instant::now()), usage, 0);
            if evicted > 0 {
                return Ok(Some(format!("Redis evicts keys, {evicted} within the last moments")));
            }
            if seen.passes(most, bytes) {
                return Ok(Some(format!(
                    "Redis uses {} of {} bytes, and `redis.max_memory` is {}",
                    usage.used,
                    usage.most,
                    Percent(most)
                )));
            }
        }
        seen.written += bytes;
        Ok(None)
    }
}

impl Seen {
    fn passes(&self, most: f64, bytes: u64) -> bool {
        self.usage.most > 0 && (self.usage.used + self.written + bytes) as f64 > self.usage.most as f64 * most
    }
}

impl Run<'_> {
    /// Hands batches on until the run is told to stop. The first ones are held back until there are as many keys as must
    /// be, so that a run of suspiciously few writes nothing.
    pub(super) async fn forward<T>(
        &self,
        mut from: mpsc::Receiver<Vec<T>>,
        to: &mpsc::Sender<Batch>,
        wrap: impl Fn(Vec<T>) -> Batch,
    ) {
        let mut held = Vec::new();
        let mut holds = self.shrinkage.fewest_keys() > 0;
        while let Some(items) = from.recv().await {
            held.push(items);
            holds = holds && self.meter.keys.get() < self.shrinkage.fewest_keys() && held.len() < MOST_HELD;
            if holds {
                continue;
            }
            for items in held.drain(..) {
                if self.stop.is_cancelled() || to.send(wrap(items)).await.is_err() {
                    return;
                }
            }
        }
        if self.stop.is_cancelled() {
            return;
        }
        match self.shrinkage.of_keys(self.meter.keys.get()) {
            Some(why) => self.refuse(Cause::Shrunk, why),
            None => {
                for items in held {
                    let _ = to.send(wrap(items)).await;
                }
            }
        }
    }

    /// Writes nothing more, for this reason: the first one counts.
    pub(super) fn refuse(&self, cause: Cause, message: String) {
        let mut refusal = self.refusal.lock().unwrap_or_else(PoisonError::into_inner);
        refusal.get_or_insert(Failure { cause, message });
        self.stop.cancel();
    }

    /// Compares the lengths of some values with those that they are to replace; a run whose values shrink is refused.
    pub(super) async fn compare(
        &self,
        due: &[Due],
        length: impl Fn(usize, &Due) -> Option<usize>,
    ) -> Result<(), Failure> {
        if !self.shrinkage.compares() {
            return Ok(());
        }
        let stale = due.iter().enumerate().filter(|(_, due)| due.stale);
        let sample: Vec<(&str, usize)> =
            stale.filter_map(|(at, due)| Some((due.key.as_str(), length(at, due)?))).take(SAMPLE).collect();
        let keys: Vec<&str> = sample.iter().map(|(key, _)| *key).collect();
        let before = match self.ask(Question::Lengths, || self.around.store.lengths(&keys)).await {
            Ok(before) => before,
            Err(error) if error.transient => {
                self.fail(due.len(), &error.message);
                return Err(error.into());
            }
            Err(error) => {
                if self.shrinkage.go_blind() {
                    tracing::warn!("{}: nobody looks whether values shrink: {error}", self.job.name);
                }
                return Ok(());
            }
        };
        let pairs = before.into_iter().zip(sample).map(|(before, (_, now))| (before, now as u64));
        if let Some(why) = self.shrinkage.of_values(pairs, self.meter.keys.get()) {
            self.refuse(Cause::Shrunk, why);
        }
        Ok(())
    }
}

/// The bytes that would be written, of nothing none; unknown where the target failed.
pub(super) fn length(produced: &Produced) -> Option<usize> {
    match produced {
        Produced::Value(value) => Some(value.len()),
        Produced::Empty => Some(0),
        Produced::Failed(_) => None,
    }
}

/// What entries take in Redis, about.
pub(super) fn size(entries: &[Entry]) -> u64 {
    entries.iter().map(|entry| (entry.key.len() + entry.value.len() + BESIDE) as u64).sum()
}

/// The bytes of values that a run may still write.
pub(super) struct Budget(Option<Mutex<u64>>);

impl Budget {
    pub fn new(most: Option<u64>) -> Self {
        Self(most.map(Mutex::new))
    }

    /// How many of the entries, from the first, fit in what is left; they are taken off it.
    pub fn take(&self, entries: &[Entry]) -> usize {
        let Some(left) = &self.0 else { return entries.len() };
        let mut left = left.lock().unwrap_or_else(PoisonError::into_inner);
        entries
            .iter()
            .take_while(|entry| {
                let after = left.checked_sub(entry.value.len() as u64);
                after.inspect(|after| *left = *after).is_some()
            })
            .count()
    }
}

/// Compares what is to be written with what is there, and how many keys there are with how many there were.
pub(super) struct Shrinkage {
    /// The share that may go; `None` compares nothing.
    most: Option<f64>,
    /// The keys of the last run.
    keys_before: Option<u64>,
    values: Mutex<Compared>,
    /// The server does not tell.
    blind: AtomicBool,
}

#[derive(Default)]
struct Compared {
    all: u64,
    shrunk: u64,
}

/// Values that are compared in a batch, at most.
const SAMPLE: usize = 16;

/// Values of which more than half must have shrunk: one user may well have less than yesterday.
const ENOUGH: u64 = 10;

impl Shrinkage {
    pub fn new(most: Option<f64>, keys_before: Option<u64>) -> Self {
        Self { most, keys_before, values: Mutex::default(), blind: AtomicBool::new(false) }
    }

    /// Whether values are compared at all.
    pub fn compares(&self) -> bool {
        self.most.is_some() && !self.blind.load(Ordering::Relaxed)
    }

    /// Compares no more values; whether that is news.
    fn go_blind(&self) -> bool {
        !self.blind.swap(true, Ordering::Relaxed)
    }

    /// So many keys are no fewer than may be.
    pub fn fewest_keys(&self) -> u64 {
        let Some((most, before)) = self.most.zip(self.keys_before) else { return 0 };
        (before as f64 * (1.0 - most)).ceil() as u64
    }

    /// Why a run of only `keys` keys is not to be trusted, if it is not.
    pub fn of_keys(&self, keys: u64) -> Option<String> {
        let (most, before) = self.most.zip(self.keys_before)?;
        (keys < self.fewest_keys()).then(|| format!("{keys} keys where the last run had {before}, {}", allowed(most)))
    }

    /// Why a run is not to be trusted that would remove so many of all keys, if it is not.
    pub fn of_index(&self, all: u64, outdated: u64) -> Option<String> {
        let most = self.most?;
        let shrunk = outdated as f64 > all as f64 * most;
        shrunk.then(|| format!("{outdated} of {all} keys would be removed, {}", allowed(most)))
    }

    /// Takes note of values in bytes, before and now, of a job of so many keys; why the run is not to be trusted, if it
    /// is not.
    pub fn of_values(&self, lengths: impl Iterator<Item = (u64, u64)>, keys: u64) -> Option<String> {
        let most = self.most?;
        let mut values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        for (before, now) in lengths {
            values.all += 1;
            values.shrunk += u64::from((before as f64) * (1.0 - most) > now as f64);
        }
        let is_enough = values.all >= ENOUGH.min(keys);
        let Compared { all, shrunk } = *values;
        let shrinks = is_enough && shrunk * 2 > all;
        shrinks.then(|| format!("{shrunk} of {all} values that were compared would shrink, {}", allowed(most)))
    }
}

fn allowed(most: f64) -> String {
    format!("by more than `max_shrink` = {}; if that is right, warm once with --force", Percent(most))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(size: usize) -> Entry {
        Entry { key: "k".to_owned(), value: vec![b'x'; size].into(), ttl: Duration::from_secs(1), only_absent: true }
    }

    #[test]
    fn a_budget_is_spent_by_whole_entries_in_their_order() {
        let budget = Budget::new(Some(10));
        assert_eq!(budget.take(&[entry(4), entry(4), entry(4), entry(1)]), 2);
        assert_eq!(budget.take(&[entry(2), entry(1)]), 1);
        assert_eq!(budget.take(&[entry(1)]), 0);
        assert_eq!(Budget::new(None).take(&[entry(1 << 20)]), 1);
    }

    #[test]
    fn keys_are_suspiciously_few_below_the_share_that_must_stay() {
        let shrinkage = Shrinkage::new(Some(0.9), Some(1000));
        assert_eq!(shrinkage.fewest_keys(), 100);
        assert_eq!(shrinkage.of_keys(100), None);
        let told = "99 keys where the last run had 1000, by more than `max_shrink` = 90%; if that is right, warm once with \
            --force";
        assert_eq!(shrinkage.of_keys(99).unwrap(), told);
        for (most, before) in [(None, Some(1000)), (Some(0.9), None), (Some(1.0), Some(1000))] {
            let shrinkage = Shrinkage::new(most, before);
            assert_eq!((shrinkage.fewest_keys(), shrinkage.of_keys(0)), (0, None));
        }
    }

    #[test]
    fn a_few_small_values_are_chance_and_many_are_not() {
        let few = Shrinkage::new(Some(0.9), None);
        let shrunk = |count| std::iter::repeat_n((1000, 99), count);
        assert_eq!(few.of_values(shrunk(9), 500), None);
        assert_eq!(few.of_values(std::iter::repeat_n((1000, 100), 9), 500), None, "as many are well");
        assert!(few.of_values(shrunk(1), 500).unwrap().starts_with("10 of 19 values that were compared would shrink"));
        // A job of one list has no more to compare.
        assert!(Shrinkage::new(Some(0.9), None).of_values(shrunk(1), 1).is_some());
        assert_eq!(Shrinkage::new(Some(0.9), None).of_values([].into_iter(), 500), None);
    }
}
