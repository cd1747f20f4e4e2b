//! Events as their statements give them: who had to do with what, and when.

use std::sync::Arc;

use chrono::{DateTime, NaiveDate, NaiveDateTime, Utc};

use super::interactions::{Builder, Interactions};
use crate::{
    database::{Cell, Row, moment},
    id::IdRef,
    job::Events,
    reader::{Columns, Reader, Split},
    record::Failure,
};

/// Reads one statement. What its events count is the job's affair, so that jobs that count them differently can share
/// them: here each has the weight of its row, and none is a purchase.
pub(super) async fn read(source: &Events, reader: &Reader, now: DateTime<Utc>) -> Result<Builder, Failure> {
    // Every attempt and every part fills a builder of its own, because a passing error starts it again.
    let start = |columns: &Columns<'_>| Ok((EventColumns::find(columns)?, Interactions::builder()));
    let step = move |(columns, builder): &mut (EventColumns, Builder), row: &Row| push(builder, columns, now, row);
    let split = Split { column: "user_id", connections: source.connections };
    let parts = reader.fold_parts(&source.sql, &source.sql.arguments(now), &split, start, step).await?;
    let mut parts = parts.into_iter().map(|(_, part)| part);
    // The first as it is: there is nothing to weigh yet.
    let mut read = parts.next().unwrap_or_default();
    for part in parts {
        read.append(Arc::new(part), 1.0, false);
    }
    Ok(read)
}

struct EventColumns {
    user: usize,
    product: usize,
    at: Option<usize>,
    weight: Option<usize>,
}

impl EventColumns {
    fn find(columns: &Columns<'_>) -> Result<Self, String> {
        Ok(Self {
            user: columns.require("user_id")?,
            product: columns.require("product_id")?,
            at: columns.find("at"),
            weight: columns.find("weight"),
        })
    }
}

fn push(builder: &mut Builder, columns: &EventColumns, now: DateTime<Utc>, row: &Row) -> Result<(), String> {
    let cell = |column: usize| row.cell(column).map_err(|error| error.message);
    let (user, product) = (cell(columns.user)?, cell(columns.product)?);
    let (Some(user), Some(product)) = (id_ref(&user), id_ref(&product)) else {
        // Somebody unknown did something, or something was done with nothing: no interaction.
        return Ok(());
    };
    let at = match columns.at {
        None => now.timestamp(),
        Some(column) => match row.unix_seconds(column) {
            Some(seconds) => seconds,
            None => unix_seconds(&cell(column)?)?,
        },
    };
    let weight = match columns.weight {
        None => 1.0,
        Some(column) => match cell(column)? {
            Cell::Null => 0.0,
            Cell::Int(number) => number as f32,
            Cell::Number(text) => text.parse().map_err(|_| format!("column `weight`: {text} is no number"))?,
            other => return Err(format!("column `weight`: {} is no number", other.text().unwrap_or_default())),
        },
    };
    builder.push(user, product, at, weight, false);
    Ok(())
}

/// An id, or nothing for NULL.
pub(super) fn id_ref<'c>(cell: &'c Cell<'_>) -> Option<IdRef<'c>> {
    match cell {
        Cell::Int(number) => Some(IdRef::Int(*number)),
        Cell::Number(text) => Some(text.parse().map_or(IdRef::Text(text), IdRef::Int)),
        Cell::Text(text) | Cell::Json(text) => Some(IdRef::Text(text)),
        Cell::Bool(value) => Some(IdRef::Text(if *value { "true" } else { "false" })),
        Cell::Null => None,
    }
}

/// A moment: a timestamp or date as text (without offset in UTC), or Unix seconds.
fn unix_seconds(cell: &Cell<'_>) -> Result<i64, String> {
    let parsed = match cell {
        Cell::Int(seconds) => Some(*seconds),
        Cell::Number(text) => text.parse::<f64>().ok().map(|seconds| seconds as i64),
        Cell::Text(text) => parse_moment(text),
        _ => None,
    };
    parsed.ok_or_else(|| {
        let shown = cell.text().unwrap_or("NULL".into());
        if matches!(cell, Cell::Text(text) if text.parse::<f64>().is_ok()) {
            return format!(
                "column `at`: the text `{shown}` is no moment; Unix seconds are a number: give a CAST of it"
            );
        }
        format!("column `at`: {shown} is no moment; give a timestamp or Unix seconds")
    })
}

fn parse_moment(text: &str) -> Option<i64> {
    let zoned = || DateTime::parse_from_rfc3339(text).ok().map(|moment| moment.timestamp());
    moment::unix_seconds(text).or_else(zoned).or_else(|| {
        NaiveDate::parse_from_str(text, "%Y-%m-%d").ok().map(|day| NaiveDateTime::from(day).and_utc().timestamp())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_timestamps_dates_or_unix_seconds() {
        for (text, seconds) in [
            ("2011-11-01T00:00:00", 1_320_105_600),
            ("2011-11-01 00:00:00.123", 1_320_105_600),
            ("2011-11-01T00:00:00.5+00:00", 1_320_105_600),
            ("2011-11-01T01:00:00+01:00", 1_320_105_600),
            ("2011-11-01", 1_320_105_600),
        ] {
            assert_eq!(unix_seconds(&Cell::Text(text.into())).unwrap(), seconds, "{text}");
        }
        assert_eq!(unix_seconds(&Cell::Int(7)).unwrap(), 7);
        assert!(unix_seconds(&Cell::Text("yesterday".into())).unwrap_err().contains("is no moment"));
        assert!(unix_seconds(&Cell::Null).is_err());
        let told = unix_seconds(&Cell::Text("1791977160".into())).unwrap_err();
        assert_eq!(
            told,
            "column `at`: the text `1791977160` is no moment; Unix seconds are a number: give a CAST of it"
        );
    }
}
