//! How Redis and the keys are watched, and what is worth an alert.

use std::{borrow::Cow, fmt, path::PathBuf, str::FromStr, time::Duration};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use url::Url;

use crate::job::duration::{Percent, Span};

/// How Redis and the keys are watched.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MonitorSettings {
    /// Time between two looks.
    pub interval: Span,
    /// How far back the summaries go.
    pub window: Span,
}

/// What is worth an alert, and who is told.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AlertSettings {
    /// Redis has a smaller share of the keys that are looked up.
    pub hit_rate: OrOff<Percent>,
    /// Redis takes longer to answer.
    pub response_time: OrOff<Span>,
    /// Redis uses a larger share of its maxmemory.
    pub memory: OrOff<Percent>,
    /// A smaller share of a job's keys is there.
    pub coverage: OrOff<Percent>,
    /// Redis does not answer.
    pub redis_unreachable: bool,
    /// A tick had no run of its own.
    pub missed_tick: bool,
    /// A run did not end well.
    pub failed_run: bool,
    /// No run has ended well in two intervals.
    pub no_success: bool,
    /// Who is told, in the form of Alertmanager.
    #[serde(serialize_with = "host_only")]
    #[schemars(with = "Option<String>")]
    pub webhook_url: Option<SecretString>,
    /// A file that holds the URL.
    pub webhook_url_file: Option<PathBuf>,
}

/// A value, or `off`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OrOff<T>(pub Option<T>);

impl<'de, T: FromStr<Err = String>> Deserialize<'de> for OrOff<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            "off" => Ok(Self(None)),
            text => text.parse().map(|value| Self(Some(value))).map_err(D::Error::custom),
        }
    }
}

impl<T: fmt::Display> Serialize for OrOff<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Some(value) => serializer.collect_str(value),
            None => serializer.serialize_str("off"),
        }
    }
}

impl<T: JsonSchema> JsonSchema for OrOff<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("{}OrOff", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "enum": ["off"] }, T::json_schema(generator)] })
    }
}

/// The path of a webhook is often its secret.
fn host_only<S: Serializer>(url: &Option<SecretString>, serializer: S) -> Result<S::Ok, S::Error> {
    url.as_ref().map(|url| shown(url.expose_secret())).serialize(serializer)
}

/// Where a webhook's URL leads, without what it may hold of secrets.
pub fn shown(url: &str) -> String {
    match Url::parse(url) {
        Ok(url) => url.origin().ascii_serialization(),
        Err(_) => "[not a URL]".to_owned(),
    }
}

impl Default for MonitorSettings {
    fn default() -> Self {
        Self { interval: Span(Duration::from_secs(15)), window: Span(Duration::from_secs(86_400)) }
    }
}

impl Default for AlertSettings {
    fn default() -> Self {
        Self {
            hit_rate: OrOff(Some(Percent(0.8))),
            response_time: OrOff(Some(Span(Duration::from_millis(100)))),
            memory: OrOff(Some(Percent(0.9))),
            coverage: OrOff(Some(Percent(0.95))),
            redis_unreachable: true,
            missed_tick: true,
            failed_run: true,
            no_success: true,
            webhook_url: None,
            webhook_url_file: None,
        }
    }
}

impl MonitorSettings {
    pub(super) fn check(&self) -> Result<(), String> {
        let (Span(interval), Span(window)) = (self.interval, self.window);
        if !(Duration::from_secs(1)..=Duration::from_secs(3600)).contains(&interval) {
            return Err(format!("`monitor.interval` is {}; it is at least 1s and at most 1h", Span(interval)));
        }
        // What a day has at the shortest interval: eight megabytes.
        let most = interval * 86_400;
        if window < interval || window > most {
            return Err(format!(
                "`monitor.window` is {}; with an interval of {} it is at least that and at most {}",
                Span(window),
                Span(interval),
                Span(most)
            ));
        }
        Ok(())
    }
}

impl AlertSettings {
    /// Who is told, if anybody.
    pub fn webhook(&self) -> Result<Option<SecretString>, String> {
        let place = "alerts.webhook_url";
        let Some(secret) = super::secret(place, self.webhook_url.as_ref(), self.webhook_url_file.as_deref())? else {
            return Ok(None);
        };
        let url = Url::parse(secret.expose_secret());
        match url {
            Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Ok(Some(secret)),
            _ => Err(format!("`{place}` is no URL of a web server; write for example https://alerts.example/warmd")),
        }
    }
}
