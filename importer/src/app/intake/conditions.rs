// SPDX-License-Identifier: Apache-2.0
//! Conditions of ImageBundles: the types and reasons that only the intake writes, and what those of earlier runs say. Pure.

use krs_core::crd::{ImageBundleStatus, condition};

/// Reason of media that are absent.
pub(super) const ABSENT: &str = "MediumAbsent";
/// Whether the mark of the stream has reached the bundle once.
pub(super) const RECORDED: &str = "Recorded";
/// Whether the sets of the bundle were applied, where the site wants that.
pub(super) const SETS_APPLIED: &str = "SetsApplied";
/// Reason of a mark that cannot be read.
pub(super) const MARK_UNREADABLE: &str = "MarkUnreadable";

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

/// The status of a condition.
pub(super) fn state<'a>(status: Option<&'a ImageBundleStatus>, type_: &str) -> Option<(&'a str, &'a str)> {
    let condition = status?.conditions.iter().find(|condition| condition.type_ == type_)?;
    Some((&condition.status, &condition.reason))
}
