//! Sparklines: past runs as lines of blocks, a block a run.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::{style, table};
use crate::record::{Outcome, Record};

/// Where a plot is drawn.
pub(super) struct Canvas {
    columns: usize,
    levels: [char; 8],
}

const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The fuller, the more.
const LETTERS: [char; 8] = ['.', ':', '-', '=', '+', '*', '#', '@'];

/// Where nobody says how wide it is.
const COLUMNS: usize = 80;

/// Fewer blocks show nothing.
const FEWEST: usize = 8;

impl Canvas {
    /// The terminal behind stdout, with the letters of the locale.
    pub fn of_stdout() -> Self {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let columns = console::Term::stdout()
            .size_checked()
            .map(|(_, columns)| usize::from(columns))
            .or_else(|| variable("COLUMNS")?.parse().ok())
            .filter(|columns| *columns > 0);
        Self { columns: columns.unwrap_or(COLUMNS), levels: levels(variable) }
    }
}

/// The blocks, where the locale has them: the first of its three variables that is set says so.
fn levels(variable: impl Fn(&str) -> Option<String>) -> [char; 8] {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(variable).unwrap_or_default();
    let charset = locale.split_once('.').map_or("", |(_, charset)| charset).to_ascii_lowercase();
    if charset.starts_with("utf-8") || charset.starts_with("utf8") { BLOCKS } else { LETTERS }
}

/// A number of each run, where it has one.
struct Series {
    name: &'static str,
    values: Vec<Option<f64>>,
    /// What a full block stands for; the largest value, when nothing is known of it.
    full: Option<f64>,
    shown: fn(f64) -> String,
}

/// Job by job, from the oldest run to the newest.
pub(super) fn plot(records: &[Record], canvas: &Canvas) -> String {
    let mut jobs: BTreeMap<&str, Vec<&Record>> = BTreeMap::new();
    for record in records.iter().filter(|record| record.outcome != Outcome::Skipped) {
        jobs.entry(&record.job).or_default().push(record);
    }
    let mut plots = Vec::new();
    for (job, mut runs) in jobs {
        runs.sort_by_key(|run| run.started);
        let mut lines = vec![heading(job, &runs)];
        lines.extend(lines_of(&series(&runs), canvas));
        plots.push(lines.join("\n"));
    }
    plots.join("\n\n")
}

fn heading(job: &str, runs: &[&Record]) -> String {
    let moment = |moment: DateTime<Utc>| moment.format("%Y-%m-%d %H:%M");
    let mut heading = format!("{job}: {}", table::count(runs.len() as u64, "run"));
    if let [first, .., last] = runs {
        heading.push_str(&format!(" from {} to {} UTC", moment(first.started), moment(last.started)));
    } else if let [only] = runs {
        heading.push_str(&format!(" at {} UTC", moment(only.started)));
    }
    for outcome in [Outcome::Partial, Outcome::Failed, Outcome::Refused, Outcome::Interrupted] {
        let count = runs.iter().filter(|run| run.outcome == outcome).count();
        if count > 0 {
            heading.push_str(&format!(", {} {}", table::number(count as u64), style::outcome(outcome)));
        }
    }
    heading
}

fn series(runs: &[&Record]) -> [Series; 4] {
    let of = |value: fn(&Record) -> Option<f64>| runs.iter().map(|run| value(run)).collect();
    let whole = |number: f64| table::number(number.round() as u64);
    [
        Series { name: "time", values: of(|run| Some(run.seconds)), full: None, shown: table::time },
        Series { name: "written", values: of(|run| Some(run.counts.written as f64)), full: None, shown: whole },
        Series {
            name: "keys/s",
            values: of(|run| Some(run.keys_per_second).filter(|_| run.counts.written > 0)),
            full: None,
            shown: whole,
        },
        Series { name: "read", values: of(|run| run.reads.share()), full: Some(1.0), shown: table::share },
    ]
}

fn lines_of(series: &[Series], canvas: &Canvas) -> Vec<String> {
    let names = series.iter().map(|series| series.name.len()).max().unwrap_or_default();
    let said: Vec<String> = series.iter().map(Series::said).collect();
    let beside = names + 4 + said.iter().map(String::len).max().unwrap_or_default();
    let is_narrow = canvas.columns < beside + FEWEST;
    let taken = if is_narrow { names + 2 } else { beside };
    let room = canvas.columns.saturating_sub(taken).max(FEWEST);
    let mut lines = Vec::new();
    for (series, said) in series.iter().zip(said) {
        let drawn = series.drawn(room, canvas.levels);
        // Beside the line where there is room, else below it.
        let between = if is_narrow { format!("\n {:names$} ", "") } else { "  ".to_owned() };
        lines.push(format!(" {:names$} {drawn}{between}{said}", series.name));
    }
    lines
}

impl Series {
    /// The least, the middle and the largest, in words.
    fn said(&self) -> String {
        let mut known: Vec<f64> = self.values.iter().copied().flatten().collect();
        known.sort_by(f64::total_cmp);
        let (Some(min), Some(max)) = (known.first(), known.last()) else { return "unknown".to_owned() };
        let middle = known.len() / 2;
        let median = if known.len() % 2 == 1 { known[middle] } else { (known[middle - 1] + known[middle]) / 2.0 };
        let shown = self.shown;
        format!("min {}  median {}  max {}", shown(*min), shown(median), shown(*max))
    }

    /// A block for each value, for several where there are more than blocks: then their average. What is unknown is
    /// left out.
    fn drawn(&self, room: usize, levels: [char; 8]) -> String {
        let count = self.values.len();
        let blocks = count.min(room);
        let full = self.full.unwrap_or_else(|| self.values.iter().copied().flatten().fold(0.0, f64::max));
        let block = |nth: usize| {
            let known: Vec<f64> =
                self.values[nth * count / blocks..(nth + 1) * count / blocks].iter().copied().flatten().collect();
            if known.is_empty() {
                return ' ';
            }
            let average = known.iter().sum::<f64>() / known.len() as f64;
            let share = if full > 0.0 { (average / full).clamp(0.0, 1.0) } else { 0.0 };
            levels[(share * 7.0).round() as usize]
        };
        (0..blocks).map(block).collect()
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;
    use crate::record::{Cause, Reads};

    const CANVAS: Canvas = Canvas { columns: 80, levels: BLOCKS };

    /// Runs a minute apart, the newest first, as the history gives them: seconds, keys written, keys read of a hundred.
    fn runs(job: &str, numbers: &[(f64, u64, Option<u64>)]) -> Vec<Record> {
        let began: DateTime<Utc> = "2026-11-26T10:00:00Z".parse().unwrap();
        let mut records: Vec<Record> = (0..)
            .zip(numbers)
            .map(|(minute, (seconds, written, read))| {
                let why = (Outcome::Skipped, Cause::Overlap, String::new());
                let mut record = Record::without_run(job, "a", None, began + TimeDelta::minutes(minute), why);
                record.outcome = Outcome::Ok;
                (record.seconds, record.counts.written) = (*seconds, *written);
                record.keys_per_second = *written as f64 / seconds;
                record.reads = read.map_or(Reads::default(), |read| Reads { sampled: 100, read });
                record
            })
            .collect();
        records.reverse();
        records
    }

    #[test]
    fn runs_are_drawn_from_the_oldest_to_the_newest_and_what_is_unknown_is_left_out() {
        let mut records = runs("users", &[(1.0, 10, None), (2.0, 0, Some(50)), (4.0, 40, Some(100))]);
        records[2].outcome = Outcome::Failed;
        records.extend(runs("skipped", &[(1.0, 1, None)]).into_iter().map(|mut record| {
            record.outcome = Outcome::Skipped;
            record
        }));
        let plain = anstream::adapter::strip_str(&plot(&records, &CANVAS)).to_string();
        assert_eq!(
            plain,
            "users: 3 runs from 2026-11-26 10:00 to 2026-11-26 10:02 UTC, 1 failed\n \
             time    ▃▅█  min 1.00s  median 2.00s  max 4.00s\n \
             written ▃▁█  min 0  median 10  max 40\n \
             keys/s  █ █  min 10  median 10  max 10\n \
             read     ▅█  min 50 %  median 75 %  max 100 %"
        );
    }

    #[test]
    fn many_runs_share_the_blocks_of_a_terminal_and_keep_to_its_width() {
        let numbers: Vec<_> = (0..1000).map(|nth| (if nth < 500 { 1.0 } else { 8.0 }, 1, None)).collect();
        let records = runs("users", &numbers);
        for columns in [200, 80, 61, 40, 20] {
            let plot = plot(&records, &Canvas { columns, levels: BLOCKS });
            let mut lines = plot.lines().skip(1);
            assert!(
                lines.clone().all(|line| console::measure_text_width(line) <= columns.max(45)),
                "{columns}\n{plot}"
            );
            let time: String = lines.next().unwrap().chars().filter(|c| BLOCKS.contains(c)).collect();
            let blocks = time.chars().count();
            assert!(blocks >= FEWEST && time.chars().filter(|block| *block == '█').count() == blocks / 2, "{time}");
        }
    }

    #[test]
    fn nothing_written_and_nothing_known_are_drawn_too() {
        let plain = plot(&runs("idle", &[(0.0, 0, None)]), &CANVAS);
        assert_eq!(
            plain,
            "idle: 1 run at 2026-11-26 10:00 UTC\n time    ▁  min 0ms  median 0ms  max 0ms\n \
             written ▁  min 0  median 0  max 0\n keys/s     unknown\n read       unknown"
        );
        assert_eq!(plot(&[], &CANVAS), "");
    }

    #[test]
    fn a_locale_without_utf_8_gets_letters() {
        let of = |set: &[(&str, &str)]| {
            levels(|name| set.iter().find(|(set, _)| *set == name).map(|(_, value)| (*value).to_owned())) == BLOCKS
        };
        assert!(of(&[("LANG", "de_DE.UTF-8")]) && of(&[("LC_ALL", "C.utf8"), ("LANG", "C")]));
        assert!(of(&[("LC_CTYPE", "en_US.utf-8@euro"), ("LANG", "C")]));
        assert!(!of(&[]) && !of(&[("LANG", "C")]) && !of(&[("LC_ALL", "POSIX"), ("LANG", "de_DE.UTF-8")]));
        assert!(!of(&[("LANG", "de_DE.ISO-8859-1")]));
    }
}
