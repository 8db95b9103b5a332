// SPDX-License-Identifier: Apache-2.0
//! Levels 2 and 3: each match is taken where it is found.

use super::chains::{Found, Search};
use super::window::Window;
use crate::deflate::{MatchFinder, Token, TokenSink};

/// The search of levels 2 and 3.
#[derive(Debug)]
pub struct Greedy {
    window: Window,
    search: Search,
    /// The positions inside longer matches are not entered into the chains.
    insert_limit: usize,
}

impl Greedy {
    pub(super) fn new(search: Search, insert_limit: usize) -> Self {
        Self { window: Window::new(), search, insert_limit }
    }

    fn run<S: TokenSink>(&mut self, sink: &mut S) {
        while self.window.is_searchable() {
            let candidate = self.window.insert();
            let found = self.window.search(candidate, self.search);
            let place = self.window.place(self.window.at);
            let size = match sink.token(&place, found.map_or_else(|| place.literal(), Found::token)) {
                Token::Literal(_) => 1,
                Token::Match { length, .. } => usize::from(length),
            };
            let end = self.window.at + size;
            if size <= self.insert_limit {
                self.window.insert_behind(end);
            }
            self.window.move_to(end);
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
