// SPDX-License-Identifier: Apache-2.0
//! A chunk with matches continues the open block, or gets a block of its own type.

use super::writer::{Kind, Open, Writer, header};
use super::{Generation, estimate};
use crate::deflate::{
    DISTANCE_SYMBOLS, END_OF_BLOCK, Frequencies, LENGTH_LIMIT, LITERAL_SYMBOLS, Lengths, Token, code_lengths,
    fixed_codes, fixed_lengths, write_fixed_header, write_tokens,
};

/// From so many tokens on, the fixed code is not considered.
const FIXED: usize = 250;

impl Writer {
    pub(super) fn write_tokens(&mut self, tokens: &[Token], chunk: &[u8], is_closing: bool) {
        let mut uses = Frequencies::of_tokens(tokens);
        let (extra, matches) = (uses.extra_bits(), uses.matches());
        let count = tokens.len() + usize::from(is_closing);
        let stored = 8 * (chunk.len() as u64 + 5);
        let is_short = count < FIXED;

        if self.open.as_ref().is_some_and(|open| open.kind == Kind::Literals || !open.has_codes(&uses)) {
            self.close();
        }
        uses.literals[END_OF_BLOCK] = u32::from(is_closing || self.generation == Generation::K2);
        if let Some(open) = &self.open {
            let own = open.header_bits + estimate::bits(&uses, count, matches, self.rounding) + extra;
            let own = own + open.end_length() + (own >> 7);
            let reuse = uses.code_bits(&open.lengths) + extra;
            if own < reuse {
                self.close();
            }
            let size = own.min(reuse);
            if is_short {
                // Not exactly what it takes, and compared with less than what the other types are: as the encoder does it.
                let fixed = fixed_bits(&uses, extra) + 7;
                if fixed < size {
                    return if stored <= size { self.store(chunk) } else { self.write_fixed(tokens) };
                }
            }
            if stored <= size {
                return self.store(chunk);
            }
        }
        if self.open.is_none() {
            uses.literals[END_OF_BLOCK] = 1;
            let mut lengths = Lengths::default();
            code_lengths(&uses.literals, LENGTH_LIMIT, &mut lengths.literals);
            code_lengths(&uses.distances, LENGTH_LIMIT, &mut lengths.distances);
            let header = header(self.counts(&uses, is_closing), &lengths);
            let size = header.bits() + uses.code_bits(&lengths) + extra;
            if is_short {
                let fixed = fixed_bits(&uses, extra);
                if fixed <= size {
                    return if stored <= fixed { self.store(chunk) } else { self.write_fixed(tokens) };
                }
            }
            if stored <= size {
                return self.store(chunk);
            }
            self.begin(Kind::Tokens, lengths, &header);
        }
        if let Some(open) = &self.open {
            write_tokens(tokens, &open.codes, &mut self.bits);
        }
        if is_closing {
            self.close();
        }
    }

    /// How many code lengths a header sends.
    fn counts(&self, uses: &Frequencies, is_closing: bool) -> (usize, usize) {
        match self.generation {
            // A chunk that can be continued.
            Generation::K1 if !is_closing => (LITERAL_SYMBOLS, DISTANCE_SYMBOLS),
            Generation::K1 | Generation::K2 => (uses.literal_count(), uses.distance_count()),
        }
    }

    fn write_fixed(&mut self, tokens: &[Token]) {
        self.close();
        let codes = fixed_codes();
        write_fixed_header(false, &mut self.bits);
        write_tokens(tokens, &codes, &mut self.bits);
        codes.write_end(&mut self.bits);
    }
}

impl Open {
    /// Each symbol that is used has a code.
    fn has_codes(&self, uses: &Frequencies) -> bool {
        let covers = |uses: &[u32], lengths: &[u8]| {
            uses.iter().zip(lengths).all(|(&uses, &length)| uses == 0 || length > 0)
        };
        covers(&uses.literals, &self.lengths.literals) && covers(&uses.distances, &self.lengths.distances)
    }
}

fn fixed_bits(uses: &Frequencies, extra: u64) -> u64 {
    3 + uses.code_bits(&fixed_lengths()) + extra
}
