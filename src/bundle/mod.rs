// SPDX-License-Identifier: Apache-2.0
//! The bundle: a plain tar that is an OCI image layout, in one canonical form (see [`layout`]).
//!
//! No tar parser stands in the trusted path: a reader makes every byte outside the blobs again from the signed
//! manifest, and compares.

mod error;
mod file;
mod freshness;
mod images;
pub mod layout;
mod manifest;
mod open;
mod verify;
mod write;

pub use error::BundleError;
pub use freshness::{Freshness, HighWaterMark, RollbackError, follows};
pub use images::{BundledImage, BundledImages};
pub use layout::Layout;
pub use manifest::{
    BundleBlob, BundleImage, BundleManifest, BundleReferrer, BundleSet, BundleSource, FORMAT_VERSION,
    MAX_SET, MAX_SETS, ManifestError, StreamName,
};
pub use open::{Bundle, Policy};
pub use write::{Writer, sign, trusted_comment};
