// SPDX-License-Identifier: Apache-2.0
//! The content of an image that only optional children of its indexes need.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{Closure, Manifests};
use crate::oci::digest::Digest;
use crate::oci::{self, Descriptor, ManifestOrIndex};

/// The content that only optional children of an image's indexes need. The image is complete without it.
#[derive(Debug, Clone, Default)]
pub struct OptionalContent {
    /// Indexes and manifests, with the children that need them.
    pub manifests: HashMap<Digest, Vec<Digest>>,
    /// Configs, layers and content of unknown types, with the children that need them.
    pub blobs: HashMap<Digest, Vec<Digest>>,
    /// Children that indexes list and are complete without.
    pub children: BTreeMap<Digest, OptionalChild>,
}

/// A child that an index lists and is complete without.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OptionalChild {
    /// What it is, as in [`oci::Index::name_of`].
    pub name: String,
    /// What it describes, if it is an attestation.
    pub subject: Option<Digest>,
    /// The index that lists it.
    pub listed_by: Digest,
}

impl Manifests {
    /// The content of `closure`, the closure of `root`, that only optional children of its indexes need.
    pub fn optional(&self, root: &Descriptor, closure: &Closure) -> OptionalContent {
        let here = closure.manifests.iter().map(|manifest| manifest.digest).collect::<HashSet<_>>();
        let (mut required, mut children) = (HashSet::new(), Vec::new());
        let (mut manifests, mut visited) = (vec![root.clone()], HashSet::from([root.digest]));
        while let Some(descriptor) = manifests.pop() {
            match self.read(&descriptor) {
                Ok(ManifestOrIndex::Index(index)) => {
                    let held = |child: &&Descriptor| {
                        here.contains(&child.digest) || closure.opaque.contains(&child.digest)
                    };
                    for child in index.manifests.iter().filter(held) {
                        if child.is_optional() {
                            let name = index.name_of(child);
                            let (subject, listed_by) = (child.attests(), descriptor.digest);
                            children.push((child.clone(), OptionalChild { name, subject, listed_by }));
                        } else if visited.insert(child.digest) {
                            manifests.push(child.clone());
                        }
                    }
                }
                Ok(ManifestOrIndex::Manifest(manifest)) => {
                    required.insert(manifest.config.digest);
                    required.extend(manifest.layers.iter().map(|layer| layer.digest));
                }
                // `closure` was made of manifests that can be read.
                Err(_) => {}
            }
        }
        let mut optional = OptionalContent::default();
        for (child, known_as) in children {
            // A child that is also listed as an image is not optional.
            if visited.contains(&child.digest) || optional.children.contains_key(&child.digest) {
                continue;
            }
            optional.children.insert(child.digest, known_as);
            let needed = if oci::is_manifest(&child.media_type) {
                self.closure(&child, &[]).unwrap_or_default()
            } else {
                Closure { blobs: vec![child.clone()], ..Closure::default() }
            };
            for manifest in needed.manifests.iter().filter(|manifest| !visited.contains(&manifest.digest)) {
                optional.manifests.entry(manifest.digest).or_default().push(child.digest);
            }
            for content in needed.blobs.iter().filter(|content| !required.contains(&content.digest)) {
                optional.blobs.entry(content.digest).or_default().push(child.digest);
            }
        }
        optional
    }
}
