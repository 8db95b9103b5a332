// SPDX-License-Identifier: Apache-2.0
//! A response: its head, and the stream of its body.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::header::{AsHeaderName, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};
use url::Url;

use crate::registry::failure::error::RegistryError;
use crate::registry::failure::outcome::Failure;
use crate::registry::limits::counters::Counters;
use crate::registry::limits::hosts::{Pause, Permit};
use crate::registry::limits::rate_limiter::RateLimiter;
use crate::registry::transport::exchange_failure::{Route, exchange_failure};
use crate::registry::transport::interception::{
    MAX_PAGE, content_coding, describe_interception, interception_error, is_page_type, web_page,
};
use crate::registry::transport::operation::Operation;

/// The lowest throughput of a response, in bytes per second. Below it the response counts as interrupted, because a registry
/// that sends single bytes would hold the client indefinitely.
const MIN_THROUGHPUT: u64 = 256;

/// The head of a response, and its body to come. Counts as a request under way at its host until it is dropped.
#[derive(Debug)]
pub(in crate::registry) struct Response {
    inner: reqwest::Response,
    pub(in crate::registry) url: Url,
    stall_timeout: Duration,
    /// How long the client has waited since the throughput was checked, and how many bytes arrived.
    waited: Duration,
    arrived: u64,
    rate_limiter: Arc<RateLimiter>,
    counters: Arc<Counters>,
    /// Set if the host rate-limited the request.
    pub(in crate::registry) pause: Option<Pause>,
    _permit: Permit,
}

impl Response {
    pub(in crate::registry) fn new(
        inner: reqwest::Response,
        url: Url,
        stall_timeout: Duration,
        limits: (Arc<RateLimiter>, Arc<Counters>),
        pause: Option<Pause>,
        permit: Permit,
    ) -> Self {
        let (rate_limiter, counters) = limits;
        let (waited, arrived) = (Duration::ZERO, 0);
        Self { inner, url, stall_timeout, waited, arrived, rate_limiter, counters, pause, _permit: permit }
    }

    pub(in crate::registry) fn status(&self) -> StatusCode {
        self.inner.status()
    }

    pub(in crate::registry) fn headers(&self) -> &HeaderMap {
        self.inner.headers()
    }

    /// A header as text; `None` if it is absent or not text.
    pub(in crate::registry) fn header(&self, name: impl AsHeaderName) -> Option<&str> {
        self.headers().get(name)?.to_str().ok().map(str::trim)
    }

    /// `Content-Length`, also of a response to HEAD.
    pub(in crate::registry) fn length(&self) -> Option<u64> {
        self.header(CONTENT_LENGTH)?.parse().ok()
    }

    /// First and last byte of `Content-Range: bytes FIRST-LAST/TOTAL`, if the total is `size` or not stated.
    pub(in crate::registry) fn content_range(&self, size: u64) -> Option<(u64, u64)> {
        let (range, total) = self.header(CONTENT_RANGE)?.strip_prefix("bytes ")?.split_once('/')?;
        let (first, last) = range.trim().split_once('-')?;
        let (first, last) = (first.parse().ok()?, last.parse().ok()?);
        let fits = first <= last && last < size && (total == "*" || total.parse() == Ok(size));
        fits.then_some((first, last))
    }

    /// The next piece of the body; `None` is its end.
    pub(in crate::registry) async fn chunk(
        &mut self,
        operation: &Operation<'_>,
    ) -> Result<Option<Bytes>, Failure> {
        let start = Instant::now();
        let chunk = match tokio::time::timeout(self.stall_timeout, self.inner.chunk()).await {
            Ok(Ok(None)) => return Ok(None),
            Ok(Ok(Some(chunk))) => chunk,
            Ok(Err(error)) => return Err(exchange_failure(error, &self.url, operation, &Route::default())),
            Err(_) => {
                let detail = format!("no byte came for {} s", self.stall_timeout.as_secs());
                return Err(Failure::retryable(operation.unavailable(detail)));
            }
        };
        let length = chunk.len() as u64;
        self.counters.add_received(length);
        self.waited += start.elapsed();
        self.arrived += length;
        if self.waited >= self.stall_timeout {
            if self.arrived < min_bytes(self.waited) {
                let detail = format!("only {} bytes came in {} s", self.arrived, self.waited.as_secs());
                return Err(Failure::retryable(operation.unavailable(detail)));
            }
            (self.waited, self.arrived) = (Duration::ZERO, 0);
        }
        self.rate_limiter.acquire(length).await;
        Ok(Some(chunk))
    }

    /// The complete body, of at most `limit` bytes.
    pub(in crate::registry) async fn body(
        &mut self,
        limit: u64,
        operation: &Operation<'_>,
    ) -> Result<Bytes, Failure> {
        let too_large = || RegistryError::TooLarge { what: operation.what.clone(), limit };
        let announced = self.length().unwrap_or(0);
        if announced > limit {
            return Err(too_large().into());
        }
        let mut body = BytesMut::with_capacity(usize::try_from(announced).unwrap_or(0));
        while let Some(chunk) = self.chunk(operation).await? {
            if (body.len() + chunk.len()) as u64 > limit {
                return Err(too_large().into());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    }

    /// The start of an unexpected body, as far as it arrives.
    pub(in crate::registry) async fn beginning(&mut self, operation: &Operation<'_>) -> Bytes {
        let mut body = BytesMut::new();
        while body.len() < MAX_PAGE
            && let Ok(Some(chunk)) = self.chunk(operation).await
        {
            let room = MAX_PAGE - body.len();
            body.extend_from_slice(chunk.get(..room).unwrap_or(&chunk));
        }
        body.freeze()
    }

    /// Whether the response is labelled as a web page.
    pub(in crate::registry) fn is_typed_as_page(&self) -> bool {
        is_page_type(self.content_type())
    }

    /// Whether the content is labelled as encoded, which was not requested.
    pub(in crate::registry) fn is_encoded(&self) -> bool {
        content_coding(self.content_encoding()).is_some()
    }

    /// A description of the body, if it is a web page; for a message about a failure.
    pub(in crate::registry) fn page(&self, body: &[u8]) -> Option<String> {
        web_page(self.content_type(), body)
    }

    /// The failure if the response does not come from the registry. `body` is what was read of it instead of the requested
    /// content.
    pub(in crate::registry) fn intercepted(&self, operation: &Operation<'_>, body: &[u8]) -> Option<Failure> {
        let found = describe_interception(self.content_type(), self.content_encoding(), body)?;
        Some(interception_error(operation, &self.url, found).into())
    }

    /// The same without the body, by the content type alone.
    pub(in crate::registry) fn intercepted_unread(&self, operation: &Operation<'_>) -> Option<Failure> {
        self.intercepted(operation, if self.is_typed_as_page() { b"<" } else { b"" })
    }

    fn content_type(&self) -> &str {
        self.header(CONTENT_TYPE).unwrap_or_default()
    }

    fn content_encoding(&self) -> &str {
        self.header(CONTENT_ENCODING).unwrap_or_default()
    }
}

/// How many bytes must arrive in this time.
fn min_bytes(waited: Duration) -> u64 {
    u64::try_from(waited.as_millis()).unwrap_or(u64::MAX).saturating_mul(MIN_THROUGHPUT) / 1000
}
