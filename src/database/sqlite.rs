//! SQLite: the file is opened for reading only. Values have types of their own, whatever their column declares; what it
//! declares says how they are meant.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, Timelike as _, Utc};
use futures_util::TryStreamExt as _;
use sqlx::{
    Arguments as _, AssertSqlSafe, Column as _, Connection as _, Decode, Executor as _, Row as _, SqlSafeStr as _,
    Sqlite, Statement as _, TypeInfo as _, ValueRef as _,
    sqlite::{SqliteArguments, SqliteConnectOptions, SqliteConnection, SqliteRow},
};

use super::{
    Arguments, Cell, Error, ErrorKind, Row, RowKind, Rows, Statement, Value,
    cell::valid_json,
    float, moment,
    rows::{self, Outbox},
    statement::Rendered,
};

/// The read takes the snapshot now, and with it the tables as they are. Otherwise a table that was changed by another
/// process would be noticed only when the statement, prepared for its old columns, begins to run.
const BEGIN: &str = "BEGIN; SELECT 1 FROM sqlite_schema LIMIT 1";

/// How long to wait for a writer that holds the file.
const BUSY: Duration = Duration::from_secs(5);

/// Instructions of SQLite's machine between two looks at the clock: well below a millisecond.
const INSTRUCTIONS: i32 = 2_000;

/// One open file.
pub(super) struct Session {
    connection: SqliteConnection,
    place: String,
    usable: bool,
}

impl Session {
    pub async fn connect(options: &SqliteConnectOptions, place: &str) -> Result<Self, Error> {
        let options = options.clone().read_only(true).create_if_missing(false).busy_timeout(BUSY);
        let options = options.pragma("query_only", "on");
        let connection = SqliteConnection::connect_with(&options).await;
        let connection = connection.map_err(|error| Error::connecting(&error, place))?;
        Ok(Self { connection, place: place.to_owned(), usable: true })
    }

    pub async fn close(self) {
        let _ = self.connection.close().await;
    }

    pub fn is_usable(&self) -> bool {
        self.usable
    }

    pub async fn query(
        &mut self,
        statement: &Statement,
        arguments: &Arguments,
        limit: Duration,
    ) -> Result<Rows<'_>, Error> {
        let rendered = statement.render(Some(arguments), &HashMap::new())?;
        let mut values = SqliteArguments::default();
        for bind in &rendered.binds {
            add(&mut values, bind.value)
                .map_err(|reason| Error::data(format!("parameter :{}: {reason}", bind.name)))?;
        }
        // Until the transaction has been closed; a caller that drops the future half way leaves it so.
        self.usable = false;
        self.limit(Some(limit)).await?;
        self.simple(BEGIN).await?;
        let described = self.describe(&rendered, true).await;
        let (columns, declared) = self.rolled_back(described).await?;
        let sql = rendered.sql;
        Ok(Rows::new(columns, limit, move |mut outbox| async move {
            let fetched = self.fetch(sql, values, declared.into(), limit, &mut outbox).await;
            outbox.flush().await;
            self.rolled_back(fetched).await?;
            self.finish("COMMIT").await
        }))
    }

    pub async fn prepare(&mut self, statement: &Statement) -> Result<Vec<String>, Error> {
        let rendered = statement.render(None, &HashMap::new())?;
        self.usable = false;
        self.simple(BEGIN).await?;
        let described = self.describe(&rendered, false).await;
        let (columns, _) = self.rolled_back(described).await?;
        self.finish("ROLLBACK").await?;
        Ok(columns)
    }

    async fn describe(&mut self, rendered: &Rendered<'_>, runs: bool) -> Result<(Vec<String>, Vec<Declared>), Error> {
        let prepared = self.connection.prepare(AssertSqlSafe(rendered.sql.clone()).into_sql_str()).await;
        let prepared = prepared.map_err(|error| Error::statement(&error, &self.place, rendered, 0))?;
        let names: Vec<_> = prepared.columns().iter().map(|column| column.name().to_owned()).collect();
        rendered.refuse_without_rows(&names, runs)?;
        let names = rows::distinct(names)?;
        let mut tables: HashMap<String, HashMap<String, String>> = HashMap::new();
        let mut declared = Vec::new();
        for column in prepared.columns() {
            let origin = column.origin();
            let Some(origin) = origin.table_column() else {
                declared.push(Declared::Other);
                continue;
            };
            if !tables.contains_key(&*origin.table) {
                let types = self.declared_types(&origin.table).await?;
                tables.insert(origin.table.to_string(), types);
            }
            let declaration = tables.get(&*origin.table).and_then(|types| types.get(&*origin.name));
            declared.push(declaration.map_or(Declared::Other, |declaration| Declared::parse(declaration)));
        }
        Ok((names, declared))
    }

    /// The declared type of each column of a table.
    async fn declared_types(&mut self, table: &str) -> Result<HashMap<String, String>, Error> {
        let rows = sqlx::query("SELECT name, type FROM pragma_table_xinfo(?1)").bind(table);
        let rows = rows.fetch_all(&mut self.connection).await;
        let rows = rows.map_err(|error| Error::running(&error, &self.place))?;
        let read = |row: &SqliteRow| Some((row.try_get(0).ok()?, row.try_get(1).ok()?));
        Ok(rows.iter().filter_map(read).collect())
    }

    async fn fetch(
        &mut self,
        sql: String,
        values: SqliteArguments,
        declared: Arc<[Declared]>,
        limit: Duration,
        outbox: &mut Outbox,
    ) -> Result<(), Error> {
        let mut stream = sqlx::query_with(AssertSqlSafe(sql), values).fetch(&mut self.connection);
        loop {
            match stream.try_next().await {
                Ok(Some(row)) => {
                    outbox.send(Row(RowKind::Sqlite(row, declared.clone()))).await;
                }
                Ok(None) => return Ok(()),
                Err(error) => {
                    let error = Error::running(&error, &self.place);
                    let interrupted = error.kind == ErrorKind::Transient && error.message == "interrupted";
                    return Err(if interrupted { time_limit(limit) } else { error });
                }
            }
        }
    }

    /// Interrupts statements that run longer from now on; `None` takes the limit away.
    async fn limit(&mut self, limit: Option<Duration>) -> Result<(), Error> {
        let handle = self.connection.lock_handle().await;
        let mut handle = handle.map_err(|error| Error::running(&error, &self.place))?;
        match limit {
            Some(limit) => {
                let started = Instant::now();
                handle.set_progress_handler(INSTRUCTIONS, move || started.elapsed() < limit);
            }
            None => handle.remove_progress_handler(),
        }
        Ok(())
    }

    async fn simple(&mut self, sql: &'static str) -> Result<(), Error> {
        let done = sqlx::raw_sql(sql).execute(&mut self.connection).await;
        done.map(|_| ()).map_err(|error| Error::running(&error, &self.place))
    }

    /// Prepared statements are not kept: a table may change before the next run.
    async fn clear(&mut self) -> Result<(), Error> {
        let cleared = self.connection.clear_cached_statements().await;
        cleared.map_err(|error| Error::running(&error, &self.place))
    }

    async fn finish(&mut self, how: &'static str) -> Result<(), Error> {
        // First, or the end of the transaction would be interrupted as well.
        self.limit(None).await?;
        self.simple(how).await?;
        self.clear().await?;
        self.usable = true;
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

fn time_limit(limit: Duration) -> Error {
    Error::time_limit(format!("interrupted by the time limit of {} ms", limit.as_millis()))
}

fn add(values: &mut SqliteArguments, value: Option<&Value>) -> Result<(), String> {
    let added = match value {
        None => return Err("has no value".to_owned()),
        Some(Value::Int(number)) => values.add(*number),
        Some(Value::Text(text)) => values.add(text.clone()),
        Some(Value::Time(moment)) => values.add(moment.format("%Y-%m-%d %H:%M:%S").to_string()),
    };
    added.map_err(|error| error.to_string())
}

/// What a column's declared type says about values that SQLite itself does not tell apart.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Declared {
    Boolean,
    /// `DECIMAL(p,s)`, `NUMERIC(p,s)`: digits behind the point; never in the notation with an exponent.
    Decimal(usize),
    Date,
    Timestamp,
    TimestampTz,
    Json,
    Other,
}

/// As in PostgreSQL, which has more than the others.
const MOST_DIGITS: usize = 16_383;

impl Declared {
    fn parse(declaration: &str) -> Self {
        let declaration = declaration.to_ascii_lowercase();
        let (name, arguments) = declaration.split_once('(').unwrap_or((&declaration, ""));
        let (arguments, behind) = arguments.split_once(')').unwrap_or((arguments, ""));
        match (name.trim(), behind.trim()) {
            ("bool" | "boolean", _) => Declared::Boolean,
            ("decimal" | "numeric" | "dec", _) => {
                let scale = arguments.split_once(',').and_then(|(_, scale)| scale.trim().parse().ok());
                // SQLite takes any declaration for what it is; nobody means as many zeros.
                let scale = scale.filter(|scale| *scale <= MOST_DIGITS);
                Declared::Decimal(scale.unwrap_or(0))
            }
            ("date", _) => Declared::Date,
            ("timestamptz" | "timestamp with time zone", _) | ("timestamp", "with time zone") => Declared::TimestampTz,
            ("datetime" | "timestamp" | "timestamp without time zone", _) => Declared::Timestamp,
            ("json" | "jsonb", _) => Declared::Json,
            _ => Declared::Other,
        }
    }
}

/// The value of a column.
pub(super) fn cell<'r>(row: &'r SqliteRow, index: usize, declared: &[Declared]) -> Result<Cell<'r>, Error> {
    let failed = |error: sqlx::Error| Error::data(format!("column {}: {error}", index + 1));
    let value = row.try_get_raw(index).map_err(failed)?;
    if value.is_null() {
        return Ok(Cell::Null);
    }
    let declared = declared.get(index).copied().unwrap_or(Declared::Other);
    let storage = value.type_info().into_owned();
    Ok(match storage.name() {
        "INTEGER" => {
            let number: i64 = row.try_get_unchecked(index).map_err(failed)?;
            match (declared, number) {
                (Declared::Boolean, 0) => Cell::Bool(false),
                (Declared::Boolean, 1) => Cell::Bool(true),
                (Declared::Decimal(scale), number) => decimal(&number.to_string(), scale),
                _ => Cell::Int(number),
            }
        }
        "REAL" => {
            let number: f64 = row.try_get_unchecked(index).map_err(failed)?;
            match declared {
                Declared::Decimal(scale) if number.is_finite() => decimal(&number.to_string(), scale),
                _ => float::float8(number),
            }
        }
        "BLOB" => Cell::bytes(row.try_get_unchecked(index).map_err(failed)?),
        _ => text(row.try_get_unchecked(index).map_err(failed)?, declared),
    })
}

/// The bytes of a row's values: eight for a number.
pub(super) fn size(row: &SqliteRow) -> usize {
    let value = |index| {
        let value = row.try_get_raw(index).ok()?;
        // Asked for its bytes, a number would be turned into text.
        match value.type_info().name() {
            "NULL" => None,
            "INTEGER" | "REAL" => Some(8),
            _ => <&[u8] as Decode<Sqlite>>::decode(value).ok().map(<[u8]>::len),
        }
    };
    (0..row.len()).filter_map(value).sum()
}

fn text(text: &str, declared: Declared) -> Cell<'_> {
    let meant = match declared {
        Declared::Date => text.parse::<NaiveDate>().ok().map(|date| date.format("%Y-%m-%d").to_string()),
        Declared::Timestamp => moment(text, false),
        Declared::TimestampTz => moment(text, true),
        Declared::Json if valid_json(text).is_ok() => return Cell::json(text),
        _ => None,
    };
    Cell::Text(meant.map_or(text.into(), Into::into))
}

/// Fills the fraction of a number with zeros up to the declared scale. More digits than declared are in the file, so
/// they are told.
fn decimal(digits: &str, scale: usize) -> Cell<'static> {
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let point = if scale == 0 && fraction.is_empty() { "" } else { "." };
    Cell::Number(format!("{whole}{point}{fraction:0<scale$}").into())
}

/// The ways in which SQLite's own functions write a moment, in the form of the other engines: with a `T`, and in UTC
/// where there is a zone.
fn moment(text: &str, zoned: bool) -> Option<String> {
    if let Some((_, "")) = moment::plain(text) {
        let zone = if zoned { "+00:00" } else { "" };
        return Some([&text[..10], "T", &text[11..], zone].concat());
    }
    let with_t = text.trim().replacen(' ', "T", 1);
    if let Ok(moment) = DateTime::parse_from_rfc3339(&with_t) {
        return Some(format!("{}+00:00", written(moment.with_timezone(&Utc).naive_utc())));
    }
    let formats = ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M"];
    let local = formats.iter().find_map(|format| NaiveDateTime::parse_from_str(&with_t, format).ok());
    let local = local.or_else(|| Some(with_t.parse::<NaiveDate>().ok()?.and_time(NaiveTime::MIN)))?;
    Some(if zoned { format!("{}+00:00", written(local)) } else { written(local) })
}

fn written(moment: NaiveDateTime) -> String {
    let seconds = moment.format("%Y-%m-%dT%H:%M:%S");
    match moment.nanosecond() % 1_000_000_000 {
        0 => seconds.to_string(),
        nanos => format!("{seconds}.{nanos:09}").trim_end_matches('0').to_owned(),
    }
}
