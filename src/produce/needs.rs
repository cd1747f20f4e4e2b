//! What runs have in common: events that are read, and models that are built, once for all runs that need the same.

use std::{
    num::NonZeroU32,
    sync::{Arc, Mutex, PoisonError},
};

use chrono::{DateTime, Utc};
use futures_util::future::try_join_all;
use tokio::sync::Semaphore;

use super::{
    events,
    interactions::Builder,
    model::{Model, Recipe},
    shared::{Place, Shared},
};
use crate::{
    job::{Events, Job, Sql},
    reader::Reader,
    record::{Failure, Meter},
};

/// The events and models that runs on one database hold. Clones are the same.
#[derive(Clone, Default)]
pub struct Models(Arc<Common>);

#[derive(Default)]
struct Common {
    models: Shared<Recipe, Held>,
    /// By the statement, and what it sees as `:now`.
    events: Shared<(Sql, DateTime<Utc>), Place<Builder>>,
}

/// What one run needs of them. Events are kept until the last run that needs them has built its model, a model until
/// the last run that needs it has ended. Clones are the same.
#[derive(Clone)]
pub struct Needs(Option<Arc<Held>>);

/// A model and what it is made from, the same for all runs that need the same.
struct Held {
    recipe: Recipe,
    model: Place<Model>,
    /// In the order of the recipe; empty once they were taken to build the model.
    events: Mutex<Vec<Arc<Place<Builder>>>>,
    common: Arc<Common>,
}

impl Models {
    /// What a run of a job needs that sees this moment as `:now`. Nothing is read yet; but what others read from now on
    /// is there when the run begins.
    pub fn needs(&self, job: &Job, now: DateTime<Utc>) -> Needs {
        let common = &self.0;
        Needs(Recipe::of(job, now).map(|recipe| {
            common.models.hold(recipe.clone(), || Held {
                events: Mutex::new(common.events(&recipe)),
                recipe,
                model: Place::default(),
                common: Arc::clone(common),
            })
        }))
    }
}

impl Common {
    fn events(&self, recipe: &Recipe) -> Vec<Arc<Place<Builder>>> {
        let hold = |sql: &Sql| self.events.hold((sql.clone(), recipe.now), Place::default);
        recipe.events.iter().map(|source| hold(&source.sql)).collect()
    }
}

impl Needs {
    /// The model, read and built here if no other run does so, over up to `at_once` connections, or as many as one
    /// of its statements wants; none for a query.
    pub(super) async fn model(
        &self,
        reader: &Reader,
        at_once: NonZeroU32,
        meter: &Meter,
    ) -> Result<Option<Arc<Model>>, Failure> {
        let Some(held) = &self.0 else { return Ok(None) };
        held.model.get(reader.deadline(), async || held.build(reader, at_once, meter).await).await.map(Some)
    }
}

impl Held {
    async fn build(&self, reader: &Reader, at_once: NonZeroU32, meter: &Meter) -> Result<Model, Failure> {
        let mut places = std::mem::take(&mut *self.events.lock().unwrap_or_else(PoisonError::into_inner));
        if places.is_empty() {
            // An attempt before this one, perhaps another run's, came to nothing.
            places = self.common.events(&self.recipe);
        }
        let turns = Semaphore::new(at_once.get() as usize);
        let sources = self.recipe.events.iter().zip(&places);
        let read =
            sources.map(|(source, place)| self.read(source, place, reader, (&turns, at_once))).collect::<Vec<_>>();
        let read = try_join_all(read).await?;
        // Events that no other model needs are this one's alone from here, and need not be copied.
        drop(places);
        Model::build(&self.recipe, read, reader, meter).await
    }

    async fn read(
        &self,
        source: &Events,
        place: &Place<Builder>,
        reader: &Reader,
        (turns, at_once): (&Semaphore, NonZeroU32),
    ) -> Result<Arc<Builder>, Failure> {
        // As many connections at once as batches: no more than there are turns, which never close.
        let connections = source.connections.min(at_once).get();
        let _turn = turns.acquire_many(connections).await.ok();
        place.get(reader.deadline(), async || events::read(source, reader, self.recipe.now).await).await
    }
}
