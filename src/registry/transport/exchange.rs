// SPDX-License-Identifier: Apache-2.0
//! One exchange with a host: limits, time limits, redirects.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_LENGTH, LOCATION};
use http::{HeaderMap, HeaderValue, Method};
use url::Url;

use crate::redact::SafeUrl;
use crate::registry::failure::error::RegistryError;
use crate::registry::failure::outcome::Failure;
use crate::registry::failure::redirect_refusal::RedirectRefusal;
use crate::registry::host::authority;
use crate::registry::limits::hosts::{Pause, PermitError};
use crate::registry::limits::notifier::Notifier;
use crate::registry::limits::run::RunLimits;
use crate::registry::transport::connections::Connections;
use crate::registry::transport::exchange_failure::exchange_failure;
use crate::registry::transport::operation::Operation;
use crate::registry::transport::options::TransportOptions;
use crate::registry::transport::redirect::{Bounds, MAX_HOPS, check_method_kept, same_origin};
use crate::registry::transport::request_body::RequestBody;
use crate::registry::transport::response::Response;
use crate::registry::transport::tls::CertificateStore;

/// How many stall timeouts a registry may take to respond to a complete upload: it hashes and moves the blob.
const COMMIT_TIMEOUTS: u32 = 5;

/// Exchanges requests for responses, within the limits of the run. Of credentials it only knows the header that it is
/// given.
#[derive(Debug)]
pub(in crate::registry) struct Transport {
    options: Arc<TransportOptions>,
    connections: Connections,
    limits: RunLimits,
    notifier: Notifier,
}

impl Transport {
    pub(in crate::registry) fn new(
        options: TransportOptions,
        certificates: CertificateStore,
        limits: RunLimits,
        notifier: Notifier,
    ) -> Self {
        let options = Arc::new(options);
        let connections = Connections::new(&options, certificates);
        Self { options, connections, limits, notifier }
    }

    pub(in crate::registry) fn options(&self) -> &TransportOptions {
        &self.options
    }

    /// The trusted certificates of hosts.
    pub(in crate::registry) const fn certificates(&self) -> &CertificateStore {
        self.connections.certificates()
    }

    /// Sends one request and waits for the head of its response.
    pub(in crate::registry) async fn send(
        &self,
        operation: &Operation<'_>,
        method: &Method,
        url: &Url,
        headers: HeaderMap,
        body: Option<&RequestBody>,
    ) -> Result<Response, Failure> {
        if let Some(deny_list) = &self.options.deny_list {
            deny_list.check(url).map_err(|source| {
                let (host, registry) = (authority(url), operation.registry.clone());
                RegistryError::DeniedAddress { registry, what: operation.what.clone(), host, source }
            })?;
        }
        let RunLimits { rate_limiter, counters, hosts, .. } = &self.limits;
        let client = self.connections.for_url(url)?;
        let permit = hosts.acquire(&authority(url), operation.lane).await.map_err(|closed| match closed {
            PermitError::Client => operation.unavailable("the client is closed".to_owned()),
            PermitError::Paused(wait) => {
                operation.rate_limited(url, String::new(), Some(wait), Duration::ZERO)
            }
        })?;
        let stall_timeout = self.options.stall_timeout;
        let mut request = reqwest::Request::new(method.clone(), url.clone());
        *request.headers_mut() = headers;
        // Without this header any encoding is acceptable (RFC 9110, section 12.5.3), and digests would differ.
        request.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let (mut length, mut sent) = Default::default();
        if let Some(body) = body {
            request.headers_mut().insert(CONTENT_LENGTH, body.length.into());
            *request.body_mut() = Some(body.start());
            (length, sent) = (body.length, Arc::clone(&body.sent));
        }
        // A small body is sent as one piece, so all of it counts as sent; larger ones wait for each piece.
        rate_limiter.acquire(sent.load(Ordering::Relaxed)).await;
        counters.add_request();
        let commit_timeout =
            if *method == Method::PUT { stall_timeout * COMMIT_TIMEOUTS } else { stall_timeout };
        let exchange = client.execute(request);
        tokio::pin!(exchange);
        let mut last = sent.load(Ordering::Relaxed);
        let response = loop {
            let limit = if last >= length { commit_timeout } else { stall_timeout };
            match tokio::time::timeout(limit, &mut exchange).await {
                Ok(response) => break response,
                Err(_) => {
                    let now = sent.load(Ordering::Relaxed);
                    if now == last {
                        let detail = format!("no answer for {} s", limit.as_secs());
                        return Err(Failure::retryable(operation.unavailable(detail)));
                    }
                    last = now;
                }
            }
        };
        let response = response
            .map_err(|error| exchange_failure(error, url, operation, &self.connections.route(url)))?;
        let (status, policy) = (response.status(), &self.options.retry);
        let pause = hosts.record_response(&permit, status, response.headers(), policy, operation.importance);
        if let Some(Pause::Granted { wait, tell: true, .. }) = pause {
            let (host, status, wait) = (authority(url), status.as_u16(), wait.as_secs_f64());
            let message = format!("rate limited by {host} (HTTP status {status}); paused for {wait:.1} s");
            self.notifier.send(&message);
        }
        let limits = (Arc::clone(rate_limiter), Arc::clone(counters));
        Ok(Response::new(response, url.clone(), stall_timeout, limits, pause, permit))
    }

    /// Sends a request and follows redirects. `authorization` is for the server of `url` only: it is dropped when a
    /// redirect goes to another server.
    pub(in crate::registry) async fn follow(
        &self,
        operation: &Operation<'_>,
        method: &Method,
        url: &Url,
        headers: &HeaderMap,
        mut authorization: Option<HeaderValue>,
        body: Option<&RequestBody>,
    ) -> Result<Response, Failure> {
        let mut at = url.clone();
        for _ in 0..=MAX_HOPS {
            let mut headers = headers.clone();
            if let Some(authorization) = &authorization {
                headers.insert(AUTHORIZATION, authorization.clone());
            }
            let response = self.send(operation, method, &at, headers, body).await?;
            let redirect = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
            let Some(location) = response.header(LOCATION).filter(|_| redirect) else { return Ok(response) };
            let bounds = self.bounds(url, body.is_some());
            let target = check_method_kept(method, response.status(), &at, location)
                .and_then(|()| bounds.next_hop(&at, location))
                .map_err(|refusal| operation.redirect_refused(location, refusal))?;
            if !same_origin(&at, &target) {
                authorization = None;
            }
            tracing::debug!(from = %SafeUrl::new(at), to = %SafeUrl::new(target.clone()), "redirected");
            at = target;
        }
        Err(operation.redirect_refused(at.as_str(), RedirectRefusal::TooMany).into())
    }

    /// Where the response to a request of an upload to the registry at `base_url` says that the upload continues.
    pub(in crate::registry) fn upload_location(
        &self,
        operation: &Operation<'_>,
        base_url: &Url,
        response: &Response,
    ) -> Result<Url, Failure> {
        let location = response
            .header(LOCATION)
            .ok_or_else(|| operation.invalid_response("the answer to an upload has no Location"))?;
        let target = self.bounds(base_url, true).upload_target(&response.url, location);
        target.map_err(|refusal| operation.redirect_refused(location, refusal).into())
    }

    fn bounds<'a>(&'a self, home: &'a Url, upload: bool) -> Bounds<'a> {
        Bounds { home, unencrypted: &self.options.http_redirects, upload }
    }
}
