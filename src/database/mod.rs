//! The only place that knows SQL engines.
//!
//! A job's SQL is parsed once into a [`Statement`]: its named parameters become the engine's own placeholders. A
//! [`Connection`] runs it in a read-only transaction with a time limit and hands back [`Rows`], one at a time; a row is
//! a list of [`Cell`]s, which is all that the rest of warmd ever sees of a database.

use std::{collections::BTreeMap, fmt, path::PathBuf, str::FromStr, time::Duration};

use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret as _, SecretString};
use sqlx::{
    mysql::{MySqlConnectOptions, MySqlRow},
    postgres::PgConnectOptions,
};

mod catalog;
mod cell;
mod failure;
mod float;
mod lexer;
mod load;
pub(crate) mod moment;
mod mysql;
mod names;
mod part;
mod postgres;
mod rows;
mod sqlite;
mod statement;
mod url;

pub use catalog::{Catalog, Column, ColumnKind, ForeignKey, Table};
pub use cell::Cell;
pub use load::{LoadLimits, Overload};
pub use part::Part;
pub use rows::{Rows, require};
pub use statement::{Parameter, Statement};

/// A database engine, as named by the scheme of a URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Engine {
    /// `postgres://` or `postgresql://`
    Postgres,
    /// `mysql://` or `mariadb://`
    MySql,
    /// `sqlite:`
    Sqlite,
}

impl FromStr for Engine {
    type Err = Error;

    /// Reads the scheme of a database URL.
    fn from_str(url: &str) -> Result<Self, Error> {
        match url.split_once(':').map(|(scheme, _)| scheme) {
            Some("postgres" | "postgresql") => Ok(Engine::Postgres),
            Some("mysql" | "mariadb") => Ok(Engine::MySql),
            Some("sqlite") => Ok(Engine::Sqlite),
            // What stands there may be a password without its URL.
            _ => Err(Error::permanent(
                "the database URL must begin with postgres://, postgresql://, mysql://, mariadb:// or sqlite:",
            )),
        }
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Engine::Postgres => "PostgreSQL",
            Engine::MySql => "MySQL",
            Engine::Sqlite => "SQLite",
        })
    }
}

/// What a parameter may be bound to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Value {
    /// A whole number.
    Int(i64),
    /// Text; PostgreSQL parameters of any other type are parsed from it (uuid, numeric, enum, ...).
    Text(String),
    /// A moment. PostgreSQL gets the type it infers (timestamptz, timestamp, date), MySQL a DATETIME in UTC, SQLite the
    /// text `YYYY-MM-DD HH:MM:SS`.
    Time(DateTime<Utc>),
}

/// One value, or the list that `IN (:name)` expands to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Argument {
    /// `:name`
    One(Value),
    /// `IN (:name)`; must not be empty.
    Many(Vec<Value>),
}

/// Values by parameter name.
pub type Arguments = BTreeMap<String, Argument>;

/// What went wrong, for the callers that decide whether to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The server could not be reached, or the connection broke: a later attempt may work.
    Unreachable,
    /// Deadlock, serialization failure, too many connections, shutting down: a later attempt may work.
    Transient,
    /// The statement took longer than it was given: the same statement at once would do so again.
    TimeLimit,
    /// Syntax, missing column, permission, an attempt to write: the same statement will fail again.
    Permanent,
    /// A value that the statement cannot deal with: division by zero, a text that is no number. Other values may do.
    Data,
}

/// A failed statement or connection, in the server's words and without secrets.
#[derive(Debug, Clone)]
pub struct Error {
    /// Whether to try again.
    pub kind: ErrorKind,
    /// The server's message, or the cause of the failed connection with host and port.
    pub message: String,
    /// Line and column (from 1, in characters) in the statement as the user wrote it, where the server gave a position.
    pub position: Option<(usize, usize)>,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

/// A database that is known by its URL; nothing is connected yet.
#[derive(Clone)]
pub struct Database {
    options: Options,
    /// What messages call it: host and port, a socket or a file. Never a user or a password.
    place: String,
    certificates: url::Certificates,
}

#[derive(Clone)]
enum Options {
    Postgres(Box<PgConnectOptions>),
    MySql(Box<MySqlConnectOptions>, mysql::Abandoned),
    Sqlite(sqlite::File),
}

/// How long a server may take to answer a new connection.
const CONNECT: Duration = Duration::from_secs(10);

/// How long preparing a statement may take, which locks can hold up.
const PREPARE: Duration = Duration::from_secs(30);

impl Database {
    /// Reads the URL without touching the network. A relative path of SQLite is relative to the working directory.
    pub fn new(url: &SecretString) -> Result<Self, Error> {
        let url = url.expose_secret();
        let engine: Engine = url.parse()?;
        let certificates = url::Certificates::of(engine, url)?;
        // The drivers' errors name no part of the URL that may be secret.
        let invalid = |error: sqlx::Error| {
            // The driver wraps what it passes on, with the same words each time.
            url::invalid(error.to_string().replace("error with configuration: ", ""))
        };
        let at = |socket: Option<&PathBuf>, host: &str, port: u16| match socket {
            Some(socket) => socket.display().to_string(),
            None => format!("{host}:{port}"),
        };
        let (options, place) = match engine {
            Engine::Postgres => {
                let options: PgConnectOptions = url.parse().map_err(invalid)?;
                let place = at(options.get_socket(), options.get_host(), options.get_port());
                (Options::Postgres(Box::new(options)), place)
            }
            Engine::MySql => {
                let options: MySqlConnectOptions = url.parse().map_err(invalid)?;
                let place = at(options.get_socket(), options.get_host(), options.get_port());
                (Options::MySql(Box::new(options), mysql::Abandoned::default()), place)
            }
            Engine::Sqlite => {
                let file = sqlite::File::new(url).map_err(invalid)?;
                let place = file.place();
                (Options::Sqlite(file), place)
            }
        };
        Ok(Self { options, place, certificates })
    }

    /// The engine that the URL names.
    pub fn engine(&self) -> Engine {
        match self.options {
            Options::Postgres(_) => Engine::Postgres,
            Options::MySql(..) => Engine::MySql,
            Options::Sqlite(_) => Engine::Sqlite,
        }
    }

    /// What is said of an attempt to connect to it, however that was made.
    pub fn out_of_reach(&self, error: &sqlx::Error) -> Error {
        match self.certificates.check() {
            Ok(()) => Error::connecting(error, &self.place),
            Err(why) => Error::unreachable(why, &self.place),
        }
    }

    /// Opens one connection for reading.
    pub async fn connect(&self) -> Result<Connection, Error> {
        // TLS needs one provider for the whole process; when there is one already, it stays.
        let _ = rustls::crypto::ring::default_provider().install_default();
        self.certificates.check().map_err(|why| Error::unreachable(why, &self.place))?;
        let session = async {
            Ok(match &self.options {
                Options::Postgres(options) => {
                    Session::Postgres(postgres::Session::connect(options, &self.place).await?)
                }
                Options::MySql(options, abandoned) => {
                    Session::MySql(mysql::Session::connect(options, &self.place, abandoned).await?)
                }
                Options::Sqlite(file) => Session::Sqlite(sqlite::Session::connect(file, &self.place).await?),
            })
        };
        let session = tokio::time::timeout(CONNECT, session)
            .await
            .unwrap_or_else(|_| Err(Error::unreachable(format!("no answer for {} s", CONNECT.as_secs()), &self.place)));
        Ok(Connection { session: session?, place: self.place.clone() })
    }

    /// Has the server end what connections had under way when they were dropped. PostgreSQL notices by itself that a
    /// client has gone, and SQLite is no server.
    pub async fn end_abandoned(&self) {
        if let Options::MySql(options, abandoned) = &self.options {
            abandoned.end(options).await;
        }
    }
}

/// One read-only session.
pub struct Connection {
    session: Session,
    place: String,
}

enum Session {
    Postgres(postgres::Session),
    MySql(mysql::Session),
    Sqlite(sqlite::Session),
}

impl Connection {
    /// Runs a statement in a read-only transaction of its own; the server ends it after `timeout`.
    ///
    /// After an error, or when the rows are dropped before their end, the connection may be unusable
    /// ([`Connection::is_usable`]).
    pub async fn query(
        &mut self,
        statement: &Statement,
        arguments: &Arguments,
        timeout: Duration,
    ) -> Result<Rows<'_>, Error> {
        let query = async {
            match &mut self.session {
                Session::Postgres(session) => session.query(statement, arguments, timeout).await,
                Session::MySql(session) => session.query(statement, arguments, timeout).await,
                Session::Sqlite(session) => session.query(statement, arguments, timeout).await,
            }
        };
        answered(query, timeout, &self.place).await
    }

    /// Has the server parse a statement without running it; its column names.
    ///
    /// Its parameters have no values yet: `:now` and `:since` are taken to be moments, the others to be whatever the
    /// statement makes of them.
    pub async fn prepare(&mut self, statement: &Statement) -> Result<Vec<String>, Error> {
        let prepare = async {
            match &mut self.session {
                Session::Postgres(session) => session.prepare(statement, PREPARE).await,
                Session::MySql(session) => session.prepare(statement).await,
                Session::Sqlite(session) => session.prepare(statement, PREPARE).await,
            }
        };
        answered(prepare, PREPARE, &self.place).await
    }

    /// Takes leave of the server. A connection that is only dropped closes as well, but servers count and log that as a
    /// client that broke off. Only for one that is usable: another is best dropped.
    pub async fn close(self) {
        if !self.is_usable() {
            return;
        }
        let close = async {
            match self.session {
                Session::Postgres(session) => session.close().await,
                Session::MySql(session) => session.close().await,
                // No server would miss it.
                Session::Sqlite(_) => {}
            }
        };
        // A server that does not answer any more need not be told.
        let _ = tokio::time::timeout(CONNECT, close).await;
    }

    /// False once the session is in a state from which only a new connection helps.
    pub fn is_usable(&self) -> bool {
        match &self.session {
            Session::Postgres(session) => session.is_usable(),
            Session::MySql(session) => session.is_usable(),
            Session::Sqlite(session) => session.is_usable(),
        }
    }
}

/// What a server says within the time limit that it should keep, and some more. One that has gone without a word says
/// nothing for ever.
async fn answered<T>(answer: impl Future<Output = Result<T, Error>>, limit: Duration, place: &str) -> Result<T, Error> {
    let patience = limit.saturating_add(rows::GRACE);
    let silence = || Error {
        kind: ErrorKind::Unreachable,
        message: format!("{place}: no answer for {} s", patience.as_secs()),
        position: None,
    };
    tokio::time::timeout(patience, answer).await.unwrap_or_else(|_| Err(silence()))
}

/// One row, in the engine's own encoding until a cell is asked for.
pub struct Row(RowKind);

enum RowKind {
    Postgres(postgres::PostgresRow),
    MySql(MySqlRow),
    Sqlite(sqlite::SqliteRow),
}

impl Row {
    /// The moment in column `index` (from 0) in Unix seconds, where it can be had without looking at the value as a
    /// [`Cell`]: millions of events have one each.
    pub fn unix_seconds(&self, index: usize) -> Option<i64> {
        match &self.0 {
            RowKind::Postgres(row) => row.unix_seconds(index),
            RowKind::MySql(_) | RowKind::Sqlite(..) => None,
        }
    }

    /// The bytes of all values, in the form in which they came.
    pub fn size(&self) -> usize {
        match &self.0 {
            RowKind::Postgres(row) => row.size(),
            RowKind::MySql(row) => mysql::size(row),
            RowKind::Sqlite(row) => row.size(),
        }
    }

    /// The value of column `index` (from 0).
    pub fn cell(&self, index: usize) -> Result<Cell<'_>, Error> {
        match &self.0 {
            RowKind::Postgres(row) => row.cell(index),
            RowKind::MySql(row) => mysql::cell(row, index),
            RowKind::Sqlite(row) => row.cell(index),
        }
    }
}
