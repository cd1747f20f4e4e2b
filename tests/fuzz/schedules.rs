use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use warmd::job::Schedule;

use crate::driver::{Target, fuzz, kind_of, seeds};

const WORDS: &[&str] = &[
    "*", "?", "0", "1", "5", "7", "12", "23", "29", "30", "31", "59", "60", "*/5", "*/59", "1-5", "5-1", "1-5/2",
    "0,30", "MON", "SUN", "FRI-SUN", "MON#2", "FRIL", "L", "LW", "W", "JAN", "FEB", "DEC", "#", "#5", "-", "/", ",",
    "@every ", "@daily", "@hourly", "@yearly", "@reboot", "1s", "15m", "1h30m", "100000d", "0s", "1ms", " ", "\t",
];

/// Where clocks have jumped by hours, half hours and whole days, and never.
const ZONES: [Tz; 8] = [
    Tz::UTC,
    Tz::Europe__Berlin,
    Tz::Australia__Lord_Howe,
    Tz::America__Sao_Paulo,
    Tz::Pacific__Apia,
    Tz::Africa__Casablanca,
    Tz::Asia__Tehran,
    Tz::America__New_York,
];

/// Among them the change of the clocks in Berlin, and the day that Samoa left out.
const MOMENTS: [i64; 7] = [0, 951_782_400, 1_325_203_200, 1_774_742_400, 1_792_886_400, 4_102_444_800, 16_725_225_600];

#[test]
fn a_schedule_ticks_on_or_is_refused() {
    let target = Target {
        name: "a_schedule_ticks_on_or_is_refused",
        seeds: seeds(include_str!("seeds/schedules")),
        words: WORDS,
        slow: Duration::from_secs(1),
        lanes: 1,
    };
    fuzz(target, |input| {
        let text = String::from_utf8_lossy(input);
        let zone = ZONES[input.iter().map(|byte| usize::from(*byte)).sum::<usize>() % ZONES.len()];
        let schedule = match Schedule::parse(&text, zone) {
            Ok(schedule) => schedule,
            Err(why) => return Ok(kind_of(&why)),
        };
        let words: Vec<&str> = text.split_whitespace().collect();
        if !(words[0].starts_with('@') || words.len() == 5 || words.len() == 6) {
            return Err(format!("accepts {text:?}"));
        }
        let moment = |seconds| DateTime::from_timestamp(seconds, 500_000_000).unwrap();
        for from in MOMENTS.map(moment) {
            let mut last = from;
            for _ in 0..5 {
                let Some(tick) = schedule.next_after(last) else {
                    return Err(format!("no tick after {last}"));
                };
                if tick <= last || tick.timestamp_subsec_nanos() != 0 {
                    return Err(format!("{tick} after {last}"));
                }
                last = tick;
            }
            // The newest tick is one, and none comes between it and the end.
            let until = from + TimeDelta::days(40);
            let newest = schedule.newest_between(from, until);
            let first = schedule.next_after(from).filter(|tick| *tick <= until);
            let is_right = match newest {
                None => first.is_none(),
                Some(newest) => {
                    first.is_some_and(|first| first <= newest)
                        && newest <= until
                        && schedule.next_after(newest).is_none_or(|next| next > until)
                        && schedule.next_after(newest - TimeDelta::seconds(1)) == Some(newest)
                }
            };
            if !is_right {
                return Err(format!("newest {newest:?}, first {first:?} between {from} and {until} in {zone}"));
            }
        }
        schedule.gaps_after(moment(MOMENTS[3]));
        schedule.next_after(DateTime::<Utc>::MAX_UTC);
        schedule.next_after(DateTime::<Utc>::MIN_UTC);
        Ok(text.chars().filter(|c| "*/-,#L@".contains(*c)).take(12).collect())
    });
}
