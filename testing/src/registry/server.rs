// SPDX-License-Identifier: Apache-2.0
//! HTTP: connections, routes, and what happens to a request before and after its handler.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use bytes::Bytes;
use camino::Utf8PathBuf;
use futures::StreamExt as _;
use http::request::Parts;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use super::auth::Tokens;
use super::cut::BreakingStream;
use super::faults::Faults;
use super::log::{Entry, Log};
use super::route::{Route, pairs};
use super::state::State;
use super::{Options, What, auth, blobs, manifests, uploads, utf8};

/// Largest manifest that is taken, as in Distribution.
const MAX_MANIFEST: usize = 4 << 20;
/// How much of a request's body is read after the answer is clear, as Go's server does it: a client that is still
/// sending sees the answer and not a broken connection.
const DRAIN: u64 = 256 << 10;

pub(crate) type Reply = Response<Body>;

/// What all requests share.
#[derive(Debug)]
pub(crate) struct ServerState {
    pub(crate) options: Options,
    pub(crate) state: State,
    pub(crate) log: Log,
    pub(crate) faults: Faults,
    pub(crate) tokens: Tokens,
    pub(crate) ca_pem: Option<String>,
    pub(crate) ca_file: Option<Utf8PathBuf>,
    address: SocketAddr,
}

impl ServerState {
    pub(crate) fn new(options: Options, address: SocketAddr, ca_pem: Option<String>) -> Self {
        let state = State::new();
        let ca_file = ca_pem.as_ref().map(|pem| {
            let file = state.folder().join("ca.pem");
            std::fs::write(&file, pem).unwrap();
            utf8(file)
        });
        let (log, faults, tokens) = (Log::default(), Faults::default(), Tokens::default());
        Self { options, state, log, faults, tokens, ca_pem, ca_file, address }
    }

    fn scheme(&self) -> &'static str {
        if self.ca_pem.is_some() { "https" } else { "http" }
    }

    pub(crate) fn realm(&self) -> String {
        format!("{}://{}/token", self.scheme(), self.address)
    }
}

/// The connection ends without (the rest of) an answer.
#[derive(Debug)]
pub(crate) struct Cut;

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the connection is cut")
    }
}

impl std::error::Error for Cut {}

/// The body of a request: counted, and cut where a fault says so.
pub(crate) struct Upload {
    stream: BodyDataStream,
    entry: Arc<Entry>,
    /// Bytes until the connection is cut.
    cut_after: Option<u64>,
}

impl Upload {
    /// The next bytes; `Err` where the connection ended, or has to.
    pub(crate) async fn next(&mut self) -> Option<Result<Bytes, Cut>> {
        if self.cut_after == Some(0) {
            return Some(Err(Cut));
        }
        let Ok(mut bytes) = self.stream.next().await? else { return Some(Err(Cut)) };
        if let Some(left) = &mut self.cut_after {
            bytes.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
            *left -= bytes.len() as u64;
        }
        self.entry.bytes_in.fetch_add(bytes.len() as u64, Ordering::SeqCst);
        Some(Ok(bytes))
    }

    /// All of it; `Ok(None)` where it is longer than `most`.
    pub(crate) async fn all(&mut self, most: usize) -> Result<Option<Bytes>, Cut> {
        let mut all = Vec::new();
        while let Some(bytes) = self.next().await {
            all.extend_from_slice(&bytes?);
            if all.len() > most {
                return Ok(None);
            }
        }
        Ok(Some(all.into()))
    }
}

/// A request, taken apart.
pub(crate) struct Call {
    pub(crate) shared: Arc<ServerState>,
    pub(crate) parts: Parts,
    pub(crate) query: HashMap<String, String>,
    pub(crate) body: Upload,
}

impl Call {
    /// `scheme://host` as the client called it, so that what it is sent to is the same server under the same name.
    pub(crate) fn base(&self) -> String {
        let host = self.parts.headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let own = self.shared.address.to_string();
        format!("{}://{}", self.shared.scheme(), host.unwrap_or(&own))
    }
}

/// Serves until the sender of `stop` is gone.
pub(crate) async fn run(
    listener: std::net::TcpListener,
    tls: Option<Arc<rustls::ServerConfig>>,
    shared: Arc<ServerState>,
    mut stop: oneshot::Receiver<()>,
) {
    let listener = TcpListener::from_std(listener).unwrap();
    let tls = tls.map(tokio_rustls::TlsAcceptor::from);
    loop {
        let stream = tokio::select! {
            _ = &mut stop => return,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                // Out of file descriptors, most likely: the next try may do better.
                Err(_) => { tokio::time::sleep(Duration::from_millis(10)).await; continue }
            },
        };
        let (shared, tls) = (Arc::clone(&shared), tls.clone());
        shared.log.opened();
        tokio::spawn(async move {
            connection(stream, tls, Arc::clone(&shared)).await;
            shared.log.closed();
        });
    }
}

async fn connection(stream: TcpStream, tls: Option<tokio_rustls::TlsAcceptor>, shared: Arc<ServerState>) {
    let _ = stream.set_nodelay(true);
    let stream = BreakingStream::new(stream, shared.options.cut_connections.unwrap_or(u64::MAX));
    match tls {
        None => serve(stream, shared).await,
        Some(tls) => {
            let handshake = tokio::time::timeout(Duration::from_secs(10), tls.accept(stream));
            if let Ok(Ok(stream)) = handshake.await {
                serve(stream, shared).await;
            }
        }
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(stream: S, shared: Arc<ServerState>) {
    let service = service_fn(move |request| answer(Arc::clone(&shared), request));
    let mut server = hyper::server::conn::http1::Builder::new();
    let _ = server.timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(shared: Arc<ServerState>, request: Request<hyper::body::Incoming>) -> Result<Reply, Cut> {
    let (parts, body) = request.into_parts();
    let (entry, _under_way) = shared.log.add(&parts);
    let route = Route::of(parts.uri.path());
    let query = pairs(parts.uri.query().unwrap_or_default()).into_iter().collect::<HashMap<_, _>>();
    let body =
        Upload { stream: Body::new(body).into_data_stream(), entry: Arc::clone(&entry), cut_after: None };
    let mut call = Call { shared, parts, query, body };
    let mut faults = Vec::new();
    let mut reply = turned_away(&call, &route);
    if reply.is_none() {
        faults = call.shared.faults.hit(&call.parts, route.repository(), false);
        reply = before(&faults, &mut call).await?;
    }
    let reply = match reply {
        Some(reply) => reply,
        None => handle(&mut call, &route).await?,
    };
    together(&faults).await;
    drain(&mut call).await?;
    let reply = match faults
        .iter()
        .find_map(|what| if let What::LoseAnswer(status) = what { Some(*status) } else { None })
    {
        Some(0) => return Err(Cut),
        Some(status) => self::reply(status, ""),
        None => reply,
    };
    let reply = super::faults::after(&faults, reply, call.parts.method == http::Method::HEAD);
    entry.status.store(reply.status().as_u16(), Ordering::SeqCst);
    Ok(finish(reply, &call.parts, entry))
}

/// The answer to a request without the right credentials.
fn turned_away(call: &Call, route: &Route) -> Option<Reply> {
    if *route == Route::Token {
        return None;
    }
    let (shared, method) = (&call.shared, call.parts.method.as_str());
    let realm =
        shared.faults.hit(&call.parts, route.repository(), true).into_iter().find_map(|what| match what {
            What::Realm(realm) => Some(realm),
            _ => None,
        });
    if let Some(realm) = realm {
        return Some(auth::sent_to(&realm, method, route, &call.query));
    }
    auth::check(shared, method, &call.parts.headers, route, &call.query)
}

/// Faults that take effect before the handler. Returns the reply in place of the handler's, if there is one.
async fn before(faults: &[What], call: &mut Call) -> Result<Option<Reply>, Cut> {
    together(faults).await;
    for what in faults {
        match what {
            What::Delay(time) => tokio::time::sleep(*time).await,
            What::CollectGarbage => call.shared.state.stock().collect_garbage(),
            What::CutRequestAfter(0) => return Err(Cut),
            What::CutRequestAfter(bytes) => call.body.cut_after = Some(*bytes),
            What::NoRange => {
                call.parts.headers.remove(header::RANGE);
            }
            What::Status(status, headers, body) => {
                let mut reply = reply(*status, body.clone());
                for (name, value) in headers {
                    let name = name.parse::<http::HeaderName>().unwrap();
                    reply.headers_mut().append(name, value.parse().unwrap());
                }
                return Ok(Some(reply));
            }
            What::RetryAfter(status, seconds) => {
                let status = StatusCode::from_u16(*status).unwrap();
                let mut reply = error(status, "TOOMANYREQUESTS", "come back later");
                reply.headers_mut().insert(header::RETRY_AFTER, (*seconds).into());
                return Ok(Some(reply));
            }
            What::Redirect(to) => {
                let path = call.parts.uri.path_and_query().map_or("/", |path| path.as_str());
                let mut reply = reply(307, "");
                reply.headers_mut().insert(header::LOCATION, to.replace("{path}", path).parse().unwrap());
                return Ok(Some(reply));
            }
            _ => {}
        }
    }
    Ok(None)
}

async fn together(faults: &[What]) {
    for what in faults {
        if let What::Together(barrier) = what {
            barrier.wait().await;
        }
    }
}

async fn handle(call: &mut Call, route: &Route) -> Result<Reply, Cut> {
    if let Some(name) = route.repository()
        && name.parse::<krs_core::oci::reference::RepositoryName>().is_err()
    {
        return Ok(error(StatusCode::BAD_REQUEST, "NAME_INVALID", "invalid repository name"));
    }
    let method = call.parts.method.as_str().to_owned();
    Ok(match (route, method.as_str()) {
        (Route::Ping, "GET" | "HEAD") => json_reply(StatusCode::OK, "application/json", &json!({})),
        (Route::Token, "GET" | "POST") => {
            let Some(body) = call.body.all(1 << 16).await? else {
                return Ok(error(StatusCode::PAYLOAD_TOO_LARGE, "SIZE_INVALID", "too large"));
            };
            let query = call.parts.uri.query().unwrap_or_default();
            auth::token(&call.shared, &method, &call.parts.headers, query, &body)
        }
        (Route::Catalog, "GET") => manifests::catalog(call),
        (Route::Tags(name), "GET") => manifests::tags(call, name),
        (Route::Manifest(name, reference), "GET" | "HEAD") => manifests::get(call, name, reference),
        (Route::Manifest(name, reference), "PUT") => match call.body.all(MAX_MANIFEST).await? {
            Some(bytes) => manifests::put(call, name, reference, bytes),
            None => error(StatusCode::PAYLOAD_TOO_LARGE, "MANIFEST_INVALID", "more than 4 MiB"),
        },
        (Route::Manifest(name, reference), "DELETE") => manifests::delete(call, name, reference),
        (Route::Referrers(name, digest), "GET") => manifests::referrers(call, name, digest),
        (Route::Blob(name, digest), "GET" | "HEAD") => blobs::get(call, name, digest),
        (Route::Blob(name, digest), "DELETE") => blobs::delete(call, name, digest),
        (Route::Uploads(name), "POST") => uploads::start(call, name).await?,
        (Route::Upload(name, id), "GET" | "HEAD") => uploads::status(call, name, id).await,
        (Route::Upload(name, id), "PATCH") => uploads::patch(call, name, id).await?,
        (Route::Upload(name, id), "PUT") => uploads::put(call, name, id).await?,
        (Route::Upload(name, id), "DELETE") => uploads::cancel(call, name, id),
        (Route::Unknown, _) => error(StatusCode::NOT_FOUND, "NOT_FOUND", "there is nothing here"),
        _ => error(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED", "the operation is unsupported"),
    })
}

/// Reads what is left of a request's body, up to a bound, unless the client waits for leave to send it.
async fn drain(call: &mut Call) -> Result<(), Cut> {
    let waits = call.parts.headers.contains_key(header::EXPECT);
    let start = call.body.entry.bytes_in.load(Ordering::SeqCst);
    while !waits && call.body.entry.bytes_in.load(Ordering::SeqCst) - start < DRAIN {
        match call.body.next().await {
            Some(Ok(_)) => {}
            Some(Err(cut)) => return Err(cut),
            None => break,
        }
    }
    Ok(())
}

/// Counts the body as it goes out, and drops it where there must be none.
fn finish(reply: Reply, request: &Parts, entry: Arc<Entry>) -> Reply {
    let (mut parts, body) = reply.into_parts();
    parts.headers.insert("docker-distribution-api-version", HeaderValue::from_static("registry/2.0"));
    if request.method == http::Method::HEAD || parts.status == StatusCode::NO_CONTENT {
        return Response::from_parts(parts, Body::empty());
    }
    let counted = body.into_data_stream().inspect(move |bytes| {
        if let Ok(bytes) = bytes {
            entry.bytes_out.fetch_add(bytes.len() as u64, Ordering::SeqCst);
        }
    });
    Response::from_parts(parts, Body::from_stream(counted))
}

/// An answer whose body is at hand.
pub(crate) fn reply(status: u16, body: impl Into<Bytes>) -> Reply {
    let body = body.into();
    let mut reply = Response::builder().status(status);
    if status != 204 {
        reply = reply.header(header::CONTENT_LENGTH, body.len());
    }
    reply.body(Body::new(http_body_util::Full::new(body).map_err(|e: Infallible| match e {}))).unwrap()
}

pub(crate) fn json_reply(status: StatusCode, media_type: &str, value: &Value) -> Reply {
    let mut reply = reply(status.as_u16(), value.to_string());
    reply.headers_mut().insert(header::CONTENT_TYPE, media_type.parse().unwrap());
    reply
}

/// An error as the distribution-spec has it.
pub(crate) fn error(status: StatusCode, code: &str, message: &str) -> Reply {
    json_reply(status, "application/json", &json!({"errors": [{"code": code, "message": message}]}))
}
