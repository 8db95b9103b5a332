// SPDX-License-Identifier: Apache-2.0
//! What the images of a bundle are called at the edge. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::PushError;
use crate::bundle::Bundle;
use crate::digest::Digest;
use crate::reference::{Destination, RepositoryName, Tag};

/// A repository and digest at the edge, with all tags that the sets give it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The repository, with the destination's prefix.
    pub repository: RepositoryName,
    /// The image's place in the bundle.
    pub image: usize,
    /// The image.
    pub digest: Digest,
    /// Its tags.
    pub tags: BTreeSet<Tag>,
    /// The references that it comes from, as the sets write them.
    pub references: BTreeSet<String>,
}

/// What every image of a bundle is called at `destination`, from the sets that the bundle carries. Pure.
///
/// # Errors
/// [`PushError::Name`], [`PushError::Collision`].
pub fn targets(bundle: &Bundle, destination: &Destination) -> Result<Vec<Target>, PushError> {
    let images = bundle.manifest().images.iter().enumerate();
    let places = images
        .map(|(n, image)| ((image.reference.to_string(), image.platforms.clone()), n))
        .collect::<HashMap<_, _>>();
    let mut targets = BTreeMap::<(RepositoryName, usize), Target>::new();
    let mut tags = HashMap::<(RepositoryName, Tag), Digest>::new();
    for wanted in bundle.sets().iter().flat_map(|set| &set.images) {
        // Opening the bundle has compared the images of the sets with those of the manifest.
        let key = (wanted.reference.to_string(), wanted.platforms.clone());
        let Some((place, image)) =
            places.get(&key).and_then(|n| Some((*n, bundle.manifest().images.get(*n)?)))
        else {
            continue;
        };
        let repository = destination.repository(&wanted.repository)?;
        let (tag, digest) = (wanted.tag.clone(), image.digest);
        let one = *tags.entry((repository.clone(), tag.clone())).or_insert(digest);
        if one != digest {
            return Err(PushError::Collision { repository, tag, one, other: digest });
        }
        let target = targets.entry((repository.clone(), place)).or_insert_with(|| Target {
            repository,
            image: place,
            digest,
            tags: BTreeSet::new(),
            references: BTreeSet::new(),
        });
        target.tags.insert(tag);
        target.references.insert(wanted.written.clone());
    }
    let mut targets = targets.into_values().collect::<Vec<_>>();
    // In the order of the archive, so that the media is read forward.
    targets.sort_by_key(|target| target.image);
    Ok(targets)
}
