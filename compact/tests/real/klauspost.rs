// SPDX-License-Identifier: Apache-2.0
//! klauspost/compress 1.18.0 and 1.18.5 at their default level, alone and with pgzip 1.2.6.

use krs_compact::encoder::Encoder;
use krs_compact::encoder::klauspost::{BlockEncoder, Generation, Rounding, StreamEncoder};

use crate::reference::Reference;
use crate::support::gzip;
use crate::support::random::{Draw, plain};

const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0x00, 0x09, 0x6e, 0x88, 0, 0xff];

/// Streams of each size, by how many of them are made.
const SIZES: [(usize, usize); 4] = [(300, 400), (70_000, 120), (400_000, 60), (3_500_000, 8)];

#[test]
fn random_streams_are_those_of_k1() {
    compare("krs-encoders-k1", Generation::K1, 1);
}

#[test]
fn random_streams_are_those_of_k2() {
    compare("krs-encoders-k2", Generation::K2, 2);
}

/// The time runs out after some thousand streams: `KRS_ENCODER_ROUNDS=100` compares a hundred times as many, others each time.
fn compare(program: &str, generation: Generation, seed: u32) {
    let rounds = std::env::var("KRS_ENCODER_ROUNDS").map_or(1, |rounds| rounds.parse().unwrap());
    let mut reference = Reference::start(program);
    for (size, count) in SIZES {
        for number in 0..count * rounds {
            let mut draw = Draw::new(seed.wrapping_mul(0x9e37_79b9) ^ (size + 7919 * number) as u32);
            let plain = plain(draw.below(size + 1), &mut draw);
            let writes = (0..1 + draw.below(4)).map(|_| 1 + draw.skewed(200_000)).collect::<Vec<_>>();
            let ours: [(&str, Box<dyn Encoder>); 2] = [
                ("klauspost", Box::new(StreamEncoder::new(generation, Rounding::Separate))),
                ("pgzip", Box::new(BlockEncoder::new(generation, Rounding::Separate, 1 + number % 3))),
            ];
            for (family, encoder) in ours {
                let expected = reference.gzip(family, -1, &plain, &writes);
                let pieces = (0..1 + draw.below(4)).map(|_| 1 + draw.skewed(200_000)).collect::<Vec<_>>();
                let stream = gzip(&HEADER, encoder, &plain, &pieces);
                assert!(
                    stream == expected,
                    "{family} {generation:?}: number {number} of size {size}, {} bytes",
                    plain.len()
                );
            }
        }
    }
}
