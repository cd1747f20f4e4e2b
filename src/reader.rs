//! One run's access to its database: connections reused, statements throttled and counted, passing errors retried.

use std::{
    hash::BuildHasher as _,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use rustc_hash::FxBuildHasher;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::{
    database::{Arguments, Connection, Database, Error, ErrorKind, Row, require},
    job::Sql,
    record::{Cause, Failure, Meter},
    throttle::{Strain, Throttles},
    traces,
};

mod parts;

pub use parts::Split;

/// Reads for one run, or for one `plan` or `check`.
pub struct Reader {
    database: Database,
    statement_timeout: Duration,
    /// No statement outlives the run's own time limit.
    deadline: Instant,
    /// Once it is set, nothing is tried again.
    stop: CancellationToken,
    throttles: Arc<Throttles>,
    meter: Arc<Meter>,
    /// As many as batches were ever under way at once.
    idle: Mutex<Vec<Connection>>,
}

/// The columns of a statement.
pub struct Columns<'r>(&'r [String]);

impl Columns<'_> {
    /// The index of a column.
    pub fn find(&self, name: &str) -> Option<usize> {
        self.0.iter().position(|column| column == name)
    }

    /// The index of a column that must be there.
    pub fn require(&self, name: &str) -> Result<usize, String> {
        require(self.0, name)
    }

    /// All names in order.
    pub fn names(&self) -> &[String] {
        self.0
    }
}

/// Why an attempt at a statement came to nothing.
enum Unread {
    /// What the statement gave is of no use, for this reason.
    Refused(String),
    Failed(Error),
}

impl From<Error> for Unread {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl Reader {
    /// A reader that has no connection yet.
    pub fn new(
        database: Database,
        statement_timeout: Duration,
        deadline: Instant,
        stop: CancellationToken,
        throttles: Arc<Throttles>,
        meter: Arc<Meter>,
    ) -> Self {
        Self { database, statement_timeout, deadline, stop, throttles, meter, idle: Mutex::new(Vec::new()) }
    }

    /// Runs a statement and folds its rows: `start` sees the columns, `step` every row.
    ///
    /// After a passing error everything begins again with `start`, so a result is never made of two attempts.
    pub async fn fold<S>(
        &self,
        sql: &Sql,
        arguments: &Arguments,
        start: impl Fn(&Columns<'_>) -> Result<S, String>,
        mut step: impl FnMut(&mut S, &Row) -> Result<(), String>,
    ) -> Result<S, Failure> {
        let step = |state: &mut S, row: &Row| step(state, row).map(|()| None::<()>);
        self.read(sql, arguments, start, step, None).await
    }

    /// Runs a statement and sends on what `step` makes of its rows; a full channel holds the database back.
    ///
    /// A passing error is retried as long as nothing was sent. Ends early, and well, when nobody listens any more.
    pub async fn stream<S, T>(
        &self,
        sql: &Sql,
        arguments: &Arguments,
        start: impl Fn(&Columns<'_>) -> Result<S, String>,
        step: impl FnMut(&mut S, &Row) -> Result<Option<T>, String>,
        out: &mpsc::Sender<T>,
    ) -> Result<S, Failure> {
        self.read(sql, arguments, start, step, Some(out)).await
    }

    async fn read<S, T>(
        &self,
        sql: &Sql,
        arguments: &Arguments,
        start: impl Fn(&Columns<'_>) -> Result<S, String>,
        mut step: impl FnMut(&mut S, &Row) -> Result<Option<T>, String>,
        out: Option<&mpsc::Sender<T>>,
    ) -> Result<S, Failure> {
        let mut delays = delays();
        let mut sent = false;
        loop {
            self.throttles.query().await;
            let began = Instant::now();
            let mut held_back = Duration::ZERO;
            let span = traces::query(sql, self.database.engine());
            let attempt = self.attempt(sql, arguments, &start, &mut step, out, (&mut sent, &mut held_back));
            let attempt = attempt.instrument(span).await;
            let took = began.elapsed().saturating_sub(held_back);
            // Also an attempt that failed has kept the database busy.
            self.meter.database.add_time(took);
            match attempt {
                Ok(state) => {
                    // What is streamed takes as long as there is much of it.
                    if out.is_none() {
                        self.answered(sql, began, took);
                    }
                    self.waits_no_more();
                    return Ok(state);
                }
                Err(Unread::Refused(why)) => return Err(refusal(sql, &why)),
                Err(Unread::Failed(error)) if sent => return Err(failure(sql, &error)),
                Err(Unread::Failed(error)) => self.pause(sql, &error, &mut delays).await?,
            }
        }
    }

    /// Takes note of how long a statement took.
    fn answered(&self, sql: &Sql, began: Instant, took: Duration) {
        self.throttles.answered(Strain::Database, FxBuildHasher.hash_one(&sql.text), began, took);
    }

    fn waits_no_more(&self) {
        self.meter.waits_for.send_if_modified(|waits_for| waits_for.take().is_some());
    }

    /// Waits until the statement may be tried again; fails with its error where that would be of no use.
    async fn pause(&self, sql: &Sql, error: &Error, delays: &mut ExponentialBackoff) -> Result<(), Failure> {
        let delay = match error.kind {
            ErrorKind::Permanent | ErrorKind::Data | ErrorKind::TimeLimit => None,
            ErrorKind::Unreachable | ErrorKind::Transient => delays.next(),
        };
        match delay {
            Some(delay) if !self.stop.is_cancelled() && Instant::now() + delay < self.deadline => {
                tracing::warn!("{}: trying again in {delay:.1?}: {error}", sql.origin.file.display());
                self.meter.waits_for.send_replace(Some(error.message.clone()));
                tokio::select! {
                    () = tokio::time::sleep(delay) => Ok(()),
                    () = self.stop.cancelled() => Err(failure(sql, error)),
                }
            }
            _ => Err(failure(sql, error)),
        }
    }

    async fn attempt<S, T>(
        &self,
        sql: &Sql,
        arguments: &Arguments,
        start: &impl Fn(&Columns<'_>) -> Result<S, String>,
        step: &mut impl FnMut(&mut S, &Row) -> Result<Option<T>, String>,
        out: Option<&mpsc::Sender<T>>,
        (sent, held_back): (&mut bool, &mut Duration),
    ) -> Result<S, Unread> {
        let mut connection = self.connection().await?;
        self.meter.queries.add(1);
        let mut rows = connection.query(&sql.statement, arguments, self.time_limit()).await?;
        let mut state = start(&Columns(rows.columns())).map_err(Unread::Refused)?;
        let mut listened_to = true;
        while listened_to && let Some(row) = rows.next().await? {
            count(&self.meter, &row);
            if let Some(item) = step(&mut state, &row).map_err(Unread::Refused)? {
                *sent = true;
                let waiting = Instant::now();
                if let Some(out) = out {
                    listened_to = out.send(item).await.is_ok();
                }
                *held_back += waiting.elapsed();
            }
        }
        drop(rows);
        self.give_back(connection);
        Ok(state)
    }

    /// Has the server parse and plan a statement; its columns.
    pub async fn prepare(&self, sql: &Sql) -> Result<Vec<String>, Failure> {
        let mut connection = self.connection().await.map_err(|error| failure(sql, &error))?;
        let columns = connection.prepare(&sql.statement).await.map_err(|error| failure(sql, &error))?;
        self.give_back(connection);
        Ok(columns)
    }

    /// How long a statement may take that begins now.
    fn time_limit(&self) -> Duration {
        let left = self.deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        self.statement_timeout.min(left)
    }

    /// When the run's time limit comes.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Whether the run's time limit has come, or is about to.
    pub fn time_is_over(&self) -> bool {
        // Servers count from the statement's arrival, in milliseconds.
        Instant::now() + Duration::from_millis(100) >= self.deadline
    }

    /// Says goodbye to the server; a connection that is merely dropped stands in its log.
    pub async fn close(&self) {
        let idle = std::mem::take(&mut *self.idle.lock().unwrap_or_else(PoisonError::into_inner));
        for connection in idle {
            connection.close().await;
        }
        self.database.end_abandoned().await;
    }

    async fn connection(&self) -> Result<Connection, Error> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        match idle {
            Some(connection) => Ok(connection),
            None => self.database.connect().await,
        }
    }

    fn give_back(&self, connection: Connection) {
        if connection.is_usable() {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        }
    }
}

fn count(meter: &Meter, row: &Row) {
    meter.rows.add(1);
    meter.database_bytes.add(row.size());
}

/// Half a second, doubling, five times: a failover takes some seconds, and the run's own time limit bounds the rest.
pub(crate) fn delays() -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(500))
        .with_max_delay(Duration::from_secs(10))
        .with_max_times(5)
        .with_jitter()
        .build()
}

/// A statement's failure in the server's words, with its place in the file.
fn failure(sql: &Sql, error: &Error) -> Failure {
    let cause = match error.kind {
        // Also a server that is there, and for now will not: the tick waits for it.
        ErrorKind::Unreachable | ErrorKind::Transient => Cause::DatabaseUnreachable,
        ErrorKind::Permanent | ErrorKind::TimeLimit => Cause::Statement,
        ErrorKind::Data => Cause::Data,
    };
    let message = match (error.kind, error.position) {
        (ErrorKind::Unreachable, _) => error.message.clone(),
        (_, Some(position)) => {
            let (line, column) = sql.origin.place(position);
            format!("{}:{line}:{column}: {}", sql.origin.file.display(), error.message)
        }
        (_, None) => format!("{}: {}", sql.origin.file.display(), error.message),
    };
    Failure { cause, message }
}

/// A statement that runs, but whose rows are of no use.
fn refusal(sql: &Sql, why: &str) -> Failure {
    let (line, column) = sql.origin.start;
    Failure { cause: Cause::Statement, message: format!("{}:{line}:{column}: {why}", sql.origin.file.display()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_who_try_again_do_not_keep_step() {
        let pauses = || delays().collect::<Vec<_>>();
        let (some, others) = (pauses(), pauses());
        assert_eq!((some.len(), others.len()), (5, 5));
        assert!(some.iter().zip(&others).all(|(one, other)| one != other), "{some:?} {others:?}");
    }
}
