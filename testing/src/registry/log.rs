// SPDX-License-Identifier: Apache-2.0
//! The log of requests to the registry.

use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use http::request::Parts;
use http::{HeaderName, header};

/// A request and its outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Request {
    /// The HTTP method.
    pub method: String,
    /// The path, without the query.
    pub path: String,
    /// The query, without the `?`; empty if there is none.
    pub query: String,
    /// The status of the response; 0 if the connection ended without one.
    pub status: u16,
    /// Bytes of the request's body that were received.
    pub bytes_in: u64,
    /// Bytes of the response's body that were sent.
    pub bytes_out: u64,
    /// The `User-Agent` header.
    pub user_agent: Option<String>,
    /// Whether there was an `Authorization` header.
    pub had_authorization: bool,
    /// The `Range` header.
    pub range: Option<String>,
    /// The `Content-Range` header of an upload.
    pub content_range: Option<String>,
    /// All `Accept` headers, joined.
    pub accept: String,
    /// The `Host` header.
    pub host: Option<String>,
    /// How many requests were under way when it came, itself among them.
    pub under_way: u64,
}

/// A request of which the answer may still be under way.
#[derive(Debug)]
pub(crate) struct Entry {
    request: Request,
    pub(crate) status: AtomicU16,
    pub(crate) bytes_in: AtomicU64,
    pub(crate) bytes_out: AtomicU64,
}

/// All requests since the start, and the connections.
#[derive(Debug, Default)]
pub(crate) struct Log {
    entries: Mutex<Vec<Arc<Entry>>>,
    pub(crate) connections: AtomicU64,
    open: AtomicU64,
    pub(crate) peak: AtomicU64,
    under_way: Arc<AtomicU64>,
}

/// A request that is under way, until it is dropped.
#[derive(Debug)]
pub(crate) struct UnderWay(Arc<AtomicU64>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Log {
    pub(crate) fn add(&self, parts: &Parts) -> (Arc<Entry>, UnderWay) {
        let under_way = self.under_way.fetch_add(1, Ordering::SeqCst) + 1;
        let header = |name: HeaderName| {
            parts.headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        let request = Request {
            method: parts.method.to_string(),
            path: parts.uri.path().to_owned(),
            query: parts.uri.query().unwrap_or_default().to_owned(),
            status: 0,
            bytes_in: 0,
            bytes_out: 0,
            user_agent: header(header::USER_AGENT),
            had_authorization: parts.headers.contains_key(header::AUTHORIZATION),
            range: header(header::RANGE),
            content_range: header(header::CONTENT_RANGE),
            accept: super::manifests::accepted(&parts.headers),
            host: header(header::HOST),
            under_way,
        };
        let (status, bytes_in, bytes_out) = (AtomicU16::new(0), AtomicU64::new(0), AtomicU64::new(0));
        let entry = Arc::new(Entry { request, status, bytes_in, bytes_out });
        self.entries.lock().unwrap().push(Arc::clone(&entry));
        (entry, UnderWay(Arc::clone(&self.under_way)))
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        let entries = self.entries.lock().unwrap();
        let now = |entry: &Arc<Entry>| Request {
            status: entry.status.load(Ordering::SeqCst),
            bytes_in: entry.bytes_in.load(Ordering::SeqCst),
            bytes_out: entry.bytes_out.load(Ordering::SeqCst),
            ..entry.request.clone()
        };
        entries.iter().map(now).collect()
    }

    pub(crate) fn clear(&self) {
        self.entries.lock().unwrap().clear();
    }

    pub(crate) fn opened(&self) {
        self.connections.fetch_add(1, Ordering::SeqCst);
        let open = self.open.fetch_add(1, Ordering::SeqCst) + 1;
        self.peak.fetch_max(open, Ordering::SeqCst);
    }

    pub(crate) fn closed(&self) {
        self.open.fetch_sub(1, Ordering::SeqCst);
    }
}
