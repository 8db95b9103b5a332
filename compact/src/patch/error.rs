// SPDX-License-Identifier: Apache-2.0
//! Why a patch is refused.

use std::io;

use super::format::Stream;
use super::varint::VarintError;

/// Why a patch is refused, or a target was not made.
#[derive(Debug, thiserror::Error)]
pub enum PatchError {
    /// The first bytes are not those of a patch.
    #[error("not a patch: it does not begin with `krspatch`")]
    Magic,
    /// Made by a later version.
    #[error("patch of format version {0}; expected {expected}", expected = super::format::VERSION)]
    Version(u8),
    /// The directory contradicts itself, the length of the patch, or a bound.
    #[error("invalid directory of the patch: {0}")]
    Directory(&'static str),
    /// A number of the directory.
    #[error("invalid directory of the patch")]
    DirectoryNumber(#[source] VarintError),
    /// Windows and frames that need more memory than the reader grants.
    #[error("the patch needs {needed} bytes of memory to be read; the limit is {limit}")]
    Memory {
        /// By the windows and the longest frame that the directory declares.
        needed: u64,
        /// What the caller allows.
        limit: u64,
    },
    /// The patch cannot be read.
    #[error("cannot read the patch")]
    Read(#[source] io::Error),
    /// The directory names no such target.
    #[error("the patch has {targets} targets, and no target {target}")]
    NoTarget {
        /// The number that was asked for.
        target: usize,
        /// How many there are.
        targets: usize,
    },
    /// A target cannot be made.
    #[error("target {target} at byte {offset}")]
    Target {
        /// Its number in the patch.
        target: usize,
        /// How many bytes of it were made.
        offset: u64,
        /// What is wrong there.
        #[source]
        problem: Problem,
    },
}

/// What is wrong with one operation of a target.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// A source that the target uses was not passed.
    #[error("source {0} is missing")]
    MissingSource(usize),
    /// A source of another length than that of the layer for which the patch was made.
    #[error("source {source_number} has {got} bytes; expected {expected}")]
    SourceLength {
        /// Its number: first the bases, then the earlier targets.
        source_number: usize,
        /// By the directory.
        expected: u64,
        /// By the source.
        got: u64,
    },
    /// A source cannot be read.
    #[error("cannot read source {source_number}")]
    ReadSource {
        /// Its number.
        source_number: usize,
        /// As the source says.
        #[source]
        error: io::Error,
    },
    /// The result cannot be written.
    #[error("cannot write the target")]
    Write(#[source] io::Error),
    /// A stream ends too early, is damaged, or needs a larger window than the directory declares.
    #[error("cannot read the stream of {stream}")]
    Stream {
        /// Which of the streams.
        stream: Stream,
        /// As the decoder says.
        #[source]
        error: io::Error,
    },
    /// A number in a stream.
    #[error("invalid number in the stream of {stream}")]
    Number {
        /// Which of the streams.
        stream: Stream,
        /// What is wrong with it.
        #[source]
        error: VarintError,
    },
    /// The target reads more or less of a stream than the directory declares.
    #[error("the target takes {got} bytes of the stream of {stream}; expected {expected}")]
    Share {
        /// Which of the streams.
        stream: Stream,
        /// By the directory.
        expected: u64,
        /// Those that were read.
        got: u64,
    },
    /// A stream has more bytes than its targets use.
    #[error("the stream of {0} does not end where the directory says")]
    Trailing(Stream),
    /// An operation that this version does not have.
    #[error("unknown operation {0:#04x}")]
    Operation(u8),
    /// More operations than the directory declares.
    #[error("{got} operations; expected {expected}")]
    Operations {
        /// By the directory.
        expected: u64,
        /// Those that were read.
        got: u64,
    },
    /// A source that is not in the target's list.
    #[error("an operation uses number {index} of {sources} sources")]
    SourceIndex {
        /// In the list of the target.
        index: u64,
        /// The length of this list.
        sources: usize,
    },
    /// Bytes outside of the source, or outside of the range of a difference.
    #[error("{length} bytes at {offset} are outside of the {available} bytes there are")]
    Range {
        /// Where they begin.
        offset: i128,
        /// How many.
        length: u64,
        /// What there is.
        available: u64,
    },
    /// More bytes than the target has, or none.
    #[error("an operation makes {length} bytes where {rest} are expected")]
    Length {
        /// Those that it would make.
        length: u64,
        /// What is missing of the target.
        rest: u64,
    },
    /// A frame that needs more memory than the directory declares.
    #[error("a frame of {length} bytes with a prefix of {prefix}; the directory declares {declared} at most")]
    FrameMemory {
        /// Uncompressed.
        length: u64,
        /// Of the source.
        prefix: u64,
        /// Both together.
        declared: u64,
    },
    /// A frame with a prefix that is long for what it makes.
    #[error("a frame of {length} bytes with a prefix of {prefix}; at most {most} are allowed")]
    Prefix {
        /// Uncompressed.
        length: u64,
        /// Of the source.
        prefix: u64,
        /// What is allowed for this length.
        most: u64,
    },
    /// A frame that is damaged, or whose length differs from the one that its operation declares.
    #[error("invalid frame")]
    Frame(#[source] io::Error),
    /// A frame of another length.
    #[error("a frame of {stored} bytes does not make exactly {length} bytes")]
    FrameLength {
        /// Compressed.
        stored: u64,
        /// Uncompressed.
        length: u64,
    },
    /// Edits of a header that are not within it.
    #[error("edits of a header outside of its {} bytes", super::format::BLOCK)]
    Edits,
    /// Edits that are used again, and are none of the last.
    #[error("edits that are {0} back are not kept")]
    EditsBack(u64),
}
