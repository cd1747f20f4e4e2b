//! When something is wrong: what each rule looks at, its bounds, and its words.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::alerts::{Reading, Wrong};
use crate::{
    cache::Lookups,
    job::{Schedule, duration::Span, margin},
};

/// Of so few lookups no share is known.
const FEWEST_LOOKUPS: u64 = 100;

/// After a failure, a job whose runs are rare has nothing to show for longer than this.
const LONGEST_QUIET: Duration = Duration::from_secs(600);

/// The share of lookups that found something, over some time; ends a tenth of the way from the bound to all.
pub(super) fn hit_rate(lookups: Lookups, least: f64) -> Reading {
    let all = lookups.hits + lookups.misses;
    if all < FEWEST_LOOKUPS {
        return Reading::Unknown;
    }
    let share = lookups.hits as f64 / all as f64;
    low(share, least, || {
        format!("Redis has {} of the keys that are looked up, less than {}", percent(share), percent(least))
    })
}

/// The share of a job's keys that are there, likewise.
pub(super) fn coverage(job: &str, share: Option<f64>, least: f64) -> Reading {
    let Some(share) = share else { return Reading::Unknown };
    low(share, least, || format!("{job}: {} of its keys are there, less than {}", percent(share), percent(least)))
}

/// How long an answer takes; ends below four fifths of the bound.
pub(super) fn response_time(response: Option<Duration>, most: Duration) -> Reading {
    let Some(response) = response else { return Reading::Unknown };
    let (taken, bound) = (response.as_secs_f64(), most.as_secs_f64());
    high(taken, bound, bound * 0.8, || format!("Redis takes {:.0} ms to answer, more than {}", taken * 1e3, Span(most)))
}

/// The share of `maxmemory` in use; ends two hundredths of the bound below it.
pub(super) fn memory(share: Option<f64>, most: f64) -> Reading {
    let Some(share) = share else { return Reading::Unknown };
    high(share, most, most * 0.98, || {
        format!("Redis uses {} of its maxmemory, more than {}", percent(share), percent(most))
    })
}

/// Whether Redis answers at all.
pub(super) fn reachable(error: Option<&str>) -> Reading {
    match error {
        Some(error) => Reading::Bad(Wrong { value: None, threshold: None, message: error.to_owned() }),
        None => Reading::Good,
    }
}

/// Something that happened to a job, until a run has ended well since, and it has not happened again for two intervals or
/// ten minutes, whichever is less: a job of which every other run fails makes one alert.
pub(super) fn mishap(
    happened: Option<(DateTime<Utc>, &str)>,
    success: Option<DateTime<Utc>>,
    interval: Option<Duration>,
    now: DateTime<Utc>,
) -> Reading {
    let Some((at, why)) = happened else { return Reading::Good };
    if success.is_none_or(|success| success <= at) {
        return Reading::Bad(Wrong { value: None, threshold: None, message: why.to_owned() });
    }
    let quiet = interval.map_or(LONGEST_QUIET, |interval| LONGEST_QUIET.min(interval * 2));
    if now - at < TimeDelta::from_std(quiet).unwrap_or_default() { Reading::Between } else { Reading::Good }
}

/// That no run has ended well since the second tick after `since`, and a margin.
pub(super) fn no_success(job: &str, schedule: &Schedule, since: DateTime<Utc>, now: DateTime<Utc>) -> Reading {
    let ticks = schedule.ticks_after(since, 2);
    let &[first, second] = ticks.as_slice() else { return Reading::Good };
    let interval = (second - first).to_std().unwrap_or_default();
    if now < second + margin(interval) {
        return Reading::Good;
    }
    let waited = (now - since).to_std().unwrap_or_default();
    Reading::Bad(Wrong {
        value: Some(waited.as_secs_f64()),
        threshold: Some((second - since).as_seconds_f64()),
        message: format!(
            "{job}: no run has ended well since {}, for two intervals and more",
            since.format("%Y-%m-%d %H:%M:%S UTC")
        ),
    })
}

fn low(share: f64, least: f64, message: impl FnOnce() -> String) -> Reading {
    if share < least {
        return Reading::Bad(Wrong { value: Some(share), threshold: Some(least), message: message() });
    }
    if share < least + (1.0 - least) / 10.0 { Reading::Between } else { Reading::Good }
}

fn high(value: f64, most: f64, well: f64, message: impl FnOnce() -> String) -> Reading {
    if value > most {
        return Reading::Bad(Wrong { value: Some(value), threshold: Some(most), message: message() });
    }
    if value > well { Reading::Between } else { Reading::Good }
}

/// To a tenth of a point.
fn percent(share: f64) -> String {
    format!("{} %", (share * 1e3).round() / 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(second, 0).unwrap()
    }

    fn words(reading: Reading) -> String {
        match reading {
            Reading::Bad(wrong) => wrong.message,
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn a_bound_is_crossed_in_words_and_left_with_a_margin() {
        let rate = |hits, misses| words(hit_rate(Lookups { hits, misses }, 0.8));
        assert_eq!(rate(713, 287), "Redis has 71.3 % of the keys that are looked up, less than 80 %");
        assert_eq!((rate(801, 199), rate(821, 179), rate(9, 90)), ("Between".into(), "Good".into(), "Unknown".into()));
        let response = |ms| words(response_time(Some(Duration::from_millis(ms)), Duration::from_millis(100)));
        assert_eq!(response(203), "Redis takes 203 ms to answer, more than 100ms");
        assert_eq!((response(100), response(81), response(80)), ("Between".into(), "Between".into(), "Good".into()));
        assert_eq!(words(memory(Some(0.934), 0.9)), "Redis uses 93.4 % of its maxmemory, more than 90 %");
        assert_eq!(memory(None, 0.9), Reading::Unknown);
        assert_eq!(words(coverage("a", Some(0.5), 0.95)), "a: 50 % of its keys are there, less than 95 %");
        assert_eq!(coverage("a", Some(1.0), 1.0), Reading::Good);
        assert_eq!(words(reachable(Some("Redis at x: gone"))), "Redis at x: gone");
    }

    #[test]
    fn a_mishap_is_over_when_a_run_ended_well_and_it_did_not_happen_again() {
        let minute = Some(Duration::from_secs(60));
        let happened = Some((at(1000), "a: it failed"));
        assert_eq!(mishap(None, None, minute, at(1000)), Reading::Good);
        assert_eq!(words(mishap(happened, None, minute, at(9000))), "a: it failed");
        assert_eq!(words(mishap(happened, Some(at(990)), minute, at(9000))), "a: it failed");
        assert_eq!(mishap(happened, Some(at(1060)), minute, at(1119)), Reading::Between);
        assert_eq!(mishap(happened, Some(at(1060)), minute, at(1120)), Reading::Good);
        let day = Some(Duration::from_secs(86_400));
        assert_eq!(mishap(happened, Some(at(1100)), day, at(1599)), Reading::Between);
        assert_eq!(mishap(happened, Some(at(1100)), None, at(1600)), Reading::Good);
    }

    #[test]
    fn two_intervals_without_success_are_counted_in_ticks() {
        let schedule = Schedule::parse("*/15 * * * *", chrono_tz::UTC).unwrap();
        let since = "2026-11-26T10:08:00Z".parse().unwrap();
        let reading = |now: &str| words(no_success("a", &schedule, since, now.parse().unwrap()));
        // The ticks are 10:15 and 10:30, the margin is a tenth of an interval.
        assert_eq!(reading("2026-11-26T10:31:29Z"), "Good");
        assert_eq!(
            reading("2026-11-26T10:31:30Z"),
            "a: no run has ended well since 2026-11-26 10:08:00 UTC, for two intervals and more"
        );
    }
}
