//! MySQL and MariaDB: prepared statements, streamed in the binary protocol.

use std::{
    borrow::Cow,
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::TryStreamExt as _;
use sqlx::{
    Arguments as _, AssertSqlSafe, Column as _, Connection as _, Decode, Executor as _, MySql, Row as _,
    SqlSafeStr as _, Statement as _, Type, TypeInfo as _,
    mysql::{MySqlArguments, MySqlConnectOptions, MySqlConnection, MySqlRow},
};

use super::{
    Arguments, Cell, Error, Row, RowKind, Rows, Statement, Value, float,
    rows::{self, Outbox},
    statement::Rendered,
};

/// What every session is set to, beside the read-only transactions: a reader that is throttled must not lose the
/// connection because the server waits for it.
const SESSION: &str = "SET SESSION TRANSACTION READ ONLY; SET SESSION net_write_timeout = 3600";

/// One session.
pub(super) struct Session {
    connection: MySqlConnection,
    place: String,
    state: State,
    /// MariaDB, which counts time limits in seconds and by another name.
    mariadb: bool,
    /// The time limit that is set.
    limit: Option<Duration>,
}

struct State {
    usable: bool,
    /// What the server calls the session.
    id: u64,
    abandoned: Abandoned,
}

/// The sessions that were dropped while a statement may have been under way. These servers work on for a client that has
/// gone, up to the statement's time limit.
#[derive(Clone, Default)]
pub(super) struct Abandoned(Arc<Mutex<Vec<u64>>>);

/// A server that is out of reach has nothing to end, or ends it by its own time limit.
const END: Duration = Duration::from_secs(2);

impl Abandoned {
    /// Ends them; a user may always end sessions of its own.
    pub async fn end(&self, options: &MySqlConnectOptions) {
        let ids = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        if ids.is_empty() {
            return;
        }
        let end = async {
            let mut connection = MySqlConnection::connect_with(options).await?;
            for id in &ids {
                // Most have ended by themselves.
                let _ = sqlx::raw_sql(AssertSqlSafe(format!("KILL {id}"))).execute(&mut connection).await;
            }
            connection.close().await
        };
        if !matches!(tokio::time::timeout(END, end).await, Ok(Ok(()))) {
            tracing::debug!("statements of {} sessions may go on up to their time limit", ids.len());
        }
    }
}

impl Drop for State {
    fn drop(&mut self) {
        if !self.usable {
            self.abandoned.0.lock().unwrap_or_else(PoisonError::into_inner).push(self.id);
        }
    }
}

impl Session {
    pub async fn connect(options: &MySqlConnectOptions, place: &str, abandoned: &Abandoned) -> Result<Self, Error> {
        // Operators mean what they mean on this server.
        let options = options.clone().charset("utf8mb4").timezone("+00:00".to_owned()).pipes_as_concat(false);
        let failed = |error: sqlx::Error| Error::connecting(&error, place);
        let mut connection = MySqlConnection::connect_with(&options).await.map_err(failed)?;
        sqlx::raw_sql(SESSION).execute(&mut connection).await.map_err(failed)?;
        let told = sqlx::raw_sql("SELECT VERSION(), CONNECTION_ID()");
        let told = told.fetch_one(&mut connection).await.map_err(failed)?;
        let version: String = told.try_get_unchecked(0).map_err(failed)?;
        let id: u64 = told.try_get_unchecked(1).map_err(failed)?;
        let mariadb = version.contains("MariaDB");
        let state = State { usable: true, id, abandoned: abandoned.clone() };
        Ok(Self { connection, place: place.to_owned(), state, mariadb, limit: None })
    }

    pub fn parts(&mut self) -> (&mut MySqlConnection, &str) {
        (&mut self.connection, &self.place)
    }

    pub async fn close(self) {
        let _ = self.connection.close().await;
    }

    pub fn is_usable(&self) -> bool {
        self.state.usable
    }

    pub async fn query(
        &mut self,
        statement: &Statement,
        arguments: &Arguments,
        limit: Duration,
    ) -> Result<Rows<'_>, Error> {
        let rendered = statement.render(Some(arguments), &HashMap::new())?;
        let mut values = MySqlArguments::default();
        for bind in &rendered.binds {
            add(&mut values, bind.value)
                .map_err(|reason| Error::data(format!("parameter :{}: {reason}", bind.name)))?;
        }
        // Until the transaction has been closed; a caller that drops the future half way leaves it so.
        self.state.usable = false;
        self.limit(limit).await?;
        self.simple("START TRANSACTION READ ONLY").await?;
        let columns = self.describe(&rendered, true).await;
        let columns = self.rolled_back(columns).await?;
        let original = statement.clone();
        let arguments = arguments.clone();
        let sql = rendered.sql;
        let rows = Rows::new(columns, limit, move |mut outbox| async move {
            let fetched = self.fetch(sql, values, &mut outbox).await.map_err(|error| {
                match original.render(Some(&arguments), &HashMap::new()) {
                    Ok(rendered) => Error::statement(&error, &self.place, &rendered, 0),
                    Err(_) => Error::running(&error, &self.place),
                }
            });
            outbox.flush().await;
            self.rolled_back(fetched).await?;
            self.finish("COMMIT").await
        });
        rows.with_columns_of_first_row().await
    }

    pub async fn prepare(&mut self, statement: &Statement) -> Result<Vec<String>, Error> {
        let rendered = statement.render(None, &HashMap::new())?;
        self.state.usable = false;
        // What was prepared before may be older than the table. Runs keep it, and look at the first row: closing has no
        // answer, so the next message waits for the network's delayed acknowledgement, 40 ms.
        self.connection.clear_cached_statements().await.map_err(|error| Error::running(&error, &self.place))?;
        let columns = self.describe(&rendered, false).await;
        self.state.usable = !matches!(&columns, Err(error) if error.kind == super::ErrorKind::Unreachable);
        columns
    }

    async fn describe(&mut self, rendered: &Rendered<'_>, runs: bool) -> Result<Vec<String>, Error> {
        let prepared = self.connection.prepare(AssertSqlSafe(rendered.sql.clone()).into_sql_str()).await;
        let prepared = prepared.map_err(|error| Error::statement(&error, &self.place, rendered, 0))?;
        let names: Vec<_> = prepared.columns().iter().map(|column| column.name().to_owned()).collect();
        rendered.refuse_without_rows(&names, runs)?;
        rows::distinct(names)
    }

    async fn fetch(&mut self, sql: String, values: MySqlArguments, outbox: &mut Outbox) -> Result<(), sqlx::Error> {
        let mut stream = sqlx::query_with(AssertSqlSafe(sql), values).fetch(&mut self.connection);
        while let Some(row) = stream.try_next().await? {
            outbox.send(Row(RowKind::MySql(row))).await;
        }
        Ok(())
    }

    /// Sets the time limit of statements, which lasts until another is set.
    async fn limit(&mut self, limit: Duration) -> Result<(), Error> {
        if self.limit == Some(limit) {
            return Ok(());
        }
        // To the servers, 0 is no limit.
        let limit_ms = limit.as_millis().clamp(1, 2_000_000_000);
        let set = if self.mariadb {
            format!("SET max_statement_time = {}.{:03}", limit_ms / 1000, limit_ms % 1000)
        } else {
            format!("SET max_execution_time = {limit_ms}")
        };
        self.simple(&set).await?;
        self.limit = Some(limit);
        Ok(())
    }

    async fn simple(&mut self, sql: &str) -> Result<(), Error> {
        let done = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut self.connection).await;
        done.map(|_| ()).map_err(|error| Error::running(&error, &self.place))
    }

    async fn finish(&mut self, how: &str) -> Result<(), Error> {
        self.simple(how).await?;
        self.state.usable = true;
        Ok(())
    }

    /// After an error, ends the transaction. Where that fails too, the first error tells more.
    async fn rolled_back<T>(&mut self, done: Result<T, Error>) -> Result<T, Error> {
        if done.is_err() {
            let _ = self.finish("ROLLBACK").await;
        }
        done
    }
}

fn add(values: &mut MySqlArguments, value: Option<&Value>) -> Result<(), String> {
    let added = match value {
        None => return Err("has no value".to_owned()),
        Some(Value::Int(number)) => values.add(*number),
        Some(Value::Text(text)) => values.add(text.as_str()),
        Some(Value::Time(moment)) => values.add(moment.naive_utc()),
    };
    added.map_err(|error| error.to_string())
}

/// The value of a column.
pub(super) fn cell(row: &MySqlRow, index: usize) -> Result<Cell<'_>, Error> {
    let failed = |reason: String| Error::data(format!("column {}: {reason}", index + 1));
    let column = row.try_column(index).map_err(|error| failed(error.to_string()))?;
    let value = row.try_get_raw(index).map_err(|error| failed(error.to_string()))?;
    // Asking for the bytes rather than for NULL: the driver takes a zero date for NULL.
    let Ok(bytes) = <&[u8] as Decode<MySql>>::decode(value) else {
        return Ok(Cell::Null);
    };
    let kind = column.type_info();
    let text = || std::str::from_utf8(bytes).map_err(|error| failed(error.to_string()));
    let short = || failed(format!("{} bytes are too few for {}", bytes.len(), kind.name()));
    Ok(match kind.name() {
        "BOOLEAN" => match bytes {
            [0] => Cell::Bool(false),
            [1] => Cell::Bool(true),
            // TINYINT(1) is BOOLEAN, but holds other numbers as well.
            _ => Cell::Int(signed(bytes)),
        },
        "TINYINT" | "SMALLINT" | "MEDIUMINT" | "INT" | "BIGINT" => Cell::Int(signed(bytes)),
        "TINYINT UNSIGNED" | "SMALLINT UNSIGNED" | "MEDIUMINT UNSIGNED" | "INT UNSIGNED" | "BIGINT UNSIGNED"
        | "YEAR" => whole(unsigned(bytes.iter().rev())),
        "BIT" => whole(unsigned(bytes.iter())),
        "FLOAT" => float::float4(f32::from_le_bytes(bytes.try_into().map_err(|_| short())?)),
        "DOUBLE" => float::float8(f64::from_le_bytes(bytes.try_into().map_err(|_| short())?)),
        "DECIMAL" => Cell::Number(text()?.into()),
        "DATE" => Cell::Text(date(bytes).ok_or_else(short)?.into()),
        "DATETIME" => Cell::Text(date_time(bytes).ok_or_else(short)?.into()),
        // The session's time zone is UTC.
        "TIMESTAMP" => Cell::Text(format!("{}+00:00", date_time(bytes).ok_or_else(short)?).into()),
        "TIME" => Cell::Text(time(bytes).ok_or_else(short)?.into()),
        "JSON" => Cell::json(text()?),
        "NULL" => Cell::Null,
        // ZEROFILL and the like never come with a set's or an enum's name.
        "ENUM" | "SET" => Cell::Text(text()?.into()),
        // Text by its collation: the type codes are those of bytes.
        _ if <str as Type<MySql>>::compatible(kind) => Cell::Text(text()?.into()),
        _ => Cell::bytes(bytes),
    })
}

/// The bytes of a row's values, in the protocol's binary form.
pub(super) fn size(row: &MySqlRow) -> usize {
    let value = |index| <&[u8] as Decode<MySql>>::decode(row.try_get_raw(index).ok()?).ok().map(<[u8]>::len);
    (0..row.len()).filter_map(value).sum()
}

/// Little-endian two's complement of any width.
fn signed(bytes: &[u8]) -> i64 {
    let negative = bytes.last().is_some_and(|last| last & 0x80 != 0);
    let fill: i64 = if negative { -1 } else { 0 };
    bytes.iter().rev().fold(fill, |number, byte| number << 8 | i64::from(*byte))
}

fn unsigned<'b>(from_the_top: impl Iterator<Item = &'b u8>) -> u64 {
    from_the_top.fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn whole(number: u64) -> Cell<'static> {
    i64::try_from(number).map_or_else(|_| Cell::Number(Cow::Owned(number.to_string())), Cell::Int)
}

/// A length byte, then the year in two bytes, month and day; all zero is no bytes at all.
fn date(bytes: &[u8]) -> Option<String> {
    let (year, month, day) = match bytes {
        [0] => (0, 0, 0),
        [_, low, high, month, day, ..] => (u16::from_le_bytes([*low, *high]), *month, *day),
        _ => return None,
    };
    Some(format!("{year:04}-{month:02}-{day:02}"))
}

fn date_time(bytes: &[u8]) -> Option<String> {
    let date = date(bytes)?;
    let (hour, minute, second) = match bytes {
        [_, _, _, _, _, hour, minute, second, ..] => (hour, minute, second),
        _ => (&0, &0, &0),
    };
    let fraction = fraction(bytes.get(8..));
    Some(format!("{date}T{hour:02}:{minute:02}:{second:02}{fraction}"))
}

/// A length byte, the sign, days in four bytes, hour, minute and second.
fn time(bytes: &[u8]) -> Option<String> {
    let (negative, hours, minute, second) = match bytes {
        [0] => (0, 0, 0, 0),
        [_, sign, d0, d1, d2, d3, hour, minute, second, ..] => {
            (*sign, u32::from_le_bytes([*d0, *d1, *d2, *d3]) * 24 + u32::from(*hour), *minute, *second)
        }
        _ => return None,
    };
    let sign = if negative == 0 { "" } else { "-" };
    let fraction = fraction(bytes.get(9..));
    Some(format!("{sign}{hours:02}:{minute:02}:{second:02}{fraction}"))
}

/// Microseconds without closing zeros.
fn fraction(bytes: Option<&[u8]>) -> String {
    let micros = bytes.and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_le_bytes);
    if micros == 0 { String::new() } else { format!(".{micros:06}").trim_end_matches('0').to_owned() }
}
