// SPDX-License-Identifier: Apache-2.0
//! What all parts of a patch share.

use std::fmt;

/// The first bytes of a patch.
pub(super) const MAGIC: [u8; 8] = *b"krspatch";

/// The version of the format.
pub(super) const VERSION: u8 = 1;

/// The bytes of a block of a tar stream.
pub(crate) const BLOCK: usize = 512;

/// One block.
pub(crate) type Block = [u8; BLOCK];

/// The longest prefix of a frame with so many bytes of content: a reader reads all of it, and content of one byte must not cost
/// as much time as a file.
pub(crate) fn max_prefix(length: u64) -> u64 {
    length.saturating_mul(16).saturating_add(1 << 20)
}

/// A stream of a patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stream {
    /// What to do, in order.
    Operations = 0,
    /// Edits of tar headers.
    Headers = 1,
    /// Lengths and positions of differences.
    Control = 2,
    /// Bytes that are added to bytes of a source.
    Difference = 3,
    /// Bytes between these.
    Extra = 4,
    /// Content that no source has.
    New = 5,
    /// Frames that were compressed each on its own, with a range of a source as prefix.
    Frames = 6,
}

impl Stream {
    /// All, in the order of the patch.
    pub const ALL: [Self; STREAMS] = [
        Self::Operations,
        Self::Headers,
        Self::Control,
        Self::Difference,
        Self::Extra,
        Self::New,
        Self::Frames,
    ];
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Operations => "operations",
            Self::Headers => "headers",
            Self::Control => "control numbers",
            Self::Difference => "differences",
            Self::Extra => "extra bytes",
            Self::New => "new content",
            Self::Frames => "frames",
        })
    }
}

/// The number of streams.
pub const STREAMS: usize = 7;
