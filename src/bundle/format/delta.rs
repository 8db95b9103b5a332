// SPDX-License-Identifier: Apache-2.0
//! What a bundle declares to be missing: the layers that a delta expects at the site, and the images that could not be
//! fetched.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::oci::digest::Digest;
use crate::oci::platform::Platform;
use crate::oci::reference::Reference;

/// Most receipts and bundles that one delta is made against.
pub const MAX_SOURCES: usize = 1000;
/// Most repositories that are named for one layer: enough to find it, however many share it.
pub const MAX_REPOSITORIES: usize = 16;

/// The layers that a delta expects at the site. Indexes, manifests and configs are always in the bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BundleBase {
    /// The layers, sorted by digest.
    pub layers: Vec<BaseLayer>,
    /// The sources that say that the sites have them.
    pub sources: Vec<BaseSource>,
}

/// A layer that the manifest lists and the archive does not contain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BaseLayer {
    /// Digest of its content.
    pub digest: Digest,
    /// Repositories at the site that are said to hold it, sorted.
    pub repositories: Vec<String>,
    /// Bytes of its content.
    pub size: u64,
}

/// A receipt, or an earlier bundle.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BaseSource {
    /// When it was made.
    pub created_at: Timestamp,
    /// Digest of the receipt, or of the bundle's manifest.
    pub digest: Digest,
    /// What it is.
    pub kind: BaseKind,
    /// For people: registry and site, or stream and sequence.
    pub name: String,
}

/// What says that a site has a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BaseKind {
    /// An earlier bundle, which is assumed to have been imported.
    Bundle,
    /// A receipt of the site.
    Receipt,
}

/// An image that the sets list and that could not be fetched (`krs bundle --keep-going`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BundleMissing {
    /// Requested platforms; empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub platforms: Vec<Platform>,
    /// Why, in one line.
    pub reason: String,
    /// The reference of the sets, in normal form.
    pub reference: Reference,
}
