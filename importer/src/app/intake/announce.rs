// SPDX-License-Identifier: Apache-2.0
//! Events and numbers about what changes in an ImageBundle.

use k8s_openapi::api::core::v1::ObjectReference;
use krs_core::crd::{API_VERSION, ImageBundleStatus, condition, reason};

use super::cluster::Cluster;
use super::conditions;
use crate::adapters::metrics::ResultLabels;
use crate::engine::condition::MEDIA_ABSENT;

impl Cluster {
    /// Events for what changed between the status that was written before and `now`.
    pub(super) async fn announce(&self, name: &str, now: &ImageBundleStatus) {
        let before = self.written.get(name).and_then(|written| written.status.as_ref());
        let about = self.about(name);
        let message = |type_: &str| {
            let condition = now.conditions.iter().find(|condition| condition.type_ == type_);
            condition.map(|condition| condition.message.clone()).unwrap_or_default()
        };
        let changed = |type_: &str| {
            let new = conditions::state(Some(now), type_);
            new.filter(|new| conditions::state(before, type_) != Some(*new))
        };
        if let Some((status, why)) = changed(condition::VERIFIED)
            && status != "Unknown"
        {
            self.metrics.verifications.get_or_create(&ResultLabels { result: why.to_owned() }).inc();
            let note = message(condition::VERIFIED);
            if status == "True" {
                self.events.normal(&about, "BundleVerified", "Verify", &note).await;
            } else {
                let note = format!("{why}: {note}");
                self.events.warning(&about, "BundleRefused", "Verify", &note).await;
            }
        }
        match changed(condition::COMPLETE) {
            Some(("False" | "Unknown", why)) if why == reason::MEDIA_READ_ERROR => {
                self.events.warning(&about, why, "Read", &message(condition::COMPLETE)).await;
            }
            Some(("False", why)) if why == MEDIA_ABSENT && before.is_some() => {
                self.events.normal(&about, why, "Find", &message(condition::COMPLETE)).await;
            }
            _ => {}
        }
        for (type_, event) in
            [(condition::IMPORTED, "BundleImported"), (condition::SAFE_TO_REMOVE, "SafeToRemove")]
        {
            let was = conditions::state(before, type_).is_some_and(|(status, _)| status == "True");
            let refused =
                conditions::state(Some(now), condition::VERIFIED).is_some_and(|(status, _)| status != "True");
            if !was && !refused && changed(type_).is_some_and(|(status, _)| status == "True") {
                self.events.normal(&about, event, "Import", &message(type_)).await;
            }
        }
    }

    pub(super) fn about(&self, name: &str) -> ObjectReference {
        ObjectReference {
            api_version: Some(API_VERSION.to_owned()),
            kind: Some("ImageBundle".to_owned()),
            name: Some(name.to_owned()),
            uid: self.written.get(name).and_then(|written| written.uid.clone()),
            ..ObjectReference::default()
        }
    }
}
