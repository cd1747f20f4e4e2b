//! When a job is due.

use std::{fmt, time::Duration};

use chrono::{DateTime, TimeDelta, TimeZone, Timelike, Utc};
use chrono_tz::Tz;
use croner::{
    Cron,
    parser::{CronParser, Seconds, Year},
};

use super::duration::Span;

/// Ticks by cron pattern or by interval; a `Schedule` that exists has a next tick.
#[derive(Debug, Clone)]
pub struct Schedule {
    text: String,
    zone: Tz,
    when: When,
}

#[derive(Debug, Clone)]
enum When {
    Cron(Box<Cron>),
    Every(Duration),
}

/// Shorter intervals would spend more time on looking for work than on work.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);

impl Schedule {
    /// Reads five cron fields, six (seconds first), `@hourly` and the like, or `@every 15m`.
    pub fn parse(text: &str, zone: Tz) -> Result<Self, String> {
        let refuse = |why: String| Err(format!("bad schedule `{text}`: {why}"));
        let when = if let Some(interval) = text.trim().strip_prefix("@every") {
            match interval.trim().parse::<Span>() {
                Ok(Span(every)) if every >= SHORTEST_INTERVAL && every.subsec_nanos() == 0 => When::Every(every),
                Ok(_) => return refuse("an interval is a whole number of seconds, at least 1s".to_owned()),
                Err(why) => return refuse(why),
            }
        } else {
            let fields = text.split_whitespace().count();
            if !text.trim().starts_with('@') && !(5..=6).contains(&fields) {
                return refuse(format!(
                    "it has {fields} fields; write five (minute hour day month weekday) or six (seconds first)"
                ));
            }
            // Vixie semantics: when day of month and day of week are both restricted, either may match.
            let parser =
                CronParser::builder().seconds(Seconds::Optional).year(Year::Disallowed).dom_and_dow(false).build();
            // The one nickname of cron that the parser does not know.
            match parser.parse(if text.trim() == "@midnight" { "@daily" } else { text }) {
                Ok(cron) => When::Cron(Box::new(cron)),
                Err(why) => return refuse(why.to_string()),
            }
        };
        let schedule = Self { text: text.trim().to_owned(), zone, when };
        match schedule.next_after(Utc::now()) {
            Some(_) => Ok(schedule),
            None => refuse("no such moment ever comes".to_owned()),
        }
    }

    /// The first tick after `moment`. Intervals count from the Unix epoch, so that every instance sees the same ticks.
    pub fn next_after(&self, moment: DateTime<Utc>) -> Option<DateTime<Utc>> {
        match &self.when {
            When::Cron(cron) => {
                let local = moment.with_timezone(&self.zone);
                let next = cron.find_next_occurrence(&local, false).ok()?;
                // The search keeps the fraction of the second that it started from.
                next.with_nanosecond(0).map(|tick| tick.with_timezone(&Utc))
            }
            When::Every(every) => {
                let every = i64::try_from(every.as_secs()).ok()?;
                Utc.timestamp_opt((moment.timestamp().div_euclid(every) + 1) * every, 0).single()
            }
        }
    }

    /// The time zone in which the fields are read.
    pub fn zone(&self) -> Tz {
        self.zone
    }

    /// The next `count` ticks after `moment`.
    pub fn ticks_after(&self, moment: DateTime<Utc>, count: usize) -> Vec<DateTime<Utc>> {
        std::iter::successors(self.next_after(moment), |tick| self.next_after(*tick)).take(count).collect()
    }

    /// The gaps between coming ticks, enough of them to see a week's pattern, in seconds or longer.
    pub fn gaps_after(&self, moment: DateTime<Utc>) -> Vec<Duration> {
        // Five weeks hold every weekly pattern and a month's end; 700 ticks hold a week of quarter hours.
        let horizon = moment + TimeDelta::weeks(5);
        let mut ticks = self.ticks_after(moment, 700);
        let within = ticks.partition_point(|tick| *tick <= horizon).max(3) + 1;
        ticks.truncate(within);
        ticks.windows(2).filter_map(|pair| (pair[1] - pair[0]).to_std().ok()).collect()
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utc(text: &str) -> DateTime<Utc> {
        DateTime::parse_from_rfc3339(text).unwrap().to_utc()
    }

    fn ticks(schedule: &str, zone: Tz, after: &str, count: usize) -> Vec<String> {
        let schedule = Schedule::parse(schedule, zone).unwrap();
        schedule.ticks_after(utc(after), count).iter().map(|tick| tick.format("%m-%dT%H:%M:%SZ").to_string()).collect()
    }

    #[test]
    fn five_fields_six_fields_names_and_intervals_are_read() {
        let from = "2026-03-01T10:07:30.5Z";
        assert_eq!(ticks("*/15 * * * *", Tz::UTC, from, 2), ["03-01T10:15:00Z", "03-01T10:30:00Z"]);
        assert_eq!(ticks("30 */15 * * * *", Tz::UTC, from, 1), ["03-01T10:15:30Z"]);
        assert_eq!(ticks("@hourly", Tz::UTC, from, 1), ["03-01T11:00:00Z"]);
        assert_eq!(ticks("@every 10m", Tz::UTC, from, 2), ["03-01T10:10:00Z", "03-01T10:20:00Z"]);
    }

    #[test]
    fn restricted_day_of_month_and_day_of_week_either_match() {
        // 1 March 2026 is a Sunday, 2 March a Monday.
        let days = ticks("0 0 1 * MON", Tz::UTC, "2026-02-28T12:00:00Z", 3);
        assert_eq!(days, ["03-01T00:00:00Z", "03-02T00:00:00Z", "03-09T00:00:00Z"]);
    }

    #[test]
    fn fields_are_read_in_the_time_zone_of_the_job() {
        let days = ticks("0 18 * * *", Tz::Europe__Berlin, "2026-03-28T00:00:00Z", 2);
        assert_eq!(days, ["03-28T17:00:00Z", "03-29T16:00:00Z"]);
    }

    #[test]
    fn schedules_that_can_never_run_are_refused_with_the_reason() {
        for (text, reason) in [
            ("61 * * * *", "bad schedule `61 * * * *`: "),
            ("* * * *", "bad schedule `* * * *`: it has 4 fields; write five"),
            ("0 0 31 2 *", "bad schedule `0 0 31 2 *`: no such moment ever comes"),
            ("@every 10", "bad schedule `@every 10`: bad duration `10`: it has no unit"),
            ("@every 0s", "bad schedule `@every 0s`: an interval is a whole number of seconds, at least 1s"),
            ("@fortnightly", "bad schedule `@fortnightly`: "),
        ] {
            let error = Schedule::parse(text, Tz::UTC).unwrap_err();
            assert!(error.starts_with(reason), "{error}");
        }
    }
}
