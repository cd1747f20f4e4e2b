//! How busy a database is, by its own account.

use std::time::Duration;

use sqlx::{AssertSqlSafe, Column as _, Row as _};

use super::{Connection, Error, Session, mysql, postgres};

/// What a database is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LoadLimits {
    /// The longest that a replica may lag behind.
    pub replica_lag: Option<Duration>,
    /// The most connections that may be at work, warmd's among them.
    pub active_connections: Option<u32>,
}

/// What it exceeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overload {
    /// Replication is behind by this; `None` when it does not run at all.
    ReplicaLag(Option<Duration>),
    /// So many connections are at work.
    ActiveConnections(u32),
}

/// On a replica, how long ago what it has last applied was committed, unless it has applied all that it got; on a primary,
/// the largest lag that its replicas report.
const POSTGRES_LAG: &str = "SELECT CASE \
    WHEN NOT pg_is_in_recovery() THEN (SELECT coalesce(max(extract(epoch FROM replay_lag)), 0) FROM pg_stat_replication) \
    WHEN pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() THEN 0 \
    ELSE extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()) END::float8";

/// The state of others' sessions is NULL for a user who may not see it; those count.
const POSTGRES_ACTIVE: &str = "SELECT count(*)::int FROM pg_stat_activity \
    WHERE backend_type = 'client backend' AND state IS DISTINCT FROM 'idle' AND pid <> pg_backend_pid()";

const MYSQL_LAG: &str = "SHOW REPLICA STATUS";
const MYSQL_ACTIVE: &str = "SHOW GLOBAL STATUS LIKE 'Threads_running'";

impl LoadLimits {
    /// Whether there is anything to ask for.
    pub fn is_any(&self) -> bool {
        *self != Self::default()
    }
}

impl Connection {
    /// Asks how busy the server is; what it exceeds, if anything.
    pub async fn overload(&mut self, limits: &LoadLimits) -> Result<Option<Overload>, Error> {
        if let Some(most) = limits.replica_lag {
            let lag = match &mut self.session {
                Session::Postgres(session) => postgres_lag(session).await?,
                Session::MySql(session) => mysql_lag(session).await?,
                Session::Sqlite(_) => Some(Duration::ZERO),
            };
            if lag.is_none_or(|lag| lag > most) {
                return Ok(Some(Overload::ReplicaLag(lag)));
            }
        }
        if let Some(most) = limits.active_connections {
            let active = match &mut self.session {
                Session::Postgres(session) => postgres_active(session).await?,
                Session::MySql(session) => mysql_active(session).await?,
                Session::Sqlite(_) => 0,
            };
            if active > most {
                return Ok(Some(Overload::ActiveConnections(active)));
            }
        }
        Ok(None)
    }
}

async fn postgres_lag(session: &mut postgres::Session) -> Result<Option<Duration>, Error> {
    let row = session.ask(POSTGRES_LAG).await?;
    // NULL on a replica that has never applied anything.
    let seconds: Option<f64> = row.try_get(0).map_err(unreadable)?;
    Ok(seconds.map(|seconds| Duration::from_secs_f64(seconds.max(0.0))))
}

async fn postgres_active(session: &mut postgres::Session) -> Result<u32, Error> {
    let active: i32 = session.ask(POSTGRES_ACTIVE).await?.try_get(0).map_err(unreadable)?;
    Ok(u32::try_from(active).unwrap_or_default())
}

async fn mysql_lag(session: &mut mysql::Session) -> Result<Option<Duration>, Error> {
    let Some(row) = session.ask(MYSQL_LAG).await? else {
        // No replica.
        return Ok(Some(Duration::ZERO));
    };
    // Behind the master in MariaDB, behind the source in MySQL.
    let column = row.columns().iter().position(|column| column.name().starts_with("Seconds_Behind_"));
    let column = column.ok_or_else(|| Error::permanent("SHOW REPLICA STATUS does not tell the lag"))?;
    let seconds: Option<i64> = row.try_get_unchecked(column).map_err(unreadable)?;
    Ok(seconds.map(|seconds| Duration::from_secs(u64::try_from(seconds).unwrap_or_default())))
}

async fn mysql_active(session: &mut mysql::Session) -> Result<u32, Error> {
    let row = session.ask(MYSQL_ACTIVE).await?;
    let row = row.ok_or_else(|| Error::permanent("the server does not tell Threads_running"))?;
    let running: String = row.try_get_unchecked(1).map_err(unreadable)?;
    // The one that asks is among them.
    Ok(running.parse::<u32>().unwrap_or_default().saturating_sub(1))
}

fn unreadable(error: sqlx::Error) -> Error {
    Error::permanent(error.to_string())
}

impl postgres::Session {
    async fn ask(&mut self, sql: &'static str) -> Result<sqlx::postgres::PgRow, Error> {
        let place = self.place().to_owned();
        let row = sqlx::query(AssertSqlSafe(sql)).fetch_one(self.connection()?).await;
        row.map_err(|error| Error::running(&error, &place))
    }
}

impl mysql::Session {
    async fn ask(&mut self, sql: &'static str) -> Result<Option<sqlx::mysql::MySqlRow>, Error> {
        let (connection, place) = self.parts();
        let row = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_optional(connection).await;
        row.map_err(|error| Error::running(&error, place))
    }
}
