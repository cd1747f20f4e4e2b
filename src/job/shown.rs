//! A job as programs are shown it, on the command line and over HTTP alike.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};

use super::{Job, duration::Span};

/// Ticks shown a job.
pub const SHOWN_TICKS: usize = 3;

impl Job {
    /// What the definition says, and its next ticks.
    pub fn shown(&self, now: DateTime<Utc>) -> Map<String, Value> {
        let schedule = self.schedule.as_ref();
        let ticks = schedule.filter(|_| self.enabled).map(|schedule| schedule.ticks_after(now, SHOWN_TICKS));
        let shown = json!({
            "job": self.name,
            "description": self.description,
            "kind": self.kind.name(),
            "enabled": self.enabled,
            "database": self.database,
            "schedule": schedule.map(ToString::to_string),
            "timezone": schedule.map(|schedule| schedule.zone().to_string()),
            "next_ticks": ticks.unwrap_or_default(),
            "key": self.key.to_string(),
            "ttl": Span(self.ttl.longest),
            "refresh": self.refresh.to_string(),
            "warning": self.cold_warning(now),
        });
        match shown {
            Value::Object(shown) => shown,
            _ => Map::new(),
        }
    }
}
