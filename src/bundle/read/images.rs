// SPDX-License-Identifier: Apache-2.0
//! The structure of the images of a bundle: reads every manifest, and checks that the archive contains exactly what the
//! images and their referrers need.

use std::collections::HashSet;

use super::open::Bundle;
use crate::bundle::error::BundleError;
use crate::bundle::format::content::BundleImage;
use crate::error::ErrorKind;
use crate::format::FIRST_VERSION;
use crate::oci::closure::{
    Absence, Closure, ClosureError, MAX_MANIFEST_BYTES, MAX_MANIFESTS, Manifests, StoredManifest,
};
use crate::oci::digest::Digest;
use crate::oci::platform::Platform;
use crate::oci::{self, Choice, Descriptor, ManifestOrIndex, Matching};

/// An image of a bundle with all that belongs to it.
#[derive(Debug, Clone)]
pub struct BundledImage {
    /// Its index in the manifest's list.
    pub index: usize,
    /// The manifest that its reference stands for.
    pub root: Descriptor,
    /// All content that the image needs.
    pub closure: Closure,
    /// Its referrers, each with its closure, in the order of the manifest.
    pub referrers: Vec<(Descriptor, Closure)>,
}

/// The images of a bundle with their structure.
#[derive(Debug, Clone)]
pub struct BundledImages {
    /// In the order of the manifest.
    pub images: Vec<BundledImage>,
    /// The indexes and manifests of all images, parsed.
    pub manifests: Manifests,
}

impl Bundle {
    /// Reads and checks all indexes and manifests. After that, every manifest is known to be acceptable, every blob that one
    /// names is in the archive or (only layers) in the base or made by a patch, with that size, and every blob belongs to an image.
    ///
    /// # Errors
    /// [`BundleError::Image`], [`BundleError::BlobMissing`], [`BundleError::Stray`], [`BundleError::Partial`], and those of [`Bundle::read`].
    pub fn images(&self) -> Result<BundledImages, BundleError> {
        let mut manifests = Manifests::default();
        let mut images = Vec::with_capacity(self.manifest().images.len());
        let mut used = HashSet::with_capacity(self.manifest().blobs.len());
        for (index, image) in self.manifest().images.iter().enumerate() {
            let root = self.root(image, &image.media_type, image.digest)?;
            let closure = self.closure(image, &root, &image.platforms, &mut manifests, &mut used)?;
            let mut referrers = Vec::with_capacity(image.referrers.len());
            for referrer in &image.referrers {
                let root = self.root(image, &referrer.media_type, referrer.digest)?;
                let closure = self.closure(image, &root, &[], &mut manifests, &mut used)?;
                referrers.push((root, closure));
            }
            let parts = std::iter::once(&closure).chain(referrers.iter().map(|(_, closure)| closure));
            if parts.flat_map(|part| &part.blobs).any(|c| self.blob(&c.digest).is_none()) != image.partial {
                let image = image.reference.to_string();
                return Err(BundleError::Partial { path: self.path().to_owned(), image });
            }
            images.push(BundledImage { index, root, closure, referrers });
        }
        for patch in &self.manifest().patches {
            used.extend(patch.bases.iter().map(|base| base.digest));
            used.insert(patch.digest);
            used.extend(patch.layers.iter().map(|layer| layer.recipe));
        }
        let base = self.manifest().base.iter().flat_map(|base| &base.layers).map(|layer| layer.digest);
        let made = self.manifest().patches.iter().flat_map(|patch| &patch.layers).map(|layer| layer.digest);
        let listed = self.manifest().blobs.iter().map(|blob| blob.digest).chain(base).chain(made);
        if let Some(digest) = listed.into_iter().find(|digest| !used.contains(digest)) {
            return Err(BundleError::Stray { path: self.path().to_owned(), digest });
        }
        Ok(BundledImages { images, manifests })
    }

    fn root(&self, image: &BundleImage, media_type: &str, digest: Digest) -> Result<Descriptor, BundleError> {
        let blob = self.blob(&digest).ok_or_else(|| self.blob_missing(image, digest, 0))?;
        Ok(Descriptor::new(media_type, digest, blob.size))
    }

    fn blob_missing(&self, image: &BundleImage, digest: Digest, size: u64) -> BundleError {
        let image = image.reference.to_string();
        BundleError::BlobMissing { path: self.path().to_owned(), image, digest, size }
    }

    fn closure(
        &self,
        image: &BundleImage,
        root: &Descriptor,
        platforms: &[Platform],
        manifests: &mut Manifests,
        used: &mut HashSet<Digest>,
    ) -> Result<Closure, BundleError> {
        let refuse = |source: ClosureError| {
            let image = image.reference.to_string();
            BundleError::Image { path: self.path().to_owned(), image, source }
        };
        let matching =
            if self.manifest().format_version == FIRST_VERSION { Matching::Literal } else { Matching::Best };
        let choice = Choice { platforms, matching };
        let mut total = 0_u64;
        let (mut wanted, mut visited) = (vec![(root.clone(), 0)], HashSet::new());
        while let Some((descriptor, depth)) = wanted.pop() {
            if !visited.insert(descriptor.digest) {
                continue;
            }
            total = total.saturating_add(descriptor.size);
            if visited.len() > MAX_MANIFESTS || total > MAX_MANIFEST_BYTES {
                return Err(refuse(ClosureError::TooMany(descriptor.digest)));
            }
            if manifests.get(&descriptor.digest).is_none() {
                self.store(image, &descriptor, manifests)?;
            }
            if let ManifestOrIndex::Index(index) = manifests.read(&descriptor).map_err(refuse)? {
                // Only as deep as `Manifests::closure` goes, which then refuses what lies deeper.
                if depth < oci::MAX_INDEX_DEPTH {
                    for child in oci::select(&index, choice) {
                        // Version 1 promises all of them.
                        let may_be_absent = matching == Matching::Best && child.is_optional();
                        if may_be_absent && self.blob(&child.digest).is_none() {
                            let reason = "it is not in the bundle".to_owned();
                            manifests
                                .mark_absent(child.digest, Absence { reason, kind: ErrorKind::Incomplete });
                        } else if oci::is_manifest(&child.media_type) {
                            wanted.push((child.clone(), depth + 1));
                        }
                    }
                }
            }
        }
        let closure = manifests.closure_by(root, choice).map_err(refuse)?;
        for descriptor in closure.manifests.iter().chain(&closure.blobs) {
            let held = self.blob(&descriptor.digest).map(|blob| blob.size);
            // Only layers may come from elsewhere: skopeo reads configs, and manifests tell what the rest is.
            let elsewhere = || {
                let in_base = self.base_layer(&descriptor.digest).map(|base| base.size);
                let size =
                    in_base.or_else(|| self.patched_layer(&descriptor.digest).map(|(_, layer)| layer.size));
                size.filter(|_| closure.is_layer(&descriptor.digest))
            };
            if held.or_else(elsewhere) != Some(descriptor.size) {
                return Err(self.blob_missing(image, descriptor.digest, descriptor.size));
            }
            used.insert(descriptor.digest);
        }
        Ok(closure)
    }

    fn store(
        &self,
        image: &BundleImage,
        descriptor: &Descriptor,
        manifests: &mut Manifests,
    ) -> Result<(), BundleError> {
        let missing = || self.blob_missing(image, descriptor.digest, descriptor.size);
        let blob = self.blob(&descriptor.digest).ok_or_else(missing)?;
        let bytes = self.read(blob, oci::MAX_MANIFEST)?;
        manifests.insert(blob.digest, StoredManifest { media_type: descriptor.media_type.clone(), bytes });
        Ok(())
    }
}
