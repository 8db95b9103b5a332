// SPDX-License-Identifier: Apache-2.0
//! How much a match finder searches, and what it does with what it found.

use crate::deflate::{MAXIMUM_MATCH, MINIMUM_MATCH, WINDOW};

/// The limits of a search for matches, and the kind of parse that uses it.
///
/// The ten levels of zlib are ten of these. Any other combination is a predictor for an encoder that is not reproduced exactly:
/// all deflate encoders with hash chains decide alike for most tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Parameters {
    /// When a match is taken.
    pub parse: Parse,
    /// A lazy parse that holds a match of this length tries only a quarter of `chain`.
    pub good: u16,
    /// A search stops at a match of this length.
    pub nice: u16,
    /// Candidates that a search tries at most; 0 is as 1.
    pub chain: u16,
    /// The largest distance: at most 32768. The window does not always have this many bytes; see [`Finder`](super::Finder).
    pub max_distance: u16,
}

/// When a match is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Parse {
    /// Each match is taken as soon as it is found.
    Greedy {
        /// Positions inside of a longer match are not candidates for later matches.
        insert_limit: u16,
    },
    /// A match is taken unless there is a longer one at the next byte.
    Lazy {
        /// With a match of this length, the next byte is not searched.
        lazy: u16,
        /// A match of three bytes that is farther away than this is not taken.
        far_three: u16,
    },
}

/// The largest distance that zlib uses: its window without the bytes that it looks ahead.
const ZLIB_DISTANCE: u16 = 32506;

const fn greedy(insert_limit: u16, nice: u16, chain: u16) -> Parameters {
    // A greedy parse never holds a match, so that `good` has no effect.
    Parameters { parse: Parse::Greedy { insert_limit }, good: 4, nice, chain, max_distance: ZLIB_DISTANCE }
}

const fn lazy(good: u16, lazy: u16, nice: u16, chain: u16) -> Parameters {
    Parameters {
        parse: Parse::Lazy { lazy, far_three: 4096 },
        good,
        nice,
        chain,
        max_distance: ZLIB_DISTANCE,
    }
}

/// Levels 1 to 9 of zlib, GNU gzip and pigz.
const LEVELS: [Parameters; 9] = [
    greedy(4, 8, 4),
    greedy(5, 16, 8),
    greedy(6, 32, 32),
    lazy(4, 4, 16, 16),
    lazy(8, 16, 32, 32),
    lazy(8, 16, 128, 128),
    lazy(8, 32, 128, 256),
    lazy(32, 128, 258, 1024),
    lazy(32, 258, 258, 4096),
];

/// A level from 1 to 9 of zlib, GNU gzip or pigz.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Level(u8);

impl Level {
    /// Level 0 stores its input and -1 is 6, so that neither is one.
    #[must_use]
    pub fn new(number: u8) -> Option<Self> {
        (1..=LEVELS.len()).contains(&usize::from(number)).then_some(Self(number))
    }

    /// 1 to 9.
    #[must_use]
    pub fn number(self) -> u8 {
        self.0
    }

    /// What its search does.
    #[must_use]
    pub fn parameters(self) -> Parameters {
        LEVELS[usize::from(self.0 - 1) % LEVELS.len()]
    }

    /// The byte of a gzip header that tells about the level (RFC 1952, 2.3.1: XFL).
    #[must_use]
    pub fn extra_flags(self) -> u8 {
        match self.0 {
            1 => 4,
            9 => 2,
            _ => 0,
        }
    }
}

impl Parameters {
    /// With each value inside of what the search can use.
    pub(super) fn bounded(mut self) -> Self {
        self.nice = self.nice.clamp(MINIMUM_MATCH as u16, MAXIMUM_MATCH as u16);
        self.chain = self.chain.max(1);
        self.max_distance = self.max_distance.clamp(1, WINDOW as u16);
        self
    }
}
