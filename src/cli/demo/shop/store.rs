//! The shop as a SQLite file.

use std::path::Path;

use anyhow::Context;
use chrono::{DateTime, TimeDelta, Utc};
use sqlx::{
    Connection as _, QueryBuilder, Sqlite, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};

use super::{
    History, ROWS_PER_INSERT, Stock,
    random::Random,
    words::{CATEGORIES, CITIES, FIRST_NAMES, LAST_NAMES},
};

/// Writes everything in one transaction; the indexes come last, when they can be built by sorting.
pub(super) async fn store(path: &Path, now: DateTime<Utc>, stock: &Stock, history: &History) -> anyhow::Result<()> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        // Nobody reads it before it is complete, and a broken one is thrown away.
        .journal_mode(SqliteJournalMode::Off)
        .synchronous(SqliteSynchronous::Off)
        // Every reference is right by construction; checking would cost a look-up for each.
        .foreign_keys(false);
    let mut connection = SqliteConnection::connect_with(&options).await?;
    let mut transaction = connection.begin().await?;
    sqlx::raw_sql(include_str!("tables.sql")).execute(&mut *transaction).await.context("the tables")?;

    insert(
        &mut transaction,
        "INSERT INTO users (id, name, email, city, created_at) ",
        &history.customers,
        |row, id, customer| {
            let (name, email, city) = person(id);
            row.push_bind(id as i64)
                .push_bind(name)
                .push_bind(email)
                .push_bind(city)
                .push_bind(before(now, customer.age));
        },
    )
    .await
    .context("users")?;
    insert(
        &mut transaction,
        "INSERT INTO products (id, name, category, price, created_at) ",
        &stock.products,
        |row, id, product| {
            row.push_bind(id as i64)
                .push_bind(product.name.clone())
                .push_bind(CATEGORIES[product.category].name)
                .push_bind(product.cents as f64 / 100.0)
                .push_bind(before(now, product.age));
        },
    )
    .await
    .context("products")?;
    let header = "INSERT INTO purchases (id, user_id, product_id, quantity, price, created_at) ";
    insert(&mut transaction, header, &history.purchases, |row, id, purchase| {
        row.push_bind(id as i64)
            .push_bind(purchase.user as i64 + 1)
            .push_bind(purchase.product as i64 + 1)
            .push_bind(purchase.quantity)
            .push_bind(purchase.cents as f64 / 100.0)
            .push_bind(before(now, purchase.age));
    })
    .await
    .context("purchases")?;
    insert(
        &mut transaction,
        "INSERT INTO views (id, user_id, product_id, created_at) ",
        &history.views,
        |row, id, view| {
            row.push_bind(id as i64)
                .push_bind(view.user as i64 + 1)
                .push_bind(view.product as i64 + 1)
                .push_bind(before(now, view.age));
        },
    )
    .await
    .context("views")?;

    sqlx::raw_sql(include_str!("indexes.sql")).execute(&mut *transaction).await.context("the indexes")?;
    transaction.commit().await?;
    connection.close().await?;
    Ok(())
}

/// Inserts `items` in statements of many rows; `bind` gets each with its id, counted from 1.
async fn insert<T>(
    connection: &mut SqliteConnection,
    header: &'static str,
    items: &[T],
    mut bind: impl FnMut(&mut sqlx::query_builder::Separated<'_, Sqlite, &'static str>, usize, &T),
) -> anyhow::Result<()> {
    let mut id = 0;
    for chunk in items.chunks(ROWS_PER_INSERT) {
        let mut query = QueryBuilder::<Sqlite>::new(header);
        query.push_values(chunk, |mut row, item| {
            id += 1;
            bind(&mut row, id, item);
        });
        query.build().execute(&mut *connection).await?;
    }
    Ok(())
}

/// Name, address and city of the user with this id; no two have the same name and address.
fn person(id: usize) -> (String, String, &'static str) {
    let mut random = Random(id as u64);
    let first = FIRST_NAMES[random.below(FIRST_NAMES.len())];
    let last = LAST_NAMES[random.below(LAST_NAMES.len())];
    let email = format!("{}.{}{id}@example.com", first.to_lowercase(), last.to_lowercase());
    (format!("{first} {last}"), email, CITIES[random.below(CITIES.len())])
}

/// The moment so many seconds before `now`, as the text that SQLite compares: `YYYY-MM-DD HH:MM:SS`.
fn before(now: DateTime<Utc>, seconds: i64) -> String {
    (now - TimeDelta::seconds(seconds)).format("%Y-%m-%d %H:%M:%S").to_string()
}
