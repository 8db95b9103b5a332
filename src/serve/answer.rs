// SPDX-License-Identifier: Apache-2.0
//! Answers requests for a bundle: the pull part of the OCI distribution-spec.

use std::collections::HashSet;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Body;
use axum::http::header::{
    ACCEPT_RANGES, ALLOW, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, LINK, RANGE,
};
use axum::http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use bytes::Bytes;
use futures::stream;
use tokio::sync::mpsc;

use super::catalog::{Catalog, Repository};
use super::request::{Asked, Range, asked, query, range};
use crate::bundle::{Bundle, BundleBlob, BundledImages};
use crate::closure::Documents;
use crate::digest::{self, Digest, Hasher};
use crate::oci;
use crate::reference::Selector;

/// Bytes that are read at once.
const CHUNK: usize = 256 << 10;
/// Chunks that wait for the network.
const QUEUE: usize = 4;
/// Most names in one answer.
const PAGE: usize = 1000;

const DIGEST_HEADER: HeaderName = HeaderName::from_static("docker-content-digest");
const VERSION_HEADER: HeaderName = HeaderName::from_static("docker-distribution-api-version");
const FILTERS_HEADER: HeaderName = HeaderName::from_static("oci-filters-applied");

/// A bundle that answers requests.
#[derive(Debug)]
pub(super) struct Shelf {
    bundle: Arc<Bundle>,
    documents: Documents,
    catalog: Catalog,
    /// Blobs that turned out to be damaged while they were sent, so that a client that asks for the rest, which
    /// is not hashed, does not get it either.
    damaged: Arc<Mutex<HashSet<Digest>>>,
}

impl Shelf {
    pub(super) fn new(bundle: Arc<Bundle>, images: BundledImages) -> Self {
        let catalog = Catalog::new(&bundle, &images);
        Self { bundle, documents: images.documents, catalog, damaged: Arc::default() }
    }

    pub(super) fn answer(&self, request: &Request<Body>) -> Response<Body> {
        let mut response = self.route(request);
        response.headers_mut().insert(VERSION_HEADER, HeaderValue::from_static("registry/2.0"));
        if request.method() == Method::HEAD {
            *response.body_mut() = Body::empty();
        }
        response
    }

    fn route(&self, request: &Request<Body>) -> Response<Body> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut response =
                error(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED", "this registry is read-only");
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        let uri = request.uri();
        let (path, text) = (uri.path(), uri.query());
        let ns = query(text, "ns");
        let found = |name: &str| self.catalog.get(name, ns.as_deref());
        match asked(path) {
            Asked::Base => json(Bytes::from_static(b"{}")),
            Asked::Catalog => page("repositories", None, self.catalog.names(), "/v2/_catalog", text),
            Asked::Tags(name) => match found(name) {
                Some(repository) => {
                    let tags = repository.tags().map(crate::reference::Tag::as_str);
                    page("tags", Some(name), tags, path, text)
                }
                None => unknown_name(),
            },
            Asked::Manifest(name, selector) => match found(name) {
                Some(repository) => self.manifest(repository, &selector),
                None => unknown_name(),
            },
            Asked::Blob(name, digest) => match found(name) {
                Some(repository) => self.blob(repository, &digest, request),
                None => unknown_name(),
            },
            Asked::Referrers(name, digest) => match found(name) {
                Some(repository) => referrers(repository, &digest, text),
                None => unknown_name(),
            },
            Asked::Malformed(code) => error(StatusCode::BAD_REQUEST, code, "the reference is malformed"),
            Asked::Unknown => error(StatusCode::NOT_FOUND, "UNSUPPORTED", "there is no such endpoint"),
        }
    }

    fn manifest(&self, repository: &Repository, selector: &Selector) -> Response<Body> {
        let digest = match selector {
            Selector::Tag(tag) => repository.tagged(tag),
            Selector::Digest(digest) => Some(*digest).filter(|digest| repository.content.contains(digest)),
        };
        let document = digest.and_then(|digest| Some((digest, self.documents.get(&digest)?)));
        let Some((digest, document)) = document else {
            return error(
                StatusCode::NOT_FOUND,
                "MANIFEST_UNKNOWN",
                "the bundle holds no such manifest here",
            );
        };
        let mut response = Response::new(Body::from(document.bytes.clone()));
        let headers = response.headers_mut();
        headers.insert(CONTENT_LENGTH, document.bytes.len().into());
        if let Ok(media_type) = HeaderValue::from_str(&document.media_type) {
            headers.insert(CONTENT_TYPE, media_type);
        }
        name_content(headers, &digest);
        response
    }

    fn blob(&self, repository: &Repository, digest: &Digest, request: &Request<Body>) -> Response<Body> {
        let blob = repository.content.contains(digest).then(|| self.bundle.blob(digest)).flatten();
        let Some(blob) = blob.copied() else {
            return error(StatusCode::NOT_FOUND, "BLOB_UNKNOWN", "the bundle holds no such blob here");
        };
        let damaged = self.damaged.lock().unwrap_or_else(PoisonError::into_inner).contains(digest);
        if damaged || self.bundle.check_header(&blob).is_err() {
            return error(StatusCode::INTERNAL_SERVER_ERROR, "UNKNOWN", "the bundle is damaged here");
        }
        let asked = request.headers().get(RANGE).and_then(|value| value.to_str().ok());
        let (first, length, status) = match range(asked, blob.size) {
            Range::Whole => (0, blob.size, StatusCode::OK),
            Range::Part(first, length) => (first, length, StatusCode::PARTIAL_CONTENT),
            Range::Unsatisfiable => {
                let mut response = error(
                    StatusCode::RANGE_NOT_SATISFIABLE,
                    "BLOB_UPLOAD_INVALID",
                    "the blob is not that large",
                );
                if let Ok(value) = HeaderValue::from_str(&format!("bytes */{}", blob.size)) {
                    response.headers_mut().insert(CONTENT_RANGE, value);
                }
                return response;
            }
        };
        let body =
            if request.method() == Method::HEAD { Body::empty() } else { self.content(blob, first, length) };
        let mut response = Response::new(body);
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_LENGTH, length.into());
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        name_content(headers, digest);
        if status == StatusCode::PARTIAL_CONTENT
            && let Ok(value) =
                HeaderValue::from_str(&format!("bytes {first}-{}/{}", first + length - 1, blob.size))
        {
            headers.insert(CONTENT_RANGE, value);
        }
        response
    }

    /// Streams a part of a blob. A whole blob is hashed on the way, and its last bytes are sent only when the digest
    /// is right: a damaged blob ends as a broken connection, never as a complete answer. (T-37)
    fn content(&self, blob: BundleBlob, first: u64, length: u64) -> Body {
        let (bundle, damaged) = (Arc::clone(&self.bundle), Arc::clone(&self.damaged));
        let (sender, receiver) = mpsc::channel::<io::Result<Bytes>>(QUEUE);
        tokio::task::spawn_blocking(move || {
            let mut hasher = (length == blob.size).then(Hasher::new);
            let mut sent = 0;
            while sent < length {
                let most = usize::try_from(length - sent).unwrap_or(usize::MAX).min(CHUNK);
                let mut chunk = vec![0; most];
                let mut result = bundle.read_at(&blob, first + sent, &mut chunk).map(|read| {
                    chunk.truncate(read);
                    sent += read as u64;
                    chunk
                });
                if let (Ok(chunk), Some(seen)) = (&result, &mut hasher) {
                    seen.update(chunk);
                    if sent == length
                        && let Some(Err(mismatch)) =
                            hasher.take().map(|h| digest::check(h, blob.digest, blob.size))
                    {
                        tracing::error!("{}: {mismatch}", bundle.path());
                        damaged.lock().unwrap_or_else(PoisonError::into_inner).insert(blob.digest);
                        result = Err(io::Error::new(io::ErrorKind::InvalidData, mismatch));
                    }
                }
                let failed = result.is_err();
                // Whoever asked has gone: nothing is left to do.
                if sender.blocking_send(result.map(Bytes::from)).is_err() || failed {
                    return;
                }
            }
        });
        Body::from_stream(stream::unfold(receiver, |mut receiver| async {
            receiver.recv().await.map(|chunk| (chunk, receiver))
        }))
    }
}

fn referrers(repository: &Repository, subject: &Digest, text: Option<&str>) -> Response<Body> {
    let artifact_type = query(text, "artifactType");
    let mut response = json(repository.referrers(subject, artifact_type.as_deref()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(oci::OCI_INDEX));
    if artifact_type.is_some() {
        response.headers_mut().insert(FILTERS_HEADER, HeaderValue::from_static("artifactType"));
    }
    response
}

/// A list of names by pages: `n` names after `last`, with a link to the next page.
fn page<'a>(
    key: &str,
    name: Option<&str>,
    names: impl Iterator<Item = &'a str>,
    path: &str,
    text: Option<&str>,
) -> Response<Body> {
    let last = query(text, "last");
    let most = query(text, "n").and_then(|n| n.parse::<usize>().ok()).unwrap_or(PAGE).min(PAGE);
    let mut rest = names.filter(|name| last.as_deref().is_none_or(|last| *name > last));
    let listed = rest.by_ref().take(most).collect::<Vec<_>>();
    let more = rest.next().is_some();
    let mut body = serde_json::Map::new();
    body.extend(name.map(|name| ("name".to_owned(), name.into())));
    body.insert(key.to_owned(), listed.clone().into());
    let mut response = json(serde_json::Value::from(body).to_string().into());
    let next = listed.last().filter(|_| more).and_then(|last| {
        let last = url::form_urlencoded::byte_serialize(last.as_bytes()).collect::<String>();
        HeaderValue::from_str(&format!("<{path}?n={most}&last={last}>; rel=\"next\"")).ok()
    });
    if let Some(next) = next {
        response.headers_mut().insert(LINK, next);
    }
    response
}

fn name_content(headers: &mut axum::http::HeaderMap, digest: &Digest) {
    let (name, tag) = (digest.to_string(), format!("\"{digest}\""));
    if let (Ok(name), Ok(tag)) = (HeaderValue::from_str(&name), HeaderValue::from_str(&tag)) {
        headers.insert(DIGEST_HEADER, name);
        headers.insert(ETAG, tag);
    }
}

fn json(body: Bytes) -> Response<Body> {
    let length = body.len();
    let mut response = Response::new(Body::from(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(CONTENT_LENGTH, length.into());
    response
}

fn unknown_name() -> Response<Body> {
    error(StatusCode::NOT_FOUND, "NAME_UNKNOWN", "the bundle holds no such repository")
}

fn error(status: StatusCode, code: &str, message: &str) -> Response<Body> {
    let body = serde_json::json!({"errors": [{"code": code, "message": message}]});
    let mut response = json(body.to_string().into());
    *response.status_mut() = status;
    response
}
