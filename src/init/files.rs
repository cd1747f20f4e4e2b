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

/// The servers of a shop, as its settings are to describe them.
#[derive(Debug, Clone)]
pub struct Servers {
    /// The URL of the database.
    pub database: Address,
    /// The URL of Redis.
    pub redis: Address,
    /// What connections with Redis need besides, by the name of its setting: certificates and a key.
    pub redis_files: Vec<(&'static str, PathBuf)>,
    /// What stands before every key.
    pub key_prefix: String,
}

/// The settings and the jobs of a shop.
pub fn files(shop: &Shop, servers: &Servers) -> Vec<File> {
    let (statements, jobs) = (Statements::new(shop), Jobs::new(shop));
    let mut files = vec![File { path: "warmd.toml".into(), text: settings(servers) }];
    let mut add = |name: &str, text: String| files.push(File { path: format!("jobs/{name}").into(), text });
    add("user_recommendations.toml", jobs.recommendations());
    add("trending_products.toml", jobs.trending());
    add("similar_products.toml", jobs.similar());
    add("user_history.toml", jobs.history());
    for source in &shop.sources {
        add(&source.file(), statements.events(source));
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

fn settings(servers: &Servers) -> String {
    let redis_files: String = servers
        .redis_files
        .iter()
        .map(|(name, path)| format!("{name} = {}\n", quoted(&path.to_string_lossy())))
        .collect();
    format!(
        "# Settings of warmd for the jobs in `jobs`. Each may come from the environment instead: WARMD__REDIS__URL is the\n\
         # `url` of [redis].\n\
         jobs_dir = \"jobs\"\n\n\
         [database]\n{}\
         # The server ends a statement that takes longer.\n\
         statement_timeout = \"1m\"\n\n\
         [redis]\n{}{redis_files}\
         # Stands before every key, so that warmd's keys are told from the application's own.\n\
         key_prefix = {}\n\n\
         # What the database and Redis can bear beside their live traffic.\n\
         [limits]\n\
         keys_per_second    = 5000\n\
         queries_per_second = 20\n",
        address(&servers.database, "WARMD__DATABASE__URL", "database-url"),
        address(&servers.redis, "WARMD__REDIS__URL", "redis-url"),
        quoted(&servers.key_prefix),
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
