// SPDX-License-Identifier: Apache-2.0
//! How a layer is compressed: from its plain bytes and a recipe, the same bytes again.
//!
//! [`find`] makes the recipe of a layer, [`recompress`] uses it. A recipe has neither the size nor the digest of anything: all
//! layers that the same program wrote have the same recipe.
//!
//! # Format
//! All numbers are single bytes or, where it says so, unsigned LEB128 (7 bits a byte, lowest first, the highest bit says that
//! another follows; at most 3 bytes, without superfluous ones).
//!
//! | bytes | content |
//! |---|---|
//! | 1 | version: 1 |
//! | 1 | kind: 0 not compressed, 1 gzip by an encoder, 2 gzip by corrections |
//!
//! Kind 0 has nothing more. Kinds 1 and 2:
//!
//! | bytes | content |
//! |---|---|
//! | 2 | family of the encoder ([`Family::to_bytes`]); for kind 2, the family of which the match finder is |
//! | 1 | kind 2 only: how codes are expected to be made ([`Trees`]): 0 Go, 1 zlib |
//! | LEB128 | size of the gzip header, at most 4096; 0 if it is the usual one of the family ([`Family::header`]) |
//! | that many | the gzip header |
//! | LEB128 | number of bytes behind the gzip stream, at most 4096 |
//! | that many | these bytes |
//! | the rest | kind 2 only: the corrections ([`corrections`](crate::corrections)) |
//!
//! The compressed layer is the header, the deflate stream, the CRC-32 and the size modulo 2^32 of the plain bytes (RFC 1952), and
//! the bytes behind.

mod candidate;
mod encoding;
mod find;
mod recompress;

pub use encoding::RecipeError as DecodeError;
pub use find::{Found, Reason, find};
pub use recompress::{RecipeError, recompress};

use crate::corrections::Trees;
use crate::deflate::inflate::HEADER_MAXIMUM;
use crate::encoder::Family;

/// Bytes behind a gzip stream that a recipe keeps.
const BEHIND_MAXIMUM: usize = 4096;

/// How a layer is compressed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recipe {
    /// Not at all.
    Plain,
    /// By gzip, in one member.
    Gzip(Gzip),
}

/// How a gzip stream is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gzip {
    family: Family,
    corrections: Option<Corrections>,
    header: Vec<u8>,
    behind: Vec<u8>,
}

/// How a stream differs from what an encoder writes.
#[derive(Clone, PartialEq, Eq)]
struct Corrections {
    trees: Trees,
    bytes: Vec<u8>,
}

impl std::fmt::Debug for Corrections {
    /// Without the bytes, of which there can be megabytes.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Corrections").field("trees", &self.trees).field("size", &self.bytes.len()).finish()
    }
}

impl Gzip {
    /// The encoder, or the one to which the corrections refer.
    #[must_use]
    pub fn family(&self) -> Family {
        self.family
    }

    /// Size of the corrections; `None` if the encoder writes the stream without any.
    #[must_use]
    pub fn corrections(&self) -> Option<usize> {
        self.corrections.as_ref().map(|corrections| corrections.bytes.len())
    }
}

#[cfg(test)]
mod tests;
