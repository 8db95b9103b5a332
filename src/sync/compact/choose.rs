// SPDX-License-Identifier: Apache-2.0
//! Which layers of a bundle may travel as patches, and which layers of the sites they may be made of. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::oci::digest::Digest;
use crate::oci::reference::Destination;
use crate::set::CheckedSet;
use crate::sync::plan::{Base, Plan};
use crate::sync::resolve::{Origin, Resolved};

/// The smallest layer that is worth a patch, in bytes.
const MIN_LAYER: u64 = 4 << 10;
/// Most base layers that are read for one bundle: each is fetched, expanded and indexed.
const MAX_BASES: usize = 1024;

/// A layer to be fetched before the bundle is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layer {
    pub(super) digest: Digest,
    pub(super) size: u64,
    /// Repositories that may have it.
    pub(super) origins: Vec<Origin>,
    /// What it belongs to, for people.
    pub(super) name: String,
}

/// Layers that may share patches: whoever may read one of them may read all of them, and their bases too. (T-123)
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Group {
    /// Layers that may travel as patches, in the order of the archive.
    pub(super) targets: Vec<Layer>,
    /// Layers that the sites have, in the order of their digests.
    pub(super) bases: Vec<Layer>,
    /// How many more the sites have, which are not read.
    pub(super) left_out: usize,
}

impl Group {
    /// The group without the layers that are not at hand.
    pub(super) fn retain(&mut self, is_at_hand: impl Fn(&Digest) -> bool) {
        self.targets.retain(|layer| is_at_hand(&layer.digest));
        self.bases.retain(|layer| is_at_hand(&layer.digest));
    }
}

/// Chooses layers of images that are not foreign, and as their bases the layers that the sites have in the repositories of these
/// images: what did not change costs nothing. For an image of which the sites have nothing it is all layers of its sets. A patch is
/// read with the credentials of one set, so layers share one only if the same sets list them.
pub(super) fn choose(plan: &Plan, resolved: &Resolved, edge: &EdgeNames, base: &Base) -> Vec<Group> {
    let layers = resolved.images.iter().flat_map(|image| image.closure.layers()).map(|layer| layer.digest);
    let layers = layers.collect::<BTreeSet<_>>();
    let mut groups = BTreeMap::<BTreeSet<usize>, (Group, BTreeSet<usize>)>::new();
    for fetch in &plan.fetches {
        let blob = fetch.blob;
        let owners = fetch.images.iter().filter_map(|image| edge.sets_of_image.get(image)).flatten().copied();
        let owners = owners.collect::<BTreeSet<_>>();
        if owners.is_empty()
            || !layers.contains(&blob.digest)
            || !fetch.urls.is_empty()
            || blob.size < MIN_LAYER
        {
            continue;
        }
        let name = plan.images(fetch).next().map(ToString::to_string).unwrap_or_default();
        let layer = Layer { digest: blob.digest, size: blob.size, origins: plan.origins(fetch), name };
        let (group, images) = groups.entry(owners).or_default();
        group.targets.push(layer);
        images.extend(fetch.images.iter().copied());
    }
    let groups = groups.into_iter().map(|(owners, (group, images))| {
        let bases = bases(&owners, base, edge);
        let mut bases = of_images(bases, &images, edge);
        let left_out = bases.len().saturating_sub(MAX_BASES);
        bases.truncate(MAX_BASES);
        Group { bases, left_out, ..group }
    });
    groups.collect()
}

/// The layers in the repositories of these images; all if there is none for one of them, which may be an image with a new name.
fn of_images(
    bases: Vec<(Layer, &BTreeSet<String>)>,
    images: &BTreeSet<usize>,
    edge: &EdgeNames,
) -> Vec<Layer> {
    let is_of = |image: &usize, names: &BTreeSet<String>| {
        edge.names_of_image.get(image).is_some_and(|of_image| !of_image.is_disjoint(names))
    };
    let is_known = |image: &usize| bases.iter().any(|(_, names)| is_of(image, names));
    let are_all_known = images.iter().all(is_known);
    let bases = bases
        .into_iter()
        .filter(|(_, names)| !are_all_known || images.iter().any(|image| is_of(image, names)));
    bases.map(|(layer, _)| layer).collect()
}

/// The layers that the sites have in repositories of all of these sets, with the names of these, in the order of their digests.
fn bases<'a>(sets: &BTreeSet<usize>, base: &'a Base, edge: &EdgeNames) -> Vec<(Layer, &'a BTreeSet<String>)> {
    let mut bases = BTreeMap::new();
    for (digest, size, repositories) in base.layers() {
        let of_set = |set: &usize| edge.names_of_set.get(*set);
        let is_readable = |set: &usize| {
            of_set(set).is_some_and(|names| repositories.iter().any(|name| names.contains(name)))
        };
        if !sets.iter().all(is_readable) {
            continue;
        }
        let origins = repositories.iter().filter_map(|name| edge.origins.get(name)).flatten();
        let origins = origins.cloned().collect::<BTreeSet<_>>().into_iter().collect();
        let name = repositories.first().cloned().unwrap_or_default();
        bases.insert(digest, (Layer { digest, size, origins, name }, repositories));
    }
    bases.into_values().collect()
}

/// How repositories at the edge, sets and sources belong together.
#[derive(Default)]
pub(super) struct EdgeNames {
    /// The sets that list each image, by its index.
    sets_of_image: HashMap<usize, BTreeSet<usize>>,
    /// Its names at the edge.
    names_of_image: HashMap<usize, BTreeSet<String>>,
    /// Names at the edge of what each set lists.
    names_of_set: Vec<BTreeSet<String>>,
    /// Sources of what each repository at the edge has.
    origins: HashMap<String, BTreeSet<Origin>>,
}

impl EdgeNames {
    /// Sources of what these repositories at the edge have.
    pub(super) fn origins(&self, repositories: &[String]) -> Vec<Origin> {
        let origins = repositories.iter().filter_map(|name| self.origins.get(name)).flatten();
        origins.cloned().collect::<BTreeSet<_>>().into_iter().collect()
    }

    pub(super) fn new(resolved: &Resolved, sets: &[&CheckedSet]) -> Self {
        let mut edge = Self { names_of_set: vec![BTreeSet::new(); sets.len()], ..Self::default() };
        let mut listed = HashMap::<String, (BTreeSet<usize>, BTreeSet<String>)>::new();
        for (index, set) in sets.iter().enumerate() {
            let destination = set.spec.destination_registry.parse::<Destination>().ok();
            for wanted in &set.images {
                // A receipt names a repository with the prefix of the destination, an earlier bundle without.
                let full = destination.as_ref().and_then(|to| to.repository(&wanted.repository).ok());
                let names =
                    [wanted.repository.to_string()].into_iter().chain(full.map(|name| name.to_string()));
                let names = names.collect::<Vec<_>>();
                let entry = listed.entry(wanted.reference.to_string()).or_default();
                entry.0.insert(index);
                entry.1.extend(names.iter().cloned());
                if let Some(of_set) = edge.names_of_set.get_mut(index) {
                    of_set.extend(names);
                }
            }
        }
        for (index, image) in resolved.images.iter().enumerate() {
            let Some((sets, names)) = listed.get(&image.reference.to_string()) else { continue };
            let origin = Origin {
                registry: image.reference.registry.clone(),
                repository: image.reference.repository.clone(),
            };
            for name in names {
                edge.origins.entry(name.clone()).or_default().insert(origin.clone());
            }
            edge.sets_of_image.insert(index, sets.clone());
            edge.names_of_image.insert(index, names.clone());
        }
        edge
    }
}
