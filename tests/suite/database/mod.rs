//! The `database` module against real servers.

use std::time::Duration;

use secrecy::SecretString;
use warmd::database::{Argument, Arguments, Connection, Database, Engine, Error, Statement, Value};

pub mod chinook;
mod limits;
mod parameters;
mod parts;
mod statements;
mod values;

const LONG: Duration = Duration::from_secs(60);

fn database(url: &str) -> Database {
    Database::new(&SecretString::from(url)).unwrap()
}

async fn connect(url: &str) -> Connection {
    database(url).connect().await.unwrap()
}

fn statement(url: &str, sql: &str) -> Statement {
    Statement::parse(sql, url.parse::<Engine>().unwrap()).unwrap()
}

fn arguments<const N: usize>(values: [(&str, Argument); N]) -> Arguments {
    values.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn one(value: Value) -> Argument {
    Argument::One(value)
}

fn text(value: &str) -> Argument {
    one(Value::Text(value.to_owned()))
}

fn int(value: i64) -> Argument {
    one(Value::Int(value))
}

/// Each row as a JSON array.
async fn read(connection: &mut Connection, statement: &Statement, arguments: &Arguments) -> Result<Vec<String>, Error> {
    let mut rows = connection.query(statement, arguments, LONG).await?;
    let width = rows.columns().len();
    let mut lines = Vec::new();
    while let Some(row) = rows.next().await? {
        let mut line = vec![b'['];
        for index in 0..width {
            if index > 0 {
                line.push(b',');
            }
            row.cell(index)?.write_json(&mut line);
        }
        line.push(b']');
        let line = String::from_utf8(line).unwrap();
        serde_json::from_str::<serde_json::Value>(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        lines.push(line);
    }
    Ok(lines)
}

async fn rows_with(url: &str, sql: &str, arguments: &Arguments) -> Result<Vec<String>, Error> {
    read(&mut connect(url).await, &statement(url, sql), arguments).await
}

async fn rows(url: &str, sql: &str) -> Vec<String> {
    rows_with(url, sql, &Arguments::new()).await.unwrap_or_else(|error| panic!("{error}: {sql}"))
}

async fn failure(url: &str, sql: &str) -> Error {
    match rows_with(url, sql, &Arguments::new()).await {
        Ok(rows) => panic!("{sql} gave {rows:?}"),
        Err(error) => error,
    }
}
