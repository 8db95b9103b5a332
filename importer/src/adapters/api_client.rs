// SPDX-License-Identifier: Apache-2.0
//! The client of the API server. Every call ends in time: one answer that never comes must not stop anything else.
//!
//! `kube` sets no limit on reading an answer, because a watch may be silent for long. The limits are set here, around each
//! request, where a watch and a call can be told apart.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::{StreamExt as _, stream};
use http::{Request, Response, Uri};
use jiff::Timestamp;
use kube::client::Body;
use thiserror::Error;
use tokio::time::Instant;
use tower_service::Service;

use crate::adapters::heartbeat::{WatchTarget, Watches};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// How long the API server may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// For a call, from its beginning to the last byte of its answer, and for a watch to begin.
    pub call: Duration,
    /// Between two changes or bookmarks of a watch. API servers send a bookmark about once a minute.
    pub silence: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { call: Duration::from_secs(20), silence: Duration::from_secs(150) }
    }
}

/// The API server did not answer in time.
#[derive(Debug, Error)]
pub enum ApiTimeout {
    /// A call has no answer, or only a part of one.
    #[error("timed out: the API server did not answer {method} {path} within {} s", .limit.as_secs_f64())]
    Call {
        /// The method.
        method: http::Method,
        /// What was asked for.
        path: String,
        /// The limit.
        limit: Duration,
    },
    /// A watch is silent for too long: the connection may be dead.
    #[error("timed out: the watch {path} was silent for {} s; it is started again", .limit.as_secs_f64())]
    Silent {
        /// What is watched.
        path: String,
        /// The limit.
        limit: Duration,
    },
}

/// `client`, with limits. What is watched tells `watches` that it is in touch with the API server.
pub fn limited(client: kube::Client, limits: Limits, watches: Arc<Watches>) -> kube::Client {
    let namespace = client.default_namespace().to_owned();
    kube::Client::new(LimitedClient { client, limits, watches }, namespace)
}

#[derive(Clone)]
struct LimitedClient {
    client: kube::Client,
    limits: Limits,
    watches: Arc<Watches>,
}

impl Service<Request<Body>> for LimitedClient {
    type Response = Response<axum::body::Body>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let this = self.clone();
        Box::pin(async move {
            let until = Instant::now() + this.limits.call;
            let call = Call {
                method: request.method().clone(),
                path: request.uri().path().to_owned(),
                watched: is_watch(request.uri()).then(|| WatchTarget::of(request.uri().path())),
            };
            call.attempt(&this.watches);
            let late = || call.late(this.limits.call);
            let response = tokio::time::timeout_at(until, this.client.send(request)).await;
            let (head, body) = response.map_err(|_| late())??.into_parts();
            if head.status.is_success() {
                call.contact(&this.watches);
            }
            if let Some(time) = date(&head.headers) {
                this.watches.tell_server_time(time);
            }
            let body = axum::body::Body::new(body);
            let body = match call.watched {
                Some(_) => watch_body(body, call, this.limits.silence, this.watches),
                None => call_body(body, call, until, this.limits.call),
            };
            Ok(Response::from_parts(head, body))
        })
    }
}

/// When the answer was made; `None`: it does not say so.
fn date(headers: &http::HeaderMap) -> Option<Timestamp> {
    let text = headers.get(http::header::DATE)?.to_str().ok()?;
    Some(jiff::fmt::rfc2822::parse(text).ok()?.timestamp())
}

struct Call {
    method: http::Method,
    path: String,
    watched: Option<WatchTarget>,
}

impl Call {
    fn late(&self, limit: Duration) -> ApiTimeout {
        ApiTimeout::Call { method: self.method.clone(), path: self.path.clone(), limit }
    }

    fn attempt(&self, watches: &Watches) {
        if let Some(watched) = &self.watched {
            watches.attempt(watched);
        }
    }

    fn contact(&self, watches: &Watches) {
        if let Some(watched) = &self.watched {
            watches.contact(watched);
        }
    }
}

fn is_watch(uri: &Uri) -> bool {
    uri.query().is_some_and(|query| query.split('&').any(|pair| matches!(pair, "watch=true" | "watch=1")))
}

/// The answer to a call, all of it before `until`.
fn call_body(body: axum::body::Body, call: Call, until: Instant, limit: Duration) -> axum::body::Body {
    let chunks = stream::try_unfold(body.into_data_stream(), move |mut body| {
        let late = call.late(limit);
        async move {
            let chunk =
                tokio::time::timeout_at(until, body.next()).await.map_err(|_| BoxError::from(late))?;
            Ok::<_, BoxError>(chunk.transpose()?.map(|chunk| (chunk, body)))
        }
    });
    axum::body::Body::from_stream(chunks)
}

/// What a watch tells, never silent for longer than `limit`.
fn watch_body(
    body: axum::body::Body,
    call: Call,
    limit: Duration,
    watches: Arc<Watches>,
) -> axum::body::Body {
    let call = Arc::new(call);
    let chunks = stream::try_unfold(body.into_data_stream(), move |mut body| {
        let (call, watches) = (Arc::clone(&call), Arc::clone(&watches));
        async move {
            let silent = |_| BoxError::from(ApiTimeout::Silent { path: call.path.clone(), limit });
            let chunk = tokio::time::timeout(limit, body.next()).await.map_err(silent)?.transpose()?;
            if chunk.is_some() {
                call.contact(&watches);
            }
            Ok::<_, BoxError>(chunk.map(|chunk| (chunk, body)))
        }
    });
    axum::body::Body::from_stream(chunks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watch_is_told_from_a_call_and_named_by_what_it_watches() {
        let of = |text: &'static str| {
            let uri = Uri::from_static(text);
            is_watch(&uri).then(|| WatchTarget::of(uri.path()).to_string())
        };
        assert_eq!(of("/api/v1/namespaces/shop/configmaps?labelSelector=watch%3Dtrue"), None);
        assert_eq!(of("/apis/batch/v1/jobs?limit=5&watch=true"), Some("jobs".to_owned()));
        assert_eq!(
            of("/apis/batch/v1/namespaces/shop/jobs?watch=true"),
            Some("jobs in namespace shop".to_owned())
        );
    }
}
