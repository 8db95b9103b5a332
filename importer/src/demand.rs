// SPDX-License-Identifier: Apache-2.0
//! What the sets of the cluster need: written by the controller, read by the intake (is a bundle imported, may the stick
//! be pulled?) and by the embedded registry (who may read what?).

use std::collections::{BTreeMap, BTreeSet};

use krs_core::crd::EdgeImageSet;
use krs_core::digest::Digest;
use krs_core::reference::Reference;

/// Every set by namespace and name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Demand {
    /// Whether every set of the cluster was looked at since the importer started.
    pub complete: bool,
    /// The sets.
    pub sets: BTreeMap<SetName, SetDemand>,
}

/// Namespace and name of a set.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SetName {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// What one set needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SetDemand {
    /// The images that it lists and what they stand for, where that is known.
    pub images: Vec<(Reference, Option<Digest>)>,
    /// Digests of images that are not proven at the edge yet.
    pub missing: BTreeSet<Digest>,
    /// Bundles (digests of their manifests) that running Jobs of this set copy from.
    pub copying_from: BTreeSet<Digest>,
}

impl SetName {
    /// The name of a set in the cluster; `None` for one that has none.
    pub fn of(set: &EdgeImageSet) -> Option<Self> {
        let meta = &set.metadata;
        Some(Self { namespace: meta.namespace.clone()?, name: meta.name.clone()? })
    }
}

impl std::fmt::Display for SetName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}
