//! Sums over many places of which few are added to.

/// A sum per place; nearly all of them are zero. To add has no branch to mispredict: it marks the block of the place, and
/// only marked blocks are looked through afterwards. Places that are often added to should be neighbours, so that those in
/// use share the nearest cache.
#[derive(Debug)]
pub(super) struct Sums {
    sums: Vec<Block>,
    marked: Vec<bool>,
}

/// The sums of neighbouring places.
pub(super) type Block = [f32; BLOCK];

/// How many that is.
pub(super) const BLOCK: usize = 64;

impl Sums {
    /// Zero at so many places.
    pub fn new(size: usize) -> Self {
        let blocks = size.div_ceil(BLOCK);
        Self { sums: vec![[0.0; BLOCK]; blocks], marked: vec![false; blocks] }
    }

    #[inline]
    pub fn add(&mut self, place: u32, amount: f32) {
        let (block, within) = (place as usize / BLOCK, place as usize % BLOCK);
        self.sums[block][within] += amount;
        self.marked[block] = true;
    }

    #[inline]
    pub fn get(&self, place: u32) -> f32 {
        self.sums[place as usize / BLOCK][place as usize % BLOCK]
    }

    pub fn clear(&mut self, place: u32) {
        self.sums[place as usize / BLOCK][place as usize % BLOCK] = 0.0;
    }

    /// The blocks that were added to, each with its first place.
    pub fn blocks(&self) -> impl Iterator<Item = (usize, &Block)> {
        let marked = self.marked.iter().zip(&self.sums).enumerate().filter(|(_, (marked, _))| **marked);
        marked.map(|(block, (_, sums))| (block * BLOCK, sums))
    }

    /// Shows the same, and leaves nothing behind.
    pub fn drain(&mut self, mut show: impl FnMut(usize, &Block)) {
        for (block, marked) in self.marked.iter_mut().enumerate() {
            if std::mem::take(marked) {
                show(block * BLOCK, &self.sums[block]);
                self.sums[block].fill(0.0);
            }
        }
    }
}

/// The maximum, or 0, in lanes that the compiler can keep in a vector register.
pub(super) fn largest(sums: &Block) -> f32 {
    let mut lanes = [0.0f32; 8];
    for eight in sums.as_chunks::<8>().0 {
        for (lane, &sum) in lanes.iter_mut().zip(eight) {
            *lane = if sum > *lane { sum } else { *lane };
        }
    }
    lanes.into_iter().fold(0.0, f32::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_added_is_shown_once() {
        let mut sums = Sums::new(200);
        for (place, amount) in [(3, 1.0), (199, 2.0), (3, 0.5), (64, 4.0)] {
            sums.add(place, amount);
        }
        sums.clear(64);
        assert_eq!((sums.get(3), sums.get(199), sums.get(64), sums.get(65)), (1.5, 2.0, 0.0, 0.0));
        let shown: Vec<(usize, f32)> = sums.blocks().map(|(first, block)| (first, largest(block))).collect();
        assert_eq!(shown, [(0, 1.5), (64, 0.0), (192, 2.0)]);
        let mut drained = Vec::new();
        sums.drain(|first, block| drained.push((first, largest(block))));
        assert_eq!(drained, shown);
        assert_eq!((sums.get(3), sums.blocks().count()), (0.0, 0));
    }
}
