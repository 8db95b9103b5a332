// SPDX-License-Identifier: Apache-2.0
//! Why corrections cannot be made or used.

/// Corrections that do not fit the plain bytes, or that cannot be made for a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CorrectionError {
    /// The stored decisions end early.
    #[error("the corrections end at plain byte {at}, before the stream does")]
    TooFew {
        /// Position in the plain bytes.
        at: u64,
    },
    /// Stored decisions are left.
    #[error("the corrections continue behind the end of the stream")]
    TooMany,
    /// A copy of bytes that are not there.
    #[error("at plain byte {at}, a match of {length} bytes, {distance} bytes back, is no copy")]
    Match {
        /// Position in the plain bytes.
        at: u64,
        /// Bytes.
        length: u16,
        /// Bytes back.
        distance: u16,
    },
    /// Code lengths, or their runs, that contradict themselves or the tokens.
    #[error("at plain byte {at}, the codes of a block contradict its content")]
    Codes {
        /// Position of the block's end in the plain bytes.
        at: u64,
    },
    /// The final block is not where the plain bytes end.
    #[error("the final block ends at plain byte {at}, the plain bytes do not")]
    End {
        /// Position in the plain bytes.
        at: u64,
    },
    /// More tokens in a block than are held in memory.
    #[error("the block that ends behind plain byte {at} has more than {most} tokens")]
    BlockTooLong {
        /// Position in the plain bytes.
        at: u64,
        /// Tokens of a block at most.
        most: usize,
    },
    /// Blocks without content, one behind the other.
    #[error("at plain byte {at}, more than {most} bytes of blocks begin")]
    TooLarge {
        /// Position in the plain bytes.
        at: u64,
        /// The limit.
        most: u64,
    },
    /// A match finder and the tokens that answer it are not at the same place.
    #[error("at plain byte {at}, the match finder is at {finder}")]
    OutOfStep {
        /// Position of the stream.
        at: u64,
        /// Position of the finder.
        finder: u64,
    },
}
