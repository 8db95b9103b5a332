// SPDX-License-Identifier: Apache-2.0
//! The estimate of how many bits a code of its own would take for the tokens of a chunk.
//!
//! It decides whether a chunk continues the block before it or begins one of its own, so its rounding shows in the output: each
//! operation rounds to 32 bits, in this order. Go's compiler lets some processors multiply and add in one operation, which rounds
//! once.

use super::Rounding;
use crate::deflate::{END_OF_BLOCK, Frequencies};

/// The longest code, and what the end of the block is taken to cost.
const MAX_BITS: f32 = 15.0;

/// The bits of the symbols of `count` tokens with `matches` matches, without extra bits.
pub(super) fn bits(uses: &Frequencies, count: usize, matches: u64, rounding: Rounding) -> u64 {
    match rounding {
        Rounding::Separate => sum(uses, count, matches, |factor, other, term| factor * other + term),
        Rounding::Fused => sum(uses, count, matches, f32::mul_add),
    }
}

fn sum(
    uses: &Frequencies,
    count: usize,
    matches: u64,
    multiply_add: impl Fn(f32, f32, f32) -> f32 + Copy,
) -> u64 {
    let (literals, lengths) = uses.literals.split_at(END_OF_BLOCK);
    let inverse = 1.0 / count as f32;
    let sum = add(0.0, literals, inverse, multiply_add) + MAX_BITS;
    let mut sum = add(sum, lengths.get(1..).unwrap_or_default(), inverse, multiply_add);
    if matches > 0 {
        sum = add(sum, &uses.distances, 1.0 / matches as f32, multiply_add);
    }
    sum as u64
}

fn add(sum: f32, uses: &[u32], inverse: f32, multiply_add: impl Fn(f32, f32, f32) -> f32 + Copy) -> f32 {
    uses.iter().filter(|uses| **uses > 0).fold(sum, |sum, &uses| {
        let uses = uses as f32;
        multiply_add((-logarithm(uses * inverse, multiply_add)).clamp(1.0, MAX_BITS), uses, sum)
    })
}

/// About the logarithm to base 2: the exponent, and a polynomial of the fraction.
fn logarithm(value: f32, multiply_add: impl Fn(f32, f32, f32) -> f32) -> f32 {
    const EXPONENT: u32 = 0xff << 23;
    let bits = value.to_bits();
    let exponent = (bits >> 23 & 0xff) as f32 - 128.0;
    let fraction = f32::from_bits(bits & !EXPONENT | 127 << 23);
    let polynomial = multiply_add(multiply_add(-0.344_848_43, fraction, 2.024_665_8), fraction, -0.674_877_6);
    exponent + polynomial
}
