// SPDX-License-Identifier: Apache-2.0
//! `krs/bundle.json`, the manifest of a bundle and the only part of it that is signed. Everything else in the archive
//! follows from it, or is named by a digest in it.

#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::check;
use super::content::{BundleBlob, BundleImage, BundleSet, BundleSource};
use super::delta::{BundleBase, BundleMissing};
use super::entries;
use super::error::ManifestError;
use super::patch::{self, BundlePatch};
use super::stream::StreamName;
use crate::format::{self, LaterField};
use crate::json::{self, JsonError};
use crate::oci::digest::Digest;
use crate::oci::platform::Platform;

/// Largest `krs/bundle.json`, in bytes.
pub(in crate::bundle) const MAX_MANIFEST: u64 = 64 << 20;
/// Largest set in a bundle, in bytes.
pub const MAX_SET: u64 = 4 << 20;
/// Most sets in a bundle.
pub const MAX_SETS: usize = 10_000;

/// The content of a bundle. The fields of every type here are declared in the order of their JSON names, which makes
/// their serialisation canonical (see [`json::canonical`]).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BundleManifest {
    /// Sites that the bundle is for; empty: any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub audience: Vec<String>,
    /// Layers that are not in the archive, because the site has them; absent: it is a full bundle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<BundleBase>,
    /// Every blob, in the order of the archive.
    pub blobs: Vec<BundleBlob>,
    /// The bundle's time: that of the commit, or else when the references were resolved.
    pub created_at: Timestamp,
    /// Version of the format: at least [`BundleManifest::lowest_version`].
    pub format_version: u32,
    /// Every image, once per reference and choice of platforms.
    pub images: Vec<BundleImage>,
    /// Images of the sets that are not in the archive, because they could not be fetched.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<BundleMissing>,
    /// The time after which the bundle must not be imported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<Timestamp>,
    /// Blobs of the archive from which layers are made that are not in it; a patch reads only layers of earlier ones. Since
    /// format version 3.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub patches: Vec<BundlePatch>,
    /// Platforms of the images whose sets name none, sorted; empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub platforms: Vec<Platform>,
    /// Number of the bundle in its stream. Each further bundle has a higher one.
    pub sequence: u64,
    /// The sets, in the order of their entries.
    pub sets: Vec<BundleSet>,
    /// The commit that the sets were read from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<BundleSource>,
    /// The stream that the bundle belongs to.
    pub stream: StreamName,
    /// Name and version of the program that made the bundle.
    pub tool: String,
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
        let patches = (!self.patches.is_empty()).then(|| LaterField {
            version: format::PATCHES_SINCE,
            name: "patches",
            owner: "the bundle".to_owned(),
        });
        self.informative_fields().chain(patches).collect()
    }

    /// Those of them without which the bundle has the same effect at a site.
    fn informative_fields(&self) -> impl Iterator<Item = LaterField> {
        let incomplete = self.images.iter().filter(|image| image.missing_referrers > 0);
        incomplete.map(|image| LaterField {
            version: 2,
            name: "missingReferrers",
            owner: format!("image {}", image.reference),
        })
    }

    /// The lowest version that can express this manifest.
    pub fn lowest_version(&self) -> u32 {
        format::lowest_version(&self.later_fields())
    }

    /// Removes the fields that came with a later version than `highest`, and returns them. Their information is lost, but the
    /// content of the bundle and its effect at a site stay the same. So patches stay: without them there would be no layers.
    pub fn restrict_to(&mut self, highest: u32) -> Vec<LaterField> {
        let removed = self.informative_fields().filter(|field| field.version > highest).collect();
        if highest < 2 {
            self.images.iter_mut().for_each(|image| image.missing_referrers = 0);
        }
        removed
    }

    /// SHA-256 over everything that decides the effect at a site: stream, sequence, sets, and reference → digest. Two bundles
    /// with one identity (for example a full one and a delta) may follow each other; two identities with one sequence may
    /// not. A missing image counts if its reference has a digest, so that the complete bundle may follow.
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

    /// Checks that the parts are consistent. [`Self::parse`] calls it.
    ///
    /// # Errors
    /// [`ManifestError::Inconsistent`] names the first inconsistency.
    pub fn check(&self) -> Result<(), ManifestError> {
        let bad = |what: String| Err(ManifestError::Inconsistent(what));
        if let Some(field) = self.later_fields().into_iter().find(|field| field.version > self.format_version)
        {
            return bad(format!("{field}, and it is of version {}", self.format_version));
        }
        check::plain("tool", &self.tool)?;
        for site in &self.audience {
            check::plain("audience", site)?;
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
            check::plain("set file", &set.file)?;
            if set.path != entries::set_path(n) || set.size > MAX_SET {
                return bad(format!("set {n} has a wrong path or size"));
            }
        }
        check::blobs(&self.blobs)?;
        check::images(&self.images)?;
        patch::check(&self.patches, self.base.as_ref(), &self.blobs)?;
        check::missing(&self.images, &self.missing, self.base.as_ref(), &self.blobs)?;
        check::partial(&self.images, self.base.is_some() || !self.patches.is_empty())
    }
}
