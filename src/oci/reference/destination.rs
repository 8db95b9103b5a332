// SPDX-License-Identifier: Apache-2.0
//! Where images go.

use std::fmt;
use std::str::FromStr;

use super::error::{ParseReferenceError, shown};
use super::names::{RegistryHost, RepositoryName};

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
