//! Which column says when something happened, and how long ago that may be for a job to see it.

use std::time::Duration;

use super::{links::Link, words::words};
use crate::database::{Catalog, ColumnKind, Engine};

/// A column that may say when an event happened.
#[derive(Debug, Clone, PartialEq)]
pub struct TimeColumn {
    /// How many steps of the way to the user lead to its table; 0 for the events themselves.
    pub step: usize,
    /// The column.
    pub column: String,
    /// What it holds.
    pub kind: ColumnKind,
}

/// Words of the moment at which something happened, the best first.
const HAPPENED: [&str; 22] = [
    "purchased",
    "ordered",
    "placed",
    "bought",
    "sold",
    "rented",
    "viewed",
    "visited",
    "occurred",
    "happened",
    "played",
    "created",
    "paid",
    "timestamp",
    "datetime",
    "date",
    "time",
    "at",
    "ts",
    "when",
    "added",
    "on",
];

/// Words of other moments.
const OTHERS: [&str; 22] = [
    "updated",
    "update",
    "modified",
    "changed",
    "deleted",
    "birth",
    "birthday",
    "due",
    "expire",
    "expiry",
    "expiration",
    "shipped",
    "ship",
    "delivered",
    "returned",
    "return",
    "required",
    "cancelled",
    "canceled",
    "end",
    "until",
    "valid",
];

/// Columns of the events and of the tables on the way to the user that may say when, the likeliest first; of those that
/// were named, only these.
pub(super) fn time_columns(catalog: &Catalog, events: usize, via: &[Link], named: Option<&str>) -> Vec<TimeColumn> {
    let mut found: Vec<(usize, TimeColumn)> = Vec::new();
    let tables = [events].into_iter().chain(via.iter().map(|link| link.key.table));
    for (step, table) in tables.enumerate() {
        for column in &catalog.tables[table].columns {
            let words = words(&column.name);
            let is_other = words.iter().any(|word| OTHERS.contains(&word.as_str()));
            let place = words.iter().filter_map(|word| HAPPENED.iter().position(|known| known == word)).min();
            let is_named = named.map(|named| named.eq_ignore_ascii_case(&column.name));
            let rank = match (column.kind, place) {
                _ if is_named == Some(false) => continue,
                _ if is_named == Some(true) => 0,
                (ColumnKind::Moment | ColumnKind::Date, place) => {
                    place.unwrap_or(HAPPENED.len()) + if is_other { 100 } else { 0 }
                }
                // Whether these hold moments, their values must say.
                (ColumnKind::Integer | ColumnKind::Text | ColumnKind::Undeclared | ColumnKind::Number, Some(place))
                    if !is_other =>
                {
                    50 + place
                }
                _ => continue,
            };
            found.push((rank, TimeColumn { step, column: column.name.clone(), kind: column.kind }));
        }
    }
    found.sort_by_key(|(rank, column)| (*rank, column.step));
    found.into_iter().map(|(_, column)| column).collect()
}

/// How a column's values are moments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// By its type; or text that compares as SQLite's own functions write it.
    Native,
    /// Unix seconds.
    Seconds(Written),
    /// Unix milliseconds.
    Milliseconds(Written),
    /// Text in SQLite that its functions understand but do not write: with a `T`, a zone, or without seconds.
    Text,
}

/// How a number stands in its column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// As a number.
    Number,
    /// As a text of digits, which compares with numbers only when it is made one.
    Digits,
}

impl Written {
    fn number(self, engine: Engine, column: &str) -> String {
        let integer = match engine {
            Engine::Postgres => "bigint",
            Engine::MySql => "SIGNED",
            Engine::Sqlite => "INTEGER",
        };
        match self {
            Self::Number => column.to_owned(),
            Self::Digits => format!("CAST({column} AS {integer})"),
        }
    }
}

impl Form {
    /// What some values of a column say of all of them; `None` when most are no moments. One that says that nothing is
    /// known, or that something never ends, has no say.
    pub(super) fn of_most(engine: Engine, kind: ColumnKind, values: &[String]) -> Option<Self> {
        let says = |value: &&String| {
            !value.is_empty() && value.parse().map_or(true, |number: f64| number.is_finite() && number != 0.0)
        };
        let telling: Vec<&String> = values.iter().filter(says).collect();
        let forms: Vec<Self> = telling.iter().filter_map(|value| Self::of(engine, kind, value)).collect();
        let count = |form: &Self| forms.iter().filter(|other| *other == form).count();
        let most = forms.iter().copied().max_by_key(count).filter(|_| forms.len() * 2 > telling.len())?;
        // SQLite's functions read what they write, too.
        if most == Self::Native && forms.contains(&Self::Text) { Some(Self::Text) } else { Some(most) }
    }

    /// What a value of a column is; `None` when it is no moment.
    fn of(engine: Engine, kind: ColumnKind, value: &str) -> Option<Self> {
        if let Ok(number) = value.parse::<f64>() {
            let written = match (engine, kind) {
                // A value that is no number would end every statement.
                (Engine::Postgres, ColumnKind::Text) => return None,
                (_, ColumnKind::Text | ColumnKind::Undeclared) => Written::Digits,
                _ => Written::Number,
            };
            // From 1990 on, and not far from now: smaller and larger numbers count something else.
            return match number {
                630e6..5e9 => Some(Self::Seconds(written)),
                630e9..5e12 => Some(Self::Milliseconds(written)),
                _ => None,
            };
        }
        let is_declared = matches!(kind, ColumnKind::Moment | ColumnKind::Date);
        match engine {
            Engine::Sqlite => {
                let bytes = value.as_bytes();
                let is_date = bytes.len() >= 10 && bytes[4] == b'-' && bytes[7] == b'-';
                // Like the text that the parameters are bound to.
                let is_plain = bytes.len() >= 19 && bytes[10] == b' ' && bytes[13] == b':' && bytes[16] == b':';
                let is_zoned = value.get(19..).is_some_and(|rest| rest.contains(['+', '-', 'Z']));
                is_date.then_some(if (is_plain || bytes.len() == 10) && !is_zoned { Self::Native } else { Self::Text })
            }
            Engine::Postgres | Engine::MySql => is_declared.then_some(Self::Native),
        }
    }

    /// A column as it compares with the parameters.
    pub(super) fn compared(self, engine: Engine, column: &str) -> String {
        match self {
            Self::Native => column.to_owned(),
            Self::Seconds(written) | Self::Milliseconds(written) => written.number(engine, column),
            Self::Text => format!("datetime({column})"),
        }
    }

    /// A parameter as it compares with the column.
    pub(super) fn parameter(self, engine: Engine, name: &str) -> String {
        let seconds = match engine {
            Engine::Postgres => format!("extract(epoch FROM CAST(:{name} AS timestamptz))"),
            Engine::MySql => format!("UNIX_TIMESTAMP(:{name})"),
            Engine::Sqlite => format!("unixepoch(:{name})"),
        };
        match self {
            Self::Native | Self::Text => format!(":{name}"),
            Self::Seconds(_) => seconds,
            Self::Milliseconds(_) => format!("{seconds} * 1000"),
        }
    }

    /// A column as a job's `at`.
    pub(super) fn at(self, engine: Engine, column: &str) -> String {
        match self {
            Self::Native => column.to_owned(),
            Self::Seconds(written) => written.number(engine, column),
            Self::Milliseconds(written) => format!("{} / 1000", written.number(engine, column)),
            Self::Text => format!("datetime({column})"),
        }
    }
}

const DAY: u64 = 86_400;

/// When the events of a table happened.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Extent {
    /// From the oldest to the newest, in seconds.
    pub span: u64,
    /// From the newest to now.
    pub age: u64,
    /// How many there are, where that is known.
    pub events: Option<u64>,
    /// Whether a few events lie so far off that they were left out.
    pub has_strays: bool,
}

/// How far back jobs look, in whole days.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Windows {
    /// For recommendations and similarities.
    pub model: Duration,
    /// For what is popular, and for who and what is worth a key.
    pub recent: Duration,
    /// After which an event says half of what is popular.
    pub trend_half_life: Duration,
    /// After which an event says half of a user's taste.
    pub taste_half_life: Duration,
    /// Whether nothing has happened for so long that the windows reach over a gap.
    pub is_old: bool,
}

/// Data without news for longer than this were copied from somewhere, or belong to a shop that has closed.
const OLD: u64 = 14 * DAY;

/// Enough events for similarities, for what is popular, and for its half-life; more make runs longer and lists not better.
const FOR_MODEL: u64 = 200_000;
const FOR_RECENT: u64 = 5_000;
const FOR_TREND: u64 = 500;

impl Extent {
    /// Windows that hold enough of the events.
    pub fn windows(&self) -> Windows {
        // The time in which so many events happen, on an average day.
        let holding = |wanted: u64| match self.events {
            Some(events) if events > 0 => {
                (self.span as f64 * (wanted as f64 / events as f64)).min(self.span as f64) as u64
            }
            _ => self.span,
        };
        let is_old = self.age > OLD;
        // Old data grow no younger: a month later, the windows must still reach them.
        let reach = self.age + if is_old { self.age.max(365 * DAY) } else { 0 };
        let days = |seconds: u64| Duration::from_secs(seconds.div_ceil(DAY) * DAY);
        let at_most = |seconds: u64| seconds.min(90 * 365 * DAY);
        let recent = holding(FOR_RECENT).max(30 * DAY);
        Windows {
            model: days(at_most(reach + holding(FOR_MODEL).max(180 * DAY))),
            recent: days(at_most(reach + recent)),
            trend_half_life: days(holding(FOR_TREND).max(2 * DAY).min(recent)),
            taste_half_life: days((holding(FOR_MODEL) / 3).max(60 * DAY)),
            is_old,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn days(days: u64) -> Duration {
        Duration::from_secs(days * DAY)
    }

    #[test]
    fn a_busy_shop_gets_short_windows_and_a_quiet_one_all_that_there_is() {
        // 3,000 events a day for three years.
        let busy = Extent { span: 1095 * DAY, age: 60, events: Some(3_285_000), has_strays: false }.windows();
        assert_eq!((busy.model, busy.recent, busy.trend_half_life), (days(181), days(31), days(2)));
        assert!(!busy.is_old);
        // One a day.
        let quiet = Extent { span: 1000 * DAY, age: DAY, events: Some(1_000), has_strays: false }.windows();
        assert_eq!((quiet.model, quiet.recent, quiet.trend_half_life), (days(1001), days(1001), days(500)));
    }

    #[test]
    fn windows_reach_old_data_and_still_will_in_a_year() {
        let windows = Extent { span: 1800 * DAY, age: 340 * DAY, events: Some(2_240), has_strays: false }.windows();
        assert!(windows.is_old);
        assert!(windows.model >= days(340 + 1800 + 365) && windows.recent >= days(340 + 1800 + 365), "{windows:?}");
    }

    #[test]
    fn the_values_of_a_column_say_whether_and_how_they_are_moments() {
        use ColumnKind::{Date, Integer, Moment, Text, Undeclared};
        use Written::{Digits, Number};
        for (engine, kind, value, form) in [
            (Engine::Postgres, Moment, "2025-12-22T00:00:00", Some(Form::Native)),
            (Engine::Postgres, Text, "2025-12-22T00:00:00", None),
            (Engine::MySql, Date, "2025-12-22", Some(Form::Native)),
            (Engine::MySql, Integer, "1700000000", Some(Form::Seconds(Number))),
            (Engine::Postgres, Integer, "1700000000000", Some(Form::Milliseconds(Number))),
            (Engine::Postgres, Text, "1700000000", None),
            (Engine::MySql, Text, "1700000000", Some(Form::Seconds(Digits))),
            (Engine::Sqlite, Undeclared, "1700000000", Some(Form::Seconds(Digits))),
            (Engine::Postgres, Integer, "42", None),
            (Engine::Sqlite, Moment, "2025-12-22 00:00:00", Some(Form::Native)),
            (Engine::Sqlite, Moment, "2025-12-22", Some(Form::Native)),
            (Engine::Sqlite, Text, "2025-12-22T01:02:03.5Z", Some(Form::Text)),
            (Engine::Sqlite, Text, "2025-12-22 01:02:03+02:00", Some(Form::Text)),
            (Engine::Sqlite, Moment, "1700000000", Some(Form::Seconds(Number))),
            (Engine::Sqlite, Text, "yesterday", None),
        ] {
            assert_eq!(Form::of(engine, kind, value), form, "{engine} {kind:?} {value}");
        }
    }

    #[test]
    fn a_few_values_that_are_no_moments_do_not_speak_for_a_column() {
        use ColumnKind::{Integer, Moment, Text};
        for (engine, kind, values, form) in [
            (Engine::Postgres, Moment, "infinity 2025-12-22T00:00:00 -infinity", Some(Form::Native)),
            (Engine::Postgres, Moment, "infinity infinity", None),
            (
                Engine::Postgres,
                Integer,
                "0 0 0 1700000000 253402300799 1700000001",
                Some(Form::Seconds(Written::Number)),
            ),
            (Engine::Postgres, Integer, "3 1 1 1700000000", None),
            (Engine::Sqlite, Text, "2025-12-22 2025-12-22T01:02:03 2025-12-23", Some(Form::Text)),
            (Engine::Sqlite, Text, "", None),
        ] {
            let some: Vec<String> = values.split(' ').map(str::to_owned).collect();
            assert_eq!(Form::of_most(engine, kind, &some), form, "{engine} {kind:?} {values}");
        }
    }
}
