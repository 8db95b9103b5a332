// SPDX-License-Identifier: Apache-2.0
//! Answers requests: who asks, may they, and what does the bundle hold?

use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Weak};

use axum::body::Body;
use axum::http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, Request, Response, StatusCode};
use bytes::Bytes;
use futures::TryStreamExt as _;
use krs_core::oci::digest::Digest;
use krs_core::sync::serve::{self, BundleContent, Caller, Peer, Repository, Route, route};
use tokio::sync::watch;

use super::access::{Access, TokenReviewResult, token};
use crate::adapters::bundle_store::{BundleStore, OpenBundle, ReadFault};
use crate::adapters::metrics::{Metrics, ResultLabels, SetLabels};
use crate::model::required_images::{RequiredImages, SetName};

/// The realm is what people see who open it in a browser.
const CHALLENGE: HeaderValue = HeaderValue::from_static("Basic realm=\"krs-importer\"");
/// After how many seconds a client may retry what cannot be answered at present.
const RETRY: HeaderValue = HeaderValue::from_static("5");

/// What clients are told before the sets of the cluster are known.
const NOT_PRIMED: &str = "the importer has just started and does not know yet what this namespace may read";
/// What clients are told of a bundle that is not served.
const AWAY: &str =
    "the bundle is not available: its media are away, or it was not read yet since the importer started";

/// All that stands behind the server.
#[derive(Debug)]
pub(super) struct RegistryService {
    access: Access,
    library: Arc<BundleStore>,
    demand: watch::Receiver<Arc<RequiredImages>>,
    /// Whether the site shares the images of bundles across namespaces.
    shared: bool,
    metrics: Metrics,
    /// Bundles that were asked for, as long as the library holds them.
    offers: Mutex<HashMap<Digest, CachedBundle>>,
}

/// What is made of a bundle, for as long as the library holds it.
type CachedBundle = (Weak<OpenBundle>, Arc<ServedBundle>);

/// A bundle that was asked for.
#[derive(Debug)]
struct ServedBundle {
    content: BundleContent,
    /// By the digest of the image.
    repositories: HashMap<Digest, Repository>,
}

impl RegistryService {
    pub(super) fn new(
        access: Access,
        library: Arc<BundleStore>,
        demand: watch::Receiver<Arc<RequiredImages>>,
        shared: bool,
        metrics: Metrics,
    ) -> Self {
        Self { access, library, demand, shared, metrics, offers: Mutex::default() }
    }

    pub(super) async fn answer(&self, request: Request<()>) -> Response<Body> {
        let (response, reader) = match serve::read_only(request.method()) {
            Ok(()) => self.admit(&request).await,
            Err(refusal) => (refusal, None),
        };
        let result = response.status().as_u16().to_string();
        self.metrics.registry_answers.get_or_create(&ResultLabels { result }).inc();
        let sent = self.metrics.registry_bytes.clone();
        // Tokens are known for longer than their sets, whose numbers are forgotten.
        let reader = reader.filter(|set| self.demand.borrow().sets.contains_key(set));
        let read = reader.map(|SetName { namespace, name }| {
            self.metrics.read_bytes.get_or_create(&SetLabels { namespace, name }).clone()
        });
        serve::finish(response, request.method()).map(|body| {
            let counted = body.into_data_stream().inspect_ok(move |bytes| {
                sent.inc_by(bytes.len() as u64);
                if let Some(read) = &read {
                    read.inc_by(bytes.len() as u64);
                }
            });
            Body::from_stream(counted)
        })
    }

    /// Answers whoever may read, and says who that is; nobody else learns anything.
    async fn admit(&self, request: &Request<()>) -> (Response<Body>, Option<SetName>) {
        let verdict = match token(request.headers()) {
            Some(token) => self.access.verdict(token, peer(request)).await,
            None => Ok(TokenReviewResult::Refused),
        };
        match verdict {
            Ok(TokenReviewResult::Reader(set)) => {
                if let Some(caller) = request.extensions().get::<Caller>() {
                    caller.set_authenticated();
                }
                (self.route(&set.namespace, request).await, Some(set))
            }
            Ok(TokenReviewResult::Refused) => {
                let message = "show the token of a copy Job's Pod as password";
                let mut response = serve::error(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", message);
                response.headers_mut().insert(WWW_AUTHENTICATE, CHALLENGE);
                (response, None)
            }
            Err(_) => (unavailable("the API server cannot be asked about the token at the moment"), None),
        }
    }

    async fn route(&self, namespace: &str, request: &Request<()>) -> Response<Body> {
        let route = route(request.uri().path());
        let name = match &route {
            Route::Base => return serve::json(Bytes::from_static(b"{}")),
            Route::Tags(name)
            | Route::Manifest(name, _)
            | Route::Blob(name, _)
            | Route::Referrers(name, _) => *name,
            Route::Malformed(code) => {
                return serve::error(StatusCode::BAD_REQUEST, code, "the reference is malformed");
            }
            Route::Catalog | Route::Unknown => {
                return serve::error(StatusCode::NOT_FOUND, "UNSUPPORTED", "there is no such endpoint");
            }
        };
        let Some((bundle, image)) = parse(name) else { return serve::unknown_name() };
        {
            let demand = self.demand.borrow();
            if !is_listed(&demand, namespace, &image) {
                // After a start the sets are not all known yet: "not found" would be believed.
                return if demand.complete { serve::unknown_name() } else { unavailable(NOT_PRIMED) };
            }
        }
        // Anybody may write any digest into a set; the signed bundle says whose the image is. (T-123)
        let may_read = |held: &Arc<OpenBundle>| self.shared || held.may_read(namespace, &image);
        let held = match self.library.get(&bundle) {
            Some(held) if !may_read(&held) => return serve::unknown_name(),
            Some(held) => Some(held),
            None => self.library.in_place_of(&bundle, &image).into_iter().find(may_read),
        };
        // Only a task that the importer wrote names a bundle, so that each of them was in the drop folder once: it is away,
        // refused, or not read yet after a start, never unknown.
        let Some(held) = held else { return unavailable(AWAY) };
        let offer = self.offer(held.bundle.digest(), &held);
        match offer.repositories.get(&image) {
            Some(repository) => offer.content.answer(repository, &route, request).await,
            None => serve::unknown_name(),
        }
    }

    fn offer(&self, digest: Digest, held: &Arc<OpenBundle>) -> Arc<ServedBundle> {
        let mut offers = self.offers.lock();
        // The library lets go of a bundle when its media go away.
        offers.retain(|_, (held, _)| held.strong_count() > 0);
        if let Some((of, offer)) = offers.get(&digest)
            && Weak::ptr_eq(of, &Arc::downgrade(held))
        {
            return Arc::clone(offer);
        }
        let (library, of) = (Arc::downgrade(&self.library), Arc::downgrade(held));
        let report = move |fault: serve::Fault| {
            tracing::error!("{}", fault.message);
            let Some(library) = library.upgrade() else { return };
            // A transfer may outlive the file: what it found says nothing of another copy in its place.
            if library.get(&digest).is_some_and(|held| Weak::ptr_eq(&of, &Arc::downgrade(&held))) {
                let serve::Fault { damaged, message } = fault;
                library.report(ReadFault { bundle: digest, damaged, message });
            }
        };
        let content = BundleContent::new(Arc::clone(&held.bundle), held.images.manifests.clone(), report);
        let repositories = Repository::by_digest(&held.bundle, &held.images, &held.patches);
        let offer = Arc::new(ServedBundle { content, repositories });
        offers.insert(digest, (Arc::downgrade(held), Arc::clone(&offer)));
        offer
    }
}

/// Who asks; those of whom that is not known count as one.
fn peer(request: &Request<()>) -> IpAddr {
    request.extensions().get::<Peer>().map_or(Ipv4Addr::UNSPECIFIED.into(), |peer| peer.0)
}

/// The answer to what may succeed later.
fn unavailable(message: &'static str) -> Response<Body> {
    let mut response = serve::error(StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE", message);
    response.headers_mut().insert(RETRY_AFTER, RETRY);
    response
}

/// Reads what [`crate::model::task::repository_in_bundle`] wrote: bundle and image.
fn parse(name: &str) -> Option<(Digest, Digest)> {
    let (bundle, image) = name.split_once('/')?;
    let digest = |hex: &str| format!("sha256:{hex}").parse().ok();
    Some((digest(bundle)?, digest(image)?))
}

/// Whether a set of the namespace lists the image.
fn is_listed(demand: &RequiredImages, namespace: &str, image: &Digest) -> bool {
    let first = SetName { namespace: namespace.to_owned(), name: String::new() };
    let sets = demand.sets.range(first..).take_while(|(name, _)| name.namespace == namespace);
    sets.into_iter().any(|(_, set)| set.images.contains_digest(image))
}

#[cfg(test)]
#[path = "front_tests.rs"]
mod tests;
