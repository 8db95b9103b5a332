// SPDX-License-Identifier: Apache-2.0
//! Conditions of ImageBundles: the types and reasons that only the intake writes, and what those of earlier runs say. Pure.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use krs_core::crd::{ImageBundleStatus, condition};

use crate::engine::condition::{MEDIA_ABSENT, current_reason};

/// Reason of a bundle whose file is there.
pub(super) const FILE_PRESENT: &str = "FilePresent";
/// Reason of a bundle of which no set needs anything.
pub(super) const IMPORTED: &str = "Imported";
/// Reason of a bundle of which sets need images.
pub(super) const IMAGES_MISSING: &str = "ImagesMissing";
/// Whether the mark of the stream has reached the bundle once.
pub(super) const RECORDED: &str = "Recorded";
/// Whether the sets of the bundle were applied, where the site wants that.
pub(super) const SETS_APPLIED: &str = "SetsApplied";
/// Reason of a mark that cannot be read.
pub(super) const MARK_UNREADABLE: &str = "MarkUnreadable";

/// Reason of media that the receipt of the site is written to.
pub(super) const WRITING_RECEIPT: &str = "WritingReceipt";

/// Whether an earlier run has verified and imported the bundle.
pub(super) fn was_imported(status: Option<&ImageBundleStatus>) -> bool {
    let holds = |type_| state(status, type_).is_some_and(|(status, _)| status == "True");
    holds(condition::VERIFIED) && holds(condition::IMPORTED)
}

/// Whether an earlier run has seen that the mark of the stream has reached the bundle. Versions that say it in no condition
/// of its own say so by letting the media go.
pub(super) fn was_recorded(status: Option<&ImageBundleStatus>) -> bool {
    let holds = |type_| state(status, type_).is_some_and(|(status, _)| status == "True");
    holds(RECORDED) || (was_imported(status) && holds(condition::SAFE_TO_REMOVE))
}

/// The status and the reason of a condition, whichever version wrote it.
pub(super) fn state<'a>(status: Option<&'a ImageBundleStatus>, type_: &str) -> Option<(&'a str, &'a str)> {
    let condition = status?.conditions.iter().find(|condition| condition.type_ == type_)?;
    Some((&condition.status, current_reason(&condition.reason)))
}

/// Since when the media are absent, where the status says that they are.
pub(super) fn absent_since(status: Option<&ImageBundleStatus>) -> Option<Timestamp> {
    let mut conditions = status?.conditions.iter();
    let is_absent =
        |c: &&Condition| c.type_ == condition::COMPLETE && current_reason(&c.reason) == MEDIA_ABSENT;
    conditions.find(is_absent).map(|c| c.last_transition_time.0)
}
