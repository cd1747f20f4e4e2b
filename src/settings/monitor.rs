//! How Redis and the keys are watched, and what is worth an alert.

use std::{borrow::Cow, fmt, marker::PhantomData, path::PathBuf, str::FromStr, time::Duration};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
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
    #[serde(deserialize_with = "switch")]
    #[schemars(with = "Switch")]
    pub redis_unreachable: bool,
    /// A tick had no run of its own.
    #[serde(deserialize_with = "switch")]
    #[schemars(with = "Switch")]
    pub missed_tick: bool,
    /// A run did not end well.
    #[serde(deserialize_with = "switch")]
    #[schemars(with = "Switch")]
    pub failed_run: bool,
    /// No run has ended well in two intervals.
    #[serde(deserialize_with = "switch")]
    #[schemars(with = "Switch")]
    pub no_success: bool,
    /// Who is told, in the form of Alertmanager.
    #[serde(serialize_with = "host_only")]
    #[schemars(with = "Option<String>")]
    pub webhook_url: Option<SecretString>,
    /// A file that holds the URL.
    pub webhook_url_file: Option<PathBuf>,
}

/// A bound, or `off`, which `false` means, too.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OrOff<T>(pub Option<T>);

impl<'de, T: FromStr<Err = String>> Deserialize<'de> for OrOff<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bound<T>(PhantomData<T>);
        impl<T: FromStr<Err = String>> de::Visitor<'_> for Bound<T> {
            type Value = OrOff<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text that is a bound, or \"off\"")
            }

            fn visit_bool<E: de::Error>(self, is_on: bool) -> Result<OrOff<T>, E> {
                match is_on {
                    true => Err(E::invalid_type(de::Unexpected::Bool(true), &self)),
                    false => Ok(OrOff(None)),
                }
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<OrOff<T>, E> {
                if let "off" | "false" = text {
                    return Ok(OrOff(None));
                }
                let bound = text.parse().map_err(|why| E::custom(format!("{why}; or \"off\"")))?;
                Ok(OrOff(Some(bound)))
            }
        }
        deserializer.deserialize_any(Bound(PhantomData))
    }
}

/// What is watched or not, without a bound.
fn switch<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    struct OnOrOff;
    impl de::Visitor<'_> for OnOrOff {
        type Value = bool;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("true, false, \"on\" or \"off\"")
        }

        fn visit_bool<E>(self, is_on: bool) -> Result<bool, E> {
            Ok(is_on)
        }

        // The environment has only texts, and in it a switch may also be these.
        fn visit_str<E: de::Error>(self, text: &str) -> Result<bool, E> {
            match text.to_ascii_lowercase().as_str() {
                "on" | "true" | "yes" | "1" => Ok(true),
                "off" | "false" | "no" | "0" => Ok(false),
                _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
            }
        }
    }
    deserializer.deserialize_any(OnOrOff)
}

/// The schema of a switch.
struct Switch;

impl JsonSchema for Switch {
    fn schema_name() -> Cow<'static, str> {
        "Switch".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "enum": [true, false, "on", "off"] })
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
        json_schema!({ "anyOf": [{ "enum": ["off", false] }, T::json_schema(generator)] })
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
            _ => {
                let origin = super::origin(place, self.webhook_url_file.as_deref());
                Err(format!("{origin} is no URL of a web server; write for example https://alerts.example/warmd"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<AlertSettings, String> {
        toml::from_str(text).map_err(|error| error.message().to_owned())
    }

    #[test]
    fn every_alert_can_be_off_or_false() {
        for off in ["\"off\"", "false"] {
            for name in ["hit_rate", "response_time", "memory", "coverage"] {
                let json = serde_json::to_value(read(&format!("{name} = {off}")).unwrap()).unwrap();
                assert_eq!(json[name], "off", "{name} = {off}");
                assert!(read(&format!("{name} = true")).is_err());
            }
            for name in ["redis_unreachable", "missed_tick", "failed_run", "no_success"] {
                let json = serde_json::to_value(read(&format!("{name} = {off}")).unwrap()).unwrap();
                assert_eq!(json[name], false, "{name} = {off}");
                for on in ["true", "\"on\""] {
                    assert!(serde_json::to_value(read(&format!("{name} = {on}")).unwrap()).unwrap()[name] == true);
                }
            }
        }
    }

    #[test]
    fn what_is_no_bound_is_told_with_the_word_that_switches_it_off() {
        for (text, words) in [
            ("hit_rate = 0.8", "invalid type: floating point `0.8`, expected a text that is a bound, or \"off\""),
            ("hit_rate = true", "invalid type: boolean `true`, expected a text that is a bound, or \"off\""),
            ("response_time = \"of\"", "; or \"off\""),
            ("failed_run = \"of\"", "invalid value: string \"of\", expected true, false, \"on\" or \"off\""),
            ("failed_run = 3", "invalid type: integer `3`, expected true, false, \"on\" or \"off\""),
        ] {
            let said = read(text).unwrap_err();
            assert!(said.ends_with(words), "{text}: {said}");
        }
    }

    #[test]
    fn a_wrong_webhook_is_told_by_the_setting_that_was_set_and_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("hook");
        std::fs::write(&file, "alerts.example/geheim").unwrap();
        let settings = AlertSettings { webhook_url_file: Some(file.clone()), ..AlertSettings::default() };
        let said = settings.webhook().unwrap_err();
        let words = format!("`alerts.webhook_url_file`: {} is no URL of a web server", file.display());
        assert!(said.starts_with(&words) && !said.contains("geheim"), "{said}");
    }
}
