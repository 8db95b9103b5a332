// SPDX-License-Identifier: Apache-2.0
//! `compress/gzip` of the Go release in use, at all levels.

use krs_compact::encoder::{Family, go::Level};

use crate::reference::Reference;
use crate::support::random::{Draw, plain};
use crate::support::{gunzip, gzip};

/// Streams of each size, by how many of them are made.
const SIZES: [(usize, usize); 4] = [(300, 1000), (70_000, 150), (400_000, 40), (3_500_000, 6)];
/// Go loses a match in the 262 bytes before its window moves if a call ends at one of few odd positions. Tools write in
/// multiples of this.
const SECTOR: usize = 512;

/// `KRS_ENCODER_ROUNDS=100` compares a hundred times as many streams, others each time.
#[test]
fn random_streams_are_those_of_go() {
    let rounds = std::env::var("KRS_ENCODER_ROUNDS").map_or(1, |rounds| rounds.parse().unwrap());
    let mut reference = Reference::start("krs-encoders-k1");
    for (size, count) in SIZES {
        for number in 0..count * rounds {
            let mut draw = Draw::new((size + 104_729 * number) as u32);
            let plain = plain(draw.below(size + 1), &mut draw);
            let level = draw.below(12) as i8 - 2;
            let unit = if level < 2 { 1 } else { SECTOR };
            let writes: Vec<usize> =
                (0..1 + draw.below(4)).map(|_| (1 + draw.skewed(200_000 / unit)) * unit).collect();
            let expected = reference.gzip("go", level.into(), &plain, &writes);
            let pieces: Vec<usize> = (0..1 + draw.below(4)).map(|_| 1 + draw.skewed(200_000)).collect();
            let family = Family::Go(Level::new(level).unwrap());
            let stream = gzip(&family.header(), family.encoder(), &plain, &pieces);
            let what = format!("level {level}: number {number} of size {size}, {} bytes", plain.len());
            assert!(stream == expected, "{what}");
            assert!(gunzip(&stream) == plain, "{what}");
        }
    }
}
