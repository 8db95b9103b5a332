// SPDX-License-Identifier: Apache-2.0
//! How often a block uses each symbol, and what that costs.

use super::huffman::Lengths;
use super::symbols::{
    DISTANCE_SYMBOLS, LITERAL_SYMBOLS, distance_extra_bits, distance_symbol, length_extra_bits, length_symbol,
};
use super::token::Token;

/// Uses of each symbol in a block. The end of the block counts only where the encoder says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frequencies {
    /// Of literals, the end of the block and lengths.
    pub literals: [u32; LITERAL_SYMBOLS],
    /// Of distances.
    pub distances: [u32; DISTANCE_SYMBOLS],
}

impl Default for Frequencies {
    fn default() -> Self {
        Self { literals: [0; LITERAL_SYMBOLS], distances: [0; DISTANCE_SYMBOLS] }
    }
}

impl Frequencies {
    /// Of tokens, without an end of the block.
    #[must_use]
    pub fn of_tokens(tokens: &[Token]) -> Self {
        let mut frequencies = Self::default();
        for &token in tokens {
            match token {
                Token::Literal(byte) => frequencies.literals[usize::from(byte)] += 1,
                Token::Match { length, distance } => {
                    frequencies.literals[length_symbol(length).0] += 1;
                    frequencies.distances[distance_symbol(distance).0] += 1;
                }
            }
        }
        frequencies
    }

    /// Of bytes that are written as literals, without an end of the block.
    #[must_use]
    pub fn of_bytes(bytes: &[u8]) -> Self {
        // Four counters, so that equal bytes in a row do not wait for each other.
        let mut counters = [[0u32; 256]; 4];
        let mut groups = bytes.chunks_exact(4);
        for group in &mut groups {
            for (counter, &byte) in counters.iter_mut().zip(group) {
                counter[usize::from(byte)] += 1;
            }
        }
        for &byte in groups.remainder() {
            counters[0][usize::from(byte)] += 1;
        }
        let mut frequencies = Self::default();
        for (byte, frequency) in frequencies.literals.iter_mut().take(256).enumerate() {
            *frequency = counters.iter().map(|counter| counter[byte]).sum();
        }
        frequencies
    }

    /// Number of matches.
    #[must_use]
    pub fn matches(&self) -> u64 {
        self.literals[257..].iter().map(|&frequency| u64::from(frequency)).sum()
    }

    /// Extra bits of all lengths and distances.
    #[must_use]
    pub fn extra_bits(&self) -> u64 {
        let lengths = (257..LITERAL_SYMBOLS).map(|symbol| (self.literals[symbol], length_extra_bits(symbol)));
        let distances =
            (0..DISTANCE_SYMBOLS).map(|symbol| (self.distances[symbol], distance_extra_bits(symbol)));
        lengths.chain(distances).map(|(frequency, bits)| u64::from(frequency) * u64::from(bits)).sum()
    }

    /// Bits of all symbols in these codes, without extra bits.
    #[must_use]
    pub fn code_bits(&self, lengths: &Lengths) -> u64 {
        bits(&self.literals, &lengths.literals) + bits(&self.distances, &lengths.distances)
    }

    /// 1 + the highest symbol of literals and lengths that occurs, at least 257 (the end of a block always has a code).
    #[must_use]
    pub fn literal_count(&self) -> usize {
        self.literals.iter().rposition(|&frequency| frequency > 0).map_or(257, |last| (last + 1).max(257))
    }

    /// 1 + the highest distance symbol that occurs, at least 1.
    #[must_use]
    pub fn distance_count(&self) -> usize {
        self.distances.iter().rposition(|&frequency| frequency > 0).map_or(1, |last| last + 1)
    }
}

fn bits(frequencies: &[u32], lengths: &[u8]) -> u64 {
    frequencies
        .iter()
        .zip(lengths)
        .map(|(&frequency, &length)| u64::from(frequency) * u64::from(length))
        .sum()
}
