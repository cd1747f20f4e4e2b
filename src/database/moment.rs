//! Moments as databases write them.

use chrono::{DateTime, NaiveDate, NaiveDateTime};

/// Reads `YYYY-MM-DD HH:MM:SS`, also with a `T`, at the beginning of a text; gives what stands behind it, too. None of
/// what a general parser knows besides, and many times as fast.
pub fn plain(text: &str) -> Option<(NaiveDateTime, &str)> {
    let bytes: &[u8; 19] = text.as_bytes().first_chunk()?;
    let number = |digits: std::ops::Range<usize>| {
        bytes[digits]
            .iter()
            .try_fold(0, |number, &byte| byte.is_ascii_digit().then(|| number * 10 + u32::from(byte - b'0')))
    };
    if [bytes[4], bytes[7], bytes[13], bytes[16]] != *b"--::" || !matches!(bytes[10], b'T' | b' ') {
        return None;
    }
    let date = NaiveDate::from_ymd_opt(number(0..4)? as i32, number(5..7)?, number(8..10)?)?;
    Some((date.and_hms_opt(number(11..13)?, number(14..16)?, number(17..19)?)?, &text[19..]))
}

/// The moment in Unix seconds, where the text is in that form, in UTC or without a zone; fractions are dropped.
pub fn unix_seconds(text: &str) -> Option<i64> {
    let (moment, rest) = plain(text)?;
    let zone = rest.trim_start_matches(|c: char| c == '.' || c.is_ascii_digit());
    matches!(zone, "" | "Z" | "+00" | "+00:00").then(|| moment.and_utc().timestamp())
}

/// The moment in Unix seconds, in whatever form databases write it: a timestamp or a date, in UTC where there is no
/// offset, or Unix seconds.
pub fn seconds_of(text: &str) -> Option<i64> {
    let zoned = || DateTime::parse_from_rfc3339(text).ok().map(|moment| moment.timestamp());
    let day = || Some(NaiveDateTime::from(NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?).and_utc().timestamp());
    // `infinity` is a number to the parser, and no moment.
    let number = || text.parse().ok().filter(|seconds: &f64| seconds.is_finite()).map(|seconds| seconds as i64);
    unix_seconds(text).or_else(zoned).or_else(day).or_else(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_never_ends_is_no_moment() {
        assert_eq!(["infinity", "-infinity", "NaN", "inf"].map(seconds_of), [None; 4]);
        assert_eq!(seconds_of("1700000000.5"), Some(1_700_000_000));
    }

    #[test]
    fn what_is_read_fast_is_what_the_general_parser_reads() {
        for text in [
            "2026-02-28 23:59:59",
            "2024-02-29T00:00:00",
            "0000-01-01 00:00:00",
            "9999-12-31 23:59:59.5+00:00",
            "2026-02-29 00:00:00",
            "2026-13-01 00:00:00",
            "2026-00-01 00:00:00",
            "2026-01-01 24:00:00",
            "2026-01-01 00:60:00",
            "2026-01-01 00:00:61",
            "+026-01-01 00:00:00",
            "2026-1-001 00:00:00",
            "2026-01-01_00:00:00",
            "2026-01-01 00.00:00",
            "2026-01-01 00:00:0",
            "é026-01-01 00:00:0",
            "",
        ] {
            let general = text.get(..19).and_then(|text| {
                let text = text.replacen('T', " ", 1);
                NaiveDateTime::parse_from_str(&text, "%Y-%m-%d %H:%M:%S").ok()
            });
            // It takes signs and missing zeros, too.
            let written = |moment: &NaiveDateTime| moment.format("%Y-%m-%d %H:%M:%S").to_string();
            let general = general.filter(|moment| written(moment) == text[..19].replacen('T', " ", 1));
            assert_eq!(plain(text), general.map(|moment| (moment, &text[19..])), "{text}");
        }
    }
}
