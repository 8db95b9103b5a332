// SPDX-License-Identifier: Apache-2.0
//! Why copying failed, in the reasons that a status may give.

use krs_core::crd::reason;

use crate::engine::condition::current_reason;
use crate::model::job::FailedPod;
use crate::model::state::Attempt;

/// Why a target of a Job that continues is missing, as its last Pod that failed tells: nothing where that Pod says which
/// targets failed, and this one is not among them.
pub(crate) fn failure_in_pod(pod: &FailedPod, position: usize) -> Option<(&'static str, String)> {
    let Some(report) = &pod.report else {
        return Some((reason::COPY_FAILED, format!("the Pod of the copy Job failed: {}", pod.why)));
    };
    let failure = report.failures.iter().find(|failure| failure.target == position)?;
    Some((known_failure(&failure.reason), failure.message.clone()))
}

/// The reason of that name, of those that a failed copy may have. A Job's Pod says what it likes; never may it make a set
/// Ready, or give machines a word that they do not know.
pub(crate) fn known_failure(text: &str) -> &'static str {
    let text = current_reason(text);
    FAILURES.into_iter().find(|known| *known == text).unwrap_or(reason::COPY_FAILED)
}

/// Reasons of copies that failed, but for [`reason::COPY_FAILED`].
pub(crate) const FAILURES: [&str; 16] = [
    reason::REGISTRY_UNREACHABLE,
    reason::AUTH_FAILED,
    reason::TLS_FAILED,
    reason::SECRET_NOT_FOUND,
    reason::SECRET_INVALID,
    reason::SPARSE_INDEX_REFUSED,
    reason::BASE_MISSING,
    reason::DIGEST_MISMATCH,
    reason::IMAGE_NOT_FOUND,
    reason::REGISTRY_REFUSED,
    reason::REGISTRY_FULL,
    reason::REGISTRY_READ_ONLY,
    reason::MEDIA_READ_ERROR,
    reason::BUNDLE_UNAVAILABLE,
    reason::CONNECTION_TIMED_OUT,
    reason::TAG_CONTESTED,
];

/// Reason and message of an attempt that failed. That the API server refused a Job, the importer itself found out.
pub(crate) fn last_failure(attempt: &Attempt) -> (&'static str, String) {
    let is_rejected = attempt.reason == reason::JOB_REJECTED;
    let reason = if is_rejected { reason::JOB_REJECTED } else { known_failure(&attempt.reason) };
    (reason, attempt.message.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_reasons_come_out_of_a_report() {
        assert_eq!(known_failure("AuthFailed"), reason::AUTH_FAILED);
        assert_eq!(known_failure("MediumReadError"), reason::MEDIA_READ_ERROR, "as version 0.1 wrote it");
        for text in ["SyncSuccessful", "Error", "", "InvalidSpec", "x\ny"] {
            assert_eq!(known_failure(text), reason::COPY_FAILED, "{text}");
        }
    }
}
