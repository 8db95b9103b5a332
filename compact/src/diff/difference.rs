// SPDX-License-Identifier: Apache-2.0
//! A file as differences to an older version, as Colin Percival describes it in "Naive differences of executable code" (2003).
//!
//! A small change of a program moves code, and with it the addresses in all other code: many bytes differ, each by a little, in
//! long regions that are otherwise alike. So a region continues while at least half of its bytes are equal, and the differences of
//! its bytes, which are mostly zero and else often the same, are shorter than the bytes.

use super::older::Older;
use super::suffix::common_prefix;
use crate::patch::Step;

/// What is added to an older version, and what lies between.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Difference {
    pub(super) steps: Vec<Step>,
    pub(super) difference: Vec<u8>,
    pub(super) extra: Vec<u8>,
    /// Where the last step ended in the older version.
    position: i64,
}

/// A match elsewhere counts if it has so many more equal bytes than the region before it, continued.
const MIN_GAIN: usize = 8;

/// Files of which so many bytes of 16 are equal at the same offset differ by what a compiler or a packager writes into each build.
const EQUAL_OF_16: usize = 15;

impl Difference {
    /// The differences of two files of the same length that are equal nearly everywhere, without a search.
    pub(super) fn aligned(old: &[u8], new: &[u8]) -> Option<Self> {
        if old.len() != new.len() {
            return None;
        }
        let equal = old.iter().zip(new).filter(|(a, b)| a == b).count();
        if equal / EQUAL_OF_16 < new.len() / 16 || equal == 0 {
            return None;
        }
        let mut difference = Self::default();
        difference.push(old, new, Region { old: 0, new: 0 }, new.len(), 0);
        Some(difference)
    }

    /// The steps as the stream of control numbers has them.
    pub(super) fn encoded_steps(&self) -> Vec<u8> {
        let mut encoded = Vec::new();
        self.steps.iter().for_each(|step| step.write(&mut encoded));
        encoded
    }

    /// The differences of `new` to `old`.
    pub(super) fn between(old: &[u8], new: &[u8]) -> Self {
        let older = Older::new(old, new);
        let mut result = Self::default();
        let mut region = Region { old: 0, new: 0 };
        let mut scan = 0;
        while let Some(found) = region.next(&older, new, scan) {
            let length = region.forward(old, new, found.new - region.new);
            let back = found.backward(old, new, found.new - region.new);
            let (length, back) = region.split(old, new, found, length, back);
            let next = Region { old: found.old - back, new: found.new - back };
            result.push(old, new, region, length, next.new - region.new - length);
            region = next;
            scan = found.end;
        }
        let rest = new.len() - region.new;
        let length = region.forward(old, new, rest);
        result.push(old, new, region, length, rest - length);
        result
    }

    /// Adds a step: `length` bytes of a region, and `extra` that follow.
    fn push(&mut self, old: &[u8], new: &[u8], region: Region, length: usize, extra: usize) {
        if length + extra == 0 {
            return;
        }
        // Bytes of which none are added need no position.
        let seek = if length == 0 { 0 } else { region.old as i64 - self.position };
        self.position += seek + length as i64;
        self.steps.push(Step { seek, add: length as u64, extra: extra as u64 });
        let (from, to) = (&old[region.old..][..length], &new[region.new..][..length]);
        self.difference.extend(to.iter().zip(from).map(|(new, old)| new.wrapping_sub(*old)));
        self.extra.extend_from_slice(&new[region.new + length..][..extra]);
    }
}

/// Where a region begins, in both files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Region {
    old: usize,
    new: usize,
}

/// A match, and where it ends in the new file.
#[derive(Debug, Clone, Copy)]
struct Match {
    old: usize,
    new: usize,
    end: usize,
}

impl Region {
    /// The byte of the older version for a byte of the new one, if the region continues so far.
    fn counterpart(&self, old: &[u8], new: usize) -> Option<u8> {
        old.get(self.old + new - self.new).copied()
    }

    /// The next match from `scan` on that is better than this region, continued.
    fn next(&self, older: &Older<'_>, new: &[u8], mut scan: usize) -> Option<Match> {
        let old = older.bytes;
        let is_equal = |at: usize| self.counterpart(old, at) == Some(new[at]);
        // How many of the bytes from `scan` to `counted` this region has.
        let (mut equal, mut counted) = (0, scan);
        while scan < new.len() {
            if counted <= scan {
                // While the region continues without a difference, what begins within it would reach back to where it is better.
                let rest = old.get(self.old + scan - self.new..).unwrap_or_default();
                scan += common_prefix(rest, &new[scan..]);
                (equal, counted) = (0, scan);
            }
            let (length, at) = older.longest(new, scan);
            let end = scan + length;
            while counted < end {
                equal += usize::from(is_equal(counted));
                counted += 1;
            }
            if length > equal + MIN_GAIN {
                return Some(Match { old: at, new: scan, end });
            }
            let step = if length > 0 && length == equal { length } else { 1 };
            for _ in 0..step {
                if scan < counted {
                    equal -= usize::from(is_equal(scan));
                }
                scan += 1;
            }
        }
        None
    }

    /// How far the region continues, of at most `most` bytes: to where the most bytes are equal in comparison with those that differ.
    fn forward(&self, old: &[u8], new: &[u8], most: usize) -> usize {
        let most = most.min(old.len() - self.old);
        let pairs = old[self.old..][..most].iter().zip(&new[self.new..][..most]);
        longest_alike(pairs.map(|(a, b)| a == b))
    }

    /// Where two regions that overlap meet: where the most bytes are equal.
    fn split(&self, old: &[u8], new: &[u8], found: Match, length: usize, back: usize) -> (usize, usize) {
        let overlap = (self.new + length + back).saturating_sub(found.new);
        let (first, second) = (length - overlap, back);
        let (mut gain, mut best, mut meet) = (0_i64, 0, 0);
        for i in 0..overlap {
            let byte = new[self.new + first + i];
            gain += i64::from(old[self.old + first + i] == byte);
            gain -= i64::from(old[found.old - second + i] == byte);
            if gain > best {
                (best, meet) = (gain, i + 1);
            }
        }
        (first + meet, second - meet)
    }
}

impl Match {
    /// How far back the match continues, of at most `most` bytes.
    fn backward(&self, old: &[u8], new: &[u8], most: usize) -> usize {
        let most = most.min(self.old);
        let pairs = old[..self.old].iter().rev().zip(new[..self.new].iter().rev()).take(most);
        longest_alike(pairs.map(|(a, b)| a == b))
    }
}

/// The length at which equal bytes outnumber the others by the most.
fn longest_alike(is_equal: impl Iterator<Item = bool>) -> usize {
    let (mut gain, mut best, mut length) = (0_i64, 0, 0);
    for (i, is_equal) in is_equal.enumerate() {
        gain += if is_equal { 1 } else { -1 };
        if gain > best {
            (best, length) = (gain, i + 1);
        }
        // Far behind the best, it does not become better: a region of half a megabyte without likeness is none.
        if gain < best - (1 << 19) {
            break;
        }
    }
    length
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn apply(old: &[u8], code: &Difference) -> Vec<u8> {
        let (mut position, mut difference, mut extra) =
            (0_i64, code.difference.as_slice(), code.extra.as_slice());
        let mut new = Vec::new();
        for step in &code.steps {
            position += step.seek;
            let (added, rest) = difference.split_at(step.add as usize);
            let from = &old[position as usize..][..step.add as usize];
            new.extend(added.iter().zip(from).map(|(a, b)| a.wrapping_add(*b)));
            difference = rest;
            position += step.add as i64;
            let (between, rest) = extra.split_at(step.extra as usize);
            new.extend_from_slice(between);
            extra = rest;
        }
        assert!(difference.is_empty() && extra.is_empty());
        new
    }

    fn text() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            prop::collection::vec(any::<u8>(), 0..400),
            prop::collection::vec(0..3_u8, 0..400),
            prop::collection::vec(any::<u8>(), 1..50).prop_map(|part| part.repeat(7)),
        ]
    }

    proptest! {
        #[test]
        fn differences_make_the_file(old in text(), new in text(), cut in any::<prop::sample::Index>()) {
            prop_assert_eq!(&apply(&old, &Difference::between(&old, &new)), &new);
            // Moved parts of the older version.
            let (a, b) = old.split_at(cut.index(old.len() + 1));
            let moved = [b, &new, a, b].concat();
            prop_assert_eq!(&apply(&old, &Difference::between(&old, &moved)), &moved);
            if let Some(code) = Difference::aligned(&old, &moved[..old.len().min(moved.len())]) {
                prop_assert_eq!(&apply(&old, &code), &moved[..old.len()]);
            }
        }
    }

    /// Long enough that equal parts are found before the suffixes of the rest are sorted.
    #[test]
    fn differences_make_a_long_file() {
        let mut state = 1_u32;
        let mut noise = |length: usize| {
            let bytes = (0..length).map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            });
            bytes.collect::<Vec<_>>()
        };
        let old = noise(3 << 20);
        let (first, second) = old.split_at(1_000_001);
        let mut new = [second, &noise(5000), first, &old[400_000..700_000], &[0; 9000]].concat();
        new.iter_mut().step_by(30_011).for_each(|byte| *byte ^= 7);
        let code = Difference::between(&old, &new);
        assert!(apply(&old, &code) == new);
        assert!(
            code.extra.len() < 15_000 && code.steps.len() < 12,
            "{} {}",
            code.extra.len(),
            code.steps.len()
        );
    }

    /// What the method is for: code that moved, and addresses in it that differ by the same number.
    #[test]
    fn moved_code_with_other_addresses_is_zeros_and_few_numbers() {
        let mut old = Vec::new();
        for i in 0..3000_u32 {
            old.extend_from_slice(&i.wrapping_mul(2_654_435_761).to_le_bytes());
            old.extend_from_slice(&(i * 11).to_le_bytes());
        }
        let mut new = old.clone();
        new[12_000..].chunks_exact_mut(64).for_each(|chunk| chunk[4] = chunk[4].wrapping_add(7));
        new.splice(5000..5000, *b"inserted code");
        let code = Difference::between(&old, &new);
        assert!(
            code.steps.len() <= 3 && code.extra.len() <= 20,
            "{} steps, {}",
            code.steps.len(),
            code.extra.len()
        );
        assert!(code.difference.iter().all(|byte| matches!(byte, 0 | 7)));
    }
}
