// SPDX-License-Identifier: Apache-2.0
//! Level 1: one candidate for each hash value, and larger steps where nothing matches.

use super::block::CHUNK;
use super::level::Level;
use crate::deflate::{MAXIMUM_MATCH, MatchFinder, Place, Token, TokenSink, WINDOW};

const HASH_BITS: u32 = 14;
/// Bytes that a hash is over.
const HASHED: usize = 4;
/// The search stops as many bytes before the end of a chunk.
const MARGIN: usize = 15;
/// Shorter chunks are not searched.
const SEARCHED: usize = 128;
/// As many searches without a match make the step longer by one byte.
const PATIENCE: usize = 32;
/// Offsets begin here, so that an empty slot is farther away than any match reaches.
const FIRST_OFFSET: u32 = 1 << 16;
/// The offsets of a longer stream are counted from a later beginning.
const LAST_OFFSET: u32 = 1 << 30;

/// A position in the stream, and the bytes there.
#[derive(Debug, Clone, Copy)]
struct Slot {
    offset: u32,
    value: u32,
}

/// The search of level 1.
#[derive(Debug)]
pub struct Fast {
    /// Up to [`WINDOW`] bytes before the chunk, the chunk, and what one token can take behind it.
    bytes: Vec<u8>,
    /// Position of the first byte in the stream.
    start: u64,
    /// Offset of the first byte in the slots.
    first_offset: u32,
    /// The first byte of the chunk in `bytes`.
    chunk: usize,
    /// The next byte to search at.
    at: usize,
    slots: Box<[Slot; 1 << HASH_BITS]>,
    is_end: bool,
}

impl Level {
    /// The search of level 1.
    #[must_use]
    pub fn fast(self) -> Option<Fast> {
        (self.number() == 1).then(|| Fast {
            bytes: Vec::with_capacity(WINDOW + CHUNK + MAXIMUM_MATCH),
            start: 0,
            first_offset: FIRST_OFFSET,
            chunk: 0,
            at: 0,
            slots: Box::new([Slot { offset: 0, value: 0 }; 1 << HASH_BITS]),
            is_end: false,
        })
    }
}

/// What happens at the next byte.
enum Step {
    /// A search that moves ahead in growing steps.
    Scan,
    /// One search right behind a match.
    BehindMatch,
    /// Literals to the end of the chunk.
    Rest,
}

/// The end of a chunk, and where the search in it stops.
#[derive(Clone, Copy)]
struct Ends {
    chunk: usize,
    search: usize,
}

impl Fast {
    /// Sends the tokens of a chunk of which all bytes are there, and those that one token more could take.
    fn run<S: TokenSink>(&mut self, sink: &mut S) {
        let end = self.bytes.len().min(self.chunk + CHUNK);
        let is_searched = end - self.chunk >= SEARCHED;
        let ends = Ends { chunk: end, search: if is_searched { end - MARGIN } else { self.chunk } };
        let mut step = Step::Scan;
        loop {
            step = match step {
                Step::Scan => self.scan(ends, sink),
                Step::BehindMatch if self.at >= ends.search => Step::Rest,
                Step::BehindMatch => self.search_behind_match(ends, sink),
                Step::Rest if self.at >= end => break,
                Step::Rest => self.send_literal(Step::Rest, sink),
            };
        }
        self.chunk = end;
    }

    fn scan<S: TokenSink>(&mut self, ends: Ends, sink: &mut S) -> Step {
        let mut patience = PATIENCE;
        loop {
            let next = self.at + patience / PATIENCE;
            patience += patience / PATIENCE;
            if next > ends.search {
                return Step::Rest;
            }
            if let Some(distance) = self.enter(self.at) {
                return self.send_match(distance, ends, sink);
            }
            while self.at < next {
                if let Step::BehindMatch = self.send_literal(Step::Scan, sink) {
                    return Step::BehindMatch;
                }
            }
        }
    }

    fn search_behind_match<S: TokenSink>(&mut self, ends: Ends, sink: &mut S) -> Step {
        self.enter(self.at.saturating_sub(1));
        match self.enter(self.at) {
            Some(distance) => self.send_match(distance, ends, sink),
            None => self.send_literal(Step::Scan, sink),
        }
    }

    /// Enters a position, and returns the distance of a match there.
    #[inline]
    fn enter(&mut self, at: usize) -> Option<usize> {
        let four = self.bytes.get(at..at + HASHED)?;
        let value = u32::from_le_bytes(four.try_into().ok()?);
        let offset = self.first_offset + at as u32;
        let slot = &mut self.slots[(value.wrapping_mul(0x1e35_a7bd) >> (32 - HASH_BITS)) as usize];
        let before = std::mem::replace(slot, Slot { offset, value });
        let distance = offset.wrapping_sub(before.offset) as usize;
        // After an answer, a slot can be of a position that is still ahead.
        (before.value == value && (1..=WINDOW).contains(&distance) && distance <= at).then_some(distance)
    }

    fn send_match<S: TokenSink>(&mut self, distance: usize, ends: Ends, sink: &mut S) -> Step {
        let behind = self.at + HASHED;
        let end = ends.chunk.min(self.at + MAXIMUM_MATCH).max(behind);
        let length = HASHED + common_prefix(&self.bytes[behind - distance..], &self.bytes[behind..end]);
        self.send(Token::Match { length: length as u16, distance: distance as u16 }, Step::Scan, sink)
    }

    #[inline]
    fn send_literal<S: TokenSink>(&mut self, behind: Step, sink: &mut S) -> Step {
        self.send(self.place().literal(), behind, sink)
    }

    /// Sends a token, and returns what happens behind it: `behind` if a literal is the answer.
    #[inline]
    fn send<S: TokenSink>(&mut self, predicted: Token, behind: Step, sink: &mut S) -> Step {
        let answer = sink.token(&self.place(), predicted);
        self.at = self.bytes.len().min(self.at + answer.size());
        if matches!(answer, Token::Literal(_)) { behind } else { Step::BehindMatch }
    }

    #[inline]
    fn place(&self) -> Place<'_> {
        Place { window: &self.bytes, start: self.start, at: self.at, is_end: self.is_end }
    }

    /// Removes what no match can reach from the next chunk.
    fn remove_old(&mut self) {
        let old = self.chunk.saturating_sub(WINDOW);
        self.bytes.copy_within(old.., 0);
        self.bytes.truncate(self.bytes.len() - old);
        self.start += old as u64;
        self.first_offset += old as u32;
        self.chunk -= old;
        self.at -= old;
        if self.first_offset > LAST_OFFSET {
            for slot in &mut *self.slots {
                slot.offset = slot.offset.saturating_sub(self.first_offset - FIRST_OFFSET);
            }
            self.first_offset = FIRST_OFFSET;
        }
    }
}

impl MatchFinder for Fast {
    fn write<S: TokenSink>(&mut self, plain: &[u8], sink: &mut S) {
        let mut rest = plain;
        while !rest.is_empty() {
            let free = (self.chunk + CHUNK + MAXIMUM_MATCH).saturating_sub(self.bytes.len());
            let (now, later) = rest.split_at(rest.len().min(free));
            self.bytes.extend_from_slice(now);
            rest = later;
            if now.len() == free {
                self.run(sink);
                self.remove_old();
            }
        }
    }

    fn finish<S: TokenSink>(&mut self, sink: &mut S) {
        self.is_end = true;
        while self.chunk < self.bytes.len() {
            self.run(sink);
        }
    }
}

/// Number of equal bytes at the beginning of both.
#[inline]
fn common_prefix(a: &[u8], b: &[u8]) -> usize {
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
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    struct Tokens(Vec<Token>);

    impl TokenSink for Tokens {
        fn token(&mut self, _: &Place<'_>, predicted: Token) -> Token {
            self.0.push(predicted);
            predicted
        }
    }

    fn fast() -> Fast {
        Level::new(1).and_then(Level::fast).unwrap()
    }

    fn tokens(mut finder: Fast, plain: &[u8]) -> Vec<Token> {
        let mut tokens = Tokens(Vec::new());
        finder.write(plain, &mut tokens);
        finder.finish(&mut tokens);
        tokens.0
    }

    #[test]
    fn offsets_that_begin_again_find_the_same_matches() {
        // Words of three bits; many of their positions are in the slots at each moment.
        let mut random = 1_u32;
        let mut word = || {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            [b"one ", b"two ", b"tri ", b"four", b"five", b"six ", b"sev ", b"ate "][random as usize >> 29]
        };
        let plain: Vec<u8> = (0..150_000).flat_map(|_| *word()).collect();
        let expected = tokens(fast(), &plain);
        let before = LAST_OFFSET - 200_000;
        let finder = Fast { first_offset: before, ..fast() };
        assert!(tokens(finder, &plain) == expected);
        let mut finder = Fast { first_offset: before, ..fast() };
        finder.write(&plain, &mut Tokens(Vec::new()));
        assert!(finder.first_offset < before, "{} is below {before}", finder.first_offset);
    }

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
