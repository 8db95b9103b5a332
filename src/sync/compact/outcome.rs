// SPDX-License-Identifier: Apache-2.0
//! What became of each layer.

use crate::oci::digest::Digest;

/// What became of a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerOutcome {
    /// The layer.
    pub digest: Digest,
    /// Its bytes.
    pub size: u64,
    /// What it belongs to.
    pub name: String,
    /// The bytes of the patch that it takes, about; or why it travels as it is.
    pub travels: Result<u64, String>,
}
