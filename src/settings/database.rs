//! A database that the settings describe.

use std::{num::NonZeroU32, path::PathBuf, time::Duration};

use schemars::JsonSchema;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::{secret, without_secrets};
use crate::{
    database::{Database, Engine, LoadLimits},
    job::duration::Span,
};

/// One database to read from.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DatabaseSettings {
    /// The URL.
    #[serde(serialize_with = "without_secrets")]
    #[schemars(with = "Option<String>")]
    pub url: Option<SecretString>,
    /// A file that holds the URL.
    pub url_file: Option<PathBuf>,
    /// The server ends a statement that takes longer.
    pub statement_timeout: Span,
    /// Batches wait while a replica lags behind by more.
    pub max_replica_lag: Option<Span>,
    /// Batches wait while more connections than these are at work.
    pub max_active_connections: Option<NonZeroU32>,
}

impl Default for DatabaseSettings {
    fn default() -> Self {
        Self {
            url: None,
            url_file: None,
            statement_timeout: Span(Duration::from_secs(300)),
            max_replica_lag: None,
            max_active_connections: None,
        }
    }
}

impl DatabaseSettings {
    pub(super) fn open(&self, place: &str) -> Result<Option<Database>, String> {
        let Some(url) = secret(place, self.url.as_ref(), self.url_file.as_deref())? else { return Ok(None) };
        let database = Database::new(&url).map_err(|error| {
            let origin = super::origin(place, self.url_file.as_deref());
            format!("{origin}: {}", error.message)
        })?;
        if database.engine() == Engine::Sqlite && self.load_limits().is_any() {
            let place = place.trim_end_matches("url");
            let name = if self.max_replica_lag.is_some() { "max_replica_lag" } else { "max_active_connections" };
            return Err(format!("`{place}{name}`: SQLite has neither replicas nor connections"));
        }
        Ok(Some(database))
    }

    /// How busy it may be for batches to begin.
    pub fn load_limits(&self) -> LoadLimits {
        LoadLimits {
            replica_lag: self.max_replica_lag.map(|Span(lag)| lag),
            active_connections: self.max_active_connections.map(NonZeroU32::get),
        }
    }
}
