// SPDX-License-Identifier: Apache-2.0
//! The encoders: a search, and a sink that cuts its tokens into blocks.

use super::block::{BlockWriter, CHUNK};
use super::level::Level;
use crate::deflate::{MatchFinder, Place, Token, TokenSink};
use crate::encoder::Encoder;

/// Tokens of a block at levels 2 to 9.
const BLOCK_TOKENS: usize = 16384;
/// Longest chunk that level 1 stores without asking what it costs.
const ALWAYS_STORED: usize = 16;
/// Longest chunk that level 1 writes as literals without a search.
const ALWAYS_LITERALS: usize = 127;

impl Level {
    /// An encoder of this level.
    #[must_use]
    pub fn encoder(self) -> Box<dyn Encoder> {
        let writer = BlockWriter::new();
        let blocks = Blocks { tokens: Vec::with_capacity(BLOCK_TOKENS), start: 0, writer };
        if let Some(finder) = self.lazy() {
            Box::new(Searching { finder, sink: CountedBlocks(blocks) })
        } else if let Some(finder) = self.greedy() {
            Box::new(Searching { finder, sink: CountedBlocks(blocks) })
        } else if let Some(finder) = self.fast() {
            Box::new(Searching { finder, sink: ChunkBlocks(blocks) })
        } else {
            Box::new(Chunked {
                chunk: Vec::with_capacity(CHUNK),
                writer: blocks.writer,
                is_stored: self.number() == 0,
            })
        }
    }
}

/// The tokens of the block that is not complete yet.
#[derive(Debug)]
struct Blocks {
    tokens: Vec<Token>,
    /// Position of the block's first byte in the stream.
    start: u64,
    writer: BlockWriter,
}

/// What is common to the sinks of the encoders.
trait BlockSink: TokenSink {
    fn writer(&mut self) -> &mut BlockWriter;
}

/// Blocks of a number of tokens.
#[derive(Debug)]
struct CountedBlocks(Blocks);

/// Blocks of a number of bytes.
#[derive(Debug)]
struct ChunkBlocks(Blocks);

impl Blocks {
    /// The bytes of the block that ends with `token`, unless the window has moved past its beginning; the next block begins.
    fn end<'a>(&mut self, place: &Place<'a>, token: Token) -> Option<&'a [u8]> {
        let end = place.at + token.size();
        let start = std::mem::replace(&mut self.start, place.start + end as u64);
        let start = start.checked_sub(place.start)?;
        place.window.get(usize::try_from(start).ok()?..end)
    }
}

impl CountedBlocks {
    fn end(&mut self, place: &Place<'_>, token: Token) {
        let raw = self.0.end(place, token);
        self.0.writer.write_smallest(&self.0.tokens, raw);
        self.0.tokens.clear();
    }
}

impl TokenSink for CountedBlocks {
    #[inline]
    fn token(&mut self, place: &Place<'_>, predicted: Token) -> Token {
        self.0.tokens.push(predicted);
        if self.0.tokens.len() == BLOCK_TOKENS || place.is_last(predicted) {
            self.end(place, predicted);
        }
        predicted
    }
}

impl BlockSink for CountedBlocks {
    fn writer(&mut self) -> &mut BlockWriter {
        &mut self.0.writer
    }
}

impl ChunkBlocks {
    fn end(&mut self, place: &Place<'_>, token: Token) {
        let raw = self.0.end(place, token).unwrap_or_default();
        let size = raw.len();
        if size <= ALWAYS_STORED {
            self.0.writer.write_stored(raw);
        } else if size <= ALWAYS_LITERALS || self.0.tokens.len() > size - (size >> 4) {
            self.0.writer.write_literals(raw);
        } else {
            self.0.writer.write_dynamic(&self.0.tokens, raw);
        }
        self.0.tokens.clear();
    }
}

impl TokenSink for ChunkBlocks {
    #[inline]
    fn token(&mut self, place: &Place<'_>, predicted: Token) -> Token {
        self.0.tokens.push(predicted);
        let end = place.position() + predicted.size() as u64;
        if end - self.0.start == CHUNK as u64 || place.is_last(predicted) {
            self.end(place, predicted);
        }
        predicted
    }
}

impl BlockSink for ChunkBlocks {
    fn writer(&mut self) -> &mut BlockWriter {
        &mut self.0.writer
    }
}

/// Levels 1 to 9.
#[derive(Debug)]
struct Searching<F, S> {
    finder: F,
    sink: S,
}

impl<F, S> Encoder for Searching<F, S>
where
    F: MatchFinder + std::fmt::Debug + Send,
    S: BlockSink + std::fmt::Debug + Send,
{
    fn write(&mut self, plain: &[u8], out: &mut Vec<u8>) {
        self.finder.write(plain, &mut self.sink);
        self.sink.writer().bits.drain(out);
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        self.finder.finish(&mut self.sink);
        self.sink.writer().finish(out);
    }
}

/// Levels 0 and -2.
#[derive(Debug)]
struct Chunked {
    chunk: Vec<u8>,
    writer: BlockWriter,
    is_stored: bool,
}

impl Chunked {
    fn end_chunk(&mut self) {
        if self.is_stored {
            self.writer.write_stored(&self.chunk);
        } else {
            self.writer.write_literals(&self.chunk);
        }
        self.chunk.clear();
    }
}

impl Encoder for Chunked {
    fn write(&mut self, plain: &[u8], out: &mut Vec<u8>) {
        let mut rest = plain;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(CHUNK - self.chunk.len()));
            self.chunk.extend_from_slice(now);
            rest = later;
            if self.chunk.len() == CHUNK {
                self.end_chunk();
            }
        }
        self.writer.bits.drain(out);
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        if !self.chunk.is_empty() {
            self.end_chunk();
        }
        self.writer.finish(out);
    }
}
