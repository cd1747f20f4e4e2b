//! PostgreSQL: one cursor a statement, read in text format.
//!
//! Text is what the server writes fastest and exactly; the extended protocol alone can bind values. A cursor joins the
//! two: `DECLARE` takes the bound values, `FETCH` by the simple protocol gives text.

use std::{
    collections::HashMap,
    mem,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::TryStreamExt as _;
use sqlx::{
    AssertSqlSafe, Column as _, Connection as _, Executor as _, Row as _, SqlSafeStr as _, Statement as _,
    postgres::{PgArguments, PgConnectOptions, PgConnection, PgRow, PgTypeInfo, types::Oid},
};
use tokio_util::task::AbortOnDropHandle;

use super::{
    Arguments, Error, ErrorKind, Row, RowKind, Rows, Statement,
    rows::{self, Outbox},
    statement::Rendered,
};

mod decode;
mod encode;
mod part;
mod row;
mod types;

pub(super) use part::{Share, share_snapshot};
pub(super) use row::Row as PostgresRow;

use decode::Kind;
use row::Block;
use types::Types;

/// What every session is set to.
///
/// A cursor is read to its end, so the planner must not favour the first rows. An abandoned session ends by itself,
/// but only after a pause that a throttled reader may well make. Text forms of values must not depend on the server.
const SESSION: &str = "SET default_transaction_read_only = on; \
    SET idle_in_transaction_session_timeout = '30min'; \
    SET cursor_tuple_fraction = 1; \
    SET standard_conforming_strings = on; \
    SET TimeZone = 'UTC'; SET DateStyle = 'ISO, MDY'; SET IntervalStyle = 'postgres'; SET bytea_output = 'hex'; \
    SET extra_float_digits = 3";

/// Servers from 14 on notice within half a second that the other side of a working query has gone. Older servers do
/// not know the setting, and some platforms cannot do it.
const NOTICE_GONE: &str = "SELECT set_config(name, '500ms', false) FROM pg_catalog.pg_settings \
    WHERE name = 'client_connection_check_interval'";

const DECLARE: &str = "DECLARE warmd NO SCROLL CURSOR FOR ";

/// What a transaction goes back to when the server has refused a statement that can be put in another way.
const SAVEPOINT: &str = "SAVEPOINT warmd";
const BACK_TO_SAVEPOINT: &str = "ROLLBACK TO SAVEPOINT warmd";

/// The first fetch, the largest one, and how much a fetch should bring.
const FIRST_FETCH: usize = 100;
const LARGEST_FETCH: usize = 5_000;
const FETCH_BYTES: usize = 1 << 20;

/// Rows are handed on before a fetch has ended when they are larger than foreseen.
const HELD_BYTES: usize = 2 * FETCH_BYTES;

/// One session.
pub(super) struct Session {
    /// Away while a task reads a statement's rows, and for good when that task was dropped.
    connection: Option<PgConnection>,
    place: String,
    usable: bool,
    types: Types,
}

/// What the server finds out about a statement.
struct Described {
    names: Vec<String>,
    kinds: Vec<Kind>,
    parameters: Vec<PgTypeInfo>,
}

impl Session {
    pub async fn connect(options: &PgConnectOptions, place: &str) -> Result<Self, Error> {
        // Prepared statements are not kept: a table may change between two runs.
        let options = options.clone().application_name("warmd").statement_cache_capacity(0);
        let failed = |error: sqlx::Error| Error::connecting(&error, place);
        let mut connection = PgConnection::connect_with(&options).await.map_err(failed)?;
        sqlx::raw_sql(SESSION).execute(&mut connection).await.map_err(failed)?;
        if let Err(error) = sqlx::raw_sql(NOTICE_GONE).execute(&mut connection).await {
            tracing::debug!("the server cannot notice lost clients: {}", Error::running(&error, place));
        }
        Ok(Self { connection: Some(connection), place: place.to_owned(), usable: true, types: Types::default() })
    }

    pub async fn close(self) {
        if let Some(connection) = self.connection {
            let _ = connection.close().await;
        }
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
        let started = Instant::now();
        self.begin(limit).await?;
        self.read(statement, arguments, None, limit, started).await
    }

    /// Runs a statement in the transaction that has begun, and ends that with the rows.
    async fn read(
        &mut self,
        statement: &Statement,
        arguments: &Arguments,
        share: Option<&Share<'_>>,
        limit: Duration,
        started: Instant,
    ) -> Result<Rows<'_>, Error> {
        let opened = self.open(statement, arguments, share).await;
        let (columns, kinds) = self.rolled_back(opened).await?;
        let spent = started.elapsed();
        let fetching = Fetching { place: self.place.clone(), kinds: kinds.into(), limit, spent };
        let mut connection = self.connection.take().ok_or_else(given_up)?;
        Ok(Rows::new(columns, limit, move |outbox| async move {
            // A task of its own, so that the server works on the next rows while these are being used.
            let task = tokio::spawn(async move {
                let fetched = fetching.run(&mut connection, outbox).await;
                (connection, fetched)
            });
            let (connection, fetched) = AbortOnDropHandle::new(task).await.map_err(|_| given_up())?;
            self.connection = Some(connection);
            self.rolled_back(fetched).await?;
            self.finish("COMMIT").await
        }))
    }

    pub fn place(&self) -> &str {
        &self.place
    }

    pub fn connection(&mut self) -> Result<&mut PgConnection, Error> {
        self.connection.as_mut().ok_or_else(given_up)
    }

    pub async fn prepare(&mut self, statement: &Statement, limit: Duration) -> Result<Vec<String>, Error> {
        self.begin(limit).await?;
        let columns = self.describe_cursor(statement).await;
        let columns = self.rolled_back(columns).await?;
        self.finish("ROLLBACK").await?;
        Ok(columns)
    }

    /// After an error, ends the transaction. Where that fails too, the first error tells more.
    async fn rolled_back<T>(&mut self, done: Result<T, Error>) -> Result<T, Error> {
        if done.is_err() {
            let _ = self.finish("ROLLBACK").await;
        }
        done
    }

    async fn begin(&mut self, limit: Duration) -> Result<(), Error> {
        self.begin_with("", limit).await.map(|_| ())
    }

    /// Begins a transaction with a command of its own, of which it gives the row.
    async fn begin_with(&mut self, first: &str, limit: Duration) -> Result<Option<PgRow>, Error> {
        // Until the transaction has been closed; a caller that drops the future half way leaves it so.
        self.usable = false;
        let begin = format!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; {first} SET LOCAL statement_timeout = {}; {SAVEPOINT}",
            milliseconds(limit)
        );
        let rows = sqlx::raw_sql(AssertSqlSafe(begin)).fetch_all(self.connection()?).await;
        rows.map(|mut rows| rows.pop()).map_err(|error| Error::running(&error, &self.place))
    }

    async fn finish(&mut self, how: &str) -> Result<(), Error> {
        self.simple(format!("{how}; DEALLOCATE ALL")).await?;
        self.usable = true;
        Ok(())
    }

    async fn simple(&mut self, sql: String) -> Result<(), Error> {
        let done = sqlx::raw_sql(AssertSqlSafe(sql)).execute(self.connection()?).await;
        done.map(|_| ()).map_err(|error| Error::running(&error, &self.place))
    }

    /// Declares the cursor; the names and kinds of its columns.
    async fn open(
        &mut self,
        statement: &Statement,
        arguments: &Arguments,
        share: Option<&Share<'_>>,
    ) -> Result<(Vec<String>, Vec<Kind>), Error> {
        let plain = statement.render(Some(arguments), &HashMap::new())?;
        let Described { names, kinds, parameters } = self.describe(&plain).await?;
        let (before, behind) = share.map(|share| share.around(&names, &kinds)).transpose()?.unwrap_or_default();
        let casts = self.casts(&parameters);
        let rendered = statement.render(Some(arguments), &casts)?;
        let mut values = PgArguments::default();
        for (slot, (bind, parameter)) in rendered.binds.iter().zip(&parameters).enumerate() {
            let refused = |reason| Error::data(format!("parameter :{}: {reason}", bind.name));
            let cast = casts.get(&slot).map(|_| self.types.name(parameter));
            encode::add(&mut values, bind, parameter, cast).map_err(refused)?;
        }
        let prefix = format!("{DECLARE}{before}");
        let declare = format!("{prefix}{}{behind}", rendered.sql);
        let declared = sqlx::query_with(AssertSqlSafe(declare), values).persistent(false);
        let declared = declared.execute(self.connection()?).await;
        declared.map_err(|error| Error::statement(&error, &self.place, &rendered, prefix.len()))?;
        Ok((names, kinds))
    }

    /// Has the server find the columns and the types of the parameters.
    ///
    /// It takes an unknown side of an operator to be like the other: in `:now - interval '1 day'`, an interval. Where
    /// that leads nowhere, moments are told to be timestamptz.
    async fn describe(&mut self, rendered: &Rendered<'_>) -> Result<Described, Error> {
        let inferred = self.describe_as(rendered, &[]).await;
        let moments: Vec<_> = rendered.binds.iter().map(encode::is_moment).collect();
        let fits = |described: &Described| {
            let mut parameters = described.parameters.iter().zip(&moments);
            parameters.all(|(parameter, moment)| !moment || encode::takes_moment(oid(parameter)))
        };
        match inferred {
            Ok(described) if fits(&described) => Ok(described),
            Err(error) if error.kind != ErrorKind::Permanent || !moments.contains(&true) => Err(error),
            inferred => {
                if inferred.is_err() {
                    self.simple(BACK_TO_SAVEPOINT.to_owned()).await?;
                }
                let unspecified = PgTypeInfo::with_oid(Oid(0));
                let told = |moment: &bool| {
                    if *moment { encode::moment_type() } else { unspecified.clone() }
                };
                let types: Vec<_> = moments.iter().map(told).collect();
                let described = self.describe_as(rendered, &types).await;
                // The first error is about the statement as it stands.
                described.or_else(|second| inferred.and(Err(second)))
            }
        }
    }

    async fn describe_as(&mut self, rendered: &Rendered<'_>, types: &[PgTypeInfo]) -> Result<Described, Error> {
        let sql = AssertSqlSafe(rendered.sql.clone()).into_sql_str();
        let prepared = self.connection()?.prepare_with(sql, types).await;
        let prepared = prepared.map_err(|error| Error::statement(&error, &self.place, rendered, 0))?;
        let names = prepared.columns().iter().map(|column| column.name().to_owned());
        let names = rows::distinct(names.collect())?;
        let parameters = match prepared.parameters() {
            Some(sqlx::Either::Left(parameters)) => parameters.to_vec(),
            _ => Vec::new(),
        };
        let columns: Vec<_> = prepared.columns().iter().map(|column| oid(column.type_info())).collect();
        let unread = columns.iter().copied().filter(|oid| Kind::built_in(*oid).is_none());
        let unwritten = parameters.iter().map(oid).filter(|oid| !encode::knows(*oid));
        let connection = self.connection.as_mut().ok_or_else(given_up)?;
        let learned = self.types.learn(connection, unread.chain(unwritten).collect()).await;
        learned.map_err(|error| Error::running(&error, &self.place))?;
        let kinds = columns.into_iter().map(|oid| self.types.kind(oid)).collect();
        Ok(Described { names, kinds, parameters })
    }

    /// Prepares a statement as it would run. A cursor takes less than a statement may be: no writing, in particular.
    async fn describe_cursor(&mut self, statement: &Statement) -> Result<Vec<String>, Error> {
        let plain = statement.render(None, &HashMap::new())?;
        let Described { names, parameters, .. } = self.describe(&plain).await?;
        let casts = self.casts(&parameters);
        let rendered = statement.render(None, &casts)?;
        let bound = |(slot, parameter): (usize, &PgTypeInfo)| match casts.contains_key(&slot) {
            true => encode::text_type(),
            false => parameter.clone(),
        };
        let types: Vec<_> = parameters.iter().enumerate().map(bound).collect();
        let declare = AssertSqlSafe(format!("{DECLARE}{}", rendered.sql)).into_sql_str();
        let prepared = self.connection()?.prepare_with(declare, &types).await;
        prepared.map_err(|error| Error::statement(&error, &self.place, &rendered, DECLARE.len()))?;
        Ok(names)
    }

    /// Parameters of types that have no encoder here are bound as text, for the server to read.
    fn casts(&self, parameters: &[PgTypeInfo]) -> HashMap<usize, String> {
        let unknown = parameters.iter().enumerate().filter(|(_, parameter)| !encode::knows(oid(parameter)));
        unknown.map(|(slot, parameter)| (slot, format!("::text::{}", self.types.name(parameter)))).collect()
    }
}

fn given_up() -> Error {
    Error::transient("the session was given up")
}

/// What it takes to read an open cursor.
struct Fetching {
    place: String,
    kinds: Arc<[Kind]>,
    /// Of the statement.
    limit: Duration,
    /// Of the limit.
    spent: Duration,
}

impl Fetching {
    /// Reads the cursor to its end. A fetch is read at once, whoever waits for its rows: the server counts the time in
    /// which it cannot send.
    async fn run(mut self, connection: &mut PgConnection, outbox: Outbox) -> Result<(), Error> {
        let mut count = FIRST_FETCH;
        loop {
            let started = Instant::now();
            // The server's limit holds for each fetch; the user's for all of them.
            let left = self.limit.checked_sub(self.spent).filter(|left| !left.is_zero());
            let left = left.ok_or_else(|| Error::time_limit("time limit: the statement takes too long"))?;
            let fetch =
                format!("SET LOCAL statement_timeout = {}; FETCH FORWARD {count} FROM warmd", milliseconds(left));
            let (mut held, mut held_bytes, mut bytes, mut got) = (Vec::new(), 0, 0, 0);
            let mut block = Block::new(&self.kinds);
            let mut stream = sqlx::raw_sql(AssertSqlSafe(fetch)).fetch(&mut *connection);
            while let Some(row) = stream.try_next().await.map_err(|error| Error::running(&error, &self.place))? {
                got += 1;
                let size = block.push(&row)? + 16 * row.len();
                bytes += size;
                held_bytes += size;
                if block.is_full() {
                    held.extend(block.take().map(|row| Row(RowKind::Postgres(row))));
                    if held_bytes > HELD_BYTES {
                        outbox.send_all(mem::take(&mut held)).await;
                    } else {
                        outbox.offer(&mut held);
                    }
                    if held.is_empty() {
                        held_bytes = 0;
                    }
                }
            }
            drop(stream);
            self.spent += started.elapsed();
            held.extend(block.take().map(|row| Row(RowKind::Postgres(row))));
            outbox.send_all(held).await;
            if got < count {
                return Ok(());
            }
            let fitting = FETCH_BYTES / (bytes / got).max(1);
            count = fitting.clamp(1, LARGEST_FETCH).min(count * 16);
        }
    }
}

fn oid(of: &PgTypeInfo) -> u32 {
    of.oid().map_or(0, |oid| oid.0)
}

/// At least 1: to the server, 0 is no limit.
fn milliseconds(limit: Duration) -> u128 {
    limit.as_millis().clamp(1, 2_000_000_000)
}
