// SPDX-License-Identifier: Apache-2.0
//! Verifies that an image is complete in a registry by walking its closure there: fetches and hashes every manifest, queries
//! every blob with its size, and compares every tag.

use std::collections::HashSet;

use futures::stream::{self, StreamExt as _};
use thiserror::Error;

use crate::error::{Classify, ErrorKind};
use crate::oci::Descriptor;
use crate::oci::closure::{
    Absence, AbsentChild, Closure, ClosureError, Manifests, OptionalChild, OptionalContent,
};
use crate::oci::digest::Digest;
use crate::oci::platform::Platform;
use crate::oci::reference::{Selector, Tag};
use crate::registry::{RegistryError, Repository};
use crate::sync::fetch::{self, FetchError};

/// Blobs that are queried at once.
const AT_ONCE: usize = 8;

/// The result of a walk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Presence {
    /// The image is complete, and every tag names it.
    Complete {
        /// Indexes and manifests, inner before outer.
        manifests: Vec<Descriptor>,
        /// Configs and layers.
        blobs: Vec<Descriptor>,
        /// Incomplete optional children of its indexes: attestations, and content of unknown types.
        absent: Vec<AbsentChild>,
    },
    /// A manifest or blob is missing.
    Missing {
        /// The first missing one: `manifest sha256:…` or `blob sha256:…`.
        what: String,
    },
    /// The image is complete, but a tag names another manifest, or nothing.
    Tag {
        /// The tag.
        tag: Tag,
        /// What it names.
        found: Option<Digest>,
    },
}

/// Why the presence is not known.
#[derive(Debug, Error)]
pub enum PresenceError {
    /// The registry.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// A manifest in the registry is not acceptable.
    #[error(transparent)]
    Closure(#[from] ClosureError),
}

impl Classify for PresenceError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Registry(error) => error.kind(),
            Self::Closure(error) => error.kind(),
        }
    }

    fn help(&self) -> Option<String> {
        match self {
            Self::Registry(error) => error.help(),
            Self::Closure(error) => error.help(),
        }
    }
}

/// Walks the closure of `digest` in `repository`, for `platforms` (empty: all), and compares `tags`. It is not
/// enough to query the top manifest: a registry has it even if a child was deleted.
///
/// # Errors
/// [`PresenceError`]: it is not known whether the image is there.
pub async fn verify_present(
    repository: &Repository,
    digest: &Digest,
    platforms: &[Platform],
    tags: &[Tag],
) -> Result<Presence, PresenceError> {
    let mut known = Manifests::default();
    let (root, closure) = match walk(repository, digest, platforms, &mut known).await {
        Ok(walked) => walked,
        Err(FetchError::Absent { digest, .. }) => {
            return Ok(Presence::Missing { what: format!("manifest {digest}") });
        }
        Err(FetchError::Source(error)) => return Err(error.into()),
        Err(FetchError::Closure(error)) => return Err(error.into()),
    };
    let optional = known.optional(&root, &closure);
    let Closure { manifests, mut blobs, opaque, mut absent, .. } = closure;
    let mut gone = HashSet::new();
    // By value: a future over borrowed items is not `Send` where callers need it to be.
    let checked = blobs.iter().filter(|blob| !opaque.contains(&blob.digest));
    let checked = checked.map(|blob| (blob.digest, blob.size)).collect::<Vec<_>>();
    let requests = checked
        .into_iter()
        .map(|(digest, size)| async move { (digest, repository.has_blob(&digest, size).await) });
    let mut answers = stream::iter(requests).buffered(AT_ONCE);
    while let Some((digest, there)) = answers.next().await {
        let (children, absence) = match (there, optional.blobs.get(&digest)) {
            (Ok(true), _) => continue,
            (Ok(false), None) => return Ok(Presence::Missing { what: format!("blob {digest}") }),
            (Err(error), None) => return Err(error.into()),
            // What is optional never decides about an image.
            (Ok(false), Some(children)) => {
                let reason = format!("blob {digest} is not there");
                (children, Absence { reason, kind: ErrorKind::Incomplete })
            }
            (Err(error), Some(children)) => (children, fetch::absence(&error)),
        };
        gone.insert(digest);
        absent.extend(incomplete(&absent, &optional, children, &absence));
    }
    drop(answers);
    for tag in tags {
        let found = repository.head_manifest(&Selector::Tag(tag.clone())).await?;
        let found = found.map(|found| found.digest);
        if found != Some(*digest) {
            return Ok(Presence::Tag { tag: tag.clone(), found });
        }
    }
    blobs.retain(|blob| !gone.contains(&blob.digest));
    Ok(Presence::Complete { manifests, blobs, absent })
}

/// Children that are not complete, those of `absent` aside.
fn incomplete(
    absent: &[AbsentChild],
    optional: &OptionalContent,
    children: &[Digest],
    absence: &Absence,
) -> Vec<AbsentChild> {
    let known = |child: &Digest| absent.iter().any(|absent| absent.digest == *child);
    let of = |child: &Digest| {
        let OptionalChild { name, subject, .. } = optional.children.get(child)?.clone();
        Some(AbsentChild { digest: *child, name, subject, absence: absence.clone() })
    };
    children.iter().filter(|child| !known(child)).filter_map(of).collect()
}

async fn walk(
    repository: &Repository,
    digest: &Digest,
    platforms: &[Platform],
    known: &mut Manifests,
) -> Result<(Descriptor, Closure), FetchError> {
    let root = fetch::fetch_root(repository, digest, known).await?;
    let closure = fetch::fetch_closure(repository, &root, platforms, known).await?;
    Ok((root, closure))
}
