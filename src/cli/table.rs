//! Tables for people.

use std::{fmt, time::Duration};

use console::measure_text_width;
use indicatif::{HumanBytes, HumanCount};

use super::style;
use crate::record::{Outcome, Record};

/// A table without lines. Its cells may be painted.
pub(super) struct Table {
    /// The header's first.
    rows: Vec<Vec<String>>,
    /// Columns of numbers.
    right: Vec<usize>,
}

/// A table of these columns; those named in `right` are numbers.
pub(super) fn new(headers: &[&str], right: &[usize]) -> Table {
    Table { rows: vec![headers.iter().map(|header| header.to_uppercase()).collect()], right: right.to_vec() }
}

impl Table {
    pub fn add_row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or_default();
        let cells = |column: usize| self.rows.iter().filter_map(move |row| row.get(column));
        let widths: Vec<usize> =
            (0..columns).map(|column| cells(column).map(|cell| measure_text_width(cell)).max().unwrap_or(0)).collect();
        for (nth, row) in self.rows.iter().enumerate() {
            let mut line = String::new();
            for (column, cell) in row.iter().enumerate() {
                let padding = " ".repeat(widths[column] - measure_text_width(cell));
                let (before, after) = if self.right.contains(&column) { (&*padding, "") } else { ("", &*padding) };
                line.extend([" ", before, cell.as_str(), after, " "]);
            }
            let end = if nth + 1 < self.rows.len() { "\n" } else { "" };
            write!(f, "{}{end}", line.trim_end())?;
        }
        Ok(())
    }
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
        table.add_row(row(&record.job, style::outcome(record.outcome), std::slice::from_ref(record)));
    }
    if records.len() > 1 {
        let all_well = records.iter().all(|record| record.outcome == Outcome::Ok);
        table.add_row(row("all", if all_well { style::outcome(Outcome::Ok) } else { String::new() }, records));
    }
    table.to_string()
}

fn row(name: &str, outcome: String, records: &[Record]) -> Vec<String> {
    let sum = |count: fn(&Record) -> u64| records.iter().map(count).sum::<u64>();
    let seconds: f64 = records.iter().map(|record| record.seconds).sum();
    let written = sum(|record| record.counts.written);
    vec![
        name.to_owned(),
        outcome,
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

/// A share in words, rounded down: what is not all is less than 100 %.
pub(super) fn share(share: f64) -> String {
    // A share that is a whole number of thousandths may be a little less in binary.
    format!("{} %", (share * 1000.0 + 1e-9).floor() / 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn painted_cells_and_wide_letters_stand_below_their_headers() {
        let mut table = new(&["job", "outcome", "keys"], &[2]);
        table.add_row(["ключ".to_owned(), style::outcome(Outcome::Ok), "1,000".to_owned()]);
        table.add_row(["鍵".to_owned(), "interrupted".to_owned(), "7".to_owned()]);
        let plain = anstream::adapter::strip_str(&table.to_string()).to_string();
        assert_eq!(plain, " JOB   OUTCOME       KEYS\n ключ  ok           1,000\n 鍵    interrupted      7");
        assert!(table.to_string().contains("\u{1b}[32mok\u{1b}[0m "));
    }

    #[test]
    fn a_share_is_whole_only_when_nothing_is_missing() {
        for (number, words) in
            [(1.0, "100 %"), (0.99996, "99.9 %"), (0.93, "93 %"), (0.29, "29 %"), (0.1234, "12.3 %"), (0.0, "0 %")]
        {
            assert_eq!(share(number), words);
        }
    }
}
