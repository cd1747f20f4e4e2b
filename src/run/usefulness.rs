//! Whether anybody reads the keys: a sample of those that are about to be renewed or to expire is asked when it was last
//! accessed.
//!
//! A key that was written and never read since has been idle for as long as it is old. Its age is the TTL that it was
//! given less the life that it has left. Nothing that a run asks before counts as an access: neither `PTTL` nor `OBJECT`.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, RandomState},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use super::Run;
use crate::{
    cache::Idle,
    record::{Reads, ReadsByTarget},
    targets::Target,
};

/// What a run finds out.
#[derive(Default)]
pub(super) struct Usefulness {
    found: Mutex<Found>,
    random: RandomState,
}

#[derive(Default)]
struct Found {
    all: Reads,
    by_target: HashMap<(usize, String), Reads>,
    /// The server does not keep the time of the last access.
    blind: bool,
}

/// A key that may be looked at.
pub(super) struct Candidate {
    /// Its position in the batch.
    pub index: usize,
    pub key: String,
    /// Since it was written.
    pub age: Duration,
}

/// Keys looked at in a batch, at most: a tenth of the usual one.
const SAMPLE: usize = 50;

/// Redis counts idle time in whole seconds, and so does its clock.
const RESOLUTION: Duration = Duration::from_secs(2);

/// Values that are told apart, of all lists behind the first together: categories, not users.
const MOST_VALUES: usize = 100;

impl Usefulness {
    pub fn all(&self) -> Reads {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).all
    }

    pub fn by_target(&self, run: &Run<'_>) -> ReadsByTarget {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let mut by_target = ReadsByTarget::new();
        for ((list, value), reads) in &found.by_target {
            by_target.entry(run.job.targets[*list].name.clone()).or_default().insert(value.clone(), *reads);
        }
        by_target
    }

    fn is_blind(&self) -> bool {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).blind
    }
}

impl Run<'_> {
    /// Looks at some of the candidates. What cannot be found out is unknown, and fails nothing.
    pub(super) async fn look_at_reads(&self, mut candidates: Vec<Candidate>, targets: Option<&[Target]>) {
        candidates.retain(|candidate| candidate.age > RESOLUTION);
        if candidates.is_empty() || self.request.dry || self.usefulness.is_blind() {
            return;
        }
        if candidates.len() > SAMPLE {
            // By chance, and not the first: targets stand in an order that means something.
            candidates.sort_by_cached_key(|candidate| self.usefulness.random.hash_one(&candidate.key));
            candidates.truncate(SAMPLE);
        }
        let keys: Vec<&str> = candidates.iter().map(|candidate| candidate.key.as_str()).collect();
        let idle = self.around.store.idle(&keys).await;
        let mut found = self.usefulness.found.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = match idle {
            Ok(Idle::Times(times)) => times,
            Ok(Idle::Unknown) => {
                found.blind = true;
                return;
            }
            Err(error) => {
                if !std::mem::replace(&mut found.blind, true) {
                    tracing::warn!("{}: nobody looks whether keys are read: {error}", self.job.name);
                }
                return;
            }
        };
        for (candidate, idle) in candidates.iter().zip(idle) {
            let Some(idle) = idle else { continue };
            let reads = Reads { sampled: 1, read: u64::from(idle + RESOLUTION < candidate.age) };
            found.all = found.all.and(reads);
            let target = targets.and_then(|targets| targets.get(candidate.index));
            for (list, id) in target.into_iter().flatten().enumerate().skip(1) {
                let value = id.as_ref().map_or("NULL".to_owned(), ToString::to_string);
                if found.by_target.len() < MOST_VALUES || found.by_target.contains_key(&(list, value.clone())) {
                    let entry = found.by_target.entry((list, value)).or_default();
                    *entry = entry.and(reads);
                }
            }
        }
    }
}
