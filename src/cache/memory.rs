//! A store in this process, so that the demo needs nothing installed.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use moka::{Expiry, sync::Cache};

use super::{Entry, Indexed, Presence, Written};

/// Entries with a life of their own each; clones share them.
#[derive(Clone)]
pub struct MemoryStore {
    entries: Cache<String, Stored>,
    indexes: Arc<Mutex<Indexes>>,
}

/// The last run of each key, by the index's name.
type Indexes = HashMap<String, HashMap<String, i64>>;

#[derive(Clone)]
struct Stored {
    value: Arc<[u8]>,
    ttl: Duration,
    expires: Instant,
}

struct PerEntry;

impl Expiry<String, Stored> for PerEntry {
    fn expire_after_create(&self, _key: &String, stored: &Stored, _now: Instant) -> Option<Duration> {
        Some(stored.ttl)
    }

    fn expire_after_update(
        &self,
        _key: &String,
        stored: &Stored,
        _now: Instant,
        _left: Option<Duration>,
    ) -> Option<Duration> {
        Some(stored.ttl)
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self { entries: Cache::builder().expire_after(PerEntry).build(), indexes: Arc::default() }
    }
}

impl MemoryStore {
    pub(super) fn presence(&self, key: &str) -> Presence {
        self.get(key).map_or(Presence::Missing, |(_, presence)| presence)
    }

    pub(super) fn write(&self, entry: &Entry) -> Written {
        let stored = Stored { value: entry.value.as_ref().into(), ttl: entry.ttl, expires: Instant::now() + entry.ttl };
        if !entry.only_absent {
            self.entries.insert(entry.key.clone(), stored);
            return Written::Stored;
        }
        if self.entries.entry_by_ref(&entry.key).or_insert(stored).is_fresh() {
            Written::Stored
        } else {
            Written::Existed
        }
    }

    pub(super) fn get(&self, key: &str) -> Option<(Vec<u8>, Presence)> {
        let stored = self.entries.get(key)?;
        let left = stored.expires.saturating_duration_since(Instant::now());
        Some((stored.value.to_vec(), Presence::Expires(left)))
    }

    pub(super) fn remember(&self, index: &str, run: i64, keys: &[String]) {
        self.indexes().entry(index.to_owned()).or_default().extend(keys.iter().map(|key| (key.clone(), run)));
    }

    pub(super) fn indexed(&self, index: &str, run: i64) -> Indexed {
        let indexes = self.indexes();
        let Some(keys) = indexes.get(index) else { return Indexed::default() };
        let outdated = keys.values().filter(|last| **last < run).count();
        Indexed { all: keys.len() as u64, outdated: outdated as u64 }
    }

    pub(super) fn prune(&self, index: &str, run: i64) -> (usize, u64) {
        let mut indexes = self.indexes();
        let Some(keys) = indexes.get_mut(index) else { return (0, 0) };
        let outdated: Vec<String> = keys.extract_if(|_, last| *last < run).map(|(key, _)| key).collect();
        let removed = outdated.iter().filter(|key| self.entries.remove(*key).is_some()).count();
        (outdated.len(), removed as u64)
    }

    fn indexes(&self) -> MutexGuard<'_, Indexes> {
        self.indexes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn present_keys_stay_unless_overwriting_was_asked_for() {
        let store = MemoryStore::default();
        let entry = |value: &'static str, only_absent| Entry {
            key: "k".to_owned(),
            value: value.into(),
            ttl: Duration::from_secs(60),
            only_absent,
        };
        assert_eq!(store.presence("k"), Presence::Missing);
        assert_eq!(store.write(&entry("1", true)), Written::Stored);
        assert_eq!(store.write(&entry("2", true)), Written::Existed);
        assert_eq!(store.get("k").unwrap().0, b"1");
        assert_eq!(store.write(&entry("3", false)), Written::Stored);
        assert_eq!(store.get("k").unwrap().0, b"3");
        assert!(matches!(store.presence("k"), Presence::Expires(left) if left > Duration::from_secs(59)));
    }
}
