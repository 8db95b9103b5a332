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

type Links = [u32; WINDOW];

/// Plain bytes that were given and can still be copied, and an index of each three of them.
#[derive(Debug)]
pub(super) struct History {
    bytes: Vec<u8>,
    /// Position of the first of `bytes`.
    start: u64,
    /// The latest position of each hash, modulo 2^32.
    heads: Box<[u32; 1 << HASH_BITS]>,
    /// Of each position modulo the window: the position before it with the same hash.
    links: Box<Links>,
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
            heads: Box::new([0; 1 << HASH_BITS]),
            links: Box::new([0; WINDOW]),
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
        if distance > 0 && distance <= at { self.length_at(at, distance, most) } else { 0 }
    }

    /// The same for a place in `bytes`, and a distance that is possible there.
    #[inline]
    fn length_at(&self, at: usize, distance: usize, most: usize) -> usize {
        let here = &self.bytes[at..];
        common_prefix(&here[..here.len().min(most)], &self.bytes[at - distance..])
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

    /// Length of the longest of the nearest few matches at `position`, or one of at least `enough`; 0 if there is none.
    ///
    /// It is asked for the byte behind a token too. A finder reads the bytes of a match ahead of the token, so that of a match at
    /// the next byte, one byte less is certain to be here, on both sides.
    pub(super) fn longest(&mut self, position: u64, enough: u16) -> u16 {
        let enough = usize::from(enough).min(MAXIMUM_MATCH - 1);
        let (at, mut walk) = self.walk(position);
        let mut best = MINIMUM_MATCH - 1;
        for _ in 0..NEAR_TRIES {
            let Some(distance) = walk.next(&self.links) else { break };
            if self.is_longer(at, distance, best) {
                best = best.max(self.length_at(at, distance, MAXIMUM_MATCH - 1));
                if best >= enough {
                    break;
                }
            }
        }
        if best < MINIMUM_MATCH { 0 } else { best as u16 }
    }

    /// The distances at which a match at `position` may begin, the nearest first, and where the position is in `bytes`.
    fn walk(&mut self, position: u64) -> (usize, Walk) {
        self.index(position);
        let at = self.place(position);
        let (candidate, tries) = self.hash(at).map_or((0, 0), |hash| (self.heads[hash], TRIES));
        let walk = Walk { position: position as u32, candidate, last: 0, most: at.min(WINDOW), tries };
        (at, walk)
    }

    /// Whether a match with this distance may be longer than `best`: if its last bytes, up to the one behind the best, are the same.
    #[inline]
    fn is_longer(&self, at: usize, distance: usize, best: usize) -> bool {
        let end = at + best;
        // Four bytes, of which the first three are the last of the best match, but for the shortest.
        match (
            self.bytes.get(end - 3..=end),
            self.bytes.get(end - 3 - distance.min(end - 3)..=end - distance),
        ) {
            (Some(here), Some(there)) if best >= MINIMUM_MATCH => here == there,
            _ => self.bytes.get(end) == self.bytes.get(end - distance),
        }
    }

    /// The matches at `position` of which none is both nearer and at least as long, the nearest first.
    pub(super) fn offers(&mut self, position: u64) -> Offers {
        let (at, mut walk) = self.walk(position);
        let mut offers = Offers { offers: [Offer { length: 0, distance: 0 }; OFFERS], count: 0 };
        let mut best = MINIMUM_MATCH - 1;
        while let Some(distance) = walk.next(&self.links) {
            if !self.is_longer(at, distance, best) {
                continue;
            }
            let length = self.length_at(at, distance, MAXIMUM_MATCH);
            if length > best {
                best = length;
                offers.offers[offers.count] = Offer { length: length as u16, distance: distance as u16 };
                offers.count += 1;
                if offers.count == OFFERS || best >= MAXIMUM_MATCH {
                    break;
                }
            }
        }
        offers
    }

    /// What [`History::offers`] has of this length and longer: by how much the longest is longer, up to 2, and the distance of the
    /// nearest.
    ///
    /// Shorter ones are not compared, which is most of the time. They would count for the number of offers only, where this length is
    /// so large that there can be many of them: three of at least the length tell all, and each has another length.
    pub(super) fn offers_from(&mut self, position: u64, length: u16) -> (u16, Option<u16>) {
        if usize::from(length) > MINIMUM_MATCH + OFFERS - 3 {
            let offers = self.offers(position);
            let longest = offers.iter().last().map_or(0, |offer| offer.length);
            let nearest = offers.iter().find(|offer| offer.length >= length);
            return (longest.saturating_sub(length).min(2), nearest.map(|offer| offer.distance));
        }
        let (at, mut walk) = self.walk(position);
        let (least, mut nearest) = (usize::from(length), None);
        let mut best = least.max(MINIMUM_MATCH) - 1;
        while let Some(distance) = walk.next(&self.links) {
            if !self.is_longer(at, distance, best) {
                continue;
            }
            let found = self.length_at(at, distance, MAXIMUM_MATCH);
            if found > best {
                best = found;
                nearest = nearest.or(Some(distance as u16));
                if best >= least + 2 {
                    break;
                }
            }
        }
        (best.saturating_sub(least).min(2) as u16, nearest)
    }

    /// The number of the candidate with this distance among those of at least this length, the nearest being 0.
    pub(super) fn rank(&mut self, position: u64, length: u16, distance: u16) -> Option<u8> {
        let (at, mut walk) = self.walk(position);
        let (distance, length) = (usize::from(distance), usize::from(length));
        let mut rank = 0;
        while let Some(candidate) = walk.next(&self.links).filter(|candidate| *candidate <= distance) {
            if candidate == distance {
                return Some(rank);
            }
            rank += u8::from(self.length_at(at, candidate, length) == length);
        }
        None
    }

    /// The distance of the candidate with this number.
    pub(super) fn ranked(&mut self, position: u64, length: u16, rank: u8) -> Option<u16> {
        let (at, mut walk) = self.walk(position);
        let (mut left, length) = (rank, usize::from(length));
        while let Some(candidate) = walk.next(&self.links) {
            if self.length_at(at, candidate, length) == length {
                if left == 0 {
                    return Some(candidate as u16);
                }
                left -= 1;
            }
        }
        None
    }
}

/// A walk through the positions with one hash, from the newest to older ones.
struct Walk {
    position: u32,
    candidate: u32,
    /// The last distance.
    last: usize,
    /// The largest that is possible.
    most: usize,
    tries: usize,
}

impl Walk {
    /// The next distance, which is larger than the last one.
    #[inline]
    fn next(&mut self, links: &Links) -> Option<usize> {
        while self.tries > 0 {
            self.tries -= 1;
            let distance = self.position.wrapping_sub(self.candidate) as usize;
            self.candidate = links[self.candidate as usize % WINDOW];
            // The position itself is in the index if the next one was asked for.
            if distance == 0 {
                continue;
            }
            // The index keeps no list of what it dropped: a link that does not lead farther back is not one.
            if distance <= self.last || distance > self.most {
                break;
            }
            self.last = distance;
            return Some(distance);
        }
        self.tries = 0;
        None
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
        assert_eq!([18, 19, 25].map(|position| history.longest(position, u16::MAX)), [7, 6, 0]);
        assert!(history.longest(18, 5) >= 5);
        // The index is ahead by now, and has the position itself.
        assert_eq!(history.offers(18).iter().count(), 3);
    }

    /// The shorter way to what is asked of offers has the same answers, also where there are as many as are offered.
    #[test]
    fn offers_from_a_length_are_those_of_all_offers() {
        // One longer by a byte at each place farther back.
        let text = (0..40u8).map(|byte| byte.wrapping_mul(37)).collect::<Vec<_>>();
        let mut plain = (3..40)
            .rev()
            .flat_map(|length| [&text[..length], &[255 - length as u8]].concat())
            .collect::<Vec<_>>();
        let position = plain.len() as u64;
        plain.extend_from_slice(&text);
        for shortest in [0, 4, 10] {
            let mut history = History::new();
            history.write(0, &plain[..plain.len() - shortest]);
            for position in (position..plain.len() as u64 - 20).chain(100..110) {
                for length in 3..45 {
                    let offers = history.offers(position);
                    let longest = offers.iter().last().map_or(0, |offer| offer.length);
                    let nearest =
                        offers.iter().find(|offer| offer.length >= length).map(|offer| offer.distance);
                    let expected = (longest.saturating_sub(length).min(2), nearest);
                    assert_eq!(history.offers_from(position, length), expected, "{position} {length}");
                }
            }
        }
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
