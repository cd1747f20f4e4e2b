//! One music shop in three engines: the same rows, byte for byte.

use std::{env, fs, path::PathBuf};

use super::*;
use crate::servers::{TestDatabase, execute, mariadb, postgres};

/// Tables with their columns in snake_case, as PostgreSQL has them; the key comes first.
const TABLES: [(&str, &[&str]); 11] = [
    ("album", &["album_id", "title", "artist_id"]),
    ("artist", &["artist_id", "name"]),
    (
        "customer",
        &[
            "customer_id",
            "first_name",
            "last_name",
            "company",
            "address",
            "city",
            "state",
            "country",
            "postal_code",
            "phone",
            "fax",
            "email",
            "support_rep_id",
        ],
    ),
    (
        "employee",
        &[
            "employee_id",
            "last_name",
            "first_name",
            "title",
            "reports_to",
            "birth_date",
            "hire_date",
            "address",
            "city",
            "state",
            "country",
            "postal_code",
            "phone",
            "fax",
            "email",
        ],
    ),
    ("genre", &["genre_id", "name"]),
    (
        "invoice",
        &[
            "invoice_id",
            "customer_id",
            "invoice_date",
            "billing_address",
            "billing_city",
            "billing_state",
            "billing_country",
            "billing_postal_code",
            "total",
        ],
    ),
    ("invoice_line", &["invoice_line_id", "invoice_id", "track_id", "unit_price", "quantity"]),
    ("media_type", &["media_type_id", "name"]),
    ("playlist", &["playlist_id", "name"]),
    ("playlist_track", &["playlist_id", "track_id"]),
    (
        "track",
        &[
            "track_id",
            "name",
            "album_id",
            "media_type_id",
            "genre_id",
            "composer",
            "milliseconds",
            "bytes",
            "unit_price",
        ],
    ),
];

/// The scripts and the file.
pub fn folder() -> PathBuf {
    PathBuf::from(env::var_os("WARMD_DATA").expect("WARMD_DATA names the folder of the test data")).join("chinook")
}

/// The script without what makes and chooses a database of its own.
pub async fn load(database: &TestDatabase, script: &str) {
    let script = fs::read_to_string(folder().join(script)).unwrap();
    let of_its_own = ["DROP DATABASE", "CREATE DATABASE", "\\c ", "USE "];
    let lines = script.lines().filter(|line| !of_its_own.iter().any(|start| line.trim_start().starts_with(start)));
    // To PostgreSQL, N'..' is a char(n), which loses the space at its end ("Edinburgh ") before the table has it.
    let script = lines.collect::<Vec<_>>().join("\n").replace("(N'", "('").replace(", N'", ", '");
    // The scripts agree in the text between quotes, so a backslash must be one for MariaDB as well.
    let backslashes = "SET sql_mode = concat(@@sql_mode, ',NO_BACKSLASH_ESCAPES');";
    let script = if database.url.starts_with("mysql") { format!("{backslashes}\n{script}") } else { script };
    execute(&database.url, &script).await;
}

fn pascal(name: &str) -> String {
    name.split('_').map(|word| word[..1].to_uppercase() + &word[1..]).collect()
}

fn select(table: &str, columns: &[&str], named: impl Fn(&str) -> String) -> String {
    let list: Vec<_> = columns.iter().map(|column| format!("{} as {column}", named(column))).collect();
    format!("select {} from {} order by 1, 2", list.join(", "), named(table))
}

#[tokio::test]
#[ignore = "needs WARMD_DATA"]
async fn all_rows_of_chinook_are_the_same_bytes_from_all_engines() {
    let (pg, my) = (postgres().await, mariadb().await);
    load(&pg, "Chinook_PostgreSql.sql").await;
    load(&my, "Chinook_MySql.sql").await;
    let lite = format!("sqlite://{}", folder().join("Chinook_Sqlite.sqlite").display());
    let mut total = 0;
    for (table, columns) in TABLES {
        let from_pg = rows(&pg.url, &select(table, columns, str::to_owned)).await;
        let quoted = select(table, columns, |name| format!("`{}`", pascal(name)));
        let from_my = rows(&my.url, &quoted).await;
        let from_lite = rows(&lite, &quoted).await;
        assert!(!from_pg.is_empty(), "{table} is empty");
        for (engine, found) in [("MariaDB", from_my), ("SQLite", from_lite)] {
            assert_eq!(found.len(), from_pg.len(), "{engine} {table}");
            let different = found.iter().zip(&from_pg).find(|(found, expected)| found != expected);
            assert_eq!(different, None, "{engine} {table}");
        }
        total += from_pg.len();
    }
    // 59 customers, 412 invoices, 2240 lines and so on: nothing was missed.
    assert_eq!(total, 15_607);
}
