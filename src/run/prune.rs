//! Removing keys that are no longer among a job's targets, once a run is complete.

use std::num::NonZeroU32;

use super::{Run, batch::Question};
use crate::{
    cache::Index,
    record::{Cause, Counts, Failure},
};

impl Run<'_> {
    /// The index of the job's keys, when the run keeps one: it must be about all of them.
    pub(super) fn index(&self) -> Option<&Index> {
        self.index.as_ref().filter(|_| !self.request.dry && self.request.only.is_empty())
    }

    /// Removes what is outdated. Only after a run that looked at every target and failed at none.
    pub(super) async fn prune(&self) -> Result<(), Failure> {
        let Counts { failed, unreached, .. } = self.meter.counts();
        let Some(index) = self.index() else { return Ok(()) };
        if failed > 0 || unreached > 0 || self.stop.is_cancelled() || !self.is_complete() {
            return Ok(());
        }
        let indexed = self.ask(Question::Index, || self.around.store.indexed(index)).await?;
        if let Some(why) = self.shrinkage.of_index(indexed.all, indexed.outdated) {
            self.refuse(Cause::Shrunk, why);
            return Ok(());
        }
        let mut left = indexed.outdated;
        while left > 0 && !self.stop.is_cancelled() {
            let (seen, removed) = self.ask(Question::Prune, || self.around.store.prune(index)).await?;
            self.meter.pruned.add(removed as usize);
            let Some(mut wanted) = u32::try_from(seen).ok().and_then(NonZeroU32::new) else { break };
            left = left.saturating_sub(seen as u64);
            // At the pace of the quotas, which give a part at a time.
            loop {
                let granted = self.throttles.keys(wanted).await.get();
                match NonZeroU32::new(wanted.get() - granted) {
                    Some(rest) if !self.stop.is_cancelled() => wanted = rest,
                    _ => break,
                }
            }
        }
        Ok(())
    }

    /// Notes the keys of a batch in the job's index, if it has one.
    pub(super) async fn remember(&self, keys: &[(usize, String)]) -> Result<(), Failure> {
        let Some(index) = self.index() else { return Ok(()) };
        let names: Vec<String> = keys.iter().map(|(_, key)| key.clone()).collect();
        match self.ask(Question::Index, || self.around.store.remember(index, &names)).await {
            Ok(()) => Ok(()),
            Err(error) => Err(self.unanswered(names.len(), error)),
        }
    }
}
