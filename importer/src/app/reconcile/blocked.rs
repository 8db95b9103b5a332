// SPDX-License-Identifier: Apache-2.0
//! Images that cannot be worked on for a reason of their own, while the rest of the set continues. Pure.

use std::collections::BTreeMap;

use krs_core::crd::{EdgeImageSetSpec, ImageFailure, reason};

use crate::engine::decide::StatusSummary;

/// Reason and message, by position in `spec.images`.
pub(super) type BlockedImages = BTreeMap<usize, (&'static str, String)>;

/// Says in `summary` why images are blocked. Where nothing is being copied, the first of them is what the set waits for.
/// `runs`: copy Jobs of the set run; that some were decided on does not say so, where what they need is missing.
pub(super) fn add_blockers(
    summary: &mut StatusSummary,
    spec: &EdgeImageSetSpec,
    blocked: &BlockedImages,
    runs: bool,
) {
    let missing = |position: usize| summary.present.get(position) == Some(&false);
    let blocking = blocked.iter().filter(|(position, _)| missing(**position));
    let blocking = blocking
        .filter_map(|(position, why)| Some((&spec.images.get(*position)?.image, why)))
        .collect::<Vec<_>>();
    let Some((_, (why, message))) = blocking.first() else { return };
    let (why, message) = (*why, message.clone());
    for (image, (reason, message)) in blocking {
        summary.failures.retain(|failure| failure.image != *image);
        summary.failures.push(ImageFailure {
            image: image.clone(),
            reason: (*reason).to_owned(),
            message: message.clone(),
        });
    }
    let order = spec.images.iter().enumerate().map(|(n, image)| (image.image.as_str(), n));
    let order = order.collect::<BTreeMap<_, _>>();
    summary.failures.sort_by_key(|failure| order.get(failure.image.as_str()).copied());
    let copying = runs && summary.reconciling.as_ref().is_some_and(|(why, _)| *why == reason::COPYING_IMAGES);
    if summary.stalled.is_none() && !copying {
        summary.ready = (why, message.clone());
        // A later bundle may list it.
        let awaited = why == reason::NAMESPACE_NOT_LISTED;
        let under_way = if awaited { reason::WAITING_FOR_BUNDLE } else { reason::RETRYING };
        summary.reconciling = Some((under_way, message));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use krs_core::crd::EdgeImage;

    fn spec(images: &[&str]) -> EdgeImageSetSpec {
        let image = |image: &&str| EdgeImage {
            image: (*image).to_owned(),
            source_client_secret_name: None,
            platforms: Vec::new(),
            destination_repository: None,
        };
        EdgeImageSetSpec {
            destination_registry: "edge.local".to_owned(),
            destination_client_secret_name: None,
            destination_tls: None,
            source: krs_core::crd::Source::default(),
            naming: krs_core::crd::Naming::default(),
            platforms: Vec::new(),
            parallelism: 2,
            resync_interval: "10m".to_owned(),
            verify_interval: "24h".to_owned(),
            suspend: false,
            images: images.iter().map(image).collect(),
        }
    }

    fn summary(present: &[bool], reconciling: &'static str) -> StatusSummary {
        StatusSummary {
            present: present.to_vec(),
            failures: Vec::new(),
            ready: (reason::WAITING_FOR_BUNDLE, "waiting".to_owned()),
            reconciling: Some((reconciling, "waiting".to_owned())),
            stalled: None,
            bundle: None,
        }
    }

    #[test]
    fn what_blocks_one_image_is_reported_and_does_not_hide_that_others_are_copied() {
        let blocked = BlockedImages::from([(1, (reason::SECRET_NOT_FOUND, "no Secret x".to_owned()))]);
        let spec = spec(&["a", "b"]);
        let mut waiting = summary(&[true, false], reason::WAITING_FOR_BUNDLE);
        add_blockers(&mut waiting, &spec, &blocked, false);
        assert_eq!(waiting.ready, (reason::SECRET_NOT_FOUND, "no Secret x".to_owned()));
        assert_eq!(waiting.failures.len(), 1);
        let mut copying = summary(&[false, false], reason::COPYING_IMAGES);
        add_blockers(&mut copying, &spec, &blocked, true);
        assert_eq!(copying.ready.0, reason::WAITING_FOR_BUNDLE);
        assert_eq!(copying.failures.len(), 1);
        let mut decided = summary(&[false, false], reason::COPYING_IMAGES);
        add_blockers(&mut decided, &spec, &blocked, false);
        assert_eq!(decided.ready.0, reason::SECRET_NOT_FOUND, "no Job was created");
        let mut present = summary(&[true, true], reason::WAITING_FOR_BUNDLE);
        add_blockers(&mut present, &spec, &blocked, false);
        assert!(present.failures.is_empty());
    }
}
