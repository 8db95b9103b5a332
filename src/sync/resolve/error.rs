// SPDX-License-Identifier: Apache-2.0
//! Why images cannot be resolved.

use thiserror::Error;

use super::resolved::MissingReferrer;
use super::sources::OtherDigest;
use crate::error::{self, Cause, Classify, ErrorKind, shortened};
use crate::local::LocalError;
use crate::oci::closure::ClosureError;
use crate::oci::digest::Digest;
use crate::oci::reference::Reference;
use crate::registry::RegistryError;
use crate::sync::fetch::{ABSENT_CHILD, FetchError};
use crate::sync::source::ReadError;

/// Why one image could not be resolved.
#[derive(Debug, Error)]
pub enum ImageError {
    /// The registry failed.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// A local source has it, and it cannot be read there.
    #[error(transparent)]
    Local(#[from] LocalError),
    /// Its registry failed, and a local source has another image under its name.
    #[error("{source}; {}", of_others(.others))]
    OtherDigest {
        /// What local sources have.
        others: Vec<OtherDigest>,
        /// What the registry says.
        source: Box<Self>,
    },
    /// Its content is not acceptable.
    #[error(transparent)]
    Content(#[from] ClosureError),
    /// The registry or source does not have a child that an index lists.
    #[error("{listed_as}: {source}")]
    Child {
        /// The name of the child in the index.
        listed_as: String,
        /// What the registry or source says.
        source: ReadError,
    },
    /// Platforms that were requested are missing, and all of them are required.
    #[error("it has no image for {missing}; it has {offered}")]
    Platforms {
        /// Platforms that are missing.
        missing: String,
        /// Platforms that it has.
        offered: String,
    },
    /// It needs a blob that could not be fetched, which an earlier error names.
    #[error("shares {0}, which could not be fetched, with another image")]
    Shared(Digest),
    /// Signatures, SBOMs or attestations are missing, and all of them are required.
    #[error("signatures, SBOMs or attestations of it are missing: {}", reasons(.0))]
    Referrers(Vec<MissingReferrer>),
}

/// Why referrers are missing, each reason once, the first three of them.
pub fn reasons(missing: &[MissingReferrer]) -> String {
    const SHOWN: usize = 3;
    let mut reasons = Vec::<&str>::new();
    for missing in missing {
        if !reasons.contains(&missing.reason.as_str()) {
            reasons.push(&missing.reason);
        }
    }
    shortened(&reasons, SHOWN, "; ")
}

impl ImageError {
    /// Adds what local sources have under the name of the image.
    pub(super) fn with_others(self, others: Vec<OtherDigest>) -> Self {
        if others.is_empty() { self } else { Self::OtherDigest { others, source: Box::new(self) } }
    }
}

fn of_others(others: &[OtherDigest]) -> String {
    others.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

impl From<ReadError> for ImageError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Registry(error) => Self::Registry(error),
            ReadError::Local(error) => Self::Local(error),
        }
    }
}

impl From<FetchError<ReadError>> for ImageError {
    fn from(error: FetchError<ReadError>) -> Self {
        match error {
            FetchError::Absent { listed_as: Some(listed_as), source, .. } => {
                Self::Child { listed_as, source }
            }
            FetchError::Absent { source, .. } | FetchError::Source(source) => source.into(),
            FetchError::Closure(error) => Self::Content(error),
        }
    }
}

impl Classify for ImageError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Registry(e) => e.kind(),
            Self::Local(e) => e.kind(),
            Self::OtherDigest { source, .. } => source.kind(),
            Self::Content(error) => error.kind(),
            Self::Child { source, .. } => source.kind(),
            Self::Platforms { .. } => ErrorKind::Usage,
            // The error that names the blob has the class of the failure.
            Self::Shared(_) => ErrorKind::Unavailable,
            Self::Referrers(missing) => {
                let kinds = || missing.iter().map(|missing| missing.kind);
                let lasting = kinds().find(|kind| *kind != ErrorKind::Unavailable);
                lasting.or_else(|| kinds().next()).unwrap_or(ErrorKind::Incomplete)
            }
        }
    }

    fn help(&self) -> Option<String> {
        match self {
            Self::Registry(e) => e.help(),
            Self::Local(e) => e.help(),
            Self::OtherDigest { others, source } => {
                let advice = others.iter().map(OtherDigest::advice);
                Some(advice.chain(source.help()).collect::<Vec<_>>().join("\n"))
            }
            Self::Content(error) => {
                Some(error.help().unwrap_or_else(|| "build and push the image again".to_owned()))
            }
            Self::Child { source: source @ ReadError::Local(_), .. } => source.help(),
            Self::Child { .. } => Some(ABSENT_CHILD.to_owned()),
            Self::Platforms { .. } => {
                Some("ask for platforms that the image has, or leave out --require-platforms".to_owned())
            }
            Self::Shared(_) => None,
            Self::Referrers(_) => {
                Some("with --referrers all the image travels without them, and the bundle says so".to_owned())
            }
        }
    }
}

/// The images that failed, at least one.
#[derive(Debug, Error)]
#[error("{}", error::describe(&format!("{} failed", count(.0.len())), &self.causes()))]
pub struct ImageErrors(pub Vec<(Reference, ImageError)>);

fn count(images: usize) -> String {
    if images == 1 { "1 image".to_owned() } else { format!("{images} images") }
}

impl Classify for ImageErrors {
    fn kind(&self) -> ErrorKind {
        error::kind_of_all(self.0.iter().map(|(_, error)| error))
    }

    fn help(&self) -> Option<String> {
        error::help_of_all(self.0.iter().map(|(_, error)| error))
    }

    fn causes(&self) -> Vec<Cause> {
        error::by_cause(self.0.iter().map(|(image, error)| (image.to_string(), error::chain(error))))
    }
}
