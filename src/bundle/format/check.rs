// SPDX-License-Identifier: Apache-2.0
//! Whether the parts of a manifest fit each other. Pure.

use std::collections::HashSet;

use super::content::{BundleBlob, BundleImage};
use super::delta::{BundleBase, BundleMissing, MAX_REPOSITORIES, MAX_SOURCES};
use super::entries::{HEADER, next_header};
use super::error::ManifestError;
use crate::oci::{MAX_BLOB, MAX_ENTRIES, is_manifest};
use crate::redact::printable;

/// Largest text in a manifest, in characters.
const MAX_TEXT: usize = 300;

/// Whether `value` can be shown as it is.
pub(super) fn plain(what: &str, value: &str) -> Result<(), ManifestError> {
    let shown = printable(value, MAX_TEXT);
    if shown != value || value.is_empty() {
        return Err(ManifestError::Inconsistent(format!("{what} `{shown}` is not plain text")));
    }
    Ok(())
}

/// Whether the blobs lie one behind the other, each once.
pub(super) fn blobs(blobs: &[BundleBlob]) -> Result<(), ManifestError> {
    let mut unique = HashSet::with_capacity(blobs.len());
    let mut offset = 0_u64;
    for blob in blobs {
        let digest = blob.digest;
        if blob.size > MAX_BLOB {
            return Err(ManifestError::Inconsistent(format!(
                "blob {digest} is larger than {MAX_BLOB} bytes"
            )));
        }
        if !unique.insert(digest) {
            return Err(ManifestError::Inconsistent(format!("blob {digest} occurs twice")));
        }
        if blob.offset != offset + HEADER {
            return Err(ManifestError::Inconsistent(format!("blob {digest} is at a wrong offset")));
        }
        offset = next_header(blob.offset, blob.size);
    }
    Ok(())
}

/// Whether each image is what its reference says, once.
pub(super) fn images(images: &[BundleImage]) -> Result<(), ManifestError> {
    let mut unique = HashSet::with_capacity(images.len());
    for image in images {
        let BundleImage { reference, digest, .. } = image;
        let bad = |what: &str| Err(ManifestError::Inconsistent(format!("image {reference} {what}")));
        if image.repository != reference.name() || image.tag != reference.tag {
            return bad("has a repository or tag that is not its own");
        }
        if reference.digest.is_some_and(|own| own != *digest) {
            return bad(&format!("was resolved to {digest}"));
        }
        if !unique.insert((reference.to_string(), &image.platforms)) {
            return bad("occurs twice");
        }
        let mut manifests = vec![&image.media_type];
        manifests.extend(image.referrers.iter().map(|referrer| &referrer.media_type));
        if !manifests.into_iter().all(|media_type| is_manifest(media_type)) {
            return bad("is not an index or manifest");
        }
        if image.referrers.len() > MAX_ENTRIES {
            return bad("has too many referrers");
        }
    }
    Ok(())
}

/// Checks that the declared missing content is consistent with the rest of the manifest.
pub(super) fn missing(
    images: &[BundleImage],
    missing: &[BundleMissing],
    base: Option<&BundleBase>,
    blobs: &[BundleBlob],
) -> Result<(), ManifestError> {
    let bad = |what: String| Err(ManifestError::Inconsistent(what));
    let listed = images.iter().map(|image| (image.reference.to_string(), &image.platforms));
    let mut unique = listed.collect::<HashSet<_>>();
    for missing in missing {
        plain("the reason of a missing image", &missing.reason)?;
        if !unique.insert((missing.reference.to_string(), &missing.platforms)) {
            return bad(format!("image {} is both missing and listed, or occurs twice", missing.reference));
        }
    }
    let Some(base) = base else { return Ok(()) };
    if base.layers.is_empty() || base.sources.is_empty() || base.sources.len() > MAX_SOURCES {
        return bad("its base has no layers, no sources or too many".to_owned());
    }
    for source in &base.sources {
        plain("the name of a source of the base", &source.name)?;
    }
    let held = blobs.iter().map(|blob| blob.digest).collect::<HashSet<_>>();
    let mut before = None;
    for layer in &base.layers {
        let digest = layer.digest;
        if before.replace(digest) >= Some(digest) {
            return bad(format!("layer {digest} of its base is not in order"));
        }
        if held.contains(&digest) || layer.size > MAX_BLOB || layer.repositories.len() > MAX_REPOSITORIES {
            return bad(format!("layer {digest} of its base is in the archive too, or is not plausible"));
        }
        layer.repositories.iter().try_for_each(|name| plain("a repository of the base", name))?;
    }
    Ok(())
}

/// Checks that an image is partial only if a layer can come from elsewhere.
pub(super) fn partial(images: &[BundleImage], has_other_layers: bool) -> Result<(), ManifestError> {
    match images.iter().find(|image| image.partial && !has_other_layers) {
        Some(BundleImage { reference, .. }) => Err(ManifestError::Inconsistent(format!(
            "image {reference} is partial, but there is neither a base nor a patch"
        ))),
        None => Ok(()),
    }
}
