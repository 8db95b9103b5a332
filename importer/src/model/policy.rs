// SPDX-License-Identifier: Apache-2.0
//! Which registries the site allows. Pure.

use std::collections::BTreeSet;
use std::net::IpAddr;

use krs_core::crd::DestinationTls;
use krs_core::oci::reference::{Destination, RegistryHost, RepositoryName};

use crate::model::config::{AllowedDestination, DestinationTlsPolicy};

/// A list of registries: `host[:port][/prefix]`, where `*.` in front of a host stands for one or more labels.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AllowList(Vec<Pattern>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Pattern {
    /// What the host must end with, with the leading dot, where any label may stand in front.
    suffix: bool,
    host: String,
    prefix: Option<RepositoryName>,
}

impl AllowList {
    /// Reads the list.
    ///
    /// # Errors
    /// Names the first entry that is no pattern.
    pub fn parse(entries: &[String]) -> Result<Self, String> {
        entries.iter().map(|entry| Pattern::parse(entry)).collect::<Result<_, _>>().map(Self)
    }

    /// Whether images may be read from `registry` and `repository`. An empty list allows none.
    pub fn source(&self, registry: &RegistryHost, repository: &RepositoryName) -> bool {
        self.0.iter().any(|pattern| pattern.allows(registry, Some(repository)))
    }
}

/// Edge registries, which namespaces may use each, and how they may be spoken to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Destinations {
    registries: Vec<(Pattern, Option<BTreeSet<String>>)>,
    tls: DestinationTlsPolicy,
}

impl Destinations {
    /// Reads the list.
    ///
    /// # Errors
    /// Names the first entry that is no pattern.
    pub fn parse(entries: &[AllowedDestination]) -> Result<Self, String> {
        let one = |entry: &AllowedDestination| match entry {
            AllowedDestination::Any(registry) => Ok((Pattern::parse(registry)?, None)),
            AllowedDestination::Of { registry, namespaces } => {
                Ok((Pattern::parse(registry)?, Some(namespaces.iter().cloned().collect())))
            }
        };
        let registries = entries.iter().map(one).collect::<Result<_, String>>()?;
        Ok(Self { registries, tls: DestinationTlsPolicy::default() })
    }

    /// The same registries, with what sets may say about their TLS.
    #[must_use]
    pub fn with_tls(self, tls: DestinationTlsPolicy) -> Self {
        Self { tls, ..self }
    }

    /// The fields of `spec.destinationTLS` that the site forbids: each with the value that would allow it.
    pub fn forbidden_tls(&self, tls: &DestinationTls) -> Vec<(&'static str, &'static str)> {
        [
            (tls.plain_http, self.tls.allow_plain_http, "plainHTTP", "allowPlainHTTP"),
            (
                tls.insecure_skip_verify,
                self.tls.allow_insecure_skip_verify,
                "insecureSkipVerify",
                "allowInsecureSkipVerify",
            ),
        ]
        .into_iter()
        .filter(|(is_set, allowed, ..)| *is_set && !allowed)
        .map(|(.., field, value)| (field, value))
        .collect()
    }

    /// Whether sets of `namespace` may bring images to `destination`: one entry that allows it is enough. An empty list
    /// allows none.
    pub fn allow(&self, destination: &Destination, namespace: &str) -> bool {
        self.registries.iter().any(|(pattern, namespaces)| {
            pattern.allows(&destination.registry, destination.prefix.as_ref())
                && namespaces.as_ref().is_none_or(|namespaces| namespaces.contains(namespace))
        })
    }
}

impl Pattern {
    fn parse(entry: &str) -> Result<Self, String> {
        let bad = |why: &str| {
            let shown = krs_core::redact::printable(entry, 120);
            format!(
                "`{shown}` is no registry ({why}): expected host[:port][/prefix], for example edge.local:5000/mirror or *.example.com"
            )
        };
        let (suffix, rest) = entry.strip_prefix("*.").map_or((false, entry), |rest| (true, rest));
        let destination =
            rest.trim_end_matches('/').parse::<Destination>().map_err(|e| bad(&e.to_string()))?;
        let host = destination.registry.to_string();
        Ok(Self { suffix, host: if suffix { format!(".{host}") } else { host }, prefix: destination.prefix })
    }

    fn allows(&self, registry: &RegistryHost, path: Option<&RepositoryName>) -> bool {
        let host = registry.as_str();
        let named = if self.suffix { host.ends_with(&self.host) } else { host == self.host };
        let below = |prefix: &RepositoryName| {
            path.and_then(|path| path.as_str().strip_prefix(prefix.as_str()))
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        named && self.prefix.as_ref().is_none_or(below)
    }
}

/// Why an address is never a destination, whatever the list says: an importer must not be made to talk to what only it
/// can reach (loopback, link-local with the metadata services of clouds, the API server).
pub fn forbidden(address: IpAddr, api_server: Option<IpAddr>) -> Option<&'static str> {
    let address = address.to_canonical();
    let link_local = match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    if address.is_loopback() {
        Some("a loopback address")
    } else if link_local {
        Some("a link-local address")
    } else if address.is_unspecified() || address.is_multicast() {
        Some("not the address of a host")
    } else if api_server.is_some_and(|api| api.to_canonical() == address) {
        Some("the API server's address")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn destinations(entries: &[&str]) -> Destinations {
        let entries = entries.iter().map(|entry| AllowedDestination::Any((*entry).to_owned()));
        Destinations::parse(&entries.collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn a_destination_is_allowed_by_host_port_and_prefix() {
        let list = destinations(&["edge.local:5000", "harbor.local/team-a", "*.shops.example"]);
        for (text, expected) in [
            ("edge.local:5000", true),
            ("edge.local:5000/any", true),
            ("edge.local", false),
            ("edge.local:5001", false),
            ("harbor.local/team-a", true),
            ("harbor.local/team-a/sub", true),
            ("harbor.local/team-ab", false),
            ("harbor.local", false),
            ("s1.shops.example", true),
            ("a.b.shops.example", true),
            ("shops.example", false),
            ("evilshops.example", false),
        ] {
            assert_eq!(list.allow(&text.parse().unwrap(), "shop"), expected, "{text}");
        }
        assert!(
            !Destinations::default().allow(&"edge.local".parse().unwrap(), "shop"),
            "an empty list allows nothing"
        );
        let (registry, repository) = ("quay.io".parse().unwrap(), "team/app".parse().unwrap());
        assert!(!AllowList::default().source(&registry, &repository), "an empty list allows nothing");
        assert!(AllowList::parse(&["quay.io/team".to_owned()]).unwrap().source(&registry, &repository));
    }

    #[test]
    fn t146_a_destination_may_be_for_some_namespaces_only() {
        let entries = r#"["open.local", {"registry": "edge.local/shop", "namespaces": ["shop", "till"]},
            {"registry": "edge.local/shared", "namespaces": ["shop"]}]"#;
        let list = Destinations::parse(&serde_json::from_str::<Vec<_>>(entries).unwrap()).unwrap();
        for (destination, namespace, expected) in [
            ("edge.local/shop", "shop", true),
            ("edge.local/shop/sub", "till", true),
            ("edge.local/shop", "evil", false),
            ("edge.local/shared", "till", false),
            ("edge.local", "shop", false),
            ("open.local/any", "evil", true),
        ] {
            let allowed = list.allow(&destination.parse().unwrap(), namespace);
            assert_eq!(allowed, expected, "{destination} {namespace}");
        }
    }

    #[test]
    fn entries_that_are_no_registry_are_named() {
        for entry in ["https://edge.local", "", "*", "EDGE:x:y"] {
            assert!(AllowList::parse(&[entry.to_owned()]).is_err(), "{entry}");
        }
    }

    #[test]
    fn the_importer_talks_to_no_address_that_only_it_can_reach() {
        let api = Some("10.96.0.1".parse().unwrap());
        for (address, expected) in [
            ("127.0.0.1", true),
            ("::1", true),
            ("::ffff:127.0.0.1", true),
            ("169.254.169.254", true),
            ("fe80::1", true),
            ("0.0.0.0", true),
            ("10.96.0.1", true),
            ("10.96.0.2", false),
            ("192.168.1.5", false),
        ] {
            assert_eq!(forbidden(address.parse().unwrap(), api).is_some(), expected, "{address}");
        }
    }
}
