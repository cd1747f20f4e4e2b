//! The keys of a batch, and which target of a run a key belongs to.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, Hash, RandomState},
    sync::PoisonError,
};

use super::{Run, batch::Batch};
use crate::{id::Id, targets::Target};

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

impl Run<'_> {
    /// The Redis key of each target of the batch; targets without a valid key are failed.
    pub(super) fn keys(&self, batch: &mut Batch) -> Vec<(usize, String)> {
        let rendered: Vec<Result<String, String>> = match batch {
            Batch::Targets(targets) => {
                let key =
                    |target| self.target_key(target).map_err(|why| format!("a target of {}: {why}", self.job.key));
                targets.iter().map(key).collect()
            }
            Batch::Exploded(rows) => {
                rows.iter_mut().map(|row| std::mem::replace(&mut row.key, Ok(String::new()))).collect()
            }
        };
        let mut keys = Vec::with_capacity(rendered.len());
        for (index, rest) in rendered.into_iter().enumerate() {
            let key = rest.and_then(|rest| self.around.keyspace.key(&rest).map(|key| (key, rest)));
            if let (Some(seen), Ok((key, _))) = (&self.request.keys_seen, &key) {
                seen.lock().unwrap_or_else(PoisonError::into_inner).push(key.clone());
            }
            match key.and_then(|(key, rest)| self.owned(key, &rest, batch, index)) {
                Ok(key) => keys.push((index, key)),
                Err(why) => {
                    self.meter.invalid.add(1);
                    self.fail(1, &why);
                }
            }
        }
        keys
    }

    /// The key, when no other target of this run has it: one of them would get the other's value.
    fn owned(&self, key: String, rest: &str, batch: &Batch, index: usize) -> Result<String, String> {
        let mut owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
        let is_free = match batch {
            Batch::Targets(targets) if self.job.targets.len() > 1 => {
                let texts: Vec<Option<String>> =
                    targets[index].iter().map(|id| id.as_ref().map(Id::to_string)).collect();
                owners.claim(&key, texts)
            }
            // With one variable no two values have one key, and a query's rows were compared before; but a digest is
            // not what it was made from, and an id may look like one.
            _ if key.ends_with(rest) && !is_digest(rest) => true,
            _ => owners.claim(&key, rest),
        };
        match is_free {
            true => Ok(key),
            false => Err(format!(
                "{key}: another target of this run has the same key; separate the variables by what no value holds"
            )),
        }
    }

    fn target_key(&self, target: &Target) -> Result<String, String> {
        let texts: Vec<Option<String>> = target.iter().map(|id| id.as_ref().map(Id::to_string)).collect();
        self.job.key.render(|name| {
            // A job over its model's own rows has one variable and one value.
            let place = self.job.targets.iter().position(|list| list.name == name).unwrap_or(0);
            texts.get(place)?.as_deref()
        })
    }
}

/// Whether the settings may have made this of a longer key.
fn is_digest(rest: &str) -> bool {
    rest.len() == 32 && rest.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
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
