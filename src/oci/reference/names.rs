// SPDX-License-Identifier: Apache-2.0
//! The parts of a reference: registries, repositories and tags.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::error::{ParseReferenceError, shown};
use crate::oci::digest::Digest;

/// Makes a validated string type out of a check function.
macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $check:path) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = ParseReferenceError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                $check(text).map(|()| Self(text.to_owned()))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

name_type!(
    /// `host` or `host:port` of a registry, in lower case; an IPv6 address stands in brackets.
    RegistryHost, check_registry
);
name_type!(
    /// Path of a repository inside a registry, e.g. `library/nginx`.
    RepositoryName, check_repository
);
name_type!(
    /// A tag, e.g. `1.25`.
    Tag, check_tag
);

fn check_registry(text: &str) -> Result<(), ParseReferenceError> {
    let bad = || ParseReferenceError::Registry(shown(text));
    if text.contains("://") {
        return Err(ParseReferenceError::Scheme(shown(text)));
    }
    if text.len() > 255 {
        return Err(bad());
    }
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (address, port) = rest.split_once(']').ok_or_else(bad)?;
        address.parse::<std::net::Ipv6Addr>().map_err(|_| bad())?;
        (None, port.strip_prefix(':').or(if port.is_empty() { None } else { Some("") }))
    } else {
        let (host, port) = text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
        (Some(host), port)
    };
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'))
    };
    if !host.is_none_or(|host| host.split('.').all(label)) {
        return Err(bad());
    }
    match port {
        Some(port) if port.len() > 5 || !port.bytes().all(|b| b.is_ascii_digit()) => Err(bad()),
        Some(port) if port.parse::<u16>().ok().is_none_or(|port| port == 0) => Err(bad()),
        _ => Ok(()),
    }
}

fn check_repository(text: &str) -> Result<(), ParseReferenceError> {
    let alphanumeric = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let part = |part: &str| {
        let bytes = part.as_bytes();
        if !bytes.first().is_some_and(alphanumeric) || !bytes.last().is_some_and(alphanumeric) {
            return false;
        }
        // Between letters and digits stand `.`, `_`, `__` or any number of `-`.
        bytes
            .split(alphanumeric)
            .all(|gap| matches!(gap, b"" | b"." | b"_" | b"__") || gap.iter().all(|b| *b == b'-'))
    };
    if text.len() > 255 || !text.split('/').all(part) {
        return Err(ParseReferenceError::Repository(shown(text)));
    }
    Ok(())
}

fn check_tag(text: &str) -> Result<(), ParseReferenceError> {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let mut bytes = text.bytes();
    let first = bytes.next().is_some_and(word);
    if !first || text.len() > 128 || !bytes.all(|b| word(b) || matches!(b, b'.' | b'-')) {
        return Err(ParseReferenceError::Tag(shown(text)));
    }
    Ok(())
}

impl RegistryHost {
    /// The host without the port, and without brackets.
    pub fn host(&self) -> &str {
        if let Some(rest) = self.0.strip_prefix('[') {
            return rest.split(']').next().unwrap_or(rest);
        }
        self.0.split(':').next().unwrap_or(&self.0)
    }

    /// The port, if it is named.
    pub fn port(&self) -> Option<u16> {
        let after_host = self.0.rsplit_once(']').map_or(self.0.as_str(), |(_, rest)| rest);
        after_host.rsplit_once(':')?.1.parse().ok()
    }

    /// The name without the port of HTTPS, so that two names of one registry are the same text.
    pub fn without_default_port(&self) -> &str {
        self.0.strip_suffix(":443").unwrap_or(&self.0)
    }

    /// Whether it can only be this machine: `localhost`, `127.0.0.0/8` or `::1`.
    pub fn is_loopback(&self) -> bool {
        let host = self.host();
        host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }
}

impl RepositoryName {
    /// `self/name`.
    ///
    /// # Errors
    /// The joined name is longer than a repository may be.
    pub fn join(&self, name: &Self) -> Result<Self, ParseReferenceError> {
        format!("{self}/{name}").parse()
    }
}

impl Tag {
    /// The tag that an image with only a digest gets at the edge: `krs-<first 32 hex digits>`. Registries delete untagged
    /// manifests, and `sha256-<hex>` is taken by the fallback for referrers (OCI distribution-spec).
    pub fn of_digest(digest: &Digest) -> Self {
        Self(format!("krs-{}", &digest.hex()[..32]))
    }
}
