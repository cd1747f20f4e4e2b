//! Rows on their way from a driver to the caller.

use std::{future::Future, time::Duration};

use futures_util::future::BoxFuture;
use sqlx::{Column as _, Row as _};
use tokio::{sync::mpsc, time::timeout};

use super::{Error, Row, RowKind};

/// Rows that a driver may be ahead of the caller.
const AHEAD: usize = 64;

/// How long after a time limit that the server should have kept the session is given up.
const GRACE: Duration = Duration::from_secs(15);

/// The rows of one statement, streamed with bounded memory.
///
/// Dropped before the end, it leaves the connection unusable.
pub struct Rows<'c> {
    columns: Vec<String>,
    /// Reads from the server and sends to `inbox`. Nothing happens but in [`Rows::next`].
    reading: Option<BoxFuture<'c, Result<(), Error>>>,
    inbox: mpsc::Receiver<Row>,
    /// Read already, to see its columns.
    first: Option<Row>,
    patience: Duration,
}

impl<'c> Rows<'c> {
    /// Rows that `read` sends; its error comes after the rows that it sent.
    pub(super) fn new<F>(columns: Vec<String>, limit: Duration, read: impl FnOnce(mpsc::Sender<Row>) -> F) -> Self
    where
        F: Future<Output = Result<(), Error>> + Send + 'c,
    {
        let (outbox, inbox) = mpsc::channel(AHEAD);
        Self {
            columns,
            reading: Some(Box::pin(read(outbox))),
            inbox,
            first: None,
            patience: limit.saturating_add(GRACE),
        }
    }

    /// Waits for the first row and takes its columns for those of the statement: what was prepared may be older than
    /// the table.
    pub(super) async fn with_columns_of_first_row(mut self) -> Result<Self, Error> {
        self.first = self.next().await?;
        if let Some(Row(RowKind::MySql(row))) = &self.first {
            let names = row.columns().iter().map(|column| column.name().to_owned()).collect();
            self.columns = distinct(names)?;
        }
        Ok(self)
    }

    /// Column names in order; known before the first row and also when there is none. Never two alike.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// The next row, or `None` at the end, after which the transaction is closed.
    pub async fn next(&mut self) -> Result<Option<Row>, Error> {
        if let Some(row) = self.first.take() {
            return Ok(Some(row));
        }
        if let Ok(row) = self.inbox.try_recv() {
            return Ok(Some(row));
        }
        let Some(reading) = &mut self.reading else {
            return Ok(None);
        };
        let inbox = &mut self.inbox;
        let step = async {
            tokio::select! {
                biased;
                Some(row) = inbox.recv() => Step::Row(row),
                done = reading => Step::Done(done),
            }
        };
        let step = timeout(self.patience, step).await;
        if let Ok(Step::Row(row)) = step {
            return Ok(Some(row));
        }
        self.reading = None;
        let Ok(Step::Done(done)) = step else {
            return Err(Error::transient(format!("no answer from the server for {} s", self.patience.as_secs())));
        };
        // The last rows may have been sent in the last step; an error comes behind them.
        let row = self.inbox.try_recv().ok();
        match (row, done) {
            (Some(row), Err(error)) => {
                self.reading = Some(Box::pin(async { Err(error) }));
                Ok(Some(row))
            }
            (row, done) => done.map(|()| row),
        }
    }
}

/// What came of waiting.
enum Step {
    Row(Row),
    Done(Result<(), Error>),
}

/// Fails when two columns share a name: one of them would be lost in a JSON object.
pub(super) fn distinct(columns: Vec<String>) -> Result<Vec<String>, Error> {
    for (nth, name) in columns.iter().enumerate() {
        if columns[..nth].contains(name) {
            return Err(Error::permanent(format!("two columns named `{name}`: use AS")));
        }
    }
    Ok(columns)
}
