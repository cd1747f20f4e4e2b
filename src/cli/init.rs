//! `warmd init`: a first set of jobs for a database.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context as _;
use chrono::Utc;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use url::Url;

use super::{Abort, Global, NOT_WARMED, setup::settings, table};
use crate::{
    database::Engine,
    init::{self, Address, File, Finding, Flags, Shop},
    problems::in_words,
    settings::{DatabaseSettings, RedisSettings},
};

#[derive(clap::Args)]
pub(super) struct Options {
    /// Folder for warmd.toml and jobs/; made when it is missing
    #[arg(value_name = "DIR", default_value = ".")]
    folder: PathBuf,
    /// The table of the users
    #[arg(long, value_name = "TABLE")]
    users: Option<String>,
    /// The table of the products
    #[arg(long, value_name = "TABLE")]
    products: Option<String>,
    /// The table of the events: purchases, views; with the column that says when, if wanted
    #[arg(long, value_name = "TABLE[.TIME_COLUMN]")]
    events: Option<String>,
    /// The table of the categories of products
    #[arg(long, value_name = "TABLE")]
    categories: Option<String>,
    /// Print the files and write none
    #[arg(long)]
    dry_run: bool,
    /// Overwrite files that are there
    #[arg(long)]
    force: bool,
    /// Print what was found as JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn init(global: &Global, options: &Options) -> Result<ExitCode, Abort> {
    let (settings, problems) = settings(global)?;
    problems.into_result()?;
    let (database, treatment) = settings.database(None).map_err(Abort::configuration)?;
    let flags = Flags {
        users: options.users.clone(),
        products: options.products.clone(),
        events: options.events.clone(),
        categories: options.categories.clone(),
    };
    let surveyed = init::survey(&database, &flags, Utc::now()).await.map_err(Abort::unavailable)?;
    let shop = match surveyed {
        Ok(shop) => shop,
        Err(undecided) => {
            print_undecided(&undecided.0, options.json);
            return Ok(ExitCode::from(NOT_WARMED));
        }
    };
    let files = init::files(&shop, &database_address(treatment)?, &redis_address(&settings.redis));
    init::verify(&database, &files)
        .await
        .context("the jobs for this database are not valid, which is a mistake of warmd")?;
    if !options.dry_run {
        write_all(&options.folder, &files, options.force)?;
    }
    match options.json {
        true => out!("{}", as_json(&shop, &files, options)),
        false => print(&shop, &files, options),
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes all files or none: what is there is somebody's.
fn write_all(folder: &Path, files: &[File], force: bool) -> Result<(), Abort> {
    let there: Vec<String> = files
        .iter()
        .map(|file| folder.join(&file.path))
        .filter(|path| path.symlink_metadata().is_ok())
        .map(|path| path.display().to_string())
        .collect();
    if !there.is_empty() && !force {
        let list = there.join(", ");
        let message = format!("nothing was written, because there is something already: {list}; --force overwrites it");
        return Err(Abort { code: NOT_WARMED, message });
    }
    for file in files {
        init::write(folder, file)?;
    }
    Ok(())
}

/// Where the settings have the database's URL from, as far as it may be written down.
fn database_address(settings: &DatabaseSettings) -> Result<Address, Abort> {
    if let Some(file) = &settings.url_file {
        return Ok(Address::File(file.clone()));
    }
    let Some(url) = &settings.url else { return Ok(Address::Secret) };
    let url = url.expose_secret();
    match url.parse::<Engine>() {
        Ok(Engine::Sqlite) => Ok(Address::Url(absolute(url)?)),
        _ => Ok(without_secrets(url)),
    }
}

fn redis_address(settings: &RedisSettings) -> Address {
    match (&settings.url_file, &settings.url) {
        (Some(file), _) => Address::File(file.clone()),
        (None, Some(url)) => without_secrets(url.expose_secret()),
        (None, None) => Address::Url("redis://localhost:6379/0".to_owned()),
    }
}

/// A URL that holds no password, neither before its host nor among its parameters.
fn without_secrets(url: &str) -> Address {
    match Url::parse(url) {
        Ok(parsed) => {
            let is_secret = |name: &str| ["password", "pass", "sslkey", "ssl-key"].contains(&name);
            let has_secrets = parsed.password().is_some() || parsed.query_pairs().any(|(name, _)| is_secret(&name));
            if has_secrets { Address::Secret } else { Address::Url(url.to_owned()) }
        }
        Err(_) if url == "memory:" => Address::Url(url.to_owned()),
        Err(_) => Address::Secret,
    }
}

/// A file's URL with its whole path: settings are read wherever warmd starts.
fn absolute(url: &str) -> Result<String, Abort> {
    let rest = url.trim_start_matches("sqlite:");
    let path = rest.strip_prefix("//").unwrap_or(rest);
    if Path::new(path).is_absolute() {
        return Ok(url.to_owned());
    }
    let here = std::env::current_dir().context("the working directory cannot be told")?;
    // What has a meaning in a URL.
    let here = here.to_string_lossy().replace('%', "%25").replace('?', "%3F").replace('#', "%23");
    Ok(format!("sqlite://{here}/{path}"))
}

fn print_undecided(why: &[String], as_json: bool) {
    if as_json {
        out!("{}", json!({ "version": 1, "decided": false, "reasons": why, "tables": [], "files": [] }));
        return;
    }
    why.iter().for_each(|line| err!("{}", in_words(line)));
    err!("nothing was written");
}

fn as_json(shop: &Shop, files: &[File], options: &Options) -> Value {
    let tables: Vec<Value> = shop
        .findings()
        .iter()
        .map(|Finding { table, role, confidence, evidence }| {
            json!({ "table": table, "role": role, "confidence": confidence.to_string(), "evidence": evidence })
        })
        .collect();
    let files: Vec<Value> = files
        .iter()
        .map(|file| json!({ "path": options.folder.join(&file.path), "text": file.text, "written": !options.dry_run }))
        .collect();
    json!({
        "version": 1,
        "decided": true,
        "engine": shop.catalog.engine.to_string(),
        "tables": tables,
        "without_role": shop.others(),
        "files": files,
    })
}

fn print(shop: &Shop, files: &[File], options: &Options) {
    let mut found = table::new(&["table", "role", "confidence", "evidence"], &[]);
    for finding in shop.findings() {
        let Finding { table, role, confidence, evidence } = finding;
        found.add_row([in_words(&table), role.to_owned(), confidence.to_string(), in_words(&evidence.join("; "))]);
    }
    out!("{found}");
    let others = shop.others();
    if !others.is_empty() {
        out!("without a part in this: {}", in_words(&others.join(", ")));
    }
    if options.dry_run {
        for file in files {
            out!("\n==> {}\n{}", options.folder.join(&file.path).display(), file.text);
        }
        out!("nothing was written");
        return;
    }
    out!("\nwritten:");
    for file in files {
        out!("  {}", options.folder.join(&file.path).display());
    }
    let settings = options.folder.join("warmd.toml");
    out!("\nnext:");
    for command in ["check --connect", "plan", "warm"] {
        out!("  warmd {command} --config {}", settings.display());
    }
}
