// SPDX-License-Identifier: Apache-2.0
//! The bundle: a plain tar that is an OCI image layout, in one canonical form (see [`layout`]).
//!
//! No tar parser stands in the trusted path: a reader makes every byte outside the blobs again from the signed
//! manifest, and compares.

mod base;
mod copy;
mod error;
mod file;
mod find;
mod freshness;
mod images;
mod journal;
pub mod layout;
mod leftover;
mod manifest;
mod media;
mod open;
mod output;
mod parts;
mod reader;
pub mod sign;
mod signing;
mod single;
mod verify;
mod volumes;
mod write;

pub use base::{BaseKind, BaseLayer, BaseSource, BundleBase, BundleMissing, MAX_REPOSITORIES, MAX_SOURCES};
pub use copy::{Copied, CopyOptions};
pub use error::{BundleError, Lacking};
pub use file::sync_folder;
pub use find::{Form, FoundBundle, FoundBundles, find_bundles};
pub use freshness::{Freshness, HighWaterMark, RollbackError, follows, is_clock_behind};
pub use images::{BundledImage, BundledImages};
pub use layout::Layout;
pub use manifest::{
    BundleBlob, BundleImage, BundleManifest, BundleReferrer, BundleSet, BundleSource, MAX_SET, MAX_SETS,
    ManifestError, StreamName,
};
pub use media::ReadFrom;
pub use open::{Bundle, Policy};
pub use output::{Space, space};
pub use reader::begins_as_bundle;
pub use signing::{SignedBundle, sign, sign_list, trusted_comment};
pub use single::{VolumeState, check_volumes};
pub use volumes::{MAX_VOLUMES, Volume, VolumeList, list_path, volume_of};
pub use write::Writer;
