// SPDX-License-Identifier: Apache-2.0
//! What is known of each file, and what a scan of the drop folder changes in it. Pure.

use std::time::{Duration, SystemTime};

use camino::Utf8PathBuf;
use jiff::Timestamp;
use krs_core::bundle::StreamName;
use krs_core::crd::ImageBundleStatus;
use krs_core::oci::digest::Digest;

use super::accepted::AcceptedBundle;
use super::ahead::Ahead;
use super::conditions;
use super::finding::{FRESH, Finding};
use super::folder::Stamp;
use super::rejection::{self, Failure, Kind, sentence};
use super::trouble::hanging;
use crate::model::clock::is_to_come;
use crate::model::marks::Mark;

/// First and longest time to wait before media that failed are read again.
const RETRY: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(300));

/// What is known of a file.
#[derive(Debug)]
pub(super) struct Entry {
    /// Of its ImageBundle.
    pub name: String,
    /// As it was seen last; `None` when it is away.
    pub stamp: Option<Stamp>,
    /// Size and time of the last change of the copy that was seen last, also while it is away.
    copy: Option<(u64, Option<SystemTime>)>,
    /// What it lies on, as [`super::folder::Found::media`].
    pub media: Utf8PathBuf,
    pub last_seen: Timestamp,
    pub state: State,
    /// Failures of the media in a row, and when they are read again.
    pub failures: u32,
    pub retry_at: Option<Timestamp>,
    /// What went wrong with the media.
    pub fault: Option<String>,
    /// The manifest that was found damaged: it is read to its end before anything is copied from it again.
    pub suspect: Option<Digest>,
    /// The manifest whose blobs were all read and found right.
    pub verified: Option<Digest>,
    /// The manifest of which the sets needed nothing more while the file was there.
    pub imported: Option<Digest>,
    /// The manifest whose sequence the mark of its stream has reached once. A person who lowers or removes the mark
    /// afterwards wants it so.
    pub recorded: Option<Digest>,
    /// What the ImageBundle of an earlier run said.
    pub earlier: Option<ImageBundleStatus>,
}

/// What opening the file gave.
#[derive(Debug)]
pub(super) enum State {
    /// It was not opened yet.
    New,
    /// It is incomplete, or still changes.
    Growing(String),
    /// It is not accepted.
    Refused { reason: &'static str, message: String },
    /// It passed, and its sequence is too far ahead to be used before a person confirms it.
    Ahead(AcceptedBundle, Ahead),
    /// The media fail.
    Unreadable(String),
    /// All checks passed.
    Accepted(AcceptedBundle),
}

impl Entry {
    /// A file that was seen for the first time.
    pub(super) fn new(name: String, now: Timestamp) -> Self {
        Self {
            name,
            stamp: None,
            copy: None,
            media: Utf8PathBuf::new(),
            last_seen: now,
            state: State::New,
            failures: 0,
            retry_at: None,
            fault: None,
            suspect: None,
            verified: None,
            imported: None,
            recorded: None,
            earlier: None,
        }
    }

    /// The bundle, where it passed.
    pub(super) const fn accepted(&self) -> Option<&AcceptedBundle> {
        match &self.state {
            State::Accepted(accepted) => Some(accepted),
            _ => None,
        }
    }

    /// The bundle, where it passed, whether or not it may be used.
    pub(super) const fn opened(&self) -> Option<&AcceptedBundle> {
        match &self.state {
            State::Accepted(accepted) | State::Ahead(accepted, _) => Some(accepted),
            _ => None,
        }
    }

    /// The manifest that it holds, as far as anything is known of it.
    pub(super) fn digest(&self) -> Option<Digest> {
        match &self.state {
            State::Accepted(accepted) | State::Ahead(accepted, _) => Some(accepted.stock.digest),
            State::New => self.earlier.as_ref()?.digest.as_ref()?.parse().ok(),
            _ => None,
        }
    }

    /// Its stream and its number in there; of a file that is away, as an earlier run has told.
    pub(super) fn stream(&self) -> Option<(StreamName, u64)> {
        match &self.state {
            State::Accepted(accepted) => Some((accepted.stock.stream.clone(), accepted.stock.sequence)),
            State::New => {
                let earlier = self.earlier.as_ref()?;
                Some((earlier.stream.as_ref()?.parse().ok()?, u64::try_from(earlier.sequence?).ok()?))
            }
            _ => None,
        }
    }

    /// The stream and the mark that the bundle would raise; of a file that is away, as an earlier run has told.
    pub(super) fn mark(&self) -> Option<(StreamName, Mark)> {
        match &self.state {
            State::Accepted(accepted) => Some((accepted.stock.stream.clone(), accepted.stock.mark())),
            State::New => {
                let (stream, sequence) = self.stream()?;
                let earlier = self.earlier.as_ref()?;
                let identity = earlier.identity.as_ref()?.parse().ok()?;
                Some((stream, Mark { sequence, identity, created_at: earlier.created_at.as_ref()?.0 }))
            }
            _ => None,
        }
    }

    /// Whether it can be copied from now, as far as the media are concerned.
    pub(super) const fn present(&self) -> bool {
        self.stamp.is_some() && self.fault.is_none()
    }

    /// Whether it is opened again though it did not change.
    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        self.retry_at.is_some_and(|at| !is_to_come(at, RETRY.1, now))
    }

    /// Whether every blob was read and found right.
    pub(super) fn is_verified(&self) -> bool {
        self.accepted().is_some_and(|accepted| self.verified == Some(accepted.stock.digest))
    }

    /// Whether copying may begin.
    pub(super) fn ready(&self, check_first: bool) -> bool {
        let suspect = self.accepted().is_some_and(|accepted| self.suspect == Some(accepted.stock.digest));
        self.is_verified() || !(check_first || suspect)
    }

    /// Whether the sets can have used it: the file is there, or they needed nothing more of it when it was.
    pub(super) fn may_be_imported(&self) -> bool {
        let was_imported = || self.imported.is_some() && self.imported == self.digest();
        self.stamp.is_some() || self.was_recorded() || was_imported()
    }

    /// Whether the mark of its stream has reached it once.
    pub(super) fn was_recorded(&self) -> bool {
        self.recorded.is_some() && self.recorded == self.digest()
    }

    /// The manifest that the mark has reached, as long as nothing else is known of the file: one that is refused or that
    /// fails now may be the same again. (T-198)
    pub(super) fn recorded(&self) -> Option<Digest> {
        let known = matches!(self.state, State::Accepted(_) | State::Ahead(..) | State::New);
        self.recorded.filter(|_| !known || self.was_recorded())
    }

    /// Takes in what a scan found.
    pub(super) fn found(&mut self, stamp: Stamp, finding: Finding, now: Timestamp) {
        if self.stamp.is_some_and(|old| old != stamp) {
            self.failures = 0;
        }
        let copy = (stamp.size, stamp.modified);
        if self.copy.replace(copy).is_some_and(|old| old != copy) {
            // Another copy, which may be damaged where this one was not.
            self.verified = None;
        }
        (self.stamp, self.last_seen) = (Some(stamp), now);
        match finding {
            Finding::Unchanged => {}
            Finding::Hangs(hangs) => self.hangs(&hanging(&self.media, hangs), now),
            Finding::Changing => {
                let text = "the file is still being written";
                self.state = State::Growing(sentence(text, Some("wait until the copy is complete")));
                // The next scan opens it where it did not change until then.
                self.retry_at = Some(now);
            }
            Finding::Opened(Ok(mut accepted)) => {
                accepted.stock.name.clone_from(&self.name);
                self.believe(&accepted);
                (self.fault, self.retry_at) = (None, None);
                self.state = State::Accepted(*accepted);
            }
            Finding::Opened(Err(Failure { kind, reason, message })) => {
                (self.fault, self.retry_at) = (None, None);
                match kind {
                    Kind::Refused => self.state = State::Refused { reason, message },
                    Kind::Incomplete => {
                        self.state = State::Growing(message);
                        self.retry_at = now.checked_add(FRESH).ok();
                    }
                    Kind::Media => self.media_failed(message, now),
                }
            }
        }
    }

    /// Believes what an earlier run found out, where it is about the same manifest.
    fn believe(&mut self, accepted: &AcceptedBundle) {
        let Some(earlier) = self.earlier.take() else { return };
        let digest = accepted.stock.digest;
        if earlier.digest != Some(digest.to_string()) {
            return;
        }
        self.imported = conditions::was_imported(Some(&earlier)).then_some(digest);
        let is_same_size = earlier.size == i64::try_from(accepted.held.bundle.size()).ok();
        let verified = earlier.conditions.iter().find(|c| c.type_ == krs_core::crd::condition::VERIFIED);
        match verified {
            Some(c)
                if c.status == "True"
                    && is_same_size
                    && earlier.bytes_verified == i64::try_from(accepted.blob_bytes).ok() =>
            {
                self.verified = Some(digest);
            }
            Some(c) if c.reason == rejection::DAMAGED => self.suspect = Some(digest),
            _ => {}
        }
    }

    /// The file is not there any more. Nobody may read it; what it held is still known.
    pub(super) fn gone(&mut self) {
        self.stamp = None;
        if matches!(self.state, State::Growing(_) | State::Unreadable(_)) {
            self.state = State::New;
        }
        (self.fault, self.retry_at, self.failures) = (None, None, 0);
    }

    /// Its folder does not answer: nobody may read it until it does, and then it is opened again at once.
    pub(super) fn hangs(&mut self, message: &str, now: Timestamp) {
        if self.fault.as_deref() != Some(message) {
            self.media_failed(message.to_owned(), now);
        }
        self.retry_at = Some(now);
    }

    /// The media cannot be read: they are retried, each time later.
    pub(super) fn media_failed(&mut self, message: String, now: Timestamp) {
        let wait = RETRY.0.saturating_mul(1 << self.failures.min(10)).min(RETRY.1);
        self.failures = self.failures.saturating_add(1);
        self.retry_at = now.checked_add(wait).ok();
        if self.accepted().is_none() {
            self.state = State::Unreadable(message.clone());
        }
        self.fault = Some(message);
    }

    /// Content differs from its digest.
    pub(super) fn damaged(&mut self, message: String) {
        self.suspect = self.accepted().map(|accepted| accepted.stock.digest);
        self.verified = None;
        self.state = State::Refused { reason: rejection::DAMAGED, message };
    }
}
