//! How fast: quotas per job and for the whole process, of which the stricter wins, and less when a server is slow.

use std::{
    collections::HashMap,
    num::NonZeroU32,
    sync::{
        Arc, Mutex as StdMutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};

mod pace;

pub use pace::{BackedOff, Strain};
use pace::{Pace, Place, Usual};

/// The process's quotas: keys and statements a second, and batches at once; and what is usual for each of its jobs.
pub struct Throttle {
    rates: Rates,
    slots: Option<Arc<Semaphore>>,
    usual: StdMutex<HashMap<String, Arc<Usual>>>,
}

/// Quotas of keys and statements.
struct Rates {
    keys: Option<Limiter>,
    queries: Option<Limiter>,
}

/// The quotas that a [`Throttle`] keeps; `None` is unlimited.
#[derive(Debug, Clone, Copy, Default)]
pub struct Quotas {
    /// Keys written a second.
    pub keys_per_second: Option<NonZeroU32>,
    /// Statements a second.
    pub queries_per_second: Option<NonZeroU32>,
    /// Batches at once.
    pub concurrency: Option<NonZeroU32>,
}

impl Throttle {
    /// A throttle whose quotas are unused so far.
    pub fn new(quotas: Quotas) -> Self {
        Self {
            rates: Rates::new(quotas),
            slots: quotas.concurrency.map(|slots| Arc::new(Semaphore::new(slots.get() as usize))),
            usual: StdMutex::default(),
        }
    }

    fn usual(&self, job: &str) -> Arc<Usual> {
        let mut usual = self.usual.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(usual.entry(job.to_owned()).or_default())
    }
}

impl Rates {
    fn new(quotas: Quotas) -> Self {
        Self { keys: quotas.keys_per_second.map(Limiter::new), queries: quotas.queries_per_second.map(Limiter::new) }
    }
}

/// The throttle of one run: the job's quotas together with the process's, and the pace that the servers bear. Counts the
/// time that was spent waiting.
pub struct Throttles {
    job: Rates,
    process: Arc<Throttle>,
    pace: Pace,
    waited_micros: AtomicU64,
}

/// The right to have one batch under way.
pub struct Slot<'t> {
    _place: Place<'t>,
    _permit: Option<OwnedSemaphorePermit>,
}

/// Batches at once of a run that does not say.
const ONE: NonZeroU32 = NonZeroU32::MIN;

impl Throttles {
    /// For a run of the job of this name. The stricter of both wins.
    pub fn new(job: &str, quotas: Quotas, process: Arc<Throttle>) -> Self {
        let pace = Pace::new(quotas.concurrency.unwrap_or(ONE).get(), process.usual(job));
        Self { job: Rates::new(quotas), process, pace, waited_micros: AtomicU64::new(0) }
    }

    fn both(&self) -> [&Rates; 2] {
        [&self.job, &self.process.rates]
    }

    /// Whether there is a limit on keys at all.
    pub fn limit_keys(&self) -> bool {
        self.both().iter().any(|rates| rates.keys.is_some())
    }

    /// Waits for a place among the batches under way.
    pub async fn slot(&self) -> Slot<'_> {
        let start = Instant::now();
        let place = self.pace.place().await;
        let permit = match &self.process.slots {
            // The semaphore is never closed, and without a permit there is no limit to keep.
            Some(slots) => Arc::clone(slots).acquire_owned().await.ok(),
            None => None,
        };
        self.count(start);
        Slot { _place: place, _permit: permit }
    }

    /// Takes note of how long a server took to answer, so that one that is slow gets fewer batches at once. `statement`
    /// tells apart what takes its own time.
    pub fn answered(&self, strain: Strain, statement: u64, asked: Instant, took: Duration) {
        self.pace.answered(strain, statement, asked, took);
    }

    /// Seconds spent with fewer batches at once than configured, by the reason.
    pub fn backed_off(&self) -> BackedOff {
        self.pace.backed_off()
    }

    /// Waits until one statement may be sent.
    pub async fn query(&self) {
        let start = Instant::now();
        for limiter in self.both().iter().filter_map(|rates| rates.queries.as_ref()) {
            limiter.acquire(NonZeroU32::MIN).await;
        }
        self.count(start);
    }

    /// Waits until some of `wanted` keys may be written; how many, at most half a burst, at least one.
    ///
    /// Batches larger than the burst are so written piece by piece, at the pace of the quota.
    pub async fn keys(&self, wanted: NonZeroU32) -> NonZeroU32 {
        let start = Instant::now();
        let both = self.both();
        let limiters = || both.iter().filter_map(|rates| rates.keys.as_ref());
        let granted = limiters().map(|limiter| limiter.piece).fold(wanted, NonZeroU32::min);
        for limiter in limiters() {
            limiter.acquire(granted).await;
        }
        self.count(start);
        granted
    }

    /// The time that batches spent waiting, added up over all of them.
    pub fn waited(&self) -> Duration {
        Duration::from_micros(self.waited_micros.load(Ordering::Relaxed))
    }

    fn count(&self, start: Instant) {
        let micros = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.waited_micros.fetch_add(micros, Ordering::Relaxed);
    }
}

struct Limiter {
    inner: DefaultDirectRateLimiter,
    /// The most cells asked for at once.
    piece: NonZeroU32,
    /// governor is not fair: beside many small requests a large one starves. Whoever came first waits alone.
    turn: Mutex<()>,
}

impl Limiter {
    fn new(per_second: NonZeroU32) -> Self {
        // A fiftieth of a second's worth: the default, a whole second's, lets twice the quota through in the first
        // second. Half of it at a time, so that a timer that is late by less than a hundredth of a second costs nothing.
        let burst = NonZeroU32::MIN.saturating_add(per_second.get() / 50);
        let piece = NonZeroU32::new(burst.get() / 2).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::per_second(per_second).allow_burst(burst);
        Self { inner: RateLimiter::direct(quota), piece, turn: Mutex::new(()) }
    }

    async fn acquire(&self, cells: NonZeroU32) {
        let _turn = self.turn.lock().await;
        // Never more than the burst, so the error case, a request that could never be granted, cannot happen.
        let _ = self.inner.until_n_ready(cells.min(self.piece)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn throttles(job: Quotas, process: Quotas) -> Throttles {
        Throttles::new("job", job, Arc::new(Throttle::new(process)))
    }

    fn per_second(keys: u32) -> Quotas {
        Quotas { keys_per_second: NonZeroU32::new(keys), ..Quotas::default() }
    }

    async fn time_for(throttles: &Throttles, keys: u32) -> f64 {
        let start = Instant::now();
        let mut left = keys;
        while let Some(wanted) = NonZeroU32::new(left) {
            left -= throttles.keys(wanted).await.get();
        }
        start.elapsed().as_secs_f64()
    }

    #[tokio::test]
    async fn a_large_batch_is_granted_piece_by_piece_at_the_quota() {
        let throttles = throttles(per_second(1000), Quotas::default());
        // 500 keys less the burst of 21 at 1000 a second.
        let seconds = time_for(&throttles, 500).await;
        // A busy machine may take longer, but never less.
        assert!((0.47..5.0).contains(&seconds), "{seconds}");
        assert!(throttles.waited() >= Duration::from_millis(470));
    }

    #[tokio::test]
    async fn the_stricter_of_job_and_process_wins() {
        for (job, process) in [(10_000, 500), (500, 10_000)] {
            // The burst is 11.
            let seconds = time_for(&throttles(per_second(job), per_second(process)), 250).await;
            // A busy machine may take longer, but never less.
            assert!((0.47..5.0).contains(&seconds), "{seconds}");
        }
    }

    #[tokio::test]
    async fn without_quotas_nothing_waits() {
        let throttles = throttles(Quotas::default(), Quotas::default());
        assert_eq!(throttles.keys(NonZeroU32::new(100_000).unwrap()).await.get(), 100_000);
        throttles.query().await;
        throttles.slot().await;
        assert!(throttles.waited() < Duration::from_millis(100));
    }

    #[tokio::test]
    async fn the_process_holds_back_batches_of_all_jobs_together() {
        let one = Quotas { concurrency: NonZeroU32::new(1), ..Quotas::default() };
        let process = Arc::new(Throttle::new(one));
        let (a, b) = (
            Throttles::new("a", Quotas::default(), Arc::clone(&process)),
            Throttles::new("b", Quotas::default(), process),
        );
        let slot = a.slot().await;
        let waiting = tokio::time::timeout(Duration::from_millis(20), b.slot()).await;
        assert!(waiting.is_err());
        drop(slot);
        b.slot().await;
    }
}
