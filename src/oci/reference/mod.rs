// SPDX-License-Identifier: Apache-2.0
//! Names of images: registries, repositories, tags, and the names of images at the edge.
//!
//! The grammar is the Distribution project's (`reference` package), with one difference: an image must name its
//! registry, because a site has no default registry.

mod destination;
mod error;
mod names;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use self::error::shown;
use crate::oci::digest::Digest;

pub use self::destination::Destination;
pub use self::error::{MAX_REFERENCE, ParseReferenceError};
pub use self::names::{RegistryHost, RepositoryName, Tag};

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
}
