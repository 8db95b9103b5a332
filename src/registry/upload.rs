// SPDX-License-Identifier: Apache-2.0
//! Sending blobs: mounted where the registry has them, else in one request, else gone on with where that was cut.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_RANGE, CONTENT_TYPE, LOCATION, RANGE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use url::Url;

use super::auth::{Asking, Scope};
use super::client::Repository;
use super::download::PROGRESS;
use super::error::RegistryError;
use super::manifest::not_missing;
use super::outgoing::{Hashing, Outgoing};
use super::redirect::upload_target;
use super::retry::{Attempts, Failure};
use super::transport::{Answer, Payload, lock, protocol, refused};
use super::{BlobSource, Pushed};
use crate::digest::{Digest, Hasher, check};
use crate::reference::RepositoryName;

/// Parts of an upload once a registry has lost one that was cut: halved each time, but not below the least.
const FIRST_PART: u64 = 64 << 20;
const LEAST_PART: u64 = 1 << 20;
/// Longest wait for the answer to a cancellation, which nobody depends on.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(5);

/// An upload that the registry has opened.
#[derive(Debug)]
struct Session {
    location: Url,
    /// Bytes that the registry has for sure.
    offset: u64,
}

/// One blob on its way.
struct Upload<'a> {
    repository: &'a Repository,
    digest: &'a Digest,
    size: u64,
    source: Arc<dyn BlobSource>,
    mount_from: Option<&'a RepositoryName>,
    hashing: Arc<Mutex<Hashing>>,
    session: Option<Session>,
    /// The blob goes in parts of so many bytes; in one where there is none.
    part: Option<u64>,
    /// `OCI-Chunk-Min-Length`.
    least_part: u64,
    /// Parts are refused, so the blob goes in one or not at all.
    whole_only: bool,
    /// The furthest offset that the registry has confirmed, over all sessions.
    furthest: u64,
}

impl Repository {
    /// Sends a blob of exactly this digest and size, or has the registry take it from another of its
    /// repositories, `mount_from`, where it can.
    ///
    /// # Errors
    /// [`RegistryError::Source`] where `source` does not hold that blob, and the others.
    pub async fn push_blob(
        &self,
        digest: &Digest,
        size: u64,
        source: Arc<dyn BlobSource>,
        mount_from: Option<&RepositoryName>,
    ) -> Result<Pushed, RegistryError> {
        if size == 0 {
            let empty = check(Hasher::new(), *digest, 0);
            empty.map_err(|e| RegistryError::Source { digest: *digest, source: e.into() })?;
        }
        let mut upload = Upload::new(self, digest, size, source, mount_from);
        let mut attempts = Attempts::new(&self.inner);
        loop {
            match upload.step().await {
                Ok(Some(pushed)) => return Ok(pushed),
                Ok(None) => {
                    if upload.has_advanced() {
                        attempts.progressed();
                    }
                }
                Err(failure) => {
                    let kept = matches!(failure, Failure::LoggedIn(_));
                    if let Err(error) = attempts.after(failure).await {
                        upload.cancel().await;
                        return Err(error);
                    }
                    if !kept {
                        upload.recover().await;
                        if upload.has_advanced() {
                            attempts.progressed();
                        }
                    }
                }
            }
        }
    }
}

/// Where there is nothing to send.
struct Nothing;

impl BlobSource for Nothing {
    fn read_at(&self, _offset: u64, _buf: &mut [u8]) -> std::io::Result<usize> {
        Ok(0)
    }
}

impl Repository {
    /// Has the registry take a blob from another of its repositories, without a byte being sent. With no `from`, or
    /// where the registry does not do it, an upload is opened and given up: the answer is `false`, and it is known that
    /// blobs may be sent here.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub async fn mount_blob(
        &self,
        digest: &Digest,
        from: Option<&RepositoryName>,
    ) -> Result<bool, RegistryError> {
        let mut upload = Upload::new(self, digest, 0, Arc::new(Nothing), from);
        let mut attempts = Attempts::new(&self.inner);
        loop {
            match upload.open().await {
                Ok(Some(_)) => return Ok(true),
                Ok(None) if upload.session.is_some() => {
                    upload.cancel().await;
                    return Ok(false);
                }
                // Not mounted, and nothing opened yet.
                Ok(None) => {}
                Err(failure) => attempts.after(failure).await?,
            }
        }
    }
}

fn octets() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers
}

/// How many bytes the registry has: `Range: 0-LAST`. Distribution says `0-0` for none, too.
fn confirmed(answer: &Answer) -> Option<u64> {
    let range = answer.header(RANGE)?;
    let (first, last) = range.strip_prefix("bytes=").unwrap_or(range).split_once('-')?;
    let last = last.parse::<u64>().ok().filter(|_| first == "0")?;
    Some(if last == 0 { 0 } else { last.saturating_add(1) })
}

impl<'a> Upload<'a> {
    fn new(
        repository: &'a Repository,
        digest: &'a Digest,
        size: u64,
        source: Arc<dyn BlobSource>,
        mount_from: Option<&'a RepositoryName>,
    ) -> Self {
        Self {
            repository,
            digest,
            size,
            source,
            mount_from,
            hashing: Arc::default(),
            session: None,
            part: None,
            least_part: LEAST_PART,
            whole_only: false,
            furthest: 0,
        }
    }

    async fn asking(&self, scope: Scope) -> Result<Asking<'_>, Failure> {
        self.repository.asking(scope, self.repository.blob_name(self.digest)).await
    }

    fn pushing(&self) -> Scope {
        Scope::push(self.repository.name())
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

    fn located(&self, asking: &Asking<'_>, answer: &Answer) -> Result<Url, Failure> {
        let location = answer
            .header(LOCATION)
            .ok_or_else(|| protocol(&asking.purpose, "the answer to an upload has no Location"))?;
        let target = upload_target(&asking.home, &answer.url, location);
        target.map_err(|detail| refused(&asking.purpose, location, detail).into())
    }

    /// The bytes from `start` to `end` as a body.
    fn payload(&self, start: u64, end: u64) -> Payload {
        let sent = Arc::new(AtomicU64::new(0));
        let body = Outgoing {
            source: Arc::clone(&self.source),
            digest: *self.digest,
            size: self.size,
            hashing: Arc::clone(&self.hashing),
            next: start,
            end,
            left: end - start,
            reading: None,
            held: None,
            pace: Arc::clone(&self.repository.inner.pace),
            sent: Arc::clone(&sent),
            counters: Arc::clone(&self.repository.inner.counters),
        };
        Payload { body: reqwest::Body::wrap(body), length: end - start, sent }
    }

    /// The next request; the outcome where it was the last.
    async fn step(&mut self) -> Result<Option<Pushed>, Failure> {
        let Some(session) = &self.session else { return self.open().await };
        let (location, offset) = (session.location.clone(), session.offset);
        let outcome = if offset < self.size && (offset > 0 || self.part.is_some()) {
            self.send_part(location, offset).await.map(|()| None)
        } else {
            self.complete(location, offset).await.map(Some)
        };
        // Why a body ended early is known here, not at the other end of the connection.
        match lock(&self.hashing).error.take() {
            Some(source) => Err(RegistryError::Source { digest: *self.digest, source }.into()),
            None => outcome,
        }
    }

    /// Mounts the blob or opens an upload.
    async fn open(&mut self) -> Result<Option<Pushed>, Failure> {
        let Some(from) = self.mount_from else {
            let answer = self.post(self.pushing(), None).await?;
            return self.opened(answer).await;
        };
        match self.post(self.pushing().and_pull(from), Some(from)).await {
            Ok(answer) if answer.status() == StatusCode::CREATED => return Ok(Some(Pushed::Mounted)),
            Ok(answer) if answer.status() == StatusCode::ACCEPTED => {
                self.mount_from = None;
                return self.opened(answer).await;
            }
            Err(failure @ (Failure::LoggedIn(_) | Failure::Again(..))) => return Err(failure),
            // No right to read `from`, or no mounting here: what remains is to send it.
            Ok(answer)
                if answer.status().is_client_error() && answer.status() != StatusCode::TOO_MANY_REQUESTS => {}
            Err(Failure::Final(_)) => {}
            Ok(answer) => {
                let asking = self.asking(self.pushing()).await?;
                return Err(self.repository.inner.rejected(&asking, answer).await);
            }
        }
        self.mount_from = None;
        Ok(None)
    }

    async fn post(&self, scope: Scope, mount_from: Option<&RepositoryName>) -> Result<Answer, Failure> {
        let asking = self.asking(scope).await?;
        let mut url = self.repository.url(&asking, "blobs/uploads/")?;
        if let Some(from) = mount_from {
            let mut query = url.query_pairs_mut();
            query.append_pair("mount", &self.digest.to_string()).append_pair("from", from.as_str());
        }
        let payload = Payload::small(Bytes::new());
        self.repository.inner.ask_with(&asking, &Method::POST, &url, HeaderMap::new(), payload).await
    }

    async fn opened(&mut self, answer: Answer) -> Result<Option<Pushed>, Failure> {
        let asking = self.asking(self.pushing()).await?;
        if answer.status() != StatusCode::ACCEPTED {
            return Err(not_missing(self.repository.inner.rejected(&asking, answer).await, &asking));
        }
        let location = self.located(&asking, &answer)?;
        let least = answer.header("oci-chunk-min-length").and_then(|value| value.parse().ok());
        drop(asking);
        self.least_part = least.unwrap_or(0).max(LEAST_PART);
        self.session = Some(Session { location, offset: 0 });
        Ok(None)
    }

    /// Sends the next part, or all that is left.
    async fn send_part(&mut self, location: Url, start: u64) -> Result<(), Failure> {
        let part = self.part.map_or(u64::MAX, |part| part.max(self.least_part));
        let end = start.saturating_add(part).min(self.size);
        let asking = self.asking(self.pushing()).await?;
        let mut headers = octets();
        if let Ok(range) = HeaderValue::from_str(&format!("{start}-{}", end - 1)) {
            headers.insert(CONTENT_RANGE, range);
        }
        let payload = self.payload(start, end);
        let inner = &self.repository.inner;
        let answer = inner.ask_with(&asking, &Method::PATCH, &location, headers, payload).await?;
        if !answer.status().is_success() {
            let failure = inner.rejected(&asking, answer).await;
            drop(asking);
            return Err(self.reopening(failure, true));
        }
        let next = self.located(&asking, &answer)?;
        // Fewer bytes than were sent may have been kept.
        let offset = confirmed(&answer).filter(|offset| (start..end).contains(offset)).unwrap_or(end);
        if offset == start {
            return Err(Failure::again(protocol(&asking.purpose, "it keeps nothing of what it is sent")));
        }
        drop(asking);
        self.session = Some(Session { location: next, offset });
        Ok(())
    }

    /// Sends the rest, or nothing where all is there, and has the blob stored.
    async fn complete(&mut self, mut location: Url, start: u64) -> Result<Pushed, Failure> {
        let asking = self.asking(self.pushing()).await?;
        location.query_pairs_mut().append_pair("digest", &self.digest.to_string());
        let payload = self.payload(start, self.size);
        let inner = &self.repository.inner;
        let answer = inner.ask_with(&asking, &Method::PUT, &location, octets(), payload).await?;
        if !answer.status().is_success() {
            let failure = inner.rejected(&asking, answer).await;
            drop(asking);
            return Err(self.reopening(failure, false));
        }
        let named = answer.header("docker-content-digest").and_then(|digest| digest.parse().ok());
        match named {
            Some(got) if got != *self.digest => {
                let (registry, what) = (asking.purpose.registry.clone(), asking.purpose.what.clone());
                Err(RegistryError::OtherDigest { registry, what, expected: *self.digest, got }.into())
            }
            _ => Ok(Pushed::Uploaded),
        }
    }

    /// An upload that the registry does not know any more, or that got out of step, is begun anew.
    fn reopening(&mut self, failure: Failure, in_part: bool) -> Failure {
        let Failure::Final(error) = failure else { return failure };
        let lost = match &*error {
            RegistryError::NotFound { .. } | RegistryError::Refused { status: 416, .. } => true,
            RegistryError::Refused { status: 400, detail, .. } => {
                detail.contains("DIGEST_INVALID") || detail.contains("BLOB_UPLOAD")
            }
            RegistryError::Refused { status: 405 | 501, .. } if in_part => {
                self.whole_only = true;
                self.part = None;
                true
            }
            _ => false,
        };
        if lost {
            self.session = None;
            return Failure::Again(error, None);
        }
        Failure::Final(error)
    }

    /// After a failure: how far the registry got, or a new beginning.
    async fn recover(&mut self) {
        let Some(session) = &self.session else { return };
        let location = session.location.clone();
        let hashed = lock(&self.hashing).hasher.bytes();
        match self.status(&location).await {
            Ok(session) if session.offset <= self.size.min(hashed) => self.session = Some(session),
            _ => {
                self.cancel().await;
                self.session = None;
                if !self.whole_only {
                    self.part = Some(self.part.map_or(FIRST_PART, |part| (part / 2).max(LEAST_PART)));
                }
            }
        }
    }

    async fn status(&self, location: &Url) -> Result<Session, Failure> {
        let asking = self.asking(self.pushing()).await?;
        let answer = self.repository.inner.ask(&asking, &Method::GET, location, &HeaderMap::new()).await?;
        if !answer.status().is_success() {
            return Err(self.repository.inner.rejected(&asking, answer).await);
        }
        let offset = confirmed(&answer).ok_or_else(|| protocol(&asking.purpose, "no Range"))?;
        let location = if answer.headers().contains_key(LOCATION) {
            self.located(&asking, &answer)?
        } else {
            location.clone()
        };
        Ok(Session { location, offset })
    }

    /// Tells the registry to forget the upload. It forgets it later by itself, so the answer does not matter.
    async fn cancel(&self) {
        let Some(session) = &self.session else { return };
        let cancel = async {
            let asking = self.asking(self.pushing()).await?;
            let inner = &self.repository.inner;
            inner.ask(&asking, &Method::DELETE, &session.location, &HeaderMap::new()).await
        };
        if let Ok(Err(failure)) = tokio::time::timeout(CANCEL_TIMEOUT, cancel).await {
            tracing::debug!(?failure, "an upload was not cancelled");
        }
    }
}
