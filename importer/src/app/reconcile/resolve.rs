// SPDX-License-Identifier: Apache-2.0
//! What references with only a tag stand for: the signed answer of a bundle, else, where the site allows it, the image's
//! own registry, once per resync. An answer is kept until there is a newer one: a drive that is pulled and a registry that
//! is down turn nothing red.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use krs_core::crd::{EdgeImageSetSpec, Source, reason};
use krs_core::oci::digest::Digest;
use krs_core::oci::reference::Reference;

use super::blocked::BlockedImages;
use super::reconciler::Context;
use super::wanted::ParsedSpec;
use crate::adapters::high_water_marks::{HighWaterMarks, MarkError};
use crate::engine::decide;
use crate::model::bundle_inventory::{BundleInventory, TagAnswer, TagResolution};
use crate::model::clock::time_left;
use crate::model::marks::UsedDecisions;
use crate::model::state::SetState;

/// What is known of the tags of a set without asking anybody.
#[derive(Default)]
pub(super) struct KnownTags<'a> {
    /// What bundles decide again, by reference.
    answers: Vec<(String, TagAnswer<'a>)>,
    /// Positions of the images whose tags are to be asked for at their registry now.
    pub(super) unresolved: Vec<usize>,
}

/// Compares the tags of a set with what the bundles and `state` say. Tags that the set does not have any more are dropped
/// from `state`. Pure.
#[expect(clippy::too_many_arguments)]
pub(super) fn known<'a>(
    parts: &Context,
    namespace: &str,
    spec: &EdgeImageSetSpec,
    wanted: &ParsedSpec,
    stock: &'a BundleInventory,
    state: &mut SetState,
    resync: Duration,
    now: Timestamp,
) -> KnownTags<'a> {
    let bare = wanted.images.iter().enumerate().filter(|(_, image)| image.reference.digest.is_none());
    let names = bare.clone().map(|(_, image)| image.reference.to_string()).collect::<BTreeSet<_>>();
    state.resolved.retain(|name, _| names.contains(name));
    let mut known = KnownTags::default();
    for (position, image) in bare {
        let name = image.reference.to_string();
        let held = state.resolved.get(&name);
        let in_stock = match spec.source {
            Source::Registry => TagResolution::Unanswered,
            Source::Auto | Source::Bundle => stock.resolve(namespace, &image.reference, held),
        };
        match in_stock {
            TagResolution::New(answer) => known.answers.push((name, answer)),
            TagResolution::Unchanged => {}
            TagResolution::Unanswered => {
                let fresh = held.is_some_and(|held| time_left(held.at, now) < resync && held.at <= now);
                if !fresh && online(parts, spec, &image.reference) {
                    known.unresolved.push(position);
                }
            }
        }
    }
    known
}

/// Takes over what bundles decide. The mark of a stream is raised first: a bundle that was superseded in the meantime, or
/// whose mark cannot be read, decides nothing, and what the tags stood for stays.
pub(super) async fn use_answers(
    marks: &HighWaterMarks,
    known: &KnownTags<'_>,
    state: &mut SetState,
    now: Timestamp,
) -> Result<(), MarkError> {
    let mut outcomes = BTreeMap::<Digest, Option<UsedDecisions>>::new();
    for (name, answer) in &known.answers {
        let bundle = answer.bundle();
        if let Entry::Vacant(outcome) = outcomes.entry(bundle.digest) {
            let used = match marks.raise(&bundle.stream, &bundle.mark()).await {
                Ok(used) => Some(used),
                Err(error) if error.is_verdict() => {
                    tracing::warn!(bundle = bundle.name, %error, "the bundle decides no tag");
                    None
                }
                Err(error) => return Err(error),
            };
            outcome.insert(used);
        }
        let used = outcomes.get(&bundle.digest).and_then(Option::as_ref);
        if let Some(resolved) = used.and_then(|used| answer.resolved(used, now)) {
            state.resolved.insert(name.clone(), resolved);
        }
    }
    Ok(())
}

/// Images whose tags a bundle knows for sets of other namespaces only: nothing says what they stand for here. Pure.
pub(super) fn withheld(
    namespace: &str,
    spec: &EdgeImageSetSpec,
    wanted: &ParsedSpec,
    unresolved: &[usize],
    stock: &BundleInventory,
) -> BlockedImages {
    let why = |position: &usize| {
        let reference = &wanted.images.get(*position)?.reference;
        let (bundle, _) = stock.withheld_tag(namespace, reference)?;
        let message = decide::withheld(namespace, &reference.to_string(), bundle);
        Some((*position, (reason::NAMESPACE_NOT_LISTED, message)))
    };
    if spec.source == Source::Registry {
        return BlockedImages::new();
    }
    unresolved.iter().filter_map(why).collect()
}

/// Whether the image's own registry may be asked.
pub(super) fn online(parts: &Context, spec: &EdgeImageSetSpec, reference: &Reference) -> bool {
    let sources = &parts.sources;
    parts.config.online.enabled
        && spec.source != Source::Bundle
        && sources.source(&reference.registry, &reference.repository)
}
