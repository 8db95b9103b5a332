// SPDX-License-Identifier: Apache-2.0
//! The levels of `compress/flate`.

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
}
