//! Who receives spans.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::job::duration::Percent;

/// Who receives spans, and of which runs.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TraceSettings {
    /// A receiver of OTLP over HTTP; without one there are no spans.
    #[schemars(with = "Option<String>")]
    pub endpoint: Option<Url>,
    /// The share of runs that are traced.
    pub sample: Percent,
}

impl Default for TraceSettings {
    fn default() -> Self {
        Self { endpoint: None, sample: Percent(1.0) }
    }
}

impl TraceSettings {
    pub(super) fn check(&self) -> Result<(), String> {
        match &self.endpoint {
            Some(url) if !matches!(url.scheme(), "http" | "https") || !url.has_host() => {
                Err("`traces.endpoint` is no URL of a web server; write for example http://localhost:4318".to_owned())
            }
            Some(url) if url.password().is_some() || !url.username().is_empty() => {
                Err("`traces.endpoint` holds a login; say it in the variable OTEL_EXPORTER_OTLP_HEADERS".to_owned())
            }
            _ => Ok(()),
        }
    }
}
