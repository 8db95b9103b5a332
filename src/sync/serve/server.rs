// SPDX-License-Identifier: Apache-2.0
//! A server of one bundle.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{Request, Response, StatusCode};
use bytes::Bytes;

use super::bundle_content::BundleContent;
use super::catalog::Catalog;
use super::listen::Listener;
use super::options::{ServeError, ServeOptions};
use super::request::{Route, query, route};
use super::response::{error, finish, json, page, read_only, unknown_name};
use crate::bundle::{Bundle, BundledImages};
use crate::sync::rebuild::RebuiltLayers;

/// A server of one bundle. It listens, and responds while [`Self::run`] runs.
#[derive(Debug)]
pub struct Server {
    listener: Listener,
    offer: Arc<ServedBundle>,
}

impl Server {
    /// Starts to listen. `rebuilt` has the layers that travel as patches, and `bases` those that the bundle
    /// leaves to the site.
    ///
    /// # Errors
    /// [`ServeError`].
    pub async fn bind(
        bundle: Arc<Bundle>,
        images: BundledImages,
        (rebuilt, bases): (Arc<RebuiltLayers>, Vec<Arc<Bundle>>),
        options: &ServeOptions,
    ) -> Result<Self, ServeError> {
        let listener = Listener::bind(options).await?;
        Ok(Self { listener, offer: Arc::new(ServedBundle::new(bundle, images, rebuilt, bases)) })
    }

    /// The address that it listens on.
    pub const fn address(&self) -> SocketAddr {
        self.listener.address()
    }

    /// The images that can be pulled: for each image one name that forms a reference after the address.
    pub fn references(&self) -> &[String] {
        &self.offer.references
    }

    /// Serves requests until `stop` is done, then waits for the running ones.
    pub async fn run(self, stop: impl Future<Output = ()> + Send) {
        let offer = self.offer;
        let answer = move |request| {
            let offer = Arc::clone(&offer);
            async move { offer.answer(request).await }
        };
        self.listener.run(answer, stop).await;
    }
}

/// Serves all content of a bundle to every client.
#[derive(Debug)]
struct ServedBundle {
    bundle_content: BundleContent,
    catalog: Catalog,
    references: Vec<String>,
}

impl ServedBundle {
    fn new(
        bundle: Arc<Bundle>,
        images: BundledImages,
        rebuilt: Arc<RebuiltLayers>,
        bases: Vec<Arc<Bundle>>,
    ) -> Self {
        let catalog = Catalog::new(&bundle, &images);
        let references = catalog.references(&bundle);
        let bundle_content =
            BundleContent::new(bundle, images.manifests, |fault| tracing::error!("{}", fault.message));
        let bundle_content = bundle_content.with_layers(rebuilt, bases);
        Self { bundle_content, catalog, references }
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
        let route = route(request.uri().path());
        match &route {
            Route::Base => json(Bytes::from_static(b"{}")),
            Route::Catalog => page("repositories", None, self.catalog.names(), "/v2/_catalog", text),
            Route::Tags(name)
            | Route::Manifest(name, _)
            | Route::Blob(name, _)
            | Route::Referrers(name, _) => {
                let ns = query(text, "ns");
                match self.catalog.get(name, ns.as_deref()) {
                    Some(repository) => self.bundle_content.answer(repository, &route, request).await,
                    None => unknown_name(),
                }
            }
            Route::Malformed(code) => error(StatusCode::BAD_REQUEST, code, "the reference is malformed"),
            Route::Unknown => error(StatusCode::NOT_FOUND, "UNSUPPORTED", "there is no such endpoint"),
        }
    }
}
