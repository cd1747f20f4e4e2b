//! Job files, statements and settings.

use std::path::PathBuf;

use super::{Shop, jobs::Jobs, statements::Statements};

/// A file to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Where, relative to the folder of the settings.
    pub path: PathBuf,
    /// What.
    pub text: String,
}

/// Where a server's URL may be found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// In the settings, because no password is part of it.
    Url(String),
    /// In a file.
    File(PathBuf),
    /// In the environment only.
    Secret,
}

/// The settings and the jobs of a shop.
pub fn files(shop: &Shop, database: &Address, redis: &Address) -> Vec<File> {
    let (statements, jobs) = (Statements::new(shop), Jobs::new(shop));
    let mut files = vec![File { path: "warmd.toml".into(), text: settings(database, redis) }];
    let mut add = |name: &str, text: String| files.push(File { path: format!("jobs/{name}").into(), text });
    add("user_recommendations.toml", jobs.recommendations());
    add("trending_products.toml", jobs.trending());
    add("similar_products.toml", jobs.similar());
    add("user_history.toml", jobs.history());
    for source in &shop.sources {
        add(source.file(), statements.events(source));
    }
    add("active_users.sql", statements.active_users());
    for (name, text) in [
        ("user_history.sql", statements.user_history()),
        ("products.sql", statements.product_details()),
        ("popular_categories.sql", statements.popular_categories()),
        ("popular_products.sql", statements.popular_products().filter(|_| jobs.has_many_products())),
    ] {
        if let Some(text) = text {
            add(name, text);
        }
    }
    files
}

fn settings(database: &Address, redis: &Address) -> String {
    format!(
        "# Settings of warmd for the jobs in `jobs`. Each may come from the environment instead: WARMD__REDIS__URL is the\n\
         # `url` of [redis].\n\
         jobs_dir = \"jobs\"\n\n\
         [database]\n{}\
         # The server ends a statement that takes longer.\n\
         statement_timeout = \"1m\"\n\n\
         [redis]\n{}\
         # Stands before every key, so that warmd's keys are told from the application's own.\n\
         key_prefix = \"warm:\"\n\n\
         # What the database and Redis can bear beside their live traffic.\n\
         [limits]\n\
         keys_per_second    = 5000\n\
         queries_per_second = 20\n",
        address(database, "WARMD__DATABASE__URL", "database-url"),
        address(redis, "WARMD__REDIS__URL", "redis-url"),
    )
}

fn address(address: &Address, variable: &str, credential: &str) -> String {
    match address {
        Address::Url(url) => format!("url = {}\n", quoted(url)),
        Address::File(file) => format!("url_file = {}\n", quoted(&file.to_string_lossy())),
        Address::Secret => format!(
            "# The URL holds a password, which does not belong here: give it in {variable}, or name a file that holds the\n\
             # URL and that only warmd may read.\n\
             # url_file = \"/etc/warmd/credentials/{credential}\"\n"
        ),
    }
}

/// Text as TOML writes it.
fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}
