// SPDX-License-Identifier: Apache-2.0
//! One upload with its retries: a mount, or else a session that is opened, filled and completed.

use std::time::{Duration, Instant};

use crate::oci::reference::RepositoryName;
use crate::registry::content::blob::upload::state::Upload;
use crate::registry::failure::error::RegistryError;
use crate::registry::failure::outcome::Failure;
use crate::registry::limits::retry::MIN_PROGRESS;

/// How long a blob is looked up after the response to its upload was lost: the registry may still be storing it.
const MAX_STORING: Duration = Duration::from_secs(60);
/// The first wait between two such requests; each further one is twice as long.
const FIRST_STORING_WAIT: Duration = Duration::from_millis(250);

impl Upload<'_> {
    /// Sends the blob, with retries.
    pub(in crate::registry) async fn send(&mut self) -> Result<(), RegistryError> {
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
                        attempts.record_progress();
                    }
                    continue;
                }
                Err(failure) => failure,
            };
            let renewed = matches!(failure, Failure::Challenged(_));
            let outcome = attempts.wait_after(failure).await;
            // Before it is sent again from the start, or fails.
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
                    attempts.record_progress();
                }
            }
        }
    }

    /// Whether the blob arrived although no response confirmed it. The registry may still be storing it: the lookup is
    /// repeated for as long as sending the blob again would take.
    async fn is_stored(&self, sending: Duration) -> bool {
        let (start, mut wait) = (Instant::now(), FIRST_STORING_WAIT);
        loop {
            if self.repository.has_blob_now(self.digest, self.size).await {
                return true;
            }
            if start.elapsed() + wait > sending.min(MAX_STORING) {
                return false;
            }
            tokio::time::sleep(wait).await;
            wait *= 2;
        }
    }

    fn has_advanced(&mut self) -> bool {
        let offset = self.session.as_ref().map_or(0, |session| session.offset);
        // As for downloads, a few bytes do not count as progress.
        let advanced = offset >= self.furthest.saturating_add(MIN_PROGRESS)
            || (offset == self.size && offset > self.furthest);
        if advanced {
            self.furthest = offset;
        }
        advanced
    }

    /// Sends the next request. Returns whether it was the last one.
    async fn step(&mut self) -> Result<bool, Failure> {
        let Some(session) = &self.session else { return self.open().await.map(|()| false) };
        let (location, offset) = (session.location.clone(), session.offset);
        let outcome = if offset < self.size && (offset > 0 || self.part.is_some()) {
            self.send_part(location, offset).await.map(|()| false)
        } else {
            self.complete(location, offset).await
        };
        // Why a body ended early is known here, not from the response.
        match self.hashing.lock().error.take() {
            Some(error) => Err(error.into()),
            None => outcome,
        }
    }

    /// Mounts the blob from another repository of the registry. If it does not mount, an upload may be open. A refused mount
    /// is no error, because the blob can be sent.
    pub(in crate::registry) async fn mount(&mut self, from: &RepositoryName) -> bool {
        let repository = self.repository;
        let mut attempts = repository.attempts();
        let mut failed = false;
        loop {
            let failure = match self.try_mount(from).await {
                Ok(mounted) => return mounted,
                Err(failure) => failure,
            };
            let broken = matches!(failure, Failure::Retryable(_));
            let repeated = broken && std::mem::replace(&mut failed, true);
            if repeated || attempts.wait_after(failure).await.is_err() {
                return false;
            }
        }
    }

    /// Opens an upload, with retries.
    pub(in crate::registry) async fn open_any(&mut self) -> Result<(), RegistryError> {
        let repository = self.repository;
        let mut attempts = repository.attempts();
        while self.session.is_none() {
            if let Err(failure) = self.open().await {
                attempts.wait_after(failure).await?;
            }
        }
        Ok(())
    }

    /// Recovers from a failure: finds the offset to resume at, or starts again.
    async fn recover(&mut self) {
        let Some(session) = &self.session else { return };
        let location = session.location.clone();
        let hashed = self.hashing.lock().hasher.bytes();
        match self.status(&location).await {
            Ok(session) if self.can_resume(session.offset, hashed) => self.session = Some(session),
            _ => {
                self.cancel().await;
                self.session = None;
                // The registry kept nothing, so smaller parts lose less.
                if !self.whole_only {
                    self.part = self.smaller_part(2).or(self.part);
                }
            }
        }
    }

    /// Whether an upload can resume at `offset`, if `hashed` bytes of the blob were hashed here.
    const fn can_resume(&self, offset: u64, hashed: u64) -> bool {
        let known = offset <= self.size && offset <= hashed;
        // Without parts an upload cannot be resumed, unless all bytes have arrived.
        known && (!self.whole_only || offset == self.size) && (offset > 0 || hashed == 0)
    }
}
