//! Who receives spans.

use schemars::JsonSchema;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use url::Url;

use super::without_secrets;
use crate::job::duration::Percent;

/// Who receives spans, and of which runs.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TraceSettings {
    /// A receiver of OTLP over HTTP; without one there are no spans.
    #[serde(serialize_with = "without_secrets")]
    #[schemars(with = "Option<String>")]
    pub endpoint: Option<SecretString>,
    /// The share of runs that are traced.
    pub sample: Percent,
}

impl Default for TraceSettings {
    fn default() -> Self {
        Self { endpoint: None, sample: Percent(1.0) }
    }
}

/// Where receivers take spans.
const PATH: &str = "/v1/traces";

impl TraceSettings {
    /// Where spans are sent, if anybody receives them. What is said of a wrong one holds no part of it.
    pub fn receiver(&self) -> Result<Option<Url>, String> {
        let Some(endpoint) = &self.endpoint else { return Ok(None) };
        let example = "write for example http://localhost:4318";
        let mut url = Url::parse(endpoint.expose_secret())
            .map_err(|error| format!("`traces.endpoint` is no URL of a web server ({error}); {example}"))?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(format!("`traces.endpoint` is no URL of a web server; {example}"));
        }
        let headers = "what the receiver wants beside it stands in the variable OTEL_EXPORTER_OTLP_HEADERS";
        if url.password().is_some() || !url.username().is_empty() {
            return Err(format!("`traces.endpoint` holds a login; {headers}"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            let part = if url.query().is_some() { "query" } else { "fragment" };
            return Err(format!("`traces.endpoint` has a {part}, and spans go to {PATH} there; {headers}"));
        }
        let path = url.path().trim_end_matches('/');
        if path.ends_with(PATH) {
            let path = path.to_owned();
            url.set_path(&path);
        } else {
            let path = format!("{path}{PATH}");
            url.set_path(&path);
        }
        Ok(Some(url))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receiver(endpoint: &str) -> Result<String, String> {
        let settings = TraceSettings { endpoint: Some(endpoint.to_owned().into()), ..TraceSettings::default() };
        settings.receiver().map(|url| url.unwrap().to_string())
    }

    #[test]
    fn an_endpoint_may_hold_the_path_for_spans_or_leave_it_out() {
        for (endpoint, receiver_is) in [
            ("http://h:4318", "http://h:4318/v1/traces"),
            ("http://h:4318/", "http://h:4318/v1/traces"),
            ("http://h:4318/v1/traces", "http://h:4318/v1/traces"),
            ("http://h:4318/v1/traces/", "http://h:4318/v1/traces"),
            ("https://h/tempo", "https://h/tempo/v1/traces"),
            ("https://h/tempo/v1/traces", "https://h/tempo/v1/traces"),
            ("http://[::1]:4318", "http://[::1]:4318/v1/traces"),
        ] {
            assert_eq!(receiver(endpoint).unwrap(), receiver_is, "{endpoint}");
        }
        assert_eq!(TraceSettings::default().receiver(), Ok(None));
    }

    #[test]
    fn what_is_no_endpoint_is_told_without_any_part_of_it() {
        for (endpoint, why) in [
            ("localhost:4318", "is no URL of a web server; write for example http://localhost:4318"),
            ("geheim", "is no URL of a web server (relative URL without a base); write"),
            ("http://u:geheim@h:99999", "is no URL of a web server (invalid port number); write"),
            ("http://u:geheim@[::1", "is no URL of a web server (invalid IPv6 address); write"),
            ("http://u:geheim@h", "holds a login; what the receiver wants beside it stands in the variable"),
            ("http://geheim@h", "holds a login"),
            ("http://h/?geheim", "has a query, and spans go to /v1/traces there; what the receiver wants"),
            ("http://h/#geheim", "has a fragment, and"),
        ] {
            let said = receiver(endpoint).unwrap_err();
            assert!(said.starts_with(&format!("`traces.endpoint` {why}")) && !said.contains("geheim"), "{said}");
        }
    }
}
