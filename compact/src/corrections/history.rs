// SPDX-License-Identifier: Apache-2.0
//! The plain bytes around a token, and the matches that exist there.

use crate::deflate::{MAXIMUM_MATCH, MINIMUM_MATCH, WINDOW};

const HASH_BITS: u32 = 15;
/// Bytes behind the window after which they are dropped.
const SLACK: usize = 64 * 1024;
/// Earlier places that are compared. It bounds the time that one correction takes, and is below 255.
const TRIES: usize = 192;
/// The same for each token that is as expected.
const NEAR_TRIES: usize = 32;
/// Matches that are offered.
pub(super) const OFFERS: usize = 15;

/// Plain bytes that were given and can still be copied, and an index of each three of them.
#[derive(Debug)]
pub(super) struct History {
    bytes: Vec<u8>,
    /// Position of the first of `bytes`.
    start: u64,
    /// The latest position of each hash, modulo 2^32.
    heads: Vec<u32>,
    /// Of each position modulo the window: the position before it with the same hash.
    links: Vec<u32>,
    /// Positions before it are in the index.
    indexed: u64,
}

/// A match that exists: `length` is as long as it can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Offer {
    pub(super) length: u16,
    pub(super) distance: u16,
}

/// Some matches.
#[derive(Debug, Clone, Copy)]
pub(super) struct Offers {
    offers: [Offer; OFFERS],
    count: usize,
}

impl Offers {
    pub(super) fn iter(&self) -> impl Iterator<Item = Offer> {
        self.offers.iter().take(self.count).copied()
    }
}

impl History {
    pub(super) fn new() -> Self {
        Self {
            bytes: Vec::new(),
            start: 0,
            heads: vec![0; 1 << HASH_BITS],
            links: vec![0; WINDOW],
            indexed: 0,
        }
    }

    /// Takes the next plain bytes; nothing before `position` minus the window is needed again.
    pub(super) fn write(&mut self, position: u64, plain: &[u8]) {
        let behind = self.place(position).saturating_sub(WINDOW);
        if behind > SLACK {
            self.bytes.drain(..behind);
            self.start += behind as u64;
        }
        self.bytes.extend_from_slice(plain);
    }

    /// Where a position is in `bytes`.
    fn place(&self, position: u64) -> usize {
        (position.saturating_sub(self.start) as usize).min(self.bytes.len())
    }

    /// Bytes from a position, as far as they were given.
    pub(super) fn from(&self, position: u64) -> &[u8] {
        &self.bytes[self.place(position)..]
    }

    /// Length of the match at `position` with this distance, up to `most`.
    pub(super) fn match_length(&self, position: u64, distance: usize, most: usize) -> usize {
        let at = self.place(position);
        match at.checked_sub(distance) {
            Some(from) if distance > 0 => {
                let here = &self.bytes[at..];
                common_prefix(&here[..here.len().min(most)], &self.bytes[from..])
            }
            _ => 0,
        }
    }

    /// `length` bytes at `position` are a copy of those this far back.
    pub(super) fn has_match(&self, position: u64, distance: usize, length: u16) -> bool {
        self.match_length(position, distance, length.into()) == length.into()
    }

    fn hash(&self, at: usize) -> Option<usize> {
        let &[a, b, c] = self.bytes.get(at..at + 3)? else { return None };
        let value = u32::from_le_bytes([a, b, c, 0]);
        Some((value.wrapping_mul(0x9e37_79b1) >> (32 - HASH_BITS)) as usize)
    }

    fn index(&mut self, position: u64) {
        self.indexed = self.indexed.max(position.saturating_sub(WINDOW as u64));
        while self.indexed < position {
            if let Some(hash) = self.hash(self.place(self.indexed)) {
                self.links[self.indexed as usize % WINDOW] = self.heads[hash];
                self.heads[hash] = self.indexed as u32;
            }
            self.indexed += 1;
        }
    }

    /// Length of the longest of the nearest few matches at `position`; 0 if there is none.
    ///
    /// It is asked for the byte behind a token too. A finder reads the bytes of a match ahead of the token, so that of a match at
    /// the next byte, one byte less is certain to be here, on both sides.
    pub(super) fn longest(&mut self, position: u64) -> u16 {
        let (mut best, mut left) = (MINIMUM_MATCH - 1, NEAR_TRIES);
        self.candidates(position, |history, distance| {
            let at = history.place(position);
            if history.bytes.get(at - distance + best) == history.bytes.get(at + best) {
                best = best.max(history.match_length(position, distance, MAXIMUM_MATCH - 1));
            }
            left -= 1;
            left > 0 && best < MAXIMUM_MATCH - 1
        });
        if best < MINIMUM_MATCH { 0 } else { best as u16 }
    }

    /// Calls `visit` with the distances at which a match at `position` may begin, the nearest first, until it returns `false`.
    fn candidates(&mut self, position: u64, mut visit: impl FnMut(&Self, usize) -> bool) {
        self.index(position);
        let at = self.place(position);
        let Some(hash) = self.hash(at) else { return };
        let mut candidate = self.heads[hash];
        let mut last = 0;
        for _ in 0..TRIES {
            let distance = (position as u32).wrapping_sub(candidate) as usize;
            // The index keeps no list of what it dropped: a link that does not lead farther back is not one.
            if distance == 0 {
                // The position itself, which is in the index if the next one was asked for.
                candidate = self.links[candidate as usize % WINDOW];
                continue;
            }
            if distance <= last || distance > WINDOW || distance > at || !visit(self, distance) {
                return;
            }
            last = distance;
            candidate = self.links[candidate as usize % WINDOW];
        }
    }

    /// The matches at `position` of which none is both nearer and at least as long, the nearest first.
    pub(super) fn offers(&mut self, position: u64) -> Offers {
        let mut offers = Offers { offers: [Offer { length: 0, distance: 0 }; OFFERS], count: 0 };
        let mut best = MINIMUM_MATCH - 1;
        self.candidates(position, |history, distance| {
            let at = history.place(position);
            // Most candidates differ where the match would become longer than the best.
            if history.bytes.get(at - distance + best) == history.bytes.get(at + best) {
                let length = history.match_length(position, distance, MAXIMUM_MATCH);
                if length > best {
                    best = length;
                    offers.offers[offers.count] = Offer { length: length as u16, distance: distance as u16 };
                    offers.count += 1;
                }
            }
            offers.count < OFFERS && best < MAXIMUM_MATCH
        });
        offers
    }

    /// The number of the candidate with this distance among those of at least this length, the nearest being 0.
    pub(super) fn rank(&mut self, position: u64, length: u16, distance: u16) -> Option<u8> {
        let (mut rank, mut found) = (0, None);
        self.candidates(position, |history, candidate| {
            if candidate == usize::from(distance) {
                found = Some(rank);
            } else if history.has_match(position, candidate, length) {
                rank += 1;
            }
            candidate < usize::from(distance)
        });
        found
    }

    /// The distance of the candidate with this number.
    pub(super) fn ranked(&mut self, position: u64, length: u16, rank: u8) -> Option<u16> {
        let (mut left, mut found) = (rank, None);
        self.candidates(position, |history, candidate| {
            if history.has_match(position, candidate, length) {
                if left == 0 {
                    found = Some(candidate as u16);
                    return false;
                }
                left -= 1;
            }
            true
        });
        found
    }
}

/// How many bytes of `a` are those of `b`, which is not shorter.
fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    let (eights, _) = a.as_chunks::<8>();
    let mut length = 0;
    for (a, b) in eights.iter().zip(b.as_chunks::<8>().0) {
        let differences = u64::from_le_bytes(*a) ^ u64::from_le_bytes(*b);
        if differences != 0 {
            return length + differences.trailing_zeros() as usize / 8;
        }
        length += 8;
    }
    length + a[length..].iter().zip(&b[length..]).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offers_become_longer_with_the_distance() {
        let mut history = History::new();
        history.write(0, b"abcdefg abcde abc-abcdefgh");
        let offers = history.offers(18);
        let expected = [(3, 4), (5, 10), (7, 18)].map(|(length, distance)| Offer { length, distance });
        assert!(offers.iter().eq(expected));
        assert_eq!(history.match_length(18, 10, 300), 5);
        assert_eq!(history.match_length(18, 19, 300), 0);
        for (length, rank, distance) in
            [(3, 0, 4), (3, 1, 10), (3, 2, 18), (5, 0, 10), (5, 1, 18), (6, 0, 18)]
        {
            assert_eq!(history.ranked(18, length, rank), Some(distance));
            assert_eq!(history.rank(18, length, distance), Some(rank));
        }
        assert_eq!(history.ranked(18, 5, 2), None);
        assert_eq!(history.rank(18, 3, 5), None);
        assert_eq!([18, 19, 25].map(|position| history.longest(position)), [7, 6, 0]);
        // The index is ahead by now, and has the position itself.
        assert_eq!(history.offers(18).iter().count(), 3);
    }

    #[test]
    fn bytes_before_the_window_are_dropped_and_positions_stay() {
        let mut history = History::new();
        let mut position = 0;
        for piece in 0..40u8 {
            let plain: Vec<u8> = (0..20_000u32).map(|at| (at % 251) as u8 ^ piece).collect();
            history.write(position, &plain);
            position += 20_000;
        }
        assert!(history.bytes.len() < WINDOW + SLACK + 60_000);
        assert_eq!(history.from(position - 1), [(19_999u32 % 251) as u8 ^ 39]);
        assert_eq!(history.match_length(position - 300, 251, 258), 258);
    }
}
