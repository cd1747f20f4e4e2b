//! Cron patterns: each field is checked here, with its name in the message, and matched by `croner`.

use croner::{
    Cron,
    parser::{CronParser, Seconds, Year},
};

use crate::{
    job::duration::Span,
    problems::{nearest, unknown},
};

/// A pattern that can be matched, though perhaps no day ever does.
pub(super) struct Pattern {
    pub cron: Cron,
    /// Second, minute or hour begins with `*` or names every value.
    pub rolling: bool,
}

const NICKNAMES: [(&str, &str); 7] = [
    ("@hourly", "0 * * * *"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@weekly", "0 0 * * 0"),
    ("@monthly", "0 0 1 * *"),
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
];

struct Field {
    name: &'static str,
    low: u16,
    high: u16,
    /// The words for `low` and what follows it.
    words: &'static [&'static str],
}

const MONTHS: [&str; 12] = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
const WEEKDAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

const FIELDS: [Field; 6] = [
    Field { name: "second", low: 0, high: 59, words: &[] },
    Field { name: "minute", low: 0, high: 59, words: &[] },
    Field { name: "hour", low: 0, high: 23, words: &[] },
    Field { name: "day of month", low: 1, high: 31, words: &[] },
    Field { name: "month", low: 1, high: 12, words: &MONTHS },
    // Both 0 and 7 are Sunday.
    Field { name: "day of week", low: 0, high: 7, words: &WEEKDAYS },
];

/// Reads five fields, six (seconds first), or a nickname.
pub(super) fn parse(text: &str) -> Result<Pattern, String> {
    let mut words: Vec<&str> = text.split_whitespace().collect();
    if let Some(nickname) = words.first().filter(|word| word.starts_with('@')) {
        let Some((_, pattern)) = NICKNAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(nickname)) else {
            return Err(unknown("nickname", nickname, &nicknames()));
        };
        if words.len() > 1 {
            return Err(format!("`{nickname}` stands alone"));
        }
        words = pattern.split(' ').collect();
    }
    let fields = match words[..] {
        [minute, hour, day, month, weekday] => ["0", minute, hour, day, month, weekday],
        [second, minute, hour, day, month, weekday] => [second, minute, hour, day, month, weekday],
        _ => return Err(wrong_count(text, words.len())),
    };
    let numbers: Vec<String> =
        FIELDS.iter().zip(fields).map(|(field, text)| field.read(text)).collect::<Result<_, _>>()?;
    // As in Vixie cron, either day may match when both are restricted, and a field that begins with `*` is not: `*/2`
    // beside `MON` narrows the Mondays, it does not add odd days to them.
    let open = |index: usize| fields[index].starts_with(['*', '?']);
    let parser =
        CronParser::builder().seconds(Seconds::Required).year(Year::Disallowed).dom_and_dow(open(3) || open(5)).build();
    let cron = parser.parse(&numbers.join(" ")).map_err(|why| why.to_string())?;
    let times = [(&cron.pattern.seconds, 60), (&cron.pattern.minutes, 60), (&cron.pattern.hours, 24)];
    let rolling = times.iter().enumerate().any(|(index, (field, all))| open(index) || field.values().len() == *all);
    Ok(Pattern { cron, rolling })
}

fn nicknames() -> Vec<&'static str> {
    NICKNAMES.iter().map(|(name, _)| *name).chain(["@every"]).collect()
}

fn wrong_count(text: &str, count: usize) -> String {
    let text = text.trim();
    let interval = text.strip_prefix("every").unwrap_or(text).trim();
    let fields = if count == 1 { "field" } else { "fields" };
    if interval.parse::<Span>().is_ok() {
        format!("an interval is written `@every {interval}`")
    } else if let Some(nickname) = nearest(&format!("@{text}"), &nicknames()) {
        format!("did you mean `{nickname}`?")
    } else {
        format!("it has {count} {fields}; write five (minute hour day month weekday) or six (seconds first)")
    }
}

impl Field {
    /// The field in numbers, as `croner` reads it.
    fn read(&self, text: &str) -> Result<String, String> {
        if text == "*" || text == "?" && matches!(self.name, "day of month" | "day of week") {
            return Ok("*".to_owned());
        }
        let entries: Vec<String> = text.split(',').map(|entry| self.entry(entry, text)).collect::<Result<_, _>>()?;
        Ok(entries.join(","))
    }

    /// One entry of a list: `5`, `1-5`, `*/2`, `1-5/2`, and for days `L`, `MON#2` and `MONL`.
    fn entry(&self, entry: &str, field: &str) -> Result<String, String> {
        let Self { name, low, high, .. } = *self;
        if entry.is_empty() {
            let spaces = if field.contains(",,") { "" } else { "; a list has no spaces" };
            return Err(format!("{name} `{field}` has an empty entry{spaces}"));
        }
        let (range, step) = entry.split_once('/').map_or((entry, None), |(range, step)| (range, Some(step)));
        let (from, to) = if range == "*" {
            (low, high)
        } else if let Some((from, to)) = range.split_once('-') {
            self.range(entry, from, to)?
        } else if let Some(step) = step {
            let from = if range.is_empty() { "*".to_owned() } else { format!("{range}-{}", self.last()) };
            return Err(format!("{name} `{entry}`: a step needs a range; write `{from}/{step}`"));
        } else {
            return self.single(entry);
        };
        let Some(step) = step else {
            return Ok(format!("{from}-{to}"));
        };
        // Steps begin anew with the field: every 90 minutes would in truth be every hour.
        let also = match (step.parse::<u16>(), name) {
            (Ok(step), _) if (1..=high).contains(&step) => return Ok(format!("{from}-{to}/{step}")),
            (Ok(1..), "second" | "minute" | "hour") => format!("; write `@every {step}{}` for more", &name[..1]),
            _ => String::new(),
        };
        Err(format!("{name} `{entry}`: a step is a number from 1 to {high}{also}"))
    }

    fn range(&self, entry: &str, from_text: &str, to_text: &str) -> Result<(u16, u16), String> {
        let (from, mut to) = (self.value(from_text, entry)?, self.value(to_text, entry)?);
        if self.name == "day of week" && to_text.eq_ignore_ascii_case("SUN") && from > 0 {
            to = 7;
        }
        if from <= to {
            return Ok((from, to));
        }
        // Two ranges say it without doubt, in the words of the one.
        let word = |value: u16, like: &str| match self.words.get(usize::from(value - self.low)) {
            Some(word) if like.starts_with(|c: char| c.is_ascii_alphabetic()) => (*word).to_owned(),
            _ => value.to_string(),
        };
        let (last, first) = (word(self.last(), from_text), word(self.low, to_text));
        let up = if from >= self.last() { from_text.to_owned() } else { format!("{from_text}-{last}") };
        let down = if to == self.low { first } else { format!("{first}-{to_text}") };
        let step = entry.split_once('/').map_or(String::new(), |(_, step)| format!("/{step}"));
        Err(format!("{} `{entry}` runs backwards; write `{up}{step},{down}{step}`", self.name))
    }

    fn single(&self, entry: &str) -> Result<String, String> {
        match self.name {
            "day of month" if entry.eq_ignore_ascii_case("L") => Ok("L".to_owned()),
            "day of week" if entry.eq_ignore_ascii_case("L") => {
                Err("day of week `L` lacks the day; the last Friday is `FRIL`".to_owned())
            }
            "day of week" => {
                if let Some((day, nth)) = entry.split_once('#') {
                    let value = self.value(day, entry)?;
                    return match nth.parse::<u8>() {
                        Ok(nth @ 1..=5) => Ok(format!("{value}#{nth}")),
                        _ => Err(format!("day of week `{entry}`: after `#` comes a number from 1 to 5")),
                    };
                }
                match entry.strip_suffix(['L', 'l']) {
                    Some(day) => Ok(format!("{}L", self.value(day, entry)?)),
                    None => Ok(self.value(entry, entry)?.to_string()),
                }
            }
            _ => Ok(self.value(entry, entry)?.to_string()),
        }
    }

    fn value(&self, word: &str, entry: &str) -> Result<u16, String> {
        let Self { name, low, high, words } = *self;
        if word.is_empty() {
            return Err(format!("{name} `{entry}` is incomplete"));
        }
        if word.bytes().all(|byte| byte.is_ascii_digit()) {
            return match word.parse() {
                Ok(value) if (low..=high).contains(&value) => Ok(value),
                _ => Err(format!("{name} `{word}` is out of range: {low} to {high}")),
            };
        }
        if words.is_empty() {
            let also = if name == "day of month" { ", nor `L` for the last day" } else { "" };
            return Err(format!("{name} `{word}` is not a number from {low} to {high}{also}"));
        }
        let known = (low..).zip(words).find(|(_, known)| known.eq_ignore_ascii_case(word)).map(|(value, _)| value);
        known.ok_or_else(|| {
            let shortened = words.iter().find(|known| word.to_ascii_uppercase().starts_with(**known));
            match shortened {
                Some(meant) => format!("unknown {name} `{word}`, did you mean `{meant}`?"),
                None => unknown(name, word, words),
            }
        })
    }

    /// The highest value under its first name: Saturday is 6, and 7 is Sunday again.
    fn last(&self) -> u16 {
        if self.words.is_empty() { self.high } else { self.low + self.words.len() as u16 - 1 }
    }
}

#[cfg(test)]
mod tests {
    use chrono_tz::Tz;

    use super::super::Schedule;

    #[test]
    fn a_malformed_schedule_is_refused_with_the_field_and_the_likely_reason() {
        let known = "`@hourly`, `@daily`, `@midnight`, `@weekly`, `@monthly`, `@yearly`, `@annually`, `@every`";
        let months = "`JAN`, `FEB`, `MAR`, `APR`, `MAY`, `JUN`, `JUL`, `AUG`, `SEP`, `OCT`, `NOV`, `DEC`";
        let five_or_six = "write five (minute hour day month weekday) or six (seconds first)";
        for (text, reason) in [
            ("", format!("it has 0 fields; {five_or_six}")),
            ("12", format!("it has 1 field; {five_or_six}")),
            ("* * * *", format!("it has 4 fields; {five_or_six}")),
            ("0 0 0 1 1 * 2027", format!("it has 7 fields; {five_or_six}")),
            ("15m", "an interval is written `@every 15m`".to_owned()),
            ("every 1h30m", "an interval is written `@every 1h30m`".to_owned()),
            ("dayly", "did you mean `@daily`?".to_owned()),
            ("@fortnightly", format!("unknown nickname `@fortnightly`; known here: {known}")),
            ("@reboot", format!("unknown nickname `@reboot`; known here: {known}")),
            ("@hourl", "unknown nickname `@hourl`, did you mean `@hourly`?".to_owned()),
            ("@evry 15m", "unknown nickname `@evry`, did you mean `@every`?".to_owned()),
            ("@everyday", format!("unknown nickname `@everyday`; known here: {known}")),
            ("@daily 5 * * *", "`@daily` stands alone".to_owned()),
            ("@every 10", "bad duration `10`: it has no unit; did you mean `10s` or `10m`?".to_owned()),
            ("@every 0s", "an interval is a whole number of seconds, at least 1s".to_owned()),
            ("@every 1s500ms", "an interval is a whole number of seconds, at least 1s".to_owned()),
            ("60 * * * * *", "second `60` is out of range: 0 to 59".to_owned()),
            ("61 * * * *", "minute `61` is out of range: 0 to 59".to_owned()),
            ("0,75 * * * *", "minute `75` is out of range: 0 to 59".to_owned()),
            ("99999999 * * * *", "minute `99999999` is out of range: 0 to 59".to_owned()),
            ("0 24 * * *", "hour `24` is out of range: 0 to 23".to_owned()),
            ("0 9-25 * * *", "hour `25` is out of range: 0 to 23".to_owned()),
            ("0 0 0 * *", "day of month `0` is out of range: 1 to 31".to_owned()),
            ("0 0 32 * *", "day of month `32` is out of range: 1 to 31".to_owned()),
            ("0 0 1 13 *", "month `13` is out of range: 1 to 12".to_owned()),
            ("0 0 * * 8", "day of week `8` is out of range: 0 to 7".to_owned()),
            ("x * * * *", "minute `x` is not a number from 0 to 59".to_owned()),
            ("+5 * * * *", "minute `+5` is not a number from 0 to 59".to_owned()),
            ("0 MON * * *", "hour `MON` is not a number from 0 to 23".to_owned()),
            ("0 0 15W * *", "day of month `15W` is not a number from 1 to 31, nor `L` for the last day".to_owned()),
            ("0 0 1 Dez *", "unknown month `Dez`, did you mean `DEC`?".to_owned()),
            ("0 0 1 xyz *", format!("unknown month `xyz`; known here: {months}")),
            ("0 0 * * Monday", "unknown day of week `Monday`, did you mean `MON`?".to_owned()),
            ("0 0 * * +MON", "unknown day of week `+MON`, did you mean `MON`?".to_owned()),
            ("0 0 * * FRI-MON", "day of week `FRI-MON` runs backwards; write `FRI-SAT,SUN-MON`".to_owned()),
            ("0 0 * * 5-1", "day of week `5-1` runs backwards; write `5-6,0-1`".to_owned()),
            ("0 0 * * 7-2", "day of week `7-2` runs backwards; write `7,0-2`".to_owned()),
            ("0 22-2 * * *", "hour `22-2` runs backwards; write `22-23,0-2`".to_owned()),
            ("0 23-0 * * *", "hour `23-0` runs backwards; write `23,0`".to_owned()),
            ("0 0 1 NOV-FEB *", "month `NOV-FEB` runs backwards; write `NOV-DEC,JAN-FEB`".to_owned()),
            ("50-10/5 * * * *", "minute `50-10/5` runs backwards; write `50-59/5,0-10/5`".to_owned()),
            ("*/0 * * * *", "minute `*/0`: a step is a number from 1 to 59".to_owned()),
            ("*/ * * * *", "minute `*/`: a step is a number from 1 to 59".to_owned()),
            ("*/90 * * * *", "minute `*/90`: a step is a number from 1 to 59; write `@every 90m` for more".to_owned()),
            ("0 */24 * * *", "hour `*/24`: a step is a number from 1 to 23; write `@every 24h` for more".to_owned()),
            ("0 0 */40 * *", "day of month `*/40`: a step is a number from 1 to 31".to_owned()),
            ("5/15 * * * *", "minute `5/15`: a step needs a range; write `5-59/15`".to_owned()),
            ("/15 * * * *", "minute `/15`: a step needs a range; write `*/15`".to_owned()),
            ("0,,30 * * * *", "minute `0,,30` has an empty entry".to_owned()),
            ("0, 30 * * * *", "second `0,` has an empty entry; a list has no spaces".to_owned()),
            ("5- * * * *", "minute `5-` is incomplete".to_owned()),
            ("0 0 * * #2", "day of week `#2` is incomplete".to_owned()),
            ("0 0 * * MON#6", "day of week `MON#6`: after `#` comes a number from 1 to 5".to_owned()),
            ("0 0 * * L", "day of week `L` lacks the day; the last Friday is `FRIL`".to_owned()),
            ("0 0 31 2 *", "no such moment ever comes".to_owned()),
            ("0 0 30 2 */2", "no such moment ever comes".to_owned()),
        ] {
            assert_eq!(Schedule::parse(text, Tz::UTC).unwrap_err(), format!("bad schedule `{text}`: {reason}"));
        }
    }

    #[test]
    fn every_refusal_that_names_a_remedy_names_one_that_is_accepted() {
        for text in ["0 0 * * FRI-MON", "0 0 * * 7-2", "0 23-0 * * *", "50-10/5 * * * *", "5/15 * * * *", "/15 * * * *"]
        {
            let error = Schedule::parse(text, Tz::UTC).unwrap_err();
            let (_, remedy) = error.split_once("write `").unwrap();
            let wrong = error.split('`').nth(3).unwrap();
            let mended = text.replace(wrong, remedy.trim_end_matches('`'));
            assert!(Schedule::parse(&mended, Tz::UTC).is_ok(), "{text} -> {mended}");
        }
    }
}
