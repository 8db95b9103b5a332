// SPDX-License-Identifier: Apache-2.0
//! Writes the chunks of a stream as blocks, of which one can be open from chunk to chunk.

use super::chunks::ChunkSink;
use super::finder::SEARCHED;
use super::{Generation, Rounding};
use crate::deflate::{
    BitWriter, CODE_LENGTH_LIMIT, Codes, DynamicHeader, END_OF_BLOCK, Lengths, Place, Token, TokenSink,
    append_runs, code_lengths, write_fixed_header, write_stored,
};

/// A chunk of at most so many bytes is stored.
const STORED: usize = 32;

/// Chunks to blocks.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) generation: Generation,
    pub(super) rounding: Rounding,
    pub(super) bits: BitWriter,
    pub(super) open: Option<Open>,
    /// Of the chunk.
    tokens: Vec<Token>,
    /// Those of the tokens that are matches.
    matches: usize,
}

/// A dynamic block whose end is not written yet.
#[derive(Debug)]
pub(super) struct Open {
    /// A chunk of tokens does not continue a block that was begun for literals.
    pub(super) kind: Kind,
    pub(super) header_bits: u64,
    pub(super) lengths: Lengths,
    pub(super) codes: Codes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Literals,
    Tokens,
}

impl Writer {
    pub(super) fn new(generation: Generation, rounding: Rounding) -> Self {
        Self { generation, rounding, bits: BitWriter::default(), open: None, tokens: Vec::new(), matches: 0 }
    }

    /// Ends the open block.
    pub(super) fn close(&mut self) {
        if let Some(open) = self.open.take() {
            open.codes.write_end(&mut self.bits);
        }
    }

    pub(super) fn store(&mut self, chunk: &[u8]) {
        self.close();
        write_stored(false, chunk, &mut self.bits);
    }

    /// Begins a dynamic block.
    pub(super) fn begin(&mut self, kind: Kind, lengths: Lengths, header: &DynamicHeader) {
        header.write(false, &mut self.bits);
        self.open = Some(Open { kind, header_bits: header.bits(), codes: lengths.codes(), lengths });
    }

    /// Ends the stream, which the last chunk has closed.
    pub(super) fn finish(&mut self) {
        write_fixed_header(true, &mut self.bits);
        self.bits.put(0, 7);
        self.bits.align();
    }
}

impl TokenSink for Writer {
    #[inline(always)]
    fn token(&mut self, _place: &Place<'_>, predicted: Token) -> Token {
        self.matches += usize::from(matches!(predicted, Token::Match { .. }));
        self.tokens.push(predicted);
        predicted
    }
}

impl ChunkSink for Writer {
    fn end_chunk(&mut self, chunk: &[u8], is_closing: bool) {
        let tokens = std::mem::take(&mut self.tokens);
        if chunk.len() <= STORED {
            self.store(chunk);
        } else if chunk.len() < SEARCHED {
            self.write_literals(chunk, is_closing);
        } else if self.matches == 0 {
            // It is not even tried whether a code makes it smaller.
            self.store(chunk);
        } else if tokens.len() > chunk.len() - (chunk.len() >> 4) {
            self.write_literals(chunk, is_closing);
        } else {
            self.write_tokens(&tokens, chunk, is_closing);
        }
        self.tokens = tokens;
        self.tokens.clear();
        self.matches = 0;
    }
}

/// The header of a dynamic block with the first `counts` of the code lengths, which make one sequence of runs.
pub(super) fn header(counts: (usize, usize), lengths: &Lengths) -> DynamicHeader {
    let sequence = lengths.literals.iter().take(counts.0).chain(lengths.distances.iter().take(counts.1));
    let mut runs = Vec::new();
    append_runs(sequence.copied(), &mut runs);
    DynamicHeader::new(counts, runs, |frequencies, lengths| {
        code_lengths(frequencies, CODE_LENGTH_LIMIT, lengths);
    })
}

impl Open {
    pub(super) fn end_length(&self) -> u64 {
        u64::from(self.lengths.literals[END_OF_BLOCK])
    }
}
