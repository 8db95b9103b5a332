// SPDX-License-Identifier: Apache-2.0
//! One blob on its way: a mount, else a session that is opened, filled and completed in as many tries as it takes.

mod requests;

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use url::Url;

use super::BlobContent;
use super::way::{Sent, Way, way_after};
use crate::oci::digest::Digest;
use crate::oci::reference::RepositoryName;
use crate::registry::client::repository::Repository;
use crate::registry::content::blob::download::PROGRESS;
use crate::registry::content::blob::outgoing::{Feed, Hashing, Outgoing};
use crate::registry::content::blob::relay::{Received, Relay};
use crate::registry::failure::error::{LOST_UPLOAD, RegistryError};
use crate::registry::failure::outcome::Failure;
use crate::registry::transport::exchange::{Payload, lock};

/// Parts of an upload once a registry has lost one that was cut: halved each time, but not below the least.
const FIRST_PART: u64 = 64 << 20;
const LEAST_PART: u64 = 1 << 20;
/// Uploads that are remembered for being cancelled: far more than are under way at once. Registries forget the others.
const MAX_ABANDONED: usize = 256;
/// How long a blob is asked for at most after the answer to its upload was lost: the registry may still be storing it.
const MAX_STORING: Duration = Duration::from_secs(60);
/// The first wait between two such requests; each further one is twice as long.
const FIRST_STORING_WAIT: Duration = Duration::from_millis(250);

/// An upload that the registry has opened.
#[derive(Debug)]
struct Session {
    location: Url,
    /// Bytes that the registry has for sure.
    offset: u64,
}

/// One blob on its way.
pub(super) struct Upload<'a> {
    repository: &'a Repository,
    digest: &'a Digest,
    size: u64,
    content: BlobContent,
    hashing: Arc<Mutex<Hashing>>,
    /// A download that the next part goes on with.
    relay: Arc<Mutex<Option<Relay>>>,
    session: Option<Session>,
    /// The blob goes in parts of so many bytes; in one where there is none.
    part: Option<u64>,
    /// `OCI-Chunk-Min-Length`.
    least_part: u64,
    /// Parts are refused, so the blob goes in one or not at all.
    whole_only: bool,
    /// A body was too large for whoever stands before the registry, so the blob goes in parts or not at all.
    parts_only: bool,
    /// All bytes were sent in so much time, and what became of them was not said.
    unanswered: Option<Duration>,
    /// The furthest offset that the registry has confirmed, over all sessions.
    furthest: u64,
    /// Where the registry itself failed last.
    failed_at: Option<u64>,
}

/// Where the bytes of a blob from `start` on come from.
fn feed(
    repository: &Repository,
    content: &BlobContent,
    relay: &Arc<Mutex<Option<Relay>>>,
    (digest, size): (Digest, u64),
    start: u64,
) -> Feed {
    let (from, received) = match content {
        BlobContent::Source(source) => {
            return Feed::Source { source: Arc::clone(source), reading: None };
        }
        BlobContent::Repository { name, received } => (repository.sibling(name), Arc::clone(received)),
        BlobContent::Elsewhere(from) => {
            let received: Received = Arc::new(|_| ());
            (from.as_ref().clone(), received)
        }
    };
    let kept = lock(relay).take().filter(|kept| kept.position() == start);
    let download = kept.unwrap_or_else(|| Relay::new(&from, digest, size, start, received));
    Feed::Relay { relay: Some(download), what: from.blob_name(&digest), kept: Arc::clone(relay) }
}

/// An upload that is dropped in the middle, because whoever waited for it was cancelled, is left to
/// [`crate::registry::Client::cancel_uploads`].
impl Drop for Upload<'_> {
    fn drop(&mut self) {
        let Some(session) = self.session.take() else { return };
        let mut abandoned = lock(&self.repository.inner.abandoned);
        if abandoned.len() < MAX_ABANDONED {
            let (registry, name) = (self.repository.registry().clone(), self.repository.name().clone());
            abandoned.push((registry, name, session.location));
        }
    }
}

impl<'a> Upload<'a> {
    pub(super) fn new(
        repository: &'a Repository,
        digest: &'a Digest,
        size: u64,
        content: BlobContent,
    ) -> Self {
        let max_part = repository.inner.capabilities.max_part(repository.registry());
        let part = max_part.filter(|part| *part < size);
        Self {
            repository,
            digest,
            size,
            content,
            hashing: Arc::default(),
            relay: Arc::default(),
            session: None,
            part,
            least_part: LEAST_PART,
            whole_only: false,
            parts_only: part.is_some(),
            unanswered: None,
            furthest: 0,
            failed_at: None,
        }
    }

    /// Sends the blob, in as many tries as it takes and are allowed.
    pub(super) async fn send(&mut self) -> Result<(), RegistryError> {
        let repository = self.repository;
        let mut attempts = repository.attempts();
        loop {
            let failure = match self.step().await {
                Ok(true) => {
                    self.session = None;
                    return Ok(());
                }
                Ok(false) => {
                    if self.has_advanced() {
                        attempts.progressed();
                    }
                    continue;
                }
                Err(failure) => failure,
            };
            let renewed = matches!(failure, Failure::LoggedIn(_));
            let outcome = attempts.after(failure).await;
            // Before all of it is sent again, or given up.
            if let Some(sending) = self.unanswered.take()
                && self.is_stored(sending).await
            {
                self.session = None;
                return Ok(());
            }
            if let Err(error) = outcome {
                self.cancel().await;
                return Err(error);
            }
            if !renewed {
                self.recover().await;
                if self.has_advanced() {
                    attempts.progressed();
                }
            }
        }
    }

    /// Whether the blob arrived although nothing said so. The registry may still be storing it: it is asked again for as
    /// long as sending the blob once more would take.
    async fn is_stored(&self, sending: Duration) -> bool {
        let (begun, mut wait) = (Instant::now(), FIRST_STORING_WAIT);
        loop {
            if self.repository.has_blob_now(self.digest, self.size).await {
                return true;
            }
            if begun.elapsed() + wait > sending.min(MAX_STORING) {
                return false;
            }
            tokio::time::sleep(wait).await;
            wait *= 2;
        }
    }

    fn has_advanced(&mut self) -> bool {
        let offset = self.session.as_ref().map_or(0, |session| session.offset);
        // As for downloads: a byte at a time is no progress.
        let advanced = offset >= self.furthest.saturating_add(PROGRESS)
            || (offset == self.size && offset > self.furthest);
        if advanced {
            self.furthest = offset;
        }
        advanced
    }

    /// The bytes from `start` to `end` as a body, as often as it is wanted.
    fn payload(&self, start: u64, end: u64) -> Payload {
        let sent = Arc::<AtomicU64>::default();
        let counter = Arc::clone(&sent);
        let (repository, content) = (self.repository.clone(), self.content.clone());
        let (hashing, relay) = (Arc::clone(&self.hashing), Arc::clone(&self.relay));
        let (digest, size) = (*self.digest, self.size);
        Payload::new(end - start, sent, move || {
            reqwest::Body::wrap(Outgoing {
                feed: feed(&repository, &content, &relay, (digest, size), start),
                digest,
                size,
                hashing: Arc::clone(&hashing),
                next: start,
                end,
                left: end - start,
                held: None,
                pace: Arc::clone(&repository.inner.pace),
                sent: Arc::clone(&counter),
                counters: Arc::clone(&repository.inner.counters),
            })
        })
    }

    /// The next request; whether it was the last.
    async fn step(&mut self) -> Result<bool, Failure> {
        let Some(session) = &self.session else { return self.open().await.map(|()| false) };
        let (location, offset) = (session.location.clone(), session.offset);
        let outcome = if offset < self.size && (offset > 0 || self.part.is_some()) {
            self.send_part(location, offset).await.map(|()| false)
        } else {
            self.complete(location, offset).await
        };
        // Why a body ended early is known here, not at the other end of the connection.
        match lock(&self.hashing).error.take() {
            Some(error) => Err(error.into()),
            None => outcome,
        }
    }

    /// Has the registry take the blob from another of its repositories. Where it does not, an upload may be open. A
    /// refused mount decides nothing: the blob can be sent.
    pub(super) async fn mount(&mut self, from: &RepositoryName) -> bool {
        let repository = self.repository;
        let mut attempts = repository.attempts();
        let mut failed = false;
        loop {
            let failure = match self.try_mount(from).await {
                Ok(mounted) => return mounted,
                Err(failure) => failure,
            };
            let broken = matches!(failure, Failure::Again(_));
            let repeated = broken && std::mem::replace(&mut failed, true);
            if repeated || attempts.after(failure).await.is_err() {
                return false;
            }
        }
    }

    /// Opens an upload, in as many tries as it takes and are allowed.
    pub(super) async fn open_any(&mut self) -> Result<(), RegistryError> {
        let repository = self.repository;
        let mut attempts = repository.attempts();
        while self.session.is_none() {
            if let Err(failure) = self.open().await {
                attempts.after(failure).await?;
            }
        }
        Ok(())
    }

    /// Changes how the blob is sent, where that helps against a refusal.
    async fn refused(&mut self, failure: Failure, sent: Sent) -> Result<(), Failure> {
        let Failure::Final(error) = failure else { return Err(failure) };
        match way_after(&error, sent) {
            Way::Reopen => {
                self.session = None;
                return Err(Failure::again(self.lost(*error)));
            }
            Way::Whole if !self.whole_only && !self.parts_only => {
                (self.whole_only, self.part) = (true, None);
            }
            Way::SmallerParts if !self.whole_only => {
                let Some(part) = self.smaller_part(4) else { return Err(Failure::Final(error)) };
                (self.parts_only, self.part) = (true, Some(part));
                if self.session.as_ref().is_some_and(|session| session.offset > 0) {
                    return Ok(());
                }
            }
            _ => return Err(Failure::Final(error)),
        }
        self.cancel().await;
        self.session = None;
        Ok(())
    }

    /// An upload that is not known any more: not the blob is missing, nor the repository.
    fn lost(&self, error: RegistryError) -> RegistryError {
        match error {
            RegistryError::NotFound { what, detail } => {
                let registry = self.repository.registry().clone();
                RegistryError::Refused {
                    registry,
                    what,
                    status: 404,
                    detail: format!("{detail}{LOST_UPLOAD}"),
                }
            }
            other => other,
        }
    }

    /// A smaller part than the last one, or than the whole; `None` where there is none.
    fn smaller_part(&self, divisor: u64) -> Option<u64> {
        let now = self.part.unwrap_or(self.size).min(self.size);
        let next = self.part.map_or_else(|| (now / 2).min(FIRST_PART), |part| part / divisor);
        Some(next.max(self.least_part)).filter(|next| *next < now)
    }

    /// After a failure: how far the registry got, or a new beginning.
    async fn recover(&mut self) {
        let Some(session) = &self.session else { return };
        let location = session.location.clone();
        let hashed = lock(&self.hashing).hasher.bytes();
        match self.status(&location).await {
            Ok(session) if self.can_resume(session.offset, hashed) => self.session = Some(session),
            _ => {
                self.cancel().await;
                self.session = None;
                // Nothing of it was kept: smaller parts lose less.
                if !self.whole_only {
                    self.part = self.smaller_part(2).or(self.part);
                }
            }
        }
    }

    /// Whether an upload goes on at `offset`, where `hashed` bytes of the blob are known here.
    const fn can_resume(&self, offset: u64, hashed: u64) -> bool {
        let known = offset <= self.size && offset <= hashed;
        // Without parts there is nothing to go on with, unless all has arrived.
        known && (!self.whole_only || offset == self.size) && (offset > 0 || hashed == 0)
    }
}
