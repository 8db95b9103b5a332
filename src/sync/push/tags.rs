// SPDX-License-Identifier: Apache-2.0
//! What the tags that sets give named before: a push says which of them it moved.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use futures::stream::{self, StreamExt as _};

use super::{Delivery, QUESTIONS, Run, Target, TargetError};
use crate::error::{Classify as _, ErrorKind};
use crate::oci::Descriptor;
use crate::oci::digest::Digest;
use crate::oci::reference::{RepositoryName, Selector, Tag};
use crate::registry::{Client, ManifestLookup, RegistryError, Repository};

/// What a tag named before a push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TagBefore {
    /// It was not there.
    Absent,
    /// This manifest.
    Digest(Digest),
    /// The registry did not say.
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

/// A tag that a set gives an image, and what it named before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagState {
    /// The repository.
    pub repository: RepositoryName,
    /// The tag.
    pub tag: Tag,
    /// What it named before.
    pub before: TagBefore,
    /// The image of the set.
    pub digest: Digest,
}

impl TagState {
    /// What the tag named before, where it is moved from there.
    pub fn moved_from(&self) -> Option<Digest> {
        match self.before {
            TagBefore::Digest(before) if before != self.digest => Some(before),
            _ => None,
        }
    }
}

/// What the registry said of tags before this run changed them.
#[derive(Debug, Default)]
pub(super) struct TagsBefore(Mutex<BTreeMap<(RepositoryName, Tag), TagBefore>>);

impl TagsBefore {
    /// The first answer counts: where a target is put twice, the second one is what this run did.
    fn add(&self, repository: &RepositoryName, tag: &Tag, before: TagBefore) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.entry((repository.clone(), tag.clone())).or_insert(before);
    }

    /// Of all tags of these targets.
    pub(super) fn states(&self, targets: &[Target]) -> Vec<TagState> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = |repository: &RepositoryName, tag: &Tag| {
            known.get(&(repository.clone(), tag.clone())).copied().unwrap_or(TagBefore::Unknown)
        };
        states(targets, before)
    }
}

fn states(targets: &[Target], before: impl Fn(&RepositoryName, &Tag) -> TagBefore) -> Vec<TagState> {
    let state = |target: &Target, tag: &Tag| TagState {
        repository: target.repository.clone(),
        tag: tag.clone(),
        before: before(&target.repository, tag),
        digest: target.digest,
    };
    let tags = targets.iter().flat_map(|target| target.tags.iter().map(move |tag| (target, tag)));
    tags.map(|(target, tag)| state(target, tag)).collect()
}

impl Run<'_> {
    /// The tags of a target that do not name its image yet.
    pub(super) async fn lacking_tags<'a>(
        &self,
        repository: &Repository,
        target: &Target,
        root: &'a Descriptor,
    ) -> Result<Vec<(Selector, &'a Descriptor)>, TargetError> {
        let asked = target.tags.iter().map(|tag| async move {
            let selector = Selector::Tag(tag.clone());
            let before = TagBefore::from(&repository.look_up_for_push(&selector).await?);
            self.tags_before.add(repository.name(), tag, before);
            Ok::<_, TargetError>((before != TagBefore::Digest(root.digest)).then_some((selector, root)))
        });
        let answers = stream::iter(asked).buffered(QUESTIONS).collect::<Vec<_>>().await;
        answers.into_iter().filter_map(Result::transpose).collect()
    }
}

/// What the tags of a delivery name now. With it comes the first error: after one that says that the registry is not
/// available, it is not asked again, and its tags are unknown.
pub async fn tag_states(
    client: &Client,
    Delivery { destination, targets }: &Delivery,
) -> (Vec<TagState>, Option<RegistryError>) {
    let mut known = BTreeMap::new();
    let mut first = None;
    let mut asked = states(targets, |_, _| TagBefore::Unknown);
    let ask = |state: &TagState| {
        let repository = client.repository(&destination.registry, &state.repository);
        let (repository, tag) = (repository.optional().optional_once(), state.tag.clone());
        async move {
            let found = repository.head_manifest(&Selector::Tag(tag.clone())).await;
            let found = found.map(|found| found.map_or(TagBefore::Absent, |it| TagBefore::Digest(it.digest)));
            ((repository.name().clone(), tag), found)
        }
    };
    // One alone: a registry that does not answer is waited for once.
    let (one, others) = asked.split_at(asked.len().min(1));
    for part in [one, others] {
        for (name, found) in stream::iter(part.iter().map(ask)).buffered(QUESTIONS).collect::<Vec<_>>().await
        {
            match found {
                Ok(before) => drop(known.insert(name, before)),
                Err(error) => first = first.or(Some(error)),
            }
        }
        if first.as_ref().is_some_and(|error| error.kind() == ErrorKind::Unavailable) {
            break;
        }
    }
    for state in &mut asked {
        let before = known.get(&(state.repository.clone(), state.tag.clone()));
        state.before = before.copied().unwrap_or(TagBefore::Unknown);
    }
    (asked, first)
}
