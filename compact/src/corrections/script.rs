// SPDX-License-Identifier: Apache-2.0
//! The order of decisions in a stream, the same for recording and replaying.
//!
//! Before the first token of a block: is it final, which type has it, are its padding bits zero, and for a stored block its size.
//! Before each token, and at the end: does the block end here. At the end of a dynamic block: its codes. At the end of the stream:
//! the padding bits.
//!
//! A stored block has no tokens of its own. The match finder passes it by its own tokens, the last of which is cut.

use super::codes::{CodesModel, Trees};
use super::error::CorrectionError;
use super::history::History;
use super::range::{Coder, Model};
use super::tokens::TokenModel;
use crate::deflate::inflate::{Block, BlockKind, Dynamic};
use crate::deflate::{
    END_OF_BLOCK, Frequencies, MINIMUM_MATCH, Place, Token, TokenSink, distance_symbol, length_symbol,
};

/// Tokens of a block at most: both sides hold them in memory.
pub(super) const BLOCK_MAXIMUM: usize = 1 << 20;

/// What a stream really has (when recording), or what is made of the decisions (when replaying).
pub(super) trait Side {
    type Coder: Coder;

    /// The stored decisions.
    fn coder(&mut self) -> &mut Self::Coder;

    /// Recording: the block that begins.
    fn next_block(&mut self) -> Option<Block>;

    /// Recording: the block ends before the next token.
    fn is_block_end(&self) -> bool;

    /// Recording: the next token.
    fn next_token(&mut self) -> Option<Token>;

    /// Recording: the padding bits behind the final block.
    fn padding(&self) -> u8;

    /// A block begins.
    fn begin(&mut self, block: &Block) -> Result<(), CorrectionError>;

    /// A token of the block.
    fn token(&mut self, token: Token);

    /// Bytes of a stored block.
    fn stored(&mut self, plain: &[u8]);

    /// The block ends; `dynamic` has its codes if it is a dynamic one.
    fn end(&mut self, dynamic: Option<Dynamic>);
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Before,
    /// In a block with tokens.
    Tokens {
        is_dynamic: bool,
        begin: u64,
        count: usize,
    },
    /// Bytes of a stored block that are to come.
    Stored(usize),
    End,
}

#[derive(Debug, Default)]
struct BlockModel {
    /// By whether the block before was stored.
    is_stored: [Model; 2],
    is_final: Model,
    is_fixed: Model,
    is_padded: Model,
    /// By whether the block has as many tokens, and as many bytes, as the one before.
    ends: [[Model; 2]; 2],
}

/// Takes the tokens of a match finder and answers with those of the stream.
#[derive(Debug)]
pub(super) struct Script<S> {
    pub(super) side: S,
    pub(super) history: History,
    trees: Trees,
    position: u64,
    state: State,
    is_final: bool,
    was_stored: bool,
    /// Tokens and bytes of the last block with tokens.
    last: (usize, u64),
    frequencies: Frequencies,
    blocks: BlockModel,
    codes: CodesModel,
    tokens: TokenModel,
    error: Option<CorrectionError>,
}

impl<S: Side> Script<S> {
    pub(super) fn new(side: S, trees: Trees) -> Self {
        Self {
            side,
            history: History::new(),
            trees,
            position: 0,
            state: State::Before,
            is_final: false,
            was_stored: false,
            last: (0, 0),
            frequencies: Frequencies::default(),
            blocks: BlockModel::default(),
            codes: CodesModel::default(),
            tokens: TokenModel::default(),
            error: None,
        }
    }

    /// Plain bytes that will be searched next.
    pub(super) fn write(&mut self, plain: &[u8]) {
        self.history.write(self.position, plain);
    }

    /// Plain bytes that the match finder has passed.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// What went wrong so far, if anything.
    pub(super) fn check(&self) -> Result<(), CorrectionError> {
        self.error.map_or(Ok(()), Err)
    }

    /// All plain bytes were passed: takes what the stream has behind them, and returns the padding bits at its end.
    pub(super) fn finish(&mut self) -> Result<u8, CorrectionError> {
        self.check()?;
        loop {
            match self.state {
                State::Before => self.begin_block()?,
                State::Tokens { .. } => {
                    if !self.try_end_block()? {
                        return Err(CorrectionError::End { at: self.position });
                    }
                }
                State::Stored(0) => self.end_block(None),
                State::Stored(_) => return Err(CorrectionError::End { at: self.position }),
                State::End => break,
            }
        }
        let padding = self.side.padding();
        Ok(self.code_padding(padding))
    }

    fn code_padding(&mut self, padding: u8) -> u8 {
        let model = &mut self.blocks.is_padded;
        let coder = self.side.coder();
        if coder.decide(model, padding != 0) { coder.bits(7, padding.into()) as u8 } else { 0 }
    }

    fn begin_block(&mut self) -> Result<(), CorrectionError> {
        let actual = self.side.next_block();
        let kind = actual.as_ref().map(|block| &block.kind);
        let is_stored = matches!(kind, Some(BlockKind::Stored { .. }));
        let is_fixed = matches!(kind, Some(BlockKind::Fixed));
        let coder = self.side.coder();
        let blocks = &mut self.blocks;
        self.is_final =
            coder.decide(&mut blocks.is_final, actual.as_ref().is_some_and(|block| block.is_final));
        let is_stored = coder.decide(&mut blocks.is_stored[usize::from(self.was_stored)], is_stored);
        self.was_stored = is_stored;
        let kind = if is_stored {
            let (size, padding) = match kind {
                Some(&BlockKind::Stored { size, padding }) => (size, padding),
                _ => (0, 0),
            };
            let size = coder.bits(16, size.into()) as u16;
            let padding = self.code_padding(padding);
            self.state = State::Stored(size.into());
            BlockKind::Stored { size, padding }
        } else {
            let is_fixed = coder.decide(&mut blocks.is_fixed, is_fixed);
            self.frequencies = Frequencies::default();
            self.state = State::Tokens { is_dynamic: !is_fixed, begin: self.position, count: 0 };
            // The codes of a dynamic block follow at its end.
            if is_fixed { BlockKind::Fixed } else { BlockKind::Dynamic(Box::default()) }
        };
        self.side.begin(&Block { is_final: self.is_final, kind })
    }

    /// Ends the block if it ends here.
    fn try_end_block(&mut self) -> Result<bool, CorrectionError> {
        let State::Tokens { is_dynamic, begin, count } = self.state else { return Ok(false) };
        let bytes = self.position - begin;
        let model =
            &mut self.blocks.ends[usize::from(count == self.last.0)][usize::from(bytes == self.last.1)];
        let ends = self.side.is_block_end();
        if !self.side.coder().decide(model, ends) {
            return Ok(false);
        }
        self.last = (count, bytes);
        let mut dynamic = None;
        if is_dynamic {
            self.frequencies.literals[END_OF_BLOCK] = 1;
            let actual = match self.side.next_block() {
                Some(Block { kind: BlockKind::Dynamic(actual), .. }) => Some(actual),
                _ => None,
            };
            let codes = self.codes.code(self.side.coder(), self.trees, &self.frequencies, actual.as_deref());
            dynamic = Some(codes.map_err(|_| CorrectionError::Codes { at: self.position })?);
        }
        self.end_block(dynamic);
        Ok(true)
    }

    fn end_block(&mut self, dynamic: Option<Dynamic>) {
        self.side.end(dynamic);
        self.state = if self.is_final { State::End } else { State::Before };
    }

    fn answer(&mut self, place: &Place<'_>, expected: Token) -> Result<Token, CorrectionError> {
        if place.position() != self.position {
            return Err(CorrectionError::OutOfStep { at: self.position, finder: place.position() });
        }
        loop {
            match self.state {
                State::Before => self.begin_block()?,
                State::End => return Err(CorrectionError::End { at: self.position }),
                State::Stored(0) => self.end_block(None),
                State::Stored(rest) => {
                    let token = cut(expected, rest, self.history.from(self.position));
                    self.state = State::Stored(rest.saturating_sub(token.size()));
                    let plain = self.history.from(self.position);
                    self.side.stored(&plain[..token.size().min(plain.len())]);
                    self.position += token.size() as u64;
                    return Ok(token);
                }
                State::Tokens { .. } => {
                    if self.try_end_block()? {
                        continue;
                    }
                    let actual = self.side.next_token();
                    let token = self.tokens.code(
                        self.side.coder(),
                        &mut self.history,
                        self.position,
                        expected,
                        actual,
                    )?;
                    self.count(token)?;
                    self.side.token(token);
                    return Ok(token);
                }
            }
        }
    }

    fn count(&mut self, token: Token) -> Result<(), CorrectionError> {
        match token {
            Token::Literal(byte) => self.frequencies.literals[usize::from(byte)] += 1,
            Token::Match { length, distance } => {
                self.frequencies.literals[length_symbol(length).0] += 1;
                self.frequencies.distances[distance_symbol(distance).0] += 1;
            }
        }
        self.position += token.size() as u64;
        if let State::Tokens { count, .. } = &mut self.state {
            *count += 1;
            if *count > BLOCK_MAXIMUM {
                return Err(CorrectionError::BlockTooLong { at: self.position, most: BLOCK_MAXIMUM });
            }
        }
        Ok(())
    }
}

/// `token`, but not longer than `rest`.
fn cut(token: Token, rest: usize, plain: &[u8]) -> Token {
    match token {
        Token::Match { length, distance } if usize::from(length) > rest => {
            if rest >= MINIMUM_MATCH {
                Token::Match { length: rest as u16, distance }
            } else {
                Token::Literal(plain.first().copied().unwrap_or_default())
            }
        }
        token => token,
    }
}

impl<S: Side> TokenSink for Script<S> {
    #[inline]
    fn token(&mut self, place: &Place<'_>, predicted: Token) -> Token {
        if self.error.is_some() {
            return predicted;
        }
        self.answer(place, predicted).unwrap_or_else(|error| {
            self.error = Some(error);
            predicted
        })
    }
}
