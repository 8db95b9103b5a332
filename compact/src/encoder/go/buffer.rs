// SPDX-License-Identifier: Apache-2.0
//! Bytes behind each other, in an array of which the compiler knows the size.

use crate::deflate::{MAXIMUM_MATCH, WINDOW};

/// Bytes of the buffer.
pub(super) const SIZE: usize = 2 * WINDOW;
/// The array is longer, so that a comparison may read eight bytes at once behind the longest match.
const ARRAY: usize = 1 + SIZE + MAXIMUM_MATCH + 8;

/// Up to [`SIZE`] bytes, at the indices from 1 on.
#[derive(Debug)]
pub(super) struct Buffer {
    bytes: Box<[u8; ARRAY]>,
    /// Index behind the last byte.
    end: usize,
}

impl Buffer {
    pub(super) fn new() -> Self {
        Self { bytes: Box::new([0; ARRAY]), end: 1 }
    }

    /// Index behind the last byte.
    #[inline]
    pub(super) fn end(&self) -> usize {
        self.end
    }

    #[inline]
    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(1..self.end).unwrap_or_default()
    }

    /// Number of bytes from `at` on.
    #[inline]
    pub(super) fn ahead(&self, at: usize) -> usize {
        self.end.saturating_sub(at)
    }

    pub(super) fn is_full(&self) -> bool {
        self.end == 1 + SIZE
    }

    /// Takes of `plain` what fits, and returns the rest.
    pub(super) fn fill<'a>(&mut self, plain: &'a [u8]) -> &'a [u8] {
        let (now, later) = plain.split_at(plain.len().min(1 + SIZE - self.end));
        self.bytes[self.end..][..now.len()].copy_from_slice(now);
        self.end += now.len();
        later
    }

    /// Removes the older half of a full buffer.
    pub(super) fn move_back(&mut self) {
        self.bytes.copy_within(1 + WINDOW..1 + SIZE, 1);
        self.end -= WINDOW;
    }

    /// Four bytes, which may reach behind the end.
    #[inline]
    pub(super) fn four(&self, at: usize) -> u32 {
        self.bytes.get(at..at + 4).and_then(|four| four.try_into().ok()).map_or(0, u32::from_le_bytes)
    }

    #[inline]
    fn eight(&self, at: usize) -> u64 {
        self.bytes.get(at..at + 8).and_then(|eight| eight.try_into().ok()).map_or(0, u64::from_le_bytes)
    }

    /// Number of equal bytes at `a` and at `b`, at most `limit`.
    #[inline]
    pub(super) fn common_prefix(&self, a: usize, b: usize, limit: usize) -> usize {
        let mut length = 0;
        while length < limit {
            let differ = self.eight(a + length) ^ self.eight(b + length);
            if differ != 0 {
                return limit.min(length + differ.trailing_zeros() as usize / 8);
            }
            length += 8;
        }
        limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_common_prefix_ends_at_the_first_difference_and_at_the_limit() {
        let plain: Vec<u8> = (0..40).collect();
        for length in 0..40 {
            let mut other = plain.clone();
            other[length] = 99;
            let mut buffer = Buffer::new();
            assert!(buffer.fill(&plain).is_empty() && buffer.fill(&other).is_empty());
            assert_eq!(buffer.common_prefix(1, 41, 40), length);
            assert_eq!(buffer.common_prefix(1, 41, length / 2), length / 2);
        }
    }

    #[test]
    fn a_full_buffer_keeps_its_newer_half() {
        let plain: Vec<u8> = (0..SIZE + 5).map(|at| (at / 251) as u8).collect();
        let mut buffer = Buffer::new();
        assert_eq!(buffer.fill(&plain), &plain[SIZE..]);
        assert!(buffer.is_full());
        buffer.move_back();
        assert_eq!(buffer.fill(&plain[SIZE..]), b"");
        assert_eq!(buffer.bytes(), &plain[WINDOW..]);
    }
}
