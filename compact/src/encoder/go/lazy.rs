// SPDX-License-Identifier: Apache-2.0
//! Levels 4 to 9: a match is taken only if no longer one begins at the next byte.

use super::chains::{Found, MINIMUM, Search};
use super::level::Level;
use super::window::Window;
use crate::deflate::{MatchFinder, Token, TokenSink};

/// The search of levels 4 to 9.
#[derive(Debug)]
pub struct Lazy {
    window: Window,
    search: Search,
    /// A match of this length is taken without a search at the next byte.
    lazy: usize,
    /// The byte before the window's next one has no token yet.
    is_held: bool,
    /// What was found at that byte.
    found: Option<Found>,
}

impl Level {
    /// The search of levels 4 to 9.
    #[must_use]
    pub fn lazy(self) -> Option<Lazy> {
        let (lazy, nice, tries) = match self.number() {
            4 => (4, 16, 16),
            5 => (16, 32, 32),
            6 => (16, 128, 128),
            7 => (32, 128, 256),
            8 => (128, 258, 1024),
            9 => (258, 258, 4096),
            _ => return None,
        };
        let search = Search { nice, tries };
        Some(Lazy { window: Window::new(), search, lazy, is_held: false, found: None })
    }
}

impl Lazy {
    fn run<S: TokenSink>(&mut self, sink: &mut S) {
        while self.window.is_searchable() {
            self.step(sink);
        }
        if self.window.is_at_end() && std::mem::take(&mut self.is_held) {
            let place = self.window.place(1);
            sink.token(&place, place.literal());
        }
    }

    #[inline]
    fn step<S: TokenSink>(&mut self, sink: &mut S) {
        let how = self.search;
        let before = self.found;
        let length = before.map_or(MINIMUM - 1, |found| found.length);
        let is_searched = length < self.lazy && self.window.has_more_than(length);
        let (first, found) =
            self.window.insert(|window, first| is_searched.then(|| window.search(first, how)).flatten());
        self.found = found;
        if !self.is_held {
            self.is_held = true;
            self.window.advance(1);
            return;
        }
        let place = self.window.place(1);
        let predicted = match before {
            Some(before) if found.is_none_or(|found| found.length <= before.length) => before.token(),
            _ => place.literal(),
        };
        let answer = sink.token(&place, predicted);
        match answer {
            Token::Match { .. } => {
                self.window.advance_inserting(answer.size() - 1);
                self.is_held = false;
                self.found = None;
            }
            Token::Literal(_) => {
                // Only an answer makes a literal of a byte whose match is long enough.
                if !is_searched && length >= self.lazy {
                    self.found = self.window.search(first, how);
                }
                self.window.advance(1);
            }
        }
    }
}

impl MatchFinder for Lazy {
    fn write<S: TokenSink>(&mut self, plain: &[u8], sink: &mut S) {
        let mut rest = self.window.fill(plain);
        self.run(sink);
        while !rest.is_empty() {
            rest = self.window.fill(rest);
            self.run(sink);
        }
    }

    fn finish<S: TokenSink>(&mut self, sink: &mut S) {
        self.window.end();
        self.run(sink);
    }
}
