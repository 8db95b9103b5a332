// SPDX-License-Identifier: Apache-2.0
//! The client, its options, and the repositories that it reaches.

use std::collections::HashMap;
use std::fmt;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use camino::Utf8PathBuf;
use futures::stream::{self, StreamExt as _};
use http::{HeaderMap, Method, StatusCode};
use reqwest::Certificate;
use url::Url;

use super::address::Barred;
use super::auth::{Asking, Scope, Session};
use super::capabilities::Capabilities;
use super::error::RegistryError;
use super::hosts::Hosts;
use super::keychain::Keychain;
use super::pace::Pace;
use super::retry::{Attempts, Failure, Importance, RetriesLeft, RetryPolicy};
use super::tls::{ClientIdentity, HostCertificates};
use super::transport::{Connections, Lane, Purpose, lock, protocol};
use super::{auth, tls};
use crate::error::find_cause;
use crate::reference::{RegistryHost, RepositoryName};

/// Longest wait for a registry on this machine to say whether it speaks TLS.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);
/// Requests to one host at the same time, unless said otherwise. A small image takes some 30 requests to push, of hardly any
/// bytes: over a line of 50 ms this many at once bring 20 such images in a second. A host that finds it too many gets fewer.
pub(super) const CONNECTIONS: usize = 32;

/// Hears one-line messages for a person.
pub type Notify = Arc<dyn Fn(&str) + Send + Sync>;

/// How a [`Client`] reaches registries.
#[derive(Clone)]
pub struct ClientOptions {
    /// Where credentials come from.
    pub keychain: Keychain,
    /// CA certificates (PEM) that are trusted beside those of the system.
    pub ca_files: Vec<Utf8PathBuf>,
    /// Folders with a folder `HOST` or `HOST:PORT` for each registry that needs its own trust: `*.crt` are CA
    /// certificates, `NAME.cert` with `NAME.key` a client certificate.
    pub certs_dirs: Vec<Utf8PathBuf>,
    /// CA certificates (PEM) that are trusted for one registry only, beside those of the system.
    pub authorities: Vec<(RegistryHost, Vec<u8>)>,
    /// Certificates that are shown to one registry only.
    pub identities: Vec<(RegistryHost, ClientIdentity)>,
    /// Addresses that no connection may lead to, whatever name, redirect or token server leads there. With such a
    /// rule no proxy is used but one in [`ClientOptions::proxy`].
    pub barred: Option<Barred>,
    /// Registries that are spoken to without TLS, with or without `:80`. A registry on this machine needs no entry: it is asked.
    pub plain_http: Vec<RegistryHost>,
    /// Registries whose certificate is not checked, with or without `:443`.
    pub insecure: Vec<RegistryHost>,
    /// Hosts outside of a registry's own domain that may be sent its login where it names them as its token
    /// server. The port is not compared.
    pub realm_hosts: Vec<RegistryHost>,
    /// Hosts that a registry which is reached by https may redirect to by http, with or without `:80`: storage without TLS.
    pub http_redirects: Vec<RegistryHost>,
    /// Whether proxies are used that the environment names.
    pub proxies: bool,
    /// A proxy that is used in place of those. Behind it [`ClientOptions::barred`] cannot be checked: it is for registries
    /// that the person who names the proxy has named, too.
    pub proxy: Option<ProxyOptions>,
    /// Requests to one host at the same time; fewer to a host that limits its requests.
    pub connections_per_host: usize,
    /// Bytes that all bodies together may have in a second, sent and received; no limit where there is none.
    pub bandwidth: Option<NonZeroU64>,
    /// Longest wait for a connection: the name, TCP and TLS.
    pub connect_timeout: Duration,
    /// A transfer without a byte for so long is taken for cut; one with hardly any, after twice as long.
    pub stall_timeout: Duration,
    /// What is tried again, and how often.
    pub retry: RetryPolicy,
    /// How the client calls itself.
    pub user_agent: String,
    /// Hears about retries.
    pub notify: Option<Notify>,
}

/// A proxy, and what is reached without it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyOptions {
    /// `http://host:port` or `https://host:port`.
    pub url: String,
    /// Hosts, domains and networks, as in `NO_PROXY`.
    pub no_proxy: Vec<String>,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            keychain: Keychain::empty(),
            ca_files: Vec::new(),
            certs_dirs: vec!["/etc/containers/certs.d".into(), "/etc/docker/certs.d".into()],
            authorities: Vec::new(),
            identities: Vec::new(),
            barred: None,
            plain_http: Vec::new(),
            insecure: Vec::new(),
            realm_hosts: Vec::new(),
            http_redirects: Vec::new(),
            proxies: true,
            proxy: None,
            connections_per_host: CONNECTIONS,
            bandwidth: None,
            connect_timeout: Duration::from_secs(20),
            stall_timeout: Duration::from_secs(60),
            retry: RetryPolicy::default(),
            user_agent: concat!("krs/", env!("CARGO_PKG_VERSION")).to_owned(),
            notify: None,
        }
    }
}

impl fmt::Debug for ClientOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientOptions")
            .field("ca_files", &self.ca_files)
            .field("certs_dirs", &self.certs_dirs)
            .field("barred", &self.barred)
            .field("plain_http", &self.plain_http)
            .field("insecure", &self.insecure)
            .field("connections_per_host", &self.connections_per_host)
            .field("bandwidth", &self.bandwidth)
            .finish_non_exhaustive()
    }
}

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
    /// How many more there may be ([`RetryPolicy::budget`]).
    pub retries_left: u32,
    /// How long hosts were left alone because they limit their requests ([`RetryPolicy::max_wait`]).
    pub paused: Duration,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) requests: AtomicU64,
    pub(super) received: AtomicU64,
    pub(super) sent: AtomicU64,
    pub(super) retries: AtomicU64,
}

/// What all clones of a client share.
pub(super) struct Inner {
    pub(super) options: ClientOptions,
    pub(super) roots: Vec<Certificate>,
    pub(super) given: HashMap<String, HostCertificates>,
    pub(super) connections: Connections,
    pub(super) capabilities: Capabilities,
    pub(super) hosts: Arc<Hosts>,
    pub(super) sessions: Mutex<HashMap<RegistryHost, Arc<Session>>>,
    pub(super) counters: Arc<Counters>,
    pub(super) retries_left: Arc<RetriesLeft>,
    pub(super) pace: Arc<Pace>,
    /// Addresses of registries on this machine, by asking them.
    local: tokio::sync::Mutex<HashMap<RegistryHost, Url>>,
    /// Uploads that were dropped in the middle.
    pub(super) abandoned: Mutex<Vec<(RegistryHost, RepositoryName, Url)>>,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner").field("options", &self.options).finish_non_exhaustive()
    }
}

/// The host that stands for a registry: Docker Hub's API has another name than its images.
fn served_by(registry: &RegistryHost) -> &str {
    match registry.as_str() {
        "docker.io" | "index.docker.io" => "registry-1.docker.io",
        other => other,
    }
}

/// The registry that a host stands for, where that has another name.
pub(super) fn named_by(host: &RegistryHost) -> Option<RegistryHost> {
    (host.as_str() == "registry-1.docker.io").then(|| "docker.io".parse().ok()).flatten()
}

impl Inner {
    pub(super) fn notify(&self, message: &str) {
        tracing::debug!("{message}");
        if let Some(notify) = &self.options.notify {
            notify(message);
        }
    }

    /// The address of a registry, with or without TLS.
    async fn home(&self, purpose: &Purpose<'_>) -> Result<Url, Failure> {
        let registry = purpose.registry;
        let host = served_by(registry);
        let address = |scheme: &str| {
            let url = format!("{scheme}://{host}/").parse::<Url>();
            url.map_err(|_| Failure::from(protocol(purpose, "its name is not an address")))
        };
        if tls::listed(&self.options.plain_http, registry, tls::HTTP) {
            return address("http");
        }
        let encrypted = !registry.is_loopback() || tls::listed(&self.options.insecure, registry, tls::HTTPS);
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

    pub(super) async fn asking<'a>(
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
    pub(super) inner: Arc<Inner>,
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
            pace,
            local: tokio::sync::Mutex::default(),
            abandoned: Mutex::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    pub(super) fn options(&self) -> &ClientOptions {
        &self.inner.options
    }

    /// A client for other hosts, or for the same ones in another way, in the same run: it has the limits of this one
    /// (bytes, requests to a host, pauses and retries), whatever `options` says of these, and counts together with it.
    pub(super) fn with_options(&self, options: ClientOptions) -> Result<Self, RegistryError> {
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
        Repository {
            inner: Arc::clone(&self.inner),
            registry: registry.clone(),
            name: name.clone(),
            lane: Lane::Requests,
            importance: Importance::Required,
        }
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

/// An address below the registry's.
pub(super) fn url(asking: &Asking<'_>, path: &str) -> Result<Url, Failure> {
    asking.home.join(path).map_err(|_| protocol(&asking.purpose, "its name is not an address").into())
}

/// Uploads that are cancelled at once.
const CANCELLED_AT_ONCE: usize = 16;

/// One repository of a registry. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Repository {
    pub(super) inner: Arc<Inner>,
    registry: RegistryHost,
    name: RepositoryName,
    lane: Lane,
    importance: Importance,
}

impl Repository {
    /// The registry as it was named, e.g. `docker.io`.
    pub fn registry(&self) -> &RegistryHost {
        &self.registry
    }

    /// Another repository of the same registry, reached by the same client.
    #[must_use]
    pub fn sibling(&self, name: &RepositoryName) -> Self {
        Self { name: name.clone(), ..self.clone() }
    }

    /// The same repository for downloads that are the body of an upload.
    pub(super) fn for_relay(&self) -> Self {
        Self { lane: Lane::Relay, ..self.clone() }
    }

    /// The same repository for what an image can do without, and for requests that only save others: all of these
    /// together use at most a quarter of the retries and pauses of a run.
    #[must_use]
    pub fn optional(&self) -> Self {
        let optional = self.importance.is_optional();
        let importance = if optional { self.importance } else { Importance::Optional };
        Self { importance, ..self.clone() }
    }

    /// The same repository for requests like one that has failed in spite of retries: where they are optional, they are
    /// sent once.
    #[must_use]
    pub fn optional_once(&self) -> Self {
        let optional = self.importance.is_optional();
        let importance = if optional { Importance::OptionalOnce } else { self.importance };
        Self { importance, ..self.clone() }
    }

    /// Counts the tries of a request.
    pub(super) fn attempts(&self) -> Attempts<'_> {
        Attempts::new(&self.inner, self.importance)
    }

    /// The repository's path in its registry.
    pub fn name(&self) -> &RepositoryName {
        &self.name
    }

    /// What a request is for, with the registry's address.
    pub(super) async fn asking(&self, scope: Scope, what: String) -> Result<Asking<'_>, Failure> {
        let Self { registry, lane, importance, .. } = self;
        let purpose = Purpose { registry, what, lane: *lane, importance: *importance };
        self.inner.asking(purpose, Some(&self.name), scope).await
    }

    pub(super) fn pulling(&self) -> Scope {
        auth::Scope::pull(&self.name)
    }

    /// An address in this repository.
    pub(super) fn url(&self, asking: &Asking<'_>, rest: impl fmt::Display) -> Result<Url, Failure> {
        url(asking, &format!("v2/{}/{rest}", self.name))
    }
}
