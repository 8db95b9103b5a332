// SPDX-License-Identifier: Apache-2.0
//! The structure of the images of a bundle: every document is read, and the archive must hold exactly what they
//! and their referrers need.

use std::collections::HashSet;

use super::error::BundleError;
use super::manifest::BundleImage;
use super::open::Bundle;
use crate::closure::{Closure, ClosureError, Documents, MAX_DOCUMENT_BYTES, MAX_DOCUMENTS, StoredDocument};
use crate::digest::Digest;
use crate::oci::{self, Descriptor, Document};
use crate::platform::Platform;

/// An image of a bundle with all that belongs to it.
#[derive(Debug, Clone)]
pub struct BundledImage {
    /// Its place in the manifest's list.
    pub index: usize,
    /// The document that its reference stands for.
    pub root: Descriptor,
    /// What it consists of.
    pub closure: Closure,
    /// What refers to it, each with what it consists of, in the order of the manifest.
    pub referrers: Vec<(Descriptor, Closure)>,
}

/// All images of a bundle.
#[derive(Debug, Clone)]
pub struct BundledImages {
    /// In the order of the manifest.
    pub images: Vec<BundledImage>,
    /// Their documents.
    pub documents: Documents,
}

impl Bundle {
    /// Reads and checks all indexes and manifests. With it the structure is known to be closed: every document is
    /// acceptable, every blob that one names is in the archive with that size, and no blob belongs to no image.
    ///
    /// # Errors
    /// [`BundleError::Image`], [`BundleError::BlobMissing`], [`BundleError::Stray`], and those of [`Bundle::read`].
    pub fn images(&self) -> Result<BundledImages, BundleError> {
        let mut documents = Documents::default();
        let mut images = Vec::with_capacity(self.manifest().images.len());
        let mut used = HashSet::with_capacity(self.manifest().blobs.len());
        for (index, image) in self.manifest().images.iter().enumerate() {
            let root = self.root(image, &image.media_type, image.digest)?;
            let closure = self.closure(image, &root, &image.platforms, &mut documents, &mut used)?;
            let mut referrers = Vec::with_capacity(image.referrers.len());
            for referrer in &image.referrers {
                let root = self.root(image, &referrer.media_type, referrer.digest)?;
                let closure = self.closure(image, &root, &[], &mut documents, &mut used)?;
                referrers.push((root, closure));
            }
            images.push(BundledImage { index, root, closure, referrers });
        }
        if let Some(blob) = self.manifest().blobs.iter().find(|blob| !used.contains(&blob.digest)) {
            return Err(BundleError::Stray { path: self.path().to_owned(), digest: blob.digest });
        }
        Ok(BundledImages { images, documents })
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
        documents: &mut Documents,
        used: &mut HashSet<Digest>,
    ) -> Result<Closure, BundleError> {
        let refuse = |source: ClosureError| {
            let image = image.reference.to_string();
            BundleError::Image { path: self.path().to_owned(), image, source }
        };
        let mut total = 0_u64;
        let (mut wanted, mut seen) = (vec![(root.clone(), 0)], HashSet::new());
        while let Some((descriptor, depth)) = wanted.pop() {
            if !seen.insert(descriptor.digest) {
                continue;
            }
            total = total.saturating_add(descriptor.size);
            if seen.len() > MAX_DOCUMENTS || total > MAX_DOCUMENT_BYTES {
                return Err(refuse(ClosureError::TooMany(descriptor.digest)));
            }
            if documents.get(&descriptor.digest).is_none() {
                self.store(image, &descriptor, documents)?;
            }
            if let Document::Index(index) = documents.read(&descriptor).map_err(refuse)? {
                // Only as deep as `Documents::closure` goes, which then refuses what lies deeper.
                if depth < oci::MAX_INDEX_DEPTH {
                    let children = oci::select(&index, platforms);
                    wanted.extend(children.into_iter().map(|child| (child.clone(), depth + 1)));
                }
            }
        }
        let closure = documents.closure(root, platforms).map_err(refuse)?;
        for descriptor in closure.documents.iter().chain(&closure.contents) {
            match self.blob(&descriptor.digest) {
                Some(blob) if blob.size == descriptor.size => used.insert(blob.digest),
                _ => return Err(self.blob_missing(image, descriptor.digest, descriptor.size)),
            };
        }
        Ok(closure)
    }

    fn store(
        &self,
        image: &BundleImage,
        descriptor: &Descriptor,
        documents: &mut Documents,
    ) -> Result<(), BundleError> {
        let missing = || self.blob_missing(image, descriptor.digest, descriptor.size);
        let blob = self.blob(&descriptor.digest).ok_or_else(missing)?;
        let bytes = self.read(blob, oci::MAX_DOCUMENT)?;
        documents.insert(blob.digest, StoredDocument { media_type: descriptor.media_type.clone(), bytes });
        Ok(())
    }
}
