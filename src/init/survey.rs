//! Asks a database for what its catalogue does not say: when things happened.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::{
    Flags, Shop, Source, Time,
    categories::Categories,
    roles::{Events, Undecided, roles},
    times::{Extent, Form},
};
use crate::database::{Argument, Arguments, Catalog, Connection, Database, Engine, Error, Value, moment};

/// How long a question may take. A table without an index over its times is read as a whole for the oldest and the newest.
const QUESTION: Duration = Duration::from_secs(5);

/// Nobody's events are older.
const LONGEST_SPAN: u64 = 30 * 365 * 86_400;

/// What says that a moment is not known lies before: zero, the beginning of the calendar, of all time.
const FIRST: DateTime<Utc> = match DateTime::from_timestamp(365 * 86_400, 0) {
    Some(first) => first,
    None => DateTime::UNIX_EPOCH,
};

/// As many values say what a column holds.
const SOME: u32 = 100;

/// At most as many of the newest events are left out for being far off the others.
const NEW_STRAYS: u64 = 3;

/// At most as many of the oldest. The server has to pass over them.
const OLD_STRAYS: u64 = 100_000;

/// What stands for all categories, unless a category is called so.
pub(super) const ANY_CATEGORY: &str = "None";

/// What may stand for them then.
const OTHER_WORDS: [&str; 4] = ["All", "Any", "Everything", "(all)"];

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
    if engine == Engine::MySql && !has_database(connection).await? {
        let why = "the URL names no database: write its name behind the host, mysql://HOST/DATABASE";
        return Ok(Err(Undecided(vec![why.to_owned()])));
    }
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
    let products = sources.first().and_then(|source| source.events.product.end.as_ref()).map(|(table, _)| *table);
    let any_category = match (&roles.categories, products) {
        (Some(categories), Some(products)) => any_category(connection, &catalog, categories, products).await?,
        _ => ANY_CATEGORY,
    };
    Ok(Ok(Shop { catalog, sources, categories: roles.categories, any_category, now }))
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
        let place = match column.step {
            0 => events.table,
            step => events.user.via[step - 1].key.table,
        };
        let table = &catalog.tables[place];
        let (name, quoted) = (table.quoted(engine), engine.quoted(&column.column));
        // An expression, because SQLite tells values of columns as these are declared.
        let sql =
            format!("SELECT coalesce({quoted}, NULL) AS found FROM {name} WHERE {quoted} IS NOT NULL LIMIT {SOME}");
        let some = list(connection, engine, &sql, &Arguments::new()).await?.unwrap_or_default();
        let Some(form) = Form::of_most(engine, column.kind, &some) else { continue };
        let moments = Moments::new(engine, name, form, &quoted, now);
        let ends = match moments.ends(connection).await? {
            Some(ends) => Some(moments.without_strays(connection, ends, table.rows.unwrap_or_default()).await?),
            None => match table.primary_key.as_slice() {
                [key] => moments.ends_by_key(connection, &engine.quoted(key)).await?,
                _ => None,
            },
        };
        let Some(Ends { oldest, newest, has_strays }) = ends else { continue };
        let span = seconds(oldest, newest).min(LONGEST_SPAN);
        let events = catalog.tables[events.table].rows;
        let extent = Extent { span, age: seconds(newest, now.timestamp()), events, has_strays };
        return Ok(Some(Time { column: column.clone(), form, extent }));
    }
    Ok(None)
}

fn seconds(from: i64, to: i64) -> u64 {
    u64::try_from(to.saturating_sub(from)).unwrap_or_default()
}

/// When the oldest and the newest event happened, in Unix seconds.
#[derive(Clone, Copy)]
struct Ends {
    oldest: i64,
    newest: i64,
    has_strays: bool,
}

/// The moments of a column that are some, up to now.
struct Moments {
    engine: Engine,
    table: String,
    compared: String,
    /// In Unix seconds, or as a moment.
    at: String,
    within: String,
    arguments: Arguments,
}

impl Moments {
    fn new(engine: Engine, table: String, form: Form, quoted: &str, now: DateTime<Utc>) -> Self {
        let compared = form.compared(engine, quoted);
        let (since, until) = (form.parameter(engine, "since"), form.parameter(engine, "now"));
        let within = format!("{compared} >= {since} AND {compared} <= {until}");
        let bound = |name: &str, moment| (name.to_owned(), Argument::One(Value::Time(moment)));
        let arguments = [bound("since", FIRST), bound("now", now)].into();
        Self { engine, table, compared, at: form.at(engine, quoted), within, arguments }
    }

    async fn ends(&self, connection: &mut Connection) -> Result<Option<Ends>, Error> {
        let Self { table, at, within, .. } = self;
        let sql = format!("SELECT min({at}) AS oldest, max({at}) AS newest FROM {table} WHERE {within}");
        let values = row(connection, self.engine, &sql, &self.arguments).await?.unwrap_or_default();
        let seconds = |value: &Option<String>| moment::seconds_of(value.as_deref()?);
        Ok(match values.as_slice() {
            [oldest, newest] => seconds(oldest).zip(seconds(newest)),
            _ => None,
        }
        .map(|(oldest, newest)| Ends { oldest, newest, has_strays: false }))
    }

    /// Leaves out the oldest and the newest where these few are farther from the others than the others from each other:
    /// a row that somebody wrote by hand would make all windows long.
    async fn without_strays(&self, connection: &mut Connection, ends: Ends, rows: u64) -> Result<Ends, Error> {
        // Of ten rows one may be wrong, of more one in a hundred.
        let few = (rows / 100).max((rows / 10).min(NEW_STRAYS));
        let (old, new) = (few.min(OLD_STRAYS), few.min(NEW_STRAYS));
        if few == 0 {
            return Ok(ends);
        }
        let Some(oldest) = self.nth(connection, "ASC", old).await? else { return Ok(ends) };
        let Some(newest) = self.nth(connection, "DESC", new).await?.filter(|newest| oldest <= *newest) else {
            return Ok(ends);
        };
        let others = seconds(oldest, newest);
        let is_far = |from: i64, to: i64| seconds(from, to) > others;
        let (is_old, is_new) = (is_far(ends.oldest, oldest), is_far(newest, ends.newest));
        Ok(Ends {
            oldest: if is_old { oldest } else { ends.oldest },
            newest: if is_new { newest } else { ends.newest },
            has_strays: is_old || is_new,
        })
    }

    /// The moment that so many others come before, in an order.
    async fn nth(&self, connection: &mut Connection, order: &str, nth: u64) -> Result<Option<i64>, Error> {
        let Self { table, compared, at, within, .. } = self;
        let sql = format!(
            "SELECT coalesce({at}, NULL) AS found FROM {table} WHERE {within} ORDER BY {compared} {order} LIMIT 1 OFFSET {nth}"
        );
        let found = list(connection, self.engine, &sql, &self.arguments).await?.unwrap_or_default();
        Ok(found.first().and_then(|value| moment::seconds_of(value)))
    }

    /// The moments of the rows with the smallest and the largest keys, for tables that are too large to be read: rows are
    /// added as things happen. The middle of some, because any one may be wrong.
    async fn ends_by_key(&self, connection: &mut Connection, key: &str) -> Result<Option<Ends>, Error> {
        let Self { table, at, within, .. } = self;
        let mut ends = Vec::new();
        for order in ["ASC", "DESC"] {
            let sql = format!(
                "SELECT coalesce({at}, NULL) AS found FROM {table} WHERE {within} ORDER BY {key} {order} LIMIT {SOME}"
            );
            let found = list(connection, self.engine, &sql, &self.arguments).await?.unwrap_or_default();
            let mut some: Vec<i64> = found.iter().filter_map(|value| moment::seconds_of(value)).collect();
            some.sort_unstable();
            ends.extend(some.get(some.len() / 2).copied());
        }
        Ok(match ends.as_slice() {
            &[first, last] => Some(Ends { oldest: first.min(last), newest: first.max(last), has_strays: false }),
            _ => None,
        })
    }
}

/// Whether the connection is with a database of the server, and not with the server alone.
async fn has_database(connection: &mut Connection) -> Result<bool, Error> {
    let values = row(connection, Engine::MySql, "SELECT DATABASE() AS named", &Arguments::new()).await?;
    Ok(values.is_none_or(|values| values.iter().any(Option::is_some)))
}

/// A word for all categories that no category bears.
async fn any_category(
    connection: &mut Connection,
    catalog: &Catalog,
    categories: &Categories,
    products: usize,
) -> Result<&'static str, Error> {
    let engine = catalog.engine;
    let text = match engine {
        Engine::Postgres | Engine::Sqlite => "text",
        Engine::MySql => "CHAR",
    };
    // What an enum does not know, it does not compare with.
    let label = format!("CAST({} AS {text})", engine.quoted(&categories.label));
    let table = catalog.tables[categories.table().unwrap_or(products)].quoted(engine);
    let words = || [ANY_CATEGORY].into_iter().chain(OTHER_WORDS);
    let quoted: Vec<String> = words().map(|word| format!("'{word}'")).collect();
    let sql = format!("SELECT DISTINCT {label} AS found FROM {table} WHERE {label} IN ({})", quoted.join(", "));
    let taken = list(connection, engine, &sql, &Arguments::new()).await?.unwrap_or_default();
    let is_free = |word: &&str| taken.iter().all(|taken| !taken.eq_ignore_ascii_case(word));
    Ok(words().find(is_free).unwrap_or(ANY_CATEGORY))
}

/// The values of the only row; `None` when the server does not answer in time or cannot deal with what is there.
async fn row(
    connection: &mut Connection,
    engine: Engine,
    sql: &str,
    arguments: &Arguments,
) -> Result<Option<Vec<Option<String>>>, Error> {
    let answer = connection.values(engine, sql, arguments, QUESTION).await;
    answered(connection, answer)
}

/// The values of the only column, likewise.
async fn list(
    connection: &mut Connection,
    engine: Engine,
    sql: &str,
    arguments: &Arguments,
) -> Result<Option<Vec<String>>, Error> {
    let answer = connection.first_column(engine, sql, arguments, QUESTION).await;
    answered(connection, answer)
}

fn answered<T>(connection: &Connection, answer: Result<T, Error>) -> Result<Option<T>, Error> {
    match answer {
        Ok(values) => Ok(Some(values)),
        Err(_) if connection.is_usable() => Ok(None),
        Err(error) => Err(error),
    }
}
