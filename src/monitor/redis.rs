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
    /// Which server that was.
    address: Option<String>,
    /// What it told, if it answered.
    before: Option<(Instant, Vitals)>,
    /// Lookups of others that are accounted for.
    known: Others,
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
    /// Looks at this server from now on.
    pub fn turn_to(&mut self, address: Option<&str>) {
        if self.address.as_deref() != address {
            (self.address, self.before) = (address.map(str::to_owned), None);
        }
    }

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
        let since = past.and_then(|(at, before)| Since::new(&before, &vitals, &mut self.known, at.elapsed()));
        if let Some(since) = since {
            self.totals.lookups.hits += since.lookups.hits;
            self.totals.lookups.misses += since.lookups.misses;
            self.totals.evicted += since.evicted;
            self.recent.push_back(since.lookups);
            if self.recent.len() > RECENT {
                self.recent.pop_front();
            }
        } else {
            self.known = Others::at_most(&vitals);
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
    fn new(before: &Vitals, now: &Vitals, known: &mut Others, took: Duration) -> Option<Self> {
        let is_same = now.hits >= before.hits && now.misses >= before.misses;
        let evicted = now.evicted.checked_sub(before.evicted).filter(|_| is_same)?;
        Some(Self {
            lookups: known.rise_to(Others::at_least(now)),
            evicted,
            seconds: took.as_secs_f64().max(f64::EPSILON),
        })
    }
}

/// Lookups of others, since the server began if not for this process's own before that, which may make them less than
/// none.
///
/// One of this process's own whose answer is on its way may have been counted by the server or not. So that none is ever
/// taken for one of others, others have what they must have had at least; what remains is theirs at the next look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Others {
    hits: i64,
    misses: i64,
}

impl Others {
    fn at_least(vitals: &Vitals) -> Self {
        Self::without(vitals, vitals.own.at_most)
    }

    fn at_most(vitals: &Vitals) -> Self {
        Self::without(vitals, vitals.own.at_least)
    }

    fn without(vitals: &Vitals, own: Lookups) -> Self {
        let less = |all: u64, own: u64| all.cast_signed().wrapping_sub(own.cast_signed());
        Self { hits: less(vitals.hits, own.hits), misses: less(vitals.misses, own.misses) }
    }

    /// By how much more is known now.
    fn rise_to(&mut self, now: Self) -> Lookups {
        let rise = |known: &mut i64, now: i64| {
            let more = u64::try_from(now - *known).unwrap_or(0);
            *known = now.max(*known);
            more
        };
        Lookups { hits: rise(&mut self.hits, now.hits), misses: rise(&mut self.misses, now.misses) }
    }
}

pub(super) fn memory_share(vitals: &Vitals) -> Option<f64> {
    (vitals.most > 0).then(|| vitals.used as f64 / vitals.most as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::Own;

    fn lookups(hits: u64, misses: u64) -> Lookups {
        Lookups { hits, misses }
    }

    /// Looks with what the server has counted, and the least and the most of it that is warmd's own.
    fn seen(looks: &[(Lookups, Lookups, Lookups)]) -> (Redis, Vec<Option<f64>>) {
        let mut redis = Redis::default();
        let rates = looks.iter().map(|(Lookups { hits, misses }, at_least, at_most)| {
            let own = Own { at_least: *at_least, at_most: *at_most };
            let vitals = Vitals { hits: *hits, misses: *misses, own, ..Vitals::default() };
            redis.measure(Ok(Some(vitals)), Utc::now()).unwrap().hit_rate
        });
        let rates = rates.collect();
        (redis, rates)
    }

    #[test]
    fn lookups_of_others_wait_for_those_under_way_and_none_is_lost_or_counted_twice() {
        let none = lookups(0, 0);
        let (redis, rates) = seen(&[
            (none, none, none),
            // Ten are under way; the server has counted six of them, or others have looked up six keys.
            (lookups(2, 4), none, lookups(10, 10)),
            // They were all warmd's own, and meanwhile somebody has looked up four keys.
            (lookups(6, 7), lookups(4, 5), lookups(4, 6)),
            (lookups(6, 7), lookups(4, 6), lookups(4, 6)),
            // Nothing but warmd's own, half of it on its way.
            (lookups(60, 70), lookups(4, 6), lookups(70, 80)),
            (lookups(70, 80), lookups(68, 79), lookups(68, 79)),
        ]);
        assert_eq!(rates, [None, None, Some(2.0 / 3.0), None, None, None]);
        assert_eq!(redis.totals.lookups, lookups(2, 1));
    }

    #[test]
    fn what_was_under_way_at_the_first_look_is_never_that_of_others() {
        let (redis, rates) = seen(&[
            (lookups(20, 30), lookups(5, 5), lookups(25, 25)),
            (lookups(40, 50), lookups(25, 25), lookups(25, 25)),
            (lookups(50, 50), lookups(25, 25), lookups(25, 25)),
        ]);
        assert_eq!(rates, [None, None, Some(1.0)]);
        assert_eq!(redis.totals.lookups, lookups(10, 0));
    }

    #[test]
    fn a_server_that_begins_anew_or_is_another_one_has_no_lookups_yet() {
        let own = lookups(100, 100);
        let (mut redis, rates) =
            seen(&[(lookups(500, 500), own, own), (lookups(9, 0), own, own), (lookups(10, 3), own, own)]);
        assert_eq!(rates, [None, None, Some(0.25)]);
        redis.turn_to(Some("elsewhere:6379"));
        let more = Vitals { hits: 1_000, ..Vitals::default() };
        assert_eq!(redis.measure(Ok(Some(more)), Utc::now()).unwrap().hit_rate, None);
        redis.turn_to(Some("elsewhere:6379"));
        let more = Vitals { hits: 1_001, ..more };
        assert_eq!(redis.measure(Ok(Some(more)), Utc::now()).unwrap().hit_rate, Some(1.0));
        assert_eq!(redis.totals.lookups, lookups(2, 3));
    }
}
