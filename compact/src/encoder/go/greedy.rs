// SPDX-License-Identifier: Apache-2.0
//! Levels 2 and 3: each match is taken where it is found.

use super::chains::{Found, Search};
use super::level::Level;
use super::window::Window;
use crate::deflate::{MatchFinder, TokenSink};

/// The search of levels 2 and 3.
#[derive(Debug)]
pub struct Greedy {
    window: Window,
    search: Search,
    /// The positions inside longer matches are not entered into the chains.
    insert_limit: usize,
}

impl Level {
    /// The search of levels 2 and 3.
    #[must_use]
    pub fn greedy(self) -> Option<Greedy> {
        let (insert_limit, nice, tries) = match self.number() {
            2 => (5, 16, 8),
            3 => (6, 32, 32),
            _ => return None,
        };
        Some(Greedy { window: Window::new(), search: Search { nice, tries }, insert_limit })
    }
}

impl Greedy {
    fn run<S: TokenSink>(&mut self, sink: &mut S) {
        let how = self.search;
        while self.window.is_searchable() {
            let (_, found) = self.window.insert(|window, first| window.search(first, how));
            let place = self.window.place(0);
            let size = sink.token(&place, found.map_or_else(|| place.literal(), Found::token)).size();
            if size <= self.insert_limit {
                self.window.advance_inserting(size);
            } else {
                self.window.advance(size);
            }
        }
    }
}

impl MatchFinder for Greedy {
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
