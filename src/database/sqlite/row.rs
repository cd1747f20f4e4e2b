//! A row of SQLite, copied out of the driver's hands, and what its values mean.

use std::{ops::Range, str, sync::Arc};

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, Timelike as _, Utc};
use rusqlite::types::ValueRef;

use crate::database::{Cell, Error, cell::valid_json, float, moment};

/// Rows are handed on together, up to about so many bytes, and so many values.
const BYTES: usize = 56 << 10;
const VALUES: usize = 2_000;

/// Room for one more row.
const ROOM: usize = BYTES + (8 << 10);

/// Rows of one statement, one behind the other.
pub(super) struct Block {
    values: Vec<Stored>,
    bytes: Vec<u8>,
    declared: Arc<[Declared]>,
}

/// A value as SQLite stores it.
enum Stored {
    Null,
    Integer(i64),
    Real(f64),
    /// Where its bytes are in the block; not always UTF-8.
    Text(Range<usize>),
    Blob(Range<usize>),
}

impl Block {
    pub fn new(declared: &Arc<[Declared]>) -> Self {
        Self { values: Vec::new(), bytes: Vec::with_capacity(ROOM), declared: declared.clone() }
    }

    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Whether no row should be added any more.
    pub fn is_full(&self) -> bool {
        self.bytes.len() >= BYTES || self.values.len() >= VALUES
    }

    pub fn push(&mut self, row: &rusqlite::Row<'_>) {
        for column in 0..self.declared.len() {
            let stored = match row.get_ref_unwrap(column) {
                ValueRef::Null => Stored::Null,
                ValueRef::Integer(number) => Stored::Integer(number),
                ValueRef::Real(number) => Stored::Real(number),
                ValueRef::Text(text) => Stored::Text(self.keep(text)),
                ValueRef::Blob(bytes) => Stored::Blob(self.keep(bytes)),
            };
            self.values.push(stored);
        }
    }

    fn keep(&mut self, bytes: &[u8]) -> Range<usize> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        start..self.bytes.len()
    }

    pub fn into_rows(self) -> impl Iterator<Item = Row> {
        let rows = self.values.len() / self.declared.len().max(1);
        let block = Arc::new(self);
        (0..rows).map(move |nth| Row { block: block.clone(), nth })
    }
}

/// One row of a block, which lives as long as one of its rows.
pub(in super::super) struct Row {
    block: Arc<Block>,
    nth: usize,
}

impl Row {
    fn values(&self) -> &[Stored] {
        let width = self.block.declared.len();
        &self.block.values[self.nth * width..][..width]
    }

    /// The value of column `index` (from 0).
    pub fn cell(&self, index: usize) -> Result<Cell<'_>, Error> {
        let value = self.values().get(index);
        let declared = self.block.declared.get(index).copied().unwrap_or(Declared::Other);
        Ok(match value {
            None => return Err(Error::data(format!("there is no column {}", index + 1))),
            Some(Stored::Null) => Cell::Null,
            Some(&Stored::Integer(number)) => match (declared, number) {
                (Declared::Boolean, 0) => Cell::Bool(false),
                (Declared::Boolean, 1) => Cell::Bool(true),
                (Declared::Decimal(scale), number) => decimal(&number.to_string(), scale),
                _ => Cell::Int(number),
            },
            Some(&Stored::Real(number)) => match declared {
                Declared::Decimal(scale) if number.is_finite() => decimal(&number.to_string(), scale),
                _ => float::float8(number),
            },
            Some(Stored::Blob(place)) => Cell::bytes(&self.block.bytes[place.clone()]),
            Some(Stored::Text(place)) => {
                let written = str::from_utf8(&self.block.bytes[place.clone()]);
                let invalid = |error| Error::data(format!("column {}: {error}", index + 1));
                text(written.map_err(invalid)?, declared)
            }
        })
    }

    /// The bytes of the row's values: eight for a number.
    pub fn size(&self) -> usize {
        let value = |stored: &Stored| match stored {
            Stored::Null => 0,
            Stored::Integer(_) | Stored::Real(_) => 8,
            Stored::Text(place) | Stored::Blob(place) => place.len(),
        };
        self.values().iter().map(value).sum()
    }
}

/// What a column's declared type says about values that SQLite itself does not tell apart.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Declared {
    Boolean,
    /// `DECIMAL(p,s)`, `NUMERIC(p,s)`: digits behind the point; never in the notation with an exponent.
    Decimal(usize),
    Date,
    Timestamp,
    TimestampTz,
    Json,
    Other,
}

/// As in PostgreSQL, which has more than the others.
const MOST_DIGITS: usize = 16_383;

impl Declared {
    pub fn parse(declaration: &str) -> Self {
        let declaration = declaration.to_ascii_lowercase();
        let (name, arguments) = declaration.split_once('(').unwrap_or((&declaration, ""));
        let (arguments, behind) = arguments.split_once(')').unwrap_or((arguments, ""));
        match (name.trim(), behind.trim()) {
            ("bool" | "boolean", _) => Declared::Boolean,
            ("decimal" | "numeric" | "dec", _) => {
                let scale = arguments.split_once(',').and_then(|(_, scale)| scale.trim().parse().ok());
                // SQLite takes any declaration for what it is; nobody means as many zeros.
                let scale = scale.filter(|scale| *scale <= MOST_DIGITS);
                Declared::Decimal(scale.unwrap_or(0))
            }
            ("date", _) => Declared::Date,
            ("timestamptz" | "timestamp with time zone", _) | ("timestamp", "with time zone") => Declared::TimestampTz,
            ("datetime" | "timestamp" | "timestamp without time zone", _) => Declared::Timestamp,
            ("json" | "jsonb", _) => Declared::Json,
            _ => Declared::Other,
        }
    }
}

fn text(text: &str, declared: Declared) -> Cell<'_> {
    let meant = match declared {
        Declared::Date => text.parse::<NaiveDate>().ok().map(|date| date.format("%Y-%m-%d").to_string()),
        Declared::Timestamp => moment(text, false),
        Declared::TimestampTz => moment(text, true),
        Declared::Json if valid_json(text).is_ok() => return Cell::json(text),
        _ => None,
    };
    Cell::Text(meant.map_or(text.into(), Into::into))
}

/// Fills the fraction of a number with zeros up to the declared scale. More digits than declared are in the file, so
/// they are told.
fn decimal(digits: &str, scale: usize) -> Cell<'static> {
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let point = if scale == 0 && fraction.is_empty() { "" } else { "." };
    Cell::Number(format!("{whole}{point}{fraction:0<scale$}").into())
}

/// The ways in which SQLite's own functions write a moment, in the form of the other engines: with a `T`, and in UTC
/// where there is a zone.
fn moment(text: &str, zoned: bool) -> Option<String> {
    if let Some((_, "")) = moment::plain(text) {
        let zone = if zoned { "+00:00" } else { "" };
        return Some([&text[..10], "T", &text[11..], zone].concat());
    }
    let with_t = text.trim().replacen(' ', "T", 1);
    if let Ok(moment) = DateTime::parse_from_rfc3339(&with_t) {
        return Some(format!("{}+00:00", written(moment.with_timezone(&Utc).naive_utc())));
    }
    let formats = ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M"];
    let local = formats.iter().find_map(|format| NaiveDateTime::parse_from_str(&with_t, format).ok());
    let local = local.or_else(|| Some(with_t.parse::<NaiveDate>().ok()?.and_time(NaiveTime::MIN)))?;
    Some(if zoned { format!("{}+00:00", written(local)) } else { written(local) })
}

fn written(moment: NaiveDateTime) -> String {
    let seconds = moment.format("%Y-%m-%dT%H:%M:%S");
    match moment.nanosecond() % 1_000_000_000 {
        0 => seconds.to_string(),
        nanos => format!("{seconds}.{nanos:09}").trim_end_matches('0').to_owned(),
    }
}
