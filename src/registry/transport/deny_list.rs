// SPDX-License-Identifier: Apache-2.0
//! Addresses that the client may not connect to: checked when a connection is made, so that the rule covers names,
//! redirects and token servers. (T-57)

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

use crate::registry::failure::denied_address::DeniedAddress;

/// The rule that says why an address may not be connected to, if it may not.
#[derive(Clone)]
pub struct DenyList(Arc<dyn Fn(IpAddr) -> Option<&'static str> + Send + Sync>);

impl fmt::Debug for DenyList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DenyList")
    }
}

impl DenyList {
    /// Denies the addresses for which `rule` gives a reason: a phrase such as `a loopback address`. The rule sees IPv4
    /// addresses as such, even if they are written as IPv6.
    pub fn new(rule: impl Fn(IpAddr) -> Option<&'static str> + Send + Sync + 'static) -> Self {
        Self(Arc::new(rule))
    }

    /// Whether `address` may be connected to.
    ///
    /// # Errors
    /// Why not.
    pub fn check_address(&self, address: IpAddr) -> Result<(), DeniedAddress> {
        let address = address.to_canonical();
        (self.0)(address).map_or(Ok(()), |reason| Err(DeniedAddress { address, reason }))
    }

    /// [`Self::check_address`] for a URL with an address. Names are checked when they are resolved.
    pub(in crate::registry) fn check(&self, url: &Url) -> Result<(), DeniedAddress> {
        match url.host() {
            Some(Host::Ipv4(ip)) => self.check_address(ip.into()),
            Some(Host::Ipv6(ip)) => self.check_address(ip.into()),
            Some(Host::Domain(_)) | None => Ok(()),
        }
    }

    pub(in crate::registry) fn resolver(&self) -> Arc<Resolver> {
        Arc::new(Resolver(self.clone()))
    }
}

/// Resolves as the system does, and refuses a name with any denied address: it is not predictable which one a
/// connection uses.
pub(in crate::registry) struct Resolver(DenyList);

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let deny_list = self.0.clone();
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?.collect::<Vec<SocketAddr>>();
            for address in &found {
                deny_list.check_address(address.ip())?;
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}
