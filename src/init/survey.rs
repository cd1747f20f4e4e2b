//! Asks a database for what its catalogue does not say: when things happened.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::{
    Flags, Shop, Source, Time,
    roles::{Events, Undecided, roles},
    times::{Extent, Form, TimeColumn},
};
use crate::database::{Argument, Arguments, Catalog, Connection, Database, Engine, Error, Value, moment};

/// How long a question may take. A table without an index over its times is read as a whole for the oldest and the newest.
const QUESTION: Duration = Duration::from_secs(5);

/// Nobody's events are older.
const LONGEST_SPAN: u64 = 30 * 365 * 86_400;

/// Looks at a database and tells what jobs can be made of. Takes about a minute at most.
///
/// # Errors
///
/// The database does not answer, or refuses.
pub async fn survey(database: &Database, flags: &Flags, now: DateTime<Utc>) -> Result<Result<Shop, Undecided>, Error> {
    let mut connection = database.connect().await?;
    let found = look(&mut connection, database.engine(), flags, now).await;
    connection.close().await;
    found
}

async fn look(
    connection: &mut Connection,
    engine: Engine,
    flags: &Flags,
    now: DateTime<Utc>,
) -> Result<Result<Shop, Undecided>, Error> {
    let catalog = connection.catalog(engine).await?;
    let hints = match flags.resolve(&catalog) {
        Ok(hints) => hints,
        Err(wrong) => return Ok(Err(Undecided(wrong))),
    };
    let roles = match roles(&catalog, &hints) {
        Ok(roles) => roles,
        Err(undecided) => return Ok(Err(undecided)),
    };
    let mut sources: Vec<Source> = Vec::new();
    for events in roles.events {
        let time = time_of(connection, &catalog, &events, now).await?;
        if let (None, Some((_, Some(column)))) = (&time, &hints.events) {
            let why = format!("`{column}` does not tell when the rows of `{}` happened", catalog.tables[events.table]);
            return Ok(Err(Undecided(vec![why])));
        }
        // Beside events of the past, others of no time would count as if they all happened now.
        let fits = sources.first().is_none_or(|first| first.time.is_some() && time.is_some());
        if fits {
            sources.push(Source { events, time });
        }
    }
    Ok(Ok(Shop { catalog, sources, categories: roles.categories, now }))
}

/// The first of the columns that holds moments of the past, and from when to when these are.
async fn time_of(
    connection: &mut Connection,
    catalog: &Catalog,
    events: &Events,
    now: DateTime<Utc>,
) -> Result<Option<Time>, Error> {
    let engine = catalog.engine;
    for column in &events.times {
        let table = match column.step {
            0 => events.table,
            step => events.user.via[step - 1].key.table,
        };
        let quoted = (catalog.tables[table].quoted(engine), engine.quoted(&column.column));
        let Some(form) = form(connection, engine, column, &quoted).await? else { continue };
        let rows = catalog.tables[events.table].rows;
        let by_value = ends_by_value(connection, engine, form, &quoted, now).await?;
        let ends = match by_value {
            Some(ends) => Some(ends),
            None => ends_by_key(connection, catalog, table, form, &quoted).await?,
        };
        let Some((oldest, newest)) = ends.filter(|(_, newest)| *newest <= now.timestamp()) else { continue };
        let seconds = |from: i64, to: i64| u64::try_from(to - from).unwrap_or_default();
        let span = seconds(oldest, newest).min(LONGEST_SPAN);
        let extent = Extent { span, age: seconds(newest, now.timestamp()), events: rows };
        return Ok(Some(Time { column: column.clone(), form, extent }));
    }
    Ok(None)
}

/// How a column's values are moments. An expression, because SQLite tells values of columns as these are declared.
async fn form(
    connection: &mut Connection,
    engine: Engine,
    column: &TimeColumn,
    (table, quoted): &(String, String),
) -> Result<Option<Form>, Error> {
    let some = format!("SELECT {quoted} AS found FROM {table} WHERE {quoted} IS NOT NULL LIMIT 100");
    let sql = format!("SELECT max(found) AS newest FROM ({some}) AS some_rows");
    let values = ask(connection, engine, &sql, &Arguments::new()).await?;
    let value = values.and_then(|values| values.into_iter().next().flatten());
    Ok(value.and_then(|value| Form::of(engine, column.kind, &value)))
}

/// The oldest and the newest moment up to now, in Unix seconds.
async fn ends_by_value(
    connection: &mut Connection,
    engine: Engine,
    form: Form,
    (table, quoted): &(String, String),
    now: DateTime<Utc>,
) -> Result<Option<(i64, i64)>, Error> {
    let (compared, limit) = (form.compared(quoted), form.parameter(engine, "now"));
    let at = form.at(quoted);
    let sql = format!("SELECT min({at}) AS oldest, max({at}) AS newest FROM {table} WHERE {compared} <= {limit}");
    let arguments: Arguments = [("now".to_owned(), Argument::One(Value::Time(now)))].into();
    Ok(ask(connection, engine, &sql, &arguments).await?.and_then(ends))
}

/// The moments of the rows with the smallest and the largest key, for tables that are too large to be read: rows are
/// added as things happen.
async fn ends_by_key(
    connection: &mut Connection,
    catalog: &Catalog,
    table: usize,
    form: Form,
    (quoted_table, quoted): &(String, String),
) -> Result<Option<(i64, i64)>, Error> {
    let engine = catalog.engine;
    let [key] = catalog.tables[table].primary_key.as_slice() else { return Ok(None) };
    let (key, at) = (engine.quoted(key), form.at(quoted));
    let one = |order: &str| {
        format!("(SELECT {at} FROM {quoted_table} WHERE {quoted} IS NOT NULL ORDER BY {key} {order} LIMIT 1)")
    };
    let sql = format!("SELECT {} AS oldest, {} AS newest", one("ASC"), one("DESC"));
    Ok(ask(connection, engine, &sql, &Arguments::new()).await?.and_then(ends))
}

/// The oldest may be no moment at all, as MySQL's zero dates; then the events are as old as can be.
fn ends(values: Vec<Option<String>>) -> Option<(i64, i64)> {
    let seconds = |value: &Option<String>| moment::seconds_of(value.as_deref()?);
    let newest = seconds(values.get(1)?)?;
    Some((seconds(values.first()?).unwrap_or(0).min(newest), newest))
}

/// The values of the only row; `None` when the server does not answer in time or cannot deal with what is there.
async fn ask(
    connection: &mut Connection,
    engine: Engine,
    sql: &str,
    arguments: &Arguments,
) -> Result<Option<Vec<Option<String>>>, Error> {
    match connection.values(engine, sql, arguments, QUESTION).await {
        Ok(values) => Ok(Some(values)),
        Err(_) if connection.is_usable() => Ok(None),
        Err(error) => Err(error),
    }
}
