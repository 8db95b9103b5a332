// SPDX-License-Identifier: Apache-2.0
//! Code lengths from frequencies, and canonical codes from code lengths.

use super::symbols::{DISTANCE_SYMBOLS, LITERAL_SYMBOLS};

/// Longest code of a literal, a length or a distance.
pub const LENGTH_LIMIT: usize = 15;
/// Symbols of the fixed code of literals and lengths. Two of them never occur, but take code space (RFC 1951, 3.2.6).
const FIXED_SYMBOLS: usize = 288;

/// A code as it is written: first bit lowest.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Code {
    /// The code.
    pub bits: u16,
    /// Number of bits; 0 for a symbol without a code.
    pub length: u8,
}

/// Code lengths of both alphabets of a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lengths {
    /// Of literals, the end of the block and lengths.
    pub literals: [u8; LITERAL_SYMBOLS],
    /// Of distances.
    pub distances: [u8; DISTANCE_SYMBOLS],
}

impl Default for Lengths {
    fn default() -> Self {
        Self { literals: [0; LITERAL_SYMBOLS], distances: [0; DISTANCE_SYMBOLS] }
    }
}

/// Codes of both alphabets of a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Codes {
    /// Of literals, the end of the block and lengths.
    pub literals: [Code; LITERAL_SYMBOLS],
    /// Of distances.
    pub distances: [Code; DISTANCE_SYMBOLS],
}

impl Lengths {
    /// The canonical codes of these lengths.
    #[must_use]
    pub fn codes(&self) -> Codes {
        Codes { literals: canonical_codes(&self.literals), distances: canonical_codes(&self.distances) }
    }
}

const fn fixed_literal_lengths() -> [u8; FIXED_SYMBOLS] {
    let mut lengths = [8; FIXED_SYMBOLS];
    let mut symbol = 144;
    while symbol < 280 {
        lengths[symbol] = if symbol < 256 { 9 } else { 7 };
        symbol += 1;
    }
    lengths
}

/// Code lengths of a fixed block.
#[must_use]
pub fn fixed_lengths() -> Lengths {
    let all = fixed_literal_lengths();
    Lengths { literals: std::array::from_fn(|symbol| all[symbol]), distances: [5; DISTANCE_SYMBOLS] }
}

/// Codes of a fixed block.
#[must_use]
pub fn fixed_codes() -> Codes {
    let all = canonical_codes(&fixed_literal_lengths());
    // 30 codes of 5 bits in ascending order: what 32 of them begin with.
    Codes {
        literals: std::array::from_fn(|symbol| all[symbol]),
        distances: canonical_codes(&[5; DISTANCE_SYMBOLS]),
    }
}

/// The canonical codes of code lengths up to [`LENGTH_LIMIT`] (RFC 1951, 3.2.2).
///
/// Lengths that no prefix code can have give codes without a meaning, but no panic.
#[must_use]
pub fn canonical_codes<const N: usize>(lengths: &[u8; N]) -> [Code; N] {
    let mut counts = [0u16; 16];
    for &length in lengths {
        counts[usize::from(length & 15)] += 1;
    }
    counts[0] = 0;
    let mut next = [0u16; 16];
    let mut code = 0u16;
    for length in 1..16 {
        code = code.wrapping_add(counts[length - 1]) << 1;
        next[length] = code;
    }
    std::array::from_fn(|symbol| {
        let length = lengths[symbol] & 15;
        if length == 0 {
            return Code::default();
        }
        let code = next[usize::from(length)];
        next[usize::from(length)] = code.wrapping_add(1);
        Code { bits: code.reverse_bits() >> (16 - length), length }
    })
}

/// Optimal code lengths of at most `limit` (up to 15) bits, by package-merge in which a package goes before a leaf of its weight.
///
/// The frequencies say which lengths occur how often; among symbols of the same frequency, a larger one never gets a longer code.
/// One or two symbols get one bit each. `lengths` is at least as long as `frequencies`.
pub fn code_lengths(frequencies: &[u32], limit: usize, lengths: &mut [u8]) {
    lengths.fill(0);
    // By frequency, then by symbol.
    let mut sorted = [0u64; FIXED_SYMBOLS];
    let mut n = 0;
    for (symbol, &frequency) in frequencies.iter().enumerate().take(FIXED_SYMBOLS) {
        if frequency > 0 {
            sorted[n] = u64::from(frequency) << 16 | symbol as u64;
            n += 1;
        }
    }
    let sorted = &mut sorted[..n];
    if n <= 2 {
        for &entry in &*sorted {
            set(lengths, entry, 1);
        }
        return;
    }
    sorted.sort_unstable();
    let lists = limit.min(LENGTH_LIMIT).min(n - 1);
    // Of the leaves, each list takes the first few; a leaf's length is the number of lists that take it.
    for taken in taken_leaves(sorted, lists).into_iter().take(lists) {
        for &entry in &sorted[..usize::from(taken).min(n)] {
            let symbol = (entry & 0xffff) as usize;
            if let Some(length) = lengths.get_mut(symbol) {
                *length += 1;
            }
        }
    }
}

fn set(lengths: &mut [u8], entry: u64, value: u8) {
    if let Some(length) = lengths.get_mut((entry & 0xffff) as usize) {
        *length = value;
    }
}

/// How many of the sorted leaves each list takes.
fn taken_leaves(sorted: &[u64], lists: usize) -> [u16; LENGTH_LIMIT] {
    const ITEMS: usize = 2 * FIXED_SYMBOLS;
    let n = sorted.len().min(FIXED_SYMBOLS);
    // No list needs more than its first 2n - 2 items.
    let size = 2 * n - 2;
    let mut leaves = [u64::MAX; FIXED_SYMBOLS + 1];
    for (leaf, &entry) in leaves.iter_mut().zip(sorted) {
        *leaf = entry >> 16;
    }
    // Of each list, how many of its first items are packages.
    let mut packages = [[0u16; ITEMS]; LENGTH_LIMIT];
    let mut weights = [0u64; ITEMS];
    weights[..n].copy_from_slice(&leaves[..n]);
    let mut length = n;
    for counts in packages.iter_mut().take(lists).skip(1) {
        let mut merged = [0u64; ITEMS];
        let (mut leaf, mut package, mut at) = (0, 0, 0);
        let pairs = length / 2;
        while at < size {
            let pair =
                if package < pairs { weights[2 * package] + weights[2 * package + 1] } else { u64::MAX };
            if leaf >= n && package >= pairs {
                break;
            }
            if leaf < n && leaves[leaf] < pair {
                merged[at] = leaves[leaf];
                leaf += 1;
            } else {
                merged[at] = pair;
                package += 1;
            }
            at += 1;
            counts[at] = package as u16;
        }
        weights = merged;
        length = at;
    }
    let mut taken = [0; LENGTH_LIMIT];
    let mut items = size;
    for list in (0..lists).rev() {
        let package = usize::from(packages[list][items.min(ITEMS - 1)]);
        taken[list] = (items - package) as u16;
        items = 2 * package;
    }
    taken
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths<const N: usize>(frequencies: [u32; N], limit: usize) -> [u8; N] {
        let mut lengths = [0; N];
        code_lengths(&frequencies, limit, &mut lengths);
        lengths
    }

    #[test]
    fn a_package_goes_before_a_leaf_of_its_weight() {
        assert_eq!(lengths([1, 1, 1, 1, 2], 15), [3, 3, 3, 3, 1]);
        assert_eq!(lengths([1, 1, 2, 2, 2, 4], 15), [4, 4, 3, 3, 3, 1]);
        assert_eq!(lengths([5, 0, 5, 5, 5, 5], 15), [3, 0, 3, 2, 2, 2]);
        assert_eq!(lengths([2, 1, 1, 1, 1, 1, 1, 1], 15), [2, 4, 4, 3, 3, 3, 3, 3]);
        assert_eq!(lengths([3, 3, 2, 2, 1, 1, 1, 1], 15), [2, 2, 3, 3, 4, 4, 4, 4]);
    }

    #[test]
    fn no_length_is_above_the_limit() {
        assert_eq!(lengths([1, 1, 2, 3, 5, 8, 13, 21, 34, 55], 7), [7, 7, 7, 7, 6, 6, 4, 3, 2, 1]);
        assert_eq!(
            lengths([1, 1, 1, 3, 3, 3, 6, 6, 12, 24, 48, 96, 192], 7),
            [7, 7, 7, 7, 7, 7, 7, 7, 5, 5, 3, 2, 1]
        );
        let fibonacci = [1, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377, 610, 987, 1597, 2584, 4181];
        assert_eq!(
            lengths(fibonacci, 15),
            [15, 15, 15, 15, 14, 14, 13, 13, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1]
        );
        assert_eq!(lengths(fibonacci, 7), [7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 5, 4, 4, 3, 3, 2, 2]);
    }

    #[test]
    fn one_symbol_and_two_have_one_bit_each() {
        assert_eq!(lengths([0, 0, 0], 15), [0, 0, 0]);
        assert_eq!(lengths([0, 9, 0], 15), [0, 1, 0]);
        assert_eq!(lengths([4, 0, 9], 15), [1, 0, 1]);
    }

    #[test]
    fn canonical_codes_are_those_of_the_specification() {
        // RFC 1951, 3.2.2: lengths (3, 3, 3, 3, 3, 2, 4, 4) give 010 011 100 101 110 00 1110 1111.
        let codes = canonical_codes(&[3, 3, 3, 3, 3, 2, 4, 4]);
        let expected = ["010", "011", "100", "101", "110", "00", "1110", "1111"];
        for (code, expected) in codes.iter().zip(expected) {
            let written: String =
                (0..code.length).map(|bit| if code.bits >> bit & 1 == 1 { '1' } else { '0' }).collect();
            assert_eq!(written, expected);
        }
        let fixed = fixed_codes();
        assert_eq!(fixed.literals[144], Code { bits: 0b1_0011, length: 9 });
        assert_eq!(fixed.literals[256], Code { bits: 0, length: 7 });
    }
}
