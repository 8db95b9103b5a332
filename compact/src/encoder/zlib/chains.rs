// SPDX-License-Identifier: Apache-2.0
//! Earlier positions with the same three bytes, newest first, and the search for the longest match among them.

use super::window::{HALF, Window};
use crate::deflate::MINIMUM_MATCH;

const HASHES: usize = 1 << 15;

/// A copy of earlier bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Match {
    pub(super) length: usize,
    pub(super) distance: usize,
}

impl Match {
    /// Shorter than any that is written.
    pub(super) const NONE: Self = Self { length: MINIMUM_MATCH - 1, distance: 0 };
}

/// Where a search stops.
#[derive(Debug, Clone, Copy)]
pub(super) struct Effort {
    /// Only longer matches are of interest.
    pub(super) beat: usize,
    /// Longer matches are not looked for.
    pub(super) limit: usize,
    pub(super) nice: usize,
    pub(super) tries: u16,
    pub(super) max_distance: usize,
}

/// For each hash the newest position, and for each position the one before it with the same hash.
///
/// Position 0 stands for "none", so that the first position of a window is never found. This is how zlib does it.
pub(super) struct Chains {
    newest: Box<[u16; HASHES]>,
    earlier: Box<[u16; HALF]>,
}

impl std::fmt::Debug for Chains {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Chains").finish_non_exhaustive()
    }
}

impl Chains {
    pub(super) fn new() -> Self {
        Self { newest: Box::new([0; HASHES]), earlier: Box::new([0; HALF]) }
    }

    pub(super) fn clear(&mut self) {
        self.newest.fill(0);
        // A chain is followed only from its newest position, so that these could stay; but then the state would depend on them.
        self.earlier.fill(0);
    }

    /// Follows a window that has moved.
    pub(super) fn shift(&mut self) {
        for position in self.newest.iter_mut().chain(self.earlier.iter_mut()) {
            *position = position.saturating_sub(HALF as u16);
        }
    }

    /// Adds `position`, which must be larger than all before it, and returns the newest candidate for it, or 0.
    #[inline(always)]
    pub(super) fn insert(&mut self, window: &Window, position: usize) -> usize {
        let bytes = window.four(position);
        let hash = ((bytes & 0xff) << 10) ^ ((bytes >> 8 & 0xff) << 5) ^ (bytes >> 16 & 0xff);
        let newest = &mut self.newest[hash as usize % HASHES];
        let candidate = *newest;
        *newest = position as u16;
        self.earlier[position % HALF] = candidate;
        usize::from(candidate)
    }

    /// The newest candidate for a position that was added, and nothing later.
    pub(super) fn candidate(&self, position: usize) -> usize {
        usize::from(self.earlier[position % HALF])
    }

    /// The nearest of the longest matches for `position` among `candidate` and those before it, if one is long enough.
    ///
    /// The caller checks that `candidate` is not 0 and not too far away. The following ones have to be nearer than
    /// `max_distance`, which is one byte less than for the first. This is how zlib does it.
    #[inline(always)]
    pub(super) fn longest(
        &self,
        window: &Window,
        position: usize,
        mut candidate: usize,
        effort: Effort,
    ) -> Option<Match> {
        let Effort { beat, limit, nice, mut tries, max_distance } = effort;
        if beat >= limit {
            return None;
        }
        let floor = position.saturating_sub(max_distance);
        if position - candidate >= HALF {
            // The cell of this candidate in the ring is that of `position` now.
            tries = 1;
        }
        let mut longest = Match { length: beat, distance: 0 };
        let mut probe = Probe::new(window, position, beat);
        loop {
            // Loaded before the comparison, so that it does not wait for it: a sixth of the time of level 9.
            let next = self.candidate(candidate);
            if probe.is_hit(window, candidate) {
                let length = window.common_prefix(candidate, position, limit);
                if length > longest.length {
                    longest = Match { length, distance: position - candidate };
                    if length >= nice || length >= limit {
                        break;
                    }
                    probe = Probe::new(window, position, length);
                }
            }
            tries -= 1;
            if tries == 0 {
                break;
            }
            candidate = next;
            if candidate <= floor {
                break;
            }
        }
        (longest.distance > 0).then_some(longest)
    }
}

/// The last four bytes of a match that would be one byte longer than the longest until now: where these differ, nothing else has
/// to be compared. With a length of two there are only three bytes.
#[derive(Clone, Copy)]
struct Probe {
    offset: usize,
    bytes: u32,
    mask: u32,
}

impl Probe {
    #[inline(always)]
    fn new(window: &Window, position: usize, length: usize) -> Self {
        let offset = length.saturating_sub(3);
        let mask = if length < 3 { 0x00ff_ffff } else { u32::MAX };
        Self { offset, bytes: window.four(position + offset), mask }
    }

    #[inline(always)]
    fn is_hit(self, window: &Window, candidate: usize) -> bool {
        (window.four(candidate + self.offset) ^ self.bytes) & self.mask == 0
    }
}
