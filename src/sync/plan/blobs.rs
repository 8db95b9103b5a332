// SPDX-License-Identifier: Apache-2.0
//! The blobs of a bundle, each once, and their owners. Pure.

use std::collections::HashMap;

use bytes::Bytes;
use camino::Utf8PathBuf;

use super::error::PlanError;
use crate::bundle::BundleBlob;
use crate::bundle::layout::{HEADER, next_header};
use crate::oci::digest::Digest;
use crate::oci::{Descriptor, MAX_URLS};
use crate::sync::resolve::ResolvedImage;

/// A blob to fetch.
#[derive(Debug, Clone)]
pub struct Fetch {
    /// The blob and its offset.
    pub blob: BundleBlob,
    /// The images that need it for themselves, by their indexes in the manifest.
    pub images: Vec<usize>,
    /// Signatures, SBOMs and attestations that need it, and optional children of indexes: the index of the image in the
    /// manifest, and the digest of what needs it.
    pub optional: Vec<(usize, Digest)>,
    /// Its content, if it was fetched with the manifests.
    pub known: Option<Bytes>,
    /// Addresses outside of registries from which it may be downloaded if no registry has it.
    pub urls: Vec<String>,
    /// The local source that it is read from, as its index in [`super::Plan::sources`].
    pub source: Option<usize>,
    /// A file that has it: it was made for the bundle, or fetched before.
    pub file: Option<Utf8PathBuf>,
}

impl Fetch {
    /// The images that need it, for themselves or for what is optional, by their indexes in the manifest.
    pub(super) fn image_indexes(&self) -> impl Iterator<Item = &usize> {
        self.images.iter().chain(self.optional.iter().map(|(image, _)| image))
    }
}

/// What needs a blob.
#[derive(Debug, Clone, Copy)]
pub(super) enum Owner {
    Image(usize),
    /// A referrer of an image, or a child that its indexes are complete without.
    Optional(usize, Digest),
}

/// The owners of the [`closures`] of the image at `index`.
pub(super) fn owners(index: usize, image: &ResolvedImage) -> impl Iterator<Item = Owner> {
    let referrers = image.referrers.iter().map(move |of| Owner::Optional(index, of.root.digest));
    std::iter::once(Owner::Image(index)).chain(referrers)
}

/// Blobs in the order of their first use.
#[derive(Default)]
pub(super) struct Blobs {
    pub(super) list: Vec<Fetch>,
    indexes: HashMap<Digest, usize>,
    end: u64,
}

impl Blobs {
    pub(super) fn add(&mut self, descriptor: &Descriptor, owner: Owner) -> Result<(), PlanError> {
        let Descriptor { digest, size, .. } = *descriptor;
        let index = *self.indexes.entry(digest).or_insert_with(|| {
            let blob = BundleBlob { digest, offset: self.end + HEADER, size };
            self.end = next_header(blob.offset, size);
            self.list.push(Fetch {
                blob,
                images: Vec::new(),
                optional: Vec::new(),
                known: None,
                urls: Vec::new(),
                source: None,
                file: None,
            });
            self.list.len() - 1
        });
        let Some(fetch) = self.list.get_mut(index) else { return Ok(()) };
        if fetch.blob.size != size {
            return Err(PlanError::Sizes { digest, one: fetch.blob.size, other: size });
        }
        match owner {
            Owner::Image(image) if fetch.images.last() != Some(&image) => fetch.images.push(image),
            Owner::Optional(image, digest) if fetch.optional.last() != Some(&(image, digest)) => {
                fetch.optional.push((image, digest));
            }
            _ => {}
        }
        for url in descriptor.urls() {
            if fetch.urls.len() < MAX_URLS && !fetch.urls.iter().any(|known| known == url) {
                fetch.urls.push(url.to_owned());
            }
        }
        Ok(())
    }
}
