//! What the computed kinds share: who did what, what is near what, what is popular, and how products look.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::{
    catalogue::{Catalogue, Description},
    compute,
    interactions::{Builder, Decay, Interactions},
    neighbours::Neighbours,
    scoring::Affinities,
    trend::{NO_CATEGORY, Trend},
};
use crate::{
    job::{Events, Job, Kind, Of},
    reader::Reader,
    record::{Failure, Meter},
};

/// A model is built when a run finds the first key that is due, and lives as long as a run needs it.
pub(super) struct Model {
    pub interactions: Interactions,
    pub trend: Trend,
    pub found: Found,
    pub catalogue: Catalogue,
}

/// What was found beyond that, as far as lists need it.
pub(super) enum Found {
    Nothing,
    Similar(Neighbours),
    Near(Affinities),
}

/// What to find.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Find {
    Nothing,
    /// So many like-minded users of each.
    SimilarUsers(usize),
    SimilarItems(usize),
    NearItems(usize),
}

/// All that a model depends on: equal recipes make the same model.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Recipe {
    /// What people did; the entries tell what an event counts.
    pub events: Vec<Events>,
    /// What the statements see as `:now`, and from where events age.
    pub now: DateTime<Utc>,
    /// How what a user did loses weight.
    history: Decay,
    /// How what is popular does.
    popularity: Decay,
    /// Items of a user that count.
    longest: usize,
    products: Option<Description>,
    find: Find,
}

impl Recipe {
    /// What the model of a job is made from; queries have none.
    pub fn of(job: &Job, now: DateTime<Utc>) -> Option<Self> {
        // The members that the lists write themselves.
        let mut own: &[&str] = &["product_id", "id", "score"];
        let (mut history, mut popularity) = (Decay::NONE, Decay::NONE);
        let (events, products, json, longest, find) = match &job.kind {
            Kind::Query(_) => return None,
            Kind::Trending(job) => {
                own = &["product_id", "trend_score", "category"];
                popularity = Decay::half_life(job.half_life);
                (&job.events, &job.products, &job.json, u32::MAX, Find::Nothing)
            }
            Kind::Recommend(job) => {
                history = Decay::half_life(job.half_life);
                popularity = Decay::half_life(job.trending_half_life);
                let find = Find::NearItems(job.neighbours as usize);
                (&job.events, &job.products, &job.json, job.history, find)
            }
            Kind::Similar(job) => {
                // Neighbours are found by dot product and shown by cosine, which may bring up one from further back.
                let count = job.limit.max(50) as usize;
                // Users have no details.
                let (products, find) = match job.of {
                    Of::Products => (&job.products, Find::SimilarItems(count)),
                    Of::Users => (&None, Find::SimilarUsers(count)),
                };
                (&job.events, products, &job.json, job.history, find)
            }
        };
        let description = |sql| Description { sql, own, json: json.clone(), by_category: job.has_categories() };
        Some(Self {
            events: events.clone(),
            now,
            history,
            popularity,
            longest: longest as usize,
            products: products.clone().map(description),
            find,
        })
    }
}

impl Model {
    /// Builds the matrix of the events, which are those of the recipe in its order, and reads the products that occur in
    /// it.
    pub async fn build(
        recipe: &Recipe,
        events: Vec<Arc<Builder>>,
        reader: &Reader,
        meter: &Meter,
    ) -> Result<Self, Failure> {
        let Recipe { now, history, popularity, longest, find, .. } = *recipe;
        let worth: Vec<(f32, bool)> = recipe.events.iter().map(|source| (source.weight, source.purchase)).collect();
        let interactions = compute::on_threads(meter, move || {
            let mut builder = Interactions::builder();
            for (read, (weight, purchase)) in events.into_iter().zip(worth) {
                builder.append(read, weight, purchase);
            }
            builder.build(now.timestamp(), history, popularity, longest)
        });
        let mut interactions = interactions.await?;
        let (catalogue, categories) = match &recipe.products {
            Some(products) => products.read(reader, now, &interactions).await?,
            None => (Catalogue::default(), vec![NO_CATEGORY; interactions.items().len()]),
        };
        compute::on_threads(meter, move || {
            if let Some(unknown) = catalogue.unknown() {
                interactions.hide(unknown);
            }
            let trend = Trend::new(&interactions, categories);
            let found = match find {
                Find::Nothing => Found::Nothing,
                Find::SimilarUsers(count) => Found::Similar(Neighbours::of_users(&interactions, count)),
                Find::SimilarItems(count) => Found::Similar(Neighbours::of_items(&interactions, count)),
                Find::NearItems(count) => {
                    Found::Near(Affinities::new(Neighbours::of_items(&interactions, count), &trend))
                }
            };
            Self { interactions, trend, found, catalogue }
        })
        .await
    }
}
