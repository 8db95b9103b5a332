// SPDX-License-Identifier: Apache-2.0
//! The layers that the sites of a delta already have. Pure.

use std::collections::{BTreeSet, HashMap};

use super::image_layers::ImageLayers;
use crate::bundle::{
    BaseKind, BaseLayer, BaseSource, Bundle, BundleBase, BundledImages, MAX_REPOSITORIES, ManifestError,
};
use crate::oci::closure::Closure;
use crate::oci::digest::Digest;
use crate::oci::reference::RegistryHost;
use crate::sync::catalog::SentBundle;
use crate::sync::receipt::{Receipt, ReceiptError, SiteReceipt, SiteRegistry};

/// The layers that a bundle leaves out, and the sources that say that the sites have them.
#[derive(Debug, Clone, Default)]
pub struct Base {
    layers: HashMap<Digest, (u64, BTreeSet<String>)>,
    sources: Vec<BaseSource>,
    /// The first registry that is known not to take an index some of whose images are missing.
    requires_full_index: Option<String>,
}

impl Base {
    /// The layers of a receipt.
    ///
    /// # Errors
    /// None in practice, as for [`Receipt::encode`].
    pub fn of_receipt(receipt: &Receipt) -> Result<Self, ReceiptError> {
        let mut layers = HashMap::<Digest, (u64, BTreeSet<String>)>::new();
        for repository in &receipt.repositories {
            for blob in &repository.blobs {
                let entry = layers.entry(blob.digest).or_insert_with(|| (blob.size, BTreeSet::new()));
                entry.1.insert(repository.name.to_string());
            }
        }
        let source = BaseSource {
            created_at: receipt.created_at,
            digest: Digest::of(&receipt.encode()?),
            kind: BaseKind::Receipt,
            name: receipt.title(),
        };
        let requires_full_index =
            (receipt.abilities.sparse_index == Some(false)).then(|| receipt.registry.to_string());
        Ok(Self { layers, sources: vec![source], requires_full_index })
    }

    /// The layers of an earlier bundle, including the base that it assumed.
    ///
    /// # Errors
    /// None in practice, as for [`crate::bundle::BundleManifest::encode`].
    pub fn of_bundle(bundle: &Bundle, images: &BundledImages) -> Result<Self, ManifestError> {
        let manifest = bundle.manifest();
        let mut names = HashMap::<String, BTreeSet<String>>::new();
        for wanted in bundle.sets().iter().flat_map(|set| &set.images) {
            names.entry(wanted.reference.to_string()).or_default().insert(wanted.repository.to_string());
        }
        let mut layers = HashMap::<Digest, (u64, BTreeSet<String>)>::new();
        for (entry, image) in manifest.images.iter().zip(&images.images) {
            let repositories = names.get(&entry.reference.to_string()).cloned().unwrap_or_default();
            let referrers = image.referrers.iter().map(|(_, closure)| closure);
            for layer in std::iter::once(&image.closure).chain(referrers).flat_map(Closure::layers) {
                let entry = layers.entry(layer.digest).or_insert_with(|| (layer.size, BTreeSet::new()));
                entry.1.extend(repositories.iter().cloned());
            }
        }
        let source = BaseSource {
            created_at: manifest.created_at,
            digest: bundle.digest(),
            kind: BaseKind::Bundle,
            name: format!("stream {}, sequence {}", manifest.stream, manifest.sequence),
        };
        Ok(Self { layers, sources: vec![source], requires_full_index: None })
    }

    /// What a site has that a bundle of the catalog was brought to.
    pub fn of_sent(sent: &SentBundle) -> Self {
        let mut layers = HashMap::<Digest, (u64, BTreeSet<String>)>::with_capacity(sent.layers.len());
        for image in &sent.images {
            let listed = image.layers.iter().filter_map(|position| sent.layers.get(*position as usize));
            for (digest, size) in listed {
                let entry = layers.entry(*digest).or_insert_with(|| (*size, BTreeSet::new()));
                entry.1.extend(image.repositories.iter().map(ToString::to_string));
            }
        }
        let source = BaseSource {
            created_at: sent.created_at,
            digest: sent.digest,
            kind: BaseKind::Bundle,
            name: format!("stream {}, sequence {}", sent.stream, sent.sequence),
        };
        Self { layers, sources: vec![source], requires_full_index: None }
    }

    /// What a site has. `destinations`: the registries that the sets of the bundle name. A layer counts if each of those that
    /// the receipt lists has it. Images whose layers are not known count as absent.
    ///
    /// # Errors
    /// None in practice, as for [`SiteReceipt::encode`].
    pub fn of_site(
        receipt: &SiteReceipt,
        destinations: &BTreeSet<RegistryHost>,
        images: &ImageLayers,
    ) -> Result<Self, ReceiptError> {
        let source = BaseSource {
            created_at: receipt.created_at,
            digest: Digest::of(&receipt.encode()?),
            kind: BaseKind::Receipt,
            name: format!("site {}", receipt.site),
        };
        let named = |registry: &&SiteRegistry| destinations.contains(&registry.registry);
        let registries = receipt.registries.iter().filter(named);
        let base = registries.map(|registry| Self::of_registry(registry, images)).reduce(Self::and);
        Ok(Self { sources: vec![source], ..base.unwrap_or_default() })
    }

    fn of_registry(registry: &SiteRegistry, images: &ImageLayers) -> Self {
        let mut layers = HashMap::<Digest, (u64, BTreeSet<String>)>::new();
        for repository in &registry.repositories {
            for (digest, size) in repository.roots.iter().filter_map(|root| images.get(root)).flatten() {
                let entry = layers.entry(*digest).or_insert_with(|| (*size, BTreeSet::new()));
                entry.1.insert(repository.name.to_string());
            }
        }
        let requires_full_index =
            (registry.abilities.sparse_index == Some(false)).then(|| registry.registry.to_string());
        Self { layers, sources: Vec::new(), requires_full_index }
    }

    /// The layers of either: what several receipts and confirmations of one site say together.
    #[must_use]
    pub fn or(mut self, other: Self) -> Self {
        for (digest, (size, repositories)) in other.layers {
            let entry = self.layers.entry(digest).or_insert_with(|| (size, BTreeSet::new()));
            entry.1.extend(repositories);
        }
        self.combine(other.sources, other.requires_full_index)
    }

    fn combine(mut self, sources: Vec<BaseSource>, requires_full_index: Option<String>) -> Self {
        self.sources.extend(sources);
        self.sources.sort();
        self.sources.dedup();
        self.requires_full_index = self.requires_full_index.or(requires_full_index);
        self
    }

    /// Bytes of the layers.
    pub fn bytes(&self) -> u64 {
        self.layers.values().fold(0, |sum, (size, _)| sum.saturating_add(*size))
    }

    /// The layers of both: a delta for several sites leaves out only layers that all of them have.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        let mut theirs = other.layers;
        self.layers.retain(|digest, (size, repositories)| match theirs.remove(digest) {
            Some((same, more)) if same == *size => {
                repositories.extend(more);
                true
            }
            _ => false,
        });
        self.combine(other.sources, other.requires_full_index)
    }

    /// The layers: digest, bytes, and the repositories at the site that are said to have it.
    pub(in crate::sync) fn layers(&self) -> impl Iterator<Item = (Digest, u64, &BTreeSet<String>)> {
        self.layers.iter().map(|(digest, (size, repositories))| (*digest, *size, repositories))
    }

    /// Whether there is no source.
    pub fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }

    /// The registry that refuses sparse indexes, and so a choice of platforms.
    pub(super) fn requires_full_index(&self) -> Option<&str> {
        self.requires_full_index.as_deref()
    }

    /// Whether every site has the layer, with this size.
    pub(super) fn has(&self, digest: &Digest, size: u64) -> bool {
        self.layers.get(digest).is_some_and(|(same, _)| *same == size)
    }

    /// The base in the manifest for the `left_out` layers; `None` if there are none.
    pub(super) fn stated(&self, left_out: &BTreeSet<Digest>) -> Option<BundleBase> {
        let layer = |digest: &Digest| {
            let (size, repositories) = self.layers.get(digest)?;
            let repositories = repositories.iter().take(MAX_REPOSITORIES).cloned().collect();
            Some(BaseLayer { digest: *digest, repositories, size: *size })
        };
        let layers = left_out.iter().filter_map(layer).collect::<Vec<_>>();
        (!layers.is_empty()).then(|| BundleBase { layers, sources: self.sources.clone() })
    }
}
