// SPDX-License-Identifier: Apache-2.0
//! Why there is no archive, and which images and referrers need a blob that failed.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use camino::Utf8PathBuf;
use thiserror::Error;

use crate::bundle::BundleError;
use crate::error::{Cause, Classify, ErrorKind, help_against_write};
use crate::oci::reference::Reference;
use crate::registry::RegistryError;
use crate::sync::plan::{Fetch, Plan};
use crate::sync::resolve::{ImageError, ImageErrors, ReferrerErrors, ReferrerFailure};
use crate::sync::source::ReadError;

/// Why there is no archive.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages explain the fields")]
pub enum PullError {
    /// The archive cannot be written.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// Images that could not be fetched.
    #[error(transparent)]
    Images(#[from] ImageErrors),
    /// All images were fetched, but not all signatures, SBOMs and attestations. A plan without these
    /// ([`crate::sync::resolve::Resolved::without_referrers`]) can be carried out and reuses what was fetched.
    #[error(transparent)]
    Referrers(#[from] ReferrerErrors),
    /// The disk was full or failed while blobs were written.
    #[error("cannot write {path}: {source}")]
    Write { path: Utf8PathBuf, source: io::Error },
    /// The registry client cannot be set up.
    #[error(transparent)]
    Client(RegistryError),
    /// A task panicked or was cancelled; no archive was made.
    #[error("the run was cut off: {0}")]
    Task(#[from] tokio::task::JoinError),
}

impl Classify for PullError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Bundle(e) => e.kind(),
            Self::Images(e) => e.kind(),
            Self::Referrers(e) => e.kind(),
            Self::Client(e) => e.kind(),
            Self::Write { source, .. } => crate::error::io_kind(source),
            Self::Task(_) => ErrorKind::Other,
        }
    }

    fn help(&self) -> Option<String> {
        match self {
            Self::Bundle(e) => e.help(),
            Self::Images(e) => e.help(),
            Self::Referrers(e) => e.help(),
            Self::Client(e) => e.help(),
            Self::Write { source, .. } => Some(help_against_write(source).to_owned()),
            Self::Task(_) => None,
        }
    }

    fn causes(&self) -> Vec<Cause> {
        match self {
            Self::Images(e) => e.causes(),
            Self::Referrers(e) => e.causes(),
            _ => Vec::new(),
        }
    }
}

/// Names the referrers, and the optional children of indexes, that need a failed blob.
pub(super) fn group_by_referrer(plan: &Plan, failures: Vec<(&Fetch, ReadError)>) -> ReferrerErrors {
    let mut named = Vec::new();
    for (fetch, error) in failures {
        let error = Arc::new(error);
        for (index, digest) in &fetch.optional {
            let Some(image) = plan.manifest.images.get(*index) else { continue };
            named.push(ReferrerFailure {
                image: *index,
                reference: image.reference.clone(),
                digest: *digest,
                // A child of an unknown type is itself the blob.
                unknown: *digest == fetch.blob.digest,
                error: Arc::clone(&error),
            });
        }
    }
    ReferrerErrors(named)
}

/// Names every image that needs a failed blob, each once, in the order of the sets.
pub(super) fn group_by_image(plan: &Plan, failures: Vec<(&Fetch, ReadError)>) -> ImageErrors {
    let mut errors = BTreeMap::<usize, (Reference, ImageError)>::new();
    let mut shared = Vec::new();
    for (fetch, error) in failures {
        let mut error = Some(error);
        // `Plan::images` starts with the images that need the blob for themselves.
        for (index, image) in fetch.images.iter().zip(plan.images(fetch)) {
            match error.take() {
                // The first image that is not named yet gets the reason; the others share its blob.
                Some(error) if !errors.contains_key(index) => {
                    errors.insert(*index, (image.clone(), error.into()));
                }
                kept => {
                    error = kept;
                    shared.push((*index, image, fetch.blob.digest));
                }
            }
        }
    }
    for (index, image, digest) in shared {
        errors.entry(index).or_insert_with(|| (image.clone(), ImageError::Shared(digest)));
    }
    ImageErrors(errors.into_values().collect())
}
