// SPDX-License-Identifier: Apache-2.0
//! Labels, annotations and names by which copy Jobs are found.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// Label selector of all copy Jobs and their Pods.
pub const SELECTOR: &str = "app.kubernetes.io/managed-by=krs-importer,app.kubernetes.io/component=copy";
/// Label with the UID of the set.
pub const SET_LABEL: &str = "kuberegistrysync.io/set-uid";

/// Label with the name of the set, where that is a label's value: for people.
pub(super) const SET_NAME_LABEL: &str = "kuberegistrysync.io/set";
/// Annotation with the hash of what is copied and how.
pub(super) const BATCH: &str = "kuberegistrysync.io/batch";
/// Annotation with the number of the attempt.
pub(super) const ATTEMPT: &str = "kuberegistrysync.io/attempt";
/// Annotation with the nonce that the state of the set has, too.
pub(super) const NONCE: &str = "kuberegistrysync.io/nonce";
/// The only container.
pub(super) const CONTAINER: &str = "copy";
/// Hex digits of the hash in the name.
pub(super) const HASH_DIGITS: usize = 10;

/// Whether [`SELECTOR`] selects an object.
pub(crate) fn is_selected(object: &ObjectMeta) -> bool {
    let labels = object.labels.as_ref();
    SELECTOR.split(',').all(|term| {
        term.split_once('=').is_some_and(|(key, value)| {
            labels.and_then(|labels| labels.get(key)).is_some_and(|label| label == value)
        })
    })
}

/// What the site adds, and what the importer needs, which comes before.
pub(super) fn with_own(
    site: &BTreeMap<String, String>,
    own: BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    site.iter().map(|(key, value)| (key.clone(), value.clone())).chain(own).collect()
}
