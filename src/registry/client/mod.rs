// SPDX-License-Identifier: Apache-2.0
//! The client, and what all of its clones share. Uses `auth`.

pub(in crate::registry) mod capabilities;
pub(in crate::registry) mod options;
pub(in crate::registry) mod repository;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::stream::{self, StreamExt as _};
use http::{HeaderMap, Method, StatusCode};
use reqwest::Certificate;
use url::Url;

use crate::error::find_cause;
use crate::oci::reference::{RegistryHost, RepositoryName};
use crate::registry::auth::authenticator::{Asking, Scope, Session};
use crate::registry::client::capabilities::Capabilities;
use crate::registry::client::options::ClientOptions;
use crate::registry::client::repository::{Repository, url};
use crate::registry::failure::error::RegistryError;
use crate::registry::failure::outcome::Failure;
use crate::registry::host::{HTTP_PORT, HTTPS_PORT, hub_api_host, is_listed};
use crate::registry::limits::hosts::Hosts;
use crate::registry::limits::rate_limiter::Pace;
use crate::registry::limits::retry::{Attempts, Importance, RetriesLeft, Told};
use crate::registry::transport::exchange::{Connections, Lane, Purpose, lock, protocol};
use crate::registry::transport::tls;
use crate::registry::transport::tls::HostCertificates;

/// Longest wait for a registry on this machine to say whether it speaks TLS.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);
/// Uploads that are cancelled at once.
const CANCELLED_AT_ONCE: usize = 16;
/// What a client has done so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Requests sent, redirects and retries included.
    pub requests: u64,
    /// Bytes of bodies received.
    pub bytes_received: u64,
    /// Bytes of blobs sent.
    pub bytes_sent: u64,
    /// Requests and transfers that were tried again.
    pub retries: u64,
    /// How many more there may be ([`crate::registry::RetryPolicy::budget`]).
    pub retries_left: u32,
    /// How long hosts were left alone because they limit their requests ([`crate::registry::RetryPolicy::max_wait`]).
    pub paused: Duration,
}

#[derive(Debug, Default)]
pub(in crate::registry) struct Counters {
    pub(in crate::registry) requests: AtomicU64,
    pub(in crate::registry) received: AtomicU64,
    pub(in crate::registry) sent: AtomicU64,
    pub(in crate::registry) retries: AtomicU64,
}

/// What all clones of a client share.
pub(in crate::registry) struct Inner {
    pub(in crate::registry) options: ClientOptions,
    pub(in crate::registry) roots: Vec<Certificate>,
    pub(in crate::registry) given: HashMap<String, HostCertificates>,
    pub(in crate::registry) connections: Connections,
    pub(in crate::registry) capabilities: Capabilities,
    pub(in crate::registry) hosts: Arc<Hosts>,
    pub(in crate::registry) sessions: Mutex<HashMap<RegistryHost, Arc<Session>>>,
    pub(in crate::registry) counters: Arc<Counters>,
    pub(in crate::registry) retries_left: Arc<RetriesLeft>,
    pub(in crate::registry) told: Told,
    pub(in crate::registry) pace: Arc<Pace>,
    /// Addresses of registries on this machine, by asking them.
    local: tokio::sync::Mutex<HashMap<RegistryHost, Url>>,
    /// Uploads that were dropped in the middle.
    pub(in crate::registry) abandoned: Mutex<Vec<(RegistryHost, RepositoryName, Url)>>,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Inner {
    pub(in crate::registry) fn notify(&self, message: &str) {
        tracing::debug!("{message}");
        if let Some(notify) = &self.options.notify {
            notify(message);
        }
    }

    /// The address of a registry, with or without TLS.
    async fn home(&self, purpose: &Purpose<'_>) -> Result<Url, Failure> {
        let registry = purpose.registry;
        let host = hub_api_host(registry);
        let address = |scheme: &str| {
            let url = format!("{scheme}://{host}/").parse::<Url>();
            url.map_err(|_| Failure::from(protocol(purpose, "its name is not an address")))
        };
        if is_listed(&self.options.plain_http, registry, HTTP_PORT) {
            return address("http");
        }
        let encrypted = !registry.is_loopback() || is_listed(&self.options.insecure, registry, HTTPS_PORT);
        if encrypted || self.host_certificates(registry)?.is_some() {
            return address("https");
        }
        let mut local = self.local.lock().await;
        if let Some(known) = local.get(registry) {
            return Ok(known.clone());
        }
        let https = address("https")?;
        let probe = self.send(purpose, &Method::GET, &https, HeaderMap::new(), None);
        let encrypted = match tokio::time::timeout(PROBE_TIMEOUT, probe).await {
            Ok(Ok(_)) => true,
            Ok(Err(Failure::Final(error))) => speaks_tls(&error),
            Ok(Err(Failure::Again(error))) => {
                let io = find_cause::<std::io::Error>(&*error).map(std::io::Error::kind);
                if io == Some(std::io::ErrorKind::ConnectionRefused) {
                    return Err(Failure::Again(error));
                }
                false
            }
            Ok(Err(Failure::LoggedIn(_) | Failure::Limited { .. })) | Err(_) => false,
        };
        let found = if encrypted { https } else { address("http")? };
        local.insert(registry.clone(), found.clone());
        Ok(found)
    }

    pub(in crate::registry) async fn asking<'a>(
        &self,
        purpose: Purpose<'a>,
        repository: Option<&'a RepositoryName>,
        scope: Scope,
    ) -> Result<Asking<'a>, Failure> {
        let home = self.home(&purpose).await?;
        Ok(Asking { purpose, repository, scope, home })
    }
}

/// Whether a TLS connection failed for what the server said in TLS, so that it does speak it.
fn speaks_tls(error: &RegistryError) -> bool {
    let certificate = |error: &rustls::Error| {
        matches!(error, rustls::Error::InvalidCertificate(_) | rustls::Error::AlertReceived(_))
    };
    matches!(error, RegistryError::Tls { .. }) && find_cause::<rustls::Error>(error).is_some_and(certificate)
}

/// Reaches registries. Cheap to clone; all clones share connections, tokens and budgets.
#[derive(Debug, Clone)]
pub struct Client {
    pub(in crate::registry) inner: Arc<Inner>,
}

impl Client {
    /// A client with these options. Nothing is connected yet.
    ///
    /// # Errors
    /// A CA or a client certificate that cannot be used.
    pub fn new(options: ClientOptions) -> Result<Self, RegistryError> {
        let mut roots = Vec::new();
        for file in &options.ca_files {
            roots.extend(tls::read_roots(file)?);
        }
        let given = tls::given(&options.authorities, &options.identities)?;
        let retries_left = Arc::new(RetriesLeft::new(options.retry.budget));
        let pace = Arc::new(Pace::new(options.bandwidth));
        let hosts = Arc::new(Hosts::new(options.connections_per_host));
        let inner = Inner {
            options,
            roots,
            given,
            connections: Connections::default(),
            capabilities: Capabilities::default(),
            hosts,
            sessions: Mutex::default(),
            counters: Arc::default(),
            retries_left,
            told: Told::default(),
            pace,
            local: tokio::sync::Mutex::default(),
            abandoned: Mutex::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    pub(in crate::registry) fn options(&self) -> &ClientOptions {
        &self.inner.options
    }

    /// A client for other hosts, or for the same ones in another way, in the same run: it has the limits of this one
    /// (bytes, requests to a host, pauses and retries), whatever `options` says of these, and counts together with it.
    pub(in crate::registry) fn with_options(&self, options: ClientOptions) -> Result<Self, RegistryError> {
        let Self { mut inner } = Self::new(options)?;
        if let Some(inner) = Arc::get_mut(&mut inner) {
            inner.counters = Arc::clone(&self.inner.counters);
            inner.pace = Arc::clone(&self.inner.pace);
            inner.hosts = Arc::clone(&self.inner.hosts);
            inner.retries_left = Arc::clone(&self.inner.retries_left);
        }
        Ok(Self { inner })
    }

    /// A repository, whether or not it exists.
    pub fn repository(&self, registry: &RegistryHost, name: &RepositoryName) -> Repository {
        Repository::new(&self.inner, registry, name)
    }

    /// Whether the registry answers, and takes the credentials if it asks for any.
    ///
    /// # Errors
    /// [`RegistryError`] says why it does not.
    pub async fn ping(&self, registry: &RegistryHost) -> Result<(), RegistryError> {
        let inner = &*self.inner;
        let mut attempts = Attempts::new(inner, Importance::Required);
        loop {
            match ping(inner, registry).await {
                Ok(()) => return Ok(()),
                Err(failure) => attempts.after(failure).await?,
            }
        }
    }

    /// Tells registries to forget the uploads that were dropped in the middle, so that nothing of them stays there.
    ///
    /// # Cancellation
    /// May be dropped at any time: registries forget uploads by themselves, later.
    pub async fn cancel_uploads(&self) {
        let abandoned = std::mem::take(&mut *lock(&self.inner.abandoned));
        let cancelled = abandoned.iter().map(|(registry, name, location)| async move {
            self.repository(registry, name).cancel_upload(location).await;
        });
        stream::iter(cancelled).buffer_unordered(CANCELLED_AT_ONCE).collect::<Vec<()>>().await;
    }

    /// What was done so far.
    pub fn statistics(&self) -> Statistics {
        let counters = &self.inner.counters;
        Statistics {
            requests: counters.requests.load(Ordering::Relaxed),
            bytes_received: counters.received.load(Ordering::Relaxed),
            bytes_sent: counters.sent.load(Ordering::Relaxed),
            retries: counters.retries.load(Ordering::Relaxed),
            retries_left: self.inner.retries_left.count(),
            paused: self.inner.hosts.paused(),
        }
    }
}

async fn ping(inner: &Inner, registry: &RegistryHost) -> Result<(), Failure> {
    let what = format!("https://{registry}/v2/");
    let purpose = Purpose { registry, what, lane: Lane::Requests, importance: Importance::Required };
    let mut asking = inner.asking(purpose, None, Scope::default()).await?;
    let url = url(&asking, "v2/")?;
    asking.purpose.what = url.to_string();
    let mut answer = inner.ask(&asking, &Method::GET, &url, &HeaderMap::new()).await?;
    match answer.status() {
        status if status.is_success() && answer.is_typed_as_page() => {
            let body = answer.beginning(&asking.purpose).await;
            answer.intercepted(&asking.purpose, &body).map_or(Ok(()), Err)
        }
        status if status.is_success() => Ok(()),
        StatusCode::NOT_FOUND => {
            Err(protocol(&asking.purpose, "there is no registry at this address (HTTP status 404)").into())
        }
        _ => Err(inner.rejected(&asking, answer).await),
    }
}
