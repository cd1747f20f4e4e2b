//! Durations and shares in the form that people write them.

use std::{borrow::Cow, fmt, str::FromStr, time::Duration};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

use crate::schema;

/// A duration such as `90s`, `15m`, `1h30m` or `180d`.
///
/// Units are `ms s m h d w`. A bare number is refused because nobody can tell its unit, and so are months and years:
/// `1M` beside `1m` is a TTL forty thousand times too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

const UNITS: [(&str, u64); 6] =
    [("w", 604_800_000), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refuse = |why: &str| Err(format!("bad duration `{text}`: {why}"));
        let mut rest = text.trim();
        if rest.is_empty() {
            return refuse("it is empty; write for example `30s`, `15m`, `1h30m` or `180d`");
        }
        let mut total: u64 = 0;
        let mut smallest = u64::MAX;
        while !rest.is_empty() {
            let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            let unit_end = rest[digits..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |at| digits + at);
            let (number, unit) = (&rest[..digits], rest[digits..unit_end].trim());
            let Ok(number) = number.parse::<u64>() else {
                return refuse("write a whole number and its unit, for example `30s`, `15m`, `1h30m` or `180d`");
            };
            let Some((_, scale)) = UNITS.iter().find(|(name, _)| *name == unit) else {
                return match unit {
                    "" => refuse(&format!("it has no unit; did you mean `{number}s` or `{number}m`?")),
                    "M" => refuse(&format!("did you mean `{number}m` (minutes)? There is no unit for months")),
                    _ => refuse(&format!("unknown unit `{unit}`; the units are ms, s, m, h, d and w")),
                };
            };
            if *scale >= smallest {
                return refuse("units go from large to small, each once");
            }
            smallest = *scale;
            match number.checked_mul(*scale).and_then(|ms| total.checked_add(ms)) {
                // A century: far beyond any TTL, and far from the limits of every clock below us.
                Some(sum) if sum <= 36_525 * 86_400_000 => total = sum,
                _ => return refuse("it is longer than a hundred years"),
            }
            rest = rest[unit_end..].trim_start();
        }
        Ok(Self(Duration::from_millis(total)))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        if rest == 0 {
            return f.write_str("0s");
        }
        // Days are as large as it gets on output: `180d` says more than `25w5d`.
        for (unit, scale) in &UNITS[1..] {
            if rest >= *scale {
                write!(f, "{}{unit}", rest / scale)?;
                rest %= scale;
            }
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for Span {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let pattern = r"^(\d+ *w *)?(\d+ *d *)?(\d+ *h *)?(\d+ *m *)?(\d+ *s *)?(\d+ *ms *)?$";
        let mut schema = schema::text(pattern, &["30s", "15m", "1h30m", "180d"]);
        // The pattern lets a text of nothing in.
        schema.insert("minLength".to_owned(), 2.into());
        schema
    }
}

/// A share between `0%` and `100%`, kept as 0.0 to 1.0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Percent(pub f64);

impl FromStr for Percent {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = text.trim().strip_suffix('%').map(str::trim_end).and_then(|number| number.parse::<f64>().ok());
        match number {
            Some(number) if (0.0..=100.0).contains(&number) => Ok(Self(number / 100.0)),
            Some(_) => Err(format!("bad share `{text}`: it must lie between 0% and 100%")),
            None => Err(format!("bad share `{text}`: write for example `10%`")),
        }
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", (self.0 * 1e6).round() / 1e4)
    }
}

impl Serialize for Percent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl JsonSchema for Percent {
    fn schema_name() -> Cow<'static, str> {
        "Share".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schema::text(PERCENT, &["10%"])
    }
}

/// A share as it is written.
pub(crate) const PERCENT: &str = r"^(100(\.0+)?|\d{1,2}(\.\d+)?) *%$";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written_in_human_form() {
        for (text, seconds, shown) in [
            ("90s", 90.0, "1m30s"),
            ("15m", 900.0, "15m"),
            ("1h30m", 5400.0, "1h30m"),
            ("1h 30m", 5400.0, "1h30m"),
            ("180d", 15_552_000.0, "180d"),
            ("2w", 1_209_600.0, "14d"),
            ("250ms", 0.25, "250ms"),
            ("0s", 0.0, "0s"),
        ] {
            let span: Span = text.parse().unwrap();
            assert_eq!(span.0.as_secs_f64(), seconds, "{text}");
            assert_eq!(span.to_string(), shown);
        }
    }

    #[test]
    fn durations_that_could_mean_two_things_are_refused_with_the_reason() {
        for (text, reason) in [
            ("90", "bad duration `90`: it has no unit; did you mean `90s` or `90m`?"),
            ("1M", "bad duration `1M`: did you mean `1m` (minutes)? There is no unit for months"),
            ("5x", "bad duration `5x`: unknown unit `x`; the units are ms, s, m, h, d and w"),
            ("30m1h", "bad duration `30m1h`: units go from large to small, each once"),
            ("m", "bad duration `m`: write a whole number and its unit, for example `30s`, `15m`, `1h30m` or `180d`"),
            (
                "-5m",
                "bad duration `-5m`: write a whole number and its unit, for example `30s`, `15m`, `1h30m` or `180d`",
            ),
            ("99999999999w", "bad duration `99999999999w`: it is longer than a hundred years"),
        ] {
            assert_eq!(text.parse::<Span>().unwrap_err(), reason);
        }
    }

    #[test]
    fn shares_are_percentages() {
        assert_eq!("10%".parse::<Percent>().unwrap(), Percent(0.1));
        assert_eq!(Percent(0.125).to_string(), "12.5%");
        assert_eq!("0.1".parse::<Percent>().unwrap_err(), "bad share `0.1`: write for example `10%`");
        assert_eq!("110%".parse::<Percent>().unwrap_err(), "bad share `110%`: it must lie between 0% and 100%");
    }
}
