// SPDX-License-Identifier: Apache-2.0
//! Patches: layers from other layers, and how a patch is encoded.
//!
//! A patch makes one or more *targets* (uncompressed layers), in order, from *sources*: first the *bases* (uncompressed layers that
//! the site has), then the targets before it. A reader needs no tar parser: all is ranges of bytes.
//!
//! # Encoding
//!
//! Numbers are LEB128 in their shortest form, of at most 64 bits, unless another encoding is given. A signed number `n` is encoded
//! as `2n`, or as `-2n - 1` if it is negative.
//!
//! | bytes | content |
//! |---|---|
//! | 8 | `krspatch` |
//! | 1 | version: 1 |
//! | 4 | length of the directory, little-endian, at most 4 MiB |
//! | … | directory |
//! | … | seven streams, one after the other; nothing follows |
//!
//! ## Directory
//!
//! 1. The number of bases (at most 65536), and the length of each.
//! 2. The number of targets (at most 65536), and for each: its length; the number of its sources; the numbers of these, ascending,
//!    each as the distance from the number after the one before it (the first: from 0); the number of its operations; and how many
//!    bytes it takes of each stream, uncompressed, in the order of the streams.
//! 3. The largest sum of prefix and content of a frame.
//! 4. For each stream: a byte with the logarithm of its window (10 to 27; 0 for an empty stream and for the frames), and the number
//!    of its bytes in the patch.
//!
//! ## Streams
//!
//! In this order: operations, headers, control numbers, differences, extra bytes, new content, frames. Each but the last is one zstd
//! frame (RFC 8878) without a dictionary, whose window is at most the declared one; a stream without bytes is absent. Frames are
//! zstd frames, one after the other, which are not compressed again. The uncompressed length of a stream is the sum of what its
//! targets take.
//!
//! ## Operations
//!
//! A byte, and numbers. Each operation makes at least one byte, and those of a target make exactly its bytes.
//!
//! | byte | operation | numbers | what it makes |
//! |---|---|---|---|
//! | 1 | copy | place, length | bytes of a source |
//! | 2 | new | length | the next bytes of the stream of new content |
//! | 3 | frame | place, prefix, length, stored | the content of a frame of `stored` bytes, whose prefix is a range of the source |
//! | 4 | difference | place, range, length | see below |
//! | 5 | header | place | 512 bytes of the source, with the next edits |
//! | 6 | header again | place, back | 512 bytes of the source, with the edits of this target that are `back` before the next (1 to 16) |
//! | 7 | block | – | the last 512 bytes that this target made by 5, 6 or 7 (at first: zeros), with the next edits |
//! | 8 | zeros | length | zeros |
//!
//! A *place* is the position of the source in the target's list, and the signed distance of its offset from where the last operation
//! of this target on this source ended (at first: 0). If the bit 0x10 of the operation is set, the place is absent: the source is
//! that of the last operation that had one, and the distance is 0. An operation ends, in its source, where its range ends; the range
//! of a frame is its prefix.
//!
//! A frame declares its content size, or has a window that is not larger than its content; it has no dictionary. The prefix is what
//! zstd calls so (`ZSTD_DCtx_refPrefix`): the content continues it. It is not longer than 16 times the content and 1 MiB.
//!
//! ## Edits
//!
//! In the stream of headers: a number, of which the two lowest bits are the form of the checksum, and the others the number of runs;
//! then for each run: its distance from the end of the one before it, its length (at least 1), and its bytes. The checksum of a tar
//! header is computed after the runs: the sum of all bytes, with spaces in the place of bytes 148 to 155, as octal digits with leading
//! zeros from byte 148 on. Form 0: it is not computed; form 1: six digits; form 2: seven digits.
//!
//! ## Differences
//!
//! Steps, in the stream of control numbers, until the length is made: a signed number by which the position in the range moves (at
//! first: 0), the number of bytes of the range to each of which the next byte of the stream of differences is added (modulo 256), and
//! the number of bytes of the stream of extra bytes that follow. The position is then after the bytes of the range. A step makes at
//! least one byte, and stays within the range.

mod directory;
mod edits;
mod error;
mod format;
mod operation;
mod read_at;
mod rebuild;
mod streams;
mod varint;

pub use directory::{Directory, MAX_WINDOW_LOG, Section, Target};
pub use error::{PatchError, Problem};
pub use format::{STREAMS, Stream};
pub use read_at::{FileBytes, RangeReader, ReadAt};
pub use rebuild::{Limits, Patch, Rebuild};
pub use varint::VarintError;

#[cfg(test)]
mod tests;

pub(crate) use edits::{Edits, RecentEdits};
pub(crate) use format::{BLOCK, Block, max_prefix};
pub(crate) use operation::{Cursors, Operation, Place, Step};
