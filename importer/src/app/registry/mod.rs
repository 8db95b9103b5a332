// SPDX-License-Identifier: Apache-2.0
//! The read-only registry that copy Jobs read bundles from, over TLS.
//!
//! The image with digest I of the bundle whose manifest has digest B is the repository `HEX(B)/HEX(I)`; what it holds is
//! read by digest. See [`crate::model::task::repository_in_bundle`].

mod access;
mod claims;
#[cfg(test)]
pub(crate) mod fake;
mod front;
mod review;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use krs_core::sync::serve::{self, Listener, ServeError, ServeOptions, Tls};
use tokio::sync::watch;

use crate::adapters::bundle_store::BundleStore;
use crate::adapters::metrics::Metrics;
use crate::app::tls::ServerIdentity;
use crate::model::config::RegistryConfig;
use crate::model::required_images::RequiredImages;
use access::Access;
use front::RegistryService;

/// Most connections of one address at once. Several Pods of a node may show one address, and a copy has a handful.
const PER_PEER: usize = 64;

/// The embedded registry, before it runs.
#[derive(Debug)]
pub struct Registry {
    listener: Listener,
    front: Arc<RegistryService>,
}

/// What the server shows to its clients; can be replaced while it runs. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Certificate(Option<serve::Certificate>);

impl Certificate {
    /// Shows another certificate from the next connection on.
    ///
    /// # Errors
    /// [`ServeError::Tls`]: it cannot be used, and the one before stays.
    pub fn replace(&self, identity: &ServerIdentity) -> Result<(), ServeError> {
        self.0.as_ref().map_or(Ok(()), |certificate| certificate.replace(&pem(identity)))
    }
}

impl Registry {
    /// Begins to listen. `shared`: the site shares the images of bundles across namespaces.
    ///
    /// # Errors
    /// [`ServeError`].
    pub async fn bind(
        config: &RegistryConfig,
        identity: &ServerIdentity,
        client: kube::Client,
        library: Arc<BundleStore>,
        demand: watch::Receiver<Arc<RequiredImages>>,
        shared: bool,
        metrics: Metrics,
    ) -> Result<Self, ServeError> {
        let listener =
            Listener::bind(&ServeOptions { address: config.listen, tls: Some(pem(identity)) }).await?;
        let access = Access::new(review::reviewer(client));
        let listener = listener.per_peer(PER_PEER).unauthenticated_close_first();
        Ok(Self { listener, front: Arc::new(RegistryService::new(access, library, demand, shared, metrics)) })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.listener.address()
    }

    /// What it shows to its clients, for the time when it is renewed.
    pub fn certificate(&self) -> Certificate {
        Certificate(self.listener.certificate())
    }

    /// Serves requests until `stop` is done.
    ///
    /// # Expected flow
    /// [`Registry::bind`], then this. The certificate can be replaced meanwhile through [`Registry::certificate`].
    ///
    /// # Guarantees
    /// - Content is served only to a client that authenticates with the token of a copy Job's Pod, and only images that a set
    ///   of its namespace lists and that the bundle grants to that namespace, unless the site shares all images.
    /// - Every blob is hashed while it is sent from its beginning: a damaged one ends without its last bytes.
    /// - Nothing is written: every method but `GET` and `HEAD` is refused.
    /// - Connections are limited, in all and by address. An unauthenticated one is closed before an authenticated one.
    ///
    /// # Errors
    /// There are none. While the sets or the API server are not available, clients get status 503 with `Retry-After`; read
    /// faults of a bundle are also reported to the intake.
    ///
    /// # Cancellation
    /// When `stop` is done, no connection is accepted, and running transfers have 10 seconds to end. If the future is
    /// dropped, running transfers are not waited for. A copy Job repeats an interrupted transfer.
    pub async fn run(self, stop: impl Future<Output = ()> + Send) {
        let front = self.front;
        let answer = move |request| {
            let front = Arc::clone(&front);
            async move { front.answer(request).await }
        };
        self.listener.run(answer, stop).await;
    }
}

fn pem(identity: &ServerIdentity) -> Tls {
    Tls { certificate: identity.certificate.clone().into_bytes(), key: identity.key.clone().into_bytes() }
}
