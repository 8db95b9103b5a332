// SPDX-License-Identifier: Apache-2.0
//! What is written to `status`, and when. Pure.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use krs_core::crd::{
    BundleReference, EdgeImageSetSpec, EdgeImageSetStatus, ImageCounts, ImageFailure, MAX_FAILURES,
    condition, reason,
};
use krs_core::oci::digest::Digest;
use krs_core::redact::printable;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::engine::condition::{ConditionBuilder, whole_seconds};
use crate::engine::decide::StatusSummary;

/// Least time between two writes of one set's status, unless a condition changes its status or reason.
pub const WRITE_INTERVAL: Duration = Duration::from_secs(10);

/// Longest message of a condition that is written, in characters (the definition allows 32768): people read it in a table.
const MAX_MESSAGE: usize = 2048;
/// Longest message of a failure, in characters (the definition's limit).
const MAX_FAILURE_MESSAGE: usize = 1024;
/// Longest reason of a failure, in characters (the definition's limit).
const MAX_FAILURE_REASON: usize = 64;
/// Longest image of a failure, in characters (the definition's limit).
const MAX_IMAGE: usize = 320;

/// The status that says `summary` about `generation`, given what the status said before.
pub fn status(
    before: Option<&EdgeImageSetStatus>,
    generation: i64,
    spec: &EdgeImageSetSpec,
    summary: &StatusSummary,
    last_sync_time: Option<Timestamp>,
    now: Timestamp,
) -> EdgeImageSetStatus {
    let previous = before.map(|before| before.conditions.as_slice()).unwrap_or_default();
    let builder = ConditionBuilder::new(previous, generation, now);
    let present = |n: usize| summary.present.get(n).copied().unwrap_or(false);
    let synchronized_images =
        spec.images.iter().enumerate().filter(|(n, _)| present(*n)).map(|(_, i)| i.image.clone());
    let synchronized_images = synchronized_images.collect::<Vec<_>>();
    let desired = spec.images.len();
    EdgeImageSetStatus {
        importer: before.and_then(|before| before.importer.clone()),
        observed_generation: Some(generation),
        conditions: conditions(summary, builder),
        images: Some(ImageCounts {
            desired: count(desired),
            present: count(synchronized_images.len()),
            missing: count(desired - synchronized_images.len()),
            failed: count(summary.failures.len()),
        }),
        synchronized_images,
        failures: summary.failures.iter().take(MAX_FAILURES).map(bounded_failure).collect(),
        bundle: summary.bundle.clone(),
        last_sync_time: last_sync_time.map(|at| Time(whole_seconds(at))),
        last_handled_reconcile_at: before.and_then(|before| before.last_handled_reconcile_at.clone()),
    }
}

fn conditions(summary: &StatusSummary, builder: ConditionBuilder<'_>) -> Vec<Condition> {
    let condition = |type_: &str, is: bool, reason: &str, message: &str| {
        let status = if is { "True" } else { "False" };
        builder.condition(type_, status, reason, bounded(message, MAX_MESSAGE))
    };
    let ready = summary.ready.0 == reason::SYNC_SUCCESSFUL;
    let (why, message) = (summary.ready.0, summary.ready.1.as_str());
    let mut conditions = vec![
        condition(condition::READY, ready, why, message),
        condition(condition::SYNCED, ready, why, message),
    ];
    let only_while_true =
        [(condition::RECONCILING, &summary.reconciling), (condition::STALLED, &summary.stalled)];
    for (type_, state) in only_while_true {
        let state = state.as_ref();
        conditions.extend(state.map(|(reason, message)| condition(type_, true, reason, message)));
    }
    conditions.extend(
        summary
            .bundle
            .as_ref()
            .map(|bundle| condition(condition::BUNDLE_VERIFIED, true, reason::SUCCEEDED, &verified(bundle))),
    );
    conditions
}

fn verified(bundle: &BundleReference) -> String {
    format!(
        "Bundle {} (stream {}, sequence {}) passed all checks.",
        bundle.name, bundle.stream, bundle.sequence
    )
}

fn bounded_failure(failure: &ImageFailure) -> ImageFailure {
    ImageFailure {
        image: bounded(&failure.image, MAX_IMAGE),
        reason: bounded(&failure.reason, MAX_FAILURE_REASON),
        message: bounded(&failure.message, MAX_FAILURE_MESSAGE),
    }
}

/// Makes `text` printable, and cuts it where it is longer than `most` characters.
fn bounded(text: &str, most: usize) -> String {
    let text = printable(text, most);
    match text.char_indices().nth(most) {
        None => text,
        Some(_) => text.chars().take(most - 1).chain(['…']).collect(),
    }
}

fn count(n: usize) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}

/// How long to wait before `after` may be written over `before`; `None`: they are equal, nothing is to be written.
pub fn write_in(
    before: Option<&EdgeImageSetStatus>,
    after: &EdgeImageSetStatus,
    written: Option<Timestamp>,
    now: Timestamp,
) -> Option<Duration> {
    if before == Some(after) {
        return None;
    }
    let (Some(before), Some(written)) = (before, written) else { return Some(Duration::ZERO) };
    if before.observed_generation != after.observed_generation
        || before.last_handled_reconcile_at != after.last_handled_reconcile_at
        || !same_verdict(before, after)
    {
        return Some(Duration::ZERO);
    }
    // A clock that was set back must not hold a status back until it has caught up.
    let passed = Duration::try_from(now.duration_since(written)).unwrap_or(WRITE_INTERVAL);
    Some(WRITE_INTERVAL.saturating_sub(passed))
}

/// Names what a status says, as the API server keeps it. The order of its conditions does not count: server-side apply does
/// not keep it.
pub fn fingerprint(status: &impl Serialize) -> Digest {
    // Such values always become JSON.
    let mut status = serde_json::to_value(status).unwrap_or_default();
    if let Some(Value::Array(conditions)) = status.get_mut("conditions") {
        conditions.sort_by(|a, b| a["type"].as_str().cmp(&b["type"].as_str()));
    }
    Digest::of(status.to_string().as_bytes())
}

/// The merge patch that turns the status `current` of an object of this version into `wanted`: what `wanted` has no value
/// for is removed.
pub fn replacement(current: Value, wanted: &impl Serialize, version: Option<&str>) -> Value {
    let fields = |status: Value| match status {
        Value::Object(fields) => fields,
        _ => Map::new(),
    };
    let mut status = fields(current);
    status.values_mut().for_each(|value| *value = Value::Null);
    // A status always becomes an object.
    status.extend(fields(serde_json::to_value(wanted).unwrap_or_default()));
    json!({"metadata": {"resourceVersion": version}, "status": status})
}

/// Whether no condition differs in its status or reason.
fn same_verdict(before: &EdgeImageSetStatus, after: &EdgeImageSetStatus) -> bool {
    let conditions = |status: &EdgeImageSetStatus| {
        let conditions =
            status.conditions.iter().map(|c| (c.type_.clone(), c.status.clone(), c.reason.clone()));
        conditions.collect::<std::collections::BTreeSet<_>>()
    };
    conditions(before) == conditions(after)
}

#[cfg(test)]
mod tests;
