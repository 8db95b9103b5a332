// SPDX-License-Identifier: Apache-2.0
//! What tags named before a push, as far as it is known.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use super::target::Target;
use crate::oci::digest::Digest;
use crate::oci::reference::{RepositoryName, Tag};
use crate::registry::ManifestLookup;

/// What a tag named before a push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TagBefore {
    /// The tag did not exist.
    Absent,
    /// This manifest.
    Digest(Digest),
    /// Not known.
    Unknown,
}

impl From<&ManifestLookup> for TagBefore {
    fn from(lookup: &ManifestLookup) -> Self {
        match lookup {
            ManifestLookup::Found(found) => Self::Digest(found.digest),
            ManifestLookup::Absent => Self::Absent,
            ManifestLookup::Unknown => Self::Unknown,
        }
    }
}

/// A tag of a set's image, and what it named before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagState {
    /// The repository at the destination.
    pub repository: RepositoryName,
    /// The tag that the push moves or sets.
    pub tag: Tag,
    /// What it named before.
    pub before: TagBefore,
    /// The image of the set.
    pub digest: Digest,
}

impl TagState {
    /// What the tag named before, if it is moved from there.
    pub fn moved_from(&self) -> Option<Digest> {
        match self.before {
            TagBefore::Digest(before) if before != self.digest => Some(before),
            _ => None,
        }
    }
}

/// The states of tags before this run changed them.
#[derive(Debug, Default)]
pub(super) struct TagsBefore(Mutex<BTreeMap<(RepositoryName, Tag), TagBefore>>);

impl TagsBefore {
    /// The first response counts: if a target is put twice, the second response shows the change of this run.
    pub(super) fn add(&self, repository: &RepositoryName, tag: &Tag, before: TagBefore) {
        let mut known = self.0.lock();
        known.entry((repository.clone(), tag.clone())).or_insert(before);
    }

    /// The states of all tags of these targets.
    pub(super) fn states(&self, targets: &[Target]) -> Vec<TagState> {
        let known = self.0.lock();
        let before = |repository: &RepositoryName, tag: &Tag| {
            known.get(&(repository.clone(), tag.clone())).copied().unwrap_or(TagBefore::Unknown)
        };
        states(targets, before)
    }
}

pub(super) fn states(
    targets: &[Target],
    before: impl Fn(&RepositoryName, &Tag) -> TagBefore,
) -> Vec<TagState> {
    let state = |target: &Target, tag: &Tag| TagState {
        repository: target.repository.clone(),
        tag: tag.clone(),
        before: before(&target.repository, tag),
        digest: target.digest,
    };
    let tags = targets.iter().flat_map(|target| target.tags.iter().map(move |tag| (target, tag)));
    tags.map(|(target, tag)| state(target, tag)).collect()
}
