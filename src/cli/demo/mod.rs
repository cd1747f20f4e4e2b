//! `warmd demo`: a shop on embedded parts, from nothing to warm keys in one command.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{Mutex, PoisonError},
    time::Instant,
};

use anyhow::Context;
use chrono::Utc;
use include_dir::{Dir, include_dir};
use secrecy::SecretString;

use super::{
    Abort, Global,
    setup::Setup,
    table,
    warm::{exit_code, print_summary, warm_all},
};
use crate::{
    cache::{Presence, Store},
    job::duration::Span,
    problems::Problems,
    record::Record,
    run::Request,
    settings::Settings,
};

mod server;
mod shop;

use server::Server;

/// The shipped jobs, as they stand in the repository.
static JOBS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/jobs");

#[derive(clap::Args)]
pub(super) struct Options {
    /// Leave the shop, the jobs and the settings in this folder, which must be new or empty
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

/// The demo's folder: the user's, or one that goes with the process.
enum Folder {
    Kept(PathBuf),
    Temporary(tempfile::TempDir),
}

impl Folder {
    fn make(keep: Option<&Path>) -> anyhow::Result<Self> {
        let Some(path) = keep else {
            return Ok(Self::Temporary(tempfile::Builder::new().prefix("warmd-demo-").tempdir()?));
        };
        std::fs::create_dir_all(path).with_context(|| format!("cannot make {}", path.display()))?;
        let path = path.canonicalize()?;
        anyhow::ensure!(path.read_dir()?.next().is_none(), "{} is not empty", path.display());
        Ok(Self::Kept(path))
    }

    fn path(&self) -> &Path {
        match self {
            Self::Kept(path) => path,
            Self::Temporary(folder) => folder.path(),
        }
    }
}

pub(super) async fn demo(global: &Global, options: &Options) -> Result<ExitCode, Abort> {
    let folder = Folder::make(options.keep.as_deref()).map_err(|error| Abort::usage(format!("--keep: {error:#}")))?;
    let began = Instant::now();
    let now = Utc::now();
    let shop = shop::build(&folder.path().join("shop.db"), now).await?;
    out!(
        "A shop: {} users, {} products in {} categories, {} purchases and {} views up to now, in SQLite ({}).",
        table::number(shop.users as u64),
        table::number(shop.products as u64),
        shop.categories,
        table::number(shop.purchases as u64),
        table::number(shop.views as u64),
        table::time(began.elapsed().as_secs_f64())
    );
    write_jobs(&folder.path().join("jobs"))?;

    let (url, _server) = match &global.redis {
        Some(url) => {
            out!("Keys go to the Redis named by --redis.");
            (url.clone(), None)
        }
        None => match Server::start(folder.path()).await {
            Some(server) => {
                out!("Keys go to a private {}, which ends with the demo.", server.program());
                (server.url(), Some(server))
            }
            None => {
                out!("Keys go to a store in this process: there is no redis-server or valkey-server on the PATH.");
                ("memory:".to_owned(), None)
            }
        },
    };
    let settings = settings(folder.path(), url);
    if let Folder::Kept(path) = &folder {
        write_settings(path)?;
    }
    let keyspace = settings.keyspace();
    let setup = Setup::with_problems(settings, Problems::default())?;
    let jobs = setup.select(&[])?;
    let connected = setup.connect(&jobs).await?;
    let history = setup.history();

    out!("\nWarming the shipped jobs:\n");
    let lease = setup.settings.scheduler.lease.0;
    let mut request = Request::manual();
    request.keys_seen = Some(Mutex::new(Vec::new()));
    let first = warm_all(&jobs, &connected, history.as_ref(), &mut request, lease, false).await;
    print_summary(&first);

    out!("\nSome of the keys:\n");
    let keys = request.keys_seen.take().map(Mutex::into_inner).unwrap_or_else(|| Ok(Vec::new()));
    let keys = keys.unwrap_or_else(PoisonError::into_inner);
    if let Some(around) = jobs.first().and_then(|job| connected.around(job)) {
        for (job, ending) in EXAMPLES {
            let start = format!("{}{job}:", keyspace.prefix);
            if let Some(key) = keys.iter().find(|key| key.starts_with(&start) && key.ends_with(ending)) {
                print_key(&around.store, key).await?;
            }
        }
    }

    out!("\nThe same again, a moment later:\n");
    let second = warm_all(&jobs, &connected, history.as_ref(), &mut Request::manual(), lease, false).await;
    print_summary(&second);
    print_next_steps(&folder);
    let all: Vec<Record> = first.into_iter().chain(second).collect();
    Ok(exit_code(&all))
}

fn settings(folder: &Path, redis: String) -> Settings {
    let mut settings = Settings { jobs_dir: folder.join("jobs"), ..Settings::default() };
    let sqlite = |file: &str| SecretString::from(format!("sqlite:{}", folder.join(file).display()));
    settings.database.url = Some(sqlite("shop.db"));
    settings.redis.url = Some(SecretString::from(redis));
    settings.redis.key_prefix = "rec_service:".to_owned();
    settings.history.url = Some(sqlite("history.db"));
    settings.log.level = "warn".to_owned();
    settings
}

/// What the demo itself used, for going on by hand.
fn write_settings(folder: &Path) -> anyhow::Result<()> {
    let text = format!(
        "jobs_dir = \"jobs\"\n\n[database]\nurl = \"sqlite:{0}/shop.db\"\n\n[redis]\nurl = \"redis://localhost:6379/0\"\n\
         key_prefix = \"rec_service:\"\n\n[history]\nurl = \"sqlite:{0}/history.db\"\n",
        folder.display()
    );
    std::fs::write(folder.join("warmd.toml"), text).context("cannot write the settings")
}

fn write_jobs(folder: &Path) -> anyhow::Result<()> {
    std::fs::create_dir(folder)?;
    for file in JOBS.files() {
        std::fs::write(folder.join(file.path()), file.contents())
            .with_context(|| format!("cannot write {}", file.path().display()))?;
    }
    Ok(())
}

/// Jobs of which a key is shown, and how that key ends.
const EXAMPLES: [(&str, &str); 4] = [
    ("user_recommendations", ":None:10"),
    ("trending_products", ":None"),
    ("similar_products", ""),
    ("user_behaviors", ""),
];

/// A value is cut at this many characters.
const SHOWN: usize = 160;

async fn print_key(store: &Store, key: &str) -> anyhow::Result<()> {
    if let Some((value, presence)) = store.get(key).await? {
        let text = String::from_utf8_lossy(&value);
        let cut: String = text.chars().take(SHOWN).collect();
        let more = if cut.len() < text.len() { "…" } else { "" };
        let life = match presence {
            Presence::Expires(left) => Span(std::time::Duration::from_secs(left.as_secs())).to_string(),
            Presence::Missing | Presence::Persistent => "none".to_owned(),
        };
        out!("{key}  (TTL {life}, {})\n  {cut}{more}", table::bytes(value.len() as u64));
    }
    Ok(())
}

fn print_next_steps(folder: &Folder) {
    match folder {
        Folder::Kept(path) => out!(
            "\nNext: the shop, the jobs and the settings are in {0}. Look at {0}/jobs, change something, then\n  \
             warmd check --config {0}/warmd.toml\n  warmd warm --config {0}/warmd.toml --redis redis://localhost:6379/0",
            path.display()
        ),
        Folder::Temporary(_) => out!(
            "\nNext: `warmd demo --keep DIR` leaves the shop, the jobs and the settings in DIR to play with; the README\n\
             shows a first job on a database of your own."
        ),
    }
}
