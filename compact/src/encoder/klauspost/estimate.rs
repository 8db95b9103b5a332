// SPDX-License-Identifier: Apache-2.0
//! The estimate of how many bits a code of its own would take for the tokens of a chunk.
//!
//! It decides whether a chunk continues the block before it or begins one of its own, so its rounding shows in the output: each
//! operation rounds to 32 bits, in this order.

use crate::deflate::{END_OF_BLOCK, Frequencies};

/// The longest code, and what the end of the block is taken to cost.
const MAX_BITS: f32 = 15.0;

/// The bits of the symbols of `count` tokens with `matches` matches, without extra bits.
pub(super) fn bits(uses: &Frequencies, count: usize, matches: u64) -> u64 {
    let (literals, lengths) = uses.literals.split_at(END_OF_BLOCK);
    let inverse = 1.0 / count as f32;
    let sum = add(0.0, literals, inverse) + MAX_BITS;
    let mut sum = add(sum, lengths.get(1..).unwrap_or_default(), inverse);
    if matches > 0 {
        sum = add(sum, &uses.distances, 1.0 / matches as f32);
    }
    sum as u64
}

fn add(sum: f32, uses: &[u32], inverse: f32) -> f32 {
    uses.iter().filter(|uses| **uses > 0).fold(sum, |sum, &uses| {
        let uses = uses as f32;
        sum + (-logarithm(uses * inverse)).clamp(1.0, MAX_BITS) * uses
    })
}

/// About the logarithm to base 2: the exponent, and a polynomial of the fraction.
fn logarithm(value: f32) -> f32 {
    const EXPONENT: u32 = 0xff << 23;
    let bits = value.to_bits();
    let exponent = (bits >> 23 & 0xff) as f32 - 128.0;
    let fraction = f32::from_bits(bits & !EXPONENT | 127 << 23);
    let polynomial = (-0.344_848_43 * fraction + 2.024_665_8) * fraction - 0.674_877_6;
    exponent + polynomial
}
