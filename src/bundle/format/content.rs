// SPDX-License-Identifier: Apache-2.0
//! What a manifest lists: blobs, images with what refers to them, and sets.

use serde::{Deserialize, Serialize};

use crate::oci::digest::Digest;
use crate::oci::platform::Platform;
use crate::oci::reference::{Reference, Tag};

/// A blob and its offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BundleBlob {
    /// Digest of the content.
    pub digest: Digest,
    /// Offset of its content, counted from the header of the first blob.
    pub offset: u64,
    /// Bytes of the content.
    pub size: u64,
}

/// An image, chart or other artifact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BundleImage {
    /// Kind of artifact, if it is not a container image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// What the reference was resolved to.
    pub digest: Digest,
    /// Media type of the manifest or index with that digest.
    pub media_type: String,
    /// How many of its signatures, SBOMs and attestations are not in the archive because they could not be fetched. A
    /// look-up that failed counts as one. Since format version 2.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub missing_referrers: u32,
    /// Whether layers of it are in the base and not in the archive.
    #[serde(default, skip_serializing_if = "is_false")]
    pub partial: bool,
    /// Platforms that were chosen from an index; empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub platforms: Vec<Platform>,
    /// The reference of the sets, in normal form.
    pub reference: Reference,
    /// Signatures, SBOMs and attestations that travel with the image.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub referrers: Vec<BundleReferrer>,
    /// Registry and repository of the reference.
    pub repository: String,
    /// Tag of the reference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<Tag>,
}

// The shape that serde asks for.
#[allow(clippy::trivially_copy_pass_by_ref)]
const fn is_false(value: &bool) -> bool {
    !*value
}

// The shape that serde asks for.
#[allow(clippy::trivially_copy_pass_by_ref)]
const fn is_zero(value: &u32) -> bool {
    *value == 0
}

/// Something that refers to an image or to a part of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BundleReferrer {
    /// Kind of artifact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// Digest of its manifest.
    pub digest: Digest,
    /// Media type of its manifest.
    pub media_type: String,
    /// What it refers to.
    pub subject: Digest,
    /// The tag that names it, if it is found by a tag (cosign's `.sig`, `.att` and `.sbom`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<Tag>,
}

/// A set, whose file is in the archive verbatim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BundleSet {
    /// Digest of the file's content.
    pub digest: Digest,
    /// The file of the checkout that it was read from. Of a path that is longer than 300 characters, or has some that cannot
    /// be shown: the first 12 digits of its SHA-256, `…`, and its end.
    pub file: String,
    /// Name of the entry.
    pub path: String,
    /// Bytes of the file's content.
    pub size: u64,
}

/// The commit that the sets were read from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BundleSource {
    /// Its hash, in hex.
    pub commit: String,
    /// Whether the checkout differed from it.
    pub dirty: bool,
}
