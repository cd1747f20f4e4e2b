//! Several connections that read one statement between them.

use std::time::Duration;

use super::{Arguments, Connection, Error, Rows, Session, Statement, answered, postgres};

/// One connection of several that see the same snapshot of a database, each of which reads its own part of a
/// statement's rows.
pub struct Part {
    session: postgres::Session,
    place: String,
    /// From 0.
    nth: u32,
    of: u32,
}

impl Part {
    /// Begins a transaction on each connection, with one snapshot for all: what is committed from now on, none of them
    /// sees. The server ends what takes longer than `timeout`.
    ///
    /// An error of kind [`Permanent`](super::ErrorKind::Permanent) where the engine is not PostgreSQL.
    pub async fn share(connections: Vec<Connection>, timeout: Duration) -> Result<Vec<Self>, Error> {
        let of = u32::try_from(connections.len()).unwrap_or(u32::MAX);
        let part = |(nth, connection): (u32, Connection)| match connection.session {
            Session::Postgres(session) => Ok(Self { session, place: connection.place, nth, of }),
            Session::MySql(_) | Session::Sqlite(_) => {
                Err(Error::permanent("connections share a snapshot with PostgreSQL alone"))
            }
        };
        let mut parts = (0..of).zip(connections).map(part).collect::<Result<Vec<_>, _>>()?;
        let Some(place) = parts.first().map(|part| part.place.clone()) else { return Ok(parts) };
        let sessions = parts.iter_mut().map(|part| &mut part.session).collect();
        answered(postgres::share_snapshot(sessions, timeout), timeout, &place).await?;
        Ok(parts)
    }

    /// Runs a statement for the rows of this part, which `column` decides about: equal values are in one part, and NULL
    /// is in the first. Once for each part; with its last row the transaction is over.
    ///
    /// All rows of the parts are those of the statement if it gives the same ones however often it runs in a snapshot.
    pub async fn query(
        &mut self,
        statement: &Statement,
        arguments: &Arguments,
        column: &str,
        timeout: Duration,
    ) -> Result<Rows<'_>, Error> {
        let share = postgres::Share { column, nth: self.nth, of: self.of };
        let query = self.session.query_share(statement, arguments, &share, timeout);
        answered(query, timeout, &self.place).await
    }

    /// The connection, for other statements.
    pub fn into_connection(self) -> Connection {
        Connection { session: Session::Postgres(self.session), place: self.place }
    }
}
