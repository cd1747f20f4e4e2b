//! Mistakes in files that people write, all of them in one pass, each with its place.

use std::{
    collections::HashSet,
    fmt,
    ops::Range,
    path::{Path, PathBuf},
};

use serde::de::DeserializeOwned;
use toml::{
    Spanned,
    de::{DeTable, DeValue, Deserializer},
};

/// One mistake, printed as `file:line:column: message`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file as it was named to us, or another source such as `environment`.
    pub file: PathBuf,
    /// Line and column in characters, from 1; absent when the mistake is the file itself.
    pub position: Option<(usize, usize)>,
    /// The reason and, where there is one, the likely meant word.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", in_words(&self.file.to_string_lossy()))?;
        if let Some((line, column)) = self.position {
            write!(f, ":{line}:{column}")?;
        }
        write!(f, ": {}", in_words(&self.message))
    }
}

/// Everything that is wrong, in the order of files and lines; as an error it means exit code 78.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    /// Adds a mistake that has no place within its file.
    pub fn push(&mut self, file: &Path, message: impl Into<String>) {
        self.0.push(Problem { file: file.to_owned(), position: None, message: message.into() });
    }

    /// Adds a mistake whose message may begin with the file's name and perhaps a place in it.
    pub fn push_told(&mut self, file: &Path, told: &str) {
        let message = told.strip_prefix(&format!("{}:", file.display())).unwrap_or(told);
        let mut pieces = message.splitn(3, ':');
        let mut number = || pieces.next()?.parse().ok();
        let position = (|| Some((number()?, number()?)))();
        let message = match (position, pieces.next()) {
            (Some(_), Some(rest)) => rest,
            _ => message,
        };
        self.0.push(Problem { file: file.to_owned(), position, message: message.trim_start().to_owned() });
    }

    /// `Err` with everything found so far, in reading order, or `Ok` when nothing was.
    pub fn into_result(mut self) -> Result<(), Self> {
        self.0.sort_by(|a, b| (&a.file, a.position).cmp(&(&b.file, b.position)));
        self.0.dedup();
        if self.0.is_empty() { Ok(()) } else { Err(self) }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// A TOML file and the mistakes found in it.
pub struct Document<'p> {
    path: PathBuf,
    text: String,
    /// Dotted paths of entries that were taken out because they were wrong: nobody needs to hear that they are missing.
    removed: HashSet<String>,
    /// How many were told.
    told: usize,
    problems: &'p mut Problems,
}

/// Nobody mends more mistakes of a file at once, and each costs another look at the whole file.
const MOST_TOLD: usize = 50;

impl<'p> Document<'p> {
    /// Wraps the text of a file; nothing is parsed yet.
    pub fn new(path: &Path, text: String, problems: &'p mut Problems) -> Self {
        Self { path: path.to_owned(), text, removed: HashSet::new(), told: 0, problems }
    }

    /// The file, as it was named to us.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file's text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Adds a mistake at a byte range of the text.
    pub fn problem(&mut self, span: Range<usize>, message: impl Into<String>) {
        if self.told < MOST_TOLD {
            let position = Some(position(&self.text, span.start));
            self.tell(self.path.clone(), position, message.into());
        } else {
            self.tell_of_more();
        }
    }

    /// Adds a mistake of another file or of this one as a whole.
    pub fn problem_in(&mut self, file: &Path, position: Option<(usize, usize)>, message: impl Into<String>) {
        if self.told < MOST_TOLD {
            self.tell(file.to_owned(), position, message.into());
        } else {
            self.tell_of_more();
        }
    }

    fn tell(&mut self, file: PathBuf, position: Option<(usize, usize)>, message: String) {
        self.told += 1;
        self.problems.0.push(Problem { file, position, message });
    }

    fn tell_of_more(&mut self) {
        if self.told == MOST_TOLD {
            self.told += 1;
            self.problems.push(&self.path, format!("more mistakes than the {MOST_TOLD} that are told"));
        }
    }

    /// True when the entry stands in the file but was wrong.
    pub fn was_wrong(&self, entry: &str) -> bool {
        self.removed.contains(entry)
    }

    /// Reads the text into a `T`. A wrong entry is reported, taken out and the rest read again, so that one pass finds
    /// every mistake and the caller can go on checking what is left; `None` when nothing could be read.
    pub fn read<T: DeserializeOwned>(&mut self) -> Option<T> {
        let text = std::mem::take(&mut self.text);
        let result = self.read_text(&text);
        self.text = text;
        result
    }

    fn read_text<T: DeserializeOwned>(&mut self, text: &str) -> Option<T> {
        let (mut table, errors) = DeTable::parse_recoverable(text);
        for error in &errors {
            if !self.report(text, error.span().unwrap_or(0..0), error.message().to_owned()) {
                break;
            }
        }
        if !errors.is_empty() {
            return None;
        }
        loop {
            let error = match T::deserialize(Deserializer::from(table.clone())) {
                Ok(value) => return Some(value),
                Err(error) => error,
            };
            let span = error.span().unwrap_or(0..0);
            let Some(entry) = take_entry(table.get_mut(), &span) else {
                self.report(text, span, error.message().to_owned());
                return None;
            };
            let message = explain(&entry, error.message());
            if !self.report(text, span, message) {
                return None;
            }
            self.removed.insert(entry);
        }
    }

    /// Tells a mistake in `text`; false when it is one too many.
    fn report(&mut self, text: &str, span: Range<usize>, message: String) -> bool {
        if self.told < MOST_TOLD {
            self.tell(self.path.clone(), Some(position(text, span.start)), message);
            return true;
        }
        self.tell_of_more();
        false
    }
}

/// Line and column in characters, from 1, of a byte offset.
pub fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = &text[..text.floor_char_boundary(offset.min(text.len()))];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

/// Removes the innermost entry that contains `span`; its dotted path.
fn take_entry(table: &mut DeTable<'_>, span: &Range<usize>) -> Option<String> {
    let holds = |outer: &Range<usize>| outer.start <= span.start && span.end <= outer.end;
    let (name, at_key) = table.iter().find_map(|(key, value)| {
        let at_key = holds(&key.span());
        // The header of a table spans its name only, so a child may lie outside of its parent.
        let inside = match value.get_ref() {
            DeValue::Table(inner) => holds(&value.span()) || contains(inner, span),
            _ => holds(&value.span()),
        };
        (at_key || inside).then(|| (key.get_ref().to_string(), at_key))
    })?;
    if !at_key
        && let Some(value) = table.get_mut(name.as_str())
        && let DeValue::Table(inner) = value.get_mut()
        && let Some(rest) = take_entry(inner, span)
    {
        return Some(format!("{name}.{rest}"));
    }
    table.remove(name.as_str());
    Some(name)
}

fn contains(table: &DeTable<'_>, span: &Range<usize>) -> bool {
    let holds = |outer: Range<usize>| outer.start <= span.start && span.end <= outer.end;
    table.iter().any(|(key, value)| {
        holds(key.span())
            || holds(value.span())
            || matches!(value.get_ref(), DeValue::Table(inner) if contains(inner, span))
    })
}

/// Serde's words for an unknown field become ours, with the likely meant one; other messages name their entry.
fn explain(entry: &str, message: &str) -> String {
    if let Some(words) = no_table(message) {
        return format!("`{entry}` {words} [{entry}]");
    }
    let message = &without_url(message);
    let mut quoted = message.split('`').skip(1).step_by(2);
    if message.starts_with("unknown field") {
        let word = quoted.next().unwrap_or(entry).to_owned();
        let known: Vec<&str> = quoted.collect();
        return unknown("key", &word, &known);
    }
    if message.starts_with("unknown variant") {
        let word = quoted.next().unwrap_or_default().to_owned();
        let known: Vec<&str> = quoted.collect();
        return format!("`{entry}`: {}", unknown("value", &word, &known));
    }
    format!("`{entry}`: {}", human(message))
}

/// What is said of a value where a table should be; the value, which may be a URL with its password, is not. The table's
/// name is to follow.
pub fn no_table(message: &str) -> Option<&'static str> {
    let is_one = message.starts_with("invalid type") && !message.starts_with("invalid type: map");
    let wants_one = message.contains("expected struct ") || message.contains("expected a map");
    (is_one && wants_one).then_some("is a table: what belongs to it stands under")
}

/// A message that quotes a value, without what a URL in it may hold of secrets. It may be no valid one, so that nobody knows
/// where in it they are.
pub fn without_url(message: &str) -> String {
    let Some((before, after)) = message.split_once("://") else { return message.to_owned() };
    let quote = before.chars().rev().find(|c| matches!(c, '"' | '`'));
    let rest = quote.and_then(|quote| after.rfind(quote)).map_or("", |end| &after[end..]);
    format!("{before}://...{rest}")
}

/// What the file format calls things, in the words of people.
pub fn human(message: &str) -> String {
    let words = [
        ("a nonzero u32", "a whole number from 1"),
        ("a nonzero u64", "a whole number from 1"),
        ("expected usize", "expected a whole number"),
        ("expected u32", "expected a whole number"),
        ("expected f64", "expected a number"),
        ("u64 value was too large", "the number is too large"),
        ("sequence", "array"),
        ("type: map", "type: table"),
        ("expected a map", "expected a table"),
    ];
    words.iter().fold(message.to_owned(), |message, (from, to)| message.replace(from, to))
}

/// "unknown key `tttl`, did you mean `ttl`?", or the list of what is known when nothing is near.
pub fn unknown<S: AsRef<str>>(what: &str, word: &str, known: &[S]) -> String {
    let word = &*without_url(word);
    match nearest(word, known) {
        Some(meant) => format!("unknown {what} `{word}`, did you mean `{meant}`?"),
        None if known.is_empty() => format!("unknown {what} `{word}`"),
        None => {
            let list: Vec<String> = known.iter().map(|name| format!("`{}`", name.as_ref())).collect();
            format!("unknown {what} `{word}`; known here: {}", list.join(", "))
        }
    }
}

/// The known word that differs from `word` by a slip of the fingers.
pub fn nearest<'k, S: AsRef<str>>(word: &str, known: &'k [S]) -> Option<&'k str> {
    // Words of very different length need no comparison, which costs the product of both.
    let length = word.chars().take(100).count();
    known
        .iter()
        .filter(|name| name.as_ref().chars().count().abs_diff(length) <= (name.as_ref().chars().count() / 3).max(1))
        .map(|name| (strsim::damerau_levenshtein(&word.to_lowercase(), &name.as_ref().to_lowercase()), name.as_ref()))
        .filter(|(distance, name)| *distance <= (name.chars().count() / 3).max(1))
        .min()
        .map(|(_, name)| name)
}

/// Longer ones quote a value, and a value may have any length.
const LONGEST_MESSAGE: usize = 2_000;

/// A message as it may stand in a log, on a terminal and in a database. Names, values and servers' words are part of it:
/// what would steer a terminal, begin another line or turn the direction of the text round is spelt out.
pub fn in_words(message: &str) -> String {
    let mut words = String::with_capacity(message.len().min(LONGEST_MESSAGE));
    for (nth, c) in message.chars().enumerate() {
        if nth == LONGEST_MESSAGE {
            words.push_str(" ...");
            break;
        }
        let turns =
            matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        match c.is_control() || turns {
            true => words.extend(c.escape_default()),
            false => words.push(c),
        }
    }
    words
}

/// A value and where it stands in its file.
pub type At<T> = Spanned<T>;
