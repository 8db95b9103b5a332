// SPDX-License-Identifier: Apache-2.0
//! Sets of layers, by their position in a list.

/// Positions in a list of layers, one bit each.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LayerSet(Vec<u64>);

impl LayerSet {
    /// An empty set of positions below `length`.
    pub fn empty(length: usize) -> Self {
        Self(vec![0; length.div_ceil(64)])
    }

    /// Adds a position; one that is not below the length of the set is not added.
    pub fn insert(&mut self, position: usize) {
        if let Some(word) = self.0.get_mut(position / 64) {
            *word |= 1 << (position % 64);
        }
    }

    /// Whether the position is in it.
    pub fn contains(&self, position: usize) -> bool {
        self.0.get(position / 64).is_some_and(|word| word >> (position % 64) & 1 == 1)
    }

    /// Adds what `other` has.
    pub fn unite(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(word, other)| *word |= other);
    }

    /// Removes what `other` does not have.
    pub fn intersect(&mut self, other: &Self) {
        let others = other.0.iter().copied().chain(std::iter::repeat(0));
        self.0.iter_mut().zip(others).for_each(|(word, other)| *word &= other);
    }

    /// The positions, in order.
    pub fn iter(&self) -> impl Iterator<Item = usize> {
        positions(self.0.iter().copied())
    }

    /// The positions that `other` does not have, in order.
    pub fn iter_without<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = usize> + 'a {
        let others = other.0.iter().copied().chain(std::iter::repeat(0));
        positions(self.0.iter().zip(others).map(|(word, other)| word & !other))
    }
}

fn positions(words: impl Iterator<Item = u64>) -> impl Iterator<Item = usize> {
    words.enumerate().filter(|(_, word)| *word != 0).flat_map(|(n, word)| {
        let mut rest = word;
        std::iter::from_fn(move || {
            let bit = rest.trailing_zeros() as usize;
            rest &= rest.checked_sub(1)?;
            Some(n * 64 + bit)
        })
    })
}
