// SPDX-License-Identifier: Apache-2.0
//! Fetches the documents of an image from a registry, by digest and level by level.

use std::collections::HashSet;

use thiserror::Error;

use crate::closure::{Closure, ClosureError, Documents, MAX_DOCUMENT_BYTES, MAX_DOCUMENTS, StoredDocument};
use crate::digest::Digest;
use crate::error::{Classify, ErrorKind};
use crate::oci::{self, Descriptor, Document};
use crate::platform::Platform;
use crate::reference::Selector;
use crate::registry::{RegistryError, Repository};

/// Why the documents of an image could not be fetched.
#[derive(Debug, Error)]
pub enum FetchError {
    /// The registry does not have a document of the image.
    #[error("{source}")]
    Absent {
        /// The document.
        digest: Digest,
        /// What the registry says.
        source: RegistryError,
    },
    /// The registry did not give one for another reason.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// A document is not acceptable.
    #[error(transparent)]
    Closure(#[from] ClosureError),
}

impl Classify for FetchError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Absent { source, .. } | Self::Registry(source) => source.kind(),
            Self::Closure(_) => ErrorKind::Corrupt,
        }
    }

    fn help(&self) -> Option<String> {
        match self {
            Self::Absent { source, .. } | Self::Registry(source) => source.help(),
            Self::Closure(_) => None,
        }
    }
}

async fn document(repository: &Repository, digest: Digest) -> Result<StoredDocument, FetchError> {
    match repository.manifest(&Selector::Digest(digest)).await {
        Ok(found) => Ok(StoredDocument { media_type: found.media_type, bytes: found.bytes }),
        Err(source @ RegistryError::NotFound { .. }) => Err(FetchError::Absent { digest, source }),
        Err(error) => Err(error.into()),
    }
}

/// Fetches the document that `digest` names, whose type only the registry knows.
///
/// # Errors
/// [`FetchError`].
pub async fn top(
    repository: &Repository,
    digest: &Digest,
    documents: &mut Documents,
) -> Result<Descriptor, FetchError> {
    let found = document(repository, *digest).await?;
    let root = Descriptor::new(found.media_type.clone(), *digest, found.bytes.len() as u64);
    documents.insert(*digest, found);
    Ok(root)
}

/// Fetches the documents below `root` that are not known yet, level by level.
///
/// # Errors
/// [`FetchError`].
pub async fn closure(
    repository: &Repository,
    root: &Descriptor,
    platforms: &[Platform],
    documents: &mut Documents,
) -> Result<Closure, FetchError> {
    let (mut level, mut seen) = (vec![root.clone()], HashSet::from([root.digest]));
    let mut total = 0_u64;
    for _ in 0..=oci::MAX_INDEX_DEPTH {
        // Before anything is fetched: a hostile index can list more than memory holds.
        total = level.iter().fold(total, |total, descriptor| total.saturating_add(descriptor.size));
        if seen.len() > MAX_DOCUMENTS || total > MAX_DOCUMENT_BYTES {
            return Err(ClosureError::TooMany(root.digest).into());
        }
        let unknown = level.iter().filter(|descriptor| documents.get(&descriptor.digest).is_none());
        // The parent says what it is: a registry's header does not change the meaning of a digest.
        let unknown = unknown.map(|descriptor| (descriptor.digest, descriptor.media_type.clone()));
        let fetches = unknown.collect::<Vec<_>>().into_iter().map(|(digest, media_type)| async move {
            let fetched = document(repository, digest).await?;
            Ok::<_, FetchError>((digest, StoredDocument { media_type, ..fetched }))
        });
        for fetched in futures::future::join_all(fetches).await {
            let (digest, fetched) = fetched?;
            documents.insert(digest, fetched);
        }
        let mut next = Vec::new();
        for descriptor in &level {
            if let Document::Index(index) = documents.read(descriptor)? {
                let children = oci::select(&index, platforms);
                next.extend(children.into_iter().filter(|child| seen.insert(child.digest)).cloned());
            }
        }
        level = next;
    }
    Ok(documents.closure(root, platforms)?)
}
