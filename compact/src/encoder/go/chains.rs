// SPDX-License-Identifier: Apache-2.0
//! Chains of the positions with the same hash, newest first, and the search in them.

use super::buffer::Buffer;
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

/// Entries are indices of a [`Buffer`], which begins at 1; 0 is none.
#[derive(Debug)]
pub(super) struct Chains {
    newest: Box<[u16; 1 << HASH_BITS]>,
    /// Of the last 32768 positions, the one before it with the same hash.
    older: Box<[u16; WINDOW]>,
}

impl Chains {
    pub(super) fn new() -> Self {
        Self { newest: Box::new([0; 1 << HASH_BITS]), older: Box::new([0; WINDOW]) }
    }

    /// Makes `at` the newest of its hash, and returns the one before it: the first candidate. [`Chains::link`] comes after the
    /// search, since it takes the place of a position that can still be matched.
    #[inline]
    pub(super) fn replace_newest(&mut self, buffer: &Buffer, at: usize) -> u16 {
        let hash = buffer.four(at).swap_bytes().wrapping_mul(0x1e35_a7bd) >> (32 - HASH_BITS);
        std::mem::replace(&mut self.newest[hash as usize], at as u16)
    }

    #[inline]
    pub(super) fn link(&mut self, at: usize, before: u16) {
        self.older[at % WINDOW] = before;
    }

    /// Enters all positions from `from` up to `end`.
    #[inline]
    pub(super) fn insert_range(&mut self, buffer: &Buffer, from: usize, end: usize) {
        for at in from..end {
            let before = self.replace_newest(buffer, at);
            self.link(at, before);
        }
    }

    /// The longest of the nearest matches at `at`, from the candidate `first` on, which is before `at`.
    #[inline]
    pub(super) fn search(&self, buffer: &Buffer, at: usize, first: u16, how: Search) -> Option<Found> {
        let lowest = at.saturating_sub(WINDOW).max(1) as u16;
        if first < lowest {
            return None;
        }
        let limit = buffer.ahead(at).min(MAXIMUM_MATCH);
        let enough = how.nice.min(limit);
        let (mut best, mut distance) = (MINIMUM - 1, 0);
        // A longer match has these bytes, the last of which is the one behind the best match.
        let mut wanted = buffer.four(at);
        let mut candidate = first;
        for _ in 0..how.tries {
            let from = usize::from(candidate);
            if buffer.four(from + best + 1 - MINIMUM) == wanted {
                let length = buffer.common_prefix(from, at, limit);
                let back = at.saturating_sub(from);
                if length > best && (length > MINIMUM || back <= NEAR) {
                    (best, distance) = (length, back);
                    if length >= enough {
                        break;
                    }
                    wanted = buffer.four(at + best + 1 - MINIMUM);
                }
            }
            candidate = self.older[from % WINDOW];
            if candidate < lowest {
                break;
            }
        }
        (distance > 0).then_some(Found { length: best, distance })
    }

    /// The buffer has moved by half its size.
    pub(super) fn move_back(&mut self) {
        move_back(&mut *self.newest);
        move_back(&mut *self.older);
    }
}

fn move_back(entries: &mut [u16]) {
    for entry in entries {
        *entry = entry.saturating_sub(WINDOW as u16);
    }
}
