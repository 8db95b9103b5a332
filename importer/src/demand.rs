// SPDX-License-Identifier: Apache-2.0
//! What the sets of the cluster need: written by the controller, read by the intake (is a bundle imported, may the stick
//! be pulled?) and by the embedded registry (who may read what?).

use std::collections::{BTreeMap, BTreeSet};

use krs_core::crd::EdgeImageSet;
use krs_core::digest::Digest;
use krs_core::platform::Platform;
use krs_core::reference::Reference;

use crate::state::Resolved;

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
    /// Images that are not present at the edge yet and that the set will copy from a bundle: none of a set that is
    /// suspended, stalled, being deleted, not allowed to copy, or that copies from source registries only.
    pub missing: Vec<MissingImage>,
    /// References without a digest that bundles decide for this set, and what they stand for so far; none where `missing`
    /// is none because of the set as a whole.
    pub tags: Vec<(Reference, Option<Resolved>)>,
    /// Bundles (digests of their manifests) that running Jobs of this set copy from.
    pub copying_from: BTreeSet<Digest>,
}

/// An image that a set will copy from a bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingImage {
    /// Its top manifest.
    pub digest: Digest,
    /// Platforms that the set asks for; empty: all.
    pub platforms: Vec<Platform>,
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
