// SPDX-License-Identifier: Apache-2.0
//! Indexes, manifests and tags of an image: asked for all at once, put inner before outer, read back, tagged last.

use std::collections::BTreeSet;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use futures::stream::{self, StreamExt as _, TryStreamExt as _};

use super::{Failures, QUESTIONS, Run, Target, TargetError, referrers};
use crate::closure::{Closure, Documents};
use crate::oci::Descriptor;
use crate::reference::Selector;
use crate::registry::{RegistryError, Repository};

impl Run<'_> {
    /// Puts the documents of a target, reads them back, and tags it.
    pub(super) async fn put_target(&self, target: &Target, failures: &Failures) -> Result<(), TargetError> {
        let repository = self.repository(&target.repository);
        for (_, closure) in self.closures(target) {
            blobs_arrived(target, closure, failures)?;
        }
        let manifest = self.bundle.manifest().images.get(target.image);
        let root = self.closures(target).next().map(|(root, _)| root);
        let (Some(manifest), Some(root)) = (manifest, root) else {
            return Err(TargetError::Missing(target.digest));
        };
        let root_of = |digest| self.closures(target).map(|(root, _)| root).find(|root| root.digest == digest);
        let found =
            manifest.referrers.iter().filter_map(|referrer| Some((referrer, root_of(referrer.digest)?)));
        let found = found.collect::<Vec<_>>();

        let mut seen = BTreeSet::new();
        let documents = self.closures(target).flat_map(|(_, closure)| &closure.documents);
        let documents = documents.filter(|document| seen.insert(document.digest));
        let documents = documents.map(|document| (Selector::Digest(document.digest), document));
        let documents = self.lacking(&repository, documents.collect());
        let named = found.iter().filter_map(|(referrer, root)| Some((*root, referrer.tag.as_ref()?)));
        let tags = named.chain(target.tags.iter().map(|tag| (root, tag)));
        let tags = tags.map(|(document, tag)| (Selector::Tag(tag.clone()), document));
        let tags = self.lacking(&repository, tags.collect());
        let (documents, tags) = futures::try_join!(documents, tags)?;

        for (selector, document) in documents {
            let put = self.put(&repository, &selector, document).await;
            put.map_err(|error| self.sparse(target, document, error))?;
        }
        referrers::list(&repository, &found).await?;
        // Tags last: what a tag names is whole.
        for (selector, document) in tags {
            self.put(&repository, &selector, document).await?;
        }
        Ok(())
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

    async fn put(
        &self,
        repository: &Repository,
        selector: &Selector,
        document: &Descriptor,
    ) -> Result<(), TargetError> {
        send_document(repository, selector, document, &self.images.documents).await?;
        self.counts.documents_sent.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// A refused index that lacks children is refused for that.
    fn sparse(&self, target: &Target, document: &Descriptor, error: TargetError) -> TargetError {
        let chosen = self.bundle.manifest().images.get(target.image).is_some_and(|i| !i.platforms.is_empty());
        match error {
            TargetError::Registry(
                source @ (RegistryError::Refused { .. } | RegistryError::NotFound { .. }),
            ) if chosen && document.is_index() => {
                TargetError::Sparse { registry: self.registry.clone(), digest: document.digest, source }
            }
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

async fn has_document(
    repository: &Repository,
    selector: &Selector,
    document: &Descriptor,
) -> Result<bool, TargetError> {
    let found = repository.head_manifest(selector).await?;
    Ok(found.is_some_and(|found| found.digest == document.digest))
}

/// Puts one of `documents` and reads it back.
async fn send_document(
    repository: &Repository,
    selector: &Selector,
    document: &Descriptor,
    documents: &Documents,
) -> Result<(), TargetError> {
    let stored = documents.get(&document.digest).ok_or(TargetError::Missing(document.digest))?;
    repository.push_manifest(selector, &document.media_type, stored.bytes.clone()).await?;
    let back = repository.manifest(selector).await?;
    if back.digest != document.digest {
        let (registry, expected) = (repository.registry().clone(), document.digest);
        return Err(TargetError::ReadBack { registry, expected, got: back.digest });
    }
    Ok(())
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
