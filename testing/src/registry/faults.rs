// SPDX-License-Identifier: Apache-2.0
//! Faults on demand: which requests they hit, and what goes wrong.

use std::ops::RangeInclusive;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::body::Body;
use bytes::Bytes;
use futures::{Stream, StreamExt as _, stream};
use http::request::Parts;
use http::{HeaderValue, Response, header};
use krs_core::oci::digest::Digest;
use tokio::sync::Barrier;

use super::server::{Cut, Reply};

/// How much [`What::Endless`] sends at most.
const ENDLESS: u64 = 1 << 30;

/// Something that goes wrong with some requests.
#[derive(Debug, Clone)]
pub struct Fault {
    /// Which requests it hits.
    pub on: Matcher,
    /// What goes wrong.
    pub what: What,
}

/// Which requests a fault hits: those that fulfil everything that is set.
///
/// A request that is turned away for its credentials does not count, except for [`What::Realm`].
#[derive(Debug, Clone, Default)]
pub struct Matcher {
    /// Only this method, in upper case.
    pub method: Option<String>,
    /// Only paths that contain this text.
    pub path: Option<String>,
    /// Only this repository.
    pub repository: Option<String>,
    /// Only the first, second, … request that fulfils the rest, counted from 1; every one if absent.
    pub nth: Option<RangeInclusive<u64>>,
}

impl Matcher {
    /// Every request.
    pub fn any() -> Self {
        Self::default()
    }

    /// `GET` of blobs.
    pub fn blobs() -> Self {
        Self::any().method("GET").path("/blobs/sha256:")
    }

    /// `GET` of manifests and indexes.
    pub fn manifests() -> Self {
        Self::any().method("GET").path("/manifests/")
    }

    /// Only this method.
    #[must_use]
    pub fn method(mut self, method: &str) -> Self {
        self.method = Some(method.to_owned());
        self
    }

    /// Only paths that contain `part`.
    #[must_use]
    #[expect(clippy::needless_pass_by_value, reason = "texts and digests alike, owned or not")]
    pub fn path(mut self, part: impl ToString) -> Self {
        self.path = Some(part.to_string());
        self
    }

    /// Only this repository.
    #[must_use]
    pub fn repository(mut self, name: &str) -> Self {
        self.repository = Some(name.to_owned());
        self
    }

    /// Only these of the requests that fulfil the rest, counted from 1.
    #[must_use]
    pub fn nth(mut self, nth: RangeInclusive<u64>) -> Self {
        self.nth = Some(nth);
        self
    }

    /// Only the first request that fulfils the rest.
    #[must_use]
    pub fn once(self) -> Self {
        self.nth(1..=1)
    }

    fn fits(&self, method: &str, path: &str, repository: Option<&str>) -> bool {
        self.method.as_deref().is_none_or(|wanted| wanted == method)
            && self.path.as_deref().is_none_or(|part| path.contains(part))
            && self.repository.as_deref().is_none_or(|wanted| repository == Some(wanted))
    }
}

/// What goes wrong. Faults on a response's body leave responses without one (`HEAD`) as they are, and those on
/// content leave responses that are errors anyway as they are.
#[derive(Debug, Clone)]
pub enum What {
    /// A response with this status, these headers and this body, instead of the real one.
    Status(u16, Vec<(String, String)>, String),
    /// A response with this status and `Retry-After` in seconds.
    RetryAfter(u16, u64),
    /// A rate limit, as a token bucket: requests beyond it get 429.
    RateLimit {
        /// Requests in a second.
        rate: f64,
        /// Requests that may come at once after a pause.
        burst: f64,
        /// Whether the refusal has `Retry-After`, in whole seconds.
        retry_after: bool,
    },
    /// The connection breaks after this many bytes of the response's body; `Content-Length` is the full length.
    CutAfter(u64),
    /// The connection breaks, without a response, after this many bytes of the request's body; 0: immediately. The bytes
    /// before that stay in the upload.
    CutRequestAfter(u64),
    /// The response pauses for this long after this many bytes of its body; then it continues.
    Stall(u64, Duration),
    /// The response is delayed by this time.
    Delay(Duration),
    /// The right number of bytes, with one bit in the middle flipped.
    WrongBytes,
    /// A body without a stated length that continues until the client closes the connection (at most 1 GiB).
    Endless,
    /// `Content-Length` is this number: a longer body is truncated there, a shorter one ends with the connection.
    LyingLength(u64),
    /// A 307 to this URL, in which `{path}` stands for the path with its query.
    Redirect(String),
    /// `Range` is ignored: the complete content comes with 200.
    NoRange,
    /// `Docker-Content-Digest` names other content.
    WrongDigestHeader,
    /// A 401 that sends the client to this realm for a Bearer token.
    Realm(String),
    /// The `Location` header is this text, in which `{path}` stands for the path that it should have had.
    Location(String),
    /// The request waits until as many requests as the barrier counts have arrived, and its response until all of them have
    /// taken effect: each of them reads before any of them writes.
    Together(Arc<Barrier>),
    /// The body ends after this many bytes as if it were complete, with a matching `Content-Length`.
    Truncate(u64),
    /// The request is carried out, but its response is lost: this status comes instead, or the connection breaks if it is 0.
    LoseAnswer(u16),
    /// Before the request is carried out, the registry's garbage collection runs ([`super::Registry::collect_garbage`]).
    CollectGarbage,
}

/// The faults that are in force, each with the number of requests that fitted it.
#[derive(Debug, Default)]
pub(crate) struct Faults(Mutex<Vec<InForce>>);

#[derive(Debug)]
struct InForce {
    fault: Fault,
    /// Requests that fitted it.
    count: u64,
    /// What is left of a [`What::RateLimit`], and when that was.
    tokens: f64,
    at: Instant,
}

impl InForce {
    /// The fault for a matching request; `None` if a rate limit allows it.
    fn hit(&mut self) -> Option<What> {
        self.count += 1;
        if self.fault.on.nth.as_ref().is_some_and(|nth| !nth.contains(&self.count)) {
            return None;
        }
        let What::RateLimit { rate, burst, retry_after } = self.fault.what else {
            return Some(self.fault.what.clone());
        };
        let now = Instant::now();
        self.tokens = (self.tokens + (now - self.at).as_secs_f64() * rate).min(burst);
        self.at = now;
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return None;
        }
        let seconds = ((1.0 - self.tokens) / rate).ceil();
        let headers = retry_after.then(|| ("retry-after".to_owned(), seconds.to_string()));
        Some(What::Status(429, headers.into_iter().collect(), String::new()))
    }
}

impl Faults {
    pub(crate) fn add(&self, fault: Fault) {
        let tokens = if let What::RateLimit { burst, .. } = fault.what { burst } else { 0.0 };
        self.0.lock().unwrap().push(InForce { fault, count: 0, tokens, at: Instant::now() });
    }

    pub(crate) fn clear(&self) {
        self.0.lock().unwrap().clear();
    }

    /// What goes wrong with this request: [`What::Realm`], which comes before credentials are checked, or the
    /// rest.
    pub(crate) fn hit(&self, request: &Parts, repository: Option<&str>, realm: bool) -> Vec<What> {
        let mut hits = Vec::new();
        for one in self.0.lock().unwrap().iter_mut() {
            let now = matches!(one.fault.what, What::Realm(_)) == realm;
            if now && one.fault.on.fits(request.method.as_str(), request.uri.path(), repository) {
                hits.extend(one.hit());
            }
        }
        hits
    }
}

type Data = Pin<Box<dyn Stream<Item = Result<Bytes, axum::Error>> + Send>>;

/// Faults that take effect on the answer.
pub(crate) fn after(faults: &[What], reply: Reply, head: bool) -> Reply {
    let (mut parts, body) = reply.into_parts();
    let mut body: Data = Box::pin(body.into_data_stream());
    let sound = parts.status.is_success();
    for what in faults {
        let headers = &mut parts.headers;
        let length =
            headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        let length: u64 = length.unwrap_or(0);
        match what {
            What::Location(location) => {
                if let Some(own) = headers.get_mut(header::LOCATION) {
                    let location = location.replace("{path}", &path_of(own.to_str().unwrap_or_default()));
                    *own = HeaderValue::try_from(location).unwrap();
                }
            }
            What::WrongDigestHeader => {
                if let Some(own) = headers.get_mut("docker-content-digest") {
                    *own = HeaderValue::try_from(Digest::of(b"other content").to_string()).unwrap();
                }
            }
            What::LyingLength(length) if sound => {
                headers.insert(header::CONTENT_LENGTH, (*length).into());
                body = Box::pin(body.chain(pause()));
            }
            What::Endless if sound && !head => {
                headers.remove(header::CONTENT_LENGTH);
                let zeros = Bytes::from(vec![0; 64 << 10]);
                let more = usize::try_from(ENDLESS / zeros.len() as u64).unwrap_or(usize::MAX);
                body = Box::pin(body.chain(stream::repeat_with(move || Ok(zeros.clone())).take(more)));
            }
            What::Truncate(bytes) if sound && !head => {
                headers.insert(header::CONTENT_LENGTH, length.min(*bytes).into());
                body = Box::pin(until(body, *bytes));
            }
            What::WrongBytes if sound && !head => {
                let middle = length / 2;
                body = Box::pin(at(body, middle).map(move |(start, bytes)| {
                    let mut bytes = bytes?.to_vec();
                    if let Some(first) = bytes.first_mut().filter(|_| start == middle) {
                        *first ^= 1;
                    }
                    Ok(bytes.into())
                }));
            }
            What::Stall(after, time) if sound && !head => {
                let (after, time) = (*after, *time);
                body = Box::pin(at(body, after).then(move |(start, bytes)| async move {
                    if start == after {
                        tokio::time::sleep(time).await;
                    }
                    bytes
                }));
            }
            What::CutAfter(bytes) if sound && !head => {
                let end = stream::once(std::future::ready(Err(axum::Error::new(Cut))));
                body = Box::pin(until(body, *bytes).chain(pause()).chain(end));
            }
            _ => {}
        }
    }
    Response::from_parts(parts, Body::from_stream(body))
}

/// Lets the server send what it has before the body ends early, because it drops unsent bytes then.
fn pause() -> impl Stream<Item = Result<Bytes, axum::Error>> + Send {
    stream::once(tokio::time::sleep(Duration::from_millis(20))).filter_map(|()| std::future::ready(None))
}

/// Path and query of a URL.
fn path_of(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.find('/').map(|at| rest[at..].to_owned()).unwrap_or_default()
}

/// The body in parts with their offsets, one of which starts at `position`.
fn at(body: Data, position: u64) -> impl Stream<Item = (u64, Result<Bytes, axum::Error>)> + Send {
    let mut offset = 0;
    body.flat_map(move |part| {
        let start = offset;
        let mut parts = Vec::new();
        match part {
            Ok(mut bytes) => {
                offset += bytes.len() as u64;
                if start < position && position < offset {
                    let rest = bytes.split_off(usize::try_from(position - start).unwrap());
                    parts.push((start, Ok(bytes)));
                    parts.push((position, Ok(rest)));
                } else if !bytes.is_empty() {
                    parts.push((start, Ok(bytes)));
                }
            }
            Err(error) => parts.push((start, Err(error))),
        }
        stream::iter(parts)
    })
}

/// The first bytes of a body.
fn until(body: Data, end: u64) -> impl Stream<Item = Result<Bytes, axum::Error>> + Send {
    at(body, end).take_while(move |(start, _)| std::future::ready(*start < end)).map(|(_, bytes)| bytes)
}
