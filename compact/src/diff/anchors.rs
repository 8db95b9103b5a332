// SPDX-License-Identifier: Apache-2.0
//! Long equal parts of two files, found in one pass over each.

use super::suffix::common_prefix;

/// Bytes of the blocks of the older file that are looked up in the newer one.
const BLOCK: usize = 1 << 10;
/// The shortest part: it contains a block of the older file wherever that begins.
const MINIMUM: usize = 2 * BLOCK;

/// A part of a newer file that is equal to one of an older file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Anchor {
    pub(super) old: usize,
    pub(super) new: usize,
    pub(super) length: usize,
}

/// Equal parts that are as long as they can be, in the order of the newer file, in which they do not overlap.
pub(super) fn anchors(old: &[u8], new: &[u8]) -> Vec<Anchor> {
    let blocks = Blocks::new(old);
    let (mut anchors, mut end, mut at) = (Vec::new(), 0, 0);
    'search: while let Some(window) = new.get(at..at + BLOCK) {
        let mut hash = hash_of(window);
        loop {
            if let Some(block) = blocks.get(hash, &new[at..at + BLOCK]) {
                let anchor = extend(old, new, Anchor { old: block, new: at, length: BLOCK }, end);
                if anchor.length >= MINIMUM {
                    end = anchor.new + anchor.length;
                    at = end;
                    anchors.push(anchor);
                    continue 'search;
                }
            }
            let Some(next) = new.get(at + BLOCK) else { break 'search };
            hash = roll(hash, new[at], *next);
            at += 1;
        }
    }
    anchors
}

/// The same part in both directions, but not before `from` of the newer file.
fn extend(old: &[u8], new: &[u8], part: Anchor, from: usize) -> Anchor {
    let before = old[..part.old].iter().rev().zip(new[from..part.new].iter().rev());
    let before = before.take_while(|(a, b)| a == b).count();
    let (old_at, new_at) = (part.old - before, part.new - before);
    let after = common_prefix(&old[part.old + part.length..], &new[part.new + part.length..]);
    Anchor { old: old_at, new: new_at, length: before + part.length + after }
}

/// Base of the hash, a polynomial in 64 bits.
const BASE: u64 = 0x9e37_79b9_7f4a_7c15;
/// What the byte that leaves a block was multiplied with.
const LEAVING: u64 = BASE.wrapping_pow(BLOCK as u32);

fn hash_of(block: &[u8]) -> u64 {
    block.iter().fold(0, |hash: u64, byte| hash.wrapping_mul(BASE).wrapping_add(u64::from(*byte) + 1))
}

#[inline]
fn roll(hash: u64, leaves: u8, comes: u8) -> u64 {
    let hash = hash.wrapping_mul(BASE).wrapping_add(u64::from(comes) + 1);
    hash.wrapping_sub(LEAVING.wrapping_mul(u64::from(leaves) + 1))
}

/// The blocks of a file by their hash.
struct Blocks<'a> {
    bytes: &'a [u8],
    /// The number of a block, from 1 on, at the place of its hash or behind it; 0 is none.
    slots: Vec<u32>,
    shift: u32,
}

/// Slots that are tried for one block.
const TRIES: usize = 4;

impl<'a> Blocks<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        let bits = (4 * (bytes.len() / BLOCK)).next_power_of_two().trailing_zeros().max(4);
        let mut blocks = Self { bytes, slots: vec![0; 1 << bits], shift: 64 - bits };
        for (number, block) in bytes.chunks_exact(BLOCK).enumerate() {
            // What repeats itself is found in too many places.
            if block[8..] == block[..BLOCK - 8] {
                continue;
            }
            let slots = blocks.slots_of(hash_of(block));
            if let Some(slot) = slots.into_iter().find(|slot| blocks.slots[*slot] == 0) {
                blocks.slots[slot] = number as u32 + 1;
            }
        }
        blocks
    }

    #[inline]
    fn slots_of(&self, hash: u64) -> [usize; TRIES] {
        let first = (hash.wrapping_mul(BASE) >> self.shift) as usize;
        std::array::from_fn(|i| (first + i) & (self.slots.len() - 1))
    }

    /// Where the first block with this content begins.
    #[inline]
    fn get(&self, hash: u64, content: &[u8]) -> Option<usize> {
        for slot in self.slots_of(hash) {
            let number = self.slots[slot];
            let at = (number.checked_sub(1)? as usize) * BLOCK;
            if &self.bytes[at..at + BLOCK] == content {
                return Some(at);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn noise(seed: u32, length: usize) -> Vec<u8> {
        let mut state = seed;
        let bytes = (0..length).map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        });
        bytes.collect()
    }

    proptest! {
        #[test]
        fn anchors_are_equal_parts_in_order(pieces in prop::collection::vec((0..4_u32, 0..5000_usize), 0..8)) {
            let old = (0..4).flat_map(|seed| noise(seed, 5000)).collect::<Vec<_>>();
            let new = pieces.iter().flat_map(|(seed, length)| noise(*seed, *length)).collect::<Vec<_>>();
            let mut end = 0;
            let found = anchors(&old, &new);
            for anchor in &found {
                prop_assert!(anchor.new >= end && anchor.length >= MINIMUM);
                end = anchor.new + anchor.length;
                prop_assert_eq!(&old[anchor.old..][..anchor.length], &new[anchor.new..end]);
            }
            let covered = found.iter().map(|anchor| anchor.length).sum::<usize>();
            // The part before one can have its first bytes by chance.
            let expected = pieces.iter().map(|(_, length)| *length).filter(|length| *length >= MINIMUM + 16);
            prop_assert!(covered >= expected.sum());
        }
    }

    #[test]
    fn what_repeats_itself_is_no_anchor() {
        assert_eq!(anchors(&[0; 20_000], &[0; 20_000]), []);
        assert_eq!(anchors(&[], &[0; 20_000]), []);
        assert_eq!(anchors(&[1; 100], &[]), []);
    }
}
