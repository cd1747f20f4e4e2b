use chrono::{Datelike, Duration as Minutes, Timelike};

use super::*;

const BERLIN: Tz = Tz::Europe__Berlin;
const NEW_YORK: Tz = Tz::America__New_York;
const LORD_HOWE: Tz = Tz::Australia__Lord_Howe;

fn utc(text: &str) -> DateTime<Utc> {
    DateTime::parse_from_rfc3339(&format!("{text}Z")).unwrap().to_utc()
}

/// Compares as many ticks as are expected, written in UTC like `28T01:30 29T01:00`, with month or year where it matters.
fn check(zone: Tz, pattern: &str, after: &str, expected: &str) {
    let schedule = Schedule::parse(pattern, zone).unwrap();
    let ticks = schedule.ticks_after(utc(after), expected.split_whitespace().count());
    let format = match expected.split('T').next().unwrap_or_default().len() {
        2 => "%dT%H:%M",
        5 => "%m-%dT%H:%M",
        _ => "%Y-%m-%dT%H:%M",
    };
    let ticks: Vec<String> = ticks.iter().map(|tick| tick.format(format).to_string()).collect();
    assert_eq!(ticks.join(" "), expected, "`{pattern}` in {zone} after {after}");
}

#[test]
fn five_fields_six_fields_nicknames_and_intervals_are_read() {
    let from = "2026-03-01T10:07:30.5";
    for (pattern, expected) in [
        ("*/15 * * * *", "01T10:15 01T10:30"),
        ("@hourly", "01T11:00 01T12:00"),
        ("@daily", "02T00:00 03T00:00"),
        ("@Midnight", "02T00:00 03T00:00"),
        // 1 March 2026 is a Sunday.
        ("@weekly", "08T00:00 15T00:00"),
        ("@monthly", "04-01T00:00 05-01T00:00"),
        ("@yearly", "2027-01-01T00:00 2028-01-01T00:00"),
        ("@annually", "2027-01-01T00:00 2028-01-01T00:00"),
        (" @every  10m ", "01T10:10 01T10:20"),
        // Counted from the epoch: 45 minutes divide neither the hour nor, in step with midnight, this day.
        ("@every 45m", "01T10:30 01T11:15"),
        ("@every 1d", "02T00:00 03T00:00"),
    ] {
        check(Tz::UTC, pattern, from, expected);
    }
    check(Tz::UTC, "@every 1h", "1969-12-31T22:59:59.5", "1969-12-31T23:00 1970-01-01T00:00 1970-01-01T01:00");
    let seconds = Schedule::parse("30 */15 * * * *", Tz::UTC).unwrap();
    assert_eq!(seconds.ticks_after(utc(from), 2), [utc("2026-03-01T10:15:30"), utc("2026-03-01T10:30:30")]);
    assert_eq!(seconds.to_string(), "30 */15 * * * *");
}

/// The table in docs/operations.md.
#[test]
fn the_documented_examples_of_clock_changes_hold() {
    let (gap, overlap) = ("2026-03-28T12:00:00", "2026-10-24T12:00:00");
    check(BERLIN, "30 2 * * *", gap, "29T01:00 30T00:30");
    check(BERLIN, "30 2 * * *", overlap, "25T00:30 26T01:30");
    check(BERLIN, "0 4 * * *", "2026-03-28T02:00:00", "28T03:00 29T02:00");
    check(BERLIN, "0 4 * * *", "2026-10-24T01:00:00", "24T02:00 25T03:00");
    check(BERLIN, "0 * * * *", "2026-03-29T00:00:00", "29T01:00 29T02:00");
    check(BERLIN, "@hourly", "2026-10-24T23:59:00", "25T00:00 25T01:00 25T02:00");
    check(BERLIN, "*/15 2 * * *", "2026-03-28T02:00:00", "30T00:00 30T00:15");
    let passes = "25T00:00 25T00:15 25T00:30 25T00:45 25T01:00 25T01:15 25T01:30 25T01:45 26T01:00";
    check(BERLIN, "*/15 2 * * *", "2026-10-24T12:00:00", passes);
    check(BERLIN, "@every 15m", "2026-03-29T00:50:00", "29T01:00 29T01:15");
    check(BERLIN, "0 3 */2 * MON", "2026-03-01T12:00:00", "09T02:00 23T02:00");
}

#[test]
fn days_are_those_of_vixie_cron() {
    for (pattern, expected) in [
        // Both restricted: either. 2 March is a Monday.
        ("0 0 1 * MON", "03-01T00:00 03-02T00:00 03-09T00:00 03-16T00:00 03-23T00:00 03-30T00:00 04-01T00:00"),
        // A field that begins with `*` is not restricted, whatever its step: odd Mondays, and firsts on S, T, T, S.
        ("0 0 */2 * MON", "03-09T00:00 03-23T00:00 04-13T00:00"),
        ("0 0 1 * */2", "03-01T00:00 08-01T00:00 09-01T00:00"),
        ("0 0 ? * MON", "03-02T00:00 03-09T00:00"),
        ("0 0 5 * ?", "03-05T00:00 04-05T00:00"),
        ("0 0 * * 0", "03-01T00:00 03-08T00:00"),
        ("0 0 * * 7", "03-01T00:00 03-08T00:00"),
        ("0 0 * * Sun", "03-01T00:00 03-08T00:00"),
        ("0 0 * * SAT-SUN", "03-01T00:00 03-07T00:00 03-08T00:00"),
        ("0 0 * * 6-7", "03-01T00:00 03-07T00:00 03-08T00:00"),
        ("0 0 * * SUN-TUE", "03-01T00:00 03-02T00:00 03-03T00:00 03-08T00:00"),
        ("0 0 * * SUN-SUN", "03-01T00:00 03-08T00:00"),
        ("0 0 * * FRI-SAT,SUN-MON", "03-01T00:00 03-02T00:00 03-06T00:00 03-07T00:00 03-08T00:00"),
        ("0 0 * * MON-SUN/3", "03-01T00:00 03-02T00:00 03-05T00:00 03-08T00:00"),
        ("0 0 * * MON#2", "03-09T00:00 04-13T00:00 05-11T00:00"),
        ("0 0 * * 7#1", "03-01T00:00 04-05T00:00 05-03T00:00"),
        ("0 0 * * FRIL", "03-27T00:00 04-24T00:00 05-29T00:00"),
        ("0 0 15,L * *", "03-15T00:00 03-31T00:00 04-15T00:00 04-30T00:00"),
        ("0 0 1 JAN-mar/2,12 *", "03-01T00:00 12-01T00:00"),
        ("0 0 31 * *", "03-31T00:00 05-31T00:00 07-31T00:00"),
    ] {
        check(Tz::UTC, pattern, "2026-02-28T12:00:00", expected);
    }
}

#[test]
fn leap_days_come_in_leap_years_only() {
    check(Tz::UTC, "0 0 29 2 *", "2026-03-01T00:00:00", "2028-02-29T00:00 2032-02-29T00:00");
    check(Tz::UTC, "0 0 29 2 *", "2096-03-01T00:00:00", "2104-02-29T00:00 2108-02-29T00:00");
    check(NEW_YORK, "0 12 29 2 *", "2026-03-01T00:00:00", "2028-02-29T17:00 2032-02-29T17:00");
    check(Tz::UTC, "0 0 L 2 *", "2026-03-01T00:00:00", "2027-02-28T00:00 2028-02-29T00:00 2029-02-28T00:00");
    check(BERLIN, "0 0 * * *", "2028-02-28T12:00:00", "02-28T23:00 02-29T23:00 03-01T23:00");
}

/// On 29 March 2026, 02:00 CET is followed by 03:00 CEST, at 01:00 UTC.
#[test]
fn berlin_in_spring() {
    for (pattern, expected) in [
        ("30 2 * * *", "28T01:30 29T01:00 30T00:30"),
        ("0,30 2 * * *", "28T01:00 28T01:30 29T01:00 30T00:00 30T00:30"),
        // 02:00 is late, 03:00 is on time: one moment, one tick.
        ("0 2,3 * * *", "28T01:00 28T02:00 29T01:00 30T00:00 30T01:00"),
        ("0 0 * * *", "28T23:00 29T22:00 30T22:00"),
        ("0 18 * * *", "28T17:00 29T16:00 30T16:00"),
        ("30 2 29 3 *", "2026-03-29T01:00 2027-03-29T00:30"),
        // The hour that the pattern matches does not come.
        ("*/30 2 * * *", "28T01:00 28T01:30 30T00:00 30T00:30"),
        ("@every 12h", "28T12:00 29T00:00 29T12:00 30T00:00"),
    ] {
        check(BERLIN, pattern, "2026-03-28T00:00:00", expected);
    }
    check(BERLIN, "0 * * * *", "2026-03-28T23:30:00", "29T00:00 29T01:00 29T02:00");
    check(BERLIN, "0 0-23 * * *", "2026-03-28T23:30:00", "29T00:00 29T01:00 29T02:00");
    check(BERLIN, "*/30 * * * *", "2026-03-29T00:00:00", "29T00:30 29T01:00 29T01:30 29T02:00");
    check(BERLIN, "0 */2 * * *", "2026-03-28T22:30:00", "28T23:00 29T02:00 29T04:00");
    check(BERLIN, "30 2 * * *", "2026-03-29T01:00:00", "30T00:30");
    check(BERLIN, "30 2 * * *", "2026-03-29T00:59:59.999", "29T01:00");
}

/// On 25 October 2026, 03:00 CEST is followed by 02:00 CET, at 01:00 UTC.
#[test]
fn berlin_in_autumn() {
    for (pattern, expected) in [
        ("30 2 * * *", "24T00:30 25T00:30 26T01:30"),
        ("0 1-4 * * *", "24T01:00 24T02:00 24T23:00 25T00:00 25T02:00 25T03:00 26T00:00"),
        ("0 0 * * *", "24T22:00 25T23:00 26T23:00"),
        ("0 3 * * *", "24T01:00 25T02:00 26T02:00"),
        ("*/30 2 * * *", "24T00:30 25T00:00 25T00:30 25T01:00 25T01:30 26T01:00 26T01:30"),
        ("30 2 25 10 *", "2026-10-25T00:30 2027-10-25T00:30"),
    ] {
        check(BERLIN, pattern, "2026-10-24T00:00:00", expected);
    }
    check(BERLIN, "0 * * * *", "2026-10-24T23:30:00", "25T00:00 25T01:00 25T02:00 25T03:00");
    check(BERLIN, "0 0-23 * * *", "2026-10-24T23:30:00", "25T00:00 25T01:00 25T02:00 25T03:00");
    check(BERLIN, "*/15 * * * *", "2026-10-25T00:31:00", "25T00:45 25T01:00 25T01:15");
    check(BERLIN, "0 */2 * * *", "2026-10-24T21:30:00", "24T22:00 25T00:00 25T01:00 25T03:00");
    // From within the second pass, and with a fraction.
    check(BERLIN, "30 2 * * *", "2026-10-25T01:10:00.5", "26T01:30");
    check(BERLIN, "50 * * * *", "2026-10-25T01:49:59.999999999", "25T01:50 25T02:50");
    // Nothing is left of the first pass, and the next match on the calendar is years away.
    check(BERLIN, "*/20 2 25 10 *", "2026-10-25T00:41:00", "2026-10-25T01:00 2026-10-25T01:20 2026-10-25T01:40");
}

/// 2026: on 8 March, 02:00 EST becomes 03:00 EDT at 07:00 UTC; on 1 November, 02:00 EDT becomes 01:00 EST at 06:00 UTC.
#[test]
fn new_york_in_spring_and_autumn() {
    for (pattern, expected) in [
        ("30 2 * * *", "07T07:30 08T07:00 09T06:30"),
        ("0 0 * * *", "07T05:00 08T05:00 09T04:00"),
        ("*/30 2 * * *", "07T07:00 07T07:30 09T06:00 09T06:30"),
    ] {
        check(NEW_YORK, pattern, "2026-03-07T00:00:00", expected);
    }
    check(NEW_YORK, "0 * * * *", "2026-03-08T05:00:00", "08T06:00 08T07:00 08T08:00");
    check(NEW_YORK, "*/30 * * * *", "2026-03-08T06:00:00", "08T06:30 08T07:00 08T07:30");
    for (pattern, expected) in [
        ("30 1 * * *", "10-31T05:30 11-01T05:30 11-02T06:30"),
        ("0 2 * * *", "10-31T06:00 11-01T07:00 11-02T07:00"),
        ("0 0 * * *", "10-31T04:00 11-01T04:00 11-02T05:00"),
    ] {
        check(NEW_YORK, pattern, "2026-10-31T00:00:00", expected);
    }
    check(NEW_YORK, "0 * * * *", "2026-11-01T04:00:00", "01T05:00 01T06:00 01T07:00");
    check(NEW_YORK, "*/30 * * * *", "2026-11-01T05:00:00", "01T05:30 01T06:00 01T06:30 01T07:00");
}

/// 2026: on 5 April, 02:00 at +11:00 becomes 01:30 at +10:30 (15:00 UTC on the 4th); on 4 October, 02:00 at +10:30
/// becomes 02:30 at +11:00 (15:30 UTC on the 3rd).
#[test]
fn lord_howe_shifts_by_half_an_hour() {
    for (pattern, expected) in [
        ("15 2 * * *", "02T15:45 03T15:30 04T15:15"),
        ("0 2 * * *", "02T15:30 03T15:30 04T15:00"),
        ("45 2 * * *", "02T16:15 03T15:45 04T15:45"),
        ("0 0 * * *", "02T13:30 03T13:30 04T13:00"),
    ] {
        check(LORD_HOWE, pattern, "2026-10-02T12:00:00", expected);
    }
    check(LORD_HOWE, "*/15 * * * *", "2026-10-03T15:00:00", "03T15:15 03T15:30 03T15:45 03T16:00");
    check(LORD_HOWE, "*/30 * * * *", "2026-10-03T14:45:00", "03T15:00 03T15:30 03T16:00");
    // The clock shows no 02:00, and 03:00 half an hour early.
    check(LORD_HOWE, "0 * * * *", "2026-10-03T14:00:00", "03T14:30 03T16:00 03T17:00");
    for (pattern, expected) in [
        ("45 1 * * *", "03T14:45 04T14:45 05T15:15"),
        ("0 2 * * *", "03T15:00 04T15:30 05T15:30"),
        ("0 0 * * *", "03T13:00 04T13:00 05T13:30"),
    ] {
        check(LORD_HOWE, pattern, "2026-04-03T12:00:00", expected);
    }
    check(LORD_HOWE, "*/15 * * * *", "2026-04-04T14:30:00", "04T14:45 04T15:00 04T15:15 04T15:30 04T15:45");
    check(LORD_HOWE, "0 * * * *", "2026-04-04T13:30:00", "04T14:00 04T15:30 04T16:30");
    check(LORD_HOWE, "40 * * * *", "2026-04-04T14:00:00", "04T14:40 04T15:10 04T16:10");
}

#[test]
fn gaps_at_midnight_and_of_a_whole_day_are_gaps_too() {
    // Cairo, 24 April 2026: 00:00 becomes 01:00 at 22:00 UTC of the 23rd.
    check(Tz::Africa__Cairo, "0 0 * * *", "2026-04-22T12:00:00", "22T22:00 23T22:00 24T21:00");
    // Samoa had no 30 December 2011: after the 29th came the 31st, at 10:00 UTC of the 30th.
    check(Tz::Pacific__Apia, "0 12 30 * *", "2011-12-29T00:00:00", "2011-12-30T10:00 2012-01-29T22:00");
    check(Tz::Pacific__Apia, "0 12 * * *", "2011-12-29T00:00:00", "29T22:00 30T10:00 30T22:00");
}

#[test]
fn seconds_follow_the_same_rules() {
    let ticks = |pattern: &str, after: &str| Schedule::parse(pattern, BERLIN).unwrap().ticks_after(utc(after), 2);
    assert_eq!(
        ticks("*/30 59 2 * * *", "2026-10-25T00:59:00"),
        [utc("2026-10-25T00:59:30"), utc("2026-10-25T01:59:00")]
    );
    assert_eq!(
        ticks("10 30 2 * * *", "2026-10-25T00:30:09.9"),
        [utc("2026-10-25T00:30:10"), utc("2026-10-26T01:30:10")]
    );
    assert_eq!(ticks("* * * * * *", "2026-10-25T00:59:58.1"), [utc("2026-10-25T00:59:59"), utc("2026-10-25T01:00:00")]);
}

type Matches = fn(NaiveDateTime) -> bool;

/// Patterns, whether they roll, and the minutes that they match, said again in code.
const PATTERNS: [(&str, bool, Matches); 17] = [
    ("* * * * *", true, |_| true),
    ("*/15 * * * *", true, |at| at.minute().is_multiple_of(15)),
    ("7-59/20 * * * *", true, |at| [7, 27, 47].contains(&at.minute())),
    ("0 * * * *", true, |at| at.minute() == 0),
    ("40 * * * *", true, |at| at.minute() == 40),
    ("0 */2 * * *", true, |at| at.minute() == 0 && at.hour().is_multiple_of(2)),
    ("*/20 1-2 * * *", true, |at| at.minute().is_multiple_of(20) && [1, 2].contains(&at.hour())),
    ("0-59 0 * * *", true, |at| at.hour() == 0),
    ("59 0-23 * * *", true, |at| at.minute() == 59),
    ("*/20 * * * SUN", true, |at| at.minute().is_multiple_of(20) && at.weekday().num_days_from_sunday() == 0),
    ("30 2 * * *", false, |at| (at.hour(), at.minute()) == (2, 30)),
    ("15 0 * * *", false, |at| (at.hour(), at.minute()) == (0, 15)),
    ("0,10,50 0-3 * * *", false, |at| [0, 10, 50].contains(&at.minute()) && at.hour() <= 3),
    ("0 0 * * *", false, |at| (at.hour(), at.minute()) == (0, 0)),
    ("59 1,23 * * *", false, |at| [1, 23].contains(&at.hour()) && at.minute() == 59),
    ("45 1 * * SUN", false, |at| (at.hour(), at.minute(), at.weekday().num_days_from_sunday()) == (1, 45, 0)),
    ("5 1-3 29 3 SAT", false, |at| {
        let day = (at.month(), at.day()) == (3, 29) || at.month() == 3 && at.weekday().num_days_from_sunday() == 6;
        day && (1..=3).contains(&at.hour()) && at.minute() == 5
    }),
];

/// Watches the clock minute by minute. A rolling pattern is due whenever the clock shows a match. Of the others, every
/// matching time is due once, as soon as the clock shows it or a later one.
fn reference(
    zone: Tz,
    rolling: bool,
    matches: Matches,
    from: DateTime<Utc>,
    until: DateTime<Utc>,
) -> Vec<DateTime<Utc>> {
    let shown = |at: DateTime<Utc>| at.with_timezone(&zone).naive_local();
    let minute = Minutes::minutes(1);
    let mut seen_to = shown(from);
    let mut ticks = Vec::new();
    let mut now = from + minute;
    while now < until {
        let mut due = rolling && matches(shown(now));
        while seen_to < shown(now) {
            seen_to += minute;
            due |= !rolling && matches(seen_to);
        }
        if due {
            ticks.push(now);
        }
        now += minute;
    }
    ticks
}

/// The moments in 2026 at which the offset changes.
fn transitions(zone: Tz) -> Vec<DateTime<Utc>> {
    let hours = (0..365 * 48).map(|half_hour| utc("2026-01-01T00:00:00") + Minutes::minutes(30 * half_hour));
    let offset = |at: DateTime<Utc>| zone.offset_from_utc_datetime(&at.naive_utc()).fix();
    hours.filter(|at| offset(*at) != offset(*at - Minutes::minutes(30))).collect()
}

#[test]
fn ticks_around_every_transition_are_those_of_a_watched_clock() {
    // Usual shifts, half an hour, midnight, two hours, one into summer time that is the standard, and none.
    let zones = [
        (BERLIN, 2),
        (NEW_YORK, 2),
        (LORD_HOWE, 2),
        (Tz::Africa__Cairo, 2),
        (Tz::America__Santiago, 2),
        (Tz::America__Havana, 2),
        (Tz::Antarctica__Troll, 2),
        (Tz::Africa__Casablanca, 2),
        (Tz::Asia__Kathmandu, 0),
    ];
    for (zone, count) in zones {
        let transitions = transitions(zone);
        assert_eq!(transitions.len(), count, "{zone}: {transitions:?}");
        for (at, (pattern, rolling, matches)) in
            transitions.iter().flat_map(|at| PATTERNS.map(|pattern| (*at, pattern)))
        {
            let (from, until) = (at - Minutes::days(1), at + Minutes::days(1));
            let expected = reference(zone, rolling, matches, from, until);
            let schedule = Schedule::parse(pattern, zone).unwrap();
            let ticks: Vec<_> = iter::successors(schedule.next_after(from), |tick| schedule.next_after(*tick))
                .take_while(|tick| *tick < until)
                .collect();
            assert_eq!(ticks, expected, "`{pattern}` in {zone} around {at}");
            // From anywhere, not only from a tick, and from between two seconds.
            let mut moment = at - Minutes::hours(4);
            while let Some(next) =
                expected.iter().find(|tick| **tick > moment).filter(|_| moment < at + Minutes::hours(4))
            {
                assert_eq!(schedule.next_after(moment), Some(*next), "`{pattern}` in {zone} after {moment}");
                moment += TimeDelta::milliseconds(400_700);
            }
        }
    }
}

#[test]
fn quarter_hours_are_exactly_that_through_every_transition() {
    for zone in [BERLIN, NEW_YORK, LORD_HOWE] {
        let schedule = Schedule::parse("*/15 * * * *", zone).unwrap();
        for at in transitions(zone) {
            let ticks = schedule.ticks_after(at - Minutes::days(1), 192);
            assert_eq!(ticks.len(), 192, "{zone} around {at}");
            assert!(ticks.windows(2).all(|pair| pair[1] - pair[0] == Minutes::minutes(15)), "{zone} around {at}");
        }
    }
}

#[test]
fn the_ends_of_time_are_no_reason_to_panic() {
    for zone in [Tz::UTC, BERLIN, NEW_YORK, LORD_HOWE] {
        for pattern in ["*/15 * * * *", "30 2 * * *", "@every 1h", "@every 36500d"] {
            let schedule = Schedule::parse(pattern, zone).unwrap();
            assert_eq!(schedule.next_after(DateTime::<Utc>::MAX_UTC), None, "`{pattern}` in {zone}");
            assert_eq!(schedule.gaps_after(DateTime::<Utc>::MAX_UTC), []);
            let first = schedule.next_after(DateTime::<Utc>::MIN_UTC).unwrap();
            assert!(first > DateTime::<Utc>::MIN_UTC && first.nanosecond() == 0);
            let before_1970 = utc("1969-12-31T23:59:59.5");
            assert!(schedule.next_after(before_1970).is_some_and(|tick| tick > before_1970 && tick.nanosecond() == 0));
            schedule.next_after(utc("4999-12-31T23:59:59"));
        }
    }
}
