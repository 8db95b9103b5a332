// SPDX-License-Identifier: Apache-2.0
//! Merges sets: each image once, and no two images that overwrite each other at the edge.

use std::collections::{BTreeMap, HashMap};

use crate::error::shortened;
use crate::oci::digest::Digest;
use crate::oci::platform::Platform;
use crate::oci::reference::{Reference, RepositoryName, Tag};
use crate::set::error::{SetError, SetErrors};
use crate::set::model::{LoadedSet, SetImage, Warning};
use crate::set::rules::rule::{NAMES_OF_SITES, NAMING_COLLISION};

/// The images of several sets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MergedImages {
    /// Each distinct pair of reference and platforms once, in order of first use.
    pub images: Vec<MergedImage>,
}

/// An image that one or more sets want.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MergedImage {
    /// The reference that all of these entries name.
    pub reference: Reference,
    /// Platforms to copy. Empty: all.
    pub platforms: Vec<Platform>,
    /// The sets that list it, in order.
    pub uses: Vec<SetUse>,
}

/// One image of one set, as indexes into the slice that was merged and into that set's images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SetUse {
    /// Index of the set.
    pub set: usize,
    /// Index of the image in the set.
    pub image: usize,
}

/// Merges the images of all sets.
///
/// # Errors
/// Every collision of digests in the sets; see [`collisions`].
pub fn merge(sets: &[LoadedSet]) -> Result<MergedImages, SetErrors> {
    collisions(sets, |reference| reference.digest)?;
    let mut images: Vec<MergedImage> = Vec::new();
    let mut known: HashMap<(&Reference, &[Platform]), usize> = HashMap::new();
    for (set, loaded) in sets.iter().enumerate() {
        for (image, wanted) in loaded.set.images.iter().enumerate() {
            let index = *known.entry((&wanted.reference, &wanted.platforms)).or_insert_with(|| {
                images.push(MergedImage {
                    reference: wanted.reference.clone(),
                    platforms: wanted.platforms.clone(),
                    uses: Vec::new(),
                });
                images.len() - 1
            });
            if let Some(merged) = images.get_mut(index) {
                merged.uses.push(SetUse { set, image });
            }
        }
    }
    Ok(MergedImages { images })
}

/// Finds references with different digests that go to one repository and tag of one destination registry, also across sets.
/// `digest` returns the digest of a reference, or `None` if it is not known yet: call this again when every tag is
/// resolved.
///
/// # Errors
/// Every collision, with both locations.
pub fn collisions(
    sets: &[LoadedSet],
    digest: impl Fn(&Reference) -> Option<Digest>,
) -> Result<(), SetErrors> {
    let mut taken: HashMap<(String, &str), (Digest, &LoadedSet, &SetImage)> = HashMap::new();
    let mut errors = Vec::new();
    for loaded in sets {
        for image in &loaded.set.images {
            let Some(digest) = digest(&image.reference) else { continue };
            // The text is compared, not the parsed name: a variable has the same value everywhere.
            let target = format!("{}/{}", loaded.set.spec.destination_registry, image.repository);
            let (first, owner, other) =
                *taken.entry((target.clone(), image.tag.as_str())).or_insert((digest, loaded, image));
            if first == digest {
                continue;
            }
            let tag = &image.tag;
            let message = format!(
                "naming collision: `{}` and `{}` ({}:{}) both become {target}:{tag}, with different digests",
                image.written, other.written, owner.shown, other.line,
            );
            let error = SetError {
                line: image.line,
                column: image.column,
                rule: NAMING_COLLISION,
                ..SetError::file(&loaded.shown, message)
            };
            errors.push(
                error
                    .mark(&String::from_utf8_lossy(&loaded.raw), loaded.document_line(), &image.written)
                    .help(
                        "give one of them another tag or a destinationRepository, or set naming: HostInPath",
                    ),
            );
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(SetErrors(errors)) }
}

/// Most names that a warning lists.
const MAX_LISTED: usize = 5;

/// An image with a given name, and its location in the set.
type Claim<'a> = (Digest, &'a LoadedSet, &'a SetImage);

/// Warns of names that sets with different destinations give to different images: each goes to its own registry, but one
/// registry cannot have both, for example if `krs push` names one. `digest` as for [`collisions`], which finds those with
/// one destination.
pub fn names_of_sites(sets: &[LoadedSet], digest: impl Fn(&Reference) -> Option<Digest>) -> Option<Warning> {
    let mut names: BTreeMap<(&RepositoryName, &Tag), Vec<Claim>> = BTreeMap::new();
    for loaded in sets {
        for image in &loaded.set.images {
            if let Some(digest) = digest(&image.reference) {
                let claims = names.entry((&image.repository, &image.tag)).or_default();
                claims.push((digest, loaded, image));
            }
        }
    }
    let shared = names.iter().filter_map(|(name, claims)| {
        let (first, others) = claims.split_first()?;
        Some((name, first, others.iter().find(|other| other.0 != first.0)?))
    });
    let shared = shared.collect::<Vec<_>>();
    let (_, (_, loaded, image), _) = shared.first()?;
    let claim = |(_, loaded, image): &Claim| {
        let set = crate::set::model::full_name(loaded.set.namespace.as_deref(), &loaded.set.name);
        format!("set {set} ({}:{}, for {})", loaded.shown, image.line, loaded.set.spec.destination_registry)
    };
    let list = shared.iter().map(|((repository, tag), one, other)| {
        format!("{repository}:{tag} in {} and {}", claim(one), claim(other))
    });
    let list = shortened(list, MAX_LISTED, "; ");
    let message = format!(
        "sets for different destinations give one name to different images, which one registry cannot hold: let `krs push` \
         use the destinations of the sets (name no registry), or choose sets by --set: {list}"
    );
    Some(Warning::new(&loaded.shown, image.line, &message).rule(NAMES_OF_SITES))
}
