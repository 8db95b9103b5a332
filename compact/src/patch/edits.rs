// SPDX-License-Identifier: Apache-2.0
//! A block of a tar header as another block with a few bytes replaced.

use std::collections::VecDeque;
use std::io::Read;
use std::ops::Range;

use super::error::Problem;
use super::format::{BLOCK, Block, Stream};
use super::varint;

/// The field of the checksum in a tar header (POSIX.1-1988, ustar).
const CHECKSUM: Range<usize> = 148..156;

/// How many edits are kept for a later block of the same target.
pub(crate) const KEPT: usize = 16;

/// What changes a block into another.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Edits {
    /// Offset and new bytes, in ascending order, never adjacent.
    runs: Vec<(usize, Vec<u8>)>,
    /// How many digits of the checksum are computed from the other bytes afterwards: 0, or 6 (before a NUL and a space, as Go, GNU
    /// tar and Python write it), or 7 (before a NUL).
    digits: usize,
}

impl Edits {
    /// What changes `from` into `to`.
    pub(crate) fn between(from: &Block, to: &Block) -> Self {
        let has_checksum = |digits: &usize| to[CHECKSUM].starts_with(&checksum(to, *digits));
        let digits = [7, 6].into_iter().find(has_checksum).unwrap_or(0);
        let computed = CHECKSUM.start..CHECKSUM.start + digits;
        let differs = |i: usize| from[i] != to[i] && !computed.contains(&i);
        let (mut runs, mut i) = (Vec::<(usize, Vec<u8>)>::new(), 0);
        while i < BLOCK {
            if !differs(i) {
                i += 1;
                continue;
            }
            let start = i;
            // A field that changes, changes at the same bytes in the next header too if runs do not break at each equal digit.
            let mut end = i + 1;
            while end < BLOCK && (end..BLOCK.min(end + 4)).any(differs) {
                end += 1;
            }
            while !differs(end - 1) {
                end -= 1;
            }
            runs.push((start, to[start..end].to_vec()));
            i = end;
        }
        Self { runs, digits }
    }

    /// Changes the block.
    pub(crate) fn apply(&self, block: &mut Block) {
        for (start, bytes) in &self.runs {
            block[*start..start + bytes.len()].copy_from_slice(bytes);
        }
        if self.digits > 0 {
            let sum = checksum(block, self.digits);
            block[CHECKSUM][..self.digits].copy_from_slice(&sum);
        }
    }

    /// Appends these edits to the stream of headers.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        varint::write(out, (self.runs.len() as u64) << 2 | self.digits.saturating_sub(5) as u64);
        let mut end = 0;
        for (start, bytes) in &self.runs {
            varint::write(out, (start - end) as u64);
            varint::write(out, bytes.len() as u64);
            out.extend_from_slice(bytes);
            end = start + bytes.len();
        }
    }

    pub(super) fn read(from: &mut impl Read) -> Result<Self, Problem> {
        let number = |from: &mut _| {
            varint::read(from).map_err(|error| Problem::Number { stream: Stream::Headers, error })
        };
        let head = number(from)?;
        let digits = match head & 3 {
            0 => 0,
            1 => 6,
            2 => 7,
            _ => return Err(Problem::Edits),
        };
        let (mut runs, mut end) = (Vec::new(), 0);
        for _ in 0..head >> 2 {
            let (gap, length) = (number(from)?, number(from)?);
            if gap > BLOCK as u64 || length > BLOCK as u64 || length == 0 {
                return Err(Problem::Edits);
            }
            let start = end + gap as usize;
            end = start + length as usize;
            if end > BLOCK {
                return Err(Problem::Edits);
            }
            let mut bytes = vec![0; length as usize];
            from.read_exact(&mut bytes)
                .map_err(|error| Problem::Stream { stream: Stream::Headers, error })?;
            runs.push((start, bytes));
        }
        Ok(Self { runs, digits })
    }
}

/// The sum of the bytes of a header, with spaces in the place of the checksum, as octal digits. 512 bytes of 255 have six.
fn checksum(block: &Block, digits: usize) -> Vec<u8> {
    let sum = block
        .iter()
        .enumerate()
        .map(|(i, byte)| if CHECKSUM.contains(&i) { u32::from(b' ') } else { u32::from(*byte) });
    format!("{:0digits$o}", sum.sum::<u32>()).into_bytes()
}

/// The last edits of a target, so that the same ones are not written again.
#[derive(Debug, Default)]
pub(crate) struct RecentEdits(VecDeque<Edits>);

impl RecentEdits {
    /// How many edits back these are; 1 is the last.
    pub(crate) fn position(&self, edits: &Edits) -> Option<u64> {
        self.0.iter().position(|recent| recent == edits).map(|i| i as u64 + 1)
    }

    /// Those of a [`position`](Self::position).
    pub(crate) fn get(&self, back: u64) -> Option<&Edits> {
        self.0.get(usize::try_from(back.checked_sub(1)?).ok()?)
    }

    /// Adds edits as the last.
    pub(crate) fn push(&mut self, edits: Edits) {
        self.0.truncate(KEPT - 1);
        self.0.push_front(edits);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    fn block() -> impl Strategy<Value = Block> {
        prop::collection::vec(prop_oneof![3 => Just(0_u8), 1 => any::<u8>()], BLOCK)
            .prop_map(|bytes| Block::try_from(bytes.as_slice()).unwrap())
    }

    proptest! {
        #[test]
        fn edits_change_one_block_into_the_other(from in block(), mut to in block(), digits in 5..8_usize) {
            if digits > 5 {
                let sum = checksum(&to, digits);
                to[CHECKSUM][..digits].copy_from_slice(&sum);
            }
            let mut bytes = Vec::new();
            Edits::between(&from, &to).write(&mut bytes);
            let mut rest = bytes.as_slice();
            let edits = Edits::read(&mut rest).unwrap();
            prop_assert!(rest.is_empty());
            let mut made = from;
            edits.apply(&mut made);
            prop_assert_eq!(made, to);
        }
    }

    #[test]
    fn a_checksum_takes_no_bytes() {
        let mut header = tar::Header::new_gnu();
        header.set_path("usr/bin/tool").unwrap();
        header.set_mtime(1_700_000_000);
        header.set_cksum();
        let from = *header.as_bytes();
        header.set_mtime(1_700_000_001);
        header.set_cksum();
        let edits = Edits::between(&from, header.as_bytes());
        assert!(edits.digits > 0);
        assert_eq!(edits.runs, [(146, b"1".to_vec())]);
    }
}
