// SPDX-License-Identifier: Apache-2.0
//! How much two files have in common, without comparing them: each is known by a few of the hashes of all its short parts.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::io::{self, Read as _};

use crate::patch::{RangeReader, ReadAt};

/// Hashes that are kept of a file.
const KEPT: usize = 64;

/// The smallest hashes of all parts of 64 bytes: of files that share a part of their content, about as large a part is the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sketch(BTreeSet<u64>);

impl Sketch {
    /// Of a range of a layer.
    pub(super) fn of(layer: &dyn ReadAt, offset: u64, length: u64) -> io::Result<Self> {
        let (mut kept, mut most, mut hash) = (BTreeSet::new(), u64::MAX, 0_u64);
        let mut reader = RangeReader::new(layer, offset, offset + length);
        let mut buffer = vec![0; 64 << 10];
        loop {
            let read = reader.read(&mut buffer)?;
            if read == 0 {
                return Ok(Self(kept));
            }
            for byte in &buffer[..read] {
                // A byte has left the hash after 64 more.
                hash = (hash << 1).wrapping_add(GEAR[usize::from(*byte)]);
                let rank = mix(hash);
                if rank < most {
                    kept.insert(rank);
                    if kept.len() > KEPT {
                        kept.pop_last();
                        most = kept.last().copied().unwrap_or(u64::MAX);
                    }
                }
            }
        }
    }

    /// How many hashes both have.
    pub(super) fn common(&self, other: &Self) -> usize {
        self.0.intersection(&other.0).count()
    }
}

/// Sketches of files, each made when it is asked for the first time.
#[derive(Debug, Default)]
pub(super) struct Sketches(HashMap<[u8; 32], Sketch>);

impl Sketches {
    /// That of a file with this digest, which is a range of a layer.
    pub(super) fn get(
        &mut self,
        digest: [u8; 32],
        (layer, offset, length): (&dyn ReadAt, u64, u64),
    ) -> io::Result<&Sketch> {
        Ok(match self.0.entry(digest) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => place.insert(Sketch::of(layer, offset, length)?),
        })
    }
}

/// A number for each byte, without a pattern.
const GEAR: [u64; 256] = {
    let mut gear = [0; 256];
    let mut i = 0;
    while i < gear.len() {
        gear[i] = mix(i as u64 + 1);
        i += 1;
    }
    gear
};

/// Spreads the bits of a number over all bits of another one.
const fn mix(number: u64) -> u64 {
    let once = (number ^ (number >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (once ^ (once >> 29)).wrapping_mul(0xd6e8_feb8_6659_fd93)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::tests::noise;
    use super::*;

    fn sketch(bytes: &[u8]) -> Sketch {
        Sketch::of(&bytes.to_vec(), 0, bytes.len() as u64).unwrap()
    }

    #[test]
    fn what_is_common_grows_with_what_files_share() {
        let file = noise(1, 200_000);
        let half = [&file[..100_000], &noise(2, 100_000)].concat();
        let [same, part, other] =
            [&file, &half, &noise(3, 200_000)].map(|other| sketch(&file).common(&sketch(other)));
        assert_eq!((same, other), (KEPT, 0));
        assert!((10..60).contains(&part), "{part}");
        // Wherever it is.
        let moved = [&noise(4, 777), &file[..]].concat();
        assert!(sketch(&file).common(&sketch(&moved)) > 55);
    }

    #[test]
    fn short_and_empty_files_have_one_too() {
        assert_eq!(sketch(b"").common(&sketch(b"")), 0);
        assert!(sketch(b"name = one\nport = 80\n").common(&sketch(b"name = one\nport = 81\n")) > 10);
        assert_eq!(sketch(&[0; 100_000]).common(&sketch(&noise(1, 1000))), 0);
    }
}
