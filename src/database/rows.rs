//! Rows on their way from a driver to the caller.

use std::{future::Future, mem, time::Duration, vec};

use futures_util::future::BoxFuture;
use sqlx::{Column as _, Row as _};
use tokio::{sync::mpsc, time::timeout};

use super::{Error, Row, RowKind};
use crate::problems::nearest;

/// Rows that are handed on together, where a driver gives them one by one.
const TOGETHER: usize = 16;

/// How long after a time limit that the server should have kept the session is given up.
pub(super) const GRACE: Duration = Duration::from_secs(15);

/// The rows of one statement, streamed with bounded memory.
///
/// Dropped before the end, it leaves the connection unusable.
pub struct Rows<'c> {
    columns: Vec<String>,
    /// Reads from the server and sends to `inbox`; what it does not do in a task of its own happens in [`Rows::next`].
    reading: Option<BoxFuture<'c, Result<(), Error>>>,
    inbox: mpsc::Receiver<Vec<Row>>,
    /// Those that came together and were not asked for yet.
    here: vec::IntoIter<Row>,
    patience: Duration,
}

/// Where a driver's rows go. It has room for some of them, and then waits.
pub(super) struct Outbox {
    sender: mpsc::Sender<Vec<Row>>,
    gathered: Vec<Row>,
}

impl Outbox {
    /// Hands a row on, with others.
    pub async fn send(&mut self, row: Row) {
        self.gathered.push(row);
        if self.gathered.len() >= TOGETHER {
            self.flush().await;
        }
    }

    /// Hands on what was sent.
    pub async fn flush(&mut self) {
        let rows = mem::take(&mut self.gathered);
        self.send_all(rows).await;
    }

    /// For a driver that blocks a thread of its own and gathers its rows by itself.
    pub fn into_sender(self) -> mpsc::Sender<Vec<Row>> {
        self.sender
    }

    /// Hands rows on if somebody waits for them.
    pub fn offer(&self, rows: &mut Vec<Row>) {
        if let Ok(place) = self.sender.try_reserve() {
            place.send(mem::take(rows));
        }
    }

    /// Hands rows on at once.
    pub async fn send_all(&self, rows: Vec<Row>) {
        if !rows.is_empty() {
            // Where nobody listens any more, nobody will notice.
            let _ = self.sender.send(rows).await;
        }
    }
}

impl<'c> Rows<'c> {
    /// Rows that `read` sends; its error comes after the rows that it sent.
    pub(super) fn new<F>(columns: Vec<String>, limit: Duration, read: impl FnOnce(Outbox) -> F) -> Self
    where
        F: Future<Output = Result<(), Error>> + Send + 'c,
    {
        let (sender, inbox) = mpsc::channel(1);
        Self {
            columns,
            reading: Some(Box::pin(read(Outbox { sender, gathered: Vec::new() }))),
            inbox,
            here: Vec::new().into_iter(),
            patience: limit.saturating_add(GRACE),
        }
    }

    /// Waits for the first row and takes its columns for those of the statement: what was prepared may be older than
    /// the table.
    pub(super) async fn with_columns_of_first_row(mut self) -> Result<Self, Error> {
        self.receive().await?;
        if let Some(Row(RowKind::MySql(row))) = self.here.as_slice().first() {
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
        if self.here.as_slice().is_empty() {
            self.receive().await?;
        }
        Ok(self.here.next())
    }

    /// Waits for more rows; there are none at the end.
    async fn receive(&mut self) -> Result<(), Error> {
        if let Ok(rows) = self.inbox.try_recv() {
            self.here = rows.into_iter();
            return Ok(());
        }
        let Some(reading) = &mut self.reading else {
            return Ok(());
        };
        let inbox = &mut self.inbox;
        let step = async {
            tokio::select! {
                biased;
                Some(rows) = inbox.recv() => Step::Rows(rows),
                done = reading => Step::Done(done),
            }
        };
        let step = timeout(self.patience, step).await;
        if let Ok(Step::Rows(rows)) = step {
            self.here = rows.into_iter();
            return Ok(());
        }
        self.reading = None;
        let Ok(Step::Done(done)) = step else {
            return Err(Error::transient(format!("no answer from the server for {} s", self.patience.as_secs())));
        };
        // The last rows may have been sent in the last step; an error comes behind them.
        match (self.inbox.try_recv(), done) {
            (Ok(rows), done) => {
                self.here = rows.into_iter();
                self.reading = done.is_err().then(|| Box::pin(async { done }) as BoxFuture<'c, _>);
                Ok(())
            }
            (Err(_), done) => done,
        }
    }
}

/// What came of waiting.
enum Step {
    Rows(Vec<Row>),
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

/// The index of a column that must be there, or what there is instead.
pub fn require(columns: &[String], name: &str) -> Result<usize, String> {
    columns.iter().position(|column| column == name).ok_or_else(|| {
        let advice = match nearest(name, columns) {
            Some(meant) => format!("did you mean `{meant} AS {name}`?"),
            None => format!("it has {}", columns.iter().map(|c| format!("`{c}`")).collect::<Vec<_>>().join(", ")),
        };
        format!("the statement has no column `{name}`; {advice}")
    })
}
