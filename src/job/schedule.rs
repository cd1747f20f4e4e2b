//! When a job is due.

mod pattern;
#[cfg(test)]
mod tests;

use std::{fmt, iter, time::Duration};

use chrono::{DateTime, NaiveDateTime, Offset, TimeDelta, TimeZone, Utc};
use chrono_tz::{GapInfo, Tz};
use croner::Cron;

use super::duration::Span;
use pattern::Pattern;

/// Ticks by cron pattern or by interval; a `Schedule` that exists has a next tick.
///
/// Where daylight saving makes the clock jump, the rules are those of Vixie's cron 4. A pattern whose minute or hour (or
/// second) begins with `*` or names every value ticks whenever the clock shows a matching time: `*/15 * * * *` goes on
/// every 15 minutes, through both passes of a repeated hour. Any other pattern names times of the day, and each of them
/// comes once: on the first pass when it is repeated, at the first moment after the gap when it is skipped.
#[derive(Debug, Clone)]
pub struct Schedule {
    text: String,
    zone: Tz,
    when: When,
}

#[derive(Debug, Clone)]
enum When {
    /// Every moment at which the clock shows a matching time.
    Rolling(Box<Cron>),
    /// Every matching time of day, once.
    Fixed(Box<Cron>),
    Every(Duration),
}

/// Shorter intervals would spend more time on looking for work than on work.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);

impl Schedule {
    /// Reads five cron fields, six (seconds first), `@hourly` and the like, or `@every 15m`.
    ///
    /// Day of month and day of week: a day that matches either, when both are restricted; as in Vixie's cron, a field
    /// that begins with `*` is not restricted, so that `*/2` and `MON` together mean the Mondays with an odd date. The
    /// error names the field and the likely reason.
    pub fn parse(text: &str, zone: Tz) -> Result<Self, String> {
        let text = text.trim();
        let when = read(text).map_err(|why| format!("bad schedule `{text}`: {why}"))?;
        let schedule = Self { text: text.to_owned(), zone, when };
        match schedule.next_after(Utc::now()) {
            Some(_) => Ok(schedule),
            None => Err(format!("bad schedule `{text}`: no such moment ever comes")),
        }
    }

    /// The first tick strictly after `moment`, a whole second. Intervals count from the Unix epoch, so that every
    /// instance sees the same ticks. `None` only beyond the year 4999.
    pub fn next_after(&self, moment: DateTime<Utc>) -> Option<DateTime<Utc>> {
        match &self.when {
            When::Rolling(cron) => next_rolling(cron, self.zone, moment),
            When::Fixed(cron) => next_fixed(cron, self.zone, moment),
            When::Every(every) => {
                let every = i64::try_from(every.as_secs()).ok()?;
                Utc.timestamp_opt((moment.timestamp().div_euclid(every) + 1) * every, 0).single()
            }
        }
    }

    /// Whether no tick lies between two moments.
    pub fn is_next(&self, before: DateTime<Utc>, after: DateTime<Utc>) -> bool {
        self.next_after(before).is_none_or(|next| next >= after)
    }

    /// The last tick after `after` and not later than `until`.
    ///
    /// Looks back from `until` in growing steps: after a long sleep, a tick every second would be too many to walk through.
    pub fn newest_between(&self, after: DateTime<Utc>, until: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let mut back = TimeDelta::seconds(1);
        loop {
            let from = until.checked_sub_signed(back).map_or(after, |from| from.max(after));
            let first = self.next_after(from).filter(|tick| *tick <= until);
            if let Some(first) = first {
                return iter::successors(Some(first), |tick| self.next_after(*tick))
                    .take_while(|tick| *tick <= until)
                    .last();
            }
            if from == after {
                return None;
            }
            back = back.checked_mul(4).unwrap_or(TimeDelta::MAX);
        }
    }

    /// Whether both were written alike.
    pub fn is_same(&self, other: &Self) -> bool {
        self.text == other.text && self.zone == other.zone
    }

    /// The time zone in which the fields are read.
    pub fn zone(&self) -> Tz {
        self.zone
    }

    /// The next `count` ticks after `moment`.
    pub fn ticks_after(&self, moment: DateTime<Utc>, count: usize) -> Vec<DateTime<Utc>> {
        iter::successors(self.next_after(moment), |tick| self.next_after(*tick)).take(count).collect()
    }

    /// The gaps between coming ticks, enough of them to see a week's pattern, in seconds or longer.
    pub fn gaps_after(&self, moment: DateTime<Utc>) -> Vec<Duration> {
        // Five weeks hold every weekly pattern and a month's end; 700 ticks hold a week of quarter hours.
        let horizon = moment.checked_add_signed(TimeDelta::weeks(5)).unwrap_or(DateTime::<Utc>::MAX_UTC);
        let mut ticks = self.ticks_after(moment, 700);
        let within = ticks.partition_point(|tick| *tick <= horizon).max(3) + 1;
        ticks.truncate(within);
        ticks.windows(2).filter_map(|pair| (pair[1] - pair[0]).to_std().ok()).collect()
    }
}

fn read(text: &str) -> Result<When, String> {
    // `@everyday` is a nickname that we do not know, not an interval.
    let interval = text
        .split_at_checked("@every".len())
        .filter(|(word, rest)| word.eq_ignore_ascii_case("@every") && !rest.starts_with(|c: char| c.is_alphabetic()));
    let Some((_, interval)) = interval else {
        let Pattern { cron, rolling } = pattern::parse(text)?;
        return Ok(if rolling { When::Rolling(Box::new(cron)) } else { When::Fixed(Box::new(cron)) });
    };
    match interval.trim().parse::<Span>()? {
        Span(every) if every >= SHORTEST_INTERVAL && every.subsec_nanos() == 0 => Ok(When::Every(every)),
        _ => Err("an interval is a whole number of seconds, at least 1s".to_owned()),
    }
}

/// What the clock on the wall shows.
fn wall_clock(moment: DateTime<Utc>, zone: Tz) -> NaiveDateTime {
    let utc = moment.naive_utc();
    // Within a day of the ends of time the difference to UTC no longer fits, and no longer matters.
    utc.checked_add_offset(zone.offset_from_utc_datetime(&utc).fix()).unwrap_or(utc)
}

/// All matching times after `local`, on a calendar that knows no time zones.
fn matching_times(cron: &Cron, local: NaiveDateTime) -> impl Iterator<Item = NaiveDateTime> {
    let next = |local: &NaiveDateTime| cron.find_next_occurrence(local, false).ok();
    iter::successors(next(&local), next)
}

/// The moments of the wall clock's times never go backwards while the times go forwards, so the first one after `moment`
/// is the next tick. All times up to the one that the clock shows now have had their moment.
fn next_fixed(cron: &Cron, zone: Tz, moment: DateTime<Utc>) -> Option<DateTime<Utc>> {
    matching_times(cron, wall_clock(moment, zone)).find_map(|local| {
        let first = match zone.from_local_datetime(&local).earliest() {
            Some(first) => first.to_utc(),
            // The first moment after a gap is the one at which it begins, told by the offset before it.
            None => {
                let (gap, before) = GapInfo::new(&local, &zone)?.begin?;
                gap.checked_sub_offset(before.fix())?.and_utc()
            }
        };
        (first > moment).then_some(first)
    })
}

fn next_rolling(cron: &Cron, zone: Tz, moment: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let local = wall_clock(moment, zone);
    let first_match = |from: NaiveDateTime| {
        matching_times(cron, from).find_map(|local| {
            let passes = zone.from_local_datetime(&local);
            let mut passes = [passes.earliest(), passes.latest()].into_iter().flatten().map(|pass| pass.to_utc());
            passes.find(|pass| *pass > moment)
        })
    };
    let next = first_match(local);
    let shown_now = zone.from_local_datetime(&local);
    match (shown_now.earliest(), shown_now.latest()) {
        // On the first pass of a repeated hour: when nothing is left of it, the second begins, and shows times again
        // that were left behind, up to the length of a pass ago.
        (Some(first), Some(second)) if moment < second && next.is_none_or(|next| next >= second) => {
            let repeated = first_match(local.checked_sub_signed(second - first)?);
            next.into_iter().chain(repeated).min()
        }
        _ => next,
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
