//! Settings of the process: typed, layered, secrets masked.

use std::{
    collections::BTreeMap,
    num::NonZeroU32,
    path::{Path, PathBuf},
    time::Duration,
};

use schemars::JsonSchema;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize, Serializer};
use url::Url;

use crate::{
    cache::{Keyspace, Overlong},
    database::{Database, Engine},
    files,
    job::{
        Dialects, LARGEST_VALUE,
        duration::{Percent, Span},
    },
    problems::{Problems, unknown},
    telemetry,
    throttle::Quotas,
};

mod database;
mod http;
mod layers;
mod monitor;
mod redis;
mod traces;

pub use database::DatabaseSettings;
pub use http::{HttpSettings, Listen};
pub use layers::{DEFAULT_FILE, Overrides};
pub use monitor::{AlertSettings, MonitorSettings, OrOff, shown as webhook_shown};
pub use traces::TraceSettings;

/// All settings; config/default.toml describes each.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The folder of job files.
    pub jobs_dir: PathBuf,
    /// The database that jobs read, unless they name another.
    pub database: DatabaseSettings,
    /// Further databases by name.
    pub databases: BTreeMap<String, DatabaseSettings>,
    /// Where entries go.
    pub redis: RedisSettings,
    /// Quotas of the whole process.
    pub limits: LimitSettings,
    /// How this instance takes part.
    pub scheduler: SchedulerSettings,
    /// Where records go.
    pub history: HistorySettings,
    /// Metrics, health and the API of the daemon.
    pub http: HttpSettings,
    /// How Redis and the keys are watched.
    pub monitor: MonitorSettings,
    /// What is worth an alert, and who is told.
    pub alerts: AlertSettings,
    /// Who receives spans of runs.
    pub traces: TraceSettings,
    /// What is logged.
    pub log: LogSettings,
}

/// Where entries go.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RedisSettings {
    /// The URL.
    #[serde(serialize_with = "without_secrets")]
    #[schemars(with = "Option<String>")]
    pub url: Option<SecretString>,
    /// A file that holds the URL.
    pub url_file: Option<PathBuf>,
    /// A PEM file of the authorities that may sign the certificate of a `rediss://` server.
    pub ca_file: Option<PathBuf>,
    /// A PEM file of the client certificate that the server asks for.
    pub cert_file: Option<PathBuf>,
    /// A PEM file of its key.
    pub key_file: Option<PathBuf>,
    /// Stands before every key.
    pub key_prefix: String,
    /// Longest key in characters, the prefix aside.
    pub max_key_length: usize,
    /// What becomes of a longer one.
    pub overlong_keys: Overlong,
    /// A server that does not answer for this long counts as gone.
    pub response_timeout: Span,
    /// Nothing is written where more than this share of `maxmemory` would be in use.
    pub max_memory: OrOff<Percent>,
}

/// Quotas of the whole process.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LimitSettings {
    /// Keys written a second.
    pub keys_per_second: Option<NonZeroU32>,
    /// Statements a second.
    pub queries_per_second: Option<NonZeroU32>,
    /// Batches at once.
    pub concurrency: NonZeroU32,
    /// The largest value, in bytes.
    #[schemars(range(max = LARGEST_VALUE))]
    pub max_value_bytes: NonZeroU32,
}

/// How this instance takes part.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SchedulerSettings {
    /// The instance's name in the records.
    pub instance: Option<String>,
    /// How long an instance that has died keeps others from running its jobs.
    pub lease: Span,
    /// How long runs may take to end when the daemon is told to.
    pub shutdown_grace: Span,
}

/// Where records go.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HistorySettings {
    /// False to keep none.
    pub enabled: bool,
    /// The URL.
    #[serde(serialize_with = "without_secrets")]
    #[schemars(with = "Option<String>")]
    pub url: Option<SecretString>,
    /// A file that holds the URL.
    pub url_file: Option<PathBuf>,
    /// Older records are removed.
    pub keep: Span,
}

/// What is logged.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LogSettings {
    /// A level or a filter.
    pub level: String,
    /// The form of a line.
    pub format: LogFormat,
}

/// The form of a line in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// To the journal when stderr leads there, else for people.
    #[default]
    Auto,
    /// For people, on stderr.
    Text,
    /// For programs, on stderr.
    Json,
    /// To systemd's journal, with fields of its own.
    Journal,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            jobs_dir: PathBuf::from("/etc/warmd/jobs"),
            database: DatabaseSettings::default(),
            databases: BTreeMap::new(),
            redis: RedisSettings::default(),
            limits: LimitSettings::default(),
            scheduler: SchedulerSettings::default(),
            history: HistorySettings::default(),
            http: HttpSettings::default(),
            monitor: MonitorSettings::default(),
            alerts: AlertSettings::default(),
            traces: TraceSettings::default(),
            log: LogSettings::default(),
        }
    }
}

impl Default for RedisSettings {
    fn default() -> Self {
        Self {
            url: None,
            url_file: None,
            ca_file: None,
            cert_file: None,
            key_file: None,
            key_prefix: String::new(),
            max_key_length: 200,
            overlong_keys: Overlong::Md5,
            response_timeout: Span(Duration::from_secs(10)),
            max_memory: OrOff(Some(Percent(0.9))),
        }
    }
}

impl Default for LimitSettings {
    fn default() -> Self {
        Self {
            keys_per_second: None,
            queries_per_second: None,
            concurrency: NonZeroU32::MIN.saturating_add(15),
            max_value_bytes: NonZeroU32::MIN.saturating_add((8 << 20) - 1),
        }
    }
}

impl Default for SchedulerSettings {
    fn default() -> Self {
        Self { instance: None, lease: Span(Duration::from_secs(10)), shutdown_grace: Span(Duration::from_secs(30)) }
    }
}

impl Default for HistorySettings {
    fn default() -> Self {
        Self { enabled: true, url: None, url_file: None, keep: Span(Duration::from_secs(90 * 86_400)) }
    }
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { level: "info".to_owned(), format: LogFormat::Auto }
    }
}

impl Settings {
    /// Which SQL each database speaks, as far as URLs tell; wrong URLs go to `problems`.
    pub fn dialects(&self, problems: &mut Problems) -> Dialects {
        let mut engine = |name: &str, settings: &DatabaseSettings| -> Option<Engine> {
            match settings.open(name) {
                Ok(database) => database.map(|database| database.engine()),
                Err(why) => {
                    problems.push(Path::new("settings"), why);
                    None
                }
            }
        };
        Dialects {
            default: engine("database.url", &self.database),
            named: self
                .databases
                .iter()
                .filter_map(|(name, settings)| {
                    Some((name.clone(), engine(&format!("databases.{name}.url"), settings)?))
                })
                .collect(),
        }
    }

    /// The database of a job, and how it is to be treated.
    pub fn database(&self, name: Option<&str>) -> Result<(Database, &DatabaseSettings), String> {
        let (place, settings) = match name {
            None => ("database.url".to_owned(), &self.database),
            Some(name) => {
                let known: Vec<&String> = self.databases.keys().collect();
                let settings = self.databases.get(name).ok_or_else(|| unknown("database", name, &known))?;
                (format!("databases.{name}.url"), settings)
            }
        };
        match settings.open(&place)? {
            Some(database) => Ok((database, settings)),
            None => Err(format!("no database: set `{place}` in the settings, {}, or --database", variable(&place))),
        }
    }

    /// What types cannot say, said of values that do not work.
    pub fn check(&self, problems: &mut Problems) {
        let checks = [
            telemetry::filter(&self.log).map(|_| ()),
            self.redis.check(),
            self.history.check(),
            self.http.check(),
            self.monitor.check(),
            self.traces.receiver().map(|_| ()),
            self.alerts.webhook().map(|_| ()),
        ];
        for why in checks.into_iter().filter_map(Result::err) {
            problems.push(Path::new("settings"), why);
        }
        if self.limits.max_value_bytes.get() > LARGEST_VALUE {
            let why = format!("`limits.max_value_bytes` is at most {LARGEST_VALUE}, which is what Redis takes");
            problems.push(Path::new("settings"), why);
        }
        let Span(lease) = self.scheduler.lease;
        // Below, a busy machine loses leases that it holds; above, a crash costs more than a tick of most jobs.
        if !(Duration::from_secs(1)..=Duration::from_secs(3600)).contains(&lease) {
            let why = format!("`scheduler.lease` is {}; it is at least 1s and at most 1h", Span(lease));
            problems.push(Path::new("settings"), why);
        }
    }

    /// How keys look.
    pub fn keyspace(&self) -> Keyspace {
        Keyspace {
            prefix: self.redis.key_prefix.clone(),
            max_length: self.redis.max_key_length,
            overlong: self.redis.overlong_keys,
        }
    }

    /// Quotas of the whole process.
    pub fn quotas(&self) -> Quotas {
        Quotas {
            keys_per_second: self.limits.keys_per_second,
            queries_per_second: self.limits.queries_per_second,
            concurrency: Some(self.limits.concurrency),
        }
    }

    /// The name of this instance.
    pub fn instance(&self) -> String {
        let host = || hostname::get().ok().and_then(|name| name.into_string().ok());
        self.scheduler.instance.clone().or_else(host).unwrap_or_else(|| "unknown".to_owned())
    }
}

impl HistorySettings {
    /// Where records go; `None` when the default place is to be used.
    pub fn url(&self) -> Result<Option<SecretString>, String> {
        secret("history.url", self.url.as_ref(), self.url_file.as_deref())
    }

    /// What can be seen to be wrong without a connection.
    fn check(&self) -> Result<(), String> {
        match self.url()?.filter(|_| self.enabled) {
            Some(url) => Database::new(&url).map(|_| ()).map_err(|error| {
                let origin = origin("history.url", self.url_file.as_deref());
                format!("{origin}: {}", error.message)
            }),
            None => Ok(()),
        }
    }
}

/// A URL as it may be shown: where it leads, not who goes there.
fn without_secrets<S: Serializer>(url: &Option<SecretString>, serializer: S) -> Result<S::Ok, S::Error> {
    let shown = url.as_ref().map(|url| match Url::parse(url.expose_secret()) {
        // Without `//` before it, a login is none of the parts that are taken out.
        Ok(url) if url.cannot_be_a_base() && url.path().contains('@') => "[not a URL]".to_owned(),
        Ok(mut url) => {
            // Both fail where there is no host, and so nothing to hide.
            let _ = url.set_username("");
            let _ = url.set_password(None);
            url.set_query(None);
            url.set_fragment(None);
            url.to_string()
        }
        // Who knows what is where in it.
        Err(_) => "[not a URL]".to_owned(),
    });
    shown.serialize(serializer)
}

fn variable(place: &str) -> String {
    format!("WARMD__{}", place.to_uppercase().replace('.', "__"))
}

/// The setting that a secret comes from, as it is called in a message.
fn origin(place: &str, file: Option<&Path>) -> String {
    match file {
        Some(file) => format!("`{place}_file`: {}", file.display()),
        None => format!("`{place}`"),
    }
}

/// A secret that stands in the settings or in a file that they name.
fn secret(place: &str, value: Option<&SecretString>, file: Option<&Path>) -> Result<Option<SecretString>, String> {
    match (value, file) {
        (Some(_), Some(_)) => Err(format!("`{place}` and `{place}_file` are both set: keep one")),
        (Some(value), None) => Ok(Some(value.clone())),
        (None, Some(file)) if file.as_os_str().is_empty() => {
            Err(format!("`{place}_file` is empty: it is to name a file"))
        }
        (None, Some(file)) => match files::read_text(file) {
            Ok(text) if text.trim().is_empty() => Err(format!("`{place}_file`: {} is empty", file.display())),
            Ok(text) => Ok(Some(SecretString::from(text.trim().to_owned()))),
            Err(error) => Err(format!("`{place}_file`: cannot read {}: {error}", file.display())),
        },
        (None, None) => Ok(None),
    }
}
