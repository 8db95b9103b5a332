// SPDX-License-Identifier: Apache-2.0
//! Go's `compress/flate`, as it was from Go 1.15 (at the latest) to Go 1.26.
//!
//! Levels 2 to 9 search in hash chains, greedy (2, 3) or lazy; level 1 has one candidate for each hash value and skips ahead in
//! data without matches; -2 writes literals only, and 0 stores.

mod block;
mod buffer;
mod chains;
mod encoders;
mod fast;
mod greedy;
mod lazy;
mod window;

pub use fast::Fast;
pub use greedy::Greedy;
pub use lazy::Lazy;

use super::Encoder;

/// Bytes of a block at the levels that do not search chains.
const CHUNK: usize = 65535;

/// A level of `compress/flate`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Level(i8);

impl Level {
    /// Level -2 (Huffman only), -1 (default) or 0 to 9. The default level is level 6.
    #[must_use]
    pub fn new(level: i8) -> Option<Self> {
        match level {
            -1 => Some(Self(6)),
            -2..=9 => Some(Self(level)),
            _ => None,
        }
    }

    /// -2 or 0 to 9.
    #[must_use]
    pub fn number(self) -> i8 {
        self.0
    }

    /// The field XFL of the header that `compress/gzip` writes.
    #[must_use]
    pub fn extra_flags(self) -> u8 {
        match self.0 {
            1 => 4,
            9 => 2,
            _ => 0,
        }
    }

    /// An encoder of this level.
    #[must_use]
    pub fn encoder(self) -> Box<dyn Encoder> {
        encoders::of_level(self)
    }

    /// The search of levels 4 to 9.
    #[must_use]
    pub fn lazy(self) -> Option<Lazy> {
        let (lazy, nice, tries) = match self.0 {
            4 => (4, 16, 16),
            5 => (16, 32, 32),
            6 => (16, 128, 128),
            7 => (32, 128, 256),
            8 => (128, 258, 1024),
            9 => (258, 258, 4096),
            _ => return None,
        };
        Some(Lazy::new(chains::Search { nice, tries }, lazy))
    }

    /// The search of levels 2 and 3.
    #[must_use]
    pub fn greedy(self) -> Option<Greedy> {
        let (insert_limit, nice, tries) = match self.0 {
            2 => (5, 16, 8),
            3 => (6, 32, 32),
            _ => return None,
        };
        Some(Greedy::new(chains::Search { nice, tries }, insert_limit))
    }
}
