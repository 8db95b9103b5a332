// SPDX-License-Identifier: Apache-2.0
//! A stream from corrections.

use super::codes::{Trees, write_dynamic};
use super::error::CorrectionError;
use super::range::Reader;
use super::script::{Script, Side};
use crate::deflate::inflate::{Block, BlockKind, Dynamic};
use crate::deflate::{BitWriter, Codes, MatchFinder, Token, fixed_codes, write_fixed_header, write_tokens};

/// Output of one call before its last block at most. Only a stream with thousands of empty blocks comes near.
const STEP_MAXIMUM: u64 = 8 << 20;

/// Writes the stream.
#[derive(Debug)]
struct Writing<'a> {
    reader: Reader<'a>,
    bits: BitWriter,
    is_final: bool,
    tokens: Vec<Token>,
    is_stored: bool,
    fixed: Codes,
    position: u64,
}

impl Writing<'_> {
    /// Zero bits up to a byte border, or what corrections have in their place.
    fn align(&mut self, padding: u8) {
        let odd = self.bits.odd_bits();
        if odd > 0 {
            let count = 8 - odd;
            self.bits.put(u32::from(padding) & ((1 << count) - 1), count);
        }
    }
}

impl<'a> Side for Writing<'a> {
    type Coder = Reader<'a>;

    fn coder(&mut self) -> &mut Reader<'a> {
        &mut self.reader
    }

    fn next_block(&mut self) -> Option<Block> {
        None
    }

    fn is_block_end(&self) -> bool {
        false
    }

    fn next_token(&mut self) -> Option<Token> {
        None
    }

    fn padding(&self) -> u8 {
        0
    }

    fn begin(&mut self, block: &Block) -> Result<(), CorrectionError> {
        if self.reader.is_beyond() {
            return Err(CorrectionError::TooFew { at: self.position });
        }
        if self.bits.size() > STEP_MAXIMUM {
            return Err(CorrectionError::TooLarge { at: self.position, most: STEP_MAXIMUM });
        }
        self.is_final = block.is_final;
        self.is_stored = false;
        if let BlockKind::Stored { size, padding } = block.kind {
            self.is_stored = true;
            self.bits.put(u32::from(block.is_final), 3);
            self.align(padding);
            let [low, high] = size.to_le_bytes();
            self.bits.put_bytes(&[low, high, !low, !high]);
        }
        Ok(())
    }

    fn token(&mut self, token: Token) {
        self.tokens.push(token);
        self.position += token.size() as u64;
    }

    fn stored(&mut self, plain: &[u8]) {
        self.bits.put_bytes(plain);
        self.position += plain.len() as u64;
    }

    fn end(&mut self, dynamic: Option<Dynamic>) {
        if self.is_stored {
            return;
        }
        let own;
        let codes = match dynamic {
            Some(dynamic) => {
                write_dynamic(&dynamic, self.is_final, &mut self.bits);
                own = dynamic.lengths.codes();
                &own
            }
            None => {
                write_fixed_header(self.is_final, &mut self.bits);
                &self.fixed
            }
        };
        write_tokens(&self.tokens, codes, &mut self.bits);
        codes.write_end(&mut self.bits);
        self.tokens.clear();
    }
}

/// Writes a deflate stream from plain bytes, a match finder and corrections.
///
/// # Guarantees
/// Corrections from anywhere never cause a panic, an endless loop or unbounded memory: blocks have a bounded number of tokens, and
/// the blocks of one call a bounded size. The caller gives plain bytes in pieces, and bounds the size of the stream.
#[derive(Debug)]
pub struct Replay<'a, F> {
    finder: F,
    script: Script<Writing<'a>>,
}

impl<'a, F: MatchFinder> Replay<'a, F> {
    /// Begins a stream.
    #[must_use]
    pub fn new(corrections: &'a [u8], finder: F, trees: Trees) -> Self {
        let side = Writing {
            reader: Reader::new(corrections),
            bits: BitWriter::default(),
            is_final: false,
            tokens: Vec::new(),
            is_stored: false,
            fixed: fixed_codes(),
            position: 0,
        };
        Self { finder, script: Script::new(side, trees) }
    }

    /// Takes the next plain bytes, and appends to `out` what is complete.
    ///
    /// # Errors
    /// The corrections do not fit the plain bytes.
    pub fn write(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<(), CorrectionError> {
        self.script.write(plain);
        self.finder.write(plain, &mut self.script);
        self.script.side.bits.drain(out);
        let side = &self.script.side;
        if side.reader.is_beyond() {
            return Err(CorrectionError::TooFew { at: side.position });
        }
        self.script.check()
    }

    /// Appends the rest of the stream.
    ///
    /// # Errors
    /// The corrections do not fit the plain bytes, or more of them are left.
    pub fn finish(mut self, out: &mut Vec<u8>) -> Result<(), CorrectionError> {
        self.finder.finish(&mut self.script);
        let padding = self.script.finish()?;
        let side = &mut self.script.side;
        side.align(padding);
        side.bits.align();
        if side.reader.is_beyond() {
            return Err(CorrectionError::TooFew { at: side.position });
        }
        if !side.reader.is_at_end() {
            return Err(CorrectionError::TooMany);
        }
        self.script.side.bits.drain(out);
        Ok(())
    }
}
