// SPDX-License-Identifier: Apache-2.0
//! The parts of OCI and Docker manifests that decide what a bundle contains. They are read strictly where two readers could
//! disagree, and tolerantly elsewhere.
//!
//! Manifests are never serialised from these types: fetched bytes are kept, hashed and forwarded unchanged.

pub mod closure;
mod descriptor;
pub mod digest;
mod manifest;
mod media_type;
pub mod platform;
pub mod reference;
mod select;
mod stated_platform;
pub(crate) mod written;

pub use descriptor::{Descriptor, Inline, MAX_URLS};
pub use manifest::{
    Index, MAX_BLOB, MAX_ENTRIES, MAX_INDEX_DEPTH, MAX_MANIFEST, Manifest, ManifestOrIndex,
    ParseManifestError,
};
pub use media_type::{DOCKER_INDEX, DOCKER_MANIFEST, MANIFEST_TYPES, OCI_INDEX, OCI_MANIFEST, is_manifest};
pub use select::{Choice, Matching, select};
pub use stated_platform::StatedPlatform;
