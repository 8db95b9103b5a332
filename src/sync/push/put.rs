// SPDX-License-Identifier: Apache-2.0
//! One manifest or tag, put and read back.

use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::error::TargetError;
use super::run::Run;
use crate::oci::Descriptor;
use crate::oci::closure::Manifests;
use crate::oci::digest::Digest;
use crate::oci::reference::{Selector, Tag};
use crate::registry::{RegistryError, Repository};

/// What became of a manifest that was to be put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// It was there.
    Present,
    /// It was sent; with the subject that the registry says it has processed (`OCI-Subject`).
    Sent(Option<Digest>),
}

pub(super) async fn has_manifest(
    repository: &Repository,
    selector: &Selector,
    document: &Descriptor,
) -> Result<bool, TargetError> {
    let found = repository.head_manifest_for_push(selector).await?;
    Ok(found.is_some_and(|found| found.digest == document.digest))
}

/// Puts one of `documents`, also where it is there, and reads it back. Answers the subject that the registry says it has
/// processed.
///
/// # Errors
/// As [`put_manifest`].
pub async fn send_manifest(
    repository: &Repository,
    selector: &Selector,
    document: &Descriptor,
    documents: &Manifests,
) -> Result<Option<Digest>, TargetError> {
    let stored = documents.get(&document.digest).ok_or(TargetError::Missing(document.digest))?;
    let subject = repository.push_manifest(selector, &document.media_type, stored.bytes.clone()).await?;
    let back = repository.manifest(selector).await?;
    if back.digest != document.digest {
        let (registry, expected) = (repository.registry().clone(), document.digest);
        return Err(TargetError::ReadBack { registry, expected, got: back.digest });
    }
    Ok(subject)
}

/// Puts content of a type that is not known where a registry keeps manifests.
///
/// # Errors
/// [`RegistryError`]; many registries take known types only.
pub async fn put_as_manifest(
    repository: &Repository,
    child: &Descriptor,
    bytes: Bytes,
) -> Result<(), RegistryError> {
    let selector = Selector::Digest(child.digest);
    repository.push_manifest(&selector, &child.media_type, bytes).await.map(drop)
}

/// Puts one of `documents` where it is not already, byte for byte, and reads it back.
///
/// # Errors
/// [`TargetError::Registry`], [`TargetError::ReadBack`]; [`TargetError::Missing`] where it is not among `documents`.
pub async fn put_manifest(
    repository: &Repository,
    selector: &Selector,
    document: &Descriptor,
    documents: &Manifests,
) -> Result<Put, TargetError> {
    if has_manifest(repository, selector, document).await? {
        return Ok(Put::Present);
    }
    Ok(Put::Sent(send_manifest(repository, selector, document, documents).await?))
}

/// Tags one of `documents` where the tag does not name it already. Answers whether it was sent.
///
/// # Errors
/// As [`put_manifest`]; [`TargetError::FixedTag`] where the tag names another image and may not be changed. Then the
/// document is there under its digest.
pub async fn put_tag(
    repository: &Repository,
    tag: &Tag,
    document: &Descriptor,
    documents: &Manifests,
) -> Result<bool, TargetError> {
    let selector = Selector::Tag(tag.clone());
    match put_manifest(repository, &selector, document, documents).await {
        Err(error) => {
            let fixed = fixed_tag(repository, &selector, document, documents, error).await?;
            fixed.map_or(Ok(false), Err)
        }
        put => put.map(|put| put != Put::Present),
    }
}

/// A refused tag that names another image is one that may not be changed: the image is put under its digest, and what
/// is to be reported is answered. (T-65)
pub(super) async fn fixed_tag(
    repository: &Repository,
    selector: &Selector,
    document: &Descriptor,
    documents: &Manifests,
    error: TargetError,
) -> Result<Option<TargetError>, TargetError> {
    let Selector::Tag(tag) = selector else { return Err(error) };
    let refusal = match error {
        TargetError::Registry(refusal) if matches!(refusal.status(), Some(400..500)) => refusal,
        other => return Err(other),
    };
    let found = match repository.head_manifest_for_push(selector).await? {
        // The answer to an earlier try was lost, or somebody else put the same.
        Some(found) if found.digest == document.digest => return Ok(None),
        Some(found) => found.digest,
        None => return Err(refusal.into()),
    };
    put_manifest(repository, &Selector::Digest(document.digest), document, documents).await?;
    Ok(Some(TargetError::FixedTag {
        registry: repository.registry().clone(),
        repository: repository.name().clone(),
        tag: tag.clone(),
        found,
        digest: document.digest,
        source: Box::new(refusal),
    }))
}

impl Run<'_> {
    /// Puts a document, reads it back and counts it. Answers the subject that the registry says it has processed.
    pub(super) async fn put(
        &self,
        repository: &Repository,
        selector: &Selector,
        document: &Descriptor,
    ) -> Result<Option<Digest>, TargetError> {
        let subject = send_manifest(repository, selector, document, &self.images.documents).await?;
        self.counts.documents_sent.fetch_add(1, Ordering::Relaxed);
        Ok(subject)
    }
}
