// SPDX-License-Identifier: Apache-2.0
//! What is said about a set: its status, events when something changes, metrics.

use std::time::Duration;

use jiff::Timestamp;
use krs_core::crd::{API_VERSION, EdgeImageSet, EdgeImageSetStatus, KIND, condition, reason};
use krs_core::error::shortened;
use kube::Resource as _;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;

use super::error::ReconcileError;
use super::labels::{IMAGE_STATES, failure_labels, image_labels};
use super::reconciler::Reconciler;
use super::written::{KnownStatus, WrittenStatus};
use crate::adapters::metrics::SetLabels;
use crate::adapters::stored::StoredSet;
use crate::adapters::writes::{FIELD_MANAGER, merging};
use crate::engine::condition::current_reason;
use crate::engine::decide::StatusSummary;
use crate::engine::status;
use crate::model::required_images::SetName;
use crate::model::state::SetState;

/// Most images that one event names.
const SHOWN: usize = 3;
/// When to reconcile a set again that changed while its status was written.
const CHANGED: Duration = Duration::from_secs(1);

/// Writes the status, and answers how long that must wait if it cannot be now.
pub(super) async fn write(
    importer: &Reconciler,
    set: &EdgeImageSet,
    name: &SetName,
    uid: &str,
    summary: &StatusSummary,
    state: &SetState,
) -> Result<Option<Duration>, ReconcileError> {
    let now = (importer.parts.clock)();
    recheck(importer, name, uid, now).await?;
    let (written, known, restore_in) = importer
        .sets
        .written(uid, |written| (written.at, written.status.clone(), written.restore_in(now)))
        .unwrap_or_default();
    // What was written last may not have come back through the watch yet.
    let before = known.or_else(|| set.status.as_ref().map(KnownStatus::from));
    let generation = set.metadata.generation.unwrap_or_default();
    let rest = before.as_ref().map(|before| &before.rest);
    let mut after = status::status(rest, generation, &set.spec, summary, state.last_sync_time, now);
    // Whatever a status says: only what is remembered was handled.
    after.last_handled_reconcile_at = state.requested.as_ref().and_then(|request| request.handled.clone());
    after.importer = Some(importer.parts.config.namespace.clone());
    measure(importer, name, &after, state);
    measure_failures(importer, name, summary);
    let known = KnownStatus::from(&after);
    let wait = match restore_in {
        Some(wait) => Some(wait),
        None if before.as_ref() == Some(&known) => None,
        None => status::write_in(rest, &after, written, now),
    };
    match wait {
        None => {
            // Right from the start, of an earlier process: whoever changes it is noticed from now on.
            let found = || WrittenStatus::found(known);
            importer.sets.update(uid, |entry| {
                entry.written.get_or_insert_with(found);
            });
            return Ok(None);
        }
        Some(wait) if !wait.is_zero() => return Ok(Some(wait)),
        Some(_) => {}
    }
    importer.sets.update(uid, |entry| {
        entry.written = Some(WrittenStatus::sending(entry.written.as_ref(), &known, now));
    });
    if !send(importer, name, uid, &after, &known).await? {
        return Ok(Some(CHANGED));
    }
    importer.sets.written(uid, |written| written.arrived(known));
    if restore_in.is_some() {
        let note = "somebody else changed the status, which only the importer writes: it is written again";
        importer.parts.events.warning(&set.object_ref(&()), "StatusOverwritten", "Sync", note).await;
    }
    tell(importer, set, rest, &after).await;
    Ok(None)
}

/// What the watch tells may be from before the last write: somebody else wrote a status only if it still is another one.
async fn recheck(
    importer: &Reconciler,
    name: &SetName,
    uid: &str,
    now: Timestamp,
) -> Result<(), ReconcileError> {
    let restore_in = importer.sets.written(uid, |written| written.restore_in(now)).flatten();
    if restore_in.is_none_or(|wait| !wait.is_zero()) {
        return Ok(());
    }
    let api = Api::<StoredSet>::namespaced(importer.client(), &name.namespace);
    let set = api.get_opt(&name.name).await.map_err(ReconcileError::api("the set cannot be read"))?;
    if let Some(set) = set {
        importer.sets.written(uid, |written| written.observe(set.status_fingerprint()));
    }
    Ok(())
}

/// Makes the status what it should be, whoever wrote it. Answers false where the set is gone, or changed meanwhile.
async fn send(
    importer: &Reconciler,
    name: &SetName,
    uid: &str,
    wanted: &EdgeImageSetStatus,
    known: &KnownStatus,
) -> Result<bool, ReconcileError> {
    let patch = json!({
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": name.name, "namespace": name.namespace, "uid": uid},
        "status": wanted,
    });
    let api = Api::<EdgeImageSet>::namespaced(importer.client(), &name.namespace);
    let how = PatchParams::apply(FIELD_MANAGER).force();
    let patched = match api.patch_status(&name.name, &how, &Patch::Apply(patch)).await {
        // Server-side apply leaves what others added: conditions of other types, fields that the importer has no value for.
        Ok(set) if set.status.as_ref().map(KnownStatus::from).as_ref() != Some(known) => {
            let version = set.metadata.resource_version.as_deref();
            let current = serde_json::to_value(&set.status).unwrap_or_default();
            let patch = status::replacement(current, wanted, version);
            api.patch_status(&name.name, &merging(), &Patch::Merge(patch)).await
        }
        patched => patched,
    };
    match patched {
        Ok(_) => Ok(true),
        // The set is gone, or another one has its name by now.
        Err(kube::Error::Api(answer)) if matches!(answer.code, 404 | 409) => Ok(false),
        Err(error) => Err(ReconcileError::api("the status cannot be written")(error)),
    }
}

fn ready(status: &EdgeImageSetStatus) -> Option<(&str, &str)> {
    let ready = status.conditions.iter().find(|condition| condition.type_ == condition::READY)?;
    Some((current_reason(&ready.reason), ready.message.as_str()))
}

/// Events for what changed.
async fn tell(
    importer: &Reconciler,
    set: &EdgeImageSet,
    before: Option<&EdgeImageSetStatus>,
    after: &EdgeImageSetStatus,
) {
    let about = set.object_ref(&());
    let events = &importer.parts.events;
    let was = before.and_then(ready).map(|(reason, _)| reason);
    if let Some((now, message)) = ready(after).filter(|(now, _)| was != Some(*now)) {
        match now {
            reason::SYNC_SUCCESSFUL => events.normal(&about, "SyncComplete", "Sync", message).await,
            reason::COPYING | reason::WAITING_FOR_BUNDLE | reason::SUSPENDED => {
                events.normal(&about, now, "Sync", message).await;
            }
            _ => events.warning(&about, now, "Sync", message).await,
        }
    }
    if let Some(note) = new_failures(before, after) {
        events.warning(&about, "ImageFailed", "Copy", &note).await;
    }
}

/// What to say about images that failed since the status said `before`. Pure.
fn new_failures(before: Option<&EdgeImageSetStatus>, after: &EdgeImageSetStatus) -> Option<String> {
    let old = before.map_or(&[][..], |before| before.failures.as_slice());
    let known = |image: &str, reason: &str| {
        old.iter().any(|f| f.image == image && current_reason(&f.reason) == reason)
    };
    let new = after.failures.iter().filter(|failure| !known(&failure.image, &failure.reason));
    let new = new.collect::<Vec<_>>();
    if new.is_empty() {
        return None;
    }
    let shown = new.iter().map(|f| format!("{}: {}: {}", f.image, f.reason, f.message));
    Some(shortened(shown, SHOWN, "; "))
}

fn measure(importer: &Reconciler, name: &SetName, status: &EdgeImageSetStatus, state: &SetState) {
    let metrics = &importer.parts.metrics;
    let labels = SetLabels { namespace: name.namespace.clone(), name: name.name.clone() };
    let counts = status.images.unwrap_or_default();
    let counts = [counts.desired, counts.present, counts.missing, counts.failed];
    for (of, count) in IMAGE_STATES.into_iter().zip(counts) {
        metrics.images.get_or_create(&image_labels(&labels, of)).set(count.into());
    }
    let is_ready = ready(status).is_some_and(|(why, _)| why == reason::SYNC_SUCCESSFUL);
    metrics.ready.get_or_create(&labels).set(is_ready.into());
    if let Some(at) = state.last_sync_time {
        metrics.last_sync.get_or_create(&labels).set(at.as_second());
    }
}

fn measure_failures(importer: &Reconciler, set: &SetName, summary: &StatusSummary) {
    let failed = &importer.parts.metrics.failed;
    for labels in failure_labels(set) {
        match summary.failures.iter().filter(|failure| failure.reason == labels.reason).count() {
            0 => {
                failed.remove(&labels);
            }
            count => {
                failed.get_or_create(&labels).set(i64::try_from(count).unwrap_or(i64::MAX));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use krs_core::crd::ImageFailure;

    fn failed(images: &[&str]) -> EdgeImageSetStatus {
        let failure = |image: &&str| ImageFailure {
            image: (*image).to_owned(),
            reason: reason::IMAGE_NOT_FOUND.to_owned(),
            message: "gone".to_owned(),
        };
        EdgeImageSetStatus { failures: images.iter().map(failure).collect(), ..EdgeImageSetStatus::default() }
    }

    #[test]
    fn one_event_names_what_failed_since_and_nothing_twice() {
        assert_eq!(new_failures(Some(&failed(&["a"])), &failed(&["a"])), None);
        let renamed = |reason: &str| {
            let mut status = failed(&["a"]);
            reason.clone_into(&mut status.failures[0].reason);
            status
        };
        let (old, new) = (renamed("MediumReadError"), renamed(reason::MEDIA_READ_ERROR));
        assert_eq!(new_failures(Some(&old), &new), None, "version 0.1 wrote it under another name");
        assert_eq!(new_failures(None, &failed(&["a"])).unwrap(), "a: ImageNotFound: gone");
        let note = new_failures(Some(&failed(&["a"])), &failed(&["a", "b", "c", "d", "e", "f"])).unwrap();
        assert!(note.starts_with("b: ") && note.ends_with("; and 2 more"), "{note}");
    }
}
