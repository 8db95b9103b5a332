// SPDX-License-Identifier: Apache-2.0
//! Cuts a stream into chunks, and into the blocks of pgzip, whatever pieces it comes in.

use std::ops::Range;

use super::finder::{Finder, Text};
use crate::deflate::{MAXIMUM_MATCH, MatchFinder, Place, Token, TokenSink, WINDOW};

/// Bytes of a chunk.
const CHUNK: usize = 65535;
/// A chunk is searched when so many bytes after it are there: what a [`Place`] promises, and that it is not the last.
const AHEAD: usize = MAXIMUM_MATCH;
/// Bytes of a block of pgzip.
pub(super) const BLOCK: usize = 1 << 20;
/// Bytes before a block that it can copy from.
pub(super) const DICTIONARY: usize = 16384;

/// Takes the tokens of each chunk.
pub(super) trait ChunkSink: TokenSink {
    /// All tokens of a chunk have come. `is_closing`: nothing continues the block of this chunk.
    fn end_chunk(&mut self, chunk: &[u8], is_closing: bool);
}

/// Sends tokens to a sink that does not need to know of chunks.
pub(super) struct WithoutChunks<'a, S>(pub(super) &'a mut S);

impl<S: TokenSink> TokenSink for WithoutChunks<'_, S> {
    fn token(&mut self, place: &Place<'_>, predicted: Token) -> Token {
        self.0.token(place, predicted)
    }
}

impl<S: TokenSink> ChunkSink for WithoutChunks<'_, S> {
    fn end_chunk(&mut self, _chunk: &[u8], _is_closing: bool) {}
}

/// For a text whose tokens nobody writes.
struct Discard;

impl TokenSink for Discard {
    #[inline(always)]
    fn token(&mut self, _place: &Place<'_>, predicted: Token) -> Token {
        predicted
    }
}

/// Finds the tokens of a stream without pgzip's blocks.
#[derive(Debug)]
pub struct StreamFinder {
    finder: Finder,
    /// [`WINDOW`] bytes, or fewer at the beginning, and what is not searched yet.
    text: Vec<u8>,
    /// Where in the stream the text begins.
    start: u64,
    /// Where in the text the next chunk begins.
    chunk: usize,
    /// The first byte that no token covers, in the next chunk or, after an answer, behind its beginning.
    uncovered: usize,
}

impl Default for StreamFinder {
    fn default() -> Self {
        Self { finder: Finder::new(), text: Vec::new(), start: 0, chunk: 0, uncovered: 0 }
    }
}

impl StreamFinder {
    const CAPACITY: usize = WINDOW + 4 * CHUNK + AHEAD;

    pub(super) fn write_chunks<S: ChunkSink>(&mut self, mut plain: &[u8], sink: &mut S) {
        while !plain.is_empty() {
            if self.text.len() >= Self::CAPACITY {
                while self.text.len() - self.chunk >= CHUNK + AHEAD {
                    self.search(self.chunk + CHUNK, false, sink);
                }
                self.slide();
            }
            let (now, later) = plain.split_at(plain.len().min(Self::CAPACITY - self.text.len()));
            self.text.extend_from_slice(now);
            plain = later;
        }
    }

    pub(super) fn finish_chunks<S: ChunkSink>(&mut self, sink: &mut S) {
        while self.chunk < self.text.len() {
            self.search(self.text.len().min(self.chunk + CHUNK), true, sink);
        }
    }

    fn search<S: ChunkSink>(&mut self, end: usize, is_end: bool, sink: &mut S) {
        let text = Text { bytes: &self.text, start: self.start, is_end };
        let chunk = self.chunk..end;
        let is_closing = is_end && end == self.text.len();
        self.uncovered = search_chunk(&mut self.finder, text, chunk, self.uncovered, is_closing, sink);
        self.chunk = end;
    }

    fn slide(&mut self) {
        let count = self.chunk.saturating_sub(WINDOW);
        self.text.drain(..count);
        self.finder.slide(count);
        self.start += count as u64;
        self.chunk -= count;
        self.uncovered -= count;
    }
}

impl MatchFinder for StreamFinder {
    fn write<S: TokenSink>(&mut self, plain: &[u8], sink: &mut S) {
        self.write_chunks(plain, &mut WithoutChunks(sink));
    }

    fn finish<S: TokenSink>(&mut self, sink: &mut S) {
        self.finish_chunks(&mut WithoutChunks(sink));
    }
}

/// Finds the tokens of a stream in pgzip's blocks.
#[derive(Debug)]
pub struct BlockFinder {
    finder: Finder,
    text: BlockText,
    uncovered: u64,
}

impl Default for BlockFinder {
    fn default() -> Self {
        Self { finder: Finder::new(), text: BlockText::new(1), uncovered: 0 }
    }
}

impl MatchFinder for BlockFinder {
    fn write<S: TokenSink>(&mut self, mut plain: &[u8], sink: &mut S) {
        while !plain.is_empty() {
            if self.text.is_full() {
                self.search(false, sink);
                self.text.slide();
            }
            plain = self.text.take(plain);
        }
    }

    fn finish<S: TokenSink>(&mut self, sink: &mut S) {
        self.search(true, sink);
    }
}

impl BlockFinder {
    fn search<S: TokenSink>(&mut self, is_end: bool, sink: &mut S) {
        for block in self.text.blocks(is_end) {
            let uncovered = (self.uncovered.saturating_sub(block.text.start)) as usize;
            let uncovered = block.search(&mut self.finder, uncovered, &mut WithoutChunks(&mut *sink));
            self.uncovered = block.text.start + uncovered as u64;
        }
    }
}

/// The text of some blocks.
#[derive(Debug)]
pub(super) struct BlockText {
    /// [`DICTIONARY`] bytes unless this is the beginning, blocks, and some bytes after them.
    bytes: Vec<u8>,
    /// Where in the stream the bytes begin.
    start: u64,
    /// How many blocks it has space for.
    blocks: usize,
}

/// A block with the bytes around it.
#[derive(Debug, Clone)]
pub(super) struct Block<'a> {
    text: Text<'a>,
    /// Where in the text the block begins: behind its dictionary.
    range: Range<usize>,
}

impl BlockText {
    pub(super) fn new(blocks: usize) -> Self {
        Self { bytes: Vec::new(), start: 0, blocks }
    }

    fn dictionary(&self) -> usize {
        if self.start == 0 { 0 } else { DICTIONARY }
    }

    fn capacity(&self) -> usize {
        self.dictionary() + self.blocks * BLOCK + AHEAD
    }

    /// There is no space until the blocks are searched and the text slides.
    pub(super) fn is_full(&self) -> bool {
        self.bytes.len() >= self.capacity()
    }

    /// Takes what there is space for, and returns the rest.
    pub(super) fn take<'a>(&mut self, plain: &'a [u8]) -> &'a [u8] {
        let (now, later) = plain.split_at(plain.len().min(self.capacity() - self.bytes.len()));
        self.bytes.extend_from_slice(now);
        later
    }

    /// The complete blocks, or, at the end of the stream, also the last, which is shorter and can be empty.
    pub(super) fn blocks(&self, is_end: bool) -> Vec<Block<'_>> {
        let (mut blocks, mut start) = (Vec::new(), self.dictionary());
        loop {
            let end = start + BLOCK;
            let is_last = end > self.bytes.len();
            if (is_last || blocks.len() == self.blocks) && !is_end {
                return blocks;
            }
            let first = start.saturating_sub(DICTIONARY);
            let ahead = self.bytes.len().min(end + AHEAD);
            blocks.push(Block {
                text: Text {
                    bytes: &self.bytes[first..ahead],
                    start: self.start + first as u64,
                    is_end: is_end && ahead == self.bytes.len(),
                },
                range: start - first..end.min(self.bytes.len()) - first,
            });
            if is_last {
                return blocks;
            }
            start = end;
        }
    }

    /// Forgets blocks that were searched.
    pub(super) fn slide(&mut self) {
        let searched = (self.bytes.len() - self.dictionary()) / BLOCK * BLOCK + self.dictionary();
        let count = searched.saturating_sub(DICTIONARY);
        self.bytes.drain(..count);
        self.start += count as u64;
    }
}

impl Block<'_> {
    /// Finds the tokens of a block, in which nothing but its dictionary is known.
    pub(super) fn search<S: ChunkSink>(&self, finder: &mut Finder, uncovered: usize, sink: &mut S) -> usize {
        let Self { text, range } = self;
        finder.search(*text, 0..range.start, 0, &mut Discard);
        let (mut start, mut uncovered) = (range.start, uncovered.max(range.start));
        while start < range.end {
            let end = range.end.min(start + CHUNK);
            uncovered = search_chunk(finder, *text, start..end, uncovered, end == range.end, sink);
            start = end;
        }
        finder.forget(text.bytes.len());
        uncovered
    }
}

fn search_chunk<S: ChunkSink>(
    finder: &mut Finder,
    text: Text<'_>,
    chunk: Range<usize>,
    uncovered: usize,
    is_closing: bool,
    sink: &mut S,
) -> usize {
    let end = finder.search(text, chunk.clone(), uncovered, sink);
    sink.end_chunk(&text.bytes[chunk], is_closing);
    end.max(uncovered)
}

#[cfg(test)]
mod tests {
    use super::super::finder::MAX_ORIGIN;
    use super::*;

    struct Record(Vec<Token>);

    impl TokenSink for Record {
        fn token(&mut self, _place: &Place<'_>, predicted: Token) -> Token {
            self.0.push(predicted);
            predicted
        }
    }

    fn tokens(mut finder: impl MatchFinder, plain: &[u8]) -> Vec<Token> {
        let mut record = Record(Vec::new());
        finder.write(plain, &mut record);
        finder.finish(&mut record);
        record.0
    }

    /// In a stream of some GiB; far enough from the end of the numbers that no position of the text passes it.
    #[test]
    fn tokens_stay_the_same_where_positions_are_counted_from_a_later_byte() {
        let mut state = 1_u32;
        let plain = (0..3_500_000).map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8 & 0x13
        });
        let plain = plain.collect::<Vec<_>>();
        for origin in [MAX_ORIGIN, MAX_ORIGIN - 300_000, MAX_ORIGIN - 1_200_000] {
            let mut late = StreamFinder::default();
            late.finder.set_origin(origin);
            assert!(tokens(late, &plain) == tokens(StreamFinder::default(), &plain), "{origin}");
            let mut late = BlockFinder::default();
            late.finder.set_origin(origin);
            assert!(tokens(late, &plain) == tokens(BlockFinder::default(), &plain), "{origin}");
        }
    }
}
