// SPDX-License-Identifier: Apache-2.0
//! Why a stream is not read.

use std::io;

/// A gzip stream that is malformed, or that no recipe describes.
#[derive(Debug, thiserror::Error)]
#[error("at byte {at} of the gzip stream: {fault}")]
pub struct InflateError {
    /// Position in the gzip stream.
    pub at: u64,
    /// What is there.
    #[source]
    pub fault: Fault,
}

impl From<InflateError> for io::Error {
    fn from(error: InflateError) -> Self {
        let kind = match &error.fault {
            Fault::Read(error) => error.kind(),
            Fault::Truncated => io::ErrorKind::UnexpectedEof,
            _ => io::ErrorKind::InvalidData,
        };
        Self::new(kind, error)
    }
}

/// What is wrong with a gzip stream.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// The reader failed.
    #[error("cannot read: {0}")]
    Read(#[from] io::Error),
    /// The input ends early.
    #[error("the stream ends early")]
    Truncated,
    /// Other bytes than those with which gzip begins.
    #[error("expected a gzip header (1f 8b 08 and known flags), got {0:02x?}")]
    NotGzip([u8; 4]),
    /// A file name, comment or extra field that is too long to carry.
    #[error("the gzip header is longer than {0} bytes")]
    HeaderTooLong(usize),
    /// Block type 3.
    #[error("a block has the reserved type 3")]
    BlockType,
    /// LEN and NLEN of a stored block differ.
    #[error("the length of a stored block and its complement differ")]
    StoredLength,
    /// More codes than the alphabets have symbols.
    #[error(
        "a block has {literals} code lengths of literals and {distances} of distances, at most 286 and 30 are possible"
    )]
    CodeCounts {
        /// HLIT + 257.
        literals: usize,
        /// HDIST + 1.
        distances: usize,
    },
    /// No prefix code, or an incomplete one.
    #[error("the code lengths of the {0} are no complete prefix code")]
    CodeLengths(Alphabet),
    /// A repeat code that repeats nothing, or too much.
    #[error("the code lengths of a block do not end where they must")]
    Runs,
    /// No code for the end of the block.
    #[error("a block has no code for its end")]
    EndOfBlock,
    /// A code that stands for no symbol.
    #[error("a code of {0} has no symbol")]
    Symbol(Alphabet),
    /// Length 258 written as 227 + 31.
    #[error("the length 258 is written as 227 + 31, which no encoder does")]
    Length,
    /// A copy from before the first byte.
    #[error("a match reaches {distance} bytes back, only {available} exist")]
    Distance {
        /// Bytes back.
        distance: usize,
        /// Bytes that exist.
        available: u64,
    },
    /// CRC-32 of the plain bytes.
    #[error("the check sum is {expected:08x}, the plain bytes have {actual:08x}")]
    Checksum {
        /// In the stream.
        expected: u32,
        /// Of the plain bytes.
        actual: u32,
    },
    /// Size of the plain bytes.
    #[error("the plain size modulo 2^32 is {expected}, got {actual} bytes")]
    Size {
        /// In the stream.
        expected: u32,
        /// Of the plain bytes.
        actual: u32,
    },
    /// Bytes behind the gzip stream that are no gzip stream.
    #[error("behind the gzip stream are bytes that are neither zero nor another gzip stream")]
    Behind,
}

/// What a code stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alphabet {
    /// Code lengths.
    CodeLengths,
    /// Literals and lengths.
    Literals,
    /// Distances.
    Distances,
}

impl std::fmt::Display for Alphabet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::CodeLengths => "code lengths",
            Self::Literals => "literals and lengths",
            Self::Distances => "distances",
        })
    }
}
