//! Sessions that see one snapshot, and the part of a statement's rows that each of them reads.

use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use sqlx::Row as _;

use super::{Kind, Session};
use crate::database::{Arguments, Error, ErrorKind, Rows, Statement, require};

/// What one session of several reads: rows by a hash of a column.
pub(in crate::database) struct Share<'s> {
    pub column: &'s str,
    /// From 0.
    pub nth: u32,
    pub of: u32,
}

impl Share<'_> {
    /// What stands before the statement and behind it, so that of its rows only this part is left.
    pub(super) fn around(&self, names: &[String], kinds: &[Kind]) -> Result<(String, String), Error> {
        let index =
            require(names, self.column).map_err(|why| Error { position: Some((1, 1)), ..Error::permanent(why) })?;
        let quoted = format!("\"{}\"", self.column.replace('"', "\"\""));
        // Ids may all be even, or multiples of a thousand: only their hashes are spread evenly. A text that is made of
        // others may have no collation, without which there is no hash.
        let hash = match kinds[index] {
            Kind::Int => format!("pg_catalog.hashint8({quoted}::pg_catalog.int8)"),
            _ => format!("pg_catalog.hashtext({quoted}::pg_catalog.text COLLATE \"C\")"),
        };
        let Self { nth, of, .. } = self;
        // NULL has no hash, and is read with the first part. The server takes a bare comparison to leave one row in two
        // hundred, and plans joins for so few; of this form it expects every second one.
        let is_of_part = format!("coalesce(pg_catalog.abs({hash} % {of}) = {nth}, {})", *nth == 0);
        // On lines of its own: the statement may end with a comment.
        Ok(("SELECT * FROM (\n".to_owned(), format!("\n) AS warmd_part WHERE {is_of_part}")))
    }
}

/// Begins a transaction in each session; all of them see what the first one does.
pub(in crate::database) async fn share_snapshot(mut sessions: Vec<&mut Session>, limit: Duration) -> Result<(), Error> {
    let Some((first, others)) = sessions.split_first_mut() else { return Ok(()) };
    let exported = first.begin_with("SELECT pg_catalog.pg_export_snapshot();", limit).await?;
    let exported = exported.ok_or_else(|| Error::transient("the server exported no snapshot"))?;
    let snapshot = exported.try_get_raw(0).ok().and_then(|value| value.as_str().ok().map(str::to_owned));
    let snapshot = snapshot.ok_or_else(|| Error::transient("the server exported a snapshot without a name"))?;
    let import = format!("SET TRANSACTION SNAPSHOT '{snapshot}';");
    // It lasts as long as the first one's transaction, which is open until its rows have been read.
    let imported = try_join_all(others.iter_mut().map(|session| session.begin_with(&import, limit))).await;
    imported.map(|_| ()).map_err(|error| match error.kind {
        // The snapshot is unknown there.
        ErrorKind::Permanent | ErrorKind::Data => {
            Error::transient(format!("{error}; do all connections lead to the same server?"))
        }
        _ => error,
    })
}

impl Session {
    /// Runs a statement in the transaction that [`share_snapshot`] has begun, for a share of its rows.
    pub async fn query_share(
        &mut self,
        statement: &Statement,
        arguments: &Arguments,
        share: &Share<'_>,
        limit: Duration,
    ) -> Result<Rows<'_>, Error> {
        self.read(statement, arguments, Some(share), limit, Instant::now()).await
    }
}
