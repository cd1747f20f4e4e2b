//! SQLite: the file is opened for reading only. Values have types of their own, whatever their column declares; what it
//! declares says how they are meant.
//!
//! Read with rusqlite, in a thread that may block and hands on blocks of rows: sqlx copies each value by itself and hands
//! rows over one by one (what that costs: docs/benchmarks.md).

use std::{
    borrow::Cow,
    collections::HashMap,
    mem,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use rusqlite::{Connection, ErrorCode, OpenFlags, types::Value as Bound};
use sqlx::sqlite::SqliteConnectOptions;
use tokio::{sync::mpsc, task};
use url::form_urlencoded;

use super::{Arguments, Error, Row, RowKind, Rows, Statement, Value, rows, statement::Rendered};

mod row;

pub(super) use row::Row as SqliteRow;
use row::{Block, Declared};

/// The read takes the snapshot now, and with it the tables as they are. Otherwise a table that was changed by another
/// process would be noticed only when the statement, prepared for its old columns, begins to run.
const BEGIN: &str = "BEGIN; SELECT 1 FROM sqlite_schema LIMIT 1";

/// How long to wait for a writer that holds the file.
const BUSY: Duration = Duration::from_secs(5);

/// Instructions of SQLite's machine between two looks at the clock and the reader: well below a millisecond.
const INSTRUCTIONS: i32 = 2_000;

/// A file, as a URL names it.
#[derive(Clone)]
pub(super) struct File {
    path: PathBuf,
    flags: OpenFlags,
    /// The file does not change as long as it is open, so nothing is locked.
    immutable: bool,
    vfs: Option<String>,
}

impl File {
    /// Reads `sqlite:PATH?mode=..&cache=..&immutable=..&vfs=..`, which means here what it means for the history. Whatever
    /// its `mode`, a file is opened for reading.
    pub fn new(url: &str) -> Result<Self, sqlx::Error> {
        let options: SqliteConnectOptions = url.parse()?;
        let mut file = Self {
            path: options.get_filename().to_owned(),
            flags: OpenFlags::SQLITE_OPEN_READ_ONLY
                | OpenFlags::SQLITE_OPEN_NO_MUTEX
                | OpenFlags::SQLITE_OPEN_EXRESCODE
                | OpenFlags::SQLITE_OPEN_URI,
            immutable: false,
            vfs: None,
        };
        let (path, query) = url.split_once('?').unwrap_or((url, ""));
        if path.ends_with(":memory:") {
            file.flags |= OpenFlags::SQLITE_OPEN_MEMORY;
        }
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match (&*name, &*value) {
                ("mode", "memory") => file.flags |= OpenFlags::SQLITE_OPEN_MEMORY,
                ("cache", "shared") => file.flags |= OpenFlags::SQLITE_OPEN_SHARED_CACHE,
                ("immutable", value) => file.immutable = ["true", "1"].contains(&value),
                ("vfs", name) => file.vfs = Some(name.to_owned()),
                _ => {}
            }
        }
        Ok(file)
    }

    /// What messages call it.
    pub fn place(&self) -> String {
        self.path.display().to_string()
    }

    fn open(&self) -> Result<Connection, rusqlite::Error> {
        let connection = match &self.vfs {
            Some(vfs) => Connection::open_with_flags_and_vfs(self.name(), self.flags, vfs.as_str()),
            None => Connection::open_with_flags(self.name(), self.flags),
        }?;
        connection.busy_timeout(BUSY)?;
        connection.pragma_update(None, "query_only", true)?;
        Ok(connection)
    }

    /// The path, or the URI that says more than a path: <https://www.sqlite.org/uri.html>.
    fn name(&self) -> Cow<'_, Path> {
        if !self.immutable {
            return Cow::Borrowed(&self.path);
        }
        let path = self.path.to_string_lossy().replace('%', "%25").replace('?', "%3f").replace('#', "%23");
        // Behind two slashes stands a host, which is none here.
        let host = if path.starts_with('/') { "//" } else { "" };
        Cow::Owned(format!("file:{host}{path}?immutable=1").into())
    }
}

/// One open file.
pub(super) struct Session {
    /// `None` while another thread works with it, and for good once that was given up.
    connection: Option<Connection>,
    place: String,
}

impl Session {
    pub async fn connect(file: &File, place: &str) -> Result<Self, Error> {
        let file = file.clone();
        let connection = task::spawn_blocking(move || file.open()).await.map_err(|_| crashed(place))?;
        let connection = connection.map_err(|error| Error::connecting(&error, place))?;
        Ok(Self { connection: Some(connection), place: place.to_owned() })
    }

    /// Whether no transaction was left open.
    pub fn is_usable(&self) -> bool {
        self.connection.as_ref().is_some_and(Connection::is_autocommit)
    }

    pub async fn query(
        &mut self,
        statement: &Statement,
        arguments: &Arguments,
        limit: Duration,
    ) -> Result<Rows<'_>, Error> {
        let until = Instant::now().checked_add(limit);
        let rendered = statement.render(Some(arguments), &HashMap::new())?;
        let mut values = Vec::new();
        for bind in &rendered.binds {
            let no_value = || Error::data(format!("parameter :{}: has no value", bind.name));
            values.push(bound(bind.value.ok_or_else(no_value)?));
        }
        let (columns, declared) = self.begin(&rendered, limit, until, true).await?;
        let sql = rendered.sql;
        Ok(Rows::new(columns, limit, move |outbox| async move {
            let fetched = self.work(move |connection| {
                let fetched = fetch(connection, &sql, &values, &declared, until, &outbox.into_sender());
                let ended = end(connection, if fetched.is_ok() { "COMMIT" } else { "ROLLBACK" });
                fetched.and(ended)
            });
            fetched.await?.map_err(|error| match error.sqlite_error_code() {
                Some(ErrorCode::OperationInterrupted) => interrupted(limit),
                _ => Error::running(&error, &self.place),
            })
        }))
    }

    pub async fn prepare(&mut self, statement: &Statement, limit: Duration) -> Result<Vec<String>, Error> {
        let rendered = statement.render(None, &HashMap::new())?;
        let (columns, _) = self.begin(&rendered, limit, Instant::now().checked_add(limit), false).await?;
        self.roll_back().await?;
        Ok(columns)
    }

    /// Begins a transaction, which an error ends again, and has a statement parsed: the names of its columns, and what
    /// they are declared as.
    async fn begin(
        &mut self,
        rendered: &Rendered<'_>,
        limit: Duration,
        until: Option<Instant>,
        runs: bool,
    ) -> Result<(Vec<String>, Arc<[Declared]>), Error> {
        let sql = rendered.sql.clone();
        let begin = move |connection: &Connection| {
            connection.progress_handler(INSTRUCTIONS, Some(move || is_past(until)))?;
            connection.execute_batch(BEGIN)?;
            let statement = connection.prepare(&sql)?;
            let columns = statement.columns();
            let named = columns.iter().map(|column| column.name().to_owned()).collect();
            let declared = columns.iter().map(|column| column.decl_type().map_or(Declared::Other, Declared::parse));
            Ok((named, declared.collect()))
        };
        let begun: Result<(Vec<_>, _), rusqlite::Error> = self.work(begin).await?;
        let begun = begun.map_err(|error| match error.sqlite_error_code() {
            Some(ErrorCode::OperationInterrupted) => interrupted(limit),
            _ => Error::statement(&error, &self.place, rendered, 0),
        });
        let checked = begun.and_then(|(columns, declared)| {
            rendered.refuse_without_rows(&columns, runs)?;
            Ok((rows::distinct(columns)?, declared))
        });
        if checked.is_err() {
            // Where that fails too, the first error tells more.
            let _ = self.roll_back().await;
        }
        checked
    }

    async fn roll_back(&mut self) -> Result<(), Error> {
        let ended = self.work(|connection| end(connection, "ROLLBACK")).await?;
        ended.map_err(|error| Error::running(&error, &self.place))
    }

    /// Has a thread work with the connection, which is lost when the future is dropped before the end.
    async fn work<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&Connection) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let connection = self.connection.take().ok_or_else(|| crashed(&self.place))?;
        let work = move || {
            let done = work(&connection);
            (connection, done)
        };
        let (connection, done) = task::spawn_blocking(work).await.map_err(|_| crashed(&self.place))?;
        self.connection = Some(connection);
        Ok(done)
    }
}

fn interrupted(limit: Duration) -> Error {
    Error::time_limit(format!("interrupted by the time limit of {} ms", limit.as_millis()))
}

fn crashed(place: &str) -> Error {
    Error::unreachable("the thread that reads it ended".to_owned(), place)
}

fn is_past(until: Option<Instant>) -> bool {
    until.is_some_and(|until| Instant::now() >= until)
}

/// Reads a statement to its end, or until nobody takes its rows.
fn fetch(
    connection: &Connection,
    sql: &str,
    values: &[Bound],
    declared: &Arc<[Declared]>,
    until: Option<Instant>,
    reader: &mpsc::Sender<Vec<Row>>,
) -> Result<(), rusqlite::Error> {
    let heard = reader.clone();
    connection.progress_handler(INSTRUCTIONS, Some(move || is_past(until) || heard.is_closed()))?;
    let mut statement = connection.prepare(sql)?;
    for (value, number) in values.iter().zip(1..) {
        statement.raw_bind_parameter(number, value)?;
    }
    let mut rows = statement.raw_query();
    let mut block = Block::new(declared);
    let send = |block: Block| reader.blocking_send(block.into_rows().map(|row| Row(RowKind::Sqlite(row))).collect());
    let read = loop {
        match rows.next() {
            Ok(Some(row)) => block.push(row),
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
        if block.is_full() && send(mem::replace(&mut block, Block::new(declared))).is_err() {
            // Nobody reads any more.
            return Ok(());
        }
    };
    // What came before an error is good.
    if !block.is_empty() {
        let _ = send(block);
    }
    read
}

/// Ends the transaction and the time limit.
fn end(connection: &Connection, how: &str) -> Result<(), rusqlite::Error> {
    // First, or the end of the transaction would be interrupted as well.
    connection.progress_handler(0, None::<fn() -> bool>)?;
    connection.execute_batch(how)
}

fn bound(value: &Value) -> Bound {
    match value {
        Value::Int(number) => Bound::Integer(*number),
        Value::Text(text) => Bound::Text(text.clone()),
        Value::Time(moment) => Bound::Text(moment.format("%Y-%m-%d %H:%M:%S").to_string()),
    }
}
