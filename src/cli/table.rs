//! Tables for people.

use std::time::Duration;

use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets};
use indicatif::{HumanBytes, HumanCount};

use crate::record::{Outcome, Record};

/// A table without lines; the columns named in `right` are numbers.
pub(super) fn new(headers: &[&str], right: &[usize]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(headers.iter().map(|header| Cell::new(header.to_uppercase())));
    for column in right {
        if let Some(column) = table.column_mut(*column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// What runs did: a row a run, and their sum where there are several.
pub(super) fn summary(records: &[Record]) -> String {
    let headers = [
        "job",
        "outcome",
        "targets",
        "keys",
        "fresh",
        "warmed",
        "empty",
        "failed",
        "bytes",
        "time",
        "keys/s",
        "statements",
    ];
    let mut table = new(&headers, &(2..headers.len()).collect::<Vec<_>>());
    for record in records {
        table.add_row(row(&record.job, &record.outcome.to_string(), std::slice::from_ref(record)));
    }
    if records.len() > 1 {
        let worst = if records.iter().all(|record| record.outcome == Outcome::Ok) { "ok" } else { "" };
        table.add_row(row("all", worst, records));
    }
    table.trim_fmt()
}

fn row(name: &str, outcome: &str, records: &[Record]) -> Vec<String> {
    let sum = |count: fn(&Record) -> u64| records.iter().map(count).sum::<u64>();
    let seconds: f64 = records.iter().map(|record| record.seconds).sum();
    let written = sum(|record| record.counts.written);
    vec![
        name.to_owned(),
        outcome.to_owned(),
        number(sum(|record| record.counts.targets)),
        number(sum(|record| record.counts.keys)),
        number(sum(|record| record.counts.fresh)),
        number(written),
        number(sum(|record| record.counts.empty)),
        number(sum(|record| record.counts.failed)),
        bytes(sum(|record| record.bytes)),
        time(seconds),
        if written > 0 && seconds > 0.0 { number((written as f64 / seconds).round() as u64) } else { "-".to_owned() },
        number(sum(|record| record.queries)),
    ]
}

pub(super) fn number(number: u64) -> String {
    HumanCount(number).to_string()
}

/// "1 key", "2 keys".
pub(super) fn count(count: u64, what: &str) -> String {
    format!("{} {what}{}", number(count), if count == 1 { "" } else { "s" })
}

pub(super) fn bytes(bytes: u64) -> String {
    HumanBytes(bytes).to_string()
}

/// Seconds in three digits, minutes beyond.
pub(super) fn time(seconds: f64) -> String {
    match seconds {
        s if s < 1.0 => format!("{:.0}ms", s * 1000.0),
        s if s < 100.0 => format!("{s:.2}s"),
        s => crate::job::duration::Span(Duration::from_secs(s.round() as u64)).to_string(),
    }
}
