//! From events in any order to the matrix.

use std::cmp::Reverse;

use rayon::prelude::*;

use super::{Decay, Interactions};
use crate::{id::IdRef, produce::interner::Interner};

/// Collects events; see [`Interactions::builder`].
#[derive(Debug, Default)]
pub struct Builder {
    users: Interner,
    items: Interner,
    events: Vec<Event>,
    ignored: usize,
}

impl Builder {
    /// Adds one event. `at` is in Unix seconds (before 1970 counts as 1970, after 2106 as 2106). An event whose weight
    /// is not a positive number says nothing and is left out.
    pub fn push<'a, 'b>(
        &mut self,
        user: impl Into<IdRef<'a>>,
        item: impl Into<IdRef<'b>>,
        at: i64,
        weight: f32,
        purchase: bool,
    ) {
        if !(weight > 0.0 && weight.is_finite()) {
            self.ignored += 1;
            return;
        }
        let user = self.users.index(user.into());
        let item = self.items.index(item.into());
        let at = at.clamp(0, i64::from(u32::MAX)) as u32;
        self.events.push(Event { user, item_and_purchase: item << 1 | u32::from(purchase), at, weight });
    }

    /// Takes in what another builder collected.
    pub fn append(&mut self, other: Self) {
        if self.is_empty() && self.ignored == 0 {
            *self = other;
            return;
        }
        let users: Vec<u32> = other.users.ids().iter().map(|id| self.users.index(id.into())).collect();
        let items: Vec<u32> = other.items.ids().iter().map(|id| self.items.index(id.into())).collect();
        self.events.extend(other.events.into_iter().map(|event| Event {
            user: users[event.user as usize],
            item_and_purchase: items[event.item() as usize] << 1 | (event.item_and_purchase & 1),
            ..event
        }));
        self.ignored += other.ignored;
    }

    /// Events collected so far.
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether no event has been collected.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Sorts and merges the events. `now` is in Unix seconds; an event after it has age 0. `history` is the decay of
    /// [`History::recent`](super::History::recent), `popularity` that of [`Interactions::popularity`]. Of a user who had to do with more than
    /// `longest` items, those count whose newest event is the most recent, ties by index; popularity and purchases
    /// are of all.
    pub fn build(self, now: i64, history: Decay, popularity: Decay, longest: usize) -> Interactions {
        let Self { users, items, mut events, ignored } = self;
        let (users, user_index) = users.sorted();
        let (items, item_index) = items.sorted();
        events.par_iter_mut().for_each(|event| {
            event.user = user_index[event.user as usize];
            event.item_and_purchase = item_index[event.item() as usize] << 1 | (event.item_and_purchase & 1);
        });
        events.par_sort_unstable_by_key(Event::key);

        let newest = events.iter().map(|event| i64::from(event.at)).max().unwrap_or(now).min(now);
        let pairs = events.chunk_by(Event::same_pair).count();
        let mut matrix = Interactions {
            starts: Vec::with_capacity(users.len() + 1),
            item_of: Vec::with_capacity(pairs),
            total: Vec::with_capacity(pairs),
            recent: Vec::with_capacity(pairs),
            purchased: Vec::with_capacity(pairs),
            counted: Vec::new(),
            popularity: vec![0.0; items.len()],
            users,
            items,
            ignored,
            hidden: Vec::new(),
        };
        let mut newest_of = Vec::with_capacity(pairs);
        for pair in events.chunk_by(Event::same_pair) {
            let (mut total, mut recent) = (0.0, 0.0);
            for event in pair {
                let weight = f64::from(event.weight);
                total += weight;
                recent += weight * history.factor(now - i64::from(event.at));
                matrix.popularity[event.item() as usize] += weight * popularity.factor(newest - i64::from(event.at));
            }
            // Every user and item has at least one event, so the rows begin one after the other.
            if matrix.starts.len() == pair[0].user as usize {
                matrix.starts.push(matrix.item_of.len());
            }
            matrix.item_of.push(pair[0].item());
            matrix.total.push(total as f32);
            matrix.recent.push(recent as f32);
            matrix.purchased.push(pair.iter().any(Event::purchase));
            newest_of.push(pair.iter().map(|event| event.at).max().unwrap_or_default());
        }
        matrix.starts.push(matrix.item_of.len());
        matrix.counted = most_recent(&matrix.starts, &newest_of, longest);
        matrix
    }
}

/// Marks the `longest` pairs with the newest events of each user; nothing when all would be marked.
fn most_recent(starts: &[usize], newest_of: &[u32], longest: usize) -> Vec<bool> {
    let rows = || starts.windows(2).map(|ends| ends[0]..ends[1]).filter(|row| row.len() > longest);
    if rows().next().is_none() {
        return Vec::new();
    }
    let mut counted = vec![true; newest_of.len()];
    for row in rows() {
        let mut pairs: Vec<usize> = row.collect();
        pairs.select_nth_unstable_by_key(longest, |&pair| (Reverse(newest_of[pair]), pair));
        for &pair in &pairs[longest..] {
            counted[pair] = false;
        }
    }
    counted
}

/// One row of the database. The fields are in the order in which they sort.
#[derive(Debug, Clone, Copy)]
struct Event {
    user: u32,
    item_and_purchase: u32,
    at: u32,
    weight: f32,
}

impl Event {
    fn item(&self) -> u32 {
        self.item_and_purchase >> 1
    }

    fn purchase(&self) -> bool {
        self.item_and_purchase & 1 == 1
    }

    fn same_pair(&self, other: &Self) -> bool {
        self.user == other.user && self.item() == other.item()
    }

    /// All fields, so that events with equal keys are interchangeable. Positive floats sort like their bits.
    fn key(&self) -> u128 {
        u128::from(self.user) << 96
            | u128::from(self.item_and_purchase) << 64
            | u128::from(self.at) << 32
            | u128::from(self.weight.to_bits())
    }
}
