//! From `sql = "..."` in a job file to a statement whose parameters are all provided.

use std::{ops::Range, path::Path, time::Duration};

use super::{Origin, Sql};
use crate::{
    database::{Engine, Statement},
    files,
    problems::{At, Document, nearest},
};

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
