//! What a user may like next.
//!
//! The choices below were measured on the data of `tests/recall.rs` with 50 neighbours and a half-life of 60 days:
//! recall@10 of all products and of those new to the customer, for November 2011 and as the mean of three months.
//!
//! | what | November | September to November |
//! |---|---|---|
//! | BM25 with users for documents | 0.264, 0.073 | 0.268, 0.077 |
//! | BM25 with items for documents | 0.304, 0.088 | 0.296, 0.092 |
//! | and the interest in an item for itself twice its similarity | 0.322, 0.088 | 0.313, 0.092 |
//! | and 15 % of the trend, with a half-life of 15 days | 0.329, 0.093 | 0.317, 0.094 |
//! | and no more than 300 items of a history in the neighbours, by weight | 0.330, 0.093 | 0.318, 0.095 |
//! | and in the user's own history, the most recent: what this does | 0.330, 0.093 | not measured |
//! | the last but two, with the history saturated like BM25's term frequency | 0.325, 0.091 | 0.315, 0.094 |
//! | the second, with cosine | 0.273, 0.078 | 0.277, 0.085 |
//! | the second, with distinct invoices in place of lines | 0.305, 0.088 | 0.296, 0.092 |
//! | the second, without decay | 0.291, 0.087 | 0.295, 0.093 |

use rayon::prelude::*;

use super::{
    interactions::Interactions,
    neighbours::Neighbours,
    ranking::{Best, Scored},
    sums::{Sums, largest},
    trend::Trend,
};

/// What a [`Recommender`] makes of the scores.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// The lists wanted for each user: a category, or `None` for items of any category.
    pub lists: Vec<Option<u32>>,
    /// Items in a list.
    pub limit: usize,
    /// The share of the trend in a score, 0..=1.
    pub blend: f32,
    /// Whether items that the user has bought stay out of the lists.
    pub exclude_purchased: bool,
}

/// The share of the trend in a score when nothing else is asked for. Anything from 0.05 to 0.2 is better than none.
pub const DEFAULT_BLEND: f32 = 0.15;

/// What everybody does changes faster than what one user likes: by how much the half-life of the trend should be
/// shorter than that of the history.
pub const TREND_HASTE: u32 = 4;

/// How much more a user's own history with an item counts towards it than its similarity to itself says: people come
/// back to the same things.
const REPEAT: f32 = 2.0;

/// What scores are made of, in the order of the trend's ranking: most of what is near to anything is popular, and so stands
/// together. A place is a rank; items that may not be shown have none.
#[derive(Debug, Clone, PartialEq)]
pub struct Affinities {
    /// Of each item the places that are near to it.
    near: Neighbours,
    /// The trend's score at each place, falling.
    scores: Vec<f32>,
    /// All places.
    places: Vec<u32>,
    /// Those of each category, in order.
    by_category: Vec<Vec<u32>>,
}

impl Affinities {
    /// Takes the neighbours of items apart by the ranking of these items.
    pub fn new(mut near: Neighbours, trend: &Trend) -> Self {
        // None of them is hidden.
        near.renumber(|item| trend.rank(item));
        let places = |category| trend.ranking(category).iter().map(|&item| trend.rank(item)).collect();
        Self {
            near,
            scores: trend.ranking(None).iter().map(|&item| trend.score(item)).collect(),
            places: places(None),
            by_category: (0..trend.categories() as u32).map(|category| places(Some(category))).collect(),
        }
    }

    /// The places of a category (of the whole shop, if none is given), in order.
    fn places(&self, category: Option<u32>) -> &[u32] {
        match category {
            None => &self.places,
            // No item has a category that the trend does not know.
            Some(category) => self.by_category.get(category as usize).map_or(&[], Vec::as_slice),
        }
    }
}

/// Ranks items for users. Making one is cheap: it only borrows the model.
#[derive(Debug)]
pub struct Recommender<'m> {
    interactions: &'m Interactions,
    affinities: &'m Affinities,
    trend: &'m Trend,
    options: Options,
}

/// What one thread needs to score one user after the other.
#[derive(Debug)]
pub struct Scratch {
    /// By place; zero between users.
    sums: Sums,
    /// By place; false between users.
    excluded: Vec<bool>,
    best: Best,
}

impl<'m> Recommender<'m> {
    /// Brings the parts together, which are about the items of `interactions`.
    pub fn new(interactions: &'m Interactions, affinities: &'m Affinities, trend: &'m Trend, options: Options) -> Self {
        Self { interactions, affinities, trend, options }
    }

    /// Working memory for [`Recommender::recommend`], to be used for many users.
    pub fn scratch(&self) -> Scratch {
        let places = self.affinities.scores.len();
        Scratch { sums: Sums::new(places), excluded: vec![false; places], best: Best::new(self.options.limit) }
    }

    /// The lists of many users, in their order, on all cores; see [`Recommender::recommend`].
    pub fn recommend_all(&self, users: &[Option<u32>]) -> Vec<Vec<Vec<Scored>>> {
        users.par_iter().map_init(|| self.scratch(), |scratch, &user| self.recommend(user, scratch)).collect()
    }

    /// The lists of one user (`None`: one without any event), in the order of [`Options::lists`]; each has pairs of an
    /// item and a score in 0..=1, best first, equal scores by popularity and then by id.
    ///
    /// ```text
    /// affinity(j) = 2 * recent(j) * similarity(j, j)
    ///               + sum of recent(i) * similarity(i, j) over the items i of the history with neighbour j
    /// score(j)    = (1 - blend) * affinity(j) / largest affinity of an item that may be shown + blend * trend(j)
    /// ```
    ///
    /// A list that history leaves short is filled from the trend; without history the score is the trend's.
    pub fn recommend(&self, user: Option<u32>, scratch: &mut Scratch) -> Vec<Vec<Scored>> {
        let top = user.map_or(0.0, |user| self.sum_up(user, scratch));
        let (personal, common) =
            if top > 0.0 { ((1.0 - self.options.blend) / top, self.options.blend) } else { (0.0, 1.0) };

        let lists =
            self.options.lists.iter().map(|&category| self.list(category, [personal, common], scratch)).collect();

        let Scratch { sums, excluded, .. } = scratch;
        sums.drain(|_, _| {});
        if let Some(user) = user {
            for (place, _) in self.bought(user) {
                excluded[place as usize] = false;
            }
        }
        lists
    }

    /// The best of a category, or of all, by `personal` times the sum and `common` times the trend.
    fn list(&self, category: Option<u32>, [personal, common]: [f32; 2], scratch: &mut Scratch) -> Vec<Scored> {
        let Scratch { sums, excluded, best } = scratch;
        let scores = &self.affinities.scores;
        let places = self.affinities.places(category);
        let score = |place: u32, sum: f32| personal * sum + common * scores[place as usize];
        match category {
            None => {
                for (first, block) in sums.blocks() {
                    // No score of the block is above this, and most blocks are below what the list has got already.
                    if score(first as u32, largest(block)) >= best.floor() {
                        let summed = (first as u32..).zip(block).filter(|&(_, &sum)| sum > 0.0);
                        summed.for_each(|(place, &sum)| best.offer(place, score(place, sum)));
                    }
                }
            }
            Some(_) => {
                let summed = places.iter().map(|&place| (place, sums.get(place))).filter(|&(_, sum)| sum > 0.0);
                summed.for_each(|(place, sum)| best.offer(place, score(place, sum)));
            }
        }
        let rest = places.iter().filter(|&&place| sums.get(place) == 0.0 && !excluded[place as usize]);
        for &place in rest.take(self.options.limit) {
            let score = score(place, 0.0);
            // Nor would any of those behind it.
            if score < best.floor() {
                break;
            }
            best.offer(place, score);
        }
        let by_rank = best.take();
        by_rank.into_iter().map(|(rank, score)| (self.trend.ranking(None)[rank as usize], score.min(1.0))).collect()
    }

    /// Fills `sums` and `excluded`; the largest sum of an item that may be shown.
    fn sum_up(&self, user: u32, scratch: &mut Scratch) -> f32 {
        let Scratch { sums, excluded, .. } = scratch;
        let near = &self.affinities.near;
        let history = self.interactions.history(user);
        let counted = history.items.iter().zip(history.recent).enumerate().filter(|(nth, _)| history.counted.has(*nth));
        for (_, (&item, &recent)) in counted {
            if self.interactions.is_shown(item) {
                sums.add(self.trend.rank(item), REPEAT * recent * near.own(item));
            }
            for &(place, similarity) in near.of(item) {
                sums.add(place, recent * similarity);
            }
        }
        for (place, purchased) in self.bought(user) {
            if purchased {
                excluded[place as usize] = true;
                sums.clear(place);
            }
        }
        sums.blocks().map(|(_, block)| largest(block)).fold(0.0, f32::max)
    }

    /// The places of what the user had to do with, and whether it must not be shown because it was bought.
    fn bought(&self, user: u32) -> impl Iterator<Item = (u32, bool)> {
        let history = self.interactions.history(user);
        let items = history.items.iter().zip(history.purchased).filter(|_| self.options.exclude_purchased);
        let shown = items.filter(|&(&item, _)| self.interactions.is_shown(item));
        shown.map(|(&item, &purchased)| (self.trend.rank(item), purchased))
    }
}
