// SPDX-License-Identifier: Apache-2.0
//! A bundle that was opened and passed all checks, as others see it. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use krs_core::bundle::Bundle;
use krs_core::oci::Descriptor;
use krs_core::oci::reference::RepositoryName;
use krs_core::sync::rebuild::PatchList;

use crate::adapters::bundle_store::OpenBundle;
use crate::model::bundle_inventory::{StockBundle, StockImage};
use crate::model::marks::MarkComparison;
use crate::model::task::MAX_MOUNT_FROM;

/// A bundle that passed.
#[derive(Debug)]
pub(super) struct AcceptedBundle {
    pub held: Arc<OpenBundle>,
    pub stock: StockBundle,
    /// Size of all blobs together, in bytes.
    pub blob_bytes: u64,
}

/// As few repositories as hold all layers that the bundle leaves to the site, and those that its patches read.
fn expected_in<'a>(
    bundle: &'a Bundle,
    contents: impl Iterator<Item = &'a Descriptor>,
    patches: Option<&'a PatchList>,
) -> Vec<RepositoryName> {
    let layers = contents.filter_map(|content| bundle.base_layer(&content.digest));
    let layers = layers.chain(patches.iter().flat_map(|list| &list.bases));
    let mut open = layers.map(|layer| (layer.digest, &layer.repositories)).collect::<BTreeMap<_, _>>();
    let mut chosen = Vec::new();
    while chosen.len() < MAX_MOUNT_FROM {
        let mut holds = BTreeMap::<&str, usize>::new();
        for name in open.values().flat_map(|names| names.iter()) {
            *holds.entry(name).or_default() += 1;
        }
        let Some((best, _)) = holds.into_iter().max_by(|a, b| a.1.cmp(&b.1).then(b.0.cmp(a.0))) else {
            break;
        };
        let best = best.to_owned();
        open.retain(|_, names| !names.contains(&best));
        // A name that is none cannot be checked either.
        chosen.extend(best.parse().ok());
    }
    chosen
}

impl AcceptedBundle {
    pub(super) fn new(held: OpenBundle) -> Self {
        let manifest = held.bundle.manifest();
        let images = manifest.images.iter().zip(&held.images.images).map(|(image, found)| {
            let closures = || std::iter::once(&found.closure).chain(found.referrers.iter().map(|(_, c)| c));
            let patches = held.patches.get(&found.index);
            StockImage {
                reference: image.reference.clone(),
                digest: image.digest,
                platforms: image.platforms.clone(),
                size: closures().map(krs_core::oci::closure::Closure::size).sum(),
                contents: closures().flat_map(|c| &c.blobs).map(|content| content.digest).collect(),
                partial: image.partial,
                expected_in: expected_in(&held.bundle, closures().flat_map(|c| &c.blobs), patches),
                patches: patches.and_then(PatchList::blob),
                readers: held.readers.get(&image.digest).cloned().unwrap_or_default(),
            }
        });
        let stock = StockBundle {
            name: String::new(),
            stream: manifest.stream.clone(),
            identity: held.bundle.identity(),
            // Until the marks are compared with it.
            standing: MarkComparison::Unknown { detail: "the marks were not read yet".to_owned() },
            sequence: manifest.sequence,
            digest: held.bundle.digest(),
            created_at: manifest.created_at,
            present: true,
            ready: true,
            images: images.collect(),
        };
        let blob_bytes = manifest.blobs.iter().map(|blob| blob.size).sum();
        Self { held: Arc::new(held), stock, blob_bytes }
    }
}
