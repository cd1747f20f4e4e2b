//! Which target of a run a key belongs to.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, Hash, RandomState},
};

/// How many keys back a key is recognised at least, and twice as many at most. Bounded, because a run may have any
/// number of keys.
const REMEMBERED: usize = 1 << 16;

/// The newest keys of a run and their targets, both as hashes that nobody outside can foresee.
#[derive(Default)]
pub(super) struct Owners {
    hasher: RandomState,
    recent: HashMap<u64, u64>,
    /// What was recent before `recent` became full.
    older: HashMap<u64, u64>,
}

impl Owners {
    /// False when the key belongs to another target. A target may come again.
    pub fn claim(&mut self, key: &str, target: impl Hash) -> bool {
        let (key, target) = (self.hasher.hash_one(key), self.hasher.hash_one(target));
        if let Some(owner) = self.recent.get(&key).or_else(|| self.older.get(&key)) {
            return *owner == target;
        }
        self.recent.insert(key, target);
        if self.recent.len() >= REMEMBERED {
            // Swapped, so that the room of both is used again.
            std::mem::swap(&mut self.recent, &mut self.older);
            self.recent.clear();
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_stays_its_first_targets_among_the_keys_that_are_remembered() {
        let mut owners = Owners::default();
        assert!(owners.claim("a:b:c", ["a", "b:c"]));
        assert!(!owners.claim("a:b:c", ["a:b", "c"]));
        assert!(owners.claim("a:b:c", ["a", "b:c"]));
        for other in 0..REMEMBERED {
            assert!(owners.claim(&other.to_string(), other));
        }
        assert!(!owners.claim("a:b:c", ["a:b", "c"]));
        for other in 0..3 * REMEMBERED {
            assert!(owners.claim(&other.to_string(), other));
        }
        assert!(owners.recent.len() + owners.older.len() <= 2 * REMEMBERED);
        assert!(owners.claim("a:b:c", ["a:b", "c"]));
    }
}
