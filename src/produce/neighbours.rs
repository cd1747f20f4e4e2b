//! Which items go with an item, and which users are like a user.

use std::cmp::Reverse;

use rayon::prelude::*;

use super::{
    bm25,
    interactions::Interactions,
    ranking::{Best, Scored, better_first},
    sums::{Sums, largest},
};

/// An item with more users than this is represented by those of the largest weight when like-minded users are sought. As
/// with the items of a user that count ([`Builder::build`]), the work grows with the square of a row. This is the
/// interaction cut of Schelter et al., *Scalable Similarity-Based Neighborhood Methods with MapReduce* (2012).
///
/// [`Builder::build`]: super::interactions::Builder::build
const LONGEST: usize = 300;

/// For each row of a matrix the rows most similar to it.
///
/// The similarity of two rows is the dot product of their [`bm25::weights`]: item-based collaborative filtering as in
/// Sarwar et al., *Item-Based Collaborative Filtering Recommendation Algorithms* (2001), and Deshpande and Karypis,
/// *Item-Based Top-N Recommendation Algorithms* (2004), who also show that a few dozen neighbours do.
#[derive(Debug, Clone, PartialEq)]
pub struct Neighbours {
    /// `rows + 1` offsets into `pairs`.
    starts: Vec<usize>,
    pairs: Vec<Scored>,
    own: Vec<f32>,
}

impl Neighbours {
    /// The `k` items most similar to each item, by the users that they share. An item that does not count for a user
    /// finds its neighbours by that user, but is nobody's.
    pub fn of_items(interactions: &Interactions, k: usize) -> Self {
        let by_user = Csr::by_user(interactions);
        let by_item = by_user.transposed(interactions.items().len());
        Self::of_rows(&by_item, by_user.counted(interactions), k, |item| interactions.is_shown(item))
    }

    /// The `k` users most similar to each user, by the items that they share.
    pub fn of_users(interactions: &Interactions, k: usize) -> Self {
        let by_user = Csr::by_user(interactions).counted(interactions);
        let by_item = by_user.transposed(interactions.items().len());
        Self::of_rows(&by_user, by_item.shortened(), k, |_| true)
    }

    /// The neighbours of a row, the most similar first, without itself.
    pub fn of(&self, row: u32) -> &[Scored] {
        &self.pairs[self.starts[row as usize]..self.starts[row as usize + 1]]
    }

    /// Gives the rows that are neighbours other numbers.
    pub(super) fn renumber(&mut self, number: impl Fn(u32) -> u32) {
        self.pairs.iter_mut().for_each(|(row, _)| *row = number(*row));
    }

    /// The similarity of a row to itself.
    pub fn own(&self, row: u32) -> f32 {
        self.own[row as usize]
    }

    /// The neighbours of a row by cosine, in 0..=1, the most similar first, ties by index, without itself: those that
    /// [`Self::of`] has, in another order.
    ///
    /// The dot product decides who is a neighbour, because the cosine alone prefers pairs that only one user made. As
    /// predictions of the rest of a basket (recall@10, data of `tests/recall.rs`), the first ten by dot product and by
    /// cosine among fifty neighbours are equally good, 0.193; by cosine among all items it is 0.187.
    pub fn similar(&self, row: u32) -> Vec<Scored> {
        let mut similar: Vec<Scored> = self
            .of(row)
            .iter()
            .map(|&(other, dot)| (other, (dot / (self.own(row) * self.own(other)).sqrt()).min(1.0)))
            .collect();
        similar.sort_unstable_by(better_first);
        similar
    }

    /// Gustavson's row-by-row product of `rows` with its transpose `columns`, of which only the best `k` of each row
    /// are kept. A row is the work of one thread, in a fixed order, so the number of threads changes nothing.
    fn of_rows(rows: &Csr, mut columns: Csr, k: usize, shown: impl Fn(u32) -> bool + Sync) -> Self {
        let size = rows.starts.len() - 1;
        // Sums stand in the order of how often they are added to.
        let mut busiest: Vec<u32> = (0..size as u32).collect();
        busiest.sort_unstable_by_key(|&row| (Reverse(rows.row(row as usize).len()), row));
        let mut place = vec![0; size];
        for (at, &row) in busiest.iter().enumerate() {
            place[row as usize] = at as u32;
        }
        for (row, _) in &mut columns.entries {
            *row = place[*row as usize];
        }
        let found: Vec<(Vec<Scored>, f32)> = (0..size)
            .into_par_iter()
            .map_init(
                || (Sums::new(size), Best::new(k)),
                |(sums, best), row| {
                    add_rows(sums, rows.row(row), &columns);
                    sums.clear(place[row]);
                    offer(sums, best, &busiest, &shown);
                    (best.take(), rows.row(row).iter().map(|&(_, weight)| weight * weight).sum())
                },
            )
            .collect();

        let mut neighbours = Self { starts: vec![0], pairs: Vec::new(), own: Vec::with_capacity(size) };
        for (pairs, own) in found {
            neighbours.pairs.extend(pairs);
            neighbours.starts.push(neighbours.pairs.len());
            neighbours.own.push(own);
        }
        neighbours
    }
}

/// Adds the rows of some columns, each times a weight. Some go side by side, because what they wait for is memory: one
/// after the other, each would wait alone.
fn add_rows(sums: &mut Sums, columns: &[Scored], rows: &Csr) {
    const BESIDE: usize = 4;
    let (groups, rest) = columns.as_chunks::<BESIDE>();
    for group in groups {
        let beside = group.map(|(column, weight)| (rows.row(column as usize), weight));
        let shortest = beside.iter().map(|(row, _)| row.len()).min().unwrap_or(0);
        let beside = beside.map(|(row, weight)| (row.split_at(shortest), weight));
        for at in 0..shortest {
            for ((row, _), weight) in &beside {
                sums.add(row[at].0, weight * row[at].1);
            }
        }
        for ((_, row), weight) in beside {
            add_row(sums, row, weight);
        }
    }
    for &(column, weight) in rest {
        add_row(sums, rows.row(column as usize), weight);
    }
}

fn add_row(sums: &mut Sums, row: &[Scored], weight: f32) {
    for &(place, own) in row {
        sums.add(place, weight * own);
    }
}

/// Offers the sums above zero of rows that may be shown, and leaves nothing behind. `row_at` has the row of each place.
fn offer(sums: &mut Sums, best: &mut Best, row_at: &[u32], shown: impl Fn(u32) -> bool) {
    sums.drain(|first, block| {
        // Most blocks have nothing to offer, and one look at the largest is cheaper than one at each.
        if largest(block) >= best.floor() {
            for (&row, &sum) in row_at[first..].iter().zip(block) {
                if sum > 0.0 && shown(row) {
                    best.offer(row, sum);
                }
            }
        }
    });
}

/// A sparse matrix of weights: for each row its columns and their weights.
struct Csr {
    starts: Vec<usize>,
    entries: Vec<Scored>,
}

impl Csr {
    fn by_user(interactions: &Interactions) -> Self {
        let users = interactions.users().len();
        let starts = (0..users).map(|user| interactions.row(user).start).chain([interactions.pairs()]).collect();
        let entries = interactions.item_of().iter().copied().zip(bm25::weights(interactions)).collect();
        Self { starts, entries }
    }

    fn row(&self, row: usize) -> &[Scored] {
        &self.entries[self.starts[row]..self.starts[row + 1]]
    }

    /// The entries that count.
    fn counted(mut self, interactions: &Interactions) -> Self {
        let counted = interactions.counted();
        let mut end = 0;
        for row in 0..self.starts.len() - 1 {
            let range = self.starts[row]..self.starts[row + 1];
            self.starts[row] = end;
            for pair in range.filter(|pair| counted.has(*pair)) {
                self.entries[end] = self.entries[pair];
                end += 1;
            }
        }
        self.cut(end)
    }

    /// Each row's [`LONGEST`] entries of the largest weight, ties by column.
    fn shortened(mut self) -> Self {
        let mut kept = Vec::new();
        let mut end = 0;
        for row in 0..self.starts.len() - 1 {
            let range = self.starts[row]..self.starts[row + 1];
            self.starts[row] = end;
            let length = range.len().min(LONGEST);
            if range.len() > LONGEST {
                kept.clear();
                kept.extend_from_slice(&self.entries[range]);
                kept.select_nth_unstable_by(LONGEST, better_first);
                kept.truncate(LONGEST);
                self.entries[end..end + length].copy_from_slice(&kept);
            } else {
                self.entries.copy_within(range, end);
            }
            end += length;
        }
        self.cut(end)
    }

    fn cut(mut self, end: usize) -> Self {
        if let Some(last) = self.starts.last_mut() {
            *last = end;
        }
        self.entries.truncate(end);
        self
    }

    fn transposed(&self, columns: usize) -> Self {
        let mut starts = vec![0; columns + 1];
        for &(column, _) in &self.entries {
            starts[column as usize + 1] += 1;
        }
        for column in 0..columns {
            starts[column + 1] += starts[column];
        }
        let mut next = starts.clone();
        let mut entries = vec![(0, 0.0); self.entries.len()];
        for row in 0..self.starts.len() - 1 {
            for &(column, weight) in self.row(row) {
                let at = &mut next[column as usize];
                entries[*at] = (row as u32, weight);
                *at += 1;
            }
        }
        Self { starts, entries }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::produce::interactions::Decay;

    fn matrix(events: &[(i64, i64, f32)]) -> Interactions {
        let mut builder = Interactions::builder();
        for &(user, item, weight) in events {
            builder.push(user, item, 0, weight, true);
        }
        builder.build(0, Decay::NONE, Decay::NONE, usize::MAX)
    }

    fn close(a: f32, b: f32) -> bool {
        (a - b).abs() < 1e-5
    }

    #[test]
    fn similarities_are_those_worked_out_by_hand() {
        // The weights are 0.151361 and 0.229205 for the first user, 0.835575 for the second: see the test in `bm25`.
        let interactions = matrix(&[(0, 0, 1.0), (0, 1, 1.0), (1, 0, 2.0)]);
        let items = Neighbours::of_items(&interactions, 5);
        assert_eq!((items.of(0)[0].0, items.of(1)[0].0), (1, 0));
        assert!(close(items.of(0)[0].1, 0.034693) && close(items.of(1)[0].1, 0.034693));
        assert!(close(items.own(0), 0.721095) && close(items.own(1), 0.052535));
        assert!(close(items.similar(0)[0].1, 0.178247));
        let users = Neighbours::of_users(&interactions, 5);
        assert_eq!((users.of(0)[0].0, users.of(0).len()), (1, 1));
        assert!(close(users.of(0)[0].1, 0.151361 * 0.835575));
    }

    #[test]
    fn equally_similar_items_are_ranked_by_id_and_only_k_are_kept() {
        let events: Vec<_> = (0..9).map(|item| (1, item, 1.0)).chain([(2, 100, 1.0)]).collect();
        let neighbours = Neighbours::of_items(&matrix(&events), 3);
        let indices = |row| neighbours.of(row).iter().map(|&(other, _)| other).collect::<Vec<_>>();
        assert_eq!(indices(0), [1, 2, 3]);
        assert_eq!(indices(2), [0, 1, 3]);
        assert_eq!(indices(8), [0, 1, 2]);
        assert!(indices(9).is_empty());
        assert!(neighbours.similar(8).iter().all(|&(_, cosine)| close(cosine, 1.0) && cosine <= 1.0));
    }

    #[test]
    fn only_the_most_recent_items_of_a_user_are_neighbours_but_every_item_has_some() {
        let mut builder = Interactions::builder();
        for item in 0..600 {
            builder.push(1, item, item, 1.0, true);
        }
        for (item, at) in [(0, 9), (600, 9)] {
            builder.push(2, item, at, 1.0, true);
        }
        let interactions = builder.build(0, Decay::NONE, Decay::NONE, 300);
        let neighbours = Neighbours::of_items(&interactions, 1000);
        assert_eq!(neighbours.of(2).len(), 300);
        assert!(neighbours.of(2).iter().all(|&(other, _)| (300..600).contains(&other)));
        assert!((0..=600).all(|item| !neighbours.of(item).is_empty()));
        assert!((0..=600).flat_map(|item| neighbours.similar(item)).all(|(_, cosine)| cosine <= 1.0));
        // They share an item that counts for one of them only.
        assert!(Neighbours::of_users(&interactions, 5).of(0).is_empty());
    }

    #[test]
    fn an_item_of_many_users_makes_those_of_the_largest_weight_alike() {
        let many = 2 * LONGEST as i64;
        let heavy = |user| if user % 2 == 1 { 3.0 } else { 1.0 };
        let events: Vec<_> = (0..many).map(|user| (user, 1, heavy(user))).collect();
        let neighbours = Neighbours::of_users(&matrix(&events), many as usize);
        assert_eq!(neighbours.of(2).len(), LONGEST);
        assert!(neighbours.of(2).iter().all(|&(other, _)| other % 2 == 1));
    }

    #[test]
    fn the_product_is_that_of_a_plain_triple_loop() {
        let mut state = 1u32;
        let mut random = |below: u32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) % below
        };
        let events: Vec<_> =
            (0..3000).map(|_| (i64::from(random(60)), i64::from(random(200)), random(3) as f32 + 1.0)).collect();
        let interactions = matrix(&events);
        let mut dense = vec![[0.0f64; 200]; 60];
        let weights = bm25::weights(&interactions);
        for (user, row) in dense.iter_mut().enumerate() {
            for pair in interactions.row(user) {
                row[interactions.item_of()[pair] as usize] = f64::from(weights[pair]);
            }
        }
        let neighbours = Neighbours::of_items(&interactions, 10);
        for item in 0..200 {
            let product = |other: usize| dense.iter().map(|row| row[item] * row[other]).sum::<f64>();
            let mut all: Vec<f64> = (0..200).filter(|&other| other != item).map(product).collect();
            all.sort_by(|a, b| b.total_cmp(a));
            let found = neighbours.of(item as u32);
            assert_eq!(found.len(), 10);
            for (&(other, dot), expected) in found.iter().zip(all) {
                assert!((f64::from(dot) - expected).abs() < 1e-4 * expected);
                assert!((f64::from(dot) - product(other as usize)).abs() < 1e-4 * expected);
            }
            assert!((f64::from(neighbours.own(item as u32)) - product(item)).abs() < 1e-4 * product(item));
        }
    }
}
