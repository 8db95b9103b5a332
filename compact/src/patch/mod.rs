// SPDX-License-Identifier: Apache-2.0
//! Patches: layers from other layers, and how a patch is encoded.
//!
//! A patch makes one or more *targets* (uncompressed layers), in order, from *sources*: first the *bases* (uncompressed layers that
//! the site has), then the targets before it. A reader needs no tar parser: all is ranges of bytes.
//!
//! The encoding is described in `docs/reference/patches.md`.

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
