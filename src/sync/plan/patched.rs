// SPDX-License-Identifier: Apache-2.0
//! A plan some of whose layers travel as patches. Pure.

use std::collections::{BTreeSet, HashMap};

use camino::Utf8PathBuf;

use super::base::Base;
use super::blobs::Fetch;
use super::error::PlanError;
use super::{Plan, PlanOptions};
use crate::bundle::layout::{HEADER, next_header};
use crate::bundle::{BundleBlob, BundlePatch, Layout};
use crate::format::PATCHES_SINCE;
use crate::oci::digest::Digest;

/// Patches in place of layers.
#[derive(Debug, Clone, Default)]
pub struct Patches {
    /// As the manifest has them.
    pub patches: Vec<BundlePatch>,
    /// Blobs that the plan does not have: patches and recipes.
    pub blobs: Vec<PatchBlob>,
}

/// A blob that was made for the bundle.
#[derive(Debug, Clone)]
pub struct PatchBlob {
    /// Its digest.
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
    /// The file that has it.
    pub file: Utf8PathBuf,
}

impl Plan {
    /// The plan with `patches` in place of the layers that they make. `files` has blobs that were fetched already.
    ///
    /// # Errors
    /// [`PlanError::Version`] if the sites do not read patches, and [`PlanError`] if the patches contradict the rest.
    pub fn with_patches(
        mut self,
        options: &PlanOptions,
        patches: Patches,
        files: &HashMap<Digest, Utf8PathBuf>,
    ) -> Result<Self, PlanError> {
        for fetch in &mut self.fetches {
            fetch.file = files.get(&fetch.blob.digest).cloned();
        }
        if patches.patches.is_empty() {
            return Ok(self);
        }
        if options.format_version.is_some_and(|highest| highest < PATCHES_SINCE) {
            let what = "layers of it travel as patches (--compact)".to_owned();
            let image = self.manifest.images.first().map(|image| image.reference.to_string());
            return Err(PlanError::Version { image: image.unwrap_or_default(), needed: PATCHES_SINCE, what });
        }
        let made = patches.patches.iter().flat_map(|patch| &patch.layers).map(|layer| layer.digest);
        let made = made.collect::<BTreeSet<_>>();
        let removed = self.fetches.extract_if(.., |fetch| made.contains(&fetch.blob.digest));
        let removed = removed.collect::<Vec<_>>();
        for index in removed.iter().flat_map(Fetch::image_indexes) {
            if let Some(image) = self.manifest.images.get_mut(*index) {
                image.partial = true;
            }
        }
        self.patched = removed.iter().map(|fetch| fetch.blob.size).sum();
        self.fetches.extend(patches.blobs.into_iter().map(|made| Fetch {
            blob: BundleBlob { digest: made.digest, offset: 0, size: made.size },
            images: Vec::new(),
            optional: Vec::new(),
            known: None,
            urls: Vec::new(),
            source: None,
            file: Some(made.file),
        }));
        let mut end = 0;
        let blobs = self.manifests.iter_mut().map(|(blob, _)| blob);
        self.manifest.blobs.clear();
        for blob in blobs.chain(self.fetches.iter_mut().map(|fetch| &mut fetch.blob)) {
            blob.offset = end + HEADER;
            end = next_header(blob.offset, blob.size);
            self.manifest.blobs.push(*blob);
        }
        self.manifest.base = self.base_with(&options.base, &patches.patches);
        self.manifest.patches = patches.patches;
        self.manifest.format_version = self.manifest.format_version.max(PATCHES_SINCE);
        self.manifest.check()?;
        self.size = Layout::new(&self.manifest, &self.manifest.encode()?)?.size();
        Ok(self)
    }

    /// The base with the layers that the patches read there too.
    fn base_with(&self, base: &Base, patches: &[BundlePatch]) -> Option<crate::bundle::BundleBase> {
        let stated = self.manifest.base.iter().flat_map(|base| &base.layers).map(|layer| layer.digest);
        let read = patches.iter().flat_map(|patch| &patch.bases).map(|base| base.digest);
        let archived = self.manifest.blobs.iter().map(|blob| blob.digest).collect::<BTreeSet<_>>();
        base.stated(&stated.chain(read).filter(|digest| !archived.contains(digest)).collect())
    }
}
