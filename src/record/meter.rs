//! A run under way, in numbers.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};

use tokio::sync::watch;

use super::{Counts, Progress};

/// The counters of a run under way: shared by its batches, read by whoever shows how far it is.
#[derive(Debug, Default)]
pub struct Meter {
    /// See [`Counts::targets`].
    pub targets: Count,
    /// See [`Counts::keys`].
    pub keys: Count,
    /// See [`Counts::fresh`].
    pub fresh: Count,
    /// See [`Counts::stale`].
    pub stale: Count,
    /// See [`Counts::missing`].
    pub missing: Count,
    /// See [`Counts::invalid`].
    pub invalid: Count,
    /// See [`Counts::written`].
    pub written: Count,
    /// See [`Counts::empty`].
    pub empty: Count,
    /// See [`Counts::failed`].
    pub failed: Count,
    /// See [`Counts::foreign`].
    pub foreign: Count,
    /// See [`Counts::pruned`].
    pub pruned: Count,
    /// Bytes of the values written.
    pub bytes: Count,
    /// Statements sent.
    pub queries: Count,
    /// Rows read.
    pub rows: Count,
    /// Bytes of the values read.
    pub database_bytes: Count,
    /// Microseconds in the database.
    pub database: Count,
    /// Microseconds of computing.
    pub compute: Count,
    /// Microseconds in Redis.
    pub redis: Count,
    /// All targets are known: `keys` will not grow.
    pub complete: AtomicBool,
    /// The database that is out of reach, in words, while the run tries again.
    pub waits_for: watch::Sender<Option<String>>,
}

/// A counter that many tasks add to.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Adds to the counter.
    pub fn add(&self, amount: usize) {
        self.0.fetch_add(amount as u64, Ordering::Relaxed);
    }

    /// Adds a duration in microseconds.
    pub fn add_time(&self, duration: Duration) {
        self.0.fetch_add(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Takes back what was added.
    pub fn subtract(&self, amount: usize) {
        self.0.fetch_sub(amount as u64, Ordering::Relaxed);
    }

    /// The sum so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// The sum of microseconds so far, in seconds.
    pub fn seconds(&self) -> f64 {
        self.get() as f64 / 1e6
    }
}

impl Meter {
    /// The keys as they stand; what was not looked at is unreached.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts {
            targets: self.targets.get(),
            keys: self.keys.get(),
            fresh: self.fresh.get(),
            stale: self.stale.get(),
            missing: self.missing.get(),
            invalid: self.invalid.get(),
            unreached: 0,
            written: self.written.get(),
            empty: self.empty.get(),
            failed: self.failed.get(),
            foreign: self.foreign.get(),
            pruned: self.pruned.get(),
        };
        counts.unreached = counts.keys.saturating_sub(counts.fresh + counts.stale + counts.missing + counts.invalid);
        counts
    }

    /// How far the run is now.
    pub fn progress(&self) -> Progress {
        Progress {
            keys: self.keys.get(),
            done: self.done(),
            complete: self.complete.load(Ordering::Relaxed),
            fresh: self.fresh.get(),
            written: self.written.get(),
            empty: self.empty.get(),
            failed: self.failed.get(),
        }
    }

    /// Keys that are done with.
    pub fn done(&self) -> u64 {
        self.fresh.get() + self.written.get() + self.empty.get() + self.failed.get()
    }
}
