// SPDX-License-Identifier: Apache-2.0
//! What was last written to an ImageBundle, whether somebody else changed it since, and when a write is due. Pure.

use std::time::Duration;

use krs_core::crd::ImageBundleStatus;
use krs_core::oci::digest::Digest;
use krs_core::redact::printable;
use kube::ResourceExt as _;
use kube::api::DynamicObject;
use tokio::time::Instant;

use super::ahead::CONFIRMATION;
use super::changes::{Change, change};
use super::stored;
use crate::adapters::writes::Restores;
use crate::engine::status::fingerprint;

/// How often progress alone is worth a write.
const PROGRESS: Duration = Duration::from_secs(5);
/// Longest path of a file that `spec.file` shows, in characters.
const MAX_FILE: usize = 1000;

/// An ImageBundle as it was last written.
#[derive(Debug, Clone)]
pub(super) struct WrittenBundle {
    pub(super) file: String,
    pub(super) generation: i64,
    pub(super) status: Option<ImageBundleStatus>,
    /// The digest whose sequence a person confirms, as it is written.
    confirmed: Option<String>,
    pub(super) uid: Option<String>,
    at: Option<Instant>,
    /// When it was last written for nothing but a [`Change::Detail`].
    detailed: Option<Instant>,
    /// Whether the API server was last seen to hold something else.
    overwritten: bool,
    /// When what somebody else wrote was last written over.
    restored: Option<Restores<Instant>>,
}

impl WrittenBundle {
    /// An ImageBundle of this file that the API server holds.
    pub(super) fn new(bundle: &DynamicObject, file: &str, status: Option<ImageBundleStatus>) -> Self {
        Self {
            file: file.to_owned(),
            generation: bundle.metadata.generation.unwrap_or(1),
            uid: bundle.uid(),
            at: None,
            detailed: None,
            confirmed: confirmation(bundle),
            status,
            overwritten: false,
            restored: None,
        }
    }

    /// Whether it is due to be written, where details are worth a write in this interval.
    pub(super) fn is_due(&self, file: &str, status: &ImageBundleStatus, details: Duration) -> bool {
        if self.overwritten {
            return self.restored.is_none_or(|restored| restored.wait(restored.last.elapsed()).is_zero());
        }
        self.file != file || worth_it(self, status, details)
    }

    /// Whether a person has confirmed the sequence of the bundle with this digest.
    pub(super) fn is_confirmed(&self, digest: &Digest) -> bool {
        let confirmed = self.confirmed.as_deref();
        confirmed.is_some_and(|confirmed| confirmed.parse::<Digest>().as_ref() == Ok(digest))
    }

    pub(super) const fn is_overwritten(&self) -> bool {
        self.overwritten
    }

    /// Its metadata and its file were applied.
    pub(super) fn applied(&mut self, made: &DynamicObject, file: &str) {
        file.clone_into(&mut self.file);
        self.generation = made.metadata.generation.unwrap_or(1);
        self.uid = made.uid();
    }

    /// Its status was written. Answers whether that put right what somebody else wrote.
    pub(super) fn arrived(&mut self, status: ImageBundleStatus) -> bool {
        let now = Some(Instant::now());
        if self.status.as_ref().is_some_and(|old| change(old, &status) == Change::Detail) {
            self.detailed = now;
        }
        (self.status, self.at) = (Some(status), now);
        let restored = std::mem::take(&mut self.overwritten);
        if restored {
            self.restored = Some(Restores::one_more(self.restored, Instant::elapsed, Instant::now()));
        }
        restored
    }

    /// Takes note of what the API server holds. Answers whether somebody else changed it, or a person confirmed its sequence.
    pub(super) fn observe(&mut self, bundle: &DynamicObject, is_own: bool) -> bool {
        let is_same = stored::read(bundle).is_some_and(|read| {
            read.unreadable.is_empty()
                && read.file == shown_file(&self.file)
                && read.status.as_ref().map(fingerprint) == self.status.as_ref().map(fingerprint)
        });
        let overwritten = self.status.is_some() && !(is_same && is_own);
        // Told once until it is written again, however often it changes meanwhile.
        let known = std::mem::replace(&mut self.overwritten, overwritten);
        let confirmed = confirmation(bundle);
        let is_new = confirmed != self.confirmed;
        self.confirmed = confirmed;
        (overwritten && !known) || is_new
    }
}

/// The path of a file as `spec.file` shows it.
pub(super) fn shown_file(file: &str) -> String {
    printable(file, MAX_FILE)
}

/// The digest whose sequence a person confirms, as it is written.
fn confirmation(bundle: &DynamicObject) -> Option<String> {
    bundle.annotations().get(CONFIRMATION).cloned()
}

/// Whether a write is due: something changed, and if that was no fact, not too soon after the last write of its kind.
fn worth_it(written: &WrittenBundle, status: &ImageBundleStatus, details: Duration) -> bool {
    let Some(old) = &written.status else { return true };
    let is_over = |at: Option<Instant>, interval| at.is_none_or(|at| at.elapsed() >= interval);
    match change(old, status) {
        Change::None => false,
        Change::Progress => is_over(written.at, PROGRESS),
        Change::Detail => is_over(written.detailed, details),
        Change::Fact => true,
    }
}
