//! Ids as dense numbers.

use rayon::prelude::*;
use rustc_hash::FxHashMap;

use crate::id::{Id, IdRef};

/// Dense numbers for ids, in the order of arrival. Only the first sight of a text allocates.
#[derive(Debug, Default)]
pub(super) struct Interner {
    ints: FxHashMap<i64, u32>,
    texts: FxHashMap<Box<str>, u32>,
}

impl Interner {
    pub fn index(&mut self, id: IdRef<'_>) -> u32 {
        // Memory ends long before the 2^31 ids that an event has room for.
        let next = (self.ints.len() + self.texts.len()) as u32;
        match id {
            IdRef::Int(value) => *self.ints.entry(value).or_insert(next),
            IdRef::Text(text) => match self.texts.get(text) {
                Some(index) => *index,
                None => *self.texts.entry(text.into()).or_insert(next),
            },
        }
    }

    /// The ids in the order of their numbers.
    pub fn ids(&self) -> Vec<Id> {
        let ints = self.ints.iter().map(|(value, index)| (*index, Id::Int(*value)));
        let texts = self.texts.iter().map(|(text, index)| (*index, Id::Text(text.clone())));
        let mut ids: Vec<(u32, Id)> = ints.chain(texts).collect();
        ids.sort_unstable_by_key(|(index, _)| *index);
        ids.into_iter().map(|(_, id)| id).collect()
    }

    /// The ids in order, and for each number given out the position of its id in that order.
    pub fn sorted(self) -> (Vec<Id>, Vec<u32>) {
        let ints = self.ints.into_iter().map(|(value, index)| (Id::Int(value), index));
        let texts = self.texts.into_iter().map(|(text, index)| (Id::Text(text), index));
        let mut ids: Vec<(Id, u32)> = ints.chain(texts).collect();
        ids.par_sort_unstable();
        let mut positions = vec![0; ids.len()];
        for (position, (_, index)) in ids.iter().enumerate() {
            positions[*index as usize] = position as u32;
        }
        (ids.into_iter().map(|(id, _)| id).collect(), positions)
    }
}
