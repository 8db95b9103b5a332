// SPDX-License-Identifier: Apache-2.0
//! Labels of the metrics of one set.

use krs_core::crd::reason;

use crate::adapters::metrics::{FailureLabels, ImageLabels, SetLabels};
use crate::engine::failures::FAILURES;
use crate::model::required_images::SetName;

/// States of images in the metrics.
pub(super) const IMAGE_STATES: [&str; 4] = ["desired", "present", "missing", "failed"];

/// Labels of the images of a set in one state.
pub(super) fn image_labels(set: &SetLabels, state: &'static str) -> ImageLabels {
    ImageLabels { namespace: set.namespace.clone(), name: set.name.clone(), state }
}

/// Labels of the images of a set that failed, by reason.
pub(super) fn failure_labels(set: &SetName) -> impl Iterator<Item = FailureLabels> {
    FAILURES.into_iter().chain([reason::COPY_FAILED, reason::JOB_REJECTED]).map(|reason| FailureLabels {
        namespace: set.namespace.clone(),
        name: set.name.clone(),
        reason,
    })
}
