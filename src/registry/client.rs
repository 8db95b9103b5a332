// SPDX-License-Identifier: Apache-2.0
//! The client, its options, and the repositories that it reaches.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use camino::Utf8PathBuf;

use super::{BlobSink, BlobSource, FetchedManifest, Keychain, Pushed, RegistryError};
use crate::digest::Digest;
use crate::oci::Descriptor;
use crate::reference::{RegistryHost, RepositoryName, Selector, Tag};

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
    /// Registries that are spoken to without TLS.
    pub plain_http: Vec<RegistryHost>,
    /// Registries whose certificate is not checked.
    pub insecure: Vec<RegistryHost>,
    /// Requests to one host at the same time.
    pub connections_per_host: usize,
    /// A transfer without a byte for so long is taken for cut.
    pub stall_timeout: Duration,
    /// What is tried again, and how often.
    pub retry: RetryPolicy,
    /// How the client calls itself.
    pub user_agent: String,
    /// Hears about retries.
    pub notify: Option<Notify>,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            keychain: Keychain::empty(),
            ca_files: Vec::new(),
            certs_dirs: vec!["/etc/containers/certs.d".into(), "/etc/docker/certs.d".into()],
            plain_http: Vec::new(),
            insecure: Vec::new(),
            connections_per_host: 8,
            stall_timeout: Duration::from_secs(60),
            retry: RetryPolicy::default(),
            user_agent: concat!("krs/", env!("CARGO_PKG_VERSION")).to_owned(),
            notify: None,
        }
    }
}

impl fmt::Debug for ClientOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientOptions").finish_non_exhaustive()
    }
}

/// What is tried again, and how often.
#[derive(Debug, Clone)]
pub struct RetryPolicy {
    /// Tries of one request, the first included. Progress inside a blob begins the count again.
    pub attempts: u32,
    /// The first wait; each further one is twice as long.
    pub base: Duration,
    /// The longest wait.
    pub max: Duration,
    /// The longest wait that a registry may ask for with `Retry-After`.
    pub retry_after_cap: Duration,
    /// Whether a wait is a random part of its length, so that many clients do not come back at once.
    pub jitter: bool,
    /// Retries of the whole run, all requests together.
    pub budget: u32,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 6,
            base: Duration::from_millis(500),
            max: Duration::from_secs(30),
            retry_after_cap: Duration::from_secs(120),
            jitter: true,
            budget: 1000,
        }
    }
}

/// What a client has done so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Requests sent, redirects and retries included.
    pub requests: u64,
    /// Bytes of bodies received.
    pub bytes_received: u64,
    /// Bytes of bodies sent.
    pub bytes_sent: u64,
    /// Requests and transfers that were tried again.
    pub retries: u64,
}

/// Reaches registries. Cheap to clone; all clones share connections, tokens and budgets.
#[derive(Debug, Clone)]
pub struct Client {
    options: Arc<ClientOptions>,
}

impl Client {
    /// A client with these options. Nothing is connected yet.
    ///
    /// # Errors
    /// A CA file that cannot be used.
    pub fn new(options: ClientOptions) -> Result<Self, RegistryError> {
        Ok(Self { options: Arc::new(options) })
    }

    /// A repository, whether or not it exists.
    pub fn repository(&self, registry: &RegistryHost, name: &RepositoryName) -> Repository {
        Repository { client: self.clone(), registry: registry.clone(), name: name.clone() }
    }

    /// Whether the registry answers, and takes the credentials if it asks for any.
    ///
    /// # Errors
    /// [`RegistryError`] says why it does not.
    pub async fn ping(&self, registry: &RegistryHost) -> Result<(), RegistryError> {
        Err(unfinished(registry))
    }

    /// What was done so far.
    pub fn statistics(&self) -> Statistics {
        Statistics::default()
    }
}

fn unfinished(registry: &RegistryHost) -> RegistryError {
    RegistryError::Protocol {
        registry: registry.clone(),
        what: String::new(),
        detail: "unfinished".to_owned(),
    }
}

/// One repository of a registry. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Repository {
    client: Client,
    registry: RegistryHost,
    name: RepositoryName,
}

impl Repository {
    /// The registry as it was named, e.g. `docker.io`.
    pub fn registry(&self) -> &RegistryHost {
        &self.registry
    }

    /// The repository's path in its registry.
    pub fn name(&self) -> &RepositoryName {
        &self.name
    }

    /// Type, digest and size of an index or manifest, or `None` where there is none.
    ///
    /// # Errors
    /// All but [`RegistryError::NotFound`].
    pub async fn head_manifest(&self, selector: &Selector) -> Result<Option<Descriptor>, RegistryError> {
        let _ = (&self.client.options, selector);
        Err(unfinished(&self.registry))
    }

    /// An index or manifest.
    ///
    /// # Errors
    /// [`RegistryError::Content`] where the bytes are not those of the digest that was asked for, and the others.
    pub async fn manifest(&self, selector: &Selector) -> Result<FetchedManifest, RegistryError> {
        let _ = selector;
        Err(unfinished(&self.registry))
    }

    /// Whether the repository has a blob of this digest and size. A blob of another size counts as absent.
    ///
    /// # Errors
    /// All but [`RegistryError::NotFound`].
    pub async fn has_blob(&self, digest: &Digest, size: u64) -> Result<bool, RegistryError> {
        let _ = (digest, size);
        Err(unfinished(&self.registry))
    }

    /// Fetches a blob of exactly this digest and size into `sink`.
    ///
    /// # Errors
    /// [`RegistryError`]; what `sink` has taken until then is not the blob.
    pub async fn blob(
        &self,
        digest: &Digest,
        size: u64,
        sink: &mut dyn BlobSink,
    ) -> Result<(), RegistryError> {
        let _ = (digest, size, sink);
        Err(unfinished(&self.registry))
    }

    /// Sends a blob of exactly this digest and size, or has the registry take it from another of its
    /// repositories, `mount_from`, where it can.
    ///
    /// # Errors
    /// [`RegistryError::Source`] where `source` does not hold that blob, and the others.
    pub async fn push_blob(
        &self,
        digest: &Digest,
        size: u64,
        source: Arc<dyn BlobSource>,
        mount_from: Option<&RepositoryName>,
    ) -> Result<Pushed, RegistryError> {
        let _ = (digest, size, source, mount_from);
        Err(unfinished(&self.registry))
    }

    /// Stores an index or manifest under its digest or under a tag.
    ///
    /// # Errors
    /// [`RegistryError::OtherDigest`] where the registry stored it under another digest, and the others. (T-58)
    pub async fn push_manifest(
        &self,
        selector: &Selector,
        media_type: &str,
        bytes: Bytes,
    ) -> Result<(), RegistryError> {
        let _ = (selector, media_type, bytes);
        Err(unfinished(&self.registry))
    }

    /// All tags; none where the repository does not exist or has no tags.
    ///
    /// # Errors
    /// [`RegistryError`], also where there are more tags than are accepted.
    pub async fn tags(&self) -> Result<Vec<Tag>, RegistryError> {
        Err(unfinished(&self.registry))
    }

    /// What refers to the document of this digest: signatures, SBOMs, attestations.
    ///
    /// # Errors
    /// [`RegistryError`], also where there are more referrers than are accepted.
    pub async fn referrers(&self, digest: &Digest) -> Result<Vec<Descriptor>, RegistryError> {
        let _ = digest;
        Err(unfinished(&self.registry))
    }
}
