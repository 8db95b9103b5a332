// SPDX-License-Identifier: Apache-2.0
//! A read-only registry straight from a bundle: manifests and blobs by digest and tag, ranges, lists of tags, and
//! the referrers API, over plain HTTP or TLS. No byte is unpacked.
//!
//! [`Server`] is the whole of it, for one bundle. Its parts serve other registries too: [`Listener`] answers requests with
//! any function, [`asked`] reads them, and a [`Shelf`] answers them from a bundle.

mod catalog;
mod listen;
mod patience;
mod peers;
mod request;
mod shelf;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{Request, Response, StatusCode};
use bytes::Bytes;
use thiserror::Error;

use self::catalog::Catalog;
pub use self::catalog::Repository;
pub use self::listen::{Caller, Certificate, Listener, Peer};
pub use self::request::{Asked, asked};
pub use self::shelf::{Fault, Shelf, error, finish, json, read_only, unknown_name};
use crate::bundle::{Bundle, BundledImages};
use crate::error::{Classify, ErrorKind};

/// How to serve.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// Where to listen; port 0 takes a free one.
    pub address: SocketAddr,
    /// Certificate and key; plain HTTP without.
    pub tls: Option<Tls>,
}

/// A certificate chain and its key.
#[derive(Clone)]
pub struct Tls {
    /// The chain, leaf first, in PEM.
    pub certificate: Vec<u8>,
    /// The key, in PEM.
    pub key: Vec<u8>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls(***)")
    }
}

/// Why a bundle cannot be served.
#[derive(Debug, Error)]
pub enum ServeError {
    /// The address is taken or not ours.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// Certificate or key cannot be used.
    #[error("the TLS certificate or key cannot be used: {0}")]
    Tls(String),
}

impl Classify for ServeError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Listen { .. } => ErrorKind::Other,
            Self::Tls(_) => ErrorKind::Usage,
        }
    }

    fn help(&self) -> Option<String> {
        Some(match self {
            Self::Listen { .. } => "choose another address with --listen, for example 127.0.0.1:0".to_owned(),
            Self::Tls(_) => {
                "pass a PEM file with the certificate chain, leaf first, and one with its key".to_owned()
            }
        })
    }
}

/// A server of one bundle that listens, and answers once it runs.
#[derive(Debug)]
pub struct Server {
    listener: Listener,
    offer: Arc<Offer>,
}

impl Server {
    /// Begins to listen.
    ///
    /// # Errors
    /// [`ServeError`].
    pub async fn bind(
        bundle: Arc<Bundle>,
        images: BundledImages,
        options: &ServeOptions,
    ) -> Result<Self, ServeError> {
        let listener = Listener::bind(options).await?;
        Ok(Self { listener, offer: Arc::new(Offer::new(bundle, images)) })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.listener.address()
    }

    /// What can be pulled, after the address: for each image one name that clients take for a reference.
    pub fn references(&self) -> &[String] {
        &self.offer.references
    }

    /// Answers requests until `stop` is done, then lets those that are under way come to an end.
    pub async fn run(self, stop: impl Future<Output = ()> + Send) {
        let offer = self.offer;
        let answer = move |request| {
            let offer = Arc::clone(&offer);
            async move { offer.answer(request).await }
        };
        self.listener.run(answer, stop).await;
    }
}

/// All that a bundle offers, to everybody.
#[derive(Debug)]
struct Offer {
    shelf: Shelf,
    catalog: Catalog,
    references: Vec<String>,
}

impl Offer {
    fn new(bundle: Arc<Bundle>, images: BundledImages) -> Self {
        let catalog = Catalog::new(&bundle, &images);
        let references = catalog.references(&bundle);
        let shelf = Shelf::new(bundle, images.documents, |fault| tracing::error!("{}", fault.message));
        Self { shelf, catalog, references }
    }

    async fn answer(&self, request: Request<()>) -> Response<Body> {
        let response = match read_only(request.method()) {
            Ok(()) => self.route(&request).await,
            Err(refusal) => refusal,
        };
        finish(response, request.method())
    }

    async fn route(&self, request: &Request<()>) -> Response<Body> {
        let text = request.uri().query();
        let asked = asked(request.uri().path());
        match &asked {
            Asked::Base => json(Bytes::from_static(b"{}")),
            Asked::Catalog => shelf::page("repositories", None, self.catalog.names(), "/v2/_catalog", text),
            Asked::Tags(name)
            | Asked::Manifest(name, _)
            | Asked::Blob(name, _)
            | Asked::Referrers(name, _) => {
                let ns = request::query(text, "ns");
                match self.catalog.get(name, ns.as_deref()) {
                    Some(repository) => self.shelf.answer(repository, &asked, request).await,
                    None => unknown_name(),
                }
            }
            Asked::Malformed(code) => error(StatusCode::BAD_REQUEST, code, "the reference is malformed"),
            Asked::Unknown => error(StatusCode::NOT_FOUND, "UNSUPPORTED", "there is no such endpoint"),
        }
    }
}
