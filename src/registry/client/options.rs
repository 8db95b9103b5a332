// SPDX-License-Identifier: Apache-2.0
//! How a client reaches registries.

use std::fmt;
use std::num::NonZeroU64;
use std::time::Duration;

use camino::Utf8PathBuf;

use crate::oci::reference::RegistryHost;
use crate::registry::auth::keychain::Keychain;
use crate::registry::failure::error::RegistryError;
use crate::registry::limits::hosts::CONNECTIONS;
use crate::registry::limits::notifier::Notify;
use crate::registry::limits::policy::RetryPolicy;
use crate::registry::limits::run::RunLimits;
use crate::registry::transport::deny_list::DenyList;
use crate::registry::transport::options::{ProxyOptions, TransportOptions};
use crate::registry::transport::tls::{CertificateStore, ClientIdentity};

/// How a [`crate::registry::Client`] reaches registries.
#[derive(Clone)]
pub struct ClientOptions {
    /// Where credentials come from.
    pub keychain: Keychain,
    /// CA certificates (PEM) that are trusted besides those of the system.
    pub ca_files: Vec<Utf8PathBuf>,
    /// Folders with a folder `HOST` or `HOST:PORT` for each registry that needs its own trust: `*.crt` are CA
    /// certificates, `NAME.cert` with `NAME.key` a client certificate.
    pub certs_dirs: Vec<Utf8PathBuf>,
    /// CA certificates (PEM) that are trusted for one registry only, besides those of the system.
    pub ca_certs: Vec<(RegistryHost, Vec<u8>)>,
    /// Certificates that are shown to one registry only.
    pub identities: Vec<(RegistryHost, ClientIdentity)>,
    /// Addresses that no connection may go to, for registries, redirects and token servers alike. With such a rule, no proxy
    /// is used except [`ClientOptions::proxy`].
    pub deny_list: Option<DenyList>,
    /// Registries that are reached without TLS, with or without `:80`. A registry on this machine needs no entry: it is probed.
    pub plain_http: Vec<RegistryHost>,
    /// Registries whose certificate is not checked, with or without `:443`.
    pub insecure: Vec<RegistryHost>,
    /// Hosts outside of a registry's own domain that may receive its credentials if it names them as its token
    /// server. The port is not compared.
    pub realm_hosts: Vec<RegistryHost>,
    /// Hosts that a registry which is reached by https may redirect to by http, with or without `:80`: storage without TLS.
    pub http_redirects: Vec<RegistryHost>,
    /// Whether the proxies of the environment are used.
    pub proxies: bool,
    /// A proxy that is used instead of those. Behind it [`ClientOptions::deny_list`] cannot be checked: it is for registries
    /// that the same user has configured.
    pub proxy: Option<ProxyOptions>,
    /// Requests to one host at the same time; fewer to a host that limits its requests.
    pub connections_per_host: usize,
    /// Bytes per second of all bodies together, sent and received; unlimited if absent.
    pub bandwidth: Option<NonZeroU64>,
    /// Longest wait for a connection: the name, TCP and TLS.
    pub connect_timeout: Duration,
    /// A transfer without a byte for this time counts as cut; one with hardly any, after twice the time.
    pub stall_timeout: Duration,
    /// What is retried, and how often.
    pub retry: RetryPolicy,
    /// The `User-Agent` header.
    pub user_agent: String,
    /// Receives messages about retries.
    pub notify: Option<Notify>,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            keychain: Keychain::empty(),
            ca_files: Vec::new(),
            certs_dirs: vec!["/etc/containers/certs.d".into(), "/etc/docker/certs.d".into()],
            ca_certs: Vec::new(),
            identities: Vec::new(),
            deny_list: None,
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

impl ClientOptions {
    /// The options of the transport, without any credentials.
    pub(in crate::registry) fn transport(&self) -> TransportOptions {
        TransportOptions {
            deny_list: self.deny_list.clone(),
            plain_http: self.plain_http.clone(),
            insecure: self.insecure.clone(),
            http_redirects: self.http_redirects.clone(),
            proxies: self.proxies,
            proxy: self.proxy.clone(),
            connections_per_host: self.connections_per_host,
            connect_timeout: self.connect_timeout,
            stall_timeout: self.stall_timeout,
            retry: self.retry.clone(),
            user_agent: self.user_agent.clone(),
        }
    }

    /// The trusted certificates of hosts.
    ///
    /// # Errors
    /// A CA or a client certificate that cannot be used.
    pub(in crate::registry) fn certificates(&self) -> Result<CertificateStore, RegistryError> {
        CertificateStore::new(&self.ca_files, &self.certs_dirs, &self.ca_certs, &self.identities)
    }

    /// The limits of a run that starts with these options.
    pub(in crate::registry) fn limits(&self) -> RunLimits {
        RunLimits::new(self.bandwidth, self.connections_per_host, self.retry.budget)
    }
}

impl fmt::Debug for ClientOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientOptions")
            .field("ca_files", &self.ca_files)
            .field("certs_dirs", &self.certs_dirs)
            .field("deny_list", &self.deny_list)
            .field("plain_http", &self.plain_http)
            .field("insecure", &self.insecure)
            .field("connections_per_host", &self.connections_per_host)
            .field("bandwidth", &self.bandwidth)
            .finish_non_exhaustive()
    }
}
