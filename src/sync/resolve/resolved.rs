// SPDX-License-Identifier: Apache-2.0
//! Images whose every part is known by digest and size, and what is missing.

use super::choice::LeftBehind;
use crate::error::ErrorKind;
use crate::oci::Descriptor;
use crate::oci::closure::{Closure, Manifests};
use crate::oci::digest::Digest;
use crate::oci::platform::Platform;
use crate::oci::reference::{Reference, RegistryHost, RepositoryName, Tag};

/// Where a blob can be fetched.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    /// The registry.
    pub registry: RegistryHost,
    /// The repository in it.
    pub repository: RepositoryName,
}

/// An image whose every part is known by digest and size.
#[derive(Debug, Clone)]
pub struct ResolvedImage {
    /// The reference.
    pub reference: Reference,
    /// Platforms asked for; empty: all.
    pub platforms: Vec<Platform>,
    /// The manifest that the reference stands for.
    pub root: Descriptor,
    /// Kind of artifact, where it is not a container image.
    pub artifact_type: Option<String>,
    /// What it consists of.
    pub closure: Closure,
    /// What refers to it.
    pub referrers: Vec<ResolvedReferrer>,
    /// What refers to it and cannot be had.
    pub missing_referrers: Vec<MissingReferrer>,
}

/// An image that could not be fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingImage {
    /// The reference.
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
    /// What refers to the images and does not travel.
    pub left_behind: LeftBehind,
}

/// Something that refers to an image or to a part of it.
#[derive(Debug, Clone)]
pub struct ResolvedReferrer {
    /// What it refers to.
    pub subject: Digest,
    /// Its manifest.
    pub root: Descriptor,
    /// Kind of artifact.
    pub artifact_type: Option<String>,
    /// The tag that names it, where only a tag does.
    pub tag: Option<Tag>,
    /// What it consists of.
    pub closure: Closure,
}

/// A signature, SBOM or attestation that does not travel because it cannot be had, or a look-up of them that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingReferrer {
    /// What it refers to.
    pub subject: Digest,
    /// Its manifest; `None`: a look-up failed, or an entry of a list names none that can be fetched.
    pub digest: Option<Digest>,
    /// The tag that names it, or that was asked for.
    pub tag: Option<Tag>,
    /// Kind of artifact, where it is known.
    pub artifact_type: Option<String>,
    /// Why, in one line.
    pub reason: String,
    /// What class the failure is of.
    pub kind: ErrorKind,
}

impl ResolvedImage {
    /// Replaces the closure by one with other optional children. What the configs say of platforms stays.
    pub(super) fn set_closure(&mut self, closure: Closure) {
        let Closure { missing_platforms, listed_platforms, .. } = std::mem::take(&mut self.closure);
        self.closure = Closure { missing_platforms, listed_platforms, ..closure };
    }
}
