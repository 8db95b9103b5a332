// SPDX-License-Identifier: Apache-2.0
//! Downloads of blobs: hashed while they arrive, resumed after an interruption, and never longer than the size of the blob.

use bytes::{Buf as _, Bytes};
use http::header::RANGE;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use tokio::sync::mpsc::Sender;

use crate::oci::digest::{ContentMismatch, Digest, Hasher, check};
use crate::registry::auth::context::RequestContext;
use crate::registry::client::repository::Repository;
use crate::registry::content::blob::io::BlobSink;
use crate::registry::failure::error::RegistryError;
use crate::registry::failure::outcome::Failure;
use crate::registry::limits::retry::MIN_PROGRESS;
use crate::registry::transport::response::Response;

/// What has arrived, over all attempts.
struct Download<'a> {
    digest: &'a Digest,
    size: u64,
    hasher: Hasher,
    /// Whether only the rest is requested.
    ranges: bool,
}

impl Download<'_> {
    /// Discards what arrived, because it is not the blob.
    fn reject(&mut self, what: &str, source: ContentMismatch) -> Failure {
        self.hasher = Hasher::new();
        Failure::retryable(RegistryError::Content { what: what.to_owned(), source })
    }

    fn reject_size(&mut self, what: &str, got: u64) -> Failure {
        let source = ContentMismatch::Size { digest: *self.digest, expected: self.size, got };
        self.reject(what, source)
    }
}

/// A download of a blob into a sink.
struct BlobStream<'a> {
    /// The bytes that have arrived.
    position: u64,
    /// Whether only the rest is requested.
    ranges: bool,
    chunks: &'a Sender<Result<Bytes, RegistryError>>,
}

/// Drops the bytes that were received before; `skip` is how many of them are still to come.
fn skip_known(chunk: &mut Bytes, skip: &mut u64) {
    let known = usize::try_from(*skip).unwrap_or(usize::MAX).min(chunk.len());
    chunk.advance(known);
    *skip -= known as u64;
}

impl Repository {
    pub(in crate::registry) fn blob_name(&self, digest: &Digest) -> String {
        format!("blob {}/{}@{digest}", self.registry(), self.name())
    }

    /// Fetches a blob of exactly this digest and size into `sink`. A transfer that is cut or stalls is
    /// resumed; content that is not the blob is fetched again from the start. An empty blob is not requested.
    ///
    /// # Errors
    /// [`RegistryError`]; what `sink` has taken until then is not the blob.
    pub async fn blob(
        &self,
        digest: &Digest,
        size: u64,
        sink: &mut dyn BlobSink,
    ) -> Result<(), RegistryError> {
        self.rest_of_blob(digest, size, Hasher::new(), sink).await
    }

    /// Fetches the rest of a blob, after the bytes in `hashed`, as [`Self::blob`] does. If these are not the beginning of
    /// the blob, it is fetched again from the start.
    ///
    /// # Errors
    /// [`RegistryError`]; what `sink` has taken until then is not the blob.
    pub async fn rest_of_blob(
        &self,
        digest: &Digest,
        size: u64,
        hashed: Hasher,
        sink: &mut dyn BlobSink,
    ) -> Result<(), RegistryError> {
        if size == 0 {
            let what = self.blob_name(digest);
            return check(Hasher::new(), *digest, 0)
                .map_err(|source| RegistryError::Content { what, source });
        }
        let hashed = if hashed.bytes() < size { hashed } else { Hasher::new() };
        let mut download = Download { digest, size, hasher: hashed, ranges: true };
        let mut attempts = self.attempts();
        loop {
            let before = download.hasher.bytes();
            let Err(failure) = self.try_blob(&mut download, sink).await else { return Ok(()) };
            if download.hasher.bytes() >= before + MIN_PROGRESS {
                attempts.record_progress();
            }
            attempts.wait_after(failure).await?;
        }
    }

    /// Sends the bytes of a blob from `offset` on into `chunks`, each once and in order. Their digest is not
    /// verified: the receiver must do that. Ends without an error if the receiver was dropped.
    ///
    /// # Errors
    /// [`RegistryError`], also where the blob ends before `size`.
    pub(in crate::registry) async fn stream_blob(
        &self,
        digest: &Digest,
        size: u64,
        offset: u64,
        chunks: &Sender<Result<Bytes, RegistryError>>,
    ) -> Result<(), RegistryError> {
        let mut stream = BlobStream { position: offset, ranges: true, chunks };
        let mut attempts = self.attempts();
        loop {
            let before = stream.position;
            let Err(failure) = self.try_stream(digest, size, &mut stream).await else { return Ok(()) };
            if stream.position >= before + MIN_PROGRESS {
                attempts.record_progress();
            }
            attempts.wait_after(failure).await?;
        }
    }

    async fn try_stream(
        &self,
        digest: &Digest,
        size: u64,
        stream: &mut BlobStream<'_>,
    ) -> Result<(), Failure> {
        let context = self.context(self.pull_scope(), self.blob_name(digest)).await?;
        let (mut response, mut skip) =
            self.get_from(&context, (digest, size), stream.position, &mut stream.ranges).await?;
        while stream.position < size {
            let Some(mut chunk) = response.chunk(&context.operation).await? else {
                let detail = format!("the transfer ended after {} of {size} bytes", stream.position);
                return Err(Failure::retryable(context.operation.unavailable(detail)));
            };
            skip_known(&mut chunk, &mut skip);
            // Bytes beyond the size are not passed on.
            chunk.truncate(usize::try_from(size - stream.position).unwrap_or(usize::MAX));
            let length = chunk.len() as u64;
            if length > 0 && stream.chunks.send(Ok(chunk)).await.is_err() {
                return Ok(());
            }
            stream.position += length;
        }
        Ok(())
    }

    /// Requests a blob from `offset` on. Also returns how many bytes come before that.
    async fn get_from(
        &self,
        context: &RequestContext<'_>,
        (digest, size): (&Digest, u64),
        offset: u64,
        ranges: &mut bool,
    ) -> Result<(Response, u64), Failure> {
        let url = self.url(context, format_args!("blobs/{digest}"))?;
        let mut headers = HeaderMap::new();
        if offset > 0
            && *ranges
            && let Ok(range) = HeaderValue::from_str(&format!("bytes={offset}-"))
        {
            headers.insert(RANGE, range);
        }
        let response = self.shared.auth.request(context, &Method::GET, &url, &headers).await?;
        match response.status() {
            StatusCode::OK => Ok((response, offset)),
            StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE
                if headers.contains_key(RANGE) =>
            {
                if response.content_range(size).is_none_or(|(first, _)| first != offset) {
                    *ranges = false;
                    let detail = "it does not deliver the range that was asked for";
                    return Err(Failure::retryable(context.operation.invalid_response(detail)));
                }
                Ok((response, 0))
            }
            _ => Err(self.shared.auth.rejected(context, response).await),
        }
    }

    async fn try_blob(&self, download: &mut Download<'_>, sink: &mut dyn BlobSink) -> Result<(), Failure> {
        let context = self.context(self.pull_scope(), self.blob_name(download.digest)).await?;
        let (what, size) = (context.operation.what.as_str(), download.size);
        let offset = download.hasher.bytes();
        // How many bytes to skip, because they are there already.
        let blob = (download.digest, size);
        let (mut response, mut skip) = self.get_from(&context, blob, offset, &mut download.ranges).await?;
        if let Some(length) = response.length() {
            let total = (offset - skip).saturating_add(length);
            // A part of the rest counts as a truncated response, but no range may go beyond the end.
            if total > size || (total < size && response.status() == StatusCode::OK) {
                let page = response.is_typed_as_page();
                let body = if page { response.beginning(&context.operation).await } else { Bytes::new() };
                let wrong = download.reject_size(what, total);
                return Err(response.intercepted(&context.operation, &body).unwrap_or(wrong));
            }
        }
        loop {
            let mut chunk = match response.chunk(&context.operation).await {
                Ok(Some(chunk)) => chunk,
                Ok(None) => break,
                // The blob is complete, so that the end of the connection does not matter.
                Err(_) if download.hasher.bytes() == size => break,
                Err(failure) => return Err(failure),
            };
            skip_known(&mut chunk, &mut skip);
            let at = download.hasher.bytes();
            if chunk.len() as u64 > size - at {
                let wrong = download.reject_size(what, size.saturating_add(1));
                return Err(response.intercepted(&context.operation, &chunk).unwrap_or(wrong));
            }
            if !chunk.is_empty() {
                download.hasher.update(&chunk);
                sink.write_at(at, &chunk)
                    .map_err(|source| RegistryError::Sink { digest: *download.digest, source })?;
            }
        }
        let got = download.hasher.bytes();
        if got < size {
            let detail = format!("the transfer ended after {got} of {size} bytes");
            let cut = || Failure::retryable(context.operation.unavailable(detail));
            return Err(response.intercepted_unread(&context.operation).unwrap_or_else(cut));
        }
        check(download.hasher.clone(), *download.digest, size).map_err(|source| {
            let wrong = download.reject(what, source);
            response.intercepted_unread(&context.operation).unwrap_or(wrong)
        })
    }
}
