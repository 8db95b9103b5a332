// SPDX-License-Identifier: Apache-2.0
//! What the importer remembers of a set between reconciles and across restarts: proofs, attempts, and the bundle that the
//! images came from. It lies in a ConfigMap `krs-state-UID` in the importer's own namespace, as one JSON document.

use std::collections::BTreeMap;

use jiff::Timestamp;
use krs_core::crd::BundleReference;
use krs_core::digest::Digest;
use serde::{Deserialize, Serialize};

use crate::target::TargetKey;

/// The memory of one set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SetState {
    /// When the closure of each target was last walked at the edge and found whole.
    pub proofs: BTreeMap<TargetKey, Timestamp>,
    /// Targets whose last attempt failed.
    pub attempts: BTreeMap<TargetKey, Attempt>,
    /// What references without a digest stood for when they were last resolved online, by reference.
    pub resolved: BTreeMap<String, Resolved>,
    /// The bundle that images were last copied from.
    pub bundle: Option<BundleReference>,
    /// When something was last synchronised.
    pub last_sync_time: Option<Timestamp>,
}

/// Failed attempts to bring a target to the edge, in a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attempt {
    /// How many.
    pub count: u32,
    /// When the last one ended.
    pub at: Timestamp,
    /// Why it failed: a reason of [`krs_core::crd::reason`].
    pub reason: String,
    /// Why it failed, for people.
    pub message: String,
    /// The Job, so that its end is counted once.
    pub job: String,
}

/// A tag and what it named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Resolved {
    /// The digest.
    pub digest: Digest,
    /// When it was asked for.
    pub at: Timestamp,
}
