//! What this process looks up in a server, which counts it among the lookups of everybody.

use std::sync::atomic::{AtomicU64, Ordering};

/// Lookups of keys, by what came of them. Redis counts a `PTTL` as it counts a `GET`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lookups {
    /// Of keys that were there.
    pub hits: u64,
    /// Of keys that were not.
    pub misses: u64,
}

/// How many of the lookups that a server has counted are this process's own. While replies are on their way that is not
/// known exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Own {
    /// Those that had been answered before the server was asked.
    pub at_least: Lookups,
    /// Those that had been answered after it was, and those that were under way still.
    pub at_most: Lookups,
}

/// The count of one store.
#[derive(Default)]
pub(super) struct Tally {
    hits: AtomicU64,
    misses: AtomicU64,
    under_way: AtomicU64,
}

/// Keys that the server is being asked about.
pub(super) struct Asked<'t> {
    tally: &'t Tally,
    keys: u64,
}

impl Tally {
    /// To be called before the question is sent.
    pub fn ask(&self, keys: usize) -> Asked<'_> {
        let keys = keys as u64;
        self.under_way.fetch_add(keys, Ordering::SeqCst);
        Asked { tally: self, keys }
    }

    /// What has been answered.
    pub fn answered(&self) -> Lookups {
        Lookups { hits: self.hits.load(Ordering::SeqCst), misses: self.misses.load(Ordering::SeqCst) }
    }

    /// What has been answered, or may have been.
    pub fn at_most(&self) -> Lookups {
        // In this order: what is answered in between counts twice rather than not at all.
        let under_way = self.under_way.load(Ordering::SeqCst);
        let Lookups { hits, misses } = self.answered();
        Lookups { hits: hits + under_way, misses: misses + under_way }
    }
}

impl Asked<'_> {
    /// Takes note of the answers: whether each key was there.
    pub fn found(self, keys: impl Iterator<Item = bool>) {
        let (mut hits, mut misses) = (0, 0);
        keys.for_each(|is_there| *(if is_there { &mut hits } else { &mut misses }) += 1);
        self.tally.hits.fetch_add(hits, Ordering::SeqCst);
        self.tally.misses.fetch_add(misses, Ordering::SeqCst);
    }
}

impl Drop for Asked<'_> {
    /// Also of a question that had no answer.
    fn drop(&mut self) {
        self.tally.under_way.fetch_sub(self.keys, Ordering::SeqCst);
    }
}
