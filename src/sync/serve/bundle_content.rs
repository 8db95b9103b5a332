// SPDX-License-Identifier: Apache-2.0
//! Serves the content of a bundle: manifests, blobs and referrers of a repository, as the pull part of the OCI
//! distribution-spec requires them.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, RANGE};
use axum::http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use bytes::Bytes;
use futures::stream;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::catalog::Repository;
use super::request::{Range, Route, query, range};
use super::response::{error, json, name_content, page};
use crate::bundle::{Bundle, BundleBlob, BundleError};
use crate::oci;
use crate::oci::closure::Manifests;
use crate::oci::digest::{self, Digest, Hasher};
use crate::oci::reference::Selector;
use crate::sync::rebuild::{RebuiltLayer, RebuiltLayers};

/// Bytes that are read at once.
const CHUNK: usize = 256 << 10;
/// How long one read may take. A failing drive takes half a minute for each piece that it retries.
const READ_TIMEOUT: Duration = Duration::from_secs(120);
/// Chunks that wait for the network.
const QUEUE: usize = 4;

const FILTERS_HEADER: HeaderName = HeaderName::from_static("oci-filters-applied");

/// Something that went wrong while content was read from a bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Whether content differs from what the bundle's manifest says; otherwise the media failed or was removed.
    pub damaged: bool,
    /// What happened, and where.
    pub message: String,
}

/// A bundle whose content is served.
#[derive(Debug)]
pub struct BundleContent {
    manifests: Manifests,
    source: Source,
    /// Earlier bundles, which may have layers that this one leaves to the site.
    bases: Vec<Source>,
    /// Layers that were made of patches.
    rebuilt: Option<Arc<RebuiltLayers>>,
}

/// Where blobs come from.
#[derive(Clone)]
struct Source {
    bundle: Arc<Bundle>,
    /// Blobs that were found to be damaged while they were sent. Requests for parts of them, which are not hashed, are refused
    /// too.
    damaged: Arc<Mutex<HashSet<Digest>>>,
    /// Receives the faults.
    on_fault: Arc<dyn Fn(Fault) + Send + Sync>,
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source").field("bundle", &self.bundle.path()).finish_non_exhaustive()
    }
}

impl BundleContent {
    /// Serves `bundle`, whose `manifests` were already checked. `told` is called once for each damaged blob, and each time that
    /// the media fails.
    pub fn new(
        bundle: Arc<Bundle>,
        manifests: Manifests,
        on_fault: impl Fn(Fault) + Send + Sync + 'static,
    ) -> Self {
        let source = Source { bundle, damaged: Arc::default(), on_fault: Arc::new(on_fault) };
        Self { manifests, source, bases: Vec::new(), rebuilt: None }
    }

    /// Serves layers that were made of patches too, and those that the bundle leaves to the site and one of `bases` has.
    #[must_use]
    pub fn with_layers(mut self, rebuilt: Arc<RebuiltLayers>, bases: Vec<Arc<Bundle>>) -> Self {
        let source = |bundle| Source { bundle, ..self.source.clone() };
        self.bases = bases.into_iter().map(source).collect();
        self.rebuilt = Some(rebuilt);
        self
    }

    /// Responds to `request` for `repository`.
    pub async fn answer(
        &self,
        repository: &Repository,
        route: &Route<'_>,
        request: &Request<()>,
    ) -> Response<Body> {
        let (path, text) = (request.uri().path(), request.uri().query());
        match route {
            Route::Tags(name) => {
                let tags = repository.tags().map(crate::oci::reference::Tag::as_str);
                page("tags", Some(name), tags, path, text)
            }
            Route::Manifest(_, selector) => self.manifest(repository, selector),
            Route::Blob(_, digest) => self.blob(repository, digest, request).await,
            Route::Referrers(_, digest) => referrers(repository, digest, text),
            Route::Base | Route::Catalog | Route::Malformed(_) | Route::Unknown => {
                error(StatusCode::NOT_FOUND, "UNSUPPORTED", "there is no such endpoint")
            }
        }
    }

    fn manifest(&self, repository: &Repository, selector: &Selector) -> Response<Body> {
        let digest = match selector {
            Selector::Tag(tag) => repository.tagged(tag),
            Selector::Digest(digest) => Some(*digest).filter(|digest| repository.content.contains(digest)),
        };
        let manifest = digest.and_then(|digest| Some((digest, self.manifests.get(&digest)?)));
        let Some((digest, manifest)) = manifest else {
            return error(
                StatusCode::NOT_FOUND,
                "MANIFEST_UNKNOWN",
                "the bundle holds no such manifest here",
            );
        };
        let mut response = Response::new(Body::from(manifest.bytes.clone()));
        let headers = response.headers_mut();
        headers.insert(CONTENT_LENGTH, manifest.bytes.len().into());
        if let Ok(media_type) = HeaderValue::from_str(&manifest.media_type) {
            headers.insert(CONTENT_TYPE, media_type);
        }
        name_content(headers, &digest);
        response
    }

    async fn blob(&self, repository: &Repository, digest: &Digest, request: &Request<()>) -> Response<Body> {
        if let Some(list) = repository.lists.get(digest) {
            let mut response = json(list.clone());
            name_content(response.headers_mut(), digest);
            return response;
        }
        let is_listed = repository.content.contains(digest);
        let sources = std::iter::once(&self.source).chain(&self.bases).filter(|_| is_listed);
        let archived = sources.into_iter().find_map(|source| Some((source, *source.bundle.blob(digest)?)));
        let rebuilt = self.rebuilt.as_ref().filter(|_| is_listed).and_then(|layers| layers.get(digest));
        let size = match (archived, &rebuilt) {
            (Some((_, blob)), _) => blob.size,
            (None, Some(layer)) => layer.size(),
            (None, None) => {
                return error(StatusCode::NOT_FOUND, "BLOB_UNKNOWN", "the bundle holds no such blob here");
            }
        };
        if let Some((source, blob)) = archived
            && let Err((status, message)) = source.check(blob).await
        {
            return error(status, "UNKNOWN", message);
        }
        let range_header = request.headers().get(RANGE).and_then(|value| value.to_str().ok());
        let (first, length, status) = match range(range_header, size) {
            Range::Full => (0, size, StatusCode::OK),
            Range::Part(first, length) => (first, length, StatusCode::PARTIAL_CONTENT),
            Range::Unsatisfiable => {
                let mut response = error(
                    StatusCode::RANGE_NOT_SATISFIABLE,
                    "BLOB_UPLOAD_INVALID",
                    "the blob is not that large",
                );
                if let Ok(value) = HeaderValue::from_str(&format!("bytes */{size}")) {
                    response.headers_mut().insert(CONTENT_RANGE, value);
                }
                return response;
            }
        };
        let head = request.method() == Method::HEAD;
        let body = match (archived, rebuilt) {
            _ if head => Body::empty(),
            (Some((source, blob)), _) => source.content(blob, first, length),
            (None, Some(layer)) => made_content(layer, first, length),
            (None, None) => Body::empty(),
        };
        let mut response = Response::new(body);
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_LENGTH, length.into());
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        name_content(headers, digest);
        if status == StatusCode::PARTIAL_CONTENT
            && let Ok(value) = HeaderValue::from_str(&format!("bytes {first}-{}/{size}", first + length - 1))
        {
            headers.insert(CONTENT_RANGE, value);
        }
        response
    }
}

impl Source {
    /// Checks whether the blob may be sent. On a thread that may block, because the media may be slow.
    async fn check(&self, blob: BundleBlob) -> Result<(), (StatusCode, &'static str)> {
        const DAMAGED: (StatusCode, &str) = (StatusCode::INTERNAL_SERVER_ERROR, "the bundle is damaged here");
        const UNREADABLE: (StatusCode, &str) =
            (StatusCode::SERVICE_UNAVAILABLE, "the bundle cannot be read at the moment");
        if self.damaged().contains(&blob.digest) {
            return Err(DAMAGED);
        }
        let source = self.clone();
        let checked = tokio::task::spawn_blocking(move || {
            source.bundle.check_header(&blob).map_err(|error| source.report(&blob, &error))
        });
        match tokio::time::timeout(READ_TIMEOUT, checked).await {
            Ok(Ok(Ok(()))) => Ok(()),
            Ok(Ok(Err(true))) => Err(DAMAGED),
            Ok(Ok(Err(false)) | Err(_)) => Err(UNREADABLE),
            Err(_) => {
                let _ = self.timed_out(&blob);
                Err(UNREADABLE)
            }
        }
    }

    /// Streams a part of a blob. A complete blob is hashed meanwhile, and its last bytes are sent only if the digest
    /// matches: a damaged blob results in a broken connection, never in a complete response. (T-37)
    fn content(&self, blob: BundleBlob, first: u64, length: u64) -> Body {
        let source = self.clone();
        let (sender, receiver) = mpsc::channel::<io::Result<Bytes>>(QUEUE);
        tokio::task::spawn_blocking(move || {
            let mut hasher = (length == blob.size).then(Hasher::new);
            let mut sent = 0;
            while sent < length {
                let most = usize::try_from(length - sent).unwrap_or(usize::MAX).min(CHUNK);
                let mut chunk = vec![0; most];
                let read = source.bundle.read_at(&blob, first + sent, &mut chunk).and_then(|read| {
                    chunk.truncate(read);
                    sent += read as u64;
                    if let Some(running) = &mut hasher {
                        running.update(&chunk);
                    }
                    match hasher.take_if(|_| sent == length) {
                        Some(complete) => {
                            digest::check(complete, blob.digest, blob.size).map_err(io::Error::other)
                        }
                        None => Ok(()),
                    }
                });
                let result = read.map(|()| Bytes::from(chunk)).map_err(|error| {
                    let error = source.bundle.read_error(&blob, error);
                    source.report(&blob, &error);
                    io::Error::other(error)
                });
                let failed = result.is_err();
                // The client has disconnected.
                if sender.blocking_send(result).is_err() || failed {
                    return;
                }
            }
        });
        let state = Some((receiver, self.clone(), blob));
        Body::from_stream(stream::unfold(state, |state| async {
            let (mut receiver, source, blob) = state?;
            match tokio::time::timeout(READ_TIMEOUT, receiver.recv()).await {
                Ok(chunk) => chunk.map(|chunk| (chunk, Some((receiver, source, blob)))),
                Err(_) => Some((Err(source.timed_out(&blob)), None)),
            }
        }))
    }

    /// A read that did not return. Its thread may block indefinitely; the receiver of the fault prevents further reads.
    fn timed_out(&self, blob: &BundleBlob) -> io::Error {
        let error = self.bundle.read_error(blob, io::ErrorKind::TimedOut.into());
        self.report(blob, &error);
        io::Error::other(error)
    }

    /// Reports an error, a damaged blob only once. Returns whether it is damage.
    fn report(&self, blob: &BundleBlob, error: &BundleError) -> bool {
        let damaged = !matches!(error, BundleError::Read { .. } | BundleError::Open { .. });
        if !damaged || self.damaged().insert(blob.digest) {
            (self.on_fault)(Fault { damaged, message: error.to_string() });
        }
        damaged
    }

    fn damaged(&self) -> parking_lot::MutexGuard<'_, HashSet<Digest>> {
        self.damaged.lock()
    }
}

/// Streams a part of a layer that was made, and verified then.
fn made_content(layer: Arc<RebuiltLayer>, first: u64, length: u64) -> Body {
    let (sender, receiver) = mpsc::channel::<io::Result<Bytes>>(QUEUE);
    tokio::task::spawn_blocking(move || {
        let mut sent = 0;
        while sent < length {
            let most = usize::try_from(length - sent).unwrap_or(usize::MAX).min(CHUNK);
            let mut chunk = vec![0; most];
            let read = layer.read_at(first + sent, &mut chunk).map(|read| {
                chunk.truncate(read);
                sent += read as u64;
                Bytes::from(chunk)
            });
            let failed = read.is_err();
            // The client has disconnected.
            if sender.blocking_send(read).is_err() || failed {
                return;
            }
        }
    });
    Body::from_stream(stream::unfold(receiver, |mut receiver| async {
        receiver.recv().await.map(|chunk| (chunk, receiver))
    }))
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
