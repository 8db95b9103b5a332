// SPDX-License-Identifier: Apache-2.0
//! Queries what tags named before a push, so that the report tells which of them it moved.

use std::collections::BTreeMap;

use futures::stream::{self, StreamExt as _};

use super::error::TargetError;
use super::run::{MAX_QUERIES, Run};
use super::tags_before::{TagBefore, TagState, states};
use super::target::{Delivery, Target};
use crate::error::{Classify as _, ErrorKind};
use crate::oci::Descriptor;
use crate::oci::reference::Selector;
use crate::registry::{Client, RegistryError, Repository};

impl Run<'_> {
    /// The tags of a target that do not name its image yet.
    pub(super) async fn find_missing_tags<'a>(
        &self,
        repository: &Repository,
        target: &Target,
        root: &'a Descriptor,
    ) -> Result<Vec<(Selector, &'a Descriptor)>, TargetError> {
        let queries = target.tags.iter().map(|tag| async move {
            let selector = Selector::Tag(tag.clone());
            let before = TagBefore::from(&repository.look_up_for_push(&selector).await?);
            self.tags_before.add(repository.name(), tag, before);
            Ok::<_, TargetError>((before != TagBefore::Digest(root.digest)).then_some((selector, root)))
        });
        let answers = stream::iter(queries).buffered(MAX_QUERIES).collect::<Vec<_>>().await;
        answers.into_iter().filter_map(Result::transpose).collect()
    }
}

/// Queries what the tags of a delivery name now, and returns it with the first error. If the registry is not available, it
/// is not queried again, and its tags are unknown.
pub async fn tag_states(
    client: &Client,
    Delivery { destination, targets }: &Delivery,
) -> (Vec<TagState>, Option<RegistryError>) {
    let mut known = BTreeMap::new();
    let mut first = None;
    let mut tag_states = states(targets, |_, _| TagBefore::Unknown);
    let query = |state: &TagState| {
        let repository = client.repository(&destination.registry, &state.repository);
        let (repository, tag) = (repository.optional().optional_once(), state.tag.clone());
        async move {
            let found = repository.head_manifest(&Selector::Tag(tag.clone())).await;
            let found = found.map(|found| found.map_or(TagBefore::Absent, |it| TagBefore::Digest(it.digest)));
            ((repository.name().clone(), tag), found)
        }
    };
    // The first tag alone, so that a registry that does not answer costs one timeout.
    let (one, others) = tag_states.split_at(tag_states.len().min(1));
    for part in [one, others] {
        for (name, found) in
            stream::iter(part.iter().map(query)).buffered(MAX_QUERIES).collect::<Vec<_>>().await
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
    for state in &mut tag_states {
        let before = known.get(&(state.repository.clone(), state.tag.clone()));
        state.before = before.copied().unwrap_or(TagBefore::Unknown);
    }
    (tag_states, first)
}
