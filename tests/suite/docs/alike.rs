//! Whether a program prints what the documentation shows, in all that does not differ from run to run.

/// Which numbers must be the same.
#[derive(Clone, Copy, PartialEq)]
pub enum Numbers {
    /// Those that count something. Times, sizes and decimals are measured.
    Counted,
    None,
}

/// Columns of tables that are measured, or go by the clock.
const MEASURED: [&str; 7] = ["BYTES", "TIME", "KEYS/S", "AT QUOTA", "FINISHED", "NEXT", "NEXT TICKS"];

/// Compares line by line. A line `...` stands for any number of lines, the same at the end of a line for the rest of it.
/// That a run backed off is told rightly on a busy machine, and not compared.
pub fn compare(shown: &[String], told: &str, numbers: Numbers) -> Result<(), String> {
    let told = told.lines().filter(|line| !line.contains(": backed off for "));
    let (shown, told) = (lines(shown.iter().map(String::as_str), numbers), lines(told, numbers));
    let mut rest = told.iter();
    let mut may_skip = false;
    for expected in &shown {
        if expected == "..." {
            may_skip = true;
            continue;
        }
        let found = if may_skip { rest.find(|line| is_like(expected, line)) } else { rest.next() };
        if !found.is_some_and(|line| is_like(expected, line)) {
            return Err(format!("not as shown: {expected:?} is {found:?}\nshown {shown:#?}\ntold {told:#?}"));
        }
        may_skip = false;
    }
    match rest.next() {
        Some(line) if !may_skip => Err(format!("not shown: {line:?}\nshown {shown:#?}\ntold {told:#?}")),
        _ => Ok(()),
    }
}

fn is_like(shown: &str, told: &str) -> bool {
    match shown.strip_suffix("...") {
        Some(start) => told.starts_with(start.trim_end()),
        None => shown == told,
    }
}

/// The lines, with what may differ made the same.
fn lines<'l>(lines: impl Iterator<Item = &'l str>, numbers: Numbers) -> Vec<String> {
    let mut headers: Vec<&str> = Vec::new();
    let mut same = Vec::new();
    for line in lines {
        let cells: Vec<&str> = line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
        let is_header = |cell: &&str| cell.chars().all(|c| c.is_ascii_uppercase() || c == '/' || c == ' ');
        if line.starts_with(['{', '[']) {
            same.push(shape(line));
        } else if cells.len() > 1 && cells.iter().all(is_header) {
            same.push(cells.join(" | "));
            headers = cells;
        } else if !headers.is_empty() && line.starts_with(' ') {
            let cell = |(nth, cell): (usize, &&str)| match headers.get(nth) {
                Some(header) if MEASURED.contains(header) => String::new(),
                _ => words(cell, numbers),
            };
            same.push(cells.iter().enumerate().map(cell).collect::<Vec<_>>().join(" | "));
        } else {
            headers.clear();
            same.push(words(line, numbers));
        }
    }
    same
}

fn words(text: &str, numbers: Numbers) -> String {
    let word = |word: &str| {
        let core = word.trim_matches(['(', ')', ',', ':', '.', ';']);
        let is_unit = matches!(core, "B" | "KiB" | "MiB" | "GiB");
        match core {
            // A word of nothing but signs, such as `...`.
            "" => word.to_owned(),
            _ if core.chars().all(|c| ('▁'..='█').contains(&c)) => String::new(),
            _ if core.starts_with("http://127.0.0.1:") || core.starts_with("unix:/") => word.replace(core, "<address>"),
            _ if is_unit => word.replace(core, "<unit>"),
            _ if is_time(core) => word.replace(core, "<time>"),
            _ if is_moment(core) => word.replace(core, "<moment>"),
            _ if is_number(core) && (numbers == Numbers::None || core.contains('.')) => word.replace(core, "<number>"),
            _ => word.to_owned(),
        }
    };
    let words = text.split_whitespace().map(word).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(" ")
}

/// `41.30s`, `1m2s`
fn is_time(word: &str) -> bool {
    let mut rest = word;
    while !rest.is_empty() {
        let digits = rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
        let after = digits.trim_start_matches(|c: char| c.is_ascii_lowercase());
        let unit = &digits[..digits.len() - after.len()];
        if digits.len() == rest.len() || !matches!(unit, "ms" | "s" | "m" | "h" | "d" | "w") {
            return false;
        }
        rest = after;
    }
    !word.is_empty()
}

/// `19:15:00`, `2026-11-26`
fn is_moment(word: &str) -> bool {
    let parts: Vec<&str> = word.split(['-', ':']).collect();
    parts.len() > 1 && parts.iter().all(|part| part.len() >= 2 && part.chars().all(|c| c.is_ascii_digit()))
}

fn is_number(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_digit()) && word.chars().all(|c| c.is_ascii_digit() || ".,%".contains(c))
}

/// JSON with its names and the kinds of its values.
pub fn shape(json: &str) -> String {
    let (mut shape, mut rest) = (String::new(), json);
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '"' => 2 + rest[1..].find('"').unwrap_or(rest.len() - 2),
            '-' | '0'..='9' => rest.find(|c: char| !"+-.eE".contains(c) && !c.is_ascii_digit()).unwrap_or(rest.len()),
            _ => first.len_utf8(),
        };
        let (token, after) = rest.split_at(length);
        match first {
            '"' if !after.starts_with(':') => shape.push_str("<text>"),
            '-' | '0'..='9' => shape.push_str("<number>"),
            _ => shape.push_str(token),
        }
        rest = after;
    }
    shape
}

#[test]
fn what_differs_from_run_to_run_is_alike_and_what_is_wrong_is_not() {
    let alike = |shown: &str, told: &str, numbers: Numbers| {
        compare(&shown.lines().map(str::to_owned).collect::<Vec<_>>(), told, numbers).is_ok()
    };
    let shown = " JOB  KEYS    BYTES   TIME\n a      30  1.5 KiB  388ms\nready after 41.30s: 1 job, 30 of 30 keys";
    let told = " JOB    KEYS  BYTES  TIME\n a  30  0 B  1m2s\nready after 5ms: 1 job, 30 of 30 keys";
    assert!(alike(shown, told, Numbers::Counted));
    for (right, wrong) in
        [("  30  ", "  31  "), ("KEYS ", "KEY "), ("ready", "not ready"), ("5ms", "soon"), (" 1 ", " 2 ")]
    {
        assert!(!alike(shown, &told.replacen(right, wrong, 1), Numbers::Counted), "{wrong}");
    }
    assert!(alike("1 of 20 keys, 5 %", "17 of 300 keys, 6 %", Numbers::None));
    assert!(!alike("1 of 20 keys, 5 %", "17 of all keys, 6 %", Numbers::None));
    assert!(alike("a\n...\nd e ...", "a\nb\nc\nd e f", Numbers::Counted));
    assert!(alike("a\nb", "a\njob: backed off for 1.2s from a slow Redis\nb", Numbers::Counted));
    assert!(!alike("a\n...\nd e ...", "a\nb\nc\nd f", Numbers::Counted) && !alike("a", "a\nb", Numbers::Counted));
    assert!(alike("{\"a\":1.5,\"b\":\"x\", ...", "{\"a\":-2,\"b\":\"y z\",\"c\":null}", Numbers::Counted));
    assert!(!alike("{\"a\":1.5}", "{\"a\":\"1.5\"}", Numbers::Counted));
}
