// SPDX-License-Identifier: Apache-2.0
//! The requests of which an upload consists.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{CONTENT_RANGE, CONTENT_TYPE, LOCATION, RANGE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use url::Url;

use super::{LEAST_PART, Session, Upload};
use crate::oci::reference::RepositoryName;
use crate::registry::auth::authenticator::{Asking, Scope};
use crate::registry::client::repository::Repository;
use crate::registry::content::blob::download::PROGRESS;
use crate::registry::content::blob::upload::way::Sent;
use crate::registry::failure::error::RegistryError;
use crate::registry::failure::outcome::Failure;
use crate::registry::transport::exchange::{Answer, Payload, protocol};

/// Longest wait for the answer to a cancellation, which nobody depends on.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(5);

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
    async fn asking(&self, scope: Scope) -> Result<Asking<'a>, Failure> {
        self.repository.asking(scope, self.repository.blob_name(self.digest)).await
    }

    fn pushing(&self) -> Scope {
        Scope::push(self.repository.name())
    }

    fn located(&self, asking: &Asking<'_>, answer: &Answer) -> Result<Url, Failure> {
        self.repository.inner.located(asking, answer)
    }

    pub(super) async fn try_mount(&mut self, from: &RepositoryName) -> Result<bool, Failure> {
        let asking = self.asking(self.pushing().and_pull(from)).await?;
        if !self.repository.inner.same_credentials(&asking, from).await? {
            return Ok(false);
        }
        let answer = self.post(&asking, Some(from)).await?;
        match answer.status() {
            StatusCode::CREATED => Ok(true),
            StatusCode::ACCEPTED => self.opened(&asking, &answer).map(|()| false),
            _ => Err(self.repository.inner.rejected(&asking, answer).await),
        }
    }

    async fn post(
        &self,
        asking: &Asking<'_>,
        mount_from: Option<&RepositoryName>,
    ) -> Result<Answer, Failure> {
        let mut url = self.repository.url(asking, "blobs/uploads/")?;
        if let Some(from) = mount_from {
            let mut query = url.query_pairs_mut();
            query.append_pair("mount", &self.digest.to_string()).append_pair("from", from.as_str());
        }
        let payload = Payload::small(Bytes::new());
        self.repository.inner.ask_with(asking, &Method::POST, &url, HeaderMap::new(), payload).await
    }

    /// Opens an upload.
    pub(super) async fn open(&mut self) -> Result<(), Failure> {
        let asking = self.asking(self.pushing()).await?;
        let answer = self.post(&asking, None).await?;
        if answer.status() == StatusCode::ACCEPTED {
            return self.opened(&asking, &answer);
        }
        Err(self.repository.inner.rejected(&asking, answer).await.of_push(asking.purpose.registry))
    }

    fn opened(&mut self, asking: &Asking<'_>, answer: &Answer) -> Result<(), Failure> {
        let location = self.located(asking, answer)?;
        let least = answer.header("oci-chunk-min-length").and_then(|value| value.parse().ok());
        self.least_part = least.unwrap_or(0).max(LEAST_PART);
        self.session = Some(Session { location, offset: 0 });
        Ok(())
    }

    /// Sends the next part, or all that is left.
    pub(super) async fn send_part(&mut self, location: Url, start: u64) -> Result<(), Failure> {
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
            let failed = answer.status() == StatusCode::INTERNAL_SERVER_ERROR;
            if failed && self.failed_at.replace(start) == Some(start) {
                // It has lost track of the upload, whatever it states about it: Gitea 1.26 after a part that was cut.
                self.cancel().await;
                (self.session, self.failed_at) = (None, None);
            }
            let failure = inner.rejected(&asking, answer).await;
            return self.refused(failure, Sent::Part { first: start == 0 }).await;
        }
        let next = self.located(&asking, &answer)?;
        // Fewer bytes than were sent may have been kept.
        let offset = confirmed(&answer).filter(|offset| (start..end).contains(offset)).unwrap_or(end);
        self.session = Some(Session { location: next, offset });
        // What is lost is sent again, so that a byte at a time would send a blob as often as it has bytes.
        if offset < end && offset - start < PROGRESS {
            let detail = format!("it keeps {} of {} bytes that it is sent", offset - start, end - start);
            return Err(Failure::again(protocol(&asking.purpose, detail)));
        }
        if self.parts_only {
            inner.capabilities.set_max_part(self.repository.registry(), part);
        }
        Ok(())
    }

    /// Sends the rest, or nothing where all is there, and has the blob stored. Answers whether it is.
    pub(super) async fn complete(&mut self, mut location: Url, start: u64) -> Result<bool, Failure> {
        let asking = self.asking(self.pushing()).await?;
        location.query_pairs_mut().append_pair("digest", &self.digest.to_string());
        let payload = self.payload(start, self.size);
        let (sent, length, begun) = (Arc::clone(&payload.sent), payload.length, Instant::now());
        let inner = &self.repository.inner;
        let outcome = inner.ask_with(&asking, &Method::PUT, &location, octets(), payload).await;
        let stored = match outcome {
            Ok(answer) if answer.status().is_success() => Ok(answer),
            Ok(answer) => Err(inner.rejected(&asking, answer).await),
            Err(failure) => Err(failure),
        };
        let answer = match stored {
            Ok(answer) => answer,
            Err(failure) => {
                let all = sent.load(Ordering::Relaxed) == length;
                // A session that is not known any more was perhaps completed before, by a proxy that repeats requests.
                let unknown = matches!(&failure, Failure::Final(error) if error.status() == Some(404));
                if all && (unknown || matches!(failure, Failure::Again(_))) {
                    self.unanswered = Some(begun.elapsed());
                }
                return self.refused(failure, Sent::Last).await.map(|()| false);
            }
        };
        let named = answer.header("docker-content-digest").and_then(|digest| digest.parse().ok());
        match named {
            Some(got) if got != *self.digest => {
                let (registry, what) = (asking.purpose.registry.clone(), asking.purpose.what.clone());
                Err(RegistryError::OtherDigest { registry, what, expected: *self.digest, got }.into())
            }
            _ => Ok(true),
        }
    }

    pub(super) async fn status(&self, location: &Url) -> Result<Session, Failure> {
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
    pub(in crate::registry::content::blob::upload) async fn cancel(&mut self) {
        if let Some(session) = &self.session {
            self.repository.cancel_upload(&session.location).await;
        }
        self.session = None;
    }
}

impl Repository {
    /// Tells the registry to forget an upload.
    pub(in crate::registry) async fn cancel_upload(&self, location: &Url) {
        let cancel = async {
            let what = format!("an upload to {}/{}", self.registry(), self.name());
            let asking = self.asking(Scope::push(self.name()), what).await?;
            self.inner.ask(&asking, &Method::DELETE, location, &HeaderMap::new()).await
        };
        if let Ok(Err(failure)) = tokio::time::timeout(CANCEL_TIMEOUT, cancel).await {
            tracing::debug!(?failure, "an upload was not cancelled");
        }
    }
}
