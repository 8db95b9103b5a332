// SPDX-License-Identifier: Apache-2.0
//! What the importer keeps of a set between reconciles and across restarts: when targets were verified, attempts, and the
//! bundle that the images came from. It lies in a ConfigMap `krs-state-UID` in the importer's own namespace, as JSON.

use std::collections::BTreeMap;

use jiff::Timestamp;
use krs_core::bundle::StreamName;
use krs_core::crd::BundleReference;
use krs_core::oci::digest::Digest;
use serde::{Deserialize, Serialize};

use crate::model::target::TargetKey;

/// The state of one set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SetState {
    /// When the closure of each target was last verified to be complete at the edge.
    #[serde(rename = "proofs")]
    pub verified_at: BTreeMap<TargetKey, Timestamp>,
    /// Targets whose last attempt failed.
    pub attempts: BTreeMap<TargetKey, Attempt>,
    /// What references without a digest stood for when they were last resolved online, by reference.
    pub resolved: BTreeMap<String, ResolvedTag>,
    /// Versions of the Secrets and ConfigMaps that the set names, when they were last read.
    pub versions: BTreeMap<String, String>,
    /// The bundle that images were last copied from.
    pub bundle: Option<BundleReference>,
    /// When something was last synchronised.
    pub last_sync_time: Option<Timestamp>,
    /// When targets that are present were last checked with HEAD requests.
    #[serde(rename = "lookedAt")]
    pub observed_at: Option<Timestamp>,
    /// When the last Job of a target ended whose end was accounted for.
    pub ended: BTreeMap<TargetKey, Timestamp>,
    /// The bundle that the last attempt of a target read; none: its source registry, or there was no attempt.
    pub tried: BTreeMap<TargetKey, Digest>,
    /// When somebody else was last seen to have moved a tag of a target, at most [`MAX_MOVES`] times, oldest first.
    pub moved: BTreeMap<TargetKey, Vec<Timestamp>>,
    /// When the content of each target was last read back and hashed.
    pub content_verified: BTreeMap<TargetKey, Timestamp>,
    /// Targets whose content differs from its digest, and what differs.
    pub content_damage: BTreeMap<TargetKey, String>,
    /// What the annotation said when reading was last asked for.
    pub content_requested_at: Option<String>,
    /// The reconcile that somebody last asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requested: Option<Request>,
    /// Copy Jobs that the importer created, or is about to, by their names. Absent in what version 0.1 left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jobs: Option<BTreeMap<String, OwnedJob>>,
}

/// A reconcile that somebody asked for by annotation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// The value of the annotation.
    pub value: String,
    /// When it was seen. What was verified before does not count.
    pub at: Timestamp,
    /// The value that was last handled: this one, once the registry was asked about every target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handled: Option<String>,
}

/// A copy Job that the importer created, or is about to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OwnedJob {
    /// The random text in its annotation. It is kept before the Job exists, so that nobody else can know it until then.
    pub nonce: String,
    /// Its UID, once it was seen: from then on nothing else tells it from others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// When it was announced.
    pub at: Timestamp,
    /// When it ended, once its end is accounted for: from then on only its name counts, until Kubernetes deletes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
}

/// How often a moved tag is noted: it is put back twice within the interval of verification, then it is reported only.
pub const MAX_MOVES: usize = 3;

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
pub struct ResolvedTag {
    /// The digest that the reference stood for.
    pub digest: Digest,
    /// When it was asked for.
    pub at: Timestamp,
    /// The bundle that decided it; none: a registry was asked, or version 0.1 kept it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided_by: Option<DecidedBy>,
}

impl ResolvedTag {
    /// What a bundle decided.
    pub(crate) fn decision(&self) -> Option<(Digest, &DecidedBy)> {
        Some((self.digest, self.decided_by.as_ref()?))
    }
}

/// The bundle that decided what a tag stands for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DecidedBy {
    /// Stream of the bundle.
    pub stream: StreamName,
    /// Its number in the stream.
    pub sequence: u64,
    /// When its content was decided.
    pub created_at: Timestamp,
}
