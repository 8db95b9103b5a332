// SPDX-License-Identifier: Apache-2.0
//! Single requests: connections, TLS by host, budgets, time limits, and what their failures mean.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_LENGTH, LOCATION};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use reqwest::Certificate;
use url::Url;

use crate::oci::reference::RegistryHost;
use crate::redact::{SafeUrl, printable};
use crate::registry::auth::authenticator::Asking;
use crate::registry::client::Inner;
use crate::registry::failure::error::RegistryError;
use crate::registry::failure::outcome::Failure;
use crate::registry::failure::redirect_refusal::RedirectRefusal;
use crate::registry::host::{
    HTTPS_PORT, authority, hub_registry_for, is_listed, is_loopback, without_default_port,
};
use crate::registry::limits::hosts::{Closed, Pause, Permit};
use crate::registry::limits::rate_limiter::Pace;
use crate::registry::limits::retry::Importance;
use crate::registry::transport::redirect::{Bounds, MAX_HOPS, keeps_method, same_origin};
use crate::registry::transport::rejection::{Way, root_cause, transport_failure};
use crate::registry::transport::tls;

/// How many stall times a registry may take to answer when it has got all of an upload: it hashes and moves it.
const COMMIT_PATIENCE: u32 = 5;

/// What an answer has to bring for each second that it is waited for, in bytes, or it is taken for cut: a registry that
/// sends a byte now and then would hold the client for ever.
const LEAST_RATE: u64 = 256;

/// Takes a lock whose holder cannot have left a half-done change behind.
pub(in crate::registry) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Which trust a connection needs.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Trust {
    /// No TLS.
    None,
    /// System roots and `ca_files`.
    Shared,
    /// Any certificate.
    Anything,
    /// Those, and what `certs.d` or the options hold for this host.
    Own(String),
}

/// The budget of connections that a request counts in. A request that others wait for must never wait for a connection
/// that one of them holds, so each kind has a budget of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::registry) enum Lane {
    /// Requests that nothing else waits for.
    Requests,
    /// Downloads that are the body of an upload, which holds a connection meanwhile. There is one for each upload at most,
    /// and it may be kept between two requests of that: so there is no limit of their own, for which one could wait.
    Relay,
    /// Token servers: every request may have to wait for a token.
    Tokens,
}

/// Connections by the trust that they need, and by whether they leave out the proxy.
#[derive(Debug, Default)]
pub(in crate::registry) struct Connections {
    clients: Mutex<HashMap<(Trust, bool), reqwest::Client>>,
}

/// A body to send, of known length, as often as redirects want it.
pub(in crate::registry) struct Payload {
    pub(in crate::registry) length: u64,
    /// Counts what has left; the sender counts as stalled when it stands still.
    pub(in crate::registry) sent: Arc<AtomicU64>,
    /// What has left as soon as it is given out.
    at_once: u64,
    make: Box<dyn Fn() -> reqwest::Body + Send + Sync>,
}

impl Payload {
    /// A body of `length` bytes that `make` gives from its beginning each time, and that counts what has left in `sent`.
    pub(in crate::registry) fn new(
        length: u64,
        sent: Arc<AtomicU64>,
        make: impl Fn() -> reqwest::Body + Send + Sync + 'static,
    ) -> Self {
        Self { length, sent, at_once: 0, make: Box::new(make) }
    }

    pub(in crate::registry) fn small(bytes: Bytes) -> Self {
        let length = bytes.len() as u64;
        let make = move || bytes.clone().into();
        Self { at_once: length, ..Self::new(length, Arc::default(), make) }
    }
}

/// What a request is for: names it in messages and finds its login.
#[derive(Debug, Clone)]
pub(in crate::registry) struct Purpose<'a> {
    pub(in crate::registry) registry: &'a RegistryHost,
    pub(in crate::registry) what: String,
    pub(in crate::registry) lane: Lane,
    pub(in crate::registry) importance: Importance,
}

/// The head of an answer, and the way to its body. Counts as a request under way at its host until it is dropped.
#[derive(Debug)]
pub(in crate::registry) struct Answer {
    pub(in crate::registry) response: reqwest::Response,
    pub(in crate::registry) url: Url,
    stall: Duration,
    /// How long the registry was waited for since the rate was looked at, and what came.
    waited: Duration,
    came: u64,
    pace: Arc<Pace>,
    counters: Arc<crate::registry::client::Counters>,
    /// Where the host refused the request for its limit of requests.
    pub(in crate::registry) pause: Option<Pause>,
    _permit: Permit,
}

impl Answer {
    pub(in crate::registry) fn status(&self) -> StatusCode {
        self.response.status()
    }

    pub(in crate::registry) fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// A header as text, where it is there and is text.
    pub(in crate::registry) fn header(&self, name: impl http::header::AsHeaderName) -> Option<&str> {
        self.headers().get(name)?.to_str().ok().map(str::trim)
    }

    /// `Content-Length`, also of an answer to HEAD.
    pub(in crate::registry) fn length(&self) -> Option<u64> {
        self.header(CONTENT_LENGTH)?.parse().ok()
    }

    /// The next piece of the body; `None` is its end.
    pub(in crate::registry) async fn chunk(
        &mut self,
        purpose: &Purpose<'_>,
    ) -> Result<Option<Bytes>, Failure> {
        let begun = Instant::now();
        let chunk = match tokio::time::timeout(self.stall, self.response.chunk()).await {
            Ok(Ok(None)) => return Ok(None),
            Ok(Ok(Some(chunk))) => chunk,
            Ok(Err(error)) => return Err(transport_failure(error, &self.url, purpose, &Way::default())),
            Err(_) => {
                let detail = format!("no byte came for {} s", self.stall.as_secs());
                return Err(Failure::again(unavailable(purpose, detail)));
            }
        };
        let length = chunk.len() as u64;
        self.counters.received.fetch_add(length, Ordering::Relaxed);
        self.waited += begun.elapsed();
        self.came += length;
        if self.waited >= self.stall {
            if self.came < least(self.waited) {
                let detail = format!("only {} bytes came in {} s", self.came, self.waited.as_secs());
                return Err(Failure::again(unavailable(purpose, detail)));
            }
            (self.waited, self.came) = (Duration::ZERO, 0);
        }
        self.pace.pass(length).await;
        Ok(Some(chunk))
    }

    /// The whole body, where it has at most `limit` bytes.
    pub(in crate::registry) async fn body(
        &mut self,
        limit: u64,
        purpose: &Purpose<'_>,
    ) -> Result<Bytes, Failure> {
        let too_large = || RegistryError::TooLarge { what: purpose.what.clone(), limit };
        let announced = self.length().unwrap_or(0);
        if announced > limit {
            return Err(too_large().into());
        }
        let mut body = BytesMut::with_capacity(usize::try_from(announced).unwrap_or(0));
        while let Some(chunk) = self.chunk(purpose).await? {
            if (body.len() + chunk.len()) as u64 > limit {
                return Err(too_large().into());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    }
}

/// What must have come in this time.
fn least(waited: Duration) -> u64 {
    u64::try_from(waited.as_millis()).unwrap_or(u64::MAX).saturating_mul(LEAST_RATE) / 1000
}

pub(in crate::registry) fn unavailable(purpose: &Purpose<'_>, detail: String) -> RegistryError {
    let (registry, what) = (purpose.registry.clone(), purpose.what.clone());
    RegistryError::Unavailable { registry, what, detail, status: None, hint: None, source: None }
}

pub(in crate::registry) fn protocol(purpose: &Purpose<'_>, detail: impl Into<String>) -> RegistryError {
    let (registry, what) = (purpose.registry.clone(), purpose.what.clone());
    RegistryError::Protocol { registry, what, detail: detail.into() }
}

impl Inner {
    /// The connections that suit an address.
    fn http(&self, url: &Url) -> Result<reqwest::Client, RegistryError> {
        let host = authority(url).parse::<RegistryHost>().ok();
        let insecure = host.as_ref().is_some_and(|host| is_listed(&self.options.insecure, host, HTTPS_PORT));
        let own = match (&host, url.scheme()) {
            (Some(host), "https") => self.host_certificates(host)?,
            _ => None,
        };
        let trust = match url.scheme() {
            "http" => Trust::None,
            _ if insecure => Trust::Anything,
            _ if own.is_some() => Trust::Own(authority(url)),
            _ => Trust::Shared,
        };
        // A proxy cannot reach what is meant by loopback here.
        let direct = is_loopback(url);
        let key = (trust, direct);
        let mut clients = lock(&self.connections.clients);
        if let Some(client) = clients.get(&key) {
            return Ok(client.clone());
        }
        let options = &self.options;
        let mut builder = reqwest::Client::builder()
            // One connection for each transfer: a single one that all transfers share is slower on long ways.
            .http1_only()
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .user_agent(options.user_agent.as_str())
            .connect_timeout(options.connect_timeout)
            .tcp_nodelay(true)
            .tcp_keepalive(Duration::from_secs(30))
            .pool_max_idle_per_host(options.connections_per_host.max(1))
            .pool_idle_timeout(Duration::from_secs(60));
        if let Some(barred) = &options.barred {
            // A proxy would resolve names out of sight.
            builder = builder.dns_resolver(barred.resolver()).no_proxy();
        }
        if direct || !options.proxies || options.proxy.is_some() {
            builder = builder.no_proxy();
        }
        let unusable = |error: reqwest::Error| RegistryError::Tls {
            host: authority(url),
            detail: format!("it cannot be set up: {}", root_cause(&error)),
            hint: None,
            source: Some(error.into()),
        };
        if let Some(proxy) = options.proxy.as_ref().filter(|_| !direct) {
            let no_proxy = reqwest::NoProxy::from_string(&proxy.no_proxy.join(","));
            builder = builder.proxy(reqwest::Proxy::all(&proxy.url).map_err(unusable)?.no_proxy(no_proxy));
        }
        let mut roots = self.roots.clone();
        builder = match &key.0 {
            Trust::None => builder.tls_certs_only(Vec::<Certificate>::new()),
            Trust::Anything => builder.tls_danger_accept_invalid_certs(true),
            Trust::Shared => builder.tls_certs_merge(roots),
            Trust::Own(_) => {
                let own = own.unwrap_or_default();
                roots.extend(own.roots);
                let builder = builder.tls_certs_merge(roots);
                match own.identity {
                    Some(identity) => builder.identity(identity),
                    None => builder,
                }
            }
        };
        let client = builder.build().map_err(unusable)?;
        clients.insert(key, client.clone());
        Ok(client)
    }

    /// What is trusted for a registry alone, and shown to it, under its own name and under that of the host which stands for it.
    pub(in crate::registry) fn host_certificates(
        &self,
        host: &RegistryHost,
    ) -> Result<Option<tls::HostCertificates>, RegistryError> {
        let own = self.certificates_of(host)?;
        match hub_registry_for(host) {
            Some(name) if own.is_none() => self.certificates_of(&name),
            _ => Ok(own),
        }
    }

    fn certificates_of(&self, host: &RegistryHost) -> Result<Option<tls::HostCertificates>, RegistryError> {
        let in_files = tls::for_host(&self.options.certs_dirs, host)?;
        let Some(given) = self.given.get(without_default_port(host, HTTPS_PORT)) else { return Ok(in_files) };
        let mut all = in_files.unwrap_or_default();
        all.roots.extend(given.roots.iter().cloned());
        all.identity = given.identity.clone().or(all.identity);
        all.origins.extend(given.origins.iter().cloned());
        Ok(Some(all))
    }

    /// Which CAs are trusted for an address, for a message.
    pub(in crate::registry) fn trusted(&self, url: &Url) -> String {
        let own = authority(url).parse().ok().and_then(|host| self.host_certificates(&host).ok().flatten());
        let files = self.options.ca_files.iter().map(ToString::to_string);
        let files = files.chain(own.unwrap_or_default().origins);
        let files = files.map(|file| format!(", {file}")).collect::<String>();
        format!("trusted are those of the system{files}")
    }

    /// Sends one request and waits for the head of its answer.
    pub(in crate::registry) async fn send(
        &self,
        purpose: &Purpose<'_>,
        method: &Method,
        url: &Url,
        headers: HeaderMap,
        payload: Option<&Payload>,
    ) -> Result<Answer, Failure> {
        if let Some(barred) = &self.options.barred {
            barred.check(url).map_err(|source| {
                let (host, registry) = (authority(url), purpose.registry.clone());
                RegistryError::Barred { registry, what: purpose.what.clone(), host, source }
            })?;
        }
        let client = self.http(url)?;
        let permit =
            self.hosts.enter(&authority(url), purpose.lane).await.map_err(|closed| match closed {
                Closed::Client => unavailable(purpose, "the client is closed".to_owned()),
                Closed::Paused(wait) => rate_limited(purpose, url, String::new(), Some(wait), Duration::ZERO),
            })?;
        let stall = self.options.stall_timeout;
        let mut request = reqwest::Request::new(method.clone(), url.clone());
        *request.headers_mut() = headers;
        // Without this any encoding would be acceptable (RFC 9110, section 12.5.3), and digests would differ.
        request.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let (mut length, mut sent) = Default::default();
        if let Some(payload) = payload {
            request.headers_mut().insert(CONTENT_LENGTH, payload.length.into());
            payload.sent.store(payload.at_once, Ordering::Relaxed);
            *request.body_mut() = Some((payload.make)());
            (length, sent) = (payload.length, Arc::clone(&payload.sent));
        }
        // A small body leaves as one piece, so all of it counts as sent; others wait piece by piece.
        self.pace.pass(sent.load(Ordering::Relaxed)).await;
        self.counters.requests.fetch_add(1, Ordering::Relaxed);
        let patience = if *method == Method::PUT { stall * COMMIT_PATIENCE } else { stall };
        let exchange = client.execute(request);
        tokio::pin!(exchange);
        let mut seen = sent.load(Ordering::Relaxed);
        let response = loop {
            let limit = if seen >= length { patience } else { stall };
            match tokio::time::timeout(limit, &mut exchange).await {
                Ok(response) => break response,
                Err(_) => {
                    let now = sent.load(Ordering::Relaxed);
                    if now == seen {
                        let detail = format!("no answer for {} s", limit.as_secs());
                        return Err(Failure::again(unavailable(purpose, detail)));
                    }
                    seen = now;
                }
            }
        };
        let response = response.map_err(|error| transport_failure(error, url, purpose, &self.way(url)))?;
        let (status, policy) = (response.status(), &self.options.retry);
        let pause = self.hosts.answered(&permit, status, response.headers(), policy, purpose.importance);
        if let Some(Pause::Granted { wait, tell: true, .. }) = pause {
            let (host, status, wait) = (authority(url), status.as_u16(), wait.as_secs_f64());
            self.notify(&format!("rate limited by {host} (HTTP status {status}); paused for {wait:.1} s"));
        }
        let (pace, counters) = (Arc::clone(&self.pace), Arc::clone(&self.counters));
        let (waited, came) = (Duration::ZERO, 0);
        let url = url.clone();
        Ok(Answer { response, url, stall, waited, came, pace, counters, pause, _permit: permit })
    }

    /// Sends a request and follows redirects. `authorization` is for the server of `url` only and is left behind for good
    /// on the way to another.
    pub(in crate::registry) async fn follow(
        &self,
        purpose: &Purpose<'_>,
        method: &Method,
        url: &Url,
        headers: &HeaderMap,
        mut authorization: Option<HeaderValue>,
        payload: Option<&Payload>,
    ) -> Result<Answer, Failure> {
        let mut at = url.clone();
        for _ in 0..=MAX_HOPS {
            let mut headers = headers.clone();
            if let Some(authorization) = &authorization {
                headers.insert(AUTHORIZATION, authorization.clone());
            }
            let answer = self.send(purpose, method, &at, headers, payload).await?;
            let redirect = matches!(answer.status().as_u16(), 301 | 302 | 303 | 307 | 308);
            let Some(location) = answer.header(LOCATION).filter(|_| redirect) else { return Ok(answer) };
            let bounds = self.bounds(url, payload.is_some());
            let target = keeps_method(method, answer.status(), &at, location)
                .and_then(|()| bounds.next_hop(&at, location))
                .map_err(|refusal| refused(purpose, location, refusal))?;
            if !same_origin(&at, &target) {
                authorization = None;
            }
            tracing::debug!(from = %SafeUrl::new(at), to = %SafeUrl::new(target.clone()), "redirected");
            at = target;
        }
        Err(refused(purpose, at.as_str(), RedirectRefusal::TooMany).into())
    }

    fn bounds<'a>(&'a self, home: &'a Url, upload: bool) -> Bounds<'a> {
        Bounds { home, unencrypted: &self.options.http_redirects, upload }
    }

    /// Where the answer to a request about an upload says that the upload continues.
    pub(in crate::registry) fn located(&self, asking: &Asking<'_>, answer: &Answer) -> Result<Url, Failure> {
        let location = answer
            .header(LOCATION)
            .ok_or_else(|| protocol(&asking.purpose, "the answer to an upload has no Location"))?;
        let target = self.bounds(&asking.home, true).upload_target(&answer.url, location);
        target.map_err(|refusal| refused(&asking.purpose, location, refusal).into())
    }
}

/// A request that its host, which may be another than the registry, refused for its limit of requests.
pub(in crate::registry) fn rate_limited(
    purpose: &Purpose<'_>,
    url: &Url,
    detail: String,
    asked: Option<Duration>,
    left: Duration,
) -> RegistryError {
    let (registry, what, host) = (purpose.registry.clone(), purpose.what.clone(), authority(url));
    let optional = purpose.importance.is_optional();
    RegistryError::RateLimited { registry, what, host, detail, asked, left, optional }
}

/// A redirect or upload address that is not followed.
pub(in crate::registry) fn refused(
    purpose: &Purpose<'_>,
    location: &str,
    refusal: RedirectRefusal,
) -> RegistryError {
    let shown = location.parse::<Url>().map_or_else(
        |_| location.split(['?', '#']).next().unwrap_or_default().to_owned(),
        |url| SafeUrl::new(url).to_string(),
    );
    let (registry, what) = (purpose.registry.clone(), purpose.what.clone());
    RegistryError::Redirect { registry, what, target: printable(&shown, 200), refusal }
}
