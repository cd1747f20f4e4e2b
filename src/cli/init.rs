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
    init::{self, Address, File, Finding, Flags, Servers, Shop},
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
    let servers = Servers {
        database: database_address(treatment)?,
        redis: redis_address(&settings.redis)?,
        redis_files: redis_files(&settings.redis)?,
        key_prefix: match settings.redis.key_prefix.as_str() {
            "" => "warm:".to_owned(),
            prefix => prefix.to_owned(),
        },
    };
    let files = init::files(&shop, &servers);
    init::verify(&database, &files)
        .await
        .context("the jobs for this database are not valid, which is a mistake of warmd")?;
    let written = match options.dry_run {
        true => Ok(()),
        false => init::write_all(&options.folder, &files, options.force),
    };
    match written {
        Ok(()) if options.json => out!("{}", as_json(&shop, &files, options, None)),
        Ok(()) => print(&shop, &files, options),
        Err(why) if options.json => {
            out!("{}", as_json(&shop, &files, options, Some(why)));
            return Ok(ExitCode::from(NOT_WARMED));
        }
        Err(message) => return Err(Abort { code: NOT_WARMED, message }),
    }
    Ok(ExitCode::SUCCESS)
}

/// Where the settings have the database's URL from, as far as it may be written down.
fn database_address(settings: &DatabaseSettings) -> Result<Address, Abort> {
    if let Some(file) = &settings.url_file {
        return Ok(Address::File(whole(file)?));
    }
    let Some(url) = &settings.url else { return Ok(Address::Secret) };
    let url = url.expose_secret();
    match url.parse::<Engine>() {
        Ok(Engine::Sqlite) => Ok(Address::Url(absolute(url)?)),
        _ => Ok(without_secrets(&with_whole_paths(url)?)),
    }
}

fn redis_address(settings: &RedisSettings) -> Result<Address, Abort> {
    Ok(match (&settings.url_file, &settings.url) {
        (Some(file), _) => Address::File(whole(file)?),
        (None, Some(url)) => without_secrets(url.expose_secret()),
        (None, None) => Address::Url("redis://localhost:6379/0".to_owned()),
    })
}

/// The files without which Redis does not answer.
fn redis_files(settings: &RedisSettings) -> Result<Vec<(&'static str, PathBuf)>, Abort> {
    let RedisSettings { ca_file, cert_file, key_file, .. } = settings;
    let named = [("ca_file", ca_file), ("cert_file", cert_file), ("key_file", key_file)];
    named.into_iter().filter_map(|(name, file)| Some(whole(file.as_ref()?).map(|file| (name, file)))).collect()
}

/// A path from the root: what stands in settings is relative to these, and these will stand elsewhere.
fn whole(path: &Path) -> Result<PathBuf, Abort> {
    Ok(std::path::absolute(path).with_context(|| format!("what {} is relative to cannot be told", path.display()))?)
}

/// A server's URL in which certificates and keys have their whole paths.
fn with_whole_paths(url: &str) -> Result<String, Abort> {
    let files = ["sslrootcert", "ssl-root-cert", "ssl-ca", "sslca", "sslcert", "ssl-cert", "sslkey", "ssl-key"];
    let Ok(mut parsed) = Url::parse(url) else { return Ok(url.to_owned()) };
    let is_relative = |name: &str, value: &str| {
        // What stands there may be the certificate itself.
        files.contains(&name) && Path::new(value).is_relative() && !value.trim_start().starts_with("-----BEGIN")
    };
    let pairs: Vec<(String, String)> = parsed.query_pairs().into_owned().collect();
    if !pairs.iter().any(|(name, value)| is_relative(name, value)) {
        return Ok(url.to_owned());
    }
    let mut query = parsed.query_pairs_mut();
    query.clear();
    for (name, value) in &pairs {
        match is_relative(name, value) {
            true => query.append_pair(name, &whole(Path::new(value))?.to_string_lossy()),
            false => query.append_pair(name, value),
        };
    }
    drop(query);
    Ok(parsed.to_string())
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

/// What was found and, where nothing was written without this being asked for, why.
fn as_json(shop: &Shop, files: &[File], options: &Options, obstacle: Option<String>) -> Value {
    let is_written = !options.dry_run && obstacle.is_none();
    let tables: Vec<Value> = shop
        .findings()
        .iter()
        .map(|Finding { table, role, confidence, evidence }| {
            json!({ "table": table, "role": role, "confidence": confidence.to_string(), "evidence": evidence })
        })
        .collect();
    let files: Vec<Value> = files
        .iter()
        .map(|file| json!({ "path": options.folder.join(&file.path), "text": file.text, "written": is_written }))
        .collect();
    let mut told = json!({
        "version": 1,
        "decided": true,
        "engine": shop.catalog.engine.to_string(),
        "tables": tables,
        "without_role": shop.others(),
        "files": files,
    });
    if let Some(why) = obstacle {
        told["reasons"] = json!([why]);
    }
    told
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
        out!("  warmd {command} --config {}", for_a_shell(&settings.display().to_string()));
    }
}

/// A word of a command, as a shell takes it for one.
fn for_a_shell(word: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+,:@%=".contains(c);
    if word.chars().all(is_plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', "'\\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_with_blanks_or_quotes_is_one_word_of_a_command() {
        for (word, expected) in [
            ("warm/warmd.toml", "warm/warmd.toml"),
            ("my shop/warmd.toml", "'my shop/warmd.toml'"),
            ("it's/warmd.toml", "'it'\\''s/warmd.toml'"),
            ("$HOME/warmd.toml", "'$HOME/warmd.toml'"),
        ] {
            assert_eq!(for_a_shell(word), expected);
        }
    }

    #[test]
    fn certificates_that_a_url_names_get_their_whole_paths() {
        let here = std::env::current_dir().unwrap();
        let url = with_whole_paths("postgres://db/shop?sslmode=verify-full&sslrootcert=ca.pem").unwrap();
        let url = Url::parse(&url).unwrap();
        let pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
        assert_eq!(pairs[0], ("sslmode".to_owned(), "verify-full".to_owned()));
        assert_eq!(pairs[1], ("sslrootcert".to_owned(), here.join("ca.pem").display().to_string()));
        let whole = "mysql://db/shop?ssl-ca=/etc/ca.pem";
        assert_eq!(with_whole_paths(whole).unwrap(), whole);
    }
}
