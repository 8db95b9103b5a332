// SPDX-License-Identifier: Apache-2.0
//! What a copy Job needs to make the layers of one image: the patches of a bundle that do, and nothing of other images. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::order::work;
use crate::bundle::{BaseLayer, Bundle, BundlePatch, BundledImages};
use crate::json::{self, JsonError};
use crate::oci::digest::Digest;

/// Largest list, in bytes.
pub const MAX_PATCH_LIST: u64 = 16 << 20;

/// The patches of one image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PatchList {
    /// Layers at the site that the patches read.
    pub bases: Vec<BaseLayer>,
    /// Blobs of the bundle that the patches are, or read.
    pub blobs: Vec<PatchListBlob>,
    /// In an order in which they can be applied.
    pub patches: Vec<BundlePatch>,
}

/// A blob of the bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PatchListBlob {
    /// Its digest.
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
}

impl PatchList {
    /// The lists of the images of a bundle, by the index of the image, of those that have layers that travel as patches.
    pub fn of_images(bundle: &Bundle, images: &BundledImages) -> BTreeMap<usize, Self> {
        let lists = images.images.iter().filter_map(|image| {
            let layers = image.closure.layers().map(|layer| layer.digest);
            Some((image.index, Self::of(bundle, layers)?))
        });
        lists.collect()
    }

    /// What makes those of `layers` that travel as patches; `None` if none does.
    fn of(bundle: &Bundle, layers: impl IntoIterator<Item = Digest>) -> Option<Self> {
        let patched = layers.into_iter().filter(|digest| bundle.patched_layer(digest).is_some());
        let (all, patched) = (&bundle.manifest().patches, patched.collect());
        let work = work(all, &patched);
        let patches = work.steps.iter().filter_map(|step| all.get(step.patch)).cloned().collect::<Vec<_>>();
        if patches.is_empty() {
            return None;
        }
        let read = work.steps.iter().flat_map(|step| &step.read_first).map(|base| base.digest);
        let read = read.collect::<BTreeSet<_>>();
        let own = patches.iter().flat_map(|patch| {
            let layers = patch.layers.iter().filter(|layer| patched.contains(&layer.digest));
            std::iter::once(patch.digest).chain(layers.map(|layer| layer.recipe))
        });
        let own = own.chain(read.iter().copied()).collect::<BTreeSet<_>>();
        let blobs = own.iter().filter_map(|digest| bundle.blob(digest));
        Some(Self {
            bases: read.iter().filter_map(|digest| bundle.base_layer(digest)).cloned().collect(),
            blobs: blobs.map(|blob| PatchListBlob { digest: blob.digest, size: blob.size }).collect(),
            patches,
        })
    }

    /// The list as JSON, in one form.
    ///
    /// # Errors
    /// None in practice: every field can be expressed in JSON.
    pub fn encode(&self) -> Result<Vec<u8>, JsonError> {
        json::canonical(self)
    }

    /// The list as a blob.
    pub fn blob(&self) -> Option<PatchListBlob> {
        let bytes = self.encode().ok()?;
        Some(PatchListBlob { digest: Digest::of(&bytes), size: bytes.len() as u64 })
    }

    /// Reads a list, whose digest was compared.
    ///
    /// # Errors
    /// It is not JSON of this shape.
    pub fn parse(bytes: &[u8]) -> Result<Self, JsonError> {
        json::parse(bytes, usize::try_from(MAX_PATCH_LIST).unwrap_or(usize::MAX))
    }
}
