// SPDX-License-Identifier: Apache-2.0
//! Targets, deliveries, and names of sets.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use crate::oci::digest::Digest;
use crate::oci::reference::{Destination, RepositoryName, Tag};
use crate::set::CheckedSet;

/// An image in a repository at the edge, with all tags that the sets give it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The repository, with the destination's prefix.
    pub repository: RepositoryName,
    /// The image's index in the bundle's manifest.
    pub image: usize,
    /// Digest of the image's manifest or index.
    pub digest: Digest,
    /// The tags that name the image after the push.
    pub tags: BTreeSet<Tag>,
    /// The references that it comes from, as the sets write them.
    pub references: BTreeSet<String>,
}

/// The targets of one destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The registry and repository that receive it.
    pub destination: Destination,
    /// In the order of the archive, so that the media is read forward.
    pub targets: Vec<Target>,
}

/// Names sets of a bundle: `NAMESPACE/NAME`, or `NAME` for those of this name in every namespace and in none.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SetName {
    namespace: Option<String>,
    name: String,
}

impl FromStr for SetName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (namespace, name) =
            text.split_once('/').map_or((None, text), |(namespace, name)| (Some(namespace), name));
        if name.is_empty() || name.contains('/') || namespace.is_some_and(str::is_empty) {
            let shown = crate::redact::printable(text, 100);
            return Err(format!("`{shown}` does not name a set: expected NAME or NAMESPACE/NAME"));
        }
        Ok(Self { namespace: namespace.map(str::to_owned), name: name.to_owned() })
    }
}

impl fmt::Display for SetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.namespace.as_ref().map_or(Ok(()), |namespace| write!(f, "{namespace}/"))?;
        f.write_str(&self.name)
    }
}

impl SetName {
    pub(super) fn of(set: &CheckedSet) -> Self {
        Self { namespace: set.namespace.clone(), name: set.name.clone() }
    }

    pub(super) fn matches(&self, set: &CheckedSet) -> bool {
        self.name == set.name && (self.namespace.is_none() || self.namespace == set.namespace)
    }
}
