// SPDX-License-Identifier: Apache-2.0
//! The bytes that levels 2 to 9 see: 64 KiB, of which the older half goes when the search nears the end.

use super::chains::{Chains, Found, Search};
use crate::deflate::{Place, WINDOW};

/// Size of the window.
pub(super) const SIZE: usize = 2 * WINDOW;
/// Without the end of the input, the search stops when fewer bytes are ahead: the longest match and 4.
pub(super) const AHEAD: usize = 262;

/// The bytes, what was found in them, and how far the search is.
#[derive(Debug)]
pub(super) struct Window {
    bytes: Vec<u8>,
    /// Position of the first byte in the stream.
    start: u64,
    chains: Chains,
    /// The next byte to search at.
    pub(super) at: usize,
    is_end: bool,
}

impl Window {
    pub(super) fn new() -> Self {
        Self { bytes: Vec::with_capacity(SIZE), start: 0, chains: Chains::new(), at: 0, is_end: false }
    }

    /// Takes of `plain` what fits, and returns the rest. The caller searches what is there before each call.
    ///
    /// The window moves only when another byte comes: until then, all of it can be matched.
    pub(super) fn fill<'a>(&mut self, plain: &'a [u8]) -> &'a [u8] {
        if self.bytes.len() == SIZE && !plain.is_empty() && self.at >= WINDOW {
            self.bytes.copy_within(WINDOW.., 0);
            self.bytes.truncate(SIZE - WINDOW);
            self.start += WINDOW as u64;
            self.at -= WINDOW;
            self.chains.move_back();
        }
        let (now, later) = plain.split_at(plain.len().min(SIZE - self.bytes.len()));
        self.bytes.extend_from_slice(now);
        later
    }

    pub(super) fn end(&mut self) {
        self.is_end = true;
    }

    /// A search at the next byte would be the same with any bytes that may still come.
    #[inline]
    pub(super) fn is_searchable(&self) -> bool {
        let ahead = self.bytes.len() - self.at;
        ahead >= AHEAD || (self.is_end && ahead > 0)
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.is_end && self.at == self.bytes.len()
    }

    #[inline]
    pub(super) fn place(&self, at: usize) -> Place<'_> {
        Place { window: &self.bytes, start: self.start, at, is_end: self.is_end }
    }

    /// More bytes than `count` are ahead.
    #[inline]
    pub(super) fn has_more_than(&self, count: usize) -> bool {
        self.bytes.len() - self.at > count
    }

    /// Enters the next byte into the chains, and returns the newest candidate for a match there.
    #[inline]
    pub(super) fn insert(&mut self) -> Option<usize> {
        self.chains.insert(&self.bytes, self.at)
    }

    /// The match at the next byte.
    #[inline]
    pub(super) fn search(&self, candidate: Option<usize>, how: Search) -> Option<Found> {
        self.chains.search(&self.bytes, self.at, candidate?, how)
    }

    /// Enters the positions behind the next byte up to `end`.
    #[inline]
    pub(super) fn insert_behind(&mut self, end: usize) {
        self.chains.insert_range(&self.bytes, self.at + 1, end);
    }

    /// Continues at `at`, but not behind the last byte.
    #[inline]
    pub(super) fn move_to(&mut self, at: usize) {
        self.at = at.min(self.bytes.len());
    }
}
