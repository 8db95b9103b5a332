// SPDX-License-Identifier: Apache-2.0
//! How hosts are reached.

use std::time::Duration;

use crate::oci::reference::RegistryHost;
use crate::registry::limits::policy::RetryPolicy;
use crate::registry::transport::deny_list::DenyList;

/// A proxy, and the hosts that are reached without it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyOptions {
    /// `http://host:port` or `https://host:port`.
    pub url: String,
    /// Hosts, domains and networks, as in `NO_PROXY`.
    pub no_proxy: Vec<String>,
}

/// How hosts are reached: the part of [`crate::registry::ClientOptions`] without credentials.
#[derive(Debug, Clone)]
pub(in crate::registry) struct TransportOptions {
    pub(in crate::registry) deny_list: Option<DenyList>,
    pub(in crate::registry) plain_http: Vec<RegistryHost>,
    pub(in crate::registry) insecure: Vec<RegistryHost>,
    pub(in crate::registry) http_redirects: Vec<RegistryHost>,
    /// Whether proxies of the environment are used.
    pub(in crate::registry) proxies: bool,
    pub(in crate::registry) proxy: Option<ProxyOptions>,
    pub(in crate::registry) connections_per_host: usize,
    pub(in crate::registry) connect_timeout: Duration,
    pub(in crate::registry) stall_timeout: Duration,
    /// For the pauses of hosts that limit their requests.
    pub(in crate::registry) retry: RetryPolicy,
    pub(in crate::registry) user_agent: String,
}
