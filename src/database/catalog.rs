//! What a database holds, as far as it tells: tables, columns, keys, and about how many rows.

use std::{
    collections::HashMap,
    fmt,
    time::{Duration, Instant},
};

use super::{Argument, Arguments, Connection, Engine, Error, ErrorKind, Row, Statement, Value};

/// How long reading the catalogue itself may take.
const READ: Duration = Duration::from_secs(30);

/// How long counting one table may take, and all of them.
const COUNT: Duration = Duration::from_secs(1);
const COUNT_ALL: Duration = Duration::from_secs(10);

/// Rows that are counted where the engine has no guess; more is not counted.
const MOST_COUNTED: u64 = 1_000_000;

/// Guesses below are often far off, and counting is cheap.
const FEW: u64 = 10_000;

/// Tables and views.
#[derive(Debug, Clone)]
pub struct Catalog {
    /// Whose names and types these are.
    pub engine: Engine,
    /// Sorted by name.
    pub tables: Vec<Table>,
}

/// A table or a view.
#[derive(Debug, Clone)]
pub struct Table {
    /// PostgreSQL's schema, where a statement must name it.
    pub schema: Option<String>,
    /// PostgreSQL's schema, whether or not a statement must name it; empty for the other engines.
    pub home: String,
    /// The name as the database has it.
    pub name: String,
    /// Views have no keys.
    pub is_view: bool,
    /// In their order.
    pub columns: Vec<Column>,
    /// The columns of the primary key, in the key's order.
    pub primary_key: Vec<String>,
    /// Those that lead to a table of this catalogue.
    pub foreign_keys: Vec<ForeignKey>,
    /// About how many; at most a little over a million where they were counted, `None` where that took too long.
    pub rows: Option<u64>,
}

/// A column of a table.
#[derive(Debug, Clone)]
pub struct Column {
    /// The name as the database has it.
    pub name: String,
    /// What it holds.
    pub kind: ColumnKind,
}

/// What a column holds, as far as its declaration says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnKind {
    /// Whole numbers.
    Integer,
    /// Other numbers.
    Number,
    /// Text of any length.
    Text,
    /// A type of its own in PostgreSQL and MariaDB.
    Uuid,
    /// A day and a time.
    Moment,
    /// A day.
    Date,
    /// True or false.
    Boolean,
    /// Bytes, JSON, arrays, times of day and the like.
    Other,
    /// SQLite needs no declaration.
    Undeclared,
}

/// Columns whose values are those of another table's columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignKey {
    /// In this table.
    pub columns: Vec<String>,
    /// The index of the other table.
    pub table: usize,
    /// In the other table, in the same order.
    pub keys: Vec<String>,
}

impl Table {
    /// A column by its name.
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// The name as it stands in a statement.
    pub fn quoted(&self, engine: Engine) -> String {
        let name = engine.quoted(&self.name);
        self.schema.as_ref().map_or_else(|| name.clone(), |schema| format!("{}.{name}", engine.quoted(schema)))
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.schema {
            Some(schema) => write!(f, "{schema}.{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

impl ColumnKind {
    /// Reads a type as the engine or, in SQLite, the user wrote it.
    fn parse(declared: &str) -> Self {
        let declared = declared.trim().to_ascii_lowercase();
        let name = declared.split('(').next().unwrap_or_default().trim();
        let has = |words: &[&str]| words.iter().any(|word| name.contains(word));
        match name {
            "" => Self::Undeclared,
            _ if declared.ends_with("[]") => Self::Other,
            "interval" | "point" | "time" | "year" => Self::Other,
            "tinyint" if declared.starts_with("tinyint(1)") => Self::Boolean,
            "uuid" | "uniqueidentifier" => Self::Uuid,
            "date" => Self::Date,
            _ if name.starts_with("timestamp") || name.starts_with("datetime") => Self::Moment,
            _ if name.starts_with("time ") || has(&["range", "json", "xml", "blob", "binary", "bytea"]) => Self::Other,
            _ if name.starts_with("bool") => Self::Boolean,
            _ if has(&["int", "serial", "oid"]) => Self::Integer,
            _ if has(&["dec", "numeric", "number", "money", "real", "double", "float"]) => Self::Number,
            _ if has(&["char", "text", "clob", "enum", "string", "name"]) => Self::Text,
            _ => Self::Other,
        }
    }
}

/// The statements that read a catalogue.
struct Statements {
    tables: &'static str,
    columns: &'static str,
    keys: &'static str,
}

impl Statements {
    fn of(engine: Engine) -> Self {
        match engine {
            Engine::Postgres => Self {
                tables: include_str!("catalog/postgres_tables.sql"),
                columns: include_str!("catalog/postgres_columns.sql"),
                keys: include_str!("catalog/postgres_keys.sql"),
            },
            Engine::MySql => Self {
                tables: include_str!("catalog/mysql_tables.sql"),
                columns: include_str!("catalog/mysql_columns.sql"),
                keys: include_str!("catalog/mysql_keys.sql"),
            },
            Engine::Sqlite => Self {
                tables: include_str!("catalog/sqlite_tables.sql"),
                columns: include_str!("catalog/sqlite_columns.sql"),
                keys: include_str!("catalog/sqlite_keys.sql"),
            },
        }
    }
}

/// A table's schema, which may be empty, and name.
type Name = (String, String);

impl Connection {
    /// Reads what tables there are, with about how many rows each. Takes at most about forty seconds; tables that there
    /// was no time to count have no number.
    pub async fn catalog(&mut self, engine: Engine) -> Result<Catalog, Error> {
        let statements = Statements::of(engine);
        let none = Arguments::new();
        let found = self.lines(engine, statements.tables, &none).await?;
        let mut tables = Vec::new();
        let mut names: Vec<Name> = Vec::new();
        for line in &found {
            let schema = line.text(0);
            names.push((schema.clone(), line.text(1)));
            tables.push(Table {
                schema: (!line.is(4)).then(|| schema.clone()),
                home: schema,
                name: line.text(1),
                is_view: line.is(2),
                columns: Vec::new(),
                primary_key: Vec::new(),
                foreign_keys: Vec::new(),
                rows: line.number(3),
            });
        }
        let places: HashMap<&Name, usize> = names.iter().zip(0..).collect();
        let mut columns = self.lines(engine, statements.columns, &none).await?;
        if engine == Engine::Sqlite {
            for view in tables.iter().filter(|table| table.is_view) {
                columns.extend(self.columns_of_view(&view.name).await?);
            }
        }
        for line in columns {
            if let Some(&place) = places.get(&(line.text(0), line.text(1))) {
                let kind = ColumnKind::parse(&line.text(3));
                tables[place].columns.push(Column { name: line.text(2), kind });
            }
        }
        let keys = self.lines(engine, statements.keys, &none).await?;
        add_keys(&mut tables, &places, &keys);
        let mut catalog = Catalog { engine, tables };
        self.count(&mut catalog).await?;
        Ok(catalog)
    }

    /// SQLite's views keep their text only; one whose table is gone has no columns any more.
    async fn columns_of_view(&mut self, view: &str) -> Result<Vec<Line>, Error> {
        let arguments = [("view".to_owned(), Argument::One(Value::Text(view.to_owned())))].into();
        match self.lines(Engine::Sqlite, include_str!("catalog/sqlite_view.sql"), &arguments).await {
            Err(error) if error.kind == ErrorKind::Permanent && self.is_usable() => Ok(Vec::new()),
            lines => lines,
        }
    }

    /// Counts the tables of which the engine has no good guess, as far as there is time.
    async fn count(&mut self, catalog: &mut Catalog) -> Result<(), Error> {
        let engine = catalog.engine;
        let end = Instant::now() + COUNT_ALL;
        for table in &mut catalog.tables {
            if table.rows.is_some_and(|rows| rows > FEW) {
                continue;
            }
            let left = end.saturating_duration_since(Instant::now()).min(COUNT);
            if left.is_zero() {
                break;
            }
            let rows = format!("SELECT 1 AS one FROM {} LIMIT {}", table.quoted(engine), MOST_COUNTED + 1);
            let count = format!("SELECT count(*) AS row_count FROM ({rows}) AS counted");
            match self.read_lines(engine, &count, &Arguments::new(), left).await {
                Ok(lines) => table.rows = lines.first().and_then(|line| line.number(0)),
                // A guess is better than nothing, and a view may be broken.
                Err(_) if self.is_usable() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The values of a statement's first row as text, `None` for NULL; empty when there is no row.
    pub async fn values(
        &mut self,
        engine: Engine,
        sql: &str,
        arguments: &Arguments,
        limit: Duration,
    ) -> Result<Vec<Option<String>>, Error> {
        let lines = self.read_lines(engine, sql, arguments, limit).await?;
        Ok(lines.into_iter().next().map(|Line(values)| values).unwrap_or_default())
    }

    /// The values of a statement's first column as text, without those that are NULL.
    pub async fn first_column(
        &mut self,
        engine: Engine,
        sql: &str,
        arguments: &Arguments,
        limit: Duration,
    ) -> Result<Vec<String>, Error> {
        let lines = self.read_lines(engine, sql, arguments, limit).await?;
        Ok(lines.into_iter().filter_map(|Line(values)| values.into_iter().next().flatten()).collect())
    }

    async fn lines(&mut self, engine: Engine, sql: &str, arguments: &Arguments) -> Result<Vec<Line>, Error> {
        self.read_lines(engine, sql, arguments, READ).await
    }

    async fn read_lines(
        &mut self,
        engine: Engine,
        sql: &str,
        arguments: &Arguments,
        limit: Duration,
    ) -> Result<Vec<Line>, Error> {
        let statement = Statement::parse(sql, engine).map_err(|(_, why)| Error::permanent(why))?;
        let mut rows = self.query(&statement, arguments, limit).await?;
        let width = rows.columns().len();
        let mut lines = Vec::new();
        while let Some(row) = rows.next().await? {
            lines.push(Line::read(&row, width)?);
        }
        Ok(lines)
    }
}

/// A row of a catalogue, as text.
struct Line(Vec<Option<String>>);

impl Line {
    fn read(row: &Row, width: usize) -> Result<Self, Error> {
        let value = |index| Ok(row.cell(index)?.text().map(|text| text.into_owned()));
        (0..width).map(value).collect::<Result<_, Error>>().map(Self)
    }

    /// Empty for NULL.
    fn text(&self, index: usize) -> String {
        self.0[index].clone().unwrap_or_default()
    }

    fn is(&self, index: usize) -> bool {
        matches!(self.0[index].as_deref(), Some("true" | "1"))
    }

    fn number(&self, index: usize) -> Option<u64> {
        self.0[index].as_deref()?.parse().ok()
    }
}

/// Adds what lines tell of keys, those of one key being neighbours.
fn add_keys(tables: &mut [Table], places: &HashMap<&Name, usize>, lines: &[Line]) {
    let key = |line: &Line| (line.text(0), line.text(1), line.text(2), line.is(3));
    for of_one_key in lines.chunk_by(|a, b| key(a) == key(b)) {
        let Some(first) = of_one_key.first() else { continue };
        let Some(&place) = places.get(&(first.text(0), first.text(1))) else { continue };
        let columns: Vec<String> = of_one_key.iter().map(|line| line.text(4)).collect();
        if first.is(3) {
            tables[place].primary_key = columns;
            continue;
        }
        let (schema, name) = (first.text(5), first.text(6));
        // SQLite looks for tables without regard to case.
        let same = |table: &Name| table.0 == schema && table.1.eq_ignore_ascii_case(&name);
        let exact = places.get(&(schema.clone(), name.clone()));
        let Some(table) = exact.or_else(|| places.iter().find(|(known, _)| same(known)).map(|(_, place)| place)) else {
            continue;
        };
        let named: Option<Vec<String>> = of_one_key.iter().map(|line| line.0[7].clone()).collect();
        tables[place].foreign_keys.push(ForeignKey { columns, table: *table, keys: named.unwrap_or_default() });
    }
    // A foreign key that names no columns means the other table's primary key, which is known only now.
    let primary: Vec<Vec<String>> = tables.iter().map(|table| table.primary_key.clone()).collect();
    for table in tables {
        for key in table.foreign_keys.iter_mut().filter(|key| key.keys.is_empty()) {
            key.keys.clone_from(&primary[key.table]);
        }
        table.foreign_keys.retain(|key| key.keys.len() == key.columns.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_told_apart_in_the_words_of_every_engine() {
        for (declared, kind) in [
            ("integer", ColumnKind::Integer),
            ("bigint(20) unsigned", ColumnKind::Integer),
            ("tinyint(1)", ColumnKind::Boolean),
            ("tinyint(4)", ColumnKind::Integer),
            ("boolean", ColumnKind::Boolean),
            ("numeric", ColumnKind::Number),
            ("NUMERIC(10,2)", ColumnKind::Number),
            ("double precision", ColumnKind::Number),
            ("character varying", ColumnKind::Text),
            ("NVARCHAR(160)", ColumnKind::Text),
            ("enum('a','b')", ColumnKind::Text),
            ("uuid", ColumnKind::Uuid),
            ("timestamp without time zone", ColumnKind::Moment),
            ("DATETIME", ColumnKind::Moment),
            ("date", ColumnKind::Date),
            ("time without time zone", ColumnKind::Other),
            ("interval", ColumnKind::Other),
            ("int4range", ColumnKind::Other),
            ("integer[]", ColumnKind::Other),
            ("point", ColumnKind::Other),
            ("jsonb", ColumnKind::Other),
            ("", ColumnKind::Undeclared),
        ] {
            assert_eq!(ColumnKind::parse(declared), kind, "{declared}");
        }
    }
}
