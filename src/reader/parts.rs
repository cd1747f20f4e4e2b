//! One statement over several connections.

use std::{
    num::NonZeroU32,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::try_join_all;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument as _;

use super::{Columns, Reader, Unread, count, delays, refusal};
use crate::{
    database::{Arguments, Connection, Part, Row, Statement},
    job::Sql,
    record::{Failure, Meter},
    traces,
};

/// How a statement is read over several connections.
pub struct Split {
    /// The column whose values decide which connection reads a row.
    pub column: &'static str,
    /// How many; with one, the statement runs as it is.
    pub connections: NonZeroU32,
}

impl Reader {
    /// Like [`Reader::fold`], over several connections that see one snapshot: each folds its own part of the rows, in a
    /// task of its own.
    ///
    /// Each part counts as a statement. After a passing error of one, all of them begin again with `start`.
    pub async fn fold_parts<S: Send + 'static>(
        &self,
        sql: &Sql,
        arguments: &Arguments,
        split: &Split,
        start: impl Fn(&Columns<'_>) -> Result<S, String> + Copy + Send + 'static,
        step: impl Fn(&mut S, &Row) -> Result<(), String> + Copy + Send + 'static,
    ) -> Result<Vec<S>, Failure> {
        if split.connections == NonZeroU32::MIN {
            return Ok(vec![self.fold(sql, arguments, start, step).await?]);
        }
        let mut delays = delays();
        loop {
            for _ in 0..split.connections.get() {
                self.throttles.query().await;
            }
            let began = Instant::now();
            let attempt = self.attempt_parts(sql, arguments, split, start, step, began).await;
            if attempt.is_err() {
                self.meter.database.add_time(began.elapsed());
            }
            match attempt {
                Ok(states) => {
                    self.answered(sql, began, began.elapsed());
                    self.waits_no_more();
                    return Ok(states);
                }
                Err(Unread::Refused(why)) => return Err(refusal(sql, &why)),
                Err(Unread::Failed(error)) => self.pause(sql, &error, &mut delays).await?,
            }
        }
    }

    async fn attempt_parts<S: Send + 'static>(
        &self,
        sql: &Sql,
        arguments: &Arguments,
        split: &Split,
        start: impl Fn(&Columns<'_>) -> Result<S, String> + Copy + Send + 'static,
        step: impl Fn(&mut S, &Row) -> Result<(), String> + Copy + Send + 'static,
        began: Instant,
    ) -> Result<Vec<S>, Unread> {
        let connections = try_join_all((0..split.connections.get()).map(|_| self.connection())).await?;
        let timeout = self.time_limit();
        let mut tasks = Vec::new();
        for part in Part::share(connections, timeout).await? {
            let reading = Reading {
                statement: sql.statement.clone(),
                arguments: arguments.clone(),
                column: split.column,
                timeout,
                began,
                meter: Arc::clone(&self.meter),
            };
            let span = traces::query(sql, self.database.engine());
            let task = tokio::spawn(reading.fold(part, start, step).instrument(span));
            tasks.push(AbortOnDropHandle::new(task));
        }
        // The first error ends the others.
        let parts = try_join_all(tasks.into_iter().map(async |task| match task.await {
            Ok(read) => read,
            Err(ended) => match ended.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime is going, and what waits here with it.
                Err(_) => std::future::pending().await,
            },
        }));
        let mut states = Vec::new();
        for (state, connection) in parts.await? {
            states.push(state);
            self.give_back(connection);
        }
        Ok(states)
    }
}

/// What it takes to read one part.
struct Reading {
    statement: Statement,
    arguments: Arguments,
    column: &'static str,
    timeout: Duration,
    /// When the connections were asked for.
    began: Instant,
    meter: Arc<Meter>,
}

impl Reading {
    async fn fold<S>(
        self,
        mut part: Part,
        start: impl Fn(&Columns<'_>) -> Result<S, String>,
        step: impl Fn(&mut S, &Row) -> Result<(), String>,
    ) -> Result<(S, Connection), Unread> {
        let Self { statement, arguments, column, timeout, began, meter } = self;
        meter.queries.add(1);
        let mut rows = part.query(&statement, &arguments, column, timeout).await?;
        let mut state = start(&Columns(rows.columns())).map_err(Unread::Refused)?;
        while let Some(row) = rows.next().await? {
            count(&meter, &row);
            step(&mut state, &row).map_err(Unread::Refused)?;
        }
        drop(rows);
        meter.database.add_time(began.elapsed());
        Ok((state, part.into_connection()))
    }
}
