// SPDX-License-Identifier: Apache-2.0
//! The bytes that a match finder can use: some that it has passed, and some ahead.

use std::ops::Range;

use crate::deflate::{MAXIMUM_MATCH, MINIMUM_MATCH, WINDOW};

/// While more bytes may come, a search starts only where this many are at hand: a match, one byte more, and three to hash.
pub(super) const LOOK_AHEAD: usize = MAXIMUM_MATCH + MINIMUM_MATCH + 1;

/// By how much the window moves.
pub(super) const HALF: usize = WINDOW;

/// Positions in a window are below this, so that they fit into 16 bits.
pub(super) const CAPACITY: usize = 2 * HALF;

/// From this position on, the window moves when more bytes are needed.
pub(super) const MOVE_FROM: usize = CAPACITY - LOOK_AHEAD;

/// Eight bytes can be loaded at each position.
const PADDING: usize = 8;

/// A buffer that moves over the plain bytes in steps of half its size.
///
/// Which matches zlib finds depends on where its buffer stands, so this one moves at the same positions. GNU gzip even reads
/// bytes behind the end of the input; therefore the upper half stays as it was when the window moves.
pub(super) struct Window {
    bytes: Box<[u8; CAPACITY + PADDING]>,
    end: usize,
    /// The place of position 0 in the stream.
    base: u64,
}

impl std::fmt::Debug for Window {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Window").field("base", &self.base).field("end", &self.end).finish_non_exhaustive()
    }
}

impl Window {
    pub(super) fn new() -> Self {
        Self { bytes: Box::new([0; CAPACITY + PADDING]), end: 0, base: 0 }
    }

    /// Takes as many bytes as there is room for, and returns the rest.
    pub(super) fn fill<'a>(&mut self, input: &'a [u8]) -> &'a [u8] {
        let room = &mut self.bytes[self.end..CAPACITY];
        let (taken, rest) = input.split_at(room.len().min(input.len()));
        room[..taken.len()].copy_from_slice(taken);
        self.end += taken.len();
        rest
    }

    pub(super) fn is_full(&self) -> bool {
        self.end == CAPACITY
    }

    /// The position after the last byte.
    pub(super) fn end(&self) -> usize {
        self.end
    }

    /// What the window has.
    #[inline(always)]
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.end]
    }

    /// The place of `position` in the stream.
    pub(super) fn place(&self, position: usize) -> u64 {
        self.base + position as u64
    }

    /// Forgets the lower half. Positions become smaller by [`HALF`].
    pub(super) fn shift(&mut self) {
        self.bytes.copy_within(HALF..CAPACITY, 0);
        self.end = self.end.saturating_sub(HALF);
        self.base += HALF as u64;
    }

    /// Forgets all but the last 32 KiB, and returns how many bytes remain.
    pub(super) fn keep_dictionary(&mut self) -> usize {
        let passed = self.end.saturating_sub(HALF);
        self.bytes.copy_within(passed..self.end, 0);
        self.end -= passed;
        self.base += passed as u64;
        self.end
    }

    /// Sets the two bytes behind the end to zero, as GNU gzip does at the end of its input.
    pub(super) fn end_with_zeros(&mut self) {
        for byte in self.bytes.iter_mut().skip(self.end).take(2) {
            *byte = 0;
        }
    }

    /// The bytes at these places of the stream, if the window still has all of them.
    pub(super) fn at_places(&self, places: Range<u64>) -> Option<&[u8]> {
        let start = usize::try_from(places.start.checked_sub(self.base)?).ok()?;
        let end = usize::try_from(places.end.checked_sub(self.base)?).ok()?;
        self.bytes().get(start..end)
    }

    // Positions wrap at the capacity: so the compiler sees that each load is inside of the buffer. No search wraps where it counts:
    // what lies behind the end is compared, if at all, only inside of the buffer.

    pub(super) fn byte(&self, position: usize) -> u8 {
        self.bytes[position % CAPACITY]
    }

    #[inline(always)]
    pub(super) fn four(&self, position: usize) -> u32 {
        let at = position % CAPACITY;
        self.bytes[at..at + 4].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes))
    }

    #[inline(always)]
    fn eight(&self, position: usize) -> u64 {
        let at = position % CAPACITY;
        self.bytes[at..at + 8].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }

    /// How many bytes from `a` and from `b` on are the same, up to `limit`.
    #[inline(always)]
    pub(super) fn common_prefix(&self, a: usize, b: usize, limit: usize) -> usize {
        let mut length = 0;
        while length < limit {
            let difference = self.eight(a + length) ^ self.eight(b + length);
            if difference != 0 {
                return (length + difference.trailing_zeros() as usize / 8).min(limit);
            }
            length += 8;
        }
        limit
    }
}
