//! From events in any order to the matrix.

use std::{cmp::Reverse, sync::Arc};

use rayon::prelude::*;

use super::{Decay, Interactions};
use crate::{id::IdRef, produce::interner::Interner};

/// Collects events; see [`Interactions::builder`].
#[derive(Debug, Clone, Default)]
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
        if !counts(weight) {
            self.ignored += 1;
            return;
        }
        let user = self.users.index(user.into());
        let item = self.items.index(item.into());
        let at = at.clamp(0, i64::from(u32::MAX)) as u32;
        self.events.push(Event { user, item_and_purchase: item << 1 | u32::from(purchase), at, weight });
    }

    /// Takes in what another builder collected: each event weighs `weight` times as much, and is a purchase if it was one
    /// or `purchase` says so. Where nothing was collected yet and nobody else has the other, it is not copied.
    pub fn append(&mut self, other: Arc<Self>, weight: f32, purchase: bool) {
        let all_count = || other.events.par_iter().all(|event| counts(event.weight * weight));
        if self.is_empty() && self.ignored == 0 && all_count() {
            *self = Arc::unwrap_or_clone(other);
            self.events.par_iter_mut().for_each(|event| {
                event.weight *= weight;
                event.item_and_purchase |= u32::from(purchase);
            });
            return;
        }
        let (user_ids, item_ids) = (other.users.ids(), other.items.ids());
        // Only who still has an event gets a number: others are none of the matrix.
        let (mut users, mut items) = (vec![None; user_ids.len()], vec![None; item_ids.len()]);
        self.events.reserve(other.events.len());
        for event in &other.events {
            let weight = event.weight * weight;
            if !counts(weight) {
                self.ignored += 1;
                continue;
            }
            let (user, item) = (event.user as usize, event.item() as usize);
            let user = *users[user].get_or_insert_with(|| self.users.index((&user_ids[user]).into()));
            let item = *items[item].get_or_insert_with(|| self.items.index((&item_ids[item]).into()));
            let purchase = event.purchase() || purchase;
            let item_and_purchase = item << 1 | u32::from(purchase);
            self.events.push(Event { user, item_and_purchase, at: event.at, weight });
        }
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

        let newest = events.par_iter().map(|event| i64::from(event.at)).max().unwrap_or(now).min(now);
        let popular = || {
            let mut sums = vec![0.0; items.len()];
            for event in &events {
                let age = newest - i64::from(event.at);
                sums[event.item() as usize] += f64::from(event.weight) * popularity.factor(age);
            }
            sums
        };
        let (popularity, pairs) = rayon::join(popular, || Pairs::merge(&events, users.len(), now, history));
        drop(events);
        let Pairs { starts, item_of, total, recent, purchased, newest_of } = pairs;
        let counted = most_recent(&starts, &newest_of, longest);
        Interactions {
            users,
            items,
            starts,
            item_of,
            total,
            recent,
            purchased,
            counted,
            popularity,
            ignored,
            hidden: Vec::new(),
        }
    }
}

/// What the events of each user with each item come to; columns of one length, but for the `starts` of the users in them.
struct Pairs {
    starts: Vec<usize>,
    item_of: Vec<u32>,
    total: Vec<f32>,
    recent: Vec<f32>,
    purchased: Vec<bool>,
    newest_of: Vec<u32>,
}

impl Pairs {
    /// Merges sorted events, those of some users on each thread. Every user has one.
    fn merge(events: &[Event], users: usize, now: i64, history: Decay) -> Self {
        let pieces: Vec<&[Event]> = pieces(events);
        let counts: Vec<usize> = pieces.par_iter().map(|piece| piece.chunk_by(Event::same_pair).count()).collect();
        let pairs = counts.iter().sum();
        let mut merged = Self {
            starts: vec![pairs; users + 1],
            item_of: vec![0; pairs],
            total: vec![0.0; pairs],
            recent: vec![0.0; pairs],
            purchased: vec![false; pairs],
            newest_of: vec![0; pairs],
        };
        let mut rest = Part {
            first: 0,
            starts: &mut merged.starts,
            item_of: &mut merged.item_of,
            total: &mut merged.total,
            recent: &mut merged.recent,
            purchased: &mut merged.purchased,
            newest_of: &mut merged.newest_of,
        };
        let parts: Vec<Part<'_>> = pieces.iter().zip(counts).map(|(piece, pairs)| rest.cut(piece, pairs)).collect();
        pieces.into_par_iter().zip(parts).for_each(|(piece, part)| part.fill(piece, now, history));
        merged
    }
}

/// Events of whole users, so many that threads are worth it and so few that all have some.
fn pieces(mut events: &[Event]) -> Vec<&[Event]> {
    const EVENTS: usize = 1 << 16;
    let mut pieces = Vec::with_capacity(events.len() / EVENTS + 1);
    while !events.is_empty() {
        let last = events[events.len().min(EVENTS) - 1].user;
        let (piece, rest) = events.split_at(events.partition_point(|event| event.user <= last));
        pieces.push(piece);
        events = rest;
    }
    pieces
}

/// The part of [`Pairs`] that one piece of the events fills.
struct Part<'p> {
    /// The number of its first pair.
    first: usize,
    starts: &'p mut [usize],
    item_of: &'p mut [u32],
    total: &'p mut [f32],
    recent: &'p mut [f32],
    purchased: &'p mut [bool],
    newest_of: &'p mut [u32],
}

impl<'p> Part<'p> {
    /// Cuts off the beginning, for a piece with so many pairs.
    fn cut(&mut self, piece: &[Event], pairs: usize) -> Part<'p> {
        let users = piece.last().zip(piece.first()).map_or(0, |(last, first)| (last.user - first.user) as usize + 1);
        let first = self.first;
        self.first += pairs;
        Part {
            first,
            starts: cut(&mut self.starts, users),
            item_of: cut(&mut self.item_of, pairs),
            total: cut(&mut self.total, pairs),
            recent: cut(&mut self.recent, pairs),
            purchased: cut(&mut self.purchased, pairs),
            newest_of: cut(&mut self.newest_of, pairs),
        }
    }

    fn fill(self, piece: &[Event], now: i64, history: Decay) {
        let first_user = piece[0].user;
        let mut user = None;
        for (at, pair) in piece.chunk_by(Event::same_pair).enumerate() {
            let (mut total, mut recent, mut purchased, mut newest) = (0.0, 0.0, false, 0);
            for event in pair {
                let weight = f64::from(event.weight);
                total += weight;
                recent += weight * history.factor(now - i64::from(event.at));
                purchased |= event.purchase();
                newest = event.at.max(newest);
            }
            if user.replace(pair[0].user) != Some(pair[0].user) {
                self.starts[(pair[0].user - first_user) as usize] = self.first + at;
            }
            self.item_of[at] = pair[0].item();
            (self.total[at], self.recent[at]) = (total as f32, recent as f32);
            (self.purchased[at], self.newest_of[at]) = (purchased, newest);
        }
    }
}

fn cut<'p, T>(slice: &mut &'p mut [T], at: usize) -> &'p mut [T] {
    let (head, tail) = std::mem::take(slice).split_at_mut(at);
    *slice = tail;
    head
}

/// Whether an event of this weight says anything.
fn counts(weight: f32) -> bool {
    weight > 0.0 && weight.is_finite()
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
