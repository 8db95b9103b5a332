// SPDX-License-Identifier: Apache-2.0
//! Writing blocks. Which type a block gets is the decision of each encoder.

use super::bits::BitWriter;
use super::huffman::{Code, Codes};
use super::symbols::{END_OF_BLOCK, distance_extra_bits, distance_symbol, length_extra_bits, length_symbol};
use super::token::Token;

/// Most bytes of a stored block.
const STORED_MAXIMUM: usize = 65535;

/// Writes `raw` as a stored block (as several, if it is longer than one can be).
pub fn write_stored(is_final: bool, raw: &[u8], bits: &mut BitWriter) {
    let mut rest = raw;
    loop {
        let (part, behind) = rest.split_at(rest.len().min(STORED_MAXIMUM));
        bits.put(u32::from(is_final && behind.is_empty()), 3);
        let size = part.len() as u16;
        let [low, high] = size.to_le_bytes();
        bits.put_bytes(&[low, high, !low, !high]);
        bits.put_bytes(part);
        rest = behind;
        if rest.is_empty() {
            return;
        }
    }
}

/// Begins a block with the fixed codes.
pub fn write_fixed_header(is_final: bool, bits: &mut BitWriter) {
    bits.put(0b010 | u32::from(is_final), 3);
}

/// Writes tokens, without the end of the block.
pub fn write_tokens(tokens: &[Token], codes: &Codes, bits: &mut BitWriter) {
    for &token in tokens {
        match token {
            Token::Literal(byte) => put(codes.literals[usize::from(byte)], bits),
            Token::Match { length, distance } => {
                let (symbol, extra) = length_symbol(length);
                put_with(codes.literals[symbol], extra, length_extra_bits(symbol), bits);
                let (symbol, extra) = distance_symbol(distance);
                put_with(codes.distances[symbol], extra, distance_extra_bits(symbol), bits);
            }
        }
    }
}

/// Writes bytes as literals, without the end of the block.
pub fn write_literals(raw: &[u8], codes: &Codes, bits: &mut BitWriter) {
    for &byte in raw {
        put(codes.literals[usize::from(byte)], bits);
    }
}

impl Codes {
    /// Ends a block.
    pub fn write_end(&self, bits: &mut BitWriter) {
        put(self.literals[END_OF_BLOCK], bits);
    }
}

#[inline]
fn put(code: Code, bits: &mut BitWriter) {
    bits.put(u32::from(code.bits), u32::from(code.length));
}

#[inline]
fn put_with(code: Code, extra: u32, extra_bits: u32, bits: &mut BitWriter) {
    // At most 15 + 13 bits.
    bits.put(u32::from(code.bits) | extra << code.length, u32::from(code.length) + extra_bits);
}
