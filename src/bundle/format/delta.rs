// SPDX-License-Identifier: Apache-2.0
//! What a bundle does not hold, and says so: the layers that a delta expects at the site, and the images that could
//! not be fetched.

use std::collections::HashSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::manifest::{BundleManifest, MAX_BLOB, ManifestError};
use crate::oci::digest::Digest;
use crate::oci::platform::Platform;
use crate::oci::reference::Reference;
use crate::redact::printable;

/// Most receipts and bundles that one delta is made against.
pub const MAX_SOURCES: usize = 1000;
/// Most repositories that are named for one layer: enough to find it, however many share it.
pub const MAX_REPOSITORIES: usize = 16;

/// What a delta assumes at the site. Only layers are ever left out: indexes, manifests and configs always travel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BundleBase {
    /// The layers, sorted by digest.
    pub layers: Vec<BaseLayer>,
    /// Who says that the site has them: all of these do.
    pub sources: Vec<BaseSource>,
}

/// A layer that the archive lists and does not hold.
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
    /// An earlier bundle, which is supposed to have arrived.
    Bundle,
    /// A receipt of the site.
    Receipt,
}

/// An image that the sets ask for and that could not be fetched (`krs bundle --keep-going`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BundleMissing {
    /// Platforms asked for; empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub platforms: Vec<Platform>,
    /// Why, in one line.
    pub reason: String,
    /// The reference of the sets, in normal form.
    pub reference: Reference,
}

fn plain(what: &str, value: &str) -> Result<(), ManifestError> {
    let shown = printable(value, 300);
    if shown != value || value.is_empty() {
        return Err(ManifestError::Inconsistent(format!("{what} `{shown}` is not plain text")));
    }
    Ok(())
}

impl BundleManifest {
    /// Whether what the bundle says that it lacks fits the rest of it.
    pub(in crate::bundle) fn check_lacking(&self) -> Result<(), ManifestError> {
        let bad = |what: String| Err(ManifestError::Inconsistent(what));
        let images = self.images.iter().map(|image| (image.reference.to_string(), &image.platforms));
        let mut seen = images.collect::<HashSet<_>>();
        for missing in &self.missing {
            plain("the reason of a missing image", &missing.reason)?;
            if !seen.insert((missing.reference.to_string(), &missing.platforms)) {
                return bad(format!(
                    "image {} is missing and stands in it, or stands twice",
                    missing.reference
                ));
            }
        }
        let Some(base) = &self.base else {
            return match self.images.iter().find(|image| image.partial) {
                Some(image) => bad(format!("image {} is partial, but there is no base", image.reference)),
                None => Ok(()),
            };
        };
        if base.layers.is_empty() || base.sources.is_empty() || base.sources.len() > MAX_SOURCES {
            return bad("its base has no layers, no sources or too many".to_owned());
        }
        for source in &base.sources {
            plain("the name of a source of the base", &source.name)?;
        }
        let held = self.blobs.iter().map(|blob| blob.digest).collect::<HashSet<_>>();
        let mut before = None;
        for layer in &base.layers {
            let digest = layer.digest;
            if before.replace(digest) >= Some(digest) {
                return bad(format!("layer {digest} of its base is not in order"));
            }
            if held.contains(&digest) || layer.size > MAX_BLOB || layer.repositories.len() > MAX_REPOSITORIES
            {
                return bad(format!("layer {digest} of its base is in the archive too, or is not plausible"));
            }
            layer.repositories.iter().try_for_each(|name| plain("a repository of the base", name))?;
        }
        Ok(())
    }
}
