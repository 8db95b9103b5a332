// SPDX-License-Identifier: Apache-2.0
//! Reading gzip streams: their plain bytes, and how they are written.
//!
//! [`GzipReader`] gives the structure of a stream of one member: blocks, tokens and plain bytes. [`PlainReader`] gives the plain
//! bytes only, of any number of members.
//!
//! Malformed streams are refused. So are two forms that are legal and that no known encoder writes, because no recipe describes
//! them: the length 258 as 227 + 31, and a header of more than [`HEADER_MAXIMUM`] bytes.

mod block;
mod error;
mod gzip;
mod plain;
mod source;
mod table;

use std::io::Read;

pub use block::{Block, BlockKind, Dynamic};
pub use error::{Alphabet, Fault, InflateError};
pub use gzip::{GzipReader, HEADER_MAXIMUM};
pub use plain::PlainReader;

use super::{
    DISTANCE_SYMBOLS, END_OF_BLOCK, LITERAL_SYMBOLS, MAXIMUM_MATCH, Token, WINDOW, distance_extra_bits,
    length_extra_bits,
};
use block::Tables;
use source::Source;
use table::Table;

/// Plain bytes that one [`Piece::Data`] has at most.
const PIECE: usize = 64 * 1024;

/// What comes next in a deflate stream.
#[derive(Debug)]
pub enum Piece<'a> {
    /// A block begins.
    Block(&'a Block),
    /// Content of the block. A stored block has plain bytes without tokens.
    Data {
        /// The next tokens.
        tokens: &'a [Token],
        /// What they stand for.
        plain: &'a [u8],
    },
    /// The final block is complete.
    End,
}

/// A [`Piece`] before its content is borrowed.
#[derive(Debug, Clone, Copy)]
enum Step {
    Block,
    /// Plain bytes from this place in `out`.
    Data {
        begin: usize,
    },
    End,
}

#[derive(Debug, Clone, Copy)]
enum State {
    BeforeBlock,
    InBlock,
    /// Bytes of a stored block that are to come.
    InStored(usize),
    End,
}

/// Reads one deflate stream (RFC 1951).
#[derive(Debug)]
struct Inflate {
    state: State,
    block: Block,
    runs: Table,
    tables: Tables,
    /// The window, and behind it the plain bytes of the piece.
    out: Vec<u8>,
    tokens: Vec<Token>,
    /// Plain bytes so far.
    size: u64,
}

impl Inflate {
    fn new() -> Self {
        Self {
            state: State::BeforeBlock,
            block: Block { is_final: false, kind: BlockKind::Fixed },
            runs: Table::new(Alphabet::CodeLengths),
            tables: Tables::new(),
            out: Vec::with_capacity(WINDOW + PIECE),
            tokens: Vec::with_capacity(PIECE),
            size: 0,
        }
    }

    fn next<R: Read>(&mut self, source: &mut Source<R>) -> Result<Step, Fault> {
        loop {
            match self.state {
                State::End => return Ok(Step::End),
                State::BeforeBlock => {
                    self.block = Block::read(source, &mut self.runs)?;
                    self.tables.set(&self.block.kind)?;
                    self.state = match self.block.kind {
                        BlockKind::Stored { size, .. } => State::InStored(size.into()),
                        _ => State::InBlock,
                    };
                    return Ok(Step::Block);
                }
                State::InStored(0) => self.end_block(),
                State::InStored(rest) => {
                    let begin = self.begin_piece();
                    let most = rest.min(PIECE);
                    source.append_exactly(most, &mut self.out)?;
                    self.state = State::InStored(rest - most);
                    return Ok(self.data(begin));
                }
                State::InBlock => {
                    let begin = self.begin_piece();
                    if self.read_tokens(source)? {
                        self.end_block();
                    }
                    if self.out.len() > begin {
                        return Ok(self.data(begin));
                    }
                }
            }
        }
    }

    fn end_block(&mut self) {
        self.state = if self.block.is_final { State::End } else { State::BeforeBlock };
    }

    /// Keeps the window only, and returns where the next piece begins.
    fn begin_piece(&mut self) -> usize {
        self.tokens.clear();
        let behind = self.out.len().saturating_sub(WINDOW);
        self.out.drain(..behind);
        self.out.len()
    }

    fn data(&mut self, begin: usize) -> Step {
        self.size += (self.out.len() - begin) as u64;
        Step::Data { begin }
    }

    /// Reads tokens until the piece is full or the block ends, and tells whether it ended.
    fn read_tokens<R: Read>(&mut self, source: &mut Source<R>) -> Result<bool, Fault> {
        let Tables { literals, distances, .. } = &self.tables;
        let begin = self.out.len();
        while self.out.len() + MAXIMUM_MATCH <= WINDOW + PIECE {
            source.refill()?;
            let (symbol, bits) = literals.symbol(source.peek())?;
            source.take(bits)?;
            if symbol < END_OF_BLOCK {
                self.out.push(symbol as u8);
                self.tokens.push(Token::Literal(symbol as u8));
                continue;
            }
            if symbol == END_OF_BLOCK {
                return Ok(true);
            }
            // At most 15 + 5 + 15 + 13 bits since the last refill.
            let &(first, extra) = LENGTHS.get(symbol - 257).ok_or(Fault::Symbol(Alphabet::Literals))?;
            let length = usize::from(first) + source.take(extra.into())? as usize;
            if length == MAXIMUM_MATCH && extra != 0 {
                return Err(Fault::Length);
            }
            let (symbol, bits) = distances.symbol(source.peek())?;
            source.take(bits)?;
            let &(first, extra) = DISTANCES.get(symbol).ok_or(Fault::Symbol(Alphabet::Distances))?;
            let distance = usize::from(first) + source.take(extra.into())? as usize;
            let from = self.out.len().checked_sub(distance).ok_or(Fault::Distance {
                distance,
                available: self.size + (self.out.len() - begin) as u64,
            })?;
            if distance >= length {
                self.out.extend_from_within(from..from + length);
            } else {
                for at in from..from + length {
                    let byte = self.out[at];
                    self.out.push(byte);
                }
            }
            self.tokens.push(Token::Match { length: length as u16, distance: distance as u16 });
        }
        Ok(false)
    }
}

/// First length and extra bits of the symbols from 257.
const LENGTHS: [(u16, u8); LITERAL_SYMBOLS - 257] = {
    let mut table = [(0, 0); LITERAL_SYMBOLS - 257];
    let (mut index, mut first) = (0, 3);
    while index < table.len() {
        let extra = length_extra_bits(257 + index);
        table[index] = (first, extra as u8);
        first += 1 << extra;
        index += 1;
    }
    // 258 has a symbol of its own, although the one before it could write it.
    table[index - 1] = (258, 0);
    table
};

/// First distance and extra bits of each symbol.
pub(crate) const DISTANCES: [(u16, u8); DISTANCE_SYMBOLS] = {
    let mut table = [(0, 0); DISTANCE_SYMBOLS];
    let (mut symbol, mut first) = (0, 1u16);
    while symbol < DISTANCE_SYMBOLS {
        let extra = distance_extra_bits(symbol);
        table[symbol] = (first, extra as u8);
        first = first.wrapping_add(1 << extra);
        symbol += 1;
    }
    table
};

#[cfg(test)]
mod tests;
