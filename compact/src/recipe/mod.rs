// SPDX-License-Identifier: Apache-2.0
//! How a layer is compressed: from its plain bytes and a recipe, the same bytes again.
//!
//! [`find`] makes the recipe of a layer, [`recompress`] uses it. A recipe has neither the size nor the digest of anything: all
//! layers that the same program wrote have the same recipe.
//!
//! The format is described in `docs/reference/patches.md`.

mod candidate;
mod encoding;
mod find;
mod layer;
mod recompress;

pub use encoding::RecipeError as DecodeError;
pub use find::Reason;
pub use layer::{Found, find};
pub use recompress::{RecipeError, recompress};

use crate::corrections::Trees;
use crate::deflate::inflate::HEADER_MAXIMUM;
use crate::encoder::Family;

/// Bytes behind a gzip stream that a recipe keeps.
const BEHIND_MAXIMUM: usize = 4096;
/// Members of a layer. Each takes a new encoder, also if it is empty.
const MEMBERS_MAXIMUM: usize = 1 << 17;
/// Different ways in which members are written.
const SETTINGS_MAXIMUM: usize = 16;

/// How a layer is compressed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recipe {
    /// Not at all.
    Plain,
    /// By gzip, in one member.
    Gzip(Gzip),
    /// By gzip, in several members.
    Members(Members),
}

/// How a gzip stream is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gzip {
    family: Family,
    corrections: Option<Corrections>,
    header: Vec<u8>,
    behind: Vec<u8>,
}

/// How gzip streams are written, one behind the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Members {
    /// None of them has bytes behind.
    settings: Vec<Gzip>,
    runs: Vec<Run>,
    behind: Vec<u8>,
}

/// Members with the same settings.
#[derive(Clone, PartialEq, Eq)]
struct Run {
    /// Number of the settings.
    setting: usize,
    /// Plain bytes of each member.
    sizes: Vec<u64>,
}

impl std::fmt::Debug for Run {
    /// Without the sizes, of which there can be a hundred thousand.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Run").field("setting", &self.setting).field("members", &self.sizes.len()).finish()
    }
}

impl Members {
    /// Takes the next member.
    fn push(&mut self, setting: usize, size: u64) {
        match self.runs.last_mut() {
            Some(run) if run.setting == setting => run.sizes.push(size),
            _ => self.runs.push(Run { setting, sizes: vec![size] }),
        }
    }

    /// How many members there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.runs.iter().map(|run| run.sizes.len()).sum()
    }

    /// Different ways in which members are written.
    #[must_use]
    pub fn settings(&self) -> &[Gzip] {
        &self.settings
    }
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
