// SPDX-License-Identifier: Apache-2.0
//! What levels 2 to 9 see: 64 KiB, of which the older half goes when the search nears the end.

use super::buffer::Buffer;
use super::chains::{Chains, Found, MINIMUM, Search};
use crate::deflate::{Place, WINDOW};

/// Without the end of the input, the search stops when fewer bytes are ahead: the longest match and 4.
const AHEAD: usize = 262;

/// The bytes, what was found in them, and how far the search is.
#[derive(Debug)]
pub(super) struct Window {
    buffer: Buffer,
    /// Position of the first byte in the stream.
    start: u64,
    chains: Chains,
    /// The next byte to search at.
    at: usize,
    is_end: bool,
}

impl Window {
    pub(super) fn new() -> Self {
        Self { buffer: Buffer::new(), start: 0, chains: Chains::new(), at: 1, is_end: false }
    }

    /// Takes of `plain` what fits, and returns the rest. The caller searches what is there before each call.
    ///
    /// The window moves only when another byte comes: until then, all of it can be matched.
    pub(super) fn fill<'a>(&mut self, plain: &'a [u8]) -> &'a [u8] {
        if self.buffer.is_full() && !plain.is_empty() && self.at > WINDOW {
            self.buffer.move_back();
            self.chains.move_back();
            self.start += WINDOW as u64;
            self.at -= WINDOW;
        }
        self.buffer.fill(plain)
    }

    pub(super) fn end(&mut self) {
        self.is_end = true;
    }

    /// A search at the next byte would be the same with any bytes that may still come.
    #[inline]
    pub(super) fn is_searchable(&self) -> bool {
        let ahead = self.buffer.ahead(self.at);
        ahead >= AHEAD || (self.is_end && ahead > 0)
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.is_end && self.buffer.ahead(self.at) == 0
    }

    /// The place of the next byte, or of the byte `before` it.
    #[inline]
    pub(super) fn place(&self, before: usize) -> Place<'_> {
        let at = self.at.saturating_sub(1 + before);
        Place { window: self.buffer.bytes(), start: self.start, at, is_end: self.is_end }
    }

    /// Enters the next byte into the chains, and returns the first candidate for a match there, and what `search` makes of it.
    ///
    /// Near the end of the input there is nothing to enter.
    #[inline]
    pub(super) fn insert(
        &mut self,
        search: impl FnOnce(&Self, u16) -> Option<Found>,
    ) -> (u16, Option<Found>) {
        if self.buffer.ahead(self.at) < MINIMUM {
            return (0, None);
        }
        let first = self.chains.replace_newest(&self.buffer, self.at);
        let found = search(self, first);
        self.chains.link(self.at, first);
        (first, found)
    }

    /// The match at the next byte.
    #[inline]
    pub(super) fn search(&self, first: u16, how: Search) -> Option<Found> {
        self.chains.search(&self.buffer, self.at, first, how)
    }

    /// More bytes than `count` are ahead.
    #[inline]
    pub(super) fn has_more_than(&self, count: usize) -> bool {
        self.buffer.ahead(self.at) > count
    }

    /// Continues `count` bytes further, but not behind the last byte, and enters the positions between into the chains.
    #[inline]
    pub(super) fn advance_inserting(&mut self, count: usize) {
        let end = (self.at + count).min(self.buffer.end());
        self.chains.insert_range(
            &self.buffer,
            self.at + 1,
            end.min(self.buffer.end().saturating_sub(MINIMUM - 1)),
        );
        self.at = end;
    }

    /// Continues `count` bytes further, but not behind the last byte.
    #[inline]
    pub(super) fn advance(&mut self, count: usize) {
        self.at = (self.at + count).min(self.buffer.end());
    }
}
