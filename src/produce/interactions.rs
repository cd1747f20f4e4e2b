//! Who did what with which item: the sparse matrix that everything else is computed from.
//!
//! Rows are pushed while they stream. A row becomes sixteen bytes, so that millions of them fit beside the rest of the
//! process. [`Builder::build`] then numbers users and items in the order of their [`Id`]s and merges the events of a
//! user with an item in a fixed order: the result does not depend on the order of the rows, to the last bit, because
//! floating-point sums do and the database engines return different orders.

use std::{ops::Range, time::Duration};

use crate::id::{Id, IdRef};

mod builder;

pub use builder::Builder;

/// How fast an event loses weight: `0.5^(age / half-life)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Decay {
    /// Halvings per second.
    rate: f64,
}

impl Decay {
    /// Events never lose weight.
    pub const NONE: Decay = Decay { rate: 0.0 };

    /// Half the weight is left after each `half_life`. Zero means that only the present counts; that is a mistake, and
    /// means [`Decay::NONE`].
    pub fn half_life(half_life: Duration) -> Self {
        if half_life.is_zero() { Self::NONE } else { Self { rate: half_life.as_secs_f64().recip() } }
    }

    /// The share of its weight that an event has left after `age` seconds; 1 for one in the future.
    pub fn factor(self, age: i64) -> f64 {
        (-self.rate * age.max(0) as f64).exp2()
    }
}

/// Users × items, compressed by rows (CSR). Users and items are dense indices in the order of their ids.
#[derive(Debug, Clone, PartialEq)]
pub struct Interactions {
    users: Vec<Id>,
    items: Vec<Id>,
    /// `users + 1` offsets into the columns below.
    starts: Vec<usize>,
    /// Ascending within a user.
    item_of: Vec<u32>,
    total: Vec<f32>,
    recent: Vec<f32>,
    purchased: Vec<bool>,
    /// Empty when every pair counts.
    counted: Vec<bool>,
    popularity: Vec<f64>,
    ignored: usize,
    /// Empty when no item is hidden.
    hidden: Vec<bool>,
}

/// What one user did; all four slices have one element per item that the user had to do with.
#[derive(Debug, Clone, Copy)]
pub struct History<'a> {
    /// Item indices, ascending.
    pub items: &'a [u32],
    /// Sums of weights, undecayed.
    pub total: &'a [f32],
    /// Sums of weights, each decayed by the age of its event.
    pub recent: &'a [f32],
    /// Whether any of the events was a purchase.
    pub purchased: &'a [bool],
    /// Whether the item is among the most recent, which alone tell the user's taste.
    pub counted: Counted<'a>,
}

/// Which pairs of a user and an item count.
#[derive(Debug, Clone, Copy)]
pub struct Counted<'a> {
    /// Empty when all do.
    counted: &'a [bool],
}

impl Counted<'_> {
    /// Whether the pair does.
    pub fn has(&self, pair: usize) -> bool {
        self.counted.get(pair).is_none_or(|counted| *counted)
    }
}

impl Interactions {
    /// Starts an empty matrix.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The users, sorted; the position of a user is its index.
    pub fn users(&self) -> &[Id] {
        &self.users
    }

    /// The items, sorted; the position of an item is its index.
    pub fn items(&self) -> &[Id] {
        &self.items
    }

    /// The index of a user, if any event named it.
    pub fn user<'a>(&self, id: impl Into<IdRef<'a>>) -> Option<u32> {
        position(&self.users, id.into())
    }

    /// The index of an item, if any event named it.
    pub fn item<'a>(&self, id: impl Into<IdRef<'a>>) -> Option<u32> {
        position(&self.items, id.into())
    }

    /// What a user did.
    ///
    /// # Panics
    /// If the index is not one of this matrix.
    pub fn history(&self, user: u32) -> History<'_> {
        let row = self.row(user as usize);
        History {
            items: &self.item_of[row.clone()],
            total: &self.total[row.clone()],
            recent: &self.recent[row.clone()],
            purchased: &self.purchased[row.clone()],
            counted: Counted { counted: self.counted.get(row).unwrap_or_default() },
        }
    }

    /// Per item, the sum of the decayed weights of its events. The ages count from the newest event (or from now, if
    /// that is earlier), so that old data does not vanish in the smallness of the factor that all items share.
    pub fn popularity(&self) -> &[f64] {
        &self.popularity
    }

    /// Keeps items out of every list, for example products that are no longer sold. What people did with them still
    /// tells who is alike. `hidden` has one element per item.
    pub fn hide(&mut self, hidden: Vec<bool>) {
        self.hidden = hidden;
    }

    /// Whether an item may stand in a list.
    pub fn is_shown(&self, item: u32) -> bool {
        !self.hidden.get(item as usize).is_some_and(|hidden| *hidden)
    }

    /// Pairs of a user and an item with at least one event.
    pub fn pairs(&self) -> usize {
        self.item_of.len()
    }

    /// Events that were left out because their weight was not a positive number.
    pub fn ignored(&self) -> usize {
        self.ignored
    }

    pub(super) fn row(&self, user: usize) -> Range<usize> {
        self.starts[user]..self.starts[user + 1]
    }

    pub(super) fn item_of(&self) -> &[u32] {
        &self.item_of
    }

    /// Of all pairs.
    pub(super) fn counted(&self) -> Counted<'_> {
        Counted { counted: &self.counted }
    }

    pub(super) fn total(&self) -> &[f32] {
        &self.total
    }
}

fn position(ids: &[Id], id: IdRef<'_>) -> Option<u32> {
    ids.binary_search_by(|known| known.as_ref().cmp(&id)).ok().map(|index| index as u32)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const DAY: i64 = 86_400;
    const NOW: i64 = 1_700_000_000;

    fn days(count: u64) -> Decay {
        Decay::half_life(Duration::from_secs(count * 86_400))
    }

    #[test]
    fn what_two_builders_collected_is_what_one_would_have() {
        let events = [("b", 7, 1), ("a", 9, 2), ("b", 9, 3), ("c", 7, 4), ("a", 8, 5), ("a", 9, 6)];
        let push = |builder: &mut Builder, (user, item, at): (&str, i64, i64)| {
            builder.push(user, item, NOW - at, 1.5, at % 2 == 0);
        };
        let built = |builder: Builder| builder.build(NOW, days(1), days(2), usize::MAX);
        let mut whole = Interactions::builder();
        events.iter().for_each(|event| push(&mut whole, *event));
        let whole = built(whole);
        for cut in 0..=events.len() {
            let (mut first, mut second) = (Interactions::builder(), Interactions::builder());
            events[..cut].iter().for_each(|event| push(&mut first, *event));
            events[cut..].iter().for_each(|event| push(&mut second, *event));
            first.append(Arc::new(second), 1.0, false);
            assert_eq!(built(first), whole, "cut at {cut}");
        }
    }

    #[test]
    fn what_an_event_counts_can_be_told_afterwards() {
        // The last two are too light and too heavy once they are weighed, and nobody else names their users and items.
        let raw = [("b", 7, 1.5), ("a", 9, 0.1), ("b", 9, f32::NAN), ("c", 5, 1e-45), ("d", 6, 3e38)];
        let weighed = |weight: f32, purchase| {
            let mut builder = Interactions::builder();
            raw.iter().for_each(|(user, item, own)| builder.push(*user, *item, NOW, own * weight, purchase));
            builder
        };
        let mut read = Interactions::builder();
        raw.iter().for_each(|(user, item, own)| read.push(*user, *item, NOW, *own, false));
        let read = Arc::new(read);
        let built = |builder: Builder| builder.build(NOW, Decay::NONE, Decay::NONE, usize::MAX);
        for (weight, ignored) in [(0.2, 2), (1.0, 1), (3.0, 2)] {
            let mut appended = Interactions::builder();
            appended.append(Arc::clone(&read), weight, true);
            let appended = built(appended);
            assert_eq!(appended.ignored(), ignored);
            assert_eq!(appended, built(weighed(weight, true)), "{weight} into nothing");

            let mut appended = weighed(1.0, false);
            appended.append(Arc::clone(&read), weight, true);
            let mut pushed = weighed(1.0, false);
            raw.iter().for_each(|(user, item, own)| pushed.push(*user, *item, NOW, own * weight, true));
            assert_eq!(built(appended), built(pushed), "{weight} into something");
        }
    }

    #[test]
    fn decay_halves_at_each_half_life_and_spares_the_future() {
        let decay = days(10);
        assert_eq!(decay.factor(0), 1.0);
        assert_eq!(decay.factor(10 * DAY), 0.5);
        assert_eq!(decay.factor(30 * DAY), 0.125);
        assert!((decay.factor(5 * DAY) - 0.5f64.sqrt()).abs() < 1e-12);
        assert_eq!(decay.factor(-5 * DAY), 1.0);
        assert_eq!(Decay::NONE.factor(1000 * DAY), 1.0);
        assert_eq!(Decay::half_life(Duration::ZERO), Decay::NONE);
    }

    #[test]
    fn events_of_a_user_with_an_item_are_merged() {
        let mut builder = Interactions::builder();
        builder.push(7, "b", NOW - 10 * DAY, 1.0, true);
        builder.push(7, "a", NOW - 20 * DAY, 0.5, false);
        builder.push("x", "b", NOW + DAY, 1.0, true);
        builder.push(7, "b", NOW, 0.25, false);
        assert_eq!(builder.len(), 4);
        let matrix = builder.build(NOW, days(10), days(20), usize::MAX);

        assert_eq!(matrix.users(), [7.into(), "x".into()]);
        assert_eq!(matrix.items(), ["a".into(), "b".into()]);
        assert_eq!((matrix.user(7), matrix.user("x"), matrix.user("7")), (Some(0), Some(1), None));
        assert_eq!((matrix.item("b"), matrix.item(&Id::from("c"))), (Some(1), None));
        let history = matrix.history(0);
        assert_eq!(history.items, [0, 1]);
        assert_eq!(history.total, [0.5, 1.25]);
        assert_eq!(history.recent, [0.125, 0.75]);
        assert_eq!(history.purchased, [false, true]);
        assert_eq!(matrix.history(1).recent, [1.0]);
        assert_eq!(matrix.popularity(), [0.25, 0.5f64.sqrt() + 0.25 + 1.0]);
        assert_eq!(matrix.pairs(), 3);
    }

    #[test]
    fn weights_that_are_no_positive_number_are_left_out_and_counted() {
        let mut builder = Interactions::builder();
        for weight in [0.0, -1.0, f32::NAN, f32::INFINITY] {
            builder.push(1, 1, NOW, weight, true);
        }
        assert!(builder.is_empty());
        let matrix = builder.build(NOW, Decay::NONE, Decay::NONE, usize::MAX);
        assert_eq!((matrix.ignored(), matrix.pairs(), matrix.users().len()), (4, 0, 0));
    }

    #[test]
    fn popularity_of_old_events_does_not_vanish() {
        let mut builder = Interactions::builder();
        builder.push(1, 1, NOW - 4000 * DAY, 1.0, true);
        builder.push(1, 2, NOW - 4001 * DAY, 1.0, true);
        let matrix = builder.build(NOW, days(1), days(1), usize::MAX);
        assert_eq!(matrix.popularity(), [1.0, 0.5]);
    }

    #[test]
    fn of_a_long_history_the_most_recent_items_count_and_the_rest_stays_known() {
        let mut builder = Interactions::builder();
        for (item, days_ago) in [(1, 9), (2, 5), (3, 7), (4, 5), (5, 5), (1, 1)] {
            builder.push(1, item, NOW - days_ago * DAY, 1.0, item == 3);
        }
        builder.push(2, 3, NOW, 1.0, false);
        let matrix = builder.build(NOW, Decay::NONE, Decay::NONE, 3);
        let history = matrix.history(0);
        assert_eq!(history.items.len(), 5);
        let counted: Vec<bool> = (0..5).map(|pair| history.counted.has(pair)).collect();
        assert_eq!(counted, [true, true, false, true, false]);
        assert_eq!(history.purchased, [false, false, true, false, false]);
        assert!(matrix.history(1).counted.has(0));
        assert_eq!(matrix.popularity()[2], 2.0);
    }

    #[test]
    fn moments_outside_of_the_range_count_as_its_ends() {
        let mut builder = Interactions::builder();
        builder.push(1, 1, i64::MIN, 1.0, true);
        builder.push(1, 2, i64::MAX, 1.0, true);
        let matrix = builder.build(10 * DAY, days(10), Decay::NONE, usize::MAX);
        assert_eq!(matrix.history(0).recent, [0.5, 1.0]);
    }
}
