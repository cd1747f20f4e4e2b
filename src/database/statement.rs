//! SQL with named parameters, and its translation to an engine's placeholders.

use std::{collections::HashMap, fmt::Write as _, ops::Range};

use super::{Argument, Arguments, Engine, Error, Value, lexer};

/// A `:name` in a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// The name without the colon.
    pub name: String,
    /// Line and column of the colon, from 1, in characters.
    pub position: (usize, usize),
}

/// A statement as the user wrote it, taken apart at its parameters.
#[derive(Debug, Clone)]
pub struct Statement {
    engine: Engine,
    /// Without the closing `;` and what stands behind it; the beginning is as written, so positions hold.
    sql: String,
    /// Byte offset of the first word.
    start: usize,
    parameters: Vec<Parameter>,
    places: Vec<Range<usize>>,
}

/// The most values that one statement can bind.
fn most_binds(engine: Engine) -> usize {
    match engine {
        // The protocols count in 16 bits.
        Engine::Postgres | Engine::MySql => 65_535,
        // SQLITE_MAX_VARIABLE_NUMBER
        Engine::Sqlite => 32_766,
    }
}

impl Statement {
    /// Finds the parameters; refuses what can never run, with the place (line, column) and the reason.
    pub fn parse(sql: &str, engine: Engine) -> Result<Self, ((usize, usize), String)> {
        let scan = lexer::scan(sql, engine).map_err(|(at, reason)| (line_and_column(sql, at), reason))?;
        let mut walk = Walk { rest: sql, at: 0, line: 1, column: 1 };
        let parameters = scan.parameters.iter().map(|place| Parameter {
            name: sql[place.start + 1..place.end].to_owned(),
            position: walk.to(place.start),
        });
        Ok(Self {
            engine,
            start: scan.start,
            parameters: parameters.collect(),
            sql: sql[..scan.end].to_owned(),
            places: scan.parameters,
        })
    }

    /// Every occurrence of a parameter, in order.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// The engine whose dialect the statement is in.
    pub fn engine(&self) -> Engine {
        self.engine
    }

    /// The statement in the engine's own words, with the values that it binds; without arguments, one placeholder for
    /// each parameter.
    ///
    /// `casts` gives, by the index of a bind, what stands behind its placeholder.
    pub(super) fn render<'a>(
        &'a self,
        arguments: Option<&'a Arguments>,
        casts: &HashMap<usize, String>,
    ) -> Result<Rendered<'a>, Error> {
        let mut rendered = Rendered {
            sql: String::new(),
            binds: Vec::new(),
            pieces: Vec::new(),
            original: &self.sql,
            start: self.start,
        };
        let mut known: HashMap<&str, Range<usize>> = HashMap::new();
        let mut copied = 0;
        for (parameter, place) in self.parameters.iter().zip(&self.places) {
            rendered.push(copied, &self.sql[copied..place.start], true);
            copied = place.end;
            let slots = match known.get(parameter.name.as_str()) {
                // A MySQL placeholder has no number, so its value is bound again.
                Some(slots) if self.engine != Engine::MySql => slots.clone(),
                _ => {
                    let start = rendered.binds.len();
                    rendered.binds.extend(self.values(parameter, arguments)?);
                    known.insert(&parameter.name, start..rendered.binds.len());
                    start..rendered.binds.len()
                }
            };
            rendered.push(place.start, &self.placeholders(slots, casts), false);
        }
        rendered.push(copied, &self.sql[copied..], true);
        if rendered.binds.len() > most_binds(self.engine) {
            let (bound, most) = (rendered.binds.len(), most_binds(self.engine));
            return Err(Error::permanent(format!("{bound} values are more than the {most} that a statement can bind")));
        }
        Ok(rendered)
    }

    fn values<'a>(&self, parameter: &'a Parameter, arguments: Option<&'a Arguments>) -> Result<Vec<Bind<'a>>, Error> {
        let name = parameter.name.as_str();
        let refuse = |reason| Err(Error { position: Some(parameter.position), ..Error::permanent(reason) });
        match arguments.map(|arguments| arguments.get(name)) {
            None => Ok(vec![Bind { name, value: None }]),
            Some(None) => refuse(format!("no value for the parameter :{name}")),
            Some(Some(Argument::One(value))) => Ok(vec![Bind { name, value: Some(value) }]),
            Some(Some(Argument::Many(values))) if values.is_empty() => {
                refuse(format!("the list for the parameter :{name} is empty"))
            }
            Some(Some(Argument::Many(values))) => {
                Ok(values.iter().map(|value| Bind { name, value: Some(value) }).collect())
            }
        }
    }

    fn placeholders(&self, slots: Range<usize>, casts: &HashMap<usize, String>) -> String {
        let mut list = String::new();
        for (nth, slot) in slots.enumerate() {
            let comma = if nth == 0 { "" } else { ", " };
            let number = slot + 1;
            let cast = casts.get(&slot).map_or("", String::as_str);
            let written = match self.engine {
                Engine::Postgres => write!(list, "{comma}${number}{cast}"),
                Engine::MySql => write!(list, "{comma}?"),
                Engine::Sqlite => write!(list, "{comma}?{number}"),
            };
            debug_assert!(written.is_ok(), "a String takes all text");
        }
        list
    }
}

/// One bound value; none when a statement is only prepared.
#[derive(Clone, Copy)]
pub(super) struct Bind<'a> {
    pub name: &'a str,
    pub value: Option<&'a Value>,
}

/// A statement with the engine's placeholders.
pub(super) struct Rendered<'a> {
    pub sql: String,
    pub binds: Vec<Bind<'a>>,
    pieces: Vec<Piece>,
    original: &'a str,
    /// Byte offset of the first word.
    start: usize,
}

/// A stretch of the rendered text and where it comes from.
struct Piece {
    /// Byte offset in the rendered text.
    rendered: usize,
    /// Byte offset in the user's text.
    original: usize,
    /// Copied as it was; otherwise placeholders for one parameter.
    copied: bool,
}

impl Rendered<'_> {
    fn push(&mut self, original: usize, text: &str, copied: bool) {
        self.pieces.push(Piece { rendered: self.sql.len(), original, copied });
        self.sql.push_str(text);
    }

    /// Line and column in the user's text of a character (from 0) of the rendered text.
    pub fn position(&self, character: usize) -> Option<(usize, usize)> {
        // "At the end of the input" is the place behind the last character.
        let byte = self.sql.char_indices().nth(character).map_or(self.sql.len(), |(byte, _)| byte);
        let piece = self.pieces.iter().rfind(|piece| piece.rendered <= byte)?;
        let inside = if piece.copied { byte - piece.rendered } else { 0 };
        Some(line_and_column(self.original, piece.original + inside))
    }

    /// Whether the statement begins as one that writes, which servers refuse in a read-only transaction.
    fn is_write(&self) -> bool {
        const WRITES: [&str; 9] =
            ["insert", "update", "delete", "replace", "create", "alter", "drop", "truncate", "with"];
        let word = self.sql[self.start..].split(|c: char| !c.is_alphabetic()).next().unwrap_or_default();
        WRITES.contains(&word.to_ascii_lowercase().as_str())
    }

    /// Refuses a statement that gives no rows, unless the server is sure to refuse it when it runs, in its own words.
    /// Nothing else may run: `SELECT .. INTO OUTFILE` and `VACUUM INTO` write past a read-only transaction.
    pub fn refuse_without_rows(&self, columns: &[String], runs: bool) -> Result<(), Error> {
        if !columns.is_empty() || runs && self.is_write() {
            return Ok(());
        }
        Err(Error::permanent("the statement gives no rows; a job reads with SELECT"))
    }

    /// The place of a word that stands in the user's text exactly once.
    pub fn find_once(&self, word: &str) -> Option<(usize, usize)> {
        let bounded = |at: usize| {
            let is_word = |c: char| c == '_' || c.is_alphanumeric();
            let inner = word.chars().next().is_some_and(is_word);
            !inner
                || !self.original[..at].chars().next_back().is_some_and(is_word)
                    && !self.original[at + word.len()..].chars().next().is_some_and(is_word)
        };
        let mut places = self.original.match_indices(word).map(|(at, _)| at).filter(|&at| bounded(at));
        let first = places.next().filter(|_| !word.is_empty())?;
        places.next().is_none().then(|| line_and_column(self.original, first))
    }
}

/// Line and column of one offset after the other, so that a long statement is read once and not once a parameter.
struct Walk<'s> {
    rest: &'s str,
    at: usize,
    line: usize,
    column: usize,
}

impl Walk<'_> {
    fn to(&mut self, offset: usize) -> (usize, usize) {
        let (passed, rest) = self.rest.split_at(offset - self.at);
        (self.rest, self.at) = (rest, offset);
        for c in passed.chars() {
            (self.line, self.column) = if c == '\n' { (self.line + 1, 1) } else { (self.line, self.column + 1) };
        }
        (self.line, self.column)
    }
}

/// Line and column, from 1 and in characters, of a byte offset.
fn line_and_column(text: &str, at: usize) -> (usize, usize) {
    let before = &text[..at];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}
