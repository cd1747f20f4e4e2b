//! What a driver's error means for a caller.

use sqlx::{
    mysql::MySqlDatabaseError,
    postgres::{PgDatabaseError, PgErrorPosition},
    sqlite::SqliteError,
};

use super::{Error, ErrorKind, statement::Rendered};
use crate::tls;

impl Error {
    pub(super) fn permanent(message: impl Into<String>) -> Self {
        Self { kind: ErrorKind::Permanent, message: message.into(), position: None }
    }

    pub(super) fn data(message: impl Into<String>) -> Self {
        Self { kind: ErrorKind::Data, message: message.into(), position: None }
    }

    pub(super) fn time_limit(message: impl Into<String>) -> Self {
        Self { kind: ErrorKind::TimeLimit, message: message.into(), position: None }
    }

    pub(super) fn transient(message: impl Into<String>) -> Self {
        Self { kind: ErrorKind::Transient, message: message.into(), position: None }
    }

    /// No session came about, for a reason of our own.
    pub(super) fn unreachable(why: String, place: &str) -> Self {
        Self { kind: ErrorKind::Unreachable, message: format!("cannot connect to {place}: {why}"), position: None }
    }

    /// An error of an attempt to connect. Whatever the server says then (no such user, no such database), no session
    /// came about.
    pub(super) fn connecting<E: Told>(error: &E, place: &str) -> Self {
        let (kind, message) = error.told();
        let kind = if kind == ErrorKind::Transient { kind } else { ErrorKind::Unreachable };
        // Some say the place as well.
        let told = message.strip_prefix(&format!("{place}: ")).unwrap_or(&message);
        let message = told.strip_suffix(&format!(": {place}")).unwrap_or(told);
        Self { kind, message: format!("cannot connect to {place}: {message}"), position: None }
    }

    /// An error of a session that was there.
    pub(super) fn running<E: Told>(error: &E, place: &str) -> Self {
        let (kind, message) = error.told();
        let message = if kind == ErrorKind::Unreachable { format!("{place}: {message}") } else { message };
        Self { kind, message, position: None }
    }

    /// An error of a statement: the same, with the place in the user's text and the server's hint.
    ///
    /// `prefix` is how many characters were put before the statement.
    pub(super) fn statement<E: Told>(error: &E, place: &str, rendered: &Rendered<'_>, prefix: usize) -> Self {
        let mut found = Self::running(error, place);
        found.position = error.position(rendered, prefix);
        if found.position.is_none() && found.kind == ErrorKind::Permanent {
            found.position = named_place(&found.message, rendered);
        }
        if let Some(hint) = error.hint() {
            found.message = format!("{} ({})", found.message, one_line(hint));
        }
        found
    }
}

/// A driver's error.
pub(super) trait Told {
    /// What to do about it, and the server's words on one line.
    fn told(&self) -> (ErrorKind, String);

    /// Where it is in the user's text, when the server says so.
    fn position(&self, rendered: &Rendered<'_>, prefix: usize) -> Option<(usize, usize)>;

    /// What the server advises.
    fn hint(&self) -> Option<&str>;
}

impl Told for sqlx::Error {
    fn told(&self) -> (ErrorKind, String) {
        let (kind, message) = match self {
            sqlx::Error::Database(error) => {
                let (kind, hint) = if let Some(error) = error.try_downcast_ref::<PgDatabaseError>() {
                    (postgres_kind(error.code()), "")
                } else if let Some(error) = error.try_downcast_ref::<MySqlDatabaseError>() {
                    (mysql_kind(error.number()), "")
                } else if error.try_downcast_ref::<SqliteError>().is_some() {
                    let code = error.code().and_then(|code| code.parse().ok()).unwrap_or(0);
                    (sqlite_kind(code, error.message()), sqlite_hint(code))
                } else {
                    (ErrorKind::Permanent, "")
                };
                (kind, format!("{}{hint}", error.message()))
            }
            sqlx::Error::Io(error) => {
                (ErrorKind::Unreachable, tls::failure(error).unwrap_or_else(|| error.to_string()))
            }
            sqlx::Error::Tls(error) => {
                (ErrorKind::Unreachable, tls::failure(&**error).unwrap_or_else(|| format!("TLS: {error}")))
            }
            // Bytes that make no sense end the session; a new one may do better.
            sqlx::Error::Protocol(error) => (ErrorKind::Unreachable, format!("unexpected answer: {error}")),
            sqlx::Error::WorkerCrashed => (ErrorKind::Unreachable, "the database thread ended".to_owned()),
            sqlx::Error::Encode(error) | sqlx::Error::Decode(error) => (ErrorKind::Permanent, error.to_string()),
            other => (ErrorKind::Permanent, other.to_string()),
        };
        (kind, one_line(&message))
    }

    fn position(&self, rendered: &Rendered<'_>, prefix: usize) -> Option<(usize, usize)> {
        match postgres(self)?.position()? {
            PgErrorPosition::Original(character) => rendered.position(character.checked_sub(prefix + 1)?),
            PgErrorPosition::Internal { .. } => None,
        }
    }

    fn hint(&self) -> Option<&str> {
        postgres(self)?.hint()
    }
}

fn postgres(error: &sqlx::Error) -> Option<&PgDatabaseError> {
    error.as_database_error()?.try_downcast_ref()
}

impl Told for rusqlite::Error {
    fn told(&self) -> (ErrorKind, String) {
        use rusqlite::Error::{SqlInputError, SqliteFailure};
        let (code, message) = match self {
            SqliteFailure(error, message) => {
                (error.extended_code, message.clone().unwrap_or_else(|| error.to_string()))
            }
            SqlInputError { error, msg, .. } => (error.extended_code, msg.clone()),
            other => (0, other.to_string()),
        };
        (sqlite_kind(code, &message), one_line(&format!("{message}{}", sqlite_hint(code))))
    }

    fn position(&self, rendered: &Rendered<'_>, _: usize) -> Option<(usize, usize)> {
        let rusqlite::Error::SqlInputError { sql, offset, .. } = self else { return None };
        let before = sql.get(..usize::try_from(*offset).ok()?)?;
        rendered.position(before.chars().count())
    }

    fn hint(&self) -> Option<&str> {
        None
    }
}

/// MySQL and SQLite give no position, but name what they stumbled over: `near "FORM"`, `no such column: x`,
/// `Unknown column 'x' in 'SELECT'`. Where that stands once in the statement, it is the place.
fn named_place(message: &str, rendered: &Rendered<'_>) -> Option<(usize, usize)> {
    let quoted = |quote: char| {
        let (_, behind) = message.split_once(quote)?;
        // MySQL quotes the rest of the statement, up to 80 characters.
        let end = behind.find("' at line").or_else(|| behind.find(quote))?;
        Some(&behind[..end])
    };
    let word = if let Some((_, name)) = message.split_once("no such column: ") {
        name
    } else if let Some((_, name)) = message.split_once("no such table: ") {
        name
    } else if message.starts_with("near \"") {
        quoted('"')?
    } else if message.contains(" near '") || message.starts_with("Unknown column '") {
        quoted('\'')?
    } else {
        return None;
    };
    rendered.find_once(word)
}

/// Messages are for one line of a log.
pub(super) fn one_line(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// By SQLSTATE.
fn postgres_kind(code: &str) -> ErrorKind {
    match code {
        // Shutting down, crashed, not yet started.
        "57P01" | "57P02" | "57P03" => ErrorKind::Transient,
        // Cancelled, by a time limit or by an administrator.
        "57014" => ErrorKind::TimeLimit,
        // Lock not available, idle too long, object in use.
        "55P03" | "25P03" | "25P04" | "55006" | "72000" => ErrorKind::Transient,
        _ => match &code[..code.len().min(2)] {
            "08" | "28" => ErrorKind::Unreachable,
            // Serialization failure and deadlock, out of resources, disk trouble.
            "40" | "53" | "58" => ErrorKind::Transient,
            // Data exceptions, a subquery that gave more than one row.
            "22" | "21" => ErrorKind::Data,
            _ => ErrorKind::Permanent,
        },
    }
}

/// By server error number.
fn mysql_kind(number: u16) -> ErrorKind {
    match number {
        // Too many connections, out of memory, per-user limits.
        1040 | 1037 | 1041 | 1203 | 1226 => ErrorKind::Transient,
        // Time limits of MariaDB and MySQL.
        1969 | 3024 => ErrorKind::TimeLimit,
        // Lock wait timeout, deadlock, interrupted.
        1205 | 1213 | 1317 => ErrorKind::Transient,
        // Shutting down, connection killed, gone away, lost.
        1053 | 1077 | 1079 | 1927 | 2006 | 2013 | 4031 => ErrorKind::Transient,
        // The table changed between preparing and running.
        1412 | 1615 => ErrorKind::Transient,
        // A subquery that gave more than one row; wrong values, division by zero, out of range, bad patterns, bad JSON.
        1242 | 1139 | 1264 | 1292 | 1365 | 1366 | 1411 | 1690 | 3140..=3158 | 4037 | 4038 => ErrorKind::Data,
        // Access denied, host blocked or not allowed.
        1045 | 1129 | 1130 | 1698 => ErrorKind::Unreachable,
        _ => ErrorKind::Permanent,
    }
}

/// By result code, of which the low byte is the primary one; errors of values have none of their own.
fn sqlite_kind(code: i32, message: &str) -> ErrorKind {
    match code & 0xff {
        // SQLITE_BUSY, LOCKED, NOMEM, INTERRUPT, IOERR, FULL, PROTOCOL, SCHEMA
        5 | 6 | 7 | 9 | 10 | 13 | 15 | 17 => ErrorKind::Transient,
        // SQLITE_CANTOPEN, NOTADB
        14 | 26 => ErrorKind::Unreachable,
        1 if ["integer overflow", "malformed JSON", "bad JSON path"].iter().any(|start| message.starts_with(start)) => {
            ErrorKind::Data
        }
        _ => ErrorKind::Permanent,
    }
}

fn sqlite_hint(code: i32) -> &'static str {
    match code {
        // SQLITE_READONLY_CANTLOCK, CANTINIT, DIRECTORY: no statement wanted to write.
        520 | 1288 | 1544 => " (in WAL mode SQLite must write beside the file; may warmd?)",
        _ => "",
    }
}
