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

/// Ranks items for users. Making one is cheap: it only borrows the model.
#[derive(Debug)]
pub struct Recommender<'m> {
    interactions: &'m Interactions,
    neighbours: &'m Neighbours,
    trend: &'m Trend,
    options: Options,
    /// For each category the lists (positions in `options.lists`) that show it.
    lists_of: Vec<Vec<usize>>,
    /// The lists of any category.
    general: Vec<usize>,
}

/// What one thread needs to score one user after the other.
#[derive(Debug)]
pub struct Scratch {
    /// Per item; zero between users.
    sums: Vec<f32>,
    /// Per item; false between users.
    excluded: Vec<bool>,
    touched: Vec<u32>,
    best: Vec<Best>,
}

impl<'m> Recommender<'m> {
    /// Brings the parts together; `neighbours` are those of the items of `interactions`.
    pub fn new(interactions: &'m Interactions, neighbours: &'m Neighbours, trend: &'m Trend, options: Options) -> Self {
        let mut lists_of = vec![Vec::new(); trend.categories()];
        let mut general = Vec::new();
        for (list, category) in options.lists.iter().enumerate() {
            match category {
                None => general.push(list),
                Some(category) => {
                    // No item has a category that the trend does not know.
                    if let Some(lists) = lists_of.get_mut(*category as usize) {
                        lists.push(list);
                    }
                }
            }
        }
        Self { interactions, neighbours, trend, options, lists_of, general }
    }

    /// Working memory for [`Recommender::recommend`], to be used for many users.
    pub fn scratch(&self) -> Scratch {
        let items = self.interactions.items().len();
        Scratch {
            sums: vec![0.0; items],
            excluded: vec![false; items],
            touched: Vec::new(),
            best: vec![Best::new(self.options.limit); self.options.lists.len()],
        }
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
        let largest = user.map_or(0.0, |user| self.sum_up(user, scratch));
        let (personal, common) =
            if largest > 0.0 { ((1.0 - self.options.blend) / largest, self.options.blend) } else { (0.0, 1.0) };

        let Scratch { sums, excluded, touched, best } = scratch;
        for &item in touched.iter() {
            if !excluded[item as usize] {
                let score = personal * sums[item as usize] + common * self.trend.score(item);
                let rank = self.trend.rank(item);
                let category = self.trend.category(item) as usize;
                for &list in self.general.iter().chain(self.lists_of.get(category).into_iter().flatten()) {
                    best[list].offer(rank, score);
                }
            }
        }
        let lists = self.options.lists.iter().zip(best.iter_mut()).map(|(&category, best)| {
            let rest = self
                .trend
                .ranking(category)
                .iter()
                .filter(|&&item| sums[item as usize] == 0.0 && !excluded[item as usize]);
            for &item in rest.take(self.options.limit) {
                best.offer(self.trend.rank(item), common * self.trend.score(item));
            }
            let by_rank = best.take();
            by_rank.into_iter().map(|(rank, score)| (self.trend.ranking(None)[rank as usize], score.min(1.0))).collect()
        });
        let lists = lists.collect();

        for item in touched.drain(..) {
            sums[item as usize] = 0.0;
        }
        if let Some(user) = user {
            for &item in self.interactions.history(user).items {
                excluded[item as usize] = false;
            }
        }
        lists
    }

    /// Fills `sums`, `touched` and `excluded`; the largest sum of an item that may be shown.
    fn sum_up(&self, user: u32, scratch: &mut Scratch) -> f32 {
        let Scratch { sums, excluded, touched, .. } = scratch;
        let history = self.interactions.history(user);
        let mut add = |item: u32, amount: f32| {
            let sum = &mut sums[item as usize];
            if *sum == 0.0 && amount > 0.0 {
                touched.push(item);
            }
            *sum += amount;
        };
        let counted = history.items.iter().zip(history.recent).enumerate().filter(|(nth, _)| history.counted.has(*nth));
        for (_, (&item, &recent)) in counted {
            if self.interactions.is_shown(item) {
                add(item, REPEAT * recent * self.neighbours.own(item));
            }
            for &(other, similarity) in self.neighbours.of(item) {
                add(other, recent * similarity);
            }
        }
        if self.options.exclude_purchased {
            for (&item, &purchased) in history.items.iter().zip(history.purchased) {
                excluded[item as usize] = purchased;
            }
        }
        let shown = touched.iter().filter(|&&item| !excluded[item as usize]);
        shown.map(|&item| sums[item as usize]).fold(0.0, f32::max)
    }
}
