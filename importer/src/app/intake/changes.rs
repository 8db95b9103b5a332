// SPDX-License-Identifier: Apache-2.0
//! How soon a change of an ImageBundle's status is to be written. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use krs_core::crd::{ImageBundleStatus, condition};

/// What differs between two statuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing.
    None,
    /// How much of the bundle was read.
    Progress,
    /// Which images are still needed, by whom, and the like.
    Detail,
    /// What people and programs wait for: accepted, refused, there or away, imported, safe to remove.
    Fact,
}

/// What differs most between what is written and what is to be.
pub(super) fn change(old: &ImageBundleStatus, new: &ImageBundleStatus) -> Change {
    if old == new {
        return Change::None;
    }
    if old == &(ImageBundleStatus { bytes_verified: old.bytes_verified, ..new.clone() }) {
        return Change::Progress;
    }
    let detail = ImageBundleStatus {
        message: old.message.clone(),
        bytes_verified: old.bytes_verified,
        namespace_mismatches: old.namespace_mismatches.clone(),
        conditions: old.conditions.clone(),
        ..new.clone()
    };
    if *old == detail && facts(old).eq(facts(new)) { Change::Detail } else { Change::Fact }
}

/// What of the conditions is a fact: whether each is True, and of those on the file itself also why not.
fn facts(status: &ImageBundleStatus) -> impl Iterator<Item = (&str, bool, &str)> {
    status.conditions.iter().map(|condition: &Condition| {
        let type_ = condition.type_.as_str();
        let of_copies = [condition::IMPORTED, condition::SAFE_TO_REMOVE].contains(&type_);
        let reason = if of_copies { "" } else { condition.reason.as_str() };
        (type_, condition.status == "True", reason)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    fn status(rows: &[(&str, &str, &str, &str)]) -> ImageBundleStatus {
        let condition = |(type_, status, reason, message): &(&str, &str, &str, &str)| Condition {
            type_: (*type_).to_owned(),
            status: (*status).to_owned(),
            reason: (*reason).to_owned(),
            message: (*message).to_owned(),
            observed_generation: Some(1),
            last_transition_time: Time(jiff::Timestamp::UNIX_EPOCH),
        };
        ImageBundleStatus { conditions: rows.iter().map(condition).collect(), ..ImageBundleStatus::default() }
    }

    #[test]
    fn t253_only_what_people_wait_for_is_written_at_once() {
        let verified = ("Verified", "True", "Succeeded", "signed");
        let old = || {
            let images = "1 image of shop/a";
            status(&[
                verified,
                ("Imported", "False", "ImagesMissing", images),
                ("SafeToRemove", "False", "ImagesMissing", images),
            ])
        };
        assert_eq!(change(&old(), &old()), Change::None);
        let read = ImageBundleStatus { bytes_verified: Some(1), ..old() };
        assert_eq!(change(&old(), &read), Change::Progress);
        let needed = ("Imported", "False", "ImagesMissing", "2 images of shop/b");
        let unknown = ("Imported", "Unknown", "UsageUnknown", "");
        let copying = ("SafeToRemove", "False", "Copying", "");
        for rows in [[verified, needed, copying], [verified, unknown, copying]] {
            assert_eq!(change(&old(), &status(&rows)), Change::Detail);
            let both = ImageBundleStatus { bytes_verified: Some(1), ..status(&rows) };
            assert_eq!(change(&old(), &both), Change::Detail);
        }
        let imported = ("Imported", "True", "Imported", "");
        let safe = ("SafeToRemove", "True", "Imported", "");
        let refused = ("Verified", "False", "Damaged", "");
        for rows in [[verified, imported, copying], [verified, needed, safe], [refused, needed, copying]] {
            assert_eq!(change(&old(), &status(&rows)), Change::Fact);
            assert_eq!(change(&status(&rows), &old()), Change::Fact, "media must stay again");
        }
        let away = status(&[("Complete", "False", "MediaAbsent", "")]);
        let unreadable = status(&[("Complete", "False", "MediaReadError", "")]);
        assert_eq!(change(&away, &unreadable), Change::Fact);
        assert_eq!(change(&old(), &status(&[verified])), Change::Fact);
        let other = ImageBundleStatus { digest: Some("sha256:1".to_owned()), ..old() };
        assert_eq!(change(&old(), &other), Change::Fact);
    }
}
