// SPDX-License-Identifier: Apache-2.0
//! Names of images: registries, repositories, tags, and the names of images at the edge.
//!
//! The grammar is the Distribution project's (`reference` package), with one difference: an image must name its
//! registry, because a site has no default registry.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

use crate::oci::digest::{Digest, ParseDigestError};

/// Longest image reference that a set may hold, in characters (design: EdgeImageSet).
pub const MAX_REFERENCE: usize = 320;

/// Why a text does not name an image, registry, repository or tag.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ParseReferenceError {
    /// A URL where a name is expected.
    #[error("`{0}` has a scheme; write the name without `http://` or `https://`")]
    Scheme(String),
    /// The first part is not a host.
    #[error(
        "`{0}` does not name a registry; write it in full, for example docker.io/library/nginx:1.25@sha256:…"
    )]
    NoRegistry(String),
    /// Not `host` or `host:port`.
    #[error("`{0}` is not a registry: expected host or host:port, in lower case")]
    Registry(String),
    /// Not a repository path.
    #[error(
        "`{0}` is not a repository: expected lower-case letters, digits and single `.`, `_`, `__` or `-` between them, in parts divided by `/`"
    )]
    Repository(String),
    /// Not a tag.
    #[error(
        "`{0}` is not a tag: expected up to 128 letters, digits, `_`, `.` or `-`, not starting with `.` or `-`"
    )]
    Tag(String),
    /// Neither a tag nor a digest.
    #[error("`{0}` has neither a tag nor a digest; add @sha256:… (or at least a tag)")]
    Bare(String),
    /// Longer than [`MAX_REFERENCE`].
    #[error("the image reference has {0} characters, more than the {MAX_REFERENCE} that are allowed")]
    Long(usize),
    /// A variable that nothing has filled in.
    #[error(
        "`{0}` holds a variable; render the file first and pass the result, for example: kustomize build DIR | krs bundle -"
    )]
    Variable(String),
    /// The digest is not one.
    #[error(transparent)]
    Digest(#[from] ParseDigestError),
}

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

fn shown(text: &str) -> String {
    crate::redact::printable(text, 120)
}

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

/// What selects one manifest of a repository.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Selector {
    /// The manifest that the tag names now.
    Tag(Tag),
    /// The manifest with this digest.
    Digest(Digest),
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => tag.fmt(f),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}

impl FromStr for Selector {
    type Err = ParseReferenceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.contains(':') { Ok(Self::Digest(text.parse()?)) } else { text.parse().map(Self::Tag) }
    }
}

/// An image as a set names it: registry, repository, and a tag, a digest, or both.
///
/// Reading normalises what Docker Hub allows: `docker.io/nginx` is `docker.io/library/nginx`, and
/// `index.docker.io` is `docker.io`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    /// Registry that the image comes from.
    pub registry: RegistryHost,
    /// Repository in that registry.
    pub repository: RepositoryName,
    /// The tag. It selects the image if there is no digest, and names the image at the edge.
    pub tag: Option<Tag>,
    /// The digest. It selects the image.
    pub digest: Option<Digest>,
}

impl Reference {
    /// Selects the manifest: by the digest if there is one, otherwise by the tag.
    ///
    /// Returns `None` only for a reference that was constructed with neither.
    pub fn selector(&self) -> Option<Selector> {
        self.digest.map(Selector::Digest).or_else(|| self.tag.clone().map(Selector::Tag))
    }

    /// `registry/repository`, without tag and digest.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Reference {
    type Err = ParseReferenceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let length = text.chars().count();
        if length > MAX_REFERENCE {
            return Err(ParseReferenceError::Long(length));
        }
        if text.contains("://") {
            return Err(ParseReferenceError::Scheme(shown(text)));
        }
        if text.contains("${") || text.contains("{{") {
            return Err(ParseReferenceError::Variable(shown(text)));
        }
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(digest.parse()?)),
            None => (text, None),
        };
        let no_registry = || ParseReferenceError::NoRegistry(shown(text));
        let (registry, path) = name.split_once('/').ok_or_else(no_registry)?;
        // A first part without a dot, a port or `localhost` is a part of the path on Docker Hub, not a host.
        if !registry.contains(['.', ':']) && registry != "localhost" {
            return Err(no_registry());
        }
        let registry = if registry == "index.docker.io" { "docker.io" } else { registry };
        let registry = registry.parse::<RegistryHost>()?;
        let (path, tag) = match path.rsplit_once(':') {
            Some((path, tag)) => (path, Some(tag.parse()?)),
            None => (path, None),
        };
        let repository = if registry.as_str() == "docker.io" && !path.contains('/') {
            format!("library/{path}").parse()?
        } else {
            path.parse()?
        };
        if tag.is_none() && digest.is_none() {
            return Err(ParseReferenceError::Bare(shown(text)));
        }
        Ok(Self { registry, repository, tag, digest })
    }
}

impl Serialize for Reference {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Reference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Where images go: `host[:port][/prefix]`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Destination {
    /// Host and port of the edge registry.
    pub registry: RegistryHost,
    /// Prefix of every repository, e.g. a project of Harbor.
    pub prefix: Option<RepositoryName>,
}

impl Destination {
    /// The repository below the prefix.
    ///
    /// # Errors
    /// The joined name is longer than a repository may be.
    pub fn repository(&self, name: &RepositoryName) -> Result<RepositoryName, ParseReferenceError> {
        self.prefix.as_ref().map_or_else(|| Ok(name.clone()), |prefix| prefix.join(name))
    }

    /// The destination as text that is the same for all names of one destination: without the port of HTTPS.
    pub fn canonical(&self) -> String {
        let prefix = self.prefix.as_ref().map(|prefix| format!("/{prefix}")).unwrap_or_default();
        format!("{}{prefix}", self.registry.without_default_port())
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.registry.fmt(f)?;
        self.prefix.as_ref().map_or(Ok(()), |prefix| write!(f, "/{prefix}"))
    }
}

impl FromStr for Destination {
    type Err = ParseReferenceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.contains("://") {
            return Err(ParseReferenceError::Scheme(shown(text)));
        }
        let (registry, prefix) =
            text.split_once('/').map_or((text, None), |(registry, prefix)| (registry, Some(prefix)));
        let registry = if registry == "index.docker.io" { "docker.io" } else { registry };
        Ok(Self { registry: registry.parse()?, prefix: prefix.map(str::parse).transpose()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const D: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn shown(text: &str) -> Result<String, ParseReferenceError> {
        text.parse::<Reference>().map(|r| r.to_string())
    }

    #[test]
    fn references_are_read_and_docker_hub_names_are_normalised() {
        for (written, normal) in [
            ("docker.io/nginx:1.25", "docker.io/library/nginx:1.25"),
            ("index.docker.io/nginx:1.25", "docker.io/library/nginx:1.25"),
            ("docker.io/grafana/grafana:11", "docker.io/grafana/grafana:11"),
            ("localhost/a:1", "localhost/a:1"),
            ("127.0.0.1:5000/a/b-c/d__e.f:1_2", "127.0.0.1:5000/a/b-c/d__e.f:1_2"),
            ("[::1]:5000/a:1", "[::1]:5000/a:1"),
        ] {
            assert_eq!(shown(written).as_deref(), Ok(normal));
        }
        let both = format!("quay.io/a/b:v1@{D}");
        assert_eq!(shown(&both), Ok(both.clone()));
        assert_eq!(both.parse::<Reference>().ok().and_then(|r| r.selector()), D.parse().ok());
    }

    #[test]
    fn what_is_not_a_full_reference_is_refused_with_its_reason() {
        use ParseReferenceError as E;
        let reason = |text: &str| shown(text).err();
        assert!(matches!(reason("nginx:1.25"), Some(E::NoRegistry(_))));
        assert!(matches!(reason("grafana/grafana:11"), Some(E::NoRegistry(_))));
        assert!(matches!(reason("https://quay.io/a:1"), Some(E::Scheme(_))));
        assert!(matches!(reason("quay.io/a"), Some(E::Bare(_))));
        assert!(matches!(reason("quay.io/A:1"), Some(E::Repository(_))));
        assert!(matches!(reason("quay.io/a//b:1"), Some(E::Repository(_))));
        assert!(matches!(reason("quay.io/../b:1"), Some(E::Repository(_))));
        assert!(matches!(reason("quay.io/a:-1"), Some(E::Tag(_))));
        assert!(matches!(reason("Quay.io/a:1"), Some(E::Registry(_))));
        assert!(matches!(reason("quay.io:0/a:1"), Some(E::Registry(_))));
        assert!(matches!(reason("quay.io/a:${TAG}"), Some(E::Variable(_))));
        assert!(matches!(reason("quay.io/a@sha256:12"), Some(E::Digest(_))));
        assert!(matches!(reason(&format!("quay.io/{}:1", "a".repeat(330))), Some(E::Long(_))));
    }

    #[test]
    fn destinations_have_an_optional_prefix() {
        let to = "edge.local:5000/mirror/x".parse::<Destination>();
        let to = to.map(|to| "a/b".parse().and_then(|name| to.repository(&name)).map(|r| r.to_string()));
        assert_eq!(to, Ok(Ok("mirror/x/a/b".to_owned())));
        assert!("http://edge.local".parse::<Destination>().is_err());
        for wrong in ["edge.local/", "Edge.local", "edge.local//a", "edge.local/a/", "[::1"] {
            assert!(wrong.parse::<Destination>().is_err(), "{wrong}");
        }
        let canonical = |text: &str| text.parse::<Destination>().map(|to| to.canonical());
        for (written, same) in [
            ("edge.local:443/a/b", "edge.local/a/b"),
            ("index.docker.io/me", "docker.io/me"),
            ("[::1]:443", "[::1]"),
            ("[::1]:5000/a", "[::1]:5000/a"),
            ("edge.local:5443", "edge.local:5443"),
        ] {
            assert_eq!(canonical(written).as_deref(), Ok(same));
        }
    }
}
