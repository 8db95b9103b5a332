// SPDX-License-Identifier: Apache-2.0
//! A writable OCI registry inside the process, with faults on demand.
//!
//! It behaves like the Distribution project's registry towards skopeo, crane, oras, containerd and Docker, and
//! keeps large blobs in files. It runs on a thread of its own, so that tests without a runtime can use it, or in the
//! runtime of a test whose time is virtual.

mod auth;
mod blobs;
mod cut;
mod faults;
mod log;
mod manifests;
mod route;
mod server;
mod state;
mod uploads;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use krs_core::oci::digest::Digest;
use krs_core::oci::reference::RegistryHost;
use tokio::sync::oneshot;

pub use self::faults::{Fault, Matcher, What};
pub use self::log::Request;
use self::state::{Content, Stock, StoredManifest};
use crate::tls::{Authority, Identity};

/// How a registry behaves.
#[derive(Debug, Clone)]
pub struct Options {
    /// Whether it speaks TLS, with a certificate of an authority of its own.
    pub tls: bool,
    /// With TLS: the name of the certificate in place of its own.
    pub certificate_name: Option<&'static str>,
    /// With TLS: the years from which and to which the certificate is valid.
    pub certificate_years: Option<(i32, i32)>,
    /// With TLS: whether clients must show a certificate ([`Registry::client_identity`]).
    pub client_certificate: bool,
    /// Who may do what.
    pub auth: Auth,
    /// Whether it has the referrers API and answers a manifest with a subject with `OCI-Subject`.
    pub referrers_api: bool,
    /// Whether it mounts blobs across repositories; otherwise it answers with an ordinary upload.
    pub mounts: bool,
    /// Whether it heeds `Range`.
    pub ranges: bool,
    /// Whether it takes indexes whose children it does not have.
    pub sparse_indexes: bool,
    /// Whether manifests of any media type are accepted.
    pub unknown_types: bool,
    /// Whether it takes Docker's media types.
    pub docker_types: bool,
    /// Whether a tag can be given to another image; otherwise that is refused.
    pub mutable_tags: bool,
    /// Whether it takes the tag `sha256-HEX` for the digest `sha256:HEX`, as GitLab does.
    pub digest_tags: bool,
    /// Where it listens; absent: 127.0.0.1.
    pub address: Option<IpAddr>,
    /// Every connection breaks when it has carried so many bytes, counted over all of its requests in both directions.
    pub cut_connections: Option<u64>,
}

/// A name that no resolver knows, for which the certificate of a registry with [`Options::tls`] is good: it can only be
/// reached through a proxy.
pub const UNRESOLVED: &str = "registry.invalid";

impl Default for Options {
    /// Plain HTTP on loopback for everybody, and everything that Distribution does in its default configuration.
    fn default() -> Self {
        Self {
            tls: false,
            certificate_name: None,
            certificate_years: None,
            client_certificate: false,
            auth: Auth::None,
            referrers_api: true,
            mounts: true,
            ranges: true,
            sparse_indexes: false,
            unknown_types: false,
            docker_types: true,
            mutable_tags: true,
            digest_tags: false,
            address: None,
            cut_connections: None,
        }
    }
}

/// Who may do what.
#[derive(Debug, Clone, Default)]
pub enum Auth {
    /// Everybody everything.
    #[default]
    None,
    /// One user everything, with a password in each request.
    Basic {
        /// Name of the user.
        user: String,
        /// The user's password.
        password: String,
    },
    /// One user everything, with tokens from a token server at `/token` on the same port.
    Bearer {
        /// Name of the user.
        user: String,
        /// The user's password.
        password: String,
        /// How long a token is good for. Clients are told whole seconds, at least one.
        expires_in: Duration,
        /// Whether tokens for pulling are given to everybody.
        anonymous_pull: bool,
    },
}

impl Auth {
    /// [`Auth::Basic`].
    pub fn basic(user: &str, password: &str) -> Self {
        Self::Basic { user: user.to_owned(), password: password.to_owned() }
    }

    /// [`Auth::Bearer`] with tokens that are good for five minutes, and nothing for others.
    pub fn bearer(user: &str, password: &str) -> Self {
        let (user, password) = (user.to_owned(), password.to_owned());
        Self::Bearer { user, password, expires_in: Duration::from_secs(300), anonymous_pull: false }
    }
}

/// A running registry. Dropping it stops the server and removes what it holds.
#[derive(Debug)]
pub struct Registry {
    shared: Arc<server::ServerState>,
    address: SocketAddr,
    client: Option<Identity>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Registry {
    /// Starts a registry on a free port.
    pub fn start(options: Options) -> Self {
        Self::start_with(options, |serving| {
            let thread = std::thread::Builder::new().name("registry".to_owned());
            let thread = thread.spawn(move || {
                let mut runtime = tokio::runtime::Builder::new_multi_thread();
                let runtime = runtime.worker_threads(2).enable_all().build().unwrap();
                runtime.block_on(serving);
            });
            Some(thread.unwrap())
        })
    }

    /// Starts a registry in the runtime of the caller: where the time of that is paused, so is the registry's, and it does
    /// not go on before a request is answered.
    pub fn start_in_runtime(options: Options) -> Self {
        Self::start_with(options, |serving| {
            tokio::spawn(serving);
            None
        })
    }

    fn start_with(
        options: Options,
        run: impl FnOnce(BoxFuture<'static, ()>) -> Option<std::thread::JoinHandle<()>>,
    ) -> Self {
        let ip = options.address.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let listener = TcpListener::bind((ip, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let authority = options.tls.then(|| Authority::new("krs test registry"));
        let client = authority.as_ref().filter(|_| options.client_certificate).map(|a| a.client("krs"));
        let tls = authority.as_ref().map(|authority| {
            let ca = authority.pem();
            let ip = ip.to_string();
            let own = [ip.as_str(), "localhost", UNRESOLVED];
            let names = options.certificate_name.as_ref().map_or(&own[..], std::slice::from_ref);
            let identity = authority.server_between(names, options.certificate_years);
            crate::tls::server_config(&identity, options.client_certificate.then_some(ca.as_str()))
        });
        let shared = Arc::new(server::ServerState::new(options, address, authority.map(|a| a.pem())));
        let (stop, stopped) = oneshot::channel();
        let thread = run(server::run(listener, tls, Arc::clone(&shared), stopped).boxed());
        Self { shared, address, client, stop: Some(stop), thread }
    }

    /// Host and port, as in references.
    pub fn host(&self) -> RegistryHost {
        self.address.to_string().parse().unwrap()
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://host:port` or `https://host:port`.
    pub fn url(&self) -> String {
        let scheme = if self.shared.ca_pem.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// The certificate of the authority that a client must trust, with TLS.
    pub fn ca_pem(&self) -> Option<&str> {
        self.shared.ca_pem.as_deref()
    }

    /// The same in a file that lives as long as the registry.
    pub fn ca_file(&self) -> Option<&Utf8Path> {
        self.shared.ca_file.as_deref()
    }

    /// The certificate that a client must show, with [`Options::client_certificate`].
    pub fn client_identity(&self) -> Option<&Identity> {
        self.client.as_ref()
    }

    /// The requests so far, in the order in which they came.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.log.requests()
    }

    /// Forgets the requests so far.
    pub fn clear_requests(&self) {
        self.shared.log.clear();
    }

    /// How many connections were made so far.
    pub fn connections(&self) -> u64 {
        self.shared.log.connections.load(Ordering::SeqCst)
    }

    /// How many connections were open at once, at most.
    pub fn peak_connections(&self) -> u64 {
        self.shared.log.peak.load(Ordering::SeqCst)
    }

    /// Makes something go wrong from now on, next to the faults that are already in force.
    pub fn fault(&self, fault: Fault) {
        self.shared.faults.add(fault);
    }

    /// Short for [`Registry::fault`].
    pub fn fail(&self, on: Matcher, what: What) {
        self.fault(Fault { on, what });
    }

    /// Ends all faults.
    pub fn clear_faults(&self) {
        self.shared.faults.clear();
    }

    /// Makes every token that was given so far worthless.
    pub fn expire_tokens(&self) {
        self.shared.tokens.clear();
    }

    fn stock<T>(&self, f: impl FnOnce(&mut Stock) -> T) -> T {
        f(&mut self.shared.state.stock())
    }

    /// Puts a blob into a repository.
    pub fn put_blob(&self, repository: &str, bytes: &[u8]) -> Digest {
        let (digest, content) = self.shared.state.store(bytes);
        self.stock(|stock| stock.add_blob(repository, digest, content));
        digest
    }

    /// Puts a manifest or index, as it is and unchecked, under a tag or a digest (even one that it does not have).
    pub fn put_manifest(&self, repository: &str, reference: &str, media_type: &str, bytes: &[u8]) -> Digest {
        let digest = Digest::of(bytes);
        let manifest = StoredManifest { media_type: media_type.to_owned(), bytes: bytes.to_vec().into() };
        self.stock(|stock| {
            let repository = stock.repository(repository);
            if let Ok(claimed) = reference.parse::<Digest>() {
                repository.manifests.insert(claimed, manifest);
            } else {
                repository.manifests.insert(digest, manifest);
                repository.tags.insert(reference.to_owned(), digest);
            }
        });
        digest
    }

    /// Media type and bytes of a manifest or index, by tag or digest.
    pub fn manifest(&self, repository: &str, reference: &str) -> Option<(String, Vec<u8>)> {
        self.stock(|stock| {
            let (_, found) = stock.repositories.get(repository)?.manifest(reference)?;
            Some((found.media_type, found.bytes.to_vec()))
        })
    }

    /// The digest that a tag points to.
    pub fn digest(&self, repository: &str, tag: &str) -> Option<Digest> {
        self.stock(|stock| stock.repositories.get(repository)?.tags.get(tag).copied())
    }

    /// A blob of a repository.
    pub fn blob(&self, repository: &str, digest: &Digest) -> Option<Vec<u8>> {
        self.stock(|stock| stock.blob(repository, digest)).map(|content| content.all())
    }

    /// Whether the repository has the blob, without reading it.
    pub fn has_blob(&self, repository: &str, digest: &Digest) -> bool {
        self.stock(|stock| stock.blob(repository, digest).is_some())
    }

    /// The tags of a repository, sorted.
    pub fn tags(&self, repository: &str) -> Vec<String> {
        self.stock(|stock| {
            let repository = stock.repositories.get(repository);
            repository.map(|repository| repository.tags.keys().cloned().collect()).unwrap_or_default()
        })
    }

    /// The repositories, sorted.
    pub fn repositories(&self) -> Vec<String> {
        self.stock(|stock| stock.repositories.keys().cloned().collect())
    }

    /// Bytes of all blobs, each counted once.
    pub fn stored_bytes(&self) -> u64 {
        self.stock(|stock| stock.blobs.values().map(Content::len).sum())
    }

    /// Removes manifests that neither a tag nor another manifest names, and blobs that no manifest does.
    pub fn collect_garbage(&self) {
        self.stock(Stock::collect_garbage);
    }

    /// Removes a blob from all repositories, behind the backs of the manifests that need it.
    ///
    /// Returns whether there was one.
    pub fn delete_blob(&self, digest: &Digest) -> bool {
        self.stock(|stock| {
            stock.repositories.values_mut().for_each(|repository| {
                repository.blobs.remove(digest);
            });
            stock.blobs.remove(digest).is_some()
        })
    }

    /// Removes a manifest by tag (only the tag) or digest (with its tags). Returns whether there was one.
    pub fn delete_manifest(&self, repository: &str, reference: &str) -> bool {
        self.stock(|stock| manifests::remove(stock, repository, reference))
    }

    /// Turns over one bit in the middle of a stored blob, or of the manifest with this digest.
    ///
    /// Returns whether there was one with at least one byte.
    pub fn corrupt_blob(&self, digest: &Digest) -> bool {
        let flip = |mut bytes: Vec<u8>| {
            let middle = bytes.len() / 2;
            bytes.get_mut(middle).map(|byte| *byte ^= 1)?;
            Some(bytes)
        };
        let blob = self.stock(|stock| stock.blobs.get(digest).cloned());
        if let Some(damaged) = blob.and_then(|content| flip(content.all())) {
            let (_, content) = self.shared.state.store(&damaged);
            self.stock(|stock| stock.blobs.insert(*digest, content));
            return true;
        }
        self.stock(|stock| {
            let mut found = false;
            for repository in stock.repositories.values_mut() {
                if let Some(manifest) = repository.manifests.get_mut(digest)
                    && let Some(damaged) = flip(manifest.bytes.to_vec())
                {
                    manifest.bytes = damaged.into();
                    found = true;
                }
            }
            found
        })
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn utf8(path: std::path::PathBuf) -> Utf8PathBuf {
    Utf8PathBuf::from_path_buf(path).unwrap()
}
