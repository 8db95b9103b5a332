// SPDX-License-Identifier: Apache-2.0
//! Applies the sets of bundles to the cluster.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use krs_core::bundle::StreamName;
use krs_core::crd::{API_VERSION, EdgeImageSet, KIND};
use krs_core::oci::digest::Digest;
use krs_core::redact::printable;
use krs_core::set::CheckedSet;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;
use tokio::time::Instant;

use super::cluster::{Cluster, concerns_all};
use super::entry::Entry;
use super::files::Files;
use crate::adapters::bundle_store::OpenBundle;
use crate::adapters::high_water_marks::HighWaterMarks;
use crate::engine::needed::ApplyState;
use crate::model::marks::Mark;

/// Who owns the fields of sets that come from bundles.
const BUNDLE_MANAGER: &str = "krs-bundle";
/// The stream whose bundle has applied a set. Of several streams with one set, that whose name comes first has it.
const STREAM: &str = "kuberegistrysync.io/stream";
/// How long to wait before sets are applied again after the API server did not answer.
const APPLY_AGAIN: Duration = Duration::from_secs(60);

/// Why a set of a bundle was not applied.
#[derive(Debug, thiserror::Error)]
enum ApplyError {
    #[error("it names no namespace")]
    NoNamespace,
    #[error(
        "bundles of stream `{0}` apply the same set, and its name comes first; to let this stream have it, take the set out of that one and remove the annotation {STREAM} of the set"
    )]
    OtherStream(String),
    #[error("{0}")]
    Error(#[from] kube::Error),
}

impl ApplyError {
    const fn reason(&self) -> &'static str {
        match self {
            Self::OtherStream(_) => "OtherStream",
            Self::NoNamespace | Self::Error(_) => "SetsRefused",
        }
    }
}

/// Applies the sets of bundles, one bundle after the other.
#[derive(Default)]
pub(super) struct SetApplier {
    /// When the API server is asked again that did not answer.
    retry_at: Option<Instant>,
}

/// A bundle whose sets are due.
struct Due {
    /// Of its ImageBundle.
    name: String,
    held: Arc<OpenBundle>,
    stream: StreamName,
    mark: Mark,
}

impl SetApplier {
    /// Applies the sets of the newest bundle of each stream, after the mark of the stream was raised to it. `beat` is called
    /// before each request.
    pub(super) async fn apply(
        &mut self,
        files: &Files,
        applied: &mut HashMap<Digest, Vec<ApplyState>>,
        cluster: &mut Cluster,
        marks: &HighWaterMarks,
        check_first: bool,
        beat: impl Fn(),
    ) {
        let clock = Instant::now();
        if self.retry_at.is_some_and(|at| clock < at) {
            return;
        }
        let has_object = |name: &str| cluster.written.contains_key(name);
        for Due { name, held, stream, mark } in due(files, applied, has_object, check_first, clock) {
            beat();
            if let Err(error) = marks.raise(&stream, &mark).await {
                tracing::warn!(bundle = name, %error, "the sets of the bundle are not applied");
                self.retry_at = Some(clock + APPLY_AGAIN);
                continue;
            }
            let (digest, sets) = (held.bundle.digest(), held.bundle.sets());
            let before = applied.remove(&digest);
            let mut results = before.unwrap_or_else(|| vec![ApplyState::Due; sets.len()]);
            for (set, result) in sets.iter().zip(&mut results) {
                if !result.is_due(clock) {
                    continue;
                }
                beat();
                *result = cluster.apply_set(&name, &stream, set, result).await;
                if *result == ApplyState::Due {
                    // Each further set would wait for the API server as long.
                    break;
                }
            }
            let is_silent = results.contains(&ApplyState::Due);
            let new = sets
                .iter()
                .zip(&results)
                .filter(|(_, set)| matches!(set, ApplyState::At(at) if *at >= clock));
            let new = new.map(|(set, _)| (set.namespace.clone(), set.name.clone())).collect::<BTreeSet<_>>();
            applied.insert(digest, results);
            contest(files, applied, &digest, &new);
            if is_silent {
                self.retry_at = Some(clock + APPLY_AGAIN);
                break;
            }
        }
    }
}

/// The bundles whose sets are due. Pure.
fn due(
    files: &Files,
    applied: &HashMap<Digest, Vec<ApplyState>>,
    has_object: impl Fn(&str) -> bool,
    check_first: bool,
    clock: Instant,
) -> Vec<Due> {
    let due = files.newest_of_streams().into_values().filter(|(entry, accepted)| {
        let is_due = |applied: &Vec<ApplyState>| applied.iter().any(|set| set.is_due(clock));
        entry.ready(check_first)
            && applied.get(&accepted.stock.digest).is_none_or(is_due)
            && has_object(&entry.name)
    });
    let due = due.map(|(entry, accepted)| {
        let (stream, mark) = (accepted.stock.stream.clone(), accepted.stock.mark());
        Due { name: entry.name.clone(), held: Arc::clone(&accepted.held), stream, mark }
    });
    due.collect()
}

/// Sets that were applied from one bundle and now from another one: those of the other streams find out whose they are.
fn contest(
    files: &Files,
    applied: &mut HashMap<Digest, Vec<ApplyState>>,
    by: &Digest,
    sets: &BTreeSet<(Option<String>, String)>,
) {
    for accepted in files.entries().values().filter_map(Entry::accepted) {
        let digest = accepted.stock.digest;
        let Some(results) = applied.get_mut(&digest).filter(|_| digest != *by) else { continue };
        for (set, result) in accepted.held.bundle.sets().iter().zip(results) {
            let key = (set.namespace.clone(), set.name.clone());
            if matches!(result, ApplyState::At(_)) && sets.contains(&key) {
                *result = ApplyState::Due;
            }
        }
    }
}

impl Cluster {
    /// Applies a set of bundle `name` of `stream` to the cluster. `before`: what became of it when that was tried last.
    pub(super) async fn apply_set(
        &mut self,
        name: &str,
        stream: &StreamName,
        set: &CheckedSet,
        before: &ApplyState,
    ) -> ApplyState {
        let applied = match self.try_apply_set(stream, set).await {
            Ok(()) => ApplyState::At(Instant::now()),
            Err(ApplyError::Error(error)) if concerns_all(&error) => ApplyState::Due,
            Err(refused) => before.refused(refused.reason(), &refused.to_string(), Instant::now()),
        };
        if let ApplyState::Refused(refusal) = &applied
            && !matches!(before, ApplyState::Refused(before) if before.message == refusal.message)
        {
            let note = format!("set {} of the bundle could not be applied: {}", set.name, refusal.message);
            self.events.warning(&self.about(name), "SetNotApplied", "Apply", &note).await;
        }
        applied
    }

    async fn try_apply_set(&self, stream: &StreamName, set: &CheckedSet) -> Result<(), ApplyError> {
        let namespace = set.namespace.as_ref().ok_or(ApplyError::NoNamespace)?;
        let api = Api::<EdgeImageSet>::namespaced(self.client.clone(), namespace);
        let annotation = |metadata: ObjectMeta| metadata.annotations?.remove(STREAM);
        let owner = api.get_metadata_opt(&set.name).await?.and_then(|found| annotation(found.metadata));
        if let Some(owner) = owner.filter(|owner| owner.as_str() < stream.as_str()) {
            return Err(ApplyError::OtherStream(printable(&owner, 100)));
        }
        let object = json!({
            "apiVersion": API_VERSION,
            "kind": KIND,
            "metadata": {"name": set.name, "namespace": namespace, "annotations": {STREAM: stream.as_str()}},
            "spec": set.spec,
        });
        let parameters = PatchParams::apply(BUNDLE_MANAGER);
        api.patch(&set.name, &parameters, &Patch::Apply(&object)).await?;
        Ok(())
    }
}
