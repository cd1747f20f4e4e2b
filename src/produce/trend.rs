//! What everybody does at present.

use super::{interactions::Interactions, ranking::Scored};

/// The category of an item that has none.
pub const NO_CATEGORY: u32 = u32::MAX;

/// All items by their recent popularity, overall and in each category.
#[derive(Debug, Clone, PartialEq)]
pub struct Trend {
    categories: Vec<u32>,
    scores: Vec<f32>,
    ranks: Vec<u32>,
    overall: Vec<u32>,
    by_category: Vec<Vec<u32>>,
}

impl Trend {
    /// Ranks the items of a matrix by [`Interactions::popularity`]. `categories` has the category of each item, a small
    /// dense number or [`NO_CATEGORY`]; an item that it is too short for has none.
    pub fn new(interactions: &Interactions, mut categories: Vec<u32>) -> Self {
        let popularity = interactions.popularity();
        categories.resize(popularity.len(), NO_CATEGORY);
        let shown = popularity.iter().enumerate().filter(|(item, _)| interactions.is_shown(*item as u32));
        let top = shown.map(|(_, &weight)| weight).fold(0.0, f64::max);
        let scores: Vec<f32> =
            popularity.iter().map(|&weight| if top > 0.0 { (weight / top).min(1.0) as f32 } else { 0.0 }).collect();

        let mut overall: Vec<u32> = (0..popularity.len() as u32).filter(|&item| interactions.is_shown(item)).collect();
        overall.sort_unstable_by(|&a, &b| popularity[b as usize].total_cmp(&popularity[a as usize]).then(a.cmp(&b)));
        let mut ranks = vec![0; popularity.len()];
        let known = categories.iter().filter(|&&category| category != NO_CATEGORY).max();
        let mut by_category = vec![Vec::new(); known.map_or(0, |&category| category as usize + 1)];
        for (rank, &item) in overall.iter().enumerate() {
            ranks[item as usize] = rank as u32;
            if categories[item as usize] != NO_CATEGORY {
                by_category[categories[item as usize] as usize].push(item);
            }
        }
        Self { categories, scores, ranks, overall, by_category }
    }

    /// Every shown item of a category (of the whole shop, if none is given), the most popular first, ties by id.
    pub fn ranking(&self, category: Option<u32>) -> &[u32] {
        match category {
            None => &self.overall,
            Some(category) => self.by_category.get(category as usize).map_or(&[], Vec::as_slice),
        }
    }

    /// The first `limit` of [`Trend::ranking`] with their scores.
    pub fn top(&self, category: Option<u32>, limit: usize) -> Vec<Scored> {
        self.ranking(category).iter().take(limit).map(|&item| (item, self.score(item))).collect()
    }

    /// The popularity of an item relative to the most popular of the whole shop, 0..=1.
    pub fn score(&self, item: u32) -> f32 {
        self.scores[item as usize]
    }

    /// The position of an item in the ranking of the whole shop, from 0.
    pub fn rank(&self, item: u32) -> u32 {
        self.ranks[item as usize]
    }

    /// One more than the highest category of any item.
    pub fn categories(&self) -> usize {
        self.by_category.len()
    }

    /// The category of an item, or [`NO_CATEGORY`].
    pub fn category(&self, item: u32) -> u32 {
        self.categories[item as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::produce::interactions::Decay;

    fn trend(weights: &[f32], categories: Vec<u32>) -> Trend {
        let mut builder = Interactions::builder();
        for (item, &weight) in weights.iter().enumerate() {
            builder.push(1, item as i64, 0, weight, true);
        }
        Trend::new(&builder.build(0, Decay::NONE, Decay::NONE, usize::MAX), categories)
    }

    #[test]
    fn items_rank_by_popularity_then_by_id() {
        let trend = trend(&[1.0, 4.0, 1.0, 2.0], Vec::new());
        assert_eq!(trend.top(None, 9), [(1, 1.0), (3, 0.5), (0, 0.25), (2, 0.25)]);
        assert_eq!(trend.top(None, 2), [(1, 1.0), (3, 0.5)]);
        assert_eq!(trend.rank(2), 3);
    }

    #[test]
    fn many_ties_stay_in_the_order_of_the_ids() {
        let weights: Vec<f32> = (0..300).map(|item| (item % 3 + 1) as f32).collect();
        let expected: Vec<u32> =
            [2, 1, 0].into_iter().flat_map(|rest| (0..300).filter(move |i| i % 3 == rest)).collect();
        assert_eq!(trend(&weights, Vec::new()).ranking(None), expected);
    }

    #[test]
    fn a_category_is_the_overall_ranking_without_the_others() {
        let trend = trend(&[1.0, 4.0, 1.0, 2.0, 8.0], vec![0, 2, 0, 0, NO_CATEGORY]);
        assert_eq!(trend.top(Some(0), 9), [(3, 0.25), (0, 0.125), (2, 0.125)]);
        assert_eq!(trend.top(Some(1), 9), []);
        assert_eq!(trend.top(Some(2), 9), [(1, 0.5)]);
        assert_eq!(trend.top(Some(NO_CATEGORY), 9), []);
        assert_eq!(trend.categories(), 3);
    }

    #[test]
    fn nothing_happened_means_nothing_trends() {
        assert_eq!(trend(&[], Vec::new()).top(None, 9), []);
    }
}
