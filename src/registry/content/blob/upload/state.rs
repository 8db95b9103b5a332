// SPDX-License-Identifier: Apache-2.0
//! The state of one upload, and the bodies that it sends.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use parking_lot::Mutex;
use url::Url;

use crate::oci::digest::Digest;
use crate::registry::client::repository::Repository;
use crate::registry::client::shared::AbandonedUpload;
use crate::registry::content::blob::relay::{ByteObserver, Relay};
use crate::registry::content::blob::upload::content::BlobContent;
use crate::registry::content::blob::upload_body::{Feed, SourceHash, UploadBody};
use crate::registry::failure::error::{LOST_UPLOAD, RegistryError};
use crate::registry::transport::request_body::RequestBody;

/// The first and the smallest part size of an upload after a registry has lost an interrupted one. It is halved each
/// time.
const FIRST_PART: u64 = 64 << 20;
pub(in crate::registry) const MIN_PART: u64 = 1 << 20;

/// An upload that the registry has opened.
#[derive(Debug)]
pub(in crate::registry) struct OpenUpload {
    pub(in crate::registry) location: Url,
    /// Bytes that the registry has confirmed.
    pub(in crate::registry) offset: u64,
}

/// One upload.
pub(in crate::registry) struct Upload<'a> {
    pub(in crate::registry) repository: &'a Repository,
    pub(in crate::registry) digest: &'a Digest,
    pub(in crate::registry) size: u64,
    pub(in crate::registry) content: BlobContent,
    pub(in crate::registry) hashing: Arc<Mutex<SourceHash>>,
    /// A download that the next part continues.
    pub(in crate::registry) relay: Arc<Mutex<Option<Relay>>>,
    pub(in crate::registry) session: Option<OpenUpload>,
    /// The blob is sent in parts of this many bytes; in one request if `None`.
    pub(in crate::registry) part: Option<u64>,
    /// `OCI-Chunk-Min-Length`.
    pub(in crate::registry) min_part: u64,
    /// Parts are refused, so the blob is sent in one request or not at all.
    pub(in crate::registry) whole_only: bool,
    /// A body was too large for a proxy in front of the registry, so the blob is sent in parts or not at all.
    pub(in crate::registry) parts_only: bool,
    /// How long sending all bytes took, if no response confirmed them.
    pub(in crate::registry) unanswered: Option<Duration>,
    /// The furthest offset that the registry has confirmed, over all sessions.
    pub(in crate::registry) furthest: u64,
    /// The offset at which the registry itself failed last.
    pub(in crate::registry) failed_at: Option<u64>,
}

/// The source of the bytes of a blob from `start` on.
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
            let received: ByteObserver = Arc::new(|_| ());
            (from.as_ref().clone(), received)
        }
    };
    let kept = relay.lock().take().filter(|kept| kept.position() == start);
    let download = kept.unwrap_or_else(|| Relay::new(&from, digest, size, start, received));
    Feed::Relay { relay: Some(download), what: from.blob_name(&digest), kept: Arc::clone(relay) }
}

/// An upload that is dropped before it is complete, because its caller was cancelled, is left to
/// [`crate::registry::Client::cancel_uploads`].
impl Drop for Upload<'_> {
    fn drop(&mut self) {
        let Some(session) = self.session.take() else { return };
        let (registry, name) = (self.repository.registry().clone(), self.repository.name().clone());
        let location = session.location;
        self.repository.shared.abandon(AbandonedUpload { registry, name, location });
    }
}

impl<'a> Upload<'a> {
    pub(in crate::registry) fn new(
        repository: &'a Repository,
        digest: &'a Digest,
        size: u64,
        content: BlobContent,
    ) -> Self {
        let max_part = repository.shared.capabilities.max_part(repository.registry());
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
            min_part: MIN_PART,
            whole_only: false,
            parts_only: part.is_some(),
            unanswered: None,
            furthest: 0,
            failed_at: None,
        }
    }

    /// The bytes from `start` to `end` as a body. Can be called again.
    pub(in crate::registry) fn body(&self, start: u64, end: u64) -> RequestBody {
        let sent = Arc::<AtomicU64>::default();
        let counter = Arc::clone(&sent);
        let (repository, content) = (self.repository.clone(), self.content.clone());
        let (hashing, relay) = (Arc::clone(&self.hashing), Arc::clone(&self.relay));
        let (digest, size) = (*self.digest, self.size);
        RequestBody::new(end - start, sent, move || {
            reqwest::Body::wrap(UploadBody {
                feed: feed(&repository, &content, &relay, (digest, size), start),
                digest,
                size,
                hashing: Arc::clone(&hashing),
                next: start,
                end,
                left: end - start,
                held: None,
                rate_limiter: Arc::clone(&repository.shared.limits.rate_limiter),
                sent: Arc::clone(&counter),
                counters: Arc::clone(&repository.shared.limits.counters),
            })
        })
    }

    /// The error of an upload that the registry does not know any more: neither the blob nor the repository is missing.
    pub(in crate::registry) fn as_lost(&self, error: RegistryError) -> RegistryError {
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

    /// A size that is smaller than the last part, or than the blob; `None` if there is none.
    pub(in crate::registry) fn smaller_part(&self, divisor: u64) -> Option<u64> {
        let now = self.part.unwrap_or(self.size).min(self.size);
        let next = self.part.map_or_else(|| (now / 2).min(FIRST_PART), |part| part / divisor);
        Some(next.max(self.min_part)).filter(|next| *next < now)
    }
}
