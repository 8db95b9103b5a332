// SPDX-License-Identifier: Apache-2.0
//! Where blocks end, and which of the three types each is.

use super::parameters::{Parameters, Parse};
use super::trees::code_lengths;
use super::window::Window;
use crate::deflate::{
    BitWriter, CODE_LENGTH_LIMIT, DISTANCE_SYMBOLS, DynamicHeader, END_OF_BLOCK, Frequencies, LENGTH_LIMIT,
    LITERAL_SYMBOLS, Lengths, Place, Token, TokenSink, append_runs, distance_extra_bits, distance_symbol,
    fixed_codes, fixed_lengths, write_fixed_header, write_stored, write_tokens,
};

/// When a block ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BlockEnd {
    /// With as many tokens as the memory of zlib holds.
    Zlib,
    /// With as many tokens as the memory of GNU gzip holds, or earlier (levels 3 to 9) where the bytes until now have become much
    /// smaller with few matches.
    Gnu {
        /// The level ends blocks earlier.
        is_early: bool,
    },
}

/// GNU gzip checks for an early end with each multiple of this number of tokens.
const EARLY_END_TOKENS: usize = 4096;

impl BlockEnd {
    fn tokens(self) -> usize {
        match self {
            Self::Zlib => 16383,
            Self::Gnu { .. } => 32767,
        }
    }
}

/// Collects tokens and writes blocks.
#[derive(Debug)]
pub(super) struct Blocks {
    block_end: BlockEnd,
    /// With a lazy parse, a token is sent when the next byte has been searched.
    is_lazy: bool,
    tokens: Vec<Token>,
    /// Of the block's tokens: how many are matches, and what these take by GNU gzip's estimate, in bits.
    matches: usize,
    match_bits: u64,
    /// Place of the block's first byte, and of the one after the last token.
    start: u64,
    end: u64,
    bits: BitWriter,
}

impl Blocks {
    pub(super) fn new(block_end: BlockEnd, parameters: &Parameters) -> Self {
        Self {
            block_end,
            is_lazy: matches!(parameters.parse, Parse::Lazy { .. }),
            tokens: Vec::with_capacity(block_end.tokens()),
            matches: 0,
            match_bits: 0,
            start: 0,
            end: 0,
            bits: BitWriter::default(),
        }
    }

    /// Moves what is complete to `out`.
    pub(super) fn drain(&mut self, out: &mut Vec<u8>) {
        self.bits.drain(out);
    }

    /// Ends the stream, with a block that may be empty.
    pub(super) fn finish(&mut self, window: &Window) {
        self.end_block(true, window.at_places(self.start..self.end));
        self.bits.align();
    }

    /// Ends the block if it has tokens, and fills the last byte with empty blocks, as pigz does.
    pub(super) fn align(&mut self, window: &Window) {
        if !self.tokens.is_empty() {
            self.end_block(false, window.at_places(self.start..self.end));
        }
        if self.bits.odd_bits() % 2 == 1 {
            write_stored(false, &[], &mut self.bits);
        }
        // A fixed block with nothing but its end has ten bits.
        while self.bits.odd_bits() != 0 {
            write_fixed_header(false, &mut self.bits);
            fixed_codes().write_end(&mut self.bits);
        }
    }

    fn is_complete(&self, place: &Place<'_>) -> bool {
        let count = self.tokens.len();
        if self.is_lazy && place.is_end && place.at + 1 == place.window.len() {
            // The last literal of a lazy parse is sent without a check.
            return false;
        }
        if count >= self.block_end.tokens() {
            return true;
        }
        if self.block_end != (BlockEnd::Gnu { is_early: true }) || !count.is_multiple_of(EARLY_END_TOKENS) {
            return false;
        }
        let estimate = (8 * count as u64 + self.match_bits) >> 3;
        let passed = place.position() + u64::from(self.is_lazy) - self.start.min(place.position());
        self.matches < count >> 1 && estimate < passed >> 1
    }

    fn end_block(&mut self, is_final: bool, raw: Option<&[u8]>) {
        write_block(&self.tokens, is_final, raw, &mut self.bits);
        self.tokens.clear();
        self.matches = 0;
        self.match_bits = 0;
        self.start = self.end;
    }
}

impl TokenSink for Blocks {
    #[inline]
    fn token(&mut self, place: &Place<'_>, predicted: Token) -> Token {
        self.tokens.push(predicted);
        self.end = place.position() + predicted.size() as u64;
        if let Token::Match { distance, .. } = predicted {
            self.matches += 1;
            self.match_bits += 5 + u64::from(distance_extra_bits(distance_symbol(distance).0));
        }
        if self.is_complete(place) {
            let raw = (self.start.checked_sub(place.start))
                .and_then(|start| place.window.get(start as usize..(self.end - place.start) as usize));
            self.end_block(false, raw);
        }
        predicted
    }
}

/// Writes a block of the smallest type. `raw` has the block's bytes, if they are still at hand.
fn write_block(tokens: &[Token], is_final: bool, raw: Option<&[u8]>, bits: &mut BitWriter) {
    let mut frequencies = Frequencies::of_tokens(tokens);
    frequencies.literals[END_OF_BLOCK] = 1;
    let mut lengths = Lengths::default();
    code_lengths(&frequencies.literals, LENGTH_LIMIT, &mut lengths.literals);
    code_lengths(&frequencies.distances, LENGTH_LIMIT, &mut lengths.distances);
    let header = dynamic_header(&lengths);

    // In bytes, so that a fixed block is taken although it is up to seven bits larger.
    let extra = frequencies.extra_bits() + 7;
    let dynamic_size = (header.bits() + frequencies.code_bits(&lengths) + extra) >> 3;
    let fixed_size = (3 + frequencies.code_bits(&fixed_lengths()) + extra) >> 3;
    if let Some(raw) = raw
        && raw.len() as u64 + 4 <= fixed_size.min(dynamic_size)
    {
        write_stored(is_final, raw, bits);
        return;
    }
    let codes = if fixed_size <= dynamic_size {
        write_fixed_header(is_final, bits);
        fixed_codes()
    } else {
        header.write(is_final, bits);
        lengths.codes()
    };
    write_tokens(tokens, &codes, bits);
    codes.write_end(bits);
}

/// The two alphabets are cut into runs separately, and the symbols that have a code without occurring count.
fn dynamic_header(lengths: &Lengths) -> DynamicHeader {
    let count = |lengths: &[u8]| lengths.iter().rposition(|&length| length > 0).map_or(1, |last| last + 1);
    let literals = count(&lengths.literals).clamp(END_OF_BLOCK + 1, LITERAL_SYMBOLS);
    let distances = count(&lengths.distances).min(DISTANCE_SYMBOLS);
    let mut runs = Vec::new();
    append_runs(lengths.literals[..literals].iter().copied(), &mut runs);
    append_runs(lengths.distances[..distances].iter().copied(), &mut runs);
    DynamicHeader::new((literals, distances), runs, |frequencies, lengths| {
        code_lengths(frequencies, CODE_LENGTH_LIMIT, lengths);
    })
}
