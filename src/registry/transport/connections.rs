// SPDX-License-Identifier: Apache-2.0
//! Connection pools by the required trust and by the route.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use reqwest::Certificate;
use url::Url;

use crate::oci::reference::RegistryHost;
use crate::registry::failure::error::RegistryError;
use crate::registry::host::{HTTP_PORT, HTTPS_PORT, authority, is_listed, is_loopback};
use crate::registry::transport::exchange_failure::{Route, root_cause};
use crate::registry::transport::options::TransportOptions;
use crate::registry::transport::tls::CertificateStore;

/// Variables that name a proxy.
const PROXY_VARIABLES: [&str; 6] =
    ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"];

/// Which trust a connection needs.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Trust {
    /// No TLS.
    None,
    /// System roots and `ca_files`.
    Shared,
    /// Any certificate.
    Anything,
    /// Those, and the certificates of this host in `certs.d` or in the options.
    Own(String),
}

/// Connection pools by the required trust, and by whether they bypass the proxy.
#[derive(Debug)]
pub(in crate::registry) struct Connections {
    options: Arc<TransportOptions>,
    certificates: CertificateStore,
    clients: Mutex<HashMap<(Trust, bool), reqwest::Client>>,
}

impl Connections {
    pub(in crate::registry) fn new(options: &Arc<TransportOptions>, certificates: CertificateStore) -> Self {
        Self { options: Arc::clone(options), certificates, clients: Mutex::default() }
    }

    /// What is trusted for hosts.
    pub(in crate::registry) const fn certificates(&self) -> &CertificateStore {
        &self.certificates
    }

    /// The connection pool for an address.
    pub(in crate::registry) fn for_url(&self, url: &Url) -> Result<reqwest::Client, RegistryError> {
        let options = &self.options;
        let host = authority(url).parse::<RegistryHost>().ok();
        let insecure = host.as_ref().is_some_and(|host| is_listed(&options.insecure, host, HTTPS_PORT));
        let own = match (&host, url.scheme()) {
            (Some(host), "https") => self.certificates.for_host(host)?,
            _ => None,
        };
        let trust = match url.scheme() {
            "http" => Trust::None,
            _ if insecure => Trust::Anything,
            _ if own.is_some() => Trust::Own(authority(url)),
            _ => Trust::Shared,
        };
        // A proxy cannot reach loopback addresses of this machine.
        let direct = is_loopback(url);
        let key = (trust, direct);
        let mut clients = self.clients.lock();
        if let Some(client) = clients.get(&key) {
            return Ok(client.clone());
        }
        let unusable = |error: reqwest::Error| RegistryError::Tls {
            host: authority(url),
            detail: format!("it cannot be set up: {}", root_cause(&error)),
            hint: None,
            source: Some(error.into()),
        };
        let mut builder = self.builder(direct).map_err(unusable)?;
        let mut roots = self.certificates.shared_roots().to_vec();
        builder = match &key.0 {
            Trust::None => builder.tls_certs_only(Vec::<Certificate>::new()),
            Trust::Anything => builder.tls_danger_accept_invalid_certs(true),
            Trust::Shared => builder.tls_certs_merge(roots),
            Trust::Own(_) => {
                let own = own.unwrap_or_default();
                roots.extend(own.roots);
                let builder = builder.tls_certs_merge(roots);
                match own.identity {
                    Some(identity) => builder.identity(identity),
                    None => builder,
                }
            }
        };
        let client = builder.build().map_err(unusable)?;
        clients.insert(key, client.clone());
        Ok(client)
    }

    /// The options of all connections; `direct` bypasses the proxy.
    fn builder(&self, direct: bool) -> Result<reqwest::ClientBuilder, reqwest::Error> {
        let options = &self.options;
        let mut builder = reqwest::Client::builder()
            // One connection for each transfer: a single one that all transfers share is slower over long distances.
            .http1_only()
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .user_agent(options.user_agent.as_str())
            .connect_timeout(options.connect_timeout)
            .tcp_nodelay(true)
            .tcp_keepalive(Duration::from_secs(30))
            .pool_max_idle_per_host(options.connections_per_host.max(1))
            .pool_idle_timeout(Duration::from_secs(60));
        if let Some(deny_list) = &options.deny_list {
            // A proxy would resolve names itself, where the deny list cannot check them.
            builder = builder.dns_resolver(deny_list.resolver()).no_proxy();
        }
        if direct || !options.proxies || options.proxy.is_some() {
            builder = builder.no_proxy();
        }
        if let Some(proxy) = options.proxy.as_ref().filter(|_| !direct) {
            let no_proxy = reqwest::NoProxy::from_string(&proxy.no_proxy.join(","));
            builder = builder.proxy(reqwest::Proxy::all(&proxy.url)?.no_proxy(no_proxy));
        }
        Ok(builder)
    }

    /// The route to the server of `url`, for a message. The address of a proxy is shown without its credentials.
    pub(in crate::registry) fn route(&self, url: &Url) -> Route {
        let options = &self.options;
        let variable = || {
            PROXY_VARIABLES
                .into_iter()
                .find(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()))
        };
        let proxy = match &options.proxy {
            // Loopback addresses are reached directly.
            _ if is_loopback(url) => None,
            Some(proxy) => {
                let shown = |url: &Url| format!("the proxy {}", authority(url));
                let url = Url::parse(&proxy.url).ok();
                Some(url.as_ref().map_or_else(|| "the proxy".to_owned(), shown))
            }
            None if options.proxies && options.deny_list.is_none() => {
                variable().map(|name| format!("the proxy of {name}, where that is used for it"))
            }
            None => None,
        };
        let host = authority(url).parse();
        let plain_http =
            url.scheme() == "http" && host.is_ok_and(|host| is_listed(&options.plain_http, &host, HTTP_PORT));
        Route { trusted: self.certificates.describe(url), proxy, plain_http }
    }
}
