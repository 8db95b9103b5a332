// SPDX-License-Identifier: Apache-2.0
use thiserror::Error;

use crate::bundle::{MAX_SET, MAX_SETS, ManifestError};
use crate::error::{Classify, ErrorKind};
use crate::oci::digest::Digest;

/// Why a bundle cannot be planned.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages explain the fields")]
pub enum PlanError {
    /// Nothing to bundle.
    #[error("no EdgeImageSet was found")]
    NoSets,
    /// More sets than a bundle may hold.
    #[error("{0} EdgeImageSets were found, more than the {MAX_SETS} that a bundle may hold")]
    TooManySets(usize),
    /// A set larger than a bundle may hold.
    #[error("{file} is too large: {size} bytes, at most {MAX_SET} are allowed")]
    LargeSet { file: String, size: u64 },
    /// Two images describe one digest with different sizes.
    #[error("{digest} has {one} bytes by one image and {other} by another")]
    Sizes {
        digest: Digest,
        /// One size.
        one: u64,
        other: u64,
    },
    /// The time of the commit cannot be expressed.
    #[error("{0} is not a time that a bundle can carry")]
    Time(i64),
    /// The site's registry refuses sparse indexes.
    #[error(
        "{image} is to travel for {platforms} only, and {registry} takes no index some of whose images are missing"
    )]
    Sparse {
        image: String,
        /// Platforms that were chosen.
        platforms: String,
        registry: String,
    },
    /// A site that reads only an older format could not read the content.
    #[error("{image} needs format version {needed}: {what}")]
    Version {
        image: String,
        needed: u32,
        /// The content that needs the version.
        what: String,
    },
    /// The manifest cannot be made.
    #[error("the manifest of the bundle is not acceptable: {0}")]
    Manifest(#[from] ManifestError),
}

impl Classify for PlanError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Sizes { .. } => ErrorKind::Corrupt,
            _ => ErrorKind::Usage,
        }
    }

    fn help(&self) -> Option<String> {
        let text = match self {
            Self::NoSets => "pass the folder that holds them",
            Self::TooManySets(_) | Self::LargeSet { .. } => "make several bundles",
            Self::Sizes { .. } => {
                "one of the registries reports a wrong size: build and push the image again"
            }
            Self::Sparse { .. } => {
                "leave `platforms` out for this image, or have the site's registry take sparse indexes (Distribution 3: validation.manifests.indexes.platforms: none)"
            }
            Self::Time(_) => "check the commit's date and SOURCE_DATE_EPOCH",
            Self::Version { .. } => {
                "leave out --format-version and update krs at the site first, or leave out the image"
            }
            Self::Manifest(_) => return None,
        };
        Some(text.to_owned())
    }
}
