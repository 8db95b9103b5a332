// SPDX-License-Identifier: Apache-2.0
//! A chunk with next to no matches is written as literals.

use super::writer::{Kind, Writer, header};
use crate::deflate::{END_OF_BLOCK, Frequencies, LENGTH_LIMIT, Lengths, code_lengths, write_literals};

/// From this size on, a chunk whose bytes are equally frequent is stored.
const LARGE: usize = 1024;
/// What the header of a block that is not open is taken to cost, in bits.
const HEADER: u64 = 560;
const BYTES: usize = 256;

impl Writer {
    pub(super) fn write_literals(&mut self, chunk: &[u8], is_closing: bool) {
        let mut frequencies = Frequencies::of_bytes(chunk);
        if is_uniform(&frequencies.literals[..BYTES], chunk.len()) {
            return self.store(chunk);
        }
        frequencies.literals[END_OF_BLOCK] = 1;
        let mut lengths = Lengths::default();
        code_lengths(&frequencies.literals, LENGTH_LIMIT, &mut lengths.literals);
        lengths.distances[0] = 1;
        let size =
            frequencies.code_bits(&lengths) + self.open.as_ref().map_or(HEADER, |open| open.header_bits);
        let size = size + (size >> 7);
        if 8 * (chunk.len() as u64 + 5) <= size {
            return self.store(chunk);
        }
        let reuse = self.open.as_ref().map(|open| {
            let used = frequencies.literals.iter().zip(&open.lengths.literals).take(BYTES);
            used.map(|(&count, &length)| match (count, length) {
                (0, _) => Some(0),
                (_, 0) => None,
                _ => Some(u64::from(count) * u64::from(length)),
            })
            .sum::<Option<u64>>()
        });
        if let Some(reuse) = reuse
            && reuse.is_none_or(|reuse| size < reuse)
        {
            self.close();
        }
        if self.open.is_none() {
            let header = header((BYTES + 1, 1), &lengths);
            self.begin(Kind::Literals, lengths, &header);
        }
        if let Some(open) = &self.open {
            write_literals(chunk, &open.codes, &mut self.bits);
        }
        if is_closing {
            self.close();
        }
    }
}

/// The mean square of the differences from an equal distribution is below 2 times the mean.
fn is_uniform(frequencies: &[u32], length: usize) -> bool {
    let spread = |&frequency: &u32| (256 * u64::from(frequency)).abs_diff(length as u64).pow(2);
    length > LARGE && frequencies.iter().map(spread).sum::<u64>() < 131_072 * length as u64
}
