//! From the command line to settings, jobs and connections.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use chrono::{DateTime, NaiveDate, NaiveDateTime, Utc};

use super::{Abort, Global};
use crate::{
    cache::Store,
    history::History,
    id::Id,
    job::{self, Job, duration::Percent},
    problems::{Problems, unknown},
    produce::Models,
    record::Trigger,
    run::{Request, Surroundings},
    settings::{Overrides, Settings},
    targets::Only,
    telemetry,
    throttle::Throttle,
};

/// Valid settings and all jobs of the folder, valid too.
pub(super) struct Setup {
    pub settings: Settings,
    pub jobs: Vec<Job>,
}

impl Setup {
    /// Reads settings and jobs, tells all mistakes at once, and starts the log.
    pub fn load(global: &Global) -> Result<Self, Abort> {
        let (settings, problems) = settings(global)?;
        Ok(Self::with_problems(settings, problems)?)
    }

    /// Reads the jobs that the settings speak of; fails with all mistakes, those found before among them.
    pub fn with_problems(settings: Settings, mut problems: Problems) -> Result<Self, Problems> {
        settings.check(&mut problems);
        let dialects = settings.dialects(&mut problems);
        let jobs = job::load(&settings.jobs_dir, &dialects, &mut problems);
        // A reload that fails leaves the log as it was, too.
        if problems.0.is_empty()
            && let Err(why) = telemetry::init(&settings.log, &settings.traces, &settings.instance())
        {
            problems.push("log".as_ref(), why);
        }
        problems.into_result()?;
        Ok(Self { settings, jobs })
    }

    /// The jobs that were named, or all that are enabled.
    pub fn select(&self, names: &[String]) -> Result<Vec<Arc<Job>>, Abort> {
        let jobs = job::select(self.jobs.clone(), names).map_err(Abort::usage)?;
        if jobs.is_empty() {
            let folder = self.settings.jobs_dir.display();
            return Err(Abort::configuration(format!("{folder}: no enabled job; a job is a file NAME.toml")));
        }
        Ok(jobs.into_iter().map(Arc::new).collect())
    }

    /// Connects to Redis and to the databases of the jobs, to tell at once what is out of reach.
    pub async fn connect(&self, jobs: &[Arc<Job>]) -> Result<Connected, Abort> {
        let server = self.settings.redis.server().map_err(Abort::configuration)?;
        let store = Store::connect(&server).await.map_err(Abort::unavailable)?;
        self.connect_databases(jobs, store).await
    }

    /// The same with a store that is there already.
    pub async fn connect_databases(&self, jobs: &[Arc<Job>], store: Store) -> Result<Connected, Abort> {
        let connected = self.surround(jobs, &store)?;
        for surroundings in connected.around.values() {
            surroundings.database.connect().await.map_err(Abort::unavailable)?.close().await;
        }
        Ok(connected)
    }

    /// The same without any connection: what is out of reach now may be there when it is needed.
    pub fn lazily(&self, jobs: &[Arc<Job>]) -> Result<Connected, Abort> {
        let server = self.settings.redis.server().map_err(Abort::configuration)?;
        self.surround(jobs, &Store::lazy(&server).map_err(Abort::configuration)?)
    }

    fn surround(&self, jobs: &[Arc<Job>], store: &Store) -> Result<Connected, Abort> {
        let throttle = Arc::new(Throttle::new(self.settings.quotas()));
        let mut around = BTreeMap::new();
        for job in jobs {
            if !around.contains_key(&job.database) {
                around.insert(job.database.clone(), surroundings(&self.settings, job, store, &throttle)?);
            }
        }
        Ok(Connected { around })
    }

    /// The history; one that cannot be is a warning, never a reason not to warm.
    pub fn history(&self) -> Option<History> {
        History::new(&self.settings.history).unwrap_or_else(|error| {
            tracing::warn!("runs are not recorded: {error:#}");
            None
        })
    }
}

/// Everything that runs need, by the name of their database.
pub(super) struct Connected {
    around: BTreeMap<Option<String>, Surroundings>,
}

impl Connected {
    /// What a run of a job finds around it.
    pub fn around(&self, job: &Job) -> Option<&Surroundings> {
        self.around.get(&job.database)
    }
}

/// What runs of a job, and of others with the same database, find around them.
pub(super) fn surroundings(
    settings: &Settings,
    job: &Job,
    store: &Store,
    throttle: &Arc<Throttle>,
) -> Result<Surroundings, Abort> {
    let (database, treatment) = settings.database(job.database.as_deref()).map_err(Abort::configuration)?;
    Ok(Surroundings {
        database,
        statement_timeout: treatment.statement_timeout.0,
        load_limits: treatment.load_limits(),
        models: Models::default(),
        store: store.clone(),
        keyspace: settings.keyspace(),
        max_memory: settings.redis.max_memory.0.map(|Percent(share)| share),
        max_value_bytes: settings.limits.max_value_bytes,
        throttle: Arc::clone(throttle),
        instance: settings.instance(),
    })
}

/// The settings with the flags on top.
pub(super) fn settings(global: &Global) -> Result<(Settings, Problems), Abort> {
    let mut overrides = Overrides::new();
    let text = |path: &std::path::Path| path.to_string_lossy().into_owned();
    overrides.extend(global.jobs_dir.as_deref().map(|path| ("jobs_dir", text(path))));
    overrides.extend(global.database.clone().map(|url| ("database.url", url)));
    overrides.extend(global.redis.clone().map(|url| ("redis.url", url)));
    overrides.extend(global.log.clone().map(|level| ("log.level", level)));
    let mut problems = Problems::default();
    let environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    match Settings::load(global.config.as_deref(), environment, &overrides, &mut problems) {
        Some(mut settings) => {
            // A flag is stronger than a file that the settings name.
            if global.database.is_some() {
                settings.database.url_file = None;
            }
            if global.redis.is_some() {
                settings.redis.url_file = None;
            }
            Ok((settings, problems))
        }
        None => Err(problems.into_result().err().unwrap_or_default().into()),
    }
}

/// Options that `warm` and `plan` share.
#[derive(clap::Args)]
pub(super) struct Selection {
    /// Jobs by name [default: all that are enabled]
    #[arg(value_name = "JOB")]
    pub jobs: Vec<String>,
    /// Only this target; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    pub only: Vec<String>,
    /// Treat every key as due
    #[arg(long)]
    pub force: bool,
    /// Run as if it were this moment: 2011-11-01, 2011-11-01T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub as_of: Option<DateTime<Utc>>,
}

impl Selection {
    /// The request that the options describe.
    pub fn request(&self, jobs: &[Arc<Job>]) -> Result<Request, Abort> {
        let mut only: Vec<Only> = Vec::new();
        for text in &self.only {
            let Some((name, value)) = text.split_once('=') else {
                return Err(Abort::usage(format!("--only {text}: write NAME=VALUE, for example --only user_id=42")));
            };
            let value = value.parse().map_or_else(|_| Id::from(value), Id::Int);
            match only.iter_mut().find(|only| only.name == name) {
                Some(only) => only.values.push(value),
                None => only.push(Only { name: name.to_owned(), values: vec![value] }),
            }
        }
        for only in &only {
            let known: BTreeSet<String> = jobs.iter().flat_map(|job| job.target_names()).collect();
            let known: Vec<String> = known.into_iter().collect();
            if !known.contains(&only.name) {
                return Err(Abort::usage(unknown("target", &only.name, &known)));
            }
        }
        Ok(Request {
            trigger: Trigger::Manual,
            now: self.as_of.unwrap_or_else(Utc::now),
            only,
            force: self.force,
            ..Request::manual()
        })
    }
}

/// Jobs that a restriction to targets speaks of; the others are left alone.
pub(super) fn concerned(jobs: Vec<Arc<Job>>, request: &Request) -> Vec<Arc<Job>> {
    let names = |job: &Arc<Job>| job.target_names();
    jobs.into_iter().filter(|job| request.only.iter().all(|only| names(job).contains(&only.name))).collect()
}

fn moment(text: &str) -> Result<DateTime<Utc>, String> {
    let naive = |format| NaiveDateTime::parse_from_str(text, format).ok().map(|moment| moment.and_utc());
    let parsed = DateTime::parse_from_rfc3339(text)
        .ok()
        .map(|moment| moment.to_utc())
        .or_else(|| naive("%Y-%m-%dT%H:%M:%S"))
        .or_else(|| naive("%Y-%m-%d %H:%M:%S"))
        .or_else(|| naive("%Y-%m-%d %H:%M"))
        .or_else(|| NaiveDate::parse_from_str(text, "%Y-%m-%d").ok().map(|day| NaiveDateTime::from(day).and_utc()));
    match parsed {
        // What databases can compare with, whatever window is taken off it.
        Some(moment) if (1900..=9000).contains(&chrono::Datelike::year(&moment)) => Ok(moment),
        Some(_) => Err("the year must lie between 1900 and 9000".to_owned()),
        None => Err("write 2011-11-01, 2011-11-01 12:00:00 or 2011-11-01T12:00:00Z".to_owned()),
    }
}
