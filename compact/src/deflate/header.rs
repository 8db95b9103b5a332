// SPDX-License-Identifier: Apache-2.0
//! The header of a dynamic block: the code lengths of its codes (RFC 1951, 3.2.7).

use super::bits::BitWriter;
use super::huffman::{Code, canonical_codes};
use super::runs::{RUN_SYMBOLS, Run};

/// Longest code of the code of code lengths.
pub const CODE_LENGTH_LIMIT: usize = 7;
/// In which order the lengths of the code of code lengths are sent.
pub const CODE_LENGTH_ORDER: [usize; RUN_SYMBOLS] =
    [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

/// The header of a dynamic block, ready to be measured and written.
#[derive(Debug)]
pub struct DynamicHeader {
    literal_count: usize,
    distance_count: usize,
    runs: Vec<Run>,
    codes: [Code; RUN_SYMBOLS],
    /// How many lengths of the code of code lengths are sent.
    sent: usize,
}

impl DynamicHeader {
    /// A header for the first `literal_count` (257 to 286) and `distance_count` (1 to 30) code lengths of a block, which `runs`
    /// describe. `code_lengths` makes the code of code lengths from the frequencies of its symbols, with at most
    /// [`CODE_LENGTH_LIMIT`] bits.
    #[must_use]
    pub fn new(
        (literal_count, distance_count): (usize, usize),
        runs: Vec<Run>,
        code_lengths: impl FnOnce(&[u32; RUN_SYMBOLS], &mut [u8; RUN_SYMBOLS]),
    ) -> Self {
        let mut frequencies = [0; RUN_SYMBOLS];
        for run in &runs {
            frequencies[usize::from(run.symbol).min(RUN_SYMBOLS - 1)] += 1;
        }
        let mut lengths = [0; RUN_SYMBOLS];
        code_lengths(&frequencies, &mut lengths);
        let sent = CODE_LENGTH_ORDER
            .iter()
            .rposition(|&symbol| lengths[symbol] > 0)
            .map_or(4, |last| (last + 1).max(4));
        Self { literal_count, distance_count, runs, codes: canonical_codes(&lengths), sent }
    }

    /// Size of the block's first three bits and the header.
    #[must_use]
    pub fn bits(&self) -> u64 {
        let runs: u32 =
            self.runs.iter().map(|&run| u32::from(self.code(run).length) + run.extra_bits()).sum();
        3 + 5 + 5 + 4 + 3 * self.sent as u64 + u64::from(runs)
    }

    /// Begins a dynamic block.
    pub fn write(&self, is_final: bool, bits: &mut BitWriter) {
        bits.put(0b100 | u32::from(is_final), 3);
        bits.put(self.literal_count.saturating_sub(257) as u32 & 31, 5);
        bits.put(self.distance_count.saturating_sub(1) as u32 & 31, 5);
        bits.put((self.sent - 4) as u32, 4);
        for &symbol in &CODE_LENGTH_ORDER[..self.sent] {
            bits.put(u32::from(self.codes[symbol].length), 3);
        }
        for &run in &self.runs {
            let code = self.code(run);
            bits.put(u32::from(code.bits), u32::from(code.length));
            bits.put(u32::from(run.extra), run.extra_bits());
        }
    }

    fn code(&self, run: Run) -> Code {
        self.codes[usize::from(run.symbol).min(RUN_SYMBOLS - 1)]
    }
}
