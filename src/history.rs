//! Where records are kept: one table in any database that warmd may write to.

use std::{
    collections::VecDeque,
    os::unix::fs::MetadataExt as _,
    path::PathBuf,
    str::FromStr,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use backon::{ExponentialBuilder, Retryable as _};
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use secrecy::{ExposeSecret, SecretString};
use sqlx::{
    AnyConnection, AssertSqlSafe, ConnectOptions, Connection, Row,
    any::{AnyRow, install_default_drivers},
    sqlite::{SqliteConnectOptions, SqliteJournalMode},
};
use tokio::sync::Mutex;

use crate::{
    database::{Database, Engine},
    record::{Outcome, Past, Record},
    settings::HistorySettings,
};

/// The records of past runs. Connects when it is first needed, and again when the connection broke.
pub struct History {
    url: SecretString,
    /// Which engine it is, and the words of a failed connection: nothing is read through it.
    database: Database,
    session: Mutex<Session>,
}

/// Records come one after the other, so one connection does; a pool's housekeeping outlived the last of them.
#[derive(Default)]
struct Session {
    connection: Option<AnyConnection>,
    /// Which file it has open, where it is one.
    file: Option<(u64, u64)>,
    /// What could not be written yet, the oldest first.
    waiting: VecDeque<Record>,
    /// That records wait is in the log.
    is_told: bool,
    /// After a failure that took long nobody waits for the database again before this moment.
    retry_at: Option<Instant>,
}

/// A value that a statement binds.
enum Bound {
    Text(String),
    Number(i64),
}

/// A busy database holds a run's end up no longer than this.
const PATIENCE: Duration = Duration::from_secs(5);

/// Runs come every second; a database that hangs must not cost each of them the whole patience.
const PAUSE: Duration = Duration::from_secs(15);

/// A failure that takes longer is followed by the pause.
const LONG: Duration = Duration::from_secs(1);

/// A few hundred bytes each. The log has them, too.
const MOST_WAITING: usize = 1000;

/// Text is the type that the three engines agree on; moments sort as text because all are written alike. The columns
/// beside `record` are what queries filter by.
const TABLE: &str = "CREATE TABLE IF NOT EXISTS warmd_runs (
    run_id   VARCHAR(36)  NOT NULL PRIMARY KEY,
    job      VARCHAR(255) NOT NULL,
    started  VARCHAR(32)  NOT NULL,
    finished VARCHAR(32)  NOT NULL,
    outcome  VARCHAR(16)  NOT NULL,
    written  BIGINT       NOT NULL,
    record   TEXT         NOT NULL";

/// Every run asks for the last ones of its job, out of months of them. MySQL makes indexes with their table or not at
/// all.
fn tables(engine: Engine) -> Vec<String> {
    match engine {
        Engine::MySql => {
            vec![format!("{TABLE}, INDEX warmd_runs_job (job, started), INDEX warmd_runs_started (started))")]
        }
        Engine::Postgres | Engine::Sqlite => vec![
            format!("{TABLE})"),
            "CREATE INDEX IF NOT EXISTS warmd_runs_job ON warmd_runs (job, started)".to_owned(),
            "CREATE INDEX IF NOT EXISTS warmd_runs_started ON warmd_runs (started)".to_owned(),
        ],
    }
}

/// Of SQLite: in its cache, in KiB, the newest records of some jobs, not months of them. And a run does not wait for the
/// disk, which may stall for seconds: a power cut may take the newest records, and never the file.
const TREATMENT: [&str; 2] = ["PRAGMA cache_size = -256", "PRAGMA synchronous = NORMAL"];

impl History {
    /// The history that the settings describe; `None` when none is to be kept. Connects to nothing.
    pub fn new(settings: &HistorySettings) -> anyhow::Result<Option<Self>> {
        if !settings.enabled {
            return Ok(None);
        }
        install_default_drivers();
        let url = match settings.url().map_err(anyhow::Error::msg)? {
            Some(url) => url,
            None => default_url()?,
        };
        let database = Database::new(&url).map_err(|error| anyhow::anyhow!("history: {error}"))?;
        Ok(Some(Self { url, database, session: Mutex::default() }))
    }

    /// Keeps a record: now, or together with a later one when the database cannot be reached. A broken history fails no
    /// run; that it broke, and that it works again, is in the log once.
    pub async fn keep(&self, record: &Record) {
        let mut session = self.session.lock().await;
        session.waiting.push_back(record.clone());
        if !session.is_pausing() {
            self.write_waiting(&mut session).await;
        }
        if session.waiting.len() > MOST_WAITING {
            session.waiting.pop_front();
        }
    }

    /// The last chance for records that wait; whether none is left.
    pub async fn close(&self) -> bool {
        let mut session = self.session.lock().await;
        if !session.waiting.is_empty() {
            self.write_waiting(&mut session).await;
        }
        let lost = session.waiting.len();
        if lost > 0 {
            tracing::error!("lost for the history: the records of {lost} runs");
        }
        lost == 0
    }

    async fn write_waiting(&self, session: &mut Session) {
        while let Some(record) = session.waiting.front() {
            let record = record.clone();
            match self.add(session, &record).await {
                Ok(()) => _ = session.waiting.pop_front(),
                Err(error) if is_refused(&error) => {
                    tracing::warn!("{}: the history does not take the record of a run: {error:#}", record.job);
                    session.waiting.pop_front();
                }
                Err(error) => {
                    if !std::mem::replace(&mut session.is_told, true) {
                        tracing::warn!("runs are not recorded, for now: {error:#}");
                    }
                    return;
                }
            }
        }
        if std::mem::take(&mut session.is_told) {
            tracing::info!("runs are recorded again, also those that waited for it");
        }
    }

    async fn add(&self, session: &mut Session, record: &Record) -> anyhow::Result<()> {
        let sql = "INSERT INTO warmd_runs (run_id, job, started, finished, outcome, written, record) VALUES (?, ?, ?, ?, ?, ?, ?)";
        let values = [
            Bound::Text(record.run_id.clone()),
            Bound::Text(record.job.clone()),
            Bound::Text(text(record.started)),
            Bound::Text(text(record.finished)),
            Bound::Text(record.outcome.to_string()),
            Bound::Number(i64::try_from(record.counts.written).unwrap_or(i64::MAX)),
            Bound::Text(serde_json::to_string(record)?),
        ];
        match self.ask(session, sql, &values).await {
            // The connection broke after the record had arrived.
            Err(error) if database_error(&error).is_some_and(|error| error.is_unique_violation()) => Ok(()),
            result => result.map(|_| ()).context("the run could not be recorded"),
        }
    }

    /// The newest records first, of one job or of all.
    pub async fn newest(&self, job: Option<&str>, limit: u32) -> anyhow::Result<Vec<Record>> {
        self.newest_since(job, None, limit).await
    }

    /// The same of runs that began at this moment or later.
    pub async fn newest_since(
        &self,
        job: Option<&str>,
        since: Option<DateTime<Utc>>,
        limit: u32,
    ) -> anyhow::Result<Vec<Record>> {
        let conditions =
            [("job = ?", job.map(str::to_owned)), ("started >= ?", since.map(|since| text(since.min(last_moment()))))];
        let (filters, values): (Vec<&str>, Vec<Bound>) =
            conditions.into_iter().filter_map(|(filter, value)| Some((filter, Bound::Text(value?)))).unzip();
        let filter = if filters.is_empty() { String::new() } else { format!("WHERE {}", filters.join(" AND ")) };
        let sql = format!("SELECT record FROM warmd_runs {filter} ORDER BY started DESC, run_id DESC LIMIT {limit}");
        let rows = self.read(&sql, &values).await.context("the history cannot be read")?;
        rows.iter()
            .map(|row| {
                let record: String = row.try_get(0)?;
                serde_json::from_str(&record).context("a record in the history cannot be read")
            })
            .collect()
    }

    /// What the last runs of a job tell the next one: how long they take that have something to write, the longest of the
    /// last ten for safety, and how many keys the last one had that looked at all.
    pub async fn past(&self, job: &str) -> anyhow::Result<Past> {
        let records = self.newest(Some(job), 10).await?;
        let whole = || records.iter().filter(|record| record.outcome == Outcome::Ok && !record.restricted);
        let working = records.iter().filter(|record| record.counts.written > 0 && record.outcome == Outcome::Ok);
        Ok(Past {
            expected: Duration::from_secs_f64(working.map(|record| record.seconds).fold(0.0, f64::max)),
            keys: whole().next().map(|record| record.counts.keys),
        })
    }

    /// The moment up to which the ticks of a job have had their runs; `None` when there is no record of any.
    pub async fn done_until(&self, job: &str) -> anyhow::Result<Option<DateTime<Utc>>> {
        // Between them stand runs by hand.
        let records = self.newest(Some(job), 100).await?;
        let done = records.iter().filter(|record| record.ends_its_tick()).filter_map(|record| record.scheduled).max();
        let oldest = records.iter().filter_map(|record| record.scheduled).min();
        Ok(done.or(oldest.map(|oldest| oldest - TimeDelta::seconds(1))))
    }

    /// Removes records that are older.
    pub async fn forget_before(&self, moment: DateTime<Utc>) -> anyhow::Result<()> {
        self.read("DELETE FROM warmd_runs WHERE started < ?", &[Bound::Text(text(moment))]).await.map(|_| ())
    }

    async fn read(&self, sql: &str, values: &[Bound]) -> anyhow::Result<Vec<AnyRow>> {
        let mut session = self.session.lock().await;
        if session.is_pausing() {
            bail!("it did not answer a moment ago");
        }
        // Whoever only looks makes no file, least of all where a path is misspelt.
        if self.database.engine() == Engine::Sqlite && session.connection.is_none() && self.file().is_none() {
            return Ok(Vec::new());
        }
        self.ask(&mut session, sql, values).await
    }

    /// Sends a statement, `?` in it for the values. A connection that was open may have died since, so that one failure
    /// on it is not one of the database.
    async fn ask(&self, session: &mut Session, sql: &str, values: &[Bound]) -> anyhow::Result<Vec<AnyRow>> {
        let sql = self.placeholders(sql);
        let asked = Instant::now();
        // SQLite would write on to a file that was removed, and with it what it writes.
        if session.connection.is_some() && session.file != self.file() {
            session.connection = None;
        }
        loop {
            let (connection, is_new) = match session.connection.take() {
                Some(connection) => (Ok(connection), false),
                None => (self.connect().await, true),
            };
            let answer = match connection {
                Ok(mut connection) => {
                    let mut query = sqlx::query(AssertSqlSafe(sql.clone()));
                    for value in values {
                        query = match value {
                            Bound::Text(text) => query.bind(text.clone()),
                            Bound::Number(number) => query.bind(*number),
                        };
                    }
                    match tokio::time::timeout(PATIENCE, query.fetch_all(&mut connection)).await {
                        Ok(Ok(rows)) => {
                            if is_new {
                                session.file = self.file();
                            }
                            (session.connection, session.retry_at) = (Some(connection), None);
                            return Ok(rows);
                        }
                        Ok(Err(_)) if !is_new => continue,
                        Ok(Err(error)) => Err(error.into()),
                        Err(_) => Err(anyhow::anyhow!("the history database does not answer")),
                    }
                }
                Err(error) => Err(error),
            };
            session.retry_at = (asked.elapsed() > LONG).then(|| Instant::now() + PAUSE);
            return answer;
        }
    }

    /// Which file is there now, for SQLite.
    fn file(&self) -> Option<(u64, u64)> {
        if self.database.engine() != Engine::Sqlite {
            return None;
        }
        let options = SqliteConnectOptions::from_str(self.url.expose_secret()).ok()?;
        let found = std::fs::metadata(options.get_filename()).ok()?;
        Some((found.dev(), found.ino()))
    }

    /// Connects, and makes the table when there is none.
    async fn connect(&self) -> anyhow::Result<AnyConnection> {
        let url = self.url.expose_secret();
        if self.database.engine() == Engine::Sqlite {
            create_file(url).await?;
        }
        let any = url.replacen("mariadb://", "mysql://", 1);
        let connecting = async {
            let connection = AnyConnection::connect(&any).await.map_err(|error| self.database.out_of_reach(&error));
            let mut connection = connection.context("the history cannot be opened")?;
            if self.database.engine() == Engine::Sqlite {
                for pragma in TREATMENT {
                    sqlx::query(pragma).execute(&mut connection).await?;
                }
            }
            for sql in tables(self.database.engine()) {
                let made = sqlx::query(AssertSqlSafe(sql)).execute(&mut connection).await;
                made.context("the history's table cannot be made")?;
            }
            Ok(connection)
        };
        match tokio::time::timeout(PATIENCE, connecting).await {
            Ok(connection) => connection,
            Err(_) => bail!("the history database does not answer"),
        }
    }

    fn placeholders(&self, sql: &str) -> String {
        if self.database.engine() != Engine::Postgres {
            return sql.to_owned();
        }
        let mut pieces = sql.split('?');
        let first = pieces.next().unwrap_or_default().to_owned();
        pieces.enumerate().fold(first, |sql, (index, piece)| format!("{sql}${}{piece}", index + 1))
    }
}

impl Session {
    fn is_pausing(&self) -> bool {
        self.retry_at.is_some_and(|moment| Instant::now() < moment)
    }
}

fn database_error(error: &anyhow::Error) -> Option<&dyn sqlx::error::DatabaseError> {
    error.downcast_ref::<sqlx::Error>()?.as_database_error()
}

/// The record itself is the trouble: SQLSTATE class 22, a value that does not fit.
fn is_refused(error: &anyhow::Error) -> bool {
    database_error(error).and_then(|error| error.code()).is_some_and(|code| code.starts_with("22"))
}

fn is_busy(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|error| error.code()).is_some_and(|code| code == "5")
}

/// The last that sorts as text: a year of five digits begins with a sign.
fn last_moment() -> DateTime<Utc> {
    DateTime::from_timestamp_millis(253_402_300_799_999).unwrap_or(DateTime::<Utc>::MAX_UTC)
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
    // Two that make the file at the same moment get in each other's way, and SQLite does not wait then.
    let pauses =
        ExponentialBuilder::default().with_min_delay(Duration::from_millis(20)).with_max_times(6).with_jitter();
    let open = || options.connect();
    open.retry(pauses).when(is_busy).await.with_context(|| format!("cannot open the history at {shown}"))?;
    Ok(())
}
