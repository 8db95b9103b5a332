// SPDX-License-Identifier: Apache-2.0
//! The status of an ImageBundle. Pure.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use krs_core::bundle::has_expired;
use krs_core::crd::{ImageBundleStatus, VolumeCounts, condition, reason};

use super::accepted::AcceptedBundle;
use super::ahead::Ahead;
use super::conditions::{FILE_PRESENT, IMAGES_MISSING, IMPORTED, MARK_UNREADABLE, RECORDED, SETS_APPLIED};
use super::entry::{Entry, State};
use super::namespaces::Mismatches;
use super::rejection::{AHEAD, DAMAGED, INCOMPLETE};
use super::removal::{away, needs, safe_to_remove, usage_unknown};
use super::usage::Usage;
use crate::engine::condition::{ConditionBuilder, MEDIA_ABSENT, USAGE_UNKNOWN, current_reason};
use crate::engine::needed::NameList;
use crate::model::marks::MarkComparison;

/// What surrounds a status.
#[derive(Debug, Clone, Copy)]
pub(super) struct Context<'a> {
    pub previous: Option<&'a ImageBundleStatus>,
    pub generation: i64,
    pub now: Timestamp,
    /// Bytes that the pass over the media has read, while it is under way.
    pub bytes: Option<u64>,
    /// The newest time that a trusted bundle has told.
    pub newest: Option<Timestamp>,
    /// Whether the site shares the images of bundles across namespaces.
    pub shared: bool,
    /// Images of the bundle that sets of other namespaces want.
    pub mismatches: Option<&'a Mismatches>,
}

/// Type, status, reason, message.
type Row = (&'static str, &'static str, String, String);

/// The status to write.
pub(super) fn status(entry: &Entry, file: &str, usage: &Usage, context: &Context<'_>) -> ImageBundleStatus {
    let (mut status, mut rows) = match &entry.state {
        State::Accepted(accepted) => accepted_rows(entry, accepted, file, usage, context),
        State::Ahead(accepted, ahead) => ahead_rows(entry, accepted, ahead, file),
        State::New => earlier_rows(entry, file, usage, context),
        State::Growing(message) => {
            let wait = "do not remove the media: the file is incomplete";
            let incomplete = |type_, status| row(type_, status, INCOMPLETE, message);
            let rows = vec![
                incomplete(condition::VERIFIED, "Unknown"),
                incomplete(condition::COMPLETE, "False"),
                incomplete(condition::IMPORTED, "False"),
                row(condition::SAFE_TO_REMOVE, "False", INCOMPLETE, wait),
            ];
            (status_with(message), rows)
        }
        State::Unreadable(message) => {
            let failing = |type_, status| row(type_, status, reason::MEDIA_READ_ERROR, message);
            let rows = vec![
                failing(condition::VERIFIED, "Unknown"),
                failing(condition::COMPLETE, "Unknown"),
                failing(condition::IMPORTED, "False"),
                not_read(reason::MEDIA_READ_ERROR),
            ];
            (status_with(message), rows)
        }
        State::Refused { reason: why, message } => {
            let complete = match (&entry.stamp, *why) {
                (None, _) => {
                    row(condition::COMPLETE, "False", MEDIA_ABSENT, &away(entry, file, &NameList::default()))
                }
                (_, INCOMPLETE) => row(condition::COMPLETE, "False", why, message),
                _ => row(condition::COMPLETE, "True", FILE_PRESENT, "the file is there"),
            };
            let rows = vec![
                row(condition::VERIFIED, "False", why, message),
                complete,
                row(condition::IMPORTED, "False", why, "nothing is copied from a bundle that is refused"),
                not_read(why),
            ];
            (status_with(message), rows)
        }
    };
    if let Some(digest) = entry.recorded() {
        // Of which manifest that holds; of a file that is refused, nothing else is shown.
        status.digest = Some(digest.to_string());
        let text = "the mark of its stream has reached it; it raises the mark no more";
        rows.push(row(RECORDED, "True", "MarkReached", text));
    }
    let old = context.previous.map(|previous| previous.conditions.as_slice()).unwrap_or_default();
    let builder = ConditionBuilder::new(old, context.generation, context.now);
    let condition =
        |(type_, status, reason, message): Row| builder.condition(type_, status, &reason, message);
    status.conditions = rows.into_iter().map(condition).collect();
    status
}

/// A bundle that nothing is taken from before a person confirms its sequence.
fn ahead_rows(
    entry: &Entry,
    accepted: &AcceptedBundle,
    ahead: &Ahead,
    file: &str,
) -> (ImageBundleStatus, Vec<Row>) {
    let stock = &accepted.stock;
    let message = ahead.message(&entry.name, &stock.stream, &stock.digest);
    let complete = match (&entry.stamp, &entry.fault) {
        (None, _) => {
            row(condition::COMPLETE, "False", MEDIA_ABSENT, &away(entry, file, &NameList::default()))
        }
        (_, Some(fault)) => row(condition::COMPLETE, "False", reason::MEDIA_READ_ERROR, fault),
        _ => row(condition::COMPLETE, "True", FILE_PRESENT, "the file is there"),
    };
    let rows = vec![
        row(condition::VERIFIED, "False", AHEAD, &message),
        complete,
        row(
            condition::IMPORTED,
            "False",
            AHEAD,
            "nothing is copied from it before its sequence is confirmed",
        ),
        row(
            condition::SAFE_TO_REMOVE,
            "False",
            AHEAD,
            "do not remove the media before it is decided whether to confirm its sequence; nothing is read from it until then",
        ),
    ];
    (ImageBundleStatus { message: Some(message), ..described(accepted) }, rows)
}

/// What a bundle says of itself.
fn described(accepted: &AcceptedBundle) -> ImageBundleStatus {
    let (stock, bundle) = (&accepted.stock, &accepted.held.bundle);
    ImageBundleStatus {
        stream: Some(stock.stream.to_string()),
        sequence: i64::try_from(stock.sequence).ok(),
        digest: Some(stock.digest.to_string()),
        identity: Some(stock.identity.to_string()),
        size: i64::try_from(bundle.size()).ok(),
        created_at: Some(Time(stock.created_at)),
        commit: bundle.manifest().source.as_ref().map(|source| source.commit.clone()),
        signers: bundle.signers().iter().map(ToString::to_string).take(16).collect(),
        images: i32::try_from(stock.images.len()).ok(),
        ..ImageBundleStatus::default()
    }
}

fn status_with(message: &str) -> ImageBundleStatus {
    ImageBundleStatus { message: Some(message.to_owned()), ..ImageBundleStatus::default() }
}

fn row(type_: &'static str, status: &'static str, reason: &str, message: &str) -> Row {
    (type_, status, reason.to_owned(), message.to_owned())
}

/// Of media that nothing is taken from.
fn not_read(why: &str) -> Row {
    row(condition::SAFE_TO_REMOVE, "True", why, "nothing is read from it: you may remove the media")
}

const fn truth(value: bool) -> &'static str {
    if value { "True" } else { "False" }
}

/// Whether a newer bundle was used, so that this one decides nothing.
fn superseded(usage: &Usage) -> Row {
    match &usage.standing {
        MarkComparison::Superseded { by } => {
            let text = format!(
                "sequence {by} of its stream was used: it decides no tag and no set is applied from it; images that sets name by digest are still copied from it"
            );
            row(condition::SUPERSEDED, "True", "NewerUsed", &text)
        }
        MarkComparison::Unknown { detail } => {
            let text = format!(
                "the mark of its stream in ConfigMap krs-streams cannot be read: {detail}; correct or delete the entry"
            );
            row(condition::SUPERSEDED, "Unknown", MARK_UNREADABLE, &super::rejection::sentence(&text, None))
        }
        MarkComparison::Current | MarkComparison::Reused { .. } => {
            row(condition::SUPERSEDED, "False", "Newest", "no newer bundle of its stream was used")
        }
    }
}

fn accepted_rows(
    entry: &Entry,
    accepted: &AcceptedBundle,
    file: &str,
    usage: &Usage,
    context: &Context<'_>,
) -> (ImageBundleStatus, Vec<Row>) {
    let is_verified = entry.is_verified();
    let suspect = entry.suspect == Some(accepted.stock.digest) && !is_verified;
    let signers = accepted.held.bundle.signers().iter().map(ToString::to_string).collect::<Vec<_>>();
    let by = if signers.is_empty() {
        "its origin is not verified: the site requires no signature".to_owned()
    } else {
        format!("signed by key {}", signers.join(" and key "))
    };
    let verified = if suspect {
        let text = "it was damaged before: nothing is copied from it until it was read to its end";
        row(condition::VERIFIED, "Unknown", DAMAGED, text)
    } else {
        row(condition::VERIFIED, "True", reason::SUCCEEDED, &by)
    };
    let complete = match (&entry.stamp, &entry.fault) {
        (None, _) => row(condition::COMPLETE, "False", MEDIA_ABSENT, &away(entry, file, &usage.missing)),
        (_, Some(fault)) => row(condition::COMPLETE, "False", reason::MEDIA_READ_ERROR, fault),
        _ => row(condition::COMPLETE, "True", FILE_PRESENT, "the file is there"),
    };
    let imported = if usage.imported() {
        row(condition::IMPORTED, "True", IMPORTED, "no set will copy anything that it holds")
    } else if usage.known() && usage.missing.count == 0 {
        row(condition::IMPORTED, "False", MEDIA_ABSENT, "it was taken out before the sets had used it")
    } else if usage.known() {
        let text = super::rejection::sentence(&needs(&usage.missing), None);
        row(condition::IMPORTED, "False", IMAGES_MISSING, &text)
    } else {
        row(condition::IMPORTED, "Unknown", USAGE_UNKNOWN, &usage_unknown(usage))
    };
    let (safe, why, text) = safe_to_remove(entry, file, usage, is_verified);
    let manifest = accepted.held.bundle.manifest();
    let mut message = text.clone();
    if let MarkComparison::Superseded { by } = usage.standing {
        message = format!("{message}; superseded: sequence {by} of its stream was used");
    }
    if let Some(end) = manifest.not_after.filter(|end| has_expired(*end, context.now)) {
        message = format!("{message}; it expired at {end}, which this site only reports");
    }
    if let Some(newest) = context.newest.filter(|newest| *newest > context.now) {
        message = format!("{message}; the clock of this site is behind: a bundle was made at {newest}");
    }
    let sentence = context.mismatches.and_then(|mismatches| mismatches.sentence(context.shared));
    if let Some(sentence) = sentence {
        message = format!("{message}; {sentence}");
    }
    let here = i32::from(entry.stamp.is_some());
    let all = accepted.blob_bytes;
    let status = ImageBundleStatus {
        message: Some(super::rejection::sentence(&message, None)),
        volumes: Some(VolumeCounts { present: here, expected: 1 }),
        namespace_mismatches: context.mismatches.map(|found| found.first.clone()).unwrap_or_default(),
        bytes_verified: i64::try_from(if is_verified { all } else { context.bytes.unwrap_or(0).min(all) })
            .ok(),
        ..described(accepted)
    };
    let safe =
        (condition::SAFE_TO_REMOVE, truth(safe), why.to_owned(), super::rejection::sentence(&text, None));
    let mut rows = vec![verified, complete, superseded(usage), imported, safe];
    rows.extend(usage.sets_applied.as_ref().map(sets_applied));
    (status, rows)
}

/// Whether the sets of the bundle were applied.
fn sets_applied(applied: &Result<(), (&'static str, NameList)>) -> Row {
    match applied {
        Ok(()) => row(SETS_APPLIED, "True", "Applied", "all sets of the bundle were applied"),
        Err((why, named)) => {
            let text =
                super::rejection::sentence(&format!("not applied, and retried: {}", named.text()), None);
            row(SETS_APPLIED, "False", why, &text)
        }
    }
}

/// A bundle of an earlier run whose file is not there: what was said of it holds.
fn earlier_rows(
    entry: &Entry,
    file: &str,
    usage: &Usage,
    context: &Context<'_>,
) -> (ImageBundleStatus, Vec<Row>) {
    let mut status = context.previous.cloned().unwrap_or_default();
    let text = away(entry, file, &NameList::default());
    let old = |type_: &'static str| {
        let old = status.conditions.iter().find(|condition| condition.type_ == type_);
        let state = match old.map(|old| old.status.as_str()) {
            Some("True") => "True",
            Some("False") => "False",
            _ => "Unknown",
        };
        let words = old.map(|old| (current_reason(&old.reason).to_owned(), old.message.clone()));
        let (reason, message) = words.unwrap_or_else(|| (MEDIA_ABSENT.to_owned(), text.clone()));
        (type_, state, reason, message)
    };
    let (verified, imported) = (old(condition::VERIFIED), old(condition::IMPORTED));
    let safe = truth((imported.1 == "True" && usage.recorded) || verified.1 == "False");
    let superseded = status.stream.is_some().then(|| superseded(usage));
    let mut rows = vec![
        verified,
        row(condition::COMPLETE, "False", MEDIA_ABSENT, &text),
        imported,
        row(condition::SAFE_TO_REMOVE, safe, MEDIA_ABSENT, &text),
    ];
    rows.extend(superseded);
    status.message = Some(text);
    status.volumes = status.volumes.map(|volumes| VolumeCounts { present: 0, ..volumes });
    (status, rows)
}
