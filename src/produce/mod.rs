//! What is computed for the targets.
//!
//! The mathematics is pure: events go in, rankings come out, without a database, a clock or a runtime. All of it runs
//! on every core and gives the same bits whatever their number and whatever the order of the rows.
//!
//! ```text
//! rows ─► Interactions ─┬─► Neighbours ─┬─► Recommender ─► lists per user and category
//!         (users×items) ├─► Trend ──────┘
//!                       └─► both also are results of their own
//! ```

use std::sync::Arc;

use chrono::{DateTime, Utc};
use tokio::sync::{OnceCell, mpsc};

use crate::{
    id::Id,
    job::{Job, Kind, Of, Recommend, Trending},
    reader::Reader,
    record::{Cause, Failure, Meter},
    targets::{Only, Target},
};

pub mod bm25;
mod catalogue;
mod compute;
mod events;
pub mod interactions;
mod interner;
mod lists;
mod model;
mod needs;
pub mod neighbours;
mod object;
mod query;
pub mod ranking;
pub mod scoring;
mod shared;
mod sums;
pub mod trend;

use model::Model;
pub use needs::{Models, Needs};
pub use query::Exploded;

/// What there is for one target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Produced {
    /// A value: UTF-8 JSON.
    Value(Vec<u8>),
    /// Nothing was found.
    Empty,
    /// This target failed, for this reason.
    Failed(String),
}

/// Computes values for one run of one job.
pub struct Producer {
    job: Arc<Job>,
    needs: Needs,
    reader: Arc<Reader>,
    now: DateTime<Utc>,
    meter: Arc<Meter>,
    /// The largest value, in bytes.
    largest: usize,
    /// Built when the first key turns out to be due: a run that finds everything fresh asks nothing.
    model: OnceCell<Option<Arc<Model>>>,
}

impl Producer {
    /// Nothing is read yet. A value of more than `largest` bytes is an error of its target.
    pub fn new(
        job: Arc<Job>,
        needs: Needs,
        reader: Arc<Reader>,
        now: DateTime<Utc>,
        meter: Arc<Meter>,
        largest: usize,
    ) -> Self {
        Self { job, needs, reader, now, meter, largest, model: OnceCell::new() }
    }

    /// The values of some targets, in their order.
    pub async fn produce(&self, targets: &[Target]) -> Result<Vec<Produced>, Failure> {
        match &self.job.kind {
            Kind::Query(query) => {
                query::for_targets(&self.job, query, &self.reader, self.now, self.largest, targets).await
            }
            Kind::Trending(_) | Kind::Recommend(_) | Kind::Similar(_) => match self.model().await? {
                Some(model) => lists::for_targets(&self.job, &model, targets, self.largest, &self.meter).await,
                None => Ok(vec![Produced::Empty; targets.len()]),
            },
        }
    }

    /// Whether targets come from what is computed, because the job lists none.
    pub fn has_own_targets(&self) -> bool {
        self.job.targets.is_empty() && matches!(self.job.kind, Kind::Similar(_))
    }

    /// Sends the targets that come from what is computed: every product, or user, of the events.
    pub async fn own_targets(&self, only: &[Only], out: &mpsc::Sender<Vec<Target>>) -> Result<(), Failure> {
        let (Kind::Similar(similar), Some(model)) = (&self.job.kind, self.model().await?) else {
            return Ok(());
        };
        let ids = match similar.of {
            Of::Products => model.interactions.items(),
            Of::Users => model.interactions.users(),
        };
        let same = |id: &Id, wanted: &Id| id == wanted || id.to_string() == wanted.to_string();
        let wanted = |id: &&Id| only.iter().all(|only| only.values.iter().any(|wanted| same(id, wanted)));
        let ids: Vec<&Id> = ids.iter().filter(wanted).collect();
        self.meter.targets.add(ids.len());
        self.meter.keys.add(ids.len());
        for chunk in ids.chunks(self.job.limits.batch.get() as usize) {
            let batch = chunk.iter().map(|id| Target::from([Some((*id).clone())])).collect();
            if out.send(batch).await.is_err() {
                break;
            }
        }
        Ok(())
    }

    /// Sends the keys and values of a query without targets.
    pub async fn explode(&self, only: &[Only], out: &mpsc::Sender<Vec<Exploded>>) -> Result<(), Failure> {
        match &self.job.kind {
            Kind::Query(query) => {
                let wanted = query::Wanted { only, largest: self.largest };
                query::explode(&self.job, query, &self.reader, self.now, wanted, &self.meter, out).await
            }
            Kind::Trending(_) | Kind::Recommend(_) | Kind::Similar(_) => Ok(()),
        }
    }

    async fn model(&self) -> Result<Option<Arc<Model>>, Failure> {
        let load = async || {
            let model = self.needs.model(&self.reader, self.job.limits.concurrency, &self.meter).await;
            // A value in the events is nobody's own: no smaller batch would get around it.
            let model = model.map_err(|failure| match failure.cause {
                Cause::Data => Failure { cause: Cause::Statement, ..failure },
                _ => failure,
            })?;
            if let Some(model) = &model {
                self.warn_of_category(model);
            }
            Ok(model)
        };
        self.model.get_or_try_init(load).await.cloned()
    }

    /// A category of products that has the name of "all of them".
    fn warn_of_category(&self, model: &Model) {
        let (Kind::Trending(Trending { any_category, .. }) | Kind::Recommend(Recommend { any_category, .. })) =
            &self.job.kind
        else {
            return;
        };
        if self.job.has_categories() && model.catalogue.category(any_category).is_some() {
            tracing::warn!(
                "{}: products have the category `{any_category}`, which stands for all of them: it has no list of its own \
                 until `any_category` is another word",
                self.job.name
            );
        }
    }
}

/// A value of this size, when that is too much.
fn refuse_over(largest: usize, size: usize) -> Result<(), String> {
    if size <= largest {
        return Ok(());
    }
    Err(format!("the value has at least {size} bytes, and `limits.max_value_bytes` is {largest}"))
}

#[cfg(test)]
mod tests;
