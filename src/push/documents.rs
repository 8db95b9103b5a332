// SPDX-License-Identifier: Apache-2.0
//! Indexes, manifests and tags of an image: asked for all at once, put inner before outer, read back, tagged last.

use std::collections::BTreeSet;
use std::sync::PoisonError;

use futures::stream::{self, StreamExt as _, TryStreamExt as _};

use super::attach::Attached;
use super::{Failures, QUESTIONS, Run, Target, TargetError};
use crate::bundle::BundledImage;
use crate::closure::{Closure, Documents};
use crate::digest::Digest;
use crate::oci::Descriptor;
use crate::reference::{Selector, Tag};
use crate::registry::{RegistryError, Repository};

impl Run<'_> {
    /// Puts the documents of a target, reads them back, puts what refers to it, and tags it. Where the registry lacks what
    /// it had a moment ago, because its garbage collection ran meanwhile, that is sent again, and all is put once more.
    /// (T-63)
    pub(super) async fn put_target(
        &self,
        target: &Target,
        failures: &Failures,
    ) -> Result<Attached, TargetError> {
        let image = self.images.images.get(target.image).ok_or(TargetError::Missing(target.digest))?;
        blobs_arrived(target, &image.closure, failures)?;
        match self.try_put_target(target, image, failures).await {
            Err(error) if error.may_be_collected() => {
                if !self.restore(target, &image.closure).await? {
                    return Err(error);
                }
                self.try_put_target(target, image, failures).await
            }
            put => put,
        }
    }

    /// Sends the blobs of a target that are not there although they were. Whether that, or a manifest that is gone, may
    /// have been the reason why the registry refused it.
    async fn restore(&self, target: &Target, closure: &Closure) -> Result<bool, TargetError> {
        let repository = &self.repository(&target.repository);
        let restored =
            closure.contents.clone().into_iter().map(|Descriptor { digest, size, .. }| async move {
                if repository.has_blob_for_push(&digest, size).await? {
                    return Ok::<_, RegistryError>(false);
                }
                self.send_again(digest, size, &target.repository).await.map(|()| true)
            });
        let restored = stream::iter(restored).buffer_unordered(QUESTIONS).try_collect::<Vec<_>>().await?;
        let blobs = restored.into_iter().filter(|restored| *restored).count();
        tracing::debug!(repository = %target.repository, blobs, "sent again what the registry lost meanwhile");
        // An index that was left without some of its images by a choice of platforms is refused for that.
        let manifest = self.bundle.manifest().images.get(target.image);
        Ok(blobs > 0 || manifest.is_some_and(|image| image.platforms.is_empty()))
    }

    async fn try_put_target(
        &self,
        target: &Target,
        image: &BundledImage,
        failures: &Failures,
    ) -> Result<Attached, TargetError> {
        let repository = self.repository(&target.repository);
        let (root, documents) = (&image.root, &image.closure.documents);
        // What a tag says of the image need not be asked a second time.
        let is_tagged = |document: &Descriptor| document.digest == root.digest && !target.tags.is_empty();
        let asked = documents.iter().filter(|document| !is_tagged(document));
        let asked = asked.map(|document| (Selector::Digest(document.digest), document));
        let asked = self.lacking(&repository, asked.collect());
        let tags = target.tags.iter().map(|tag| (Selector::Tag(tag.clone()), root));
        let tags = self.lacking(&repository, tags.collect());
        let (lacking, tags) = futures::try_join!(asked, tags)?;
        let mut lacking = lacking.into_iter().map(|(_, document)| document.digest).collect::<BTreeSet<_>>();
        let untagged = tags.iter().filter(|(_, document)| document.digest == root.digest).count();
        if untagged > 0 && untagged == target.tags.len() {
            lacking.insert(root.digest);
        }

        for document in documents.iter().filter(|document| lacking.contains(&document.digest)) {
            let put = self.put(&repository, &Selector::Digest(document.digest), document).await;
            put.map_err(|error| self.sparse(target, document, error))?;
        }
        // Before the tags: whoever finds the image finds its signatures.
        let attached = self.put_referrers(target, failures).await;
        // Tags last: what a tag names is whole. One that may not be changed keeps none of the others.
        let mut fixed = None;
        for (selector, document) in tags {
            if let Err(error) = self.put(&repository, &selector, document).await {
                let documents = &self.images.documents;
                let error = fixed_tag(&repository, &selector, document, documents, error).await;
                fixed = fixed.or(error.map_err(|error| self.sparse(target, document, error))?);
            }
        }
        fixed.map_or(Ok(attached), Err)
    }

    /// Of these, in their order, what the registry does not have.
    async fn lacking<'a>(
        &self,
        repository: &Repository,
        wanted: Vec<(Selector, &'a Descriptor)>,
    ) -> Result<Vec<(Selector, &'a Descriptor)>, TargetError> {
        let asked = wanted.into_iter().map(|(selector, document)| async move {
            let has = has_document(repository, &selector, document).await?;
            Ok::<_, TargetError>((!has).then_some((selector, document)))
        });
        let answers = stream::iter(asked).buffered(QUESTIONS).try_collect::<Vec<_>>().await?;
        Ok(answers.into_iter().flatten().collect())
    }

    /// A refused index that lacks children is refused for that.
    fn sparse(&self, target: &Target, document: &Descriptor, error: TargetError) -> TargetError {
        let chosen = self.bundle.manifest().images.get(target.image).is_some_and(|i| !i.platforms.is_empty());
        let absent = self.closures(target).flat_map(|(_, closure)| &closure.absent);
        // A choice of platforms explains the refusal, whatever else is missing.
        let missing = absent.filter(|_| !chosen).map(|child| child.name.clone()).collect::<Vec<_>>();
        match error {
            TargetError::Registry(
                source @ (RegistryError::Refused { .. } | RegistryError::NotFound { .. }),
            ) if (chosen || !missing.is_empty()) && document.is_index() => TargetError::Sparse {
                registry: self.destination.registry.clone(),
                digest: document.digest,
                missing,
                source: Box::new(source),
            },
            other => other,
        }
    }
}

fn blobs_arrived(target: &Target, closure: &Closure, failures: &Failures) -> Result<(), TargetError> {
    let mut failures = failures.lock().unwrap_or_else(PoisonError::into_inner);
    for content in &closure.contents {
        if let Some(error) = failures.get_mut(&(content.digest, target.repository.clone())) {
            let shared = || TargetError::Shared(content.digest);
            return Err(error.take().map_or_else(shared, TargetError::Registry));
        }
    }
    Ok(())
}

pub(super) async fn has_document(
    repository: &Repository,
    selector: &Selector,
    document: &Descriptor,
) -> Result<bool, TargetError> {
    let found = repository.head_manifest_for_push(selector).await?;
    Ok(found.is_some_and(|found| found.digest == document.digest))
}

/// Puts one of `documents` and reads it back. Answers the subject that the registry says it has processed.
pub(super) async fn send_document(
    repository: &Repository,
    selector: &Selector,
    document: &Descriptor,
    documents: &Documents,
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

/// Puts one of `documents` where it is not already, byte for byte, and reads it back. Answers whether it was sent.
///
/// # Errors
/// [`TargetError::Registry`], [`TargetError::ReadBack`]; [`TargetError::Missing`] where it is not among `documents`.
pub async fn put_document(
    repository: &Repository,
    selector: &Selector,
    document: &Descriptor,
    documents: &Documents,
) -> Result<bool, TargetError> {
    if has_document(repository, selector, document).await? {
        return Ok(false);
    }
    send_document(repository, selector, document, documents).await?;
    Ok(true)
}

/// Tags one of `documents` where the tag does not name it already. Answers whether it was sent.
///
/// # Errors
/// As [`put_document`]; [`TargetError::FixedTag`] where the tag names another image and may not be changed. Then the
/// document is there under its digest.
pub async fn put_tag(
    repository: &Repository,
    tag: &Tag,
    document: &Descriptor,
    documents: &Documents,
) -> Result<bool, TargetError> {
    let selector = Selector::Tag(tag.clone());
    match put_document(repository, &selector, document, documents).await {
        Err(error) => {
            let fixed = fixed_tag(repository, &selector, document, documents, error).await?;
            fixed.map_or(Ok(false), Err)
        }
        sent => sent,
    }
}

/// A refused tag that names another image is one that may not be changed: the image is put under its digest, and what
/// is to be reported is answered. (T-65)
async fn fixed_tag(
    repository: &Repository,
    selector: &Selector,
    document: &Descriptor,
    documents: &Documents,
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
    put_document(repository, &Selector::Digest(document.digest), document, documents).await?;
    Ok(Some(TargetError::FixedTag {
        registry: repository.registry().clone(),
        repository: repository.name().clone(),
        tag: tag.clone(),
        found,
        digest: document.digest,
        source: Box::new(refusal),
    }))
}
