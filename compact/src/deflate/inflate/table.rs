// SPDX-License-Identifier: Apache-2.0
//! Symbols from codes.

use super::error::{Alphabet, Fault};

/// Codes up to this length are found in one step; the longer ones are rare.
const FAST_BITS: u32 = 11;
/// Longest code.
const LIMIT: usize = 15;
/// Symbols of the largest alphabet, with those of the fixed code that never occur.
const SYMBOLS: usize = 288;

/// Decodes one canonical prefix code (RFC 1951, 3.2.2).
#[derive(Debug)]
pub(super) struct Table {
    /// Of the next bits: symbol and length of the code, `symbol << 4 | length`; 0 where the code is longer or there is none.
    fast: Vec<u16>,
    /// Number of codes of each length.
    counts: [u16; LIMIT + 1],
    /// In the order of their codes.
    symbols: [u16; SYMBOLS],
    alphabet: Alphabet,
}

impl Table {
    pub(super) fn new(alphabet: Alphabet) -> Self {
        Self { fast: vec![0; 1 << FAST_BITS], counts: [0; LIMIT + 1], symbols: [0; SYMBOLS], alphabet }
    }

    /// Makes this the table of these code lengths.
    ///
    /// A code must be complete. Two exceptions are legal: a single code of one bit, and for distances no code at all.
    pub(super) fn set(&mut self, lengths: &[u8]) -> Result<(), Fault> {
        let mut counts = [0u16; LIMIT + 1];
        for &length in lengths {
            counts[usize::from(length & 15)] += 1;
        }
        counts[0] = 0;
        let used: u32 = (1..=LIMIT).map(|length| u32::from(counts[length]) << (LIMIT - length)).sum();
        let codes: u16 = counts.iter().sum();
        let is_complete = used == 1 << LIMIT;
        let is_single = codes == 1 && counts[1] == 1 && self.alphabet != Alphabet::CodeLengths;
        let is_absent = codes == 0 && self.alphabet == Alphabet::Distances;
        if !(is_complete || is_single || is_absent) {
            return Err(Fault::CodeLengths(self.alphabet));
        }
        let mut first = [0u16; LIMIT + 2];
        let mut code = [0u32; LIMIT + 2];
        for length in 1..=LIMIT {
            first[length + 1] = first[length] + counts[length];
            code[length + 1] = (code[length] + u32::from(counts[length])) << 1;
        }
        self.counts = counts;
        if !is_complete {
            self.fast.fill(0);
        }
        for (symbol, &length) in lengths.iter().enumerate().take(SYMBOLS) {
            if length == 0 {
                continue;
            }
            let length = usize::from(length & 15);
            self.symbols[usize::from(first[length])] = symbol as u16;
            first[length] += 1;
            let reversed = (code[length] << (32 - length)).reverse_bits() as usize;
            code[length] += 1;
            if length > FAST_BITS as usize {
                // Others of this prefix write the same.
                self.fast[reversed & ((1 << FAST_BITS) - 1)] = 0;
                continue;
            }
            let entry = (symbol as u16) << 4 | length as u16;
            for slot in self.fast.iter_mut().skip(reversed).step_by(1 << length) {
                *slot = entry;
            }
        }
        Ok(())
    }

    /// The symbol with which `bits` begin, and the length of its code.
    #[inline]
    pub(super) fn symbol(&self, bits: u64) -> Result<(usize, u32), Fault> {
        let entry = self.fast[(bits & ((1 << FAST_BITS) - 1)) as usize];
        if entry != 0 {
            return Ok((usize::from(entry >> 4), u32::from(entry & 15)));
        }
        self.symbol_slowly(bits)
    }

    #[cold]
    fn symbol_slowly(&self, bits: u64) -> Result<(usize, u32), Fault> {
        let (mut code, mut first, mut index) = (0u32, 0u32, 0u32);
        for (length, &count) in (0u32..).zip(&self.counts).skip(1) {
            code |= (bits >> (length - 1) & 1) as u32;
            let count = u32::from(count);
            if code.wrapping_sub(first) < count {
                let symbol = self.symbols[((index + code - first) as usize).min(SYMBOLS - 1)];
                return Ok((usize::from(symbol), length));
            }
            index += count;
            first = (first + count) << 1;
            code <<= 1;
        }
        Err(Fault::Symbol(self.alphabet))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn every_code_gives_its_symbol() {
        // Lengths 1, 2, ... 14, 15, 15: both ways of decoding.
        let lengths: Vec<u8> = (1..=15).chain([15]).collect();
        let mut table = Table::new(Alphabet::Literals);
        table.set(&lengths).unwrap();
        for (symbol, &length) in lengths.iter().enumerate() {
            // The code of length n is n - 1 ones and a zero; the last one has ones only.
            let ones = if symbol == 15 { 15 } else { u32::from(length) - 1 };
            let bits = (1u64 << ones) - 1;
            assert_eq!(table.symbol(bits).unwrap(), (symbol, u32::from(length)));
        }
        // The same table for another code.
        table.set(&[2, 2, 2, 2]).unwrap();
        assert_eq!(table.symbol(0b01).unwrap(), (2, 2));
    }

    #[test]
    fn incomplete_codes_are_refused_but_for_the_two_legal_ones() {
        let mut table = Table::new(Alphabet::Distances);
        table.set(&[0, 0]).unwrap();
        assert!(matches!(table.symbol(0), Err(Fault::Symbol(_))));
        table.set(&[0, 1]).unwrap();
        assert_eq!(table.symbol(0).unwrap(), (1, 1));
        assert!(matches!(table.symbol(1), Err(Fault::Symbol(_))));
        for lengths in [&[2u8][..], &[1, 2], &[1, 1, 1], &[1, 1, 15]] {
            assert!(matches!(table.set(lengths), Err(Fault::CodeLengths(_))), "{lengths:?}");
        }
        assert!(Table::new(Alphabet::Literals).set(&[0, 0]).is_err());
        assert!(Table::new(Alphabet::CodeLengths).set(&[0, 1]).is_err());
    }
}
