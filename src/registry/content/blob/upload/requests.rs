// SPDX-License-Identifier: Apache-2.0
//! The requests of an upload.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use bytes::Bytes;
use http::header::{CONTENT_RANGE, CONTENT_TYPE, LOCATION, RANGE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use url::Url;

use crate::oci::reference::RepositoryName;
use crate::registry::auth::context::{RequestContext, Scope};
use crate::registry::content::blob::upload::state::{MIN_PART, OpenUpload, Upload};
use crate::registry::content::blob::upload::strategy::{SentBody, Strategy, strategy_after};
use crate::registry::failure::error::RegistryError;
use crate::registry::failure::outcome::Failure;
use crate::registry::limits::retry::MIN_PROGRESS;
use crate::registry::transport::request_body::RequestBody;
use crate::registry::transport::response::Response;

fn octet_stream() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers
}

/// How many bytes the registry has: `Range: 0-LAST`. Distribution says `0-0` for none, too.
fn confirmed_offset(response: &Response) -> Option<u64> {
    let range = response.header(RANGE)?;
    let (first, last) = range.strip_prefix("bytes=").unwrap_or(range).split_once('-')?;
    let last = last.parse::<u64>().ok().filter(|_| first == "0")?;
    Some(if last == 0 { 0 } else { last.saturating_add(1) })
}

impl<'a> Upload<'a> {
    async fn context(&self, scope: Scope) -> Result<RequestContext<'a>, Failure> {
        self.repository.context(scope, self.repository.blob_name(self.digest)).await
    }

    fn upload_location(&self, context: &RequestContext<'_>, response: &Response) -> Result<Url, Failure> {
        self.repository.shared.auth.upload_location(context, response)
    }

    pub(in crate::registry) async fn try_mount(&mut self, from: &RepositoryName) -> Result<bool, Failure> {
        let context = self.context(self.repository.push_scope().and_pull(from)).await?;
        if !self.repository.shared.auth.same_credentials(&context, from).await? {
            return Ok(false);
        }
        let response = self.post(&context, Some(from)).await?;
        match response.status() {
            StatusCode::CREATED => Ok(true),
            StatusCode::ACCEPTED => self.record_open(&context, &response).map(|()| false),
            _ => Err(self.repository.shared.auth.rejected(&context, response).await),
        }
    }

    async fn post(
        &self,
        context: &RequestContext<'_>,
        mount_from: Option<&RepositoryName>,
    ) -> Result<Response, Failure> {
        let mut url = self.repository.url(context, "blobs/uploads/")?;
        if let Some(from) = mount_from {
            let mut query = url.query_pairs_mut();
            query.append_pair("mount", &self.digest.to_string()).append_pair("from", from.as_str());
        }
        let body = RequestBody::small(Bytes::new());
        self.repository
            .shared
            .auth
            .request_with_body(context, &Method::POST, &url, HeaderMap::new(), body)
            .await
    }

    /// Opens an upload.
    pub(in crate::registry) async fn open(&mut self) -> Result<(), Failure> {
        let context = self.context(self.repository.push_scope()).await?;
        let response = self.post(&context, None).await?;
        if response.status() == StatusCode::ACCEPTED {
            return self.record_open(&context, &response);
        }
        Err(self
            .repository
            .shared
            .auth
            .rejected(&context, response)
            .await
            .of_push(context.operation.registry))
    }

    fn record_open(&mut self, context: &RequestContext<'_>, response: &Response) -> Result<(), Failure> {
        let location = self.upload_location(context, response)?;
        let min = response.header("oci-chunk-min-length").and_then(|value| value.parse().ok());
        self.min_part = min.unwrap_or(0).max(MIN_PART);
        self.session = Some(OpenUpload { location, offset: 0 });
        Ok(())
    }

    /// Sends the next part, or all that is left.
    pub(in crate::registry) async fn send_part(&mut self, location: Url, start: u64) -> Result<(), Failure> {
        let part = self.part.map_or(u64::MAX, |part| part.max(self.min_part));
        let end = start.saturating_add(part).min(self.size);
        let context = self.context(self.repository.push_scope()).await?;
        let mut headers = octet_stream();
        if let Ok(range) = HeaderValue::from_str(&format!("{start}-{}", end - 1)) {
            headers.insert(CONTENT_RANGE, range);
        }
        let body = self.body(start, end);
        let shared = &self.repository.shared;
        let response =
            shared.auth.request_with_body(&context, &Method::PATCH, &location, headers, body).await?;
        if !response.status().is_success() {
            let failed = response.status() == StatusCode::INTERNAL_SERVER_ERROR;
            if failed && self.failed_at.replace(start) == Some(start) {
                // The registry has lost the upload, whatever it reports: Gitea 1.26 after a truncated part.
                self.cancel().await;
                (self.session, self.failed_at) = (None, None);
            }
            let failure = shared.auth.rejected(&context, response).await;
            return self.adapt(failure, SentBody::Part { first: start == 0 }).await;
        }
        let next = self.upload_location(&context, &response)?;
        // The registry may have kept fewer bytes than were sent.
        let offset =
            confirmed_offset(&response).filter(|offset| (start..end).contains(offset)).unwrap_or(end);
        self.session = Some(OpenUpload { location: next, offset });
        // Lost bytes are sent again. If it kept one byte of each part, the blob would be sent as often as it has bytes.
        if offset < end && offset - start < MIN_PROGRESS {
            let (kept, sent) = (offset - start, end - start);
            let detail = format!("the upload session was lost: {kept} of {sent} bytes were kept");
            return Err(Failure::retryable(context.operation.invalid_response(detail)));
        }
        if self.parts_only {
            shared.capabilities.set_max_part(self.repository.registry(), part);
        }
        Ok(())
    }

    /// Sends the rest, if any, and completes the upload. Returns whether the blob is stored.
    pub(in crate::registry) async fn complete(
        &mut self,
        mut location: Url,
        start: u64,
    ) -> Result<bool, Failure> {
        let context = self.context(self.repository.push_scope()).await?;
        location.query_pairs_mut().append_pair("digest", &self.digest.to_string());
        let body = self.body(start, self.size);
        let (sent, length, start_time) = (Arc::clone(&body.sent), body.length, Instant::now());
        let shared = &self.repository.shared;
        let outcome =
            shared.auth.request_with_body(&context, &Method::PUT, &location, octet_stream(), body).await;
        let stored = match outcome {
            Ok(response) if response.status().is_success() => Ok(response),
            Ok(response) => Err(shared.auth.rejected(&context, response).await),
            Err(failure) => Err(failure),
        };
        let response = match stored {
            Ok(response) => response,
            Err(failure) => {
                let all = sent.load(Ordering::Relaxed) == length;
                // A session that the registry does not know any more may have been completed by a proxy that repeats requests.
                let unknown = matches!(&failure, Failure::Final(error) if error.status() == Some(404));
                if all && (unknown || matches!(failure, Failure::Retryable(_))) {
                    self.unanswered = Some(start_time.elapsed());
                }
                return self.adapt(failure, SentBody::Last).await.map(|()| false);
            }
        };
        let named = response.header("docker-content-digest").and_then(|digest| digest.parse().ok());
        match named {
            Some(got) if got != *self.digest => {
                let (registry, what) = (context.operation.registry.clone(), context.operation.what.clone());
                Err(RegistryError::OtherDigest { registry, what, expected: *self.digest, got }.into())
            }
            _ => Ok(true),
        }
    }

    pub(in crate::registry) async fn status(&self, location: &Url) -> Result<OpenUpload, Failure> {
        let context = self.context(self.repository.push_scope()).await?;
        let response =
            self.repository.shared.auth.request(&context, &Method::GET, location, &HeaderMap::new()).await?;
        if !response.status().is_success() {
            return Err(self.repository.shared.auth.rejected(&context, response).await);
        }
        let offset =
            confirmed_offset(&response).ok_or_else(|| context.operation.invalid_response("no Range"))?;
        let location = if response.headers().contains_key(LOCATION) {
            self.upload_location(&context, &response)?
        } else {
            location.clone()
        };
        Ok(OpenUpload { location, offset })
    }

    /// Changes how the blob is sent, if that may avoid a refusal.
    async fn adapt(&mut self, failure: Failure, sent: SentBody) -> Result<(), Failure> {
        let Failure::Final(error) = failure else { return Err(failure) };
        match strategy_after(&error, sent) {
            Strategy::Reopen => {
                self.session = None;
                return Err(Failure::retryable(self.as_lost(*error)));
            }
            Strategy::SingleRequest if !self.whole_only && !self.parts_only => {
                (self.whole_only, self.part) = (true, None);
            }
            Strategy::SmallerParts if !self.whole_only => {
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
}
