// SPDX-License-Identifier: Apache-2.0
//! Applies the sets of bundles to the cluster.

use std::collections::{BTreeMap, BTreeSet};
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

use super::Intake;
use super::cluster::{Cluster, concerns_all};
use super::entry::{Accepted, Entry};
use super::needed::Applied;
use crate::model::marks::Standing;

/// Who owns the fields of sets that come from bundles.
const BUNDLE_MANAGER: &str = "krs-bundle";
/// The stream whose bundle has applied a set. Of several streams with one set, that whose name comes first has it.
const STREAM: &str = "kuberegistrysync.io/stream";
/// How long to wait before sets are applied again after the API server did not answer.
const APPLY_AGAIN: Duration = Duration::from_secs(60);

/// Why a set of a bundle was not applied.
#[derive(Debug, thiserror::Error)]
enum NotApplied {
    #[error("it names no namespace")]
    NoNamespace,
    #[error(
        "bundles of stream `{0}` apply the same set, and its name comes first; to let this stream have it, take the set out of that one and remove the annotation {STREAM} of the set"
    )]
    OtherStream(String),
    #[error("{0}")]
    Error(#[from] kube::Error),
}

impl NotApplied {
    const fn reason(&self) -> &'static str {
        match self {
            Self::OtherStream(_) => "OtherStream",
            Self::NoNamespace | Self::Error(_) => "SetsRefused",
        }
    }
}

impl Intake {
    /// The newest bundle of each stream that is there and may decide.
    pub(super) fn newest_of_streams(&self) -> BTreeMap<&StreamName, (&Entry, &Accepted)> {
        let mut newest = BTreeMap::<_, (&Entry, &Accepted)>::new();
        for entry in self.entries.values().filter(|entry| entry.present()) {
            let Some(accepted) = entry.accepted() else { continue };
            let stock = &accepted.stock;
            if self.judged_by.standing(&stock.stream, &stock.mark()) != Standing::Current {
                continue;
            }
            let best = newest.entry(&stock.stream).or_insert((entry, accepted));
            if stock.sequence > best.1.stock.sequence {
                *best = (entry, accepted);
            }
        }
        newest
    }

    /// Sets that were applied from one bundle and now from another one: those of the other streams find out whose they are.
    fn contest(&mut self, by: &Digest, sets: &BTreeSet<(Option<String>, String)>) {
        for accepted in self.entries.values().filter_map(Entry::accepted) {
            let digest = accepted.stock.digest;
            let Some(applied) = self.kept.applied.get_mut(&digest).filter(|_| digest != *by) else {
                continue;
            };
            for (set, applied) in accepted.held.bundle.sets().iter().zip(applied) {
                let key = (set.namespace.clone(), set.name.clone());
                if matches!(applied, Applied::At(_)) && sets.contains(&key) {
                    *applied = Applied::Due;
                }
            }
        }
    }

    /// Applies the sets of the newest bundle of each stream, after the mark of the stream was raised to it.
    pub(super) async fn apply_sets(&mut self) {
        let clock = Instant::now();
        if !self.config.apply_sets || self.apply_at.is_some_and(|at| clock < at) {
            return;
        }
        let newest = self.newest_of_streams().into_values().filter(|(entry, accepted)| {
            let applied = self.kept.applied.get(&accepted.stock.digest);
            let is_due = |applied: &Vec<Applied>| applied.iter().any(|set| set.is_due(clock));
            entry.ready(self.config.intake.check_first)
                && applied.is_none_or(is_due)
                && self.cluster.written.contains_key(&entry.name)
        });
        let due = newest.map(|(entry, accepted)| {
            let (stream, mark) = (accepted.stock.stream.clone(), accepted.stock.mark());
            (entry.name.clone(), Arc::clone(&accepted.held), stream, mark)
        });
        for (name, held, stream, mark) in due.collect::<Vec<_>>() {
            self.beat();
            if let Err(error) = self.marks.raise(&stream, &mark).await {
                tracing::warn!(bundle = name, %error, "the sets of the bundle are not applied");
                self.apply_at = Some(clock + APPLY_AGAIN);
                continue;
            }
            let (digest, sets) = (held.bundle.digest(), held.bundle.sets());
            let before = self.kept.applied.remove(&digest);
            let mut applied = before.unwrap_or_else(|| vec![Applied::Due; sets.len()]);
            for (set, applied) in sets.iter().zip(&mut applied) {
                if !applied.is_due(clock) {
                    continue;
                }
                self.beat();
                *applied = self.cluster.apply_set(&name, &stream, set, applied).await;
                if *applied == Applied::Due {
                    // Each further set would wait for the API server as long.
                    break;
                }
            }
            let is_silent = applied.contains(&Applied::Due);
            let new =
                sets.iter().zip(&applied).filter(|(_, set)| matches!(set, Applied::At(at) if *at >= clock));
            let new = new.map(|(set, _)| (set.namespace.clone(), set.name.clone())).collect::<BTreeSet<_>>();
            self.kept.applied.insert(digest, applied);
            self.contest(&digest, &new);
            if is_silent {
                self.apply_at = Some(clock + APPLY_AGAIN);
                break;
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
        before: &Applied,
    ) -> Applied {
        let applied = match self.try_apply_set(stream, set).await {
            Ok(()) => Applied::At(Instant::now()),
            Err(NotApplied::Error(error)) if concerns_all(&error) => Applied::Due,
            Err(refused) => before.refused(refused.reason(), &refused.to_string(), Instant::now()),
        };
        if let Applied::Refused(refusal) = &applied
            && !matches!(before, Applied::Refused(before) if before.message == refusal.message)
        {
            let note = format!("set {} of the bundle could not be applied: {}", set.name, refusal.message);
            self.events.warning(&self.about(name), "SetNotApplied", "Apply", &note).await;
        }
        applied
    }

    async fn try_apply_set(&self, stream: &StreamName, set: &CheckedSet) -> Result<(), NotApplied> {
        let namespace = set.namespace.as_ref().ok_or(NotApplied::NoNamespace)?;
        let api = Api::<EdgeImageSet>::namespaced(self.client.clone(), namespace);
        let annotation = |metadata: ObjectMeta| metadata.annotations?.remove(STREAM);
        let owner = api.get_metadata_opt(&set.name).await?.and_then(|found| annotation(found.metadata));
        if let Some(owner) = owner.filter(|owner| owner.as_str() < stream.as_str()) {
            return Err(NotApplied::OtherStream(printable(&owner, 100)));
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
