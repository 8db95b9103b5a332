// SPDX-License-Identifier: Apache-2.0
//! What a set needs of bundles, as it was decided: the media stay for that. Pure.

use krs_core::crd::{EdgeImageSetSpec, Source, reason};
use krs_core::oci::digest::Digest;
use krs_core::set::SetImage;

use super::observation::{Blocker, Decision};
use crate::model::job::{BatchSource, CopyJob};
use crate::model::required_images::{MissingImage, SetDemand};
use crate::model::site_content::SetContent;
use crate::model::state::SetState;
use crate::model::target::Target;
use crate::model::task::TaskSource;

/// What a set of these `images` needs, without its content. It is published before a Job exists that asks for it.
pub(crate) fn needs(
    spec: &EdgeImageSetSpec,
    blocker: Option<&Blocker>,
    images: &[SetImage],
    targets: &[Target],
    state: &SetState,
    jobs: &[CopyJob],
    decision: &Decision,
) -> SetDemand {
    let listed = images.iter().map(|image| {
        let resolved = state.resolved.get(&image.reference.to_string());
        (image.reference.clone(), resolved.cloned())
    });
    let missing = decision.from_bundle.iter().filter_map(|position| targets.get(*position));
    let missing =
        missing.map(|target| MissingImage { digest: target.digest, platforms: target.platforms.clone() });
    let running = copied_bundles(jobs.iter().filter(|job| !decision.delete.contains(&job.name)));
    let created = decision.create.iter().filter_map(|batch| match &batch.source {
        BatchSource::Bundle { digest, .. } => Some(*digest),
        BatchSource::Registry { .. } => None,
    });
    SetDemand {
        images: listed.collect(),
        missing: missing.collect(),
        follows_bundles: follows_bundles(spec, blocker),
        copying_from: running.chain(created).collect(),
        content: SetContent::default(),
    }
}

/// Bundles that Jobs copy from now: one that is suspended has no Pod, and reads nothing.
pub(crate) fn copied_bundles<'a>(
    jobs: impl IntoIterator<Item = &'a CopyJob>,
) -> impl Iterator<Item = Digest> {
    let active = jobs.into_iter().filter(|job| job.is_active());
    active.filter_map(|job| match job.task.source {
        TaskSource::Bundle { digest, .. } => Some(digest),
        // The media of a later version's source wait for the images that are missing until the Job has ended.
        TaskSource::Registry { .. } | TaskSource::Later => None,
    })
}

/// Whether a set copies from bundles at all, as it is: a suspended or stalled one does not, and media need not wait for it.
/// Neither for one with a Secret that the importer may not read: only whoever runs the site can mend that, and the author of
/// a set must not hold media by naming one.
pub(crate) fn follows_bundles(spec: &EdgeImageSetSpec, blocker: Option<&Blocker>) -> bool {
    let waits_for_a_person =
        |blocker: &Blocker| blocker.stalled || blocker.reason == reason::SECRET_FORBIDDEN;
    spec.source != Source::Registry && !spec.suspend && !blocker.is_some_and(waits_for_a_person)
}
