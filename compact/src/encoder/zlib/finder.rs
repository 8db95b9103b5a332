// SPDX-License-Identifier: Apache-2.0
//! The match finder: from plain bytes to tokens.

use std::mem;

use super::chains::{Chains, Effort, Match};
use super::parameters::{Parameters, Parse};
use super::window::{HALF, LOOK_AHEAD, MOVE_FROM, Window};
use crate::deflate::{MAXIMUM_MATCH, MINIMUM_MATCH, MatchFinder, Place, Token, TokenSink};

/// What a search near the end of the input sees behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tail {
    /// Nothing: matches are compared up to the last byte.
    Nothing,
    /// What the buffer holds there, as GNU gzip does: a match is cut after it has been chosen.
    OldBytes,
}

/// Finds matches as zlib does: a hash of three bytes, chains of earlier positions, and a greedy or a lazy parse.
///
/// The tokens do not depend on how the bytes are divided into calls of [`write`](MatchFinder::write): they are those that zlib finds
/// when it gets all bytes at once. It uses about 200 KiB.
///
/// Bytes are at hand in a window of 64 KiB that moves by 32 KiB, so that at least the last 32506 bytes are there; whether the 262
/// before those are depends on the place. The first byte of the stream is never part of a match's source as its first byte.
///
/// # Where the sink answers with another token
/// The parse continues after the token that was answered: nothing is held, and the positions that the token covers are added to
/// the chains as for a match of that length. A match that would end behind the last byte is cut.
#[derive(Debug)]
pub struct Finder {
    parameters: Parameters,
    tail: Tail,
    window: Window,
    chains: Chains,
    /// The next position to search.
    at: usize,
    /// Positions before this one are in the chains, or are left out.
    inserted: usize,
    /// Nothing comes behind the window.
    is_end: bool,
    /// No token has been sent for the byte before `at` (lazy parse).
    is_held: bool,
    /// The match at the byte before `at`, if that is held.
    held: Match,
}

impl Finder {
    /// Values that make no sense are replaced by the nearest that do.
    #[must_use]
    pub fn new(parameters: Parameters) -> Self {
        Self::with_tail(parameters, Tail::Nothing)
    }

    /// As GNU gzip, which differs near the end of the input.
    #[must_use]
    pub fn gnu(parameters: Parameters) -> Self {
        Self::with_tail(parameters, Tail::OldBytes)
    }

    fn with_tail(parameters: Parameters, tail: Tail) -> Self {
        Self {
            parameters: parameters.bounded(),
            tail,
            window: Window::new(),
            chains: Chains::new(),
            at: 0,
            inserted: 0,
            is_end: false,
            is_held: false,
            held: Match::NONE,
        }
    }

    /// Starts again, with the last 32 KiB of what was written as dictionary. Call it after [`finish`](MatchFinder::finish).
    pub(super) fn restart_with_dictionary(&mut self) {
        self.chains.clear();
        self.at = self.window.keep_dictionary();
        self.inserted = 0;
        self.is_end = false;
        self.is_held = false;
        self.held = Match::NONE;
    }

    /// The last bytes, up to the end of what was written.
    pub(super) fn window(&self) -> &Window {
        &self.window
    }

    /// The first position that is not searched while more bytes may come.
    fn last_search(&self) -> usize {
        (self.window.end() + 1).saturating_sub(LOOK_AHEAD)
    }

    fn shift(&mut self) {
        self.window.shift();
        self.chains.shift();
        self.at -= HALF;
        self.inserted = self.inserted.saturating_sub(HALF);
    }

    fn advance<S: TokenSink>(&mut self, stop: usize, sink: &mut S) {
        let stop = stop.min(self.window.end());
        if self.at < stop {
            self.insert_up_to(self.at);
        }
        match self.parameters.parse {
            Parse::Greedy { insert_limit } => {
                while self.at < stop {
                    self.step_greedy(usize::from(insert_limit), sink);
                }
            }
            Parse::Lazy { lazy, far_three } => {
                while self.at < stop {
                    self.step_lazy(usize::from(lazy), usize::from(far_three), sink);
                }
            }
        }
    }

    #[inline(always)]
    fn step_greedy<S: TokenSink>(&mut self, insert_limit: usize, sink: &mut S) {
        let candidate = self.insert_here();
        let found = self.search(candidate, Match::NONE.length).unwrap_or(Match::NONE);
        let length = self.send(found, self.at, sink).size().max(1);
        let next = (self.at + length).min(self.window.end());
        if length <= insert_limit && self.window.end() - next >= MINIMUM_MATCH {
            self.insert_up_to(next);
        } else {
            self.inserted = next;
        }
        self.at = next;
    }

    #[inline(always)]
    fn step_lazy<S: TokenSink>(&mut self, lazy: usize, far_three: usize, sink: &mut S) {
        let candidate = self.insert_here();
        let held = mem::replace(&mut self.held, Match::NONE);
        if held.length < lazy
            && let Some(found) = self.search(candidate, held.length)
            && (found.length > MINIMUM_MATCH || found.distance <= far_three)
        {
            self.held = found;
        }
        if held.length >= MINIMUM_MATCH && self.held.length <= held.length {
            let answer = self.send(held, self.at - 1, sink);
            self.continue_after(self.at - 1, answer);
        } else if self.is_held {
            let answer = self.send(Match::NONE, self.at - 1, sink);
            match answer {
                Token::Literal(_) => self.at += 1,
                Token::Match { .. } => self.continue_after(self.at - 1, answer),
            }
        } else {
            self.is_held = true;
            self.at += 1;
        }
    }

    #[inline(always)]
    fn send<S: TokenSink>(&self, found: Match, start: usize, sink: &mut S) -> Token {
        let token = if found.length < MINIMUM_MATCH {
            Token::Literal(self.window.byte(start))
        } else {
            Token::Match { length: found.length as u16, distance: found.distance as u16 }
        };
        let place = Place {
            window: self.window.bytes(),
            start: self.window.place(0),
            at: start,
            is_end: self.is_end,
        };
        sink.token(&place, token)
    }

    fn continue_after(&mut self, start: usize, token: Token) {
        let next = (start + token.size().max(1)).min(self.window.end());
        self.insert_up_to(next);
        self.at = next;
        self.is_held = false;
        self.held = Match::NONE;
    }

    /// Adds the next position to the chains, and returns the newest candidate for it, or 0.
    #[inline(always)]
    fn insert_here(&mut self) -> usize {
        if self.at + MINIMUM_MATCH > self.window.end() {
            return 0;
        }
        if self.inserted > self.at {
            // A held token was replaced by a literal: this position was searched before, for a match to beat that token.
            return self.chains.candidate(self.at);
        }
        self.inserted = self.at + 1;
        self.chains.insert(&self.window, self.at)
    }

    #[inline(always)]
    fn insert_up_to(&mut self, end: usize) {
        let last = end.min((self.window.end() + 1).saturating_sub(MINIMUM_MATCH));
        for position in self.inserted..last {
            self.chains.insert(&self.window, position);
        }
        self.inserted = self.inserted.max(end);
    }

    #[inline(always)]
    fn search(&self, candidate: usize, beat: usize) -> Option<Match> {
        let Parameters { good, nice, chain, max_distance, .. } = self.parameters;
        let max_distance = usize::from(max_distance);
        if candidate == 0 || self.at - candidate > max_distance {
            return None;
        }
        let left = self.window.end() - self.at;
        let tries = if beat >= usize::from(good) { (chain >> 2).max(1) } else { chain };
        let effort = Effort {
            beat,
            limit: left.min(MAXIMUM_MATCH),
            nice: usize::from(nice).min(left),
            tries,
            max_distance,
        };
        match self.tail {
            Tail::Nothing => self.chains.longest(&self.window, self.at, candidate, effort),
            Tail::OldBytes if self.at > MOVE_FROM => None,
            Tail::OldBytes => {
                let effort = Effort { limit: MAXIMUM_MATCH, nice: usize::from(nice), ..effort };
                let found = self.chains.longest(&self.window, self.at, candidate, effort)?;
                Some(Match { length: found.length.min(left), ..found })
            }
        }
    }
}

impl MatchFinder for Finder {
    fn write<S: TokenSink>(&mut self, mut plain: &[u8], sink: &mut S) {
        while !plain.is_empty() {
            plain = self.window.fill(plain);
            if self.window.is_full() {
                self.advance(self.last_search(), sink);
                self.shift();
            }
        }
    }

    fn finish<S: TokenSink>(&mut self, sink: &mut S) {
        self.is_end = true;
        // The window moves when zlib wants to read near its end, even if there is nothing to read. zlib wants to before each step,
        // and GNU gzip until it knows that there is nothing more.
        let stop = match self.tail {
            Tail::Nothing => self.last_search().max(MOVE_FROM),
            Tail::OldBytes => self.last_search(),
        };
        self.advance(stop, sink);
        if self.at >= MOVE_FROM {
            self.shift();
        }
        if self.tail == Tail::OldBytes {
            self.window.end_with_zeros();
        }
        self.advance(self.window.end(), sink);
        if mem::take(&mut self.is_held) {
            self.send(Match::NONE, self.at.saturating_sub(1), sink);
        }
    }
}
