// SPDX-License-Identifier: Apache-2.0
//! Why a manifest is not accepted.

use thiserror::Error;

use crate::format::FORMAT_VERSION;
use crate::json::JsonError;

/// Why a manifest is not accepted.
#[derive(Debug, Error)]
pub enum ManifestError {
    /// Not JSON of this shape.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// Made by a later version of krs. (T-07)
    #[error("it is of format version {0}; this krs reads up to version {FORMAT_VERSION}")]
    Version(u32),
    /// Readable, but not in the one form in which krs writes it.
    #[error("it is not in canonical form")]
    NotCanonical,
    /// It contradicts itself.
    #[error("it contradicts itself: {0}")]
    Inconsistent(String),
}
