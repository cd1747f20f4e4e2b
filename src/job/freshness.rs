//! How long an entry lives, when it is due for renewal, and what schedule and TTL together promise.

use std::{borrow::Cow, fmt, str::FromStr, time::Duration};

use chrono::{DateTime, Utc};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de::Error};

use super::{
    duration::{PERCENT, Percent, Span},
    schedule::Schedule,
};

/// The life of an entry.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ttl {
    /// No entry lives longer.
    pub longest: Duration,
    /// Share of `longest` by which an entry's life may be shorter, 0.0 to 1.0.
    pub jitter: f64,
}

impl Ttl {
    /// The TTL of one key: the same in every run and on every instance, spread evenly over all keys, so that a cohort
    /// that was warmed together does not expire together.
    pub fn of(&self, key: &str) -> Duration {
        self.longest.mul_f64(1.0 - self.jitter * fraction(key))
    }

    /// No entry lives shorter.
    pub fn shortest(&self) -> Duration {
        self.longest.mul_f64(1.0 - self.jitter)
    }
}

/// A number in 0..1 from the bytes of a name: FNV-1a, then the finaliser of SplitMix64, because FNV's high bits are poor.
pub(super) fn fraction(key: &str) -> f64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in key.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((hash ^ (hash >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
}

/// Which keys a run writes.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Refresh {
    /// Only absent keys.
    Missing,
    /// Also keys that would expire before the next run can have renewed them.
    #[default]
    Auto,
    /// Also keys with less than this share of their TTL left.
    Share(f64),
    /// Every key.
    Always,
}

impl Refresh {
    /// With how much life left, or less, a key is stale; `None` means that no present key is.
    ///
    /// `until_renewed` is the time from now until the next run can have renewed the key.
    pub fn stale_below(self, ttl: Duration, until_renewed: Option<Duration>) -> Option<Duration> {
        match self {
            Self::Missing => None,
            Self::Auto => until_renewed,
            Self::Share(share) => Some(ttl.mul_f64(share)),
            Self::Always => Some(Duration::MAX),
        }
    }
}

impl FromStr for Refresh {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "missing" => Ok(Self::Missing),
            "auto" => Ok(Self::Auto),
            "always" => Ok(Self::Always),
            _ if text.contains('%') => text.parse::<Percent>().map(|Percent(share)| Self::Share(share)),
            _ => Err(crate::problems::unknown("value", text, &["missing", "auto", "20%", "always"])),
        }
    }
}

impl fmt::Display for Refresh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("missing"),
            Self::Auto => f.write_str("auto"),
            Self::Share(share) => Percent(*share).fmt(f),
            Self::Always => f.write_str("always"),
        }
    }
}

impl<'de> Deserialize<'de> for Refresh {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl JsonSchema for Refresh {
    fn schema_name() -> Cow<'static, str> {
        "Refresh".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "anyOf": [{ "enum": ["missing", "auto", "always"] }, { "pattern": PERCENT }],
            "examples": ["20%"],
        })
    }
}

/// A tick starts within this time; the heart beats twice a second.
const LATE: Duration = Duration::from_secs(1);

/// The safety margin on an interval: a run starts a little late now and then, and takes longer on a bad day.
pub fn margin(interval: Duration) -> Duration {
    LATE.max(interval / 10)
}

/// What schedule, TTL and refresh rule promise together, in words, when that leaves keys cold.
pub fn cold_warning(schedule: &Schedule, ttl: Ttl, refresh: Refresh, from: DateTime<Utc>) -> Option<String> {
    let gaps = schedule.gaps_after(from);
    let longest_gap = gaps.iter().max().copied()?;
    let cold = cold_share(&gaps, ttl, refresh);
    if cold < 0.001 {
        return None;
    }
    let percent = (cold * 100.0).max(1.0).round();
    let uniform = gaps.iter().all(|gap| *gap == longest_gap);
    let interval =
        if uniform { format!("every {}", Span(longest_gap)) } else { format!("gaps of up to {}", Span(longest_gap)) };
    let enough = whole_seconds((longest_gap + margin(longest_gap)).div_f64((1.0 - ttl.jitter).max(0.01)));
    let life = if ttl.jitter > 0.0 {
        format!("ttl {} with {} jitter", Span(ttl.longest), Percent(ttl.jitter))
    } else {
        format!("ttl {}", Span(ttl.longest))
    };
    let cold = format!("keys are cold {percent} % of the time");
    Some(if ttl.shortest() <= longest_gap {
        let compare = if ttl.longest < longest_gap { "<" } else { "is not enough for" };
        format!("{life} {compare} {interval}: {cold}; use a ttl of at least {}", Span(enough))
    } else {
        format!(
            "refresh \"{refresh}\" leaves a key that expires between ticks cold until the next ({life}, {interval}): {cold}; use refresh = \"auto\""
        )
    })
}

fn whole_seconds(duration: Duration) -> Duration {
    Duration::from_secs(duration.as_secs() + u64::from(duration.subsec_nanos() > 0))
}

/// The share of time for which a key is absent, averaged over the spread of TTLs.
fn cold_share(gaps: &[Duration], ttl: Ttl, refresh: Refresh) -> f64 {
    const STEPS: u32 = 20;
    let lives = (0..=STEPS).map(|step| ttl.longest.mul_f64(1.0 - ttl.jitter * f64::from(step) / f64::from(STEPS)));
    lives.map(|life| cold_share_of_one(gaps, life, refresh)).sum::<f64>() / f64::from(STEPS + 1)
}

/// Follows one key through all ticks. A run writes a moment after its tick, which is what makes a TTL that equals the
/// interval fatal under `missing`: the next tick still sees the key, and it dies right after.
fn cold_share_of_one(gaps: &[Duration], life: Duration, refresh: Refresh) -> f64 {
    let write_delay = Duration::from_secs(1);
    // Two rounds, so that the first write's luck does not count.
    let (mut tick, mut expires) = (Duration::ZERO, write_delay + life);
    let (mut cold, mut total) = (Duration::ZERO, Duration::ZERO);
    for (index, gap) in gaps.iter().chain(gaps).enumerate() {
        tick += *gap;
        let next_gap = gaps[(index + 1) % gaps.len()];
        let left = expires.saturating_sub(tick);
        let stale_below = refresh.stale_below(life, Some(next_gap + margin(next_gap)));
        let absent_for = (tick + write_delay).saturating_sub(expires.max(tick + write_delay - *gap));
        if left.is_zero() || stale_below.is_some_and(|below| left <= below) {
            expires = tick + write_delay + life;
        }
        if index >= gaps.len() {
            cold += absent_for;
            total += *gap;
        }
    }
    if total.is_zero() { 0.0 } else { cold.as_secs_f64() / total.as_secs_f64() }
}

#[cfg(test)]
mod tests {
    use chrono_tz::Tz;

    use super::*;

    fn warning(schedule: &str, ttl: &str, jitter: f64, refresh: Refresh) -> Option<String> {
        let schedule = Schedule::parse(schedule, Tz::UTC).unwrap();
        let ttl = Ttl { longest: ttl.parse::<Span>().unwrap().0, jitter };
        let monday = DateTime::parse_from_rfc3339("2026-03-02T00:00:00Z").unwrap().to_utc();
        cold_warning(&schedule, ttl, refresh, monday)
    }

    #[test]
    fn the_margin_covers_a_tick_that_starts_late_however_short_the_interval_is() {
        // A key that would last for 1.94 s was left alone 1.68 s before its next tick, which came a third of a second late.
        assert_eq!(margin(Duration::from_secs(2)), Duration::from_secs(1));
        assert_eq!(margin(Duration::from_secs(900)), Duration::from_secs(90));
    }

    #[test]
    fn a_ttl_below_the_interval_is_called_cold_with_the_ttl_that_would_close_the_hole() {
        assert_eq!(
            warning("*/15 * * * *", "10m", 0.0, Refresh::Auto).unwrap(),
            "ttl 10m < every 15m: keys are cold 33 % of the time; use a ttl of at least 16m30s"
        );
        assert_eq!(warning("*/15 * * * *", "16m30s", 0.0, Refresh::Auto), None);
        assert_eq!(warning("*/15 * * * *", "30m", 0.1, Refresh::Auto), None);
    }

    #[test]
    fn weekends_and_jitter_count() {
        assert_eq!(
            warning("0 9 * * MON-FRI", "1d", 0.0, Refresh::Auto).unwrap(),
            "ttl 1d < gaps of up to 3d: keys are cold 29 % of the time; use a ttl of at least 3d7h12m"
        );
        assert_eq!(
            warning("*/15 * * * *", "16m", 0.2, Refresh::Auto).unwrap(),
            "ttl 16m with 20% jitter is not enough for every 15m: keys are cold 5 % of the time; use a ttl of at least 20m38s"
        );
    }

    #[test]
    fn skipping_present_keys_leaves_holes_that_auto_does_not() {
        assert_eq!(
            warning("*/15 * * * *", "20m", 0.0, Refresh::Missing).unwrap(),
            "refresh \"missing\" leaves a key that expires between ticks cold until the next (ttl 20m, every 15m): keys \
             are cold 33 % of the time; use refresh = \"auto\""
        );
        assert_eq!(warning("*/15 * * * *", "20m", 0.0, Refresh::Auto), None);
        // The TTL equals the interval: every other tick finds the key alive for one more second.
        assert!(warning("*/15 * * * *", "15m", 0.0, Refresh::Missing).unwrap().contains("cold 50 %"));
    }

    #[test]
    fn jitter_is_stable_per_key_and_spreads_evenly() {
        let ttl = Ttl { longest: Duration::from_secs(1000), jitter: 0.1 };
        let lives: Vec<f64> = (0..10_000).map(|n| ttl.of(&format!("user:{n}")).as_secs_f64()).collect();
        assert_eq!(ttl.of("user:7"), ttl.of("user:7"));
        assert!(lives.iter().all(|life| (900.0..=1000.0).contains(life)));
        for decile in 0..10 {
            let low = 900.0 + f64::from(decile) * 10.0;
            let share = lives.iter().filter(|life| (low..low + 10.0).contains(*life)).count();
            assert!((850..1150).contains(&share), "{share} of 10000 in decile {decile}");
        }
    }
}
