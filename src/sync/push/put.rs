// SPDX-License-Identifier: Apache-2.0
//! Puts one manifest or tag, and reads it back.

use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::error::TargetError;
use super::run::Run;
use crate::oci::Descriptor;
use crate::oci::closure::Manifests;
use crate::oci::digest::Digest;
use crate::oci::reference::{Selector, Tag};
use crate::registry::{RegistryError, Repository};

/// The outcome of putting a manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutOutcome {
    /// It was already present.
    Present,
    /// It was sent. Contains the subject that the registry has processed (`OCI-Subject`).
    Sent(Option<Digest>),
}

pub(super) async fn has_manifest(
    repository: &Repository,
    selector: &Selector,
    manifest: &Descriptor,
) -> Result<bool, TargetError> {
    let found = repository.head_manifest_for_push(selector).await?;
    Ok(found.is_some_and(|found| found.digest == manifest.digest))
}

/// Puts one of `manifests`, even if it is present, and reads it back. Returns the subject that the registry has processed.
///
/// # Errors
/// As [`put_manifest`].
pub async fn send_manifest(
    repository: &Repository,
    selector: &Selector,
    manifest: &Descriptor,
    manifests: &Manifests,
) -> Result<Option<Digest>, TargetError> {
    let stored = manifests.get(&manifest.digest).ok_or(TargetError::Missing(manifest.digest))?;
    let subject = repository.push_manifest(selector, &manifest.media_type, stored.bytes.clone()).await?;
    let back = repository.manifest(selector).await?;
    if back.digest != manifest.digest {
        let (registry, expected) = (repository.registry().clone(), manifest.digest);
        return Err(TargetError::ReadBack { registry, expected, got: back.digest });
    }
    Ok(subject)
}

/// Puts content of an unknown type as a manifest.
///
/// # Errors
/// [`RegistryError`]; many registries accept known types only.
pub async fn put_as_manifest(
    repository: &Repository,
    child: &Descriptor,
    bytes: Bytes,
) -> Result<(), RegistryError> {
    let selector = Selector::Digest(child.digest);
    repository.push_manifest(&selector, &child.media_type, bytes).await.map(drop)
}

/// Puts one of `manifests` unless it is present, byte for byte, and reads it back.
///
/// # Errors
/// [`TargetError::Registry`], [`TargetError::ReadBack`]; [`TargetError::Missing`] if it is not among `manifests`.
pub async fn put_manifest(
    repository: &Repository,
    selector: &Selector,
    manifest: &Descriptor,
    manifests: &Manifests,
) -> Result<PutOutcome, TargetError> {
    if has_manifest(repository, selector, manifest).await? {
        return Ok(PutOutcome::Present);
    }
    Ok(PutOutcome::Sent(send_manifest(repository, selector, manifest, manifests).await?))
}

/// Tags one of `manifests` unless the tag already names it. Returns whether it was sent.
///
/// # Errors
/// As [`put_manifest`]; [`TargetError::FixedTag`] if the tag names another image and is immutable. Then the
/// manifest is present under its digest.
pub async fn put_tag(
    repository: &Repository,
    tag: &Tag,
    manifest: &Descriptor,
    manifests: &Manifests,
) -> Result<bool, TargetError> {
    let selector = Selector::Tag(tag.clone());
    match put_manifest(repository, &selector, manifest, manifests).await {
        Err(error) => {
            let fixed = fixed_tag(repository, &selector, manifest, manifests, error).await?;
            fixed.map_or(Ok(false), Err)
        }
        put => put.map(|put| put != PutOutcome::Present),
    }
}

/// Handles a refused tag. If it names another image, it is immutable: the image is put under its digest, and the error to
/// report is returned. (T-65)
pub(super) async fn fixed_tag(
    repository: &Repository,
    selector: &Selector,
    manifest: &Descriptor,
    manifests: &Manifests,
    error: TargetError,
) -> Result<Option<TargetError>, TargetError> {
    let Selector::Tag(tag) = selector else { return Err(error) };
    let refusal = match error {
        TargetError::Registry(refusal) if matches!(refusal.status(), Some(400..500)) => refusal,
        other => return Err(other),
    };
    let found = match repository.head_manifest_for_push(selector).await? {
        // The response to an earlier attempt was lost, or another client put the same manifest.
        Some(found) if found.digest == manifest.digest => return Ok(None),
        Some(found) => found.digest,
        None => return Err(refusal.into()),
    };
    put_manifest(repository, &Selector::Digest(manifest.digest), manifest, manifests).await?;
    Ok(Some(TargetError::FixedTag {
        registry: repository.registry().clone(),
        repository: repository.name().clone(),
        tag: tag.clone(),
        found,
        digest: manifest.digest,
        source: Box::new(refusal),
    }))
}

impl Run<'_> {
    /// Puts a manifest, reads it back and counts it. Returns the subject that the registry has processed.
    pub(super) async fn put(
        &self,
        repository: &Repository,
        selector: &Selector,
        manifest: &Descriptor,
    ) -> Result<Option<Digest>, TargetError> {
        let subject = send_manifest(repository, selector, manifest, &self.images.manifests).await?;
        self.counts.manifests_sent.fetch_add(1, Ordering::Relaxed);
        Ok(subject)
    }
}
