// SPDX-License-Identifier: Apache-2.0
//! The types of blocks, and their codes.

use crate::deflate::{
    BitWriter, CODE_LENGTH_LIMIT, Codes, DynamicHeader, END_OF_BLOCK, Frequencies, LENGTH_LIMIT, Lengths,
    Token, append_runs, code_lengths, fixed_codes, fixed_lengths, write_fixed_header, write_literals,
    write_stored, write_tokens,
};

/// Most bytes of a stored block, and of a block at the levels that do not search chains.
pub(super) const CHUNK: usize = 65535;

/// Writes blocks as `compress/flate` does.
#[derive(Debug)]
pub(super) struct BlockWriter {
    pub(super) bits: BitWriter,
    fixed: (Lengths, Codes),
}

impl BlockWriter {
    pub(super) fn new() -> Self {
        Self { bits: BitWriter::default(), fixed: (fixed_lengths(), fixed_codes()) }
    }

    /// The smallest of the three types; `raw` is missing if the encoder has lost it. Levels 2 to 9.
    pub(super) fn write_smallest(&mut self, tokens: &[Token], raw: Option<&[u8]>) {
        let frequencies = frequencies_of(tokens);
        let dynamic = Dynamic::new(&frequencies);
        let raw = raw.filter(|raw| raw.len() <= CHUNK);
        // Extra bits are the same in both codes, so they matter only where the block can be stored.
        let extra = if raw.is_some() { frequencies.extra_bits() } else { 0 };
        let fixed_bits = 3 + frequencies.code_bits(&self.fixed.0) + extra;
        let dynamic_bits = dynamic.bits(&frequencies) + extra;
        let coded_bits = fixed_bits.min(dynamic_bits);
        match raw {
            Some(raw) if stored_bits(raw) < coded_bits => write_stored(false, raw, &mut self.bits),
            _ if dynamic_bits < fixed_bits => dynamic.write_tokens(tokens, &mut self.bits),
            _ => {
                write_fixed_header(false, &mut self.bits);
                write_tokens(tokens, &self.fixed.1, &mut self.bits);
                self.fixed.1.write_end(&mut self.bits);
            }
        }
    }

    /// Codes of its own, or stored where they save less than a sixteenth. Level 1.
    pub(super) fn write_dynamic(&mut self, tokens: &[Token], raw: &[u8]) {
        let frequencies = frequencies_of(tokens);
        let dynamic = Dynamic::new(&frequencies);
        if is_stored(raw, dynamic.bits(&frequencies)) {
            write_stored(false, raw, &mut self.bits);
        } else {
            dynamic.write_tokens(tokens, &mut self.bits);
        }
    }

    /// Literals only, or stored where they save less than a sixteenth. Levels 1 and -2.
    pub(super) fn write_literals(&mut self, raw: &[u8]) {
        let mut frequencies = Frequencies::of_bytes(raw);
        frequencies.literals[END_OF_BLOCK] = 1;
        frequencies.distances[0] = 1;
        let dynamic = Dynamic::new(&frequencies);
        if is_stored(raw, dynamic.bits(&frequencies)) {
            write_stored(false, raw, &mut self.bits);
        } else {
            let codes = dynamic.begin(&mut self.bits);
            write_literals(raw, &codes, &mut self.bits);
            codes.write_end(&mut self.bits);
        }
    }

    pub(super) fn write_stored(&mut self, raw: &[u8]) {
        write_stored(false, raw, &mut self.bits);
    }

    /// Ends the stream: an empty block.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) {
        write_stored(true, &[], &mut self.bits);
        self.bits.drain(out);
    }
}

/// Of tokens and the end of the block. A block without a match has a code for one distance.
fn frequencies_of(tokens: &[Token]) -> Frequencies {
    let mut frequencies = Frequencies::of_tokens(tokens);
    frequencies.literals[END_OF_BLOCK] = 1;
    if frequencies.matches() == 0 {
        frequencies.distances[0] = 1;
    }
    frequencies
}

fn stored_bits(raw: &[u8]) -> u64 {
    8 * (raw.len() as u64 + 5)
}

fn is_stored(raw: &[u8], coded_bits: u64) -> bool {
    stored_bits(raw) < coded_bits + (coded_bits >> 4)
}

/// Codes of a block's own, with their header.
struct Dynamic {
    lengths: Lengths,
    header: DynamicHeader,
}

impl Dynamic {
    fn new(frequencies: &Frequencies) -> Self {
        let mut lengths = Lengths::default();
        code_lengths(&frequencies.literals, LENGTH_LIMIT, &mut lengths.literals);
        code_lengths(&frequencies.distances, LENGTH_LIMIT, &mut lengths.distances);
        let counts = (frequencies.literal_count(), frequencies.distance_count());
        let sent = lengths.literals[..counts.0].iter().chain(&lengths.distances[..counts.1]);
        let mut runs = Vec::with_capacity(counts.0 + counts.1);
        append_runs(sent.copied(), &mut runs);
        let header = DynamicHeader::new(counts, runs, |frequencies, lengths| {
            code_lengths(frequencies, CODE_LENGTH_LIMIT, lengths);
        });
        Self { lengths, header }
    }

    fn bits(&self, frequencies: &Frequencies) -> u64 {
        self.header.bits() + frequencies.code_bits(&self.lengths)
    }

    fn begin(&self, bits: &mut BitWriter) -> Codes {
        self.header.write(false, bits);
        self.lengths.codes()
    }

    fn write_tokens(&self, tokens: &[Token], bits: &mut BitWriter) {
        let codes = self.begin(bits);
        write_tokens(tokens, &codes, bits);
        codes.write_end(bits);
    }
}
