// SPDX-License-Identifier: Apache-2.0
//! Why a push is not complete.

use std::collections::BTreeSet;
use std::fmt;

use thiserror::Error;

use super::referrers::ReferrerProblem;
use super::target::{SetName, Target};
use crate::bundle::BundleError;
use crate::error::{self, Cause, Classify, ErrorKind};
use crate::oci::digest::Digest;
use crate::oci::reference::{ParseReferenceError, RegistryHost, RepositoryName, Tag};
use crate::registry::RegistryError;
use crate::sync::rebuild::RebuildError;

/// Why a target is not complete at the edge.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages explain the fields")]
pub enum TargetError {
    /// The registry.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// Reading the archive failed.
    #[error(transparent)]
    Bundle(Box<BundleError>),
    /// The manifest that was read back is not the one that was sent. (T-58)
    #[error("{registry} delivers {got} where {expected} was put")]
    ReadBack {
        registry: RegistryHost,
        /// What was put.
        expected: Digest,
        /// What came back.
        got: Digest,
    },
    /// A blob of a referrer was not pushed.
    #[error("blob {digest} could not be sent: {reason}")]
    Blob {
        digest: Digest,
        /// Why.
        reason: String,
    },
    /// The registry refuses an index whose children are not all present.
    #[error("{registry} refuses index {digest}, some of whose children it does not have: {source}")]
    Sparse {
        registry: RegistryHost,
        digest: Digest,
        /// Children that were missing at the source already, as in [`crate::oci::Index::name_of`].
        missing: Vec<String>,
        /// Children that it refused, and why.
        unsent: Vec<String>,
        /// What it says.
        source: Box<RegistryError>,
    },
    /// A tag names another image already, and the registry does not let it be changed. (T-65)
    #[error(
        "{registry} does not let tag {repository}:{tag} be changed from {found}; {digest} is there under its digest: {source}"
    )]
    FixedTag {
        registry: RegistryHost,
        repository: RepositoryName,
        tag: Tag,
        /// What it names.
        found: Digest,
        /// What it should name.
        digest: Digest,
        /// What the registry says.
        source: Box<RegistryError>,
    },
    /// A blob that it needs failed for another target, which is named.
    #[error("it shares blob {0}, which could not be sent")]
    Shared(Digest),
    /// A manifest is not in the bundle. Impossible after the structure was checked.
    #[error("{0} is not in the bundle")]
    Missing(Digest),
}

impl TargetError {
    /// Whether the error may mean that the registry has deleted content that was sent.
    pub fn may_be_collected(&self) -> bool {
        let error = match self {
            Self::Registry(error) => error,
            Self::Sparse { source, .. } => source,
            _ => return false,
        };
        matches!(error.status(), Some(400 | 404 | 409 | 412 | 422))
    }
}

impl Classify for TargetError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Registry(e) => e.kind(),
            Self::Bundle(e) => e.kind(),
            Self::Sparse { source, .. } => source.kind(),
            Self::FixedTag { .. } => ErrorKind::Other,
            Self::ReadBack { .. } => ErrorKind::Corrupt,
            Self::Shared(_) => ErrorKind::Unavailable,
            Self::Missing(_) | Self::Blob { .. } => ErrorKind::Incomplete,
        }
    }

    fn help(&self) -> Option<String> {
        match self {
            Self::Registry(e) => e.help(),
            Self::Bundle(e) => e.help(),
            Self::ReadBack { .. } => {
                Some("the registry changes what it stores; check what stands in front of it".to_owned())
            }
            Self::Sparse { unsent, .. } if !unsent.is_empty() => Some(format!(
                "it takes no index without all of its children, and did not take {}. Set it up to take such indexes \
                 (Distribution 3: validation.manifests.indexes.platforms: none), or build and push the image at the source \
                 without them and make a new bundle",
                unsent.join("; ")
            )),
            Self::Sparse { missing, .. } if !missing.is_empty() => Some(format!(
                "missing at the source when the bundle was made: {}. Build and push the image there again and make a new \
                 bundle, or set up the registry to take such indexes (Distribution 3: \
                 validation.manifests.indexes.platforms: none)",
                missing.join(", ")
            )),
            Self::Sparse { .. } => Some(
                "leave `platforms` out of the set and --platform out of the command, or set up the registry to take such \
                 indexes (Distribution 3: validation.manifests.indexes.platforms: none)"
                    .to_owned(),
            ),
            Self::FixedTag { .. } => Some(
                "give the image a new tag in the set, or delete the old tag. Without a tag, a garbage collection that \
                 deletes untagged manifests takes the image"
                    .to_owned(),
            ),
            Self::Shared(_) | Self::Missing(_) | Self::Blob { .. } => None,
        }
    }
}

/// Why a push is not complete.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages explain the fields")]
pub enum PushError {
    /// A repository name that the destination's prefix makes too long.
    #[error(transparent)]
    Name(#[from] ParseReferenceError),
    /// Two sets give one tag of one repository to different images.
    #[error("{registry}/{repository}:{tag} is claimed by two images: {}, and {}", .claims[0], .claims[1])]
    Collision {
        registry: RegistryHost,
        repository: RepositoryName,
        tag: Tag,
        /// The two images, on the heap: errors are moved through every result of a push.
        claims: Box<[Claim; 2]>,
    },
    /// Sets were named that are not in the bundle.
    #[error("the bundle holds no set {}; it holds {}", names(.unknown), names(.known))]
    UnknownSets {
        /// The wrong names.
        unknown: BTreeSet<SetName>,
        /// The sets of the bundle.
        known: BTreeSet<SetName>,
    },
    /// A set has no destination of its own, and none was given.
    #[error(
        "the destination `{destination}` of set {set} ({file}) holds a variable, which only the cluster of a site fills in"
    )]
    Variable {
        set: SetName,
        /// Its file in the checkout.
        file: String,
        /// What it says.
        destination: String,
    },
    /// Querying the registry for the base of a delta failed.
    #[error(transparent)]
    Query(#[from] RegistryError),
    /// Layers of the base are missing in the registry. Nothing was written. (T-32)
    #[error("{registry} does not have {} that the bundle expects there:\n{}", count(.missing.len()), layers(.missing))]
    Base {
        registry: RegistryHost,
        /// The layers, at least one.
        missing: Vec<MissingLayer>,
    },
    /// Layers that travel as patches cannot be made. Nothing was written.
    #[error(transparent)]
    Rebuild(#[from] RebuildError),
    /// Targets that failed, at least one.
    #[error("{}", error::describe(&format!("{} of {total} images failed", .failed.len()), &causes(.failed)))]
    Targets {
        /// How many there are.
        total: usize,
        /// The failed ones.
        failed: Vec<(Target, TargetError)>,
        /// Referrers of the others that are not as they should be.
        referrers: Vec<ReferrerProblem>,
    },
}

/// An image that a set gives a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Digest of the image.
    pub digest: Digest,
    /// The set, with its namespace.
    pub set: String,
    /// The file of the checkout that the set was read from.
    pub file: String,
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} by set {} ({})", self.digest, self.set, self.file)
    }
}

/// A layer that is missing in all repositories.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingLayer {
    /// Digest of the blob.
    pub digest: Digest,
    /// Size of the blob, in bytes.
    pub size: u64,
    /// Images that need it, as the sets write them.
    pub images: Vec<String>,
    /// The repositories that were queried.
    pub expected: String,
}

/// Most sets, or layers, that a message names.
const MAX_NAMES: usize = 20;
/// Most images that it names for one layer.
const MAX_IMAGES: usize = 5;

fn names(names: &BTreeSet<SetName>) -> String {
    error::shortened(names, MAX_NAMES, ", ")
}

fn count(layers: usize) -> String {
    if layers == 1 { "a layer".to_owned() } else { format!("{layers} layers") }
}

fn layers(missing: &[MissingLayer]) -> String {
    let line = |layer: &MissingLayer| {
        let MissingLayer { digest, size, images, expected } = layer;
        let images = error::shortened(images, MAX_IMAGES, ", ");
        format!("  {digest} ({size} bytes), looked for in {expected}; needed by {images}")
    };
    error::shortened(missing.iter().map(line), MAX_NAMES, "\n")
}

fn causes(failed: &[(Target, TargetError)]) -> Vec<Cause> {
    let one = |(target, error): &(Target, TargetError)| {
        (target.references.iter().cloned().collect::<Vec<_>>().join(", "), error::chain(error))
    };
    error::by_cause(failed.iter().map(one))
}

impl Classify for PushError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Name(_) | Self::Collision { .. } | Self::UnknownSets { .. } | Self::Variable { .. } => {
                ErrorKind::Usage
            }
            Self::Query(e) => e.kind(),
            Self::Base { .. } => ErrorKind::Incomplete,
            Self::Rebuild(e) => e.kind(),
            Self::Targets { failed, .. } => error::kind_of_all(failed.iter().map(|(_, error)| error)),
        }
    }

    fn help(&self) -> Option<String> {
        match self {
            Self::Name(_) => Some("use a shorter prefix".to_owned()),
            Self::Collision { claims, .. } => Some(format!(
                "where they are for different sites, push the set of this one (--set {}); else give one of them another tag or a \
                 destinationRepository, or set naming: HostInPath",
                claims[0].set
            )),
            Self::UnknownSets { .. } => Some("`krs inspect` lists the sets of a bundle".to_owned()),
            Self::Variable { .. } => {
                Some("name the registry: krs push BUNDLE REGISTRY, with --set for the sets that go there".to_owned())
            }
            Self::Query(e) => e.help(),
            Self::Base { .. } => Some(
                "make the bundle again against a new receipt of this registry (krs receipt), or without --against: \
                 a full bundle always works"
                    .to_owned(),
            ),
            Self::Rebuild(e) => e.help(),
            Self::Targets { failed, .. } => error::help_of_all(failed.iter().map(|(_, error)| error)),
        }
    }

    fn causes(&self) -> Vec<Cause> {
        match self {
            Self::Targets { failed, .. } => causes(failed),
            _ => Vec::new(),
        }
    }
}
