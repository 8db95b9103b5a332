// SPDX-License-Identifier: Apache-2.0
//! Chains of the positions with the same hash, newest first, and the search in them.

use super::window::SIZE;
use crate::deflate::{MAXIMUM_MATCH, Token, WINDOW};

/// The shortest match: a hash is over as many bytes.
pub(super) const MINIMUM: usize = 4;
const HASH_BITS: u32 = 17;
/// A match of [`MINIMUM`] bytes is worth its distance up to here.
const NEAR: usize = 4096;

/// How far a level searches.
#[derive(Debug, Clone, Copy)]
pub(super) struct Search {
    /// A match of this length ends the search.
    pub(super) nice: usize,
    /// Candidates that are compared at most.
    pub(super) tries: usize,
}

/// A match that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) length: usize,
    pub(super) distance: usize,
}

impl Found {
    #[inline]
    pub(super) fn token(self) -> Token {
        Token::Match { length: self.length as u16, distance: self.distance as u16 }
    }
}

/// An entry is an index into the window, plus 1; 0 is none. The last three bytes of a window are never entered, so 16 bits do.
#[derive(Debug)]
pub(super) struct Chains {
    newest: Box<[u16; 1 << HASH_BITS]>,
    /// Of the last 32768 positions, the one before it with the same hash.
    older: Box<[u16; WINDOW]>,
}

impl Chains {
    pub(super) fn new() -> Self {
        Self { newest: zeros(), older: zeros() }
    }

    /// Enters `at`, and returns the position before it with the same hash. Near the end, where no hash is, nothing happens.
    #[inline]
    pub(super) fn insert(&mut self, bytes: &[u8], at: usize) -> Option<usize> {
        let four = bytes.get(at..at + MINIMUM)?;
        let value = u32::from_be_bytes(four.try_into().ok()?);
        let hash = (value.wrapping_mul(0x1e35_a7bd) >> (32 - HASH_BITS)) as usize;
        let newest = &mut self.newest[hash];
        let before = *newest;
        self.older[at % WINDOW] = before;
        *newest = (at + 1) as u16;
        usize::from(before).checked_sub(1)
    }

    /// Enters all positions from `from` up to `end`.
    #[inline]
    pub(super) fn insert_range(&mut self, bytes: &[u8], from: usize, end: usize) {
        for at in from..end {
            self.insert(bytes, at);
        }
    }

    /// The longest of the nearest matches at `at`, from the candidate `first` on.
    pub(super) fn search(&self, bytes: &[u8], at: usize, first: usize, how: Search) -> Option<Found> {
        let ahead = bytes.get(at..)?;
        let limit = ahead.len().min(MAXIMUM_MATCH);
        let ahead = &ahead[..limit];
        let enough = how.nice.min(limit);
        let (mut best, mut distance) = (MINIMUM - 1, 0);
        let mut candidate = first;
        for _ in 0..how.tries {
            let back = at.wrapping_sub(candidate);
            // A candidate is before `at`; anything else would be an entry of a position that an answer made us revisit.
            if back.wrapping_sub(1) >= WINDOW {
                break;
            }
            let length = match bytes.get(candidate..at) {
                Some(_) if bytes.get(candidate + best) == ahead.get(best) => {
                    common_prefix(&bytes[candidate..], ahead)
                }
                _ => 0,
            };
            if length > best && (length > MINIMUM || back <= NEAR) {
                (best, distance) = (length, back);
                if length >= enough {
                    break;
                }
            }
            // The link of a candidate at the far end of the window is already the one of `at`.
            if back == WINDOW {
                break;
            }
            match usize::from(self.older[candidate % WINDOW]).checked_sub(1) {
                Some(next) => candidate = next,
                None => break,
            }
        }
        (distance > 0).then_some(Found { length: best, distance })
    }

    /// The window has moved by half its size.
    pub(super) fn move_back(&mut self) {
        for entry in self.newest.iter_mut().chain(self.older.iter_mut()) {
            *entry = entry.saturating_sub((SIZE - WINDOW) as u16);
        }
    }
}

fn zeros<const N: usize>() -> Box<[u16; N]> {
    // Made on the heap: an array of this size does not belong on the stack.
    match vec![0; N].into_boxed_slice().try_into() {
        Ok(array) => array,
        Err(_) => Box::new([0; N]),
    }
}

/// Number of equal bytes at the beginning of both.
#[inline]
pub(super) fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    let mut length = 0;
    for (a, b) in a.chunks_exact(8).zip(b.chunks_exact(8)) {
        let (Ok(a), Ok(b)) = (a.try_into(), b.try_into()) else { break };
        let differ = u64::from_le_bytes(a) ^ u64::from_le_bytes(b);
        if differ != 0 {
            return length + differ.trailing_zeros() as usize / 8;
        }
        length += 8;
    }
    length + a.iter().skip(length).zip(b.iter().skip(length)).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_common_prefix_ends_at_the_first_difference_and_at_the_shorter_end() {
        let bytes: Vec<u8> = (0..40).collect();
        for length in 0..40 {
            let mut other = bytes.clone();
            other[length] = 99;
            assert_eq!(common_prefix(&bytes, &other), length);
            assert_eq!(common_prefix(&bytes[..length], &bytes), length);
        }
    }
}
