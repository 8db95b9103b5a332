// SPDX-License-Identifier: Apache-2.0
//! Random plain bytes that make an encoder take as many of its branches as possible.

use super::inputs::{copies, leading_zeros, masked, noise, noise_below_144, text};

/// Numbers from a seed.
pub struct Draw(u64);

impl Draw {
    pub fn new(seed: u32) -> Self {
        let mut draw = Self(u64::from(seed));
        for _ in 0..4 {
            draw.next();
        }
        draw
    }

    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as u32
    }

    pub fn below(&mut self, limit: usize) -> usize {
        self.next() as usize % limit.max(1)
    }

    /// As often small as large.
    pub fn skewed(&mut self, limit: usize) -> usize {
        let scale = 1 << self.below(limit.max(1).ilog2() as usize + 1);
        self.below(limit.min(scale * 2))
    }
}

/// About `size` bytes, in segments of all kinds.
pub fn plain(size: usize, draw: &mut Draw) -> Vec<u8> {
    let mut out: Vec<u8> = Vec::with_capacity(size);
    while out.len() < size {
        let length = (1 + draw.skewed(size)).min(size - out.len());
        let seed = draw.next() % 50;
        match draw.below(11) {
            0 | 1 => out.extend(text(length, seed)),
            2 => out.extend(noise(length, seed)),
            3 => out.extend(noise_below_144(length, seed)),
            4 => out.extend(masked(length, seed, draw.next() as u8)),
            5 => out.extend(copies(length, seed)),
            6 => out.extend(leading_zeros(length, seed)),
            7 => out.extend(vec![seed as u8; length]),
            // Few matches in noise: on the border of what an encoder writes as literals.
            8 => {
                let (noise, every) = (noise(length, seed), 20 + draw.below(300));
                for piece in noise.chunks(every) {
                    out.extend_from_slice(piece);
                    let start = out.len().saturating_sub(1 + draw.below(40_000));
                    let end = out.len().min(start + 3 + draw.below(20));
                    out.extend_from_within(start..end);
                }
            }
            // A copy of earlier bytes with some changed.
            _ if !out.is_empty() => {
                let distance = 1 + draw.skewed(out.len().min(40_000));
                let change = 2 + draw.skewed(2000);
                for i in 0..length {
                    let byte = out[out.len() - distance.min(out.len())];
                    out.push(if i % change == change - 1 { byte ^ 1 } else { byte });
                }
            }
            _ => out.push(seed as u8),
        }
    }
    out.truncate(size);
    out
}
