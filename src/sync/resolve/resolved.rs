// SPDX-License-Identifier: Apache-2.0
//! Resolved images, and what is missing of them.

use std::sync::Arc;

use super::choice::LeftBehind;
use crate::error::ErrorKind;
use crate::local::LocalSource;
use crate::oci::Descriptor;
use crate::oci::closure::{Closure, Manifests};
use crate::oci::digest::Digest;
use crate::oci::platform::Platform;
use crate::oci::reference::{Reference, RegistryHost, RepositoryName, Tag};

/// A repository that a blob can be fetched from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    /// The source registry.
    pub registry: RegistryHost,
    /// The repository in the source registry.
    pub repository: RepositoryName,
}

/// An image whose closure is known.
#[derive(Debug, Clone)]
pub struct ResolvedImage {
    /// The reference, as sets write it.
    pub reference: Reference,
    /// Platforms asked for; empty: all.
    pub platforms: Vec<Platform>,
    /// The manifest that the reference names.
    pub root: Descriptor,
    /// Kind of artifact, if it is not a container image.
    pub artifact_type: Option<String>,
    /// All content that it needs.
    pub closure: Closure,
    /// What refers to it and is carried with it: signatures, attestations, SBOMs.
    pub referrers: Vec<ResolvedReferrer>,
    /// Its referrers that cannot be fetched.
    pub missing_referrers: Vec<MissingReferrer>,
    /// The local source that it is read from, as its index in [`Resolved::sources`]; `None`: its registry.
    pub source: Option<usize>,
}

/// An image that could not be fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingImage {
    /// The reference, as sets write it.
    pub reference: Reference,
    /// Platforms asked for; empty: all.
    pub platforms: Vec<Platform>,
    /// Why, in one line.
    pub reason: String,
}

/// All images, with their manifests.
#[derive(Debug, Clone, Default)]
pub struct Resolved {
    /// In the order of the merged sets.
    pub images: Vec<ResolvedImage>,
    /// Images that a bundle is made without.
    pub missing: Vec<MissingImage>,
    /// Every manifest of every image.
    pub manifests: Manifests,
    /// Referrers of the images that are not chosen.
    pub left_behind: LeftBehind,
    /// Local sources, in the order in which they were asked.
    pub sources: Vec<Arc<LocalSource>>,
    /// What a person should know of names that local sources have.
    pub source_remarks: Vec<String>,
}

/// Something that refers to an image or to a part of it.
#[derive(Debug, Clone)]
pub struct ResolvedReferrer {
    /// What it refers to.
    pub subject: Digest,
    /// Descriptor of its manifest.
    pub root: Descriptor,
    /// Kind of artifact.
    pub artifact_type: Option<String>,
    /// The tag that names it, if only a tag does.
    pub tag: Option<Tag>,
    /// All content that it needs.
    pub closure: Closure,
}

/// A signature, SBOM or attestation that is not bundled because it cannot be fetched, or a failed look-up of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingReferrer {
    /// What it refers to.
    pub subject: Digest,
    /// Its manifest; `None`: a look-up failed, or an entry of a list names none that can be fetched.
    pub digest: Option<Digest>,
    /// The tag that names it, or that was looked up.
    pub tag: Option<Tag>,
    /// Kind of artifact, if it is known.
    pub artifact_type: Option<String>,
    /// Why, in one line.
    pub reason: String,
    /// The class of the failure.
    pub kind: ErrorKind,
}

impl ResolvedImage {
    /// Replaces the closure by one with other optional children. Keeps the platforms from the configs.
    pub(super) fn set_closure(&mut self, closure: Closure) {
        let Closure { missing_platforms, listed_platforms, .. } = std::mem::take(&mut self.closure);
        self.closure = Closure { missing_platforms, listed_platforms, ..closure };
    }
}
