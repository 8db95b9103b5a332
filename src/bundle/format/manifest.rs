// SPDX-License-Identifier: Apache-2.0
//! `krs/bundle.json`: what a bundle says of itself, and the only part of it that is signed. Everything else in
//! the archive is a consequence of it, or is named by a digest in it.

#[cfg(test)]
pub(crate) mod tests;

use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

use super::delta::{BundleBase, BundleMissing};
use super::layout;
use crate::format::{self, FORMAT_VERSION, LaterField};
use crate::json::{self, JsonError};
use crate::oci;
use crate::oci::digest::Digest;
use crate::oci::platform::Platform;
use crate::oci::reference::{Reference, Tag};

/// Largest `krs/bundle.json`, in bytes.
pub(in crate::bundle) const MAX_MANIFEST: u64 = 64 << 20;
/// Largest set document in a bundle, in bytes.
pub const MAX_SET: u64 = 4 << 20;
/// Most sets in a bundle.
pub const MAX_SETS: usize = 10_000;
pub(in crate::bundle) use crate::oci::MAX_BLOB;

/// What a bundle holds. The fields of every type here are declared in the order of their JSON names, which makes
/// their serialisation canonical (see [`json::canonical`]).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BundleManifest {
    /// Sites that the bundle is meant for; empty: any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub audience: Vec<String>,
    /// Layers that are not in the archive, because the site has them; absent: it is a full bundle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<BundleBase>,
    /// Every blob, in the order in which they lie in the archive.
    pub blobs: Vec<BundleBlob>,
    /// When the content was decided: the commit's time, else when the references were resolved.
    pub created_at: Timestamp,
    /// Version of the format: at least [`BundleManifest::lowest_version`].
    pub format_version: u32,
    /// Every image, once per reference and choice of platforms.
    pub images: Vec<BundleImage>,
    /// Images that the sets ask for and that are not in the archive, because they could not be fetched.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<BundleMissing>,
    /// From when on the bundle is not to be imported any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<Timestamp>,
    /// Platforms that were chosen for the images whose sets say nothing of them, sorted; empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub platforms: Vec<Platform>,
    /// Grows from bundle to bundle of a stream.
    pub sequence: u64,
    /// The sets, in the order of their entries.
    pub sets: Vec<BundleSet>,
    /// The commit that the sets were read from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<BundleSource>,
    /// Which line of bundles this one belongs to.
    pub stream: StreamName,
    /// Name and version of the program that made the bundle.
    pub tool: String,
}

/// A blob and its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BundleBlob {
    /// Digest of the content.
    pub digest: Digest,
    /// Where its content begins, in bytes after the first blob's header begins.
    pub offset: u64,
    /// Bytes of the content.
    pub size: u64,
}

/// An image, chart or other artifact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BundleImage {
    /// Kind of artifact, where it is not a container image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// What the reference was resolved to.
    pub digest: Digest,
    /// Media type of the document with that digest.
    pub media_type: String,
    /// How many of its signatures, SBOMs and attestations stayed behind because they could not be fetched. A look-up that
    /// failed counts as one. Since format version 2.
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
    /// The tag that names it, where it is found by a tag (cosign's `.sig`, `.att` and `.sbom`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<Tag>,
}

/// A set, whose document lies verbatim in the archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BundleSet {
    /// Digest of the document.
    pub digest: Digest,
    /// The file of the checkout that it was read from. Of a path that is longer than 300 characters, or has some that cannot
    /// be shown: the first 12 digits of its SHA-256, `…`, and its end.
    pub file: String,
    /// Name of the entry.
    pub path: String,
    /// Bytes of the document.
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

/// Names a line of bundles for a group of sites: letters, digits, `.`, `_` and `-`, at most 63.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamName(String);

impl StreamName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for StreamName {
    fn default() -> Self {
        Self("default".to_owned())
    }
}

impl fmt::Display for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for StreamName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
        if text.len() > 63
            || !text.chars().all(plain)
            || !edge(text.chars().next())
            || !edge(text.chars().last())
        {
            let shown = crate::redact::printable(text, 80);
            return Err(format!(
                "`{shown}` is not a name: expected 1 to 63 letters, digits, `.`, `_` or `-`, with a letter or digit at both ends"
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

impl Serialize for StreamName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for StreamName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

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

impl BundleManifest {
    /// Reads the content of `krs/bundle.json`, strictly: unknown fields, other forms and contradictions are refused.
    ///
    /// # Errors
    /// [`ManifestError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        let limit = usize::try_from(MAX_MANIFEST).unwrap_or(usize::MAX);
        let version = format::stated_version(bytes, limit)?;
        if !format::is_supported(version) {
            return Err(ManifestError::Version(version));
        }
        let manifest = serde_json::from_slice::<Self>(bytes).map_err(JsonError::from)?;
        if manifest.encode()? != bytes {
            return Err(ManifestError::NotCanonical);
        }
        manifest.check()?;
        Ok(manifest)
    }

    /// The content of `krs/bundle.json`.
    ///
    /// # Errors
    /// None in practice: every field can be expressed in JSON.
    pub fn encode(&self) -> Result<Vec<u8>, ManifestError> {
        Ok(json::canonical(self)?)
    }

    /// The fields in use that came with a later version than the first.
    pub fn later_fields(&self) -> Vec<LaterField> {
        let incomplete = self.images.iter().filter(|image| image.missing_referrers > 0);
        let field = |image: &BundleImage| LaterField {
            version: 2,
            name: "missingReferrers",
            owner: format!("image {}", image.reference),
        };
        incomplete.map(field).collect()
    }

    /// The lowest version that can express this manifest.
    pub fn lowest_version(&self) -> u32 {
        format::lowest_version(&self.later_fields())
    }

    /// Removes the fields that came with a later version than `highest`, and answers them. What they say is lost; what
    /// the bundle holds and what a site does with it stays the same.
    pub fn restrict_to(&mut self, highest: u32) -> Vec<LaterField> {
        let removed = self.later_fields().into_iter().filter(|field| field.version > highest).collect();
        if highest < 2 {
            self.images.iter_mut().for_each(|image| image.missing_referrers = 0);
        }
        removed
    }

    /// What of the bundle decides: SHA-256 over stream, sequence, sets, and reference → digest. Two bundles with
    /// one identity (a full one and a delta, say) may follow each other; two identities with one sequence may not.
    /// An image that is missing counts where its reference has a digest: the whole bundle may follow.
    ///
    /// # Errors
    /// None in practice, as for [`Self::encode`].
    pub fn identity(&self) -> Result<Digest, ManifestError> {
        #[derive(Serialize)]
        struct Identity<'a> {
            images: BTreeSet<(String, Digest)>,
            sequence: u64,
            sets: BTreeSet<Digest>,
            stream: &'a StreamName,
        }
        let images = self.images.iter().map(|image| (image.reference.to_string(), image.digest));
        let missing = self.missing.iter().map(|missing| &missing.reference);
        let missing = missing.filter_map(|reference| Some((reference.to_string(), reference.digest?)));
        let identity = Identity {
            images: images.chain(missing).collect(),
            sequence: self.sequence,
            sets: self.sets.iter().map(|set| set.digest).collect(),
            stream: &self.stream,
        };
        Ok(Digest::of(&json::canonical(&identity)?))
    }

    /// Whether the parts fit each other; [`Self::parse`] has asked already.
    ///
    /// # Errors
    /// [`ManifestError::Inconsistent`] names the first part that does not.
    pub fn check(&self) -> Result<(), ManifestError> {
        let bad = |what: String| Err(ManifestError::Inconsistent(what));
        let text = |what: &str, value: &str| {
            let shown = crate::redact::printable(value, 300);
            if shown != value || value.is_empty() {
                bad(format!("{what} `{shown}` is not plain text"))
            } else {
                Ok(())
            }
        };
        if let Some(field) = self.later_fields().into_iter().find(|field| field.version > self.format_version)
        {
            return bad(format!("{field}, and it is of version {}", self.format_version));
        }
        text("tool", &self.tool)?;
        for site in &self.audience {
            text("audience", site)?;
        }
        if let Some(BundleSource { commit, .. }) = &self.source
            && (commit.len() > 64 || commit.len() < 40 || !commit.bytes().all(|b| b.is_ascii_hexdigit()))
        {
            return bad("the commit is not a hash".to_owned());
        }
        if self.created_at.subsec_nanosecond() != 0
            || self.not_after.is_some_and(|t| t.subsec_nanosecond() != 0)
        {
            return bad("a time has a fraction of a second".to_owned());
        }
        if self.sets.len() > MAX_SETS {
            return bad(format!("{} sets, more than {MAX_SETS}", self.sets.len()));
        }
        for (n, set) in self.sets.iter().enumerate() {
            text("set file", &set.file)?;
            if set.path != layout::set_path(n) || set.size > MAX_SET {
                return bad(format!("set {n} has a wrong path or size"));
            }
        }
        self.check_blobs()?;
        self.check_images()?;
        self.check_lacking()
    }

    fn check_blobs(&self) -> Result<(), ManifestError> {
        let mut seen = HashSet::with_capacity(self.blobs.len());
        let mut offset = 0_u64;
        for blob in &self.blobs {
            let digest = blob.digest;
            if blob.size > MAX_BLOB {
                return Err(ManifestError::Inconsistent(format!(
                    "blob {digest} is larger than {MAX_BLOB} bytes"
                )));
            }
            if !seen.insert(digest) {
                return Err(ManifestError::Inconsistent(format!("blob {digest} stands twice")));
            }
            if blob.offset != offset + layout::HEADER {
                return Err(ManifestError::Inconsistent(format!("blob {digest} is at a wrong offset")));
            }
            offset = layout::next_header(blob.offset, blob.size);
        }
        Ok(())
    }

    fn check_images(&self) -> Result<(), ManifestError> {
        let mut seen = HashSet::with_capacity(self.images.len());
        for image in &self.images {
            let BundleImage { reference, digest, .. } = image;
            let bad = |what: &str| Err(ManifestError::Inconsistent(format!("image {reference} {what}")));
            if image.repository != reference.name() || image.tag != reference.tag {
                return bad("has a repository or tag that is not its own");
            }
            if reference.digest.is_some_and(|own| own != *digest) {
                return bad(&format!("was resolved to {digest}"));
            }
            if !seen.insert((reference.to_string(), &image.platforms)) {
                return bad("stands twice");
            }
            let mut documents = vec![&image.media_type];
            documents.extend(image.referrers.iter().map(|referrer| &referrer.media_type));
            if !documents.into_iter().all(|media_type| oci::is_document(media_type)) {
                return bad("is not an index or manifest");
            }
            if image.referrers.len() > oci::MAX_ENTRIES {
                return bad("has too many referrers");
            }
        }
        Ok(())
    }
}
