//! How Redis, the keys and the alerts are, as the monitor last found them.

use std::fmt;

use prometheus_client::registry::Unit;

use super::{JOB, Label, Snapshot, Total, Writer};
use crate::monitor::{KeyHealth, Severity};

impl Snapshot {
    pub(super) fn redis(&self, writer: &mut Writer) -> fmt::Result {
        let (seconds, bytes) = (Some(&Unit::Seconds), Some(&Unit::Bytes));
        let alone = |value: Option<f64>| value.map(|value| ([], value));
        let point = self.glance.redis.map(|(point, _)| point);
        let up = self.glance.redis.map(|(_, is_up)| f64::from(is_up));
        writer.gauge("warmd_redis_up", None, "Whether Redis answered when it was last asked.", alone(up))?;
        let response = point.and_then(|point| point.response_seconds);
        writer.gauge("warmd_redis_response", seconds, "How long it took to answer.", alone(response))?;
        let used = point.and_then(|point| point.used_memory_bytes).map(|used| used as f64);
        writer.gauge("warmd_redis_memory_used", bytes, "Memory that it uses.", alone(used))?;
        let most = self.glance.max_memory.map(|most| most as f64);
        writer.gauge("warmd_redis_memory_max", bytes, "Memory that it may use.", alone(most))?;
        let clients = point.and_then(|point| point.connected_clients).map(|clients| clients as f64);
        writer.gauge("warmd_redis_connected_clients", None, "Connections of its clients.", alone(clients))?;
        let totals = self.glance.totals;
        let evicted = [([], Total::Whole(totals.evicted))];
        writer.counter("warmd_redis_evicted_keys", None, "Keys that it has evicted while it was watched.", evicted)?;
        let lookups = [("hit", totals.lookups.hits), ("miss", totals.lookups.misses)];
        let lookups = lookups.map(|(result, total)| ([("result", result)], Total::Whole(total)));
        let help = "Keys that others than this process looked up while it was watched, by whether they were there.";
        writer.counter("warmd_redis_lookups", None, help, lookups)?;
        let active = self.glance.active.map(|(severity, count)| {
            let severity = match severity {
                Severity::Warning => "warning",
                Severity::Critical => "critical",
            };
            ([("severity", severity)], count as f64)
        });
        writer.gauge("warmd_alerts_active", None, "Alerts of this process that go on.", active)
    }

    pub(super) fn keys(&self, writer: &mut Writer) -> fmt::Result {
        let seconds = Some(&Unit::Seconds);
        let coverage = self.of_keys(|keys| keys.coverage);
        // The library's own word for the unit is plural.
        let help = "Of the keys that there should be, the share that is there.";
        writer.gauge("warmd_coverage_ratio", None, help, coverage)?;
        let oldest = self.of_keys(|keys| keys.oldest_key_seconds);
        writer.gauge("warmd_oldest_key_age", seconds, "Since the oldest of these keys was written.", oldest)?;
        let first = self.of_keys(|keys| keys.first_cold_seconds);
        writer.gauge("warmd_until_first_cold", seconds, "Until the first of these keys expires.", first)
    }

    fn of_keys(&self, value: impl Fn(&KeyHealth) -> Option<f64>) -> impl Iterator<Item = ([Label<'_>; 1], f64)> {
        self.jobs.iter().filter_map(move |job| {
            let keys = self.glance.jobs.get(&job.job)?;
            Some(([(JOB, job.job.as_str())], value(keys)?))
        })
    }
}
