//! The best few of many, with ties that do not depend on the order of arrival.

use std::{
    cmp::{Ordering, Reverse},
    collections::BinaryHeap,
};

/// A dense index and its score.
pub type Scored = (u32, f32);

/// The order of every ranking: the higher score first, then the lower index.
pub fn better_first(a: &Scored, b: &Scored) -> Ordering {
    b.1.total_cmp(&a.1).then(a.0.cmp(&b.0))
}

/// Keeps the best `limit` of the pairs offered, in O(log limit) for one that gets in and O(1) for one that does not.
#[derive(Debug, Clone)]
pub struct Best {
    limit: usize,
    worst_first: BinaryHeap<Reverse<Rank>>,
    /// A score below this does not get in.
    floor: f32,
}

impl Best {
    /// Room for `limit` pairs.
    pub fn new(limit: usize) -> Self {
        Self { limit, worst_first: BinaryHeap::new(), floor: f32::NEG_INFINITY }
    }

    /// Considers a pair; scores must not be NaN.
    #[inline]
    pub fn offer(&mut self, index: u32, score: f32) {
        // Nearly everything ends here, in the innermost loop but one.
        if score >= self.floor {
            self.admit(Rank { score, index });
        }
    }

    /// What a score must reach at least to get in.
    pub fn floor(&self) -> f32 {
        self.floor
    }

    fn admit(&mut self, rank: Rank) {
        if self.worst_first.len() < self.limit {
            self.worst_first.push(Reverse(rank));
        } else if let Some(mut worst) = self.worst_first.peek_mut()
            && rank > worst.0
        {
            worst.0 = rank;
        }
        if self.worst_first.len() == self.limit {
            self.floor = self.worst_first.peek().map_or(f32::INFINITY, |worst| worst.0.score);
        }
    }

    /// The pairs kept, best first; leaves this empty for the next use.
    pub fn take(&mut self) -> Vec<Scored> {
        let mut kept: Vec<Scored> = self.worst_first.drain().map(|Reverse(rank)| (rank.index, rank.score)).collect();
        kept.sort_unstable_by(better_first);
        self.floor = f32::NEG_INFINITY;
        kept
    }
}

/// Greater is better.
#[derive(Debug, Clone, Copy)]
struct Rank {
    score: f32,
    index: u32,
}

impl Ord for Rank {
    fn cmp(&self, other: &Self) -> Ordering {
        self.score.total_cmp(&other.score).then(other.index.cmp(&self.index))
    }
}

impl PartialOrd for Rank {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Rank {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Rank {}

#[cfg(test)]
mod tests {
    use super::*;

    fn best_of(limit: usize, pairs: impl IntoIterator<Item = Scored>) -> Vec<Scored> {
        let mut best = Best::new(limit);
        for (index, score) in pairs {
            best.offer(index, score);
        }
        best.take()
    }

    #[test]
    fn equal_scores_keep_the_lower_index_whatever_the_order_of_arrival() {
        let pairs = [(3, 1.0), (1, 1.0), (2, 1.0), (0, 0.5), (4, 2.0)];
        let expected = vec![(4, 2.0), (1, 1.0), (2, 1.0)];
        assert_eq!(best_of(3, pairs), expected);
        assert_eq!(best_of(3, pairs.into_iter().rev()), expected);
        assert_eq!(best_of(1, [(3, 1.0), (2, 1.0), (1, 1.0)]), [(1, 1.0)]);
    }

    #[test]
    fn keeps_what_a_full_sort_would() {
        let pairs: Vec<Scored> = (0..500u32).map(|i| (i, (i * 7919 % 101) as f32)).collect();
        let mut sorted = pairs.clone();
        sorted.sort_by(better_first);
        for limit in [0, 1, 10, 499, 500, 501] {
            assert_eq!(best_of(limit, pairs.iter().copied()), sorted[..limit.min(500)]);
            assert_eq!(best_of(limit, pairs.iter().rev().copied()), sorted[..limit.min(500)]);
        }
    }

    #[test]
    fn taking_leaves_it_empty() {
        let mut best = Best::new(2);
        best.offer(7, 1.0);
        assert_eq!(best.take(), [(7, 1.0)]);
        assert_eq!(best.take(), []);
    }
}
