// SPDX-License-Identifier: Apache-2.0
//! Selects the sets to push, their destinations, and the names of their images there. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::error::{Claim, PushError};
use super::target::{Delivery, SetName, Target};
use crate::bundle::Bundle;
use crate::oci::digest::Digest;
use crate::oci::reference::{Destination, RepositoryName, Tag};
use crate::set::CheckedSet;

/// The indexes of the sets that `names` name; of all sets if `names` is empty.
///
/// # Errors
/// [`PushError::UnknownSets`] if a name is that of no set.
pub fn select(bundle: &Bundle, names: &[SetName]) -> Result<Vec<usize>, PushError> {
    let sets = bundle.sets();
    let unknown = names.iter().filter(|name| !sets.iter().any(|set| name.matches(set)));
    let unknown = unknown.cloned().collect::<BTreeSet<_>>();
    if !unknown.is_empty() {
        return Err(PushError::UnknownSets { unknown, known: sets.iter().map(SetName::of).collect() });
    }
    let is_selected = |set: &CheckedSet| names.is_empty() || names.iter().any(|name| name.matches(set));
    Ok(sets.iter().enumerate().filter(|(_, set)| is_selected(set)).map(|(n, _)| n).collect())
}

/// The deliveries of the sets at the indexes `sets`: all to `destination`, or else each to its own `destinationRegistry`.
/// In the order of the destinations.
///
/// # Errors
/// [`PushError::Name`], [`PushError::Collision`]; [`PushError::Variable`] if a set has no destination of its own.
pub fn deliveries(
    bundle: &Bundle,
    sets: &[usize],
    destination: Option<&Destination>,
) -> Result<Vec<Delivery>, PushError> {
    let images = bundle.manifest().images.iter().enumerate();
    let indexes = images
        .map(|(n, image)| ((image.reference.to_string(), image.platforms.clone()), n))
        .collect::<HashMap<_, _>>();
    // Two names of one destination give one delivery.
    let mut deliveries = BTreeMap::<String, (Destination, BTreeMap<(RepositoryName, usize), Target>)>::new();
    let mut tags = HashMap::<(String, RepositoryName, Tag), (Digest, usize)>::new();
    for position in sets.iter().copied() {
        let Some(set) = bundle.sets().get(position) else { continue };
        let own = match destination {
            Some(destination) => destination.clone(),
            None => own_destination(bundle, position, set)?,
        };
        let (destination, targets) =
            deliveries.entry(own.canonical()).or_insert_with(|| (own, BTreeMap::new()));
        for wanted in &set.images {
            // Opening the bundle has compared the images of the sets with those of the manifest.
            let key = (wanted.reference.to_string(), wanted.platforms.clone());
            let Some((index, image)) =
                indexes.get(&key).and_then(|n| Some((*n, bundle.manifest().images.get(*n)?)))
            else {
                continue;
            };
            let repository = destination.repository(&wanted.repository)?;
            let (tag, digest) = (wanted.tag.clone(), image.digest);
            let registry = destination.registry.without_default_port().to_owned();
            let claim = |digest, position| Claim::new(bundle, position, digest);
            // Two destinations of one registry may give one name, if one prefix is the beginning of the other.
            let (one, of) =
                *tags.entry((registry, repository.clone(), tag.clone())).or_insert((digest, position));
            if one != digest {
                let claims = Box::new([claim(one, of), claim(digest, position)]);
                let registry = destination.registry.clone();
                return Err(PushError::Collision { registry, repository, tag, claims });
            }
            let target = targets.entry((repository.clone(), index)).or_insert_with(|| Target {
                repository,
                image: index,
                digest,
                tags: BTreeSet::new(),
                references: BTreeSet::new(),
            });
            target.tags.insert(tag);
            target.references.insert(wanted.written.clone());
        }
    }
    let delivery = |(destination, targets): (_, BTreeMap<_, Target>)| {
        let mut targets = targets.into_values().collect::<Vec<_>>();
        targets.sort_by_key(|target| target.image);
        Delivery { destination, targets }
    };
    Ok(deliveries.into_values().map(delivery).collect())
}

/// Destinations of the sets at the positions `sets` that are not `destination`. One with a variable is not counted.
pub fn other_destinations(bundle: &Bundle, sets: &[usize], destination: &Destination) -> BTreeSet<String> {
    let own = sets.iter().filter_map(|position| bundle.sets().get(*position));
    let own = own.filter_map(|set| set.spec.destination_registry.parse::<Destination>().ok());
    own.filter(|own| own.canonical() != destination.canonical()).map(|own| own.to_string()).collect()
}

fn own_destination(bundle: &Bundle, position: usize, set: &CheckedSet) -> Result<Destination, PushError> {
    set.spec.destination_registry.parse().map_err(|_| PushError::Variable {
        set: SetName::of(set),
        file: file(bundle, position),
        destination: crate::redact::printable(&set.spec.destination_registry, 255),
    })
}

fn file(bundle: &Bundle, position: usize) -> String {
    bundle.manifest().sets.get(position).map(|set| set.file.clone()).unwrap_or_default()
}

impl Claim {
    fn new(bundle: &Bundle, position: usize, digest: Digest) -> Self {
        let set = bundle.sets().get(position).map(|set| SetName::of(set).to_string()).unwrap_or_default();
        Self { digest, set, file: file(bundle, position) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_named_with_or_without_its_namespace() {
        let parse = |text: &str| text.parse::<SetName>().map(|name| name.to_string());
        for right in ["shop", "apps/shop"] {
            assert_eq!(parse(right).as_deref(), Ok(right));
        }
        for wrong in ["", "/", "/shop", "apps/", "a/b/c"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
