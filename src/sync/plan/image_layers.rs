// SPDX-License-Identifier: Apache-2.0
//! Which layers an image has, for receipts that name images only.

use std::collections::{HashMap, HashSet};

use crate::oci::digest::Digest;
use crate::oci::platform::Platform;
use crate::sync::catalog::{ImageLine, SentBundle};
use crate::sync::receipt::SiteRoot;
use crate::sync::resolve::ResolvedImage;

/// An image, by what decides its layers.
type Key = (Digest, Vec<Platform>);

/// Layers with their bytes, by image.
#[derive(Debug, Clone, Default)]
pub struct ImageLayers {
    wanted: HashSet<Key>,
    known: HashMap<Key, Vec<(Digest, u64)>>,
}

fn key(digest: Digest, platforms: &[Platform]) -> Key {
    let mut platforms = platforms.iter().map(Platform::canonical).collect::<Vec<_>>();
    platforms.sort_unstable();
    platforms.dedup();
    (digest, platforms)
}

impl ImageLayers {
    /// For these images; others are not kept, so that a catalog of years does not fill the memory.
    pub fn of<'a>(roots: impl IntoIterator<Item = &'a SiteRoot>) -> Self {
        let wanted = roots.into_iter().map(|root| key(root.digest, &root.platforms)).collect();
        Self { wanted, known: HashMap::new() }
    }

    /// Whether some of these images are wanted and their layers are not known.
    pub fn needs_any(&self, images: &[ImageLine]) -> bool {
        let needs = |key: &Key| self.wanted.contains(key) && !self.known.contains_key(key);
        images.iter().any(|image| needs(&key(image.digest, &image.platforms)))
    }

    /// Takes the images of a bundle of the catalog.
    pub fn insert_sent(&mut self, sent: &SentBundle) {
        for image in &sent.images {
            let key = key(image.digest, &image.platforms);
            if self.wanted.contains(&key) && !self.known.contains_key(&key) {
                let layers = image.layers.iter().filter_map(|at| sent.layers.get(*at as usize)).copied();
                self.known.insert(key, layers.collect());
            }
        }
    }

    /// Takes an image whose manifests were read.
    pub fn insert_resolved(&mut self, image: &ResolvedImage) {
        let key = key(image.root.digest, &image.platforms);
        if self.wanted.contains(&key) {
            let layers = image.closure.layers().map(|layer| (layer.digest, layer.size));
            self.known.entry(key).or_insert_with(|| layers.collect());
        }
    }

    /// The layers of an image; `None`: they are not known.
    pub fn get(&self, root: &SiteRoot) -> Option<&[(Digest, u64)]> {
        self.known.get(&key(root.digest, &root.platforms)).map(Vec::as_slice)
    }
}
