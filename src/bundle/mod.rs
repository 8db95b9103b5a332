// SPDX-License-Identifier: Apache-2.0
//! The bundle: a plain tar that is an OCI image layout, in one canonical form (see [`layout`]).
//!
//! No tar parser reads untrusted bytes: a reader computes every byte outside of the blobs from the signed manifest, and
//! compares.

mod disk;
mod error;
mod format;
mod read;
pub mod sign;
mod write;

pub use disk::file::sync_folder;
pub use disk::media::ReadFrom;
pub use error::{BundleError, IncompleteVolume};
pub use format::content::{BundleBlob, BundleImage, BundleReferrer, BundleSet, BundleSource};
pub use format::delta::{
    BaseKind, BaseLayer, BaseSource, BundleBase, BundleMissing, MAX_REPOSITORIES, MAX_SOURCES,
};
pub use format::error::ManifestError;
pub use format::freshness::{Freshness, HighWaterMark, RollbackError, follows, has_expired, is_clock_behind};
pub use format::layout::{self, Layout};
pub use format::manifest::{BundleManifest, MAX_SET, MAX_SETS};
pub use format::patch::{BundlePatch, MAX_PLAIN, PATCH_MEDIA_TYPE, PatchBase, PatchedLayer};
pub use format::stream::StreamName;
pub use format::volumes::{MAX_VOLUMES, Volume, VolumeList, archive_of, list_path, volume_of};
pub use read::find::{Form, FoundBundle, FoundBundles, find_bundles};
pub use read::images::{BundledImage, BundledImages};
pub use read::open::{Bundle, Policy};
pub use read::reader::begins_as_bundle;
pub use read::volume_check::{VolumeState, check_volumes};
pub use write::copy::{CopyOptions, CopyReport};
pub use write::lock::ArchiveLock;
pub use write::signing::{SignedBundle, sign, sign_list, trusted_comment};
pub use write::write_files::{Space, space};
pub use write::writer::Writer;
