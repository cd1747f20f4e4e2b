//! Ids as dense numbers.

use rayon::prelude::*;
use rustc_hash::FxHashMap;

use crate::id::{Id, IdRef};

/// Dense numbers for ids, in the order of arrival. Only the first sight of a text allocates.
#[derive(Debug, Clone, Default)]
pub(super) struct Interner {
    /// The numbers of the small integers, which most ids are, by the integer: a look into a table where a hash would
    /// have to be probed.
    small: Vec<u32>,
    ints: FxHashMap<i64, u32>,
    texts: FxHashMap<Box<str>, u32>,
}

/// Integers below have their place in the table: four megabytes at most.
const SMALL: i64 = 1 << 20;

/// No number: memory ends long before the 2^31 ids that an event has room for.
const NONE: u32 = u32::MAX;

impl Interner {
    pub fn index(&mut self, id: IdRef<'_>) -> u32 {
        let next = (self.ints.len() + self.texts.len()) as u32;
        match id {
            IdRef::Int(value) if (0..SMALL).contains(&value) => {
                let place = value as usize;
                if self.small.len() <= place {
                    self.small.resize((place + 1).next_power_of_two(), NONE);
                }
                if self.small[place] == NONE {
                    self.small[place] = *self.ints.entry(value).or_insert(next);
                }
                self.small[place]
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_one_number_wherever_it_is_kept() {
        let mut interner = Interner::default();
        let mut index = |id: i64| interner.index(IdRef::Int(id));
        let numbers = [0, 5, SMALL - 1, SMALL, -1, i64::MIN, i64::MAX, 5, SMALL, -1].map(&mut index);
        assert_eq!(numbers, [0, 1, 2, 3, 4, 5, 6, 1, 3, 4]);
        assert_eq!((interner.index(IdRef::Text("5")), interner.index(IdRef::Text("5"))), (7, 7));
        let (ids, positions) = interner.sorted();
        assert!(ids.is_sorted());
        assert_eq!(ids[positions[1] as usize], Id::Int(5));
        assert_eq!(ids[positions[7] as usize], Id::Text("5".into()));
        assert_eq!(positions[5], 0);
    }
}
