//! Where records are kept: one table in any database that warmd may write to.

use std::{path::PathBuf, str::FromStr, time::Duration};

use anyhow::Context;
use chrono::{DateTime, SecondsFormat, Utc};
use secrecy::{ExposeSecret, SecretString};
use sqlx::{
    AnyConnection, AssertSqlSafe, ConnectOptions, Connection, Row,
    any::install_default_drivers,
    sqlite::{SqliteConnectOptions, SqliteJournalMode},
};
use tokio::sync::Mutex;

use crate::{
    database::Engine,
    record::{Outcome, Record},
    settings::HistorySettings,
};

/// The records of past runs.
pub struct History {
    /// One session: records come one after the other, and a pool's housekeeping outlived the last of them.
    connection: Mutex<AnyConnection>,
    engine: Engine,
}

/// A busy database holds a run's end up no longer than this.
const PATIENCE: Duration = Duration::from_secs(5);

/// Text is the type that the three engines agree on; moments sort as text because all are written alike. The columns
/// beside `record` are what queries filter by.
const TABLE: &str = "CREATE TABLE IF NOT EXISTS warmd_runs (
    run_id   VARCHAR(36)  NOT NULL PRIMARY KEY,
    job      VARCHAR(255) NOT NULL,
    started  VARCHAR(32)  NOT NULL,
    finished VARCHAR(32)  NOT NULL,
    outcome  VARCHAR(16)  NOT NULL,
    written  BIGINT       NOT NULL,
    record   TEXT         NOT NULL
)";

impl History {
    /// Opens the history that the settings describe and makes its table; `None` when none is to be kept.
    pub async fn open(settings: &HistorySettings) -> anyhow::Result<Option<Self>> {
        if !settings.enabled {
            return Ok(None);
        }
        let url = match settings.url().map_err(anyhow::Error::msg)? {
            Some(url) => url,
            None => default_url()?,
        };
        Self::open_url(&url).await.map(Some)
    }

    async fn open_url(url: &SecretString) -> anyhow::Result<Self> {
        install_default_drivers();
        let url = url.expose_secret();
        let engine = Engine::from_str(url).map_err(|error| anyhow::anyhow!("history: {error}"))?;
        if engine == Engine::Sqlite {
            create_file(url).await?;
        }
        let any = url.replacen("mariadb://", "mysql://", 1);
        let connecting = tokio::time::timeout(PATIENCE, AnyConnection::connect(&any));
        let mut connection = match connecting.await {
            Ok(connected) => connected.context("the history database cannot be opened")?,
            Err(_) => anyhow::bail!("the history database does not answer"),
        };
        sqlx::query(TABLE).execute(&mut connection).await.context("the history's table cannot be made")?;
        Ok(Self { connection: Mutex::new(connection), engine })
    }

    /// Keeps a record.
    pub async fn add(&self, record: &Record) -> anyhow::Result<()> {
        let sql = self.placeholders(
            "INSERT INTO warmd_runs (run_id, job, started, finished, outcome, written, record) VALUES (?, ?, ?, ?, ?, ?, ?)",
        );
        sqlx::query(AssertSqlSafe(sql))
            .bind(record.run_id.as_str())
            .bind(record.job.as_str())
            .bind(text(record.started))
            .bind(text(record.finished))
            .bind(record.outcome.to_string())
            .bind(i64::try_from(record.counts.written).unwrap_or(i64::MAX))
            .bind(serde_json::to_string(record)?)
            .execute(&mut *self.connection.lock().await)
            .await
            .context("the run could not be recorded")?;
        Ok(())
    }

    /// The newest records first, of one job or of all.
    pub async fn newest(&self, job: Option<&str>, limit: u32) -> anyhow::Result<Vec<Record>> {
        let filter = if job.is_some() { "WHERE job = ?" } else { "" };
        let sql = self.placeholders(&format!(
            "SELECT record FROM warmd_runs {filter} ORDER BY started DESC, run_id DESC LIMIT {limit}"
        ));
        let mut query = sqlx::query(AssertSqlSafe(sql));
        if let Some(job) = job {
            query = query.bind(job.to_owned());
        }
        let rows = query.fetch_all(&mut *self.connection.lock().await).await.context("the history cannot be read")?;
        rows.iter()
            .map(|row| {
                let record: String = row.try_get(0)?;
                serde_json::from_str(&record).context("a record in the history cannot be read")
            })
            .collect()
    }

    /// How long runs of a job take that have something to write: the longest of the last ten, for safety.
    pub async fn expected_duration(&self, job: &str) -> anyhow::Result<Duration> {
        let records = self.newest(Some(job), 10).await?;
        let working = records.iter().filter(|record| record.counts.written > 0 && record.outcome == Outcome::Ok);
        Ok(Duration::from_secs_f64(working.map(|record| record.seconds).fold(0.0, f64::max)))
    }

    /// The newest tick of a job that has a record.
    pub async fn last_scheduled(&self, job: &str) -> anyhow::Result<Option<DateTime<Utc>>> {
        // Runs by hand stand between those of the schedule.
        Ok(self.newest(Some(job), 100).await?.into_iter().filter_map(|record| record.scheduled).max())
    }

    /// Removes records that are older.
    pub async fn forget_before(&self, moment: DateTime<Utc>) -> anyhow::Result<u64> {
        let sql = self.placeholders("DELETE FROM warmd_runs WHERE started < ?");
        let result =
            sqlx::query(AssertSqlSafe(sql)).bind(text(moment)).execute(&mut *self.connection.lock().await).await?;
        Ok(result.rows_affected())
    }

    fn placeholders(&self, sql: &str) -> String {
        if self.engine != Engine::Postgres {
            return sql.to_owned();
        }
        let mut pieces = sql.split('?');
        let first = pieces.next().unwrap_or_default().to_owned();
        pieces.enumerate().fold(first, |sql, (index, piece)| format!("{sql}${}{piece}", index + 1))
    }
}

fn text(moment: DateTime<Utc>) -> String {
    moment.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// The state directory that systemd gives, else the user's.
fn default_url() -> anyhow::Result<SecretString> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let folder = variable("STATE_DIRECTORY")
        .or_else(|| variable("XDG_STATE_HOME").map(|state| state.join("warmd")))
        .or_else(|| variable("HOME").map(|home| home.join(".local/state/warmd")))
        .context("no place for the history: set `history.url`, or STATE_DIRECTORY")?;
    let file = folder.join("history.db");
    let path = file.to_str().context("the history's path is not UTF-8")?;
    Ok(SecretString::from(format!("sqlite:{path}")))
}

/// SQLite makes files only when asked to, and readers must not wait for the writer.
async fn create_file(url: &str) -> anyhow::Result<()> {
    let options = SqliteConnectOptions::from_str(url).context("the history's URL cannot be read")?;
    let file = options.get_filename();
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let shown = file.display().to_string();
    let options = options.create_if_missing(true).journal_mode(SqliteJournalMode::Wal).busy_timeout(PATIENCE);
    options.connect().await.with_context(|| format!("cannot open the history at {shown}"))?;
    Ok(())
}
