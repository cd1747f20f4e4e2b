//! A job's statement: from `sql = "..."` in its file to one whose parameters are all provided.

use std::{
    collections::BTreeMap,
    ops::Range,
    path::{Path, PathBuf},
    time::Duration,
};

use chrono::{DateTime, Utc};

use crate::{
    database::{Argument, Arguments, Engine, Statement, Value},
    files,
    problems::{At, Document, nearest},
};

/// A statement in its file, with the values that its table provides.
#[derive(Debug, Clone)]
pub struct Sql {
    /// Where the statement stands.
    pub origin: Origin,
    /// The statement as it was written.
    pub text: String,
    /// The statement itself.
    pub statement: Statement,
    /// `:limit`
    pub limit: Option<u32>,
    /// `:since` is `:now` minus this.
    pub window: Option<Duration>,
}

/// A statement's place: a file of its own, or inside a job file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The file.
    pub file: PathBuf,
    /// Line and column of its first character, from 1.
    pub start: (usize, usize),
}

impl Origin {
    /// A place in the statement as a place in the file.
    pub fn place(&self, (line, column): (usize, usize)) -> (usize, usize) {
        (self.start.0 + line - 1, if line == 1 { self.start.1 + column - 1 } else { column })
    }
}

/// Whether two statements ask the same at the same moment, wherever they stand.
impl PartialEq for Sql {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
            && (self.window == other.window || !self.uses("since"))
            && (self.limit == other.limit || !self.uses("limit"))
    }
}

impl Sql {
    /// The values of `:now`, `:since` and `:limit`.
    pub fn arguments(&self, now: DateTime<Utc>) -> Arguments {
        let mut arguments = BTreeMap::from([("now".to_owned(), Argument::One(Value::Time(now)))]);
        if let Some(window) = self.window {
            arguments.insert("since".to_owned(), Argument::One(Value::Time(now - window)));
        }
        if let Some(limit) = self.limit {
            arguments.insert("limit".to_owned(), Argument::One(Value::Int(i64::from(limit))));
        }
        arguments
    }

    /// The names that the statement mentions: its columns are among them.
    pub fn words(&self) -> Vec<&str> {
        self.text.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|word| !word.is_empty()).collect()
    }

    /// Whether the statement may have a column of this name; only the server can tell for sure.
    pub fn may_name(&self, column: &str) -> bool {
        self.text.contains('*') || self.words().iter().any(|word| word.eq_ignore_ascii_case(column))
    }

    /// Whether the statement uses a parameter.
    pub fn uses(&self, parameter: &str) -> bool {
        self.statement.parameters().iter().any(|used| used.name == parameter)
    }
}

/// What a statement is given besides `:now`.
#[derive(Default)]
pub(super) struct Provided<'a> {
    /// The table that names the statement, for the message: `[recommend]`.
    pub table: &'a str,
    /// `:limit`
    pub limit: Option<u32>,
    /// `:since`
    pub window: Option<Duration>,
    /// Names of target lists, and of values that stand in the file but are wrong.
    pub others: &'a [&'a str],
}

impl Sql {
    /// Reads and takes apart the statement that `source` names or holds; every mistake goes to the document.
    pub(super) fn read(
        source: &At<String>,
        provided: &Provided<'_>,
        engine: Engine,
        doc: &mut Document<'_>,
    ) -> Option<Self> {
        let (text, origin) = locate(source, doc)?;
        let statement = match Statement::parse(&text, engine) {
            Ok(statement) => statement,
            Err((place, why)) => {
                let place = origin.place(place);
                doc.problem_in(&origin.file, Some(place), why);
                return None;
            }
        };
        let mut names = vec!["now"];
        names.extend(provided.window.map(|_| "since"));
        names.extend(provided.limit.map(|_| "limit"));
        names.extend(provided.others);
        let mut whole = true;
        for parameter in statement.parameters() {
            if names.contains(&parameter.name.as_str()) {
                continue;
            }
            whole = false;
            let table = provided.table;
            let advice = match parameter.name.as_str() {
                "since" => format!("; set `window` in {table}"),
                "limit" => format!("; set `limit` in {table}"),
                name => match nearest(name, &names) {
                    Some(meant) => format!(", did you mean `:{meant}`?"),
                    None => format!("; here there are {}", list(&names)),
                },
            };
            let why = format!("parameter `:{}` that nothing provides{advice}", parameter.name);
            doc.problem_in(&origin.file, Some(origin.place(parameter.position)), why);
        }
        whole.then_some(Self { origin, text, statement, limit: provided.limit, window: provided.window })
    }
}

fn list(names: &[&str]) -> String {
    names.iter().map(|name| format!("`:{name}`")).collect::<Vec<_>>().join(", ")
}

/// A value without white space that ends in `.sql` is a file beside the job; anything else is the statement itself.
fn locate(source: &At<String>, doc: &mut Document<'_>) -> Option<(String, Origin)> {
    let value = source.get_ref();
    if !value.ends_with(".sql") || value.contains(char::is_whitespace) {
        let start = inline_start(doc.text(), source.span(), value);
        return Some((value.clone(), Origin { file: doc.path().to_owned(), start }));
    }
    let folder = doc.path().parent().unwrap_or(Path::new("."));
    let file = folder.join(value);
    match files::read_text(&file) {
        Ok(text) => Some((text.strip_prefix('\u{feff}').unwrap_or(&text).to_owned(), Origin { file, start: (1, 1) })),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let near = sql_files(folder);
            let advice = nearest(value, &near).map(|meant| format!(", did you mean `{meant}`?")).unwrap_or_default();
            doc.problem(source.span(), format!("no SQL file `{value}` in {}{advice}", folder.display()));
            None
        }
        Err(error) => {
            doc.problem(source.span(), format!("cannot read SQL file `{value}`: {error}"));
            None
        }
    }
}

fn sql_files(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| name.ends_with(".sql")).collect()
}

/// Where the statement inside the quotes begins; with escapes in it, the place of the opening quote.
fn inline_start(text: &str, span: Range<usize>, value: &str) -> (usize, usize) {
    let inside = text.get(span.clone()).and_then(|quoted| quoted.find(value)).unwrap_or(0);
    crate::problems::position(text, span.start + inside)
}
