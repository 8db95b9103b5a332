// SPDX-License-Identifier: Apache-2.0
//! What of a set is present, and what it waits for, from what the importer keeps of the set. Pure.

use std::collections::BTreeSet;

use krs_core::crd::{EdgeImageSetSpec, reason};
use krs_core::oci::reference::RegistryHost;
use krs_core::set::SetImage;
use krs_core::sync::receipt::{AwaitedImage, SiteRoot};

use crate::engine::decide::{Blocker, follows_bundles};
use crate::model::site_content::{PresentImage, SetImages};
use crate::model::state::SetState;
use crate::model::target::Target;

/// The content of a set with these `images` at `registry`. Present is only what the registry was verified to have
/// completely, and of which nothing was found damaged since. A set that copies from no bundle waits for none.
pub(crate) fn set_images(
    spec: &EdgeImageSetSpec,
    blocker: Option<&Blocker>,
    registry: Option<&RegistryHost>,
    images: &[SetImage],
    targets: &[Target],
    state: &SetState,
) -> SetImages {
    let is_present = |target: &&Target| {
        state.verified_at.contains_key(&target.key) && !state.content_damage.contains_key(&target.key)
    };
    let present = targets.iter().filter(is_present);
    let positions = present.clone().flat_map(|target| target.images.iter().copied()).collect::<BTreeSet<_>>();
    let root = |target: &Target| SiteRoot {
        digest: target.digest,
        platforms: target.platforms.clone(),
        reference: target.reference.clone(),
        tags: target.tags.clone(),
    };
    let waits = follows_bundles(spec, blocker);
    let awaited = images.iter().enumerate().filter(|(position, _)| waits && !positions.contains(position));
    let awaited = awaited.map(|(_, image)| AwaitedImage {
        platforms: image.platforms.clone(),
        reference: image.reference.clone(),
    });
    let is_refusal = |reason: &str| reason == reason::SPARSE_INDEX_REFUSED;
    SetImages {
        registry: registry.cloned(),
        present: present
            .map(|target| PresentImage { repository: target.repository.clone(), root: root(target) })
            .collect(),
        awaited: awaited.collect(),
        refuses_sparse_index: state.attempts.values().any(|attempt| is_refusal(&attempt.reason)),
    }
}
