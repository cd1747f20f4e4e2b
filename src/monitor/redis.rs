//! What Redis tells of itself, from one look to the next.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};

use super::Point;
use crate::cache::{Lookups, Vitals};

/// What the last look at Redis found.
#[derive(Default)]
pub(super) struct Redis {
    /// When that was.
    pub sampled: Option<DateTime<Utc>>,
    /// What it told, if it answered.
    before: Option<(Instant, Vitals)>,
    /// Why it did not.
    pub error: Option<String>,
    /// Lookups of others in the last intervals, for the alert.
    recent: VecDeque<Lookups>,
    /// Of all looks.
    pub totals: Totals,
}

/// What others than this process have looked up, and what was evicted, since the monitor began.
#[derive(Debug, Clone, Copy, Default)]
pub struct Totals {
    /// Lookups by what came of them.
    pub lookups: Lookups,
    /// Keys evicted.
    pub evicted: u64,
}

/// Intervals over which the hit rate is taken for the alert: five minutes at the usual interval.
const RECENT: usize = 20;

impl Redis {
    /// Takes what Redis told of itself, or why it did not, and makes a point of it; `None` where there is no server.
    pub fn measure(&mut self, vitals: Result<Option<Vitals>, String>, now: DateTime<Utc>) -> Option<Point> {
        self.sampled = Some(now);
        let vitals = match vitals {
            Ok(None) => return None,
            Ok(Some(vitals)) => vitals,
            Err(error) => {
                // What happens meanwhile is not that of one interval.
                (self.before, self.error) = (None, Some(error));
                return Some(Point::unknown(now));
            }
        };
        self.error = None;
        let past = self.before.replace((Instant::now(), vitals));
        let since = past.and_then(|(at, before)| Since::new(&before, &vitals, at.elapsed()));
        if let Some(since) = since {
            self.totals.lookups.hits += since.lookups.hits;
            self.totals.lookups.misses += since.lookups.misses;
            self.totals.evicted += since.evicted;
            self.recent.push_back(since.lookups);
            if self.recent.len() > RECENT {
                self.recent.pop_front();
            }
        }
        let all = since.map_or(0, |since| since.lookups.hits + since.lookups.misses);
        Some(Point {
            at: now,
            hit_rate: since.filter(|_| all > 0).map(|since| since.lookups.hits as f64 / all as f64),
            response_seconds: Some(vitals.response.as_secs_f64()),
            used_memory_bytes: Some(vitals.used),
            memory_share: memory_share(&vitals),
            evicted_keys_per_second: since.map(|since| since.evicted as f64 / since.seconds),
            connected_clients: Some(vitals.clients),
        })
    }

    /// What it told last, if it answered.
    pub fn vitals(&self) -> Option<Vitals> {
        self.before.map(|(_, vitals)| vitals)
    }

    /// Lookups of others in the last intervals.
    pub fn recent(&self) -> Lookups {
        self.recent.iter().fold(Lookups::default(), |sum, lookups| Lookups {
            hits: sum.hits + lookups.hits,
            misses: sum.misses + lookups.misses,
        })
    }
}

/// What happened between two looks at a server.
#[derive(Clone, Copy)]
struct Since {
    lookups: Lookups,
    evicted: u64,
    seconds: f64,
}

impl Since {
    /// `None` when a counter went back: the server has begun anew, or it is another one.
    fn new(before: &Vitals, now: &Vitals, took: Duration) -> Option<Self> {
        let hits = now.hits.checked_sub(before.hits)?;
        let misses = now.misses.checked_sub(before.misses)?;
        let own_hits = now.own.hits.checked_sub(before.own.hits)?;
        let own_misses = now.own.misses.checked_sub(before.own.misses)?;
        Some(Self {
            // What was answered a moment after the counters were read is of the next interval.
            lookups: Lookups { hits: hits.saturating_sub(own_hits), misses: misses.saturating_sub(own_misses) },
            evicted: now.evicted.checked_sub(before.evicted)?,
            seconds: took.as_secs_f64().max(f64::EPSILON),
        })
    }
}

pub(super) fn memory_share(vitals: &Vitals) -> Option<f64> {
    (vitals.most > 0).then(|| vitals.used as f64 / vitals.most as f64)
}
