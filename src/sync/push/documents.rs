// SPDX-License-Identifier: Apache-2.0
//! Indexes, manifests and tags of an image: asked for all at once, put inner before outer, read back, tagged last.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures::stream::{self, StreamExt as _, TryStreamExt as _};

use super::attach::Attached;
use super::error::TargetError;
use super::left_behind::LeftBehind;
use super::put::{fixed_tag, has_manifest, put_as_manifest};
use super::run::{Failures, QUESTIONS, Run};
use super::target::Target;
use crate::bundle::BundledImage;
use crate::error;
use crate::oci::closure::Closure;
use crate::oci::digest::Digest;
use crate::oci::reference::Selector;
use crate::oci::{Descriptor, MAX_MANIFEST, ManifestOrIndex};
use crate::registry::{Denial, RegistryError, Repository, SourceError};

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
        let optional = self.optional(target.image);
        let mut left = match LeftBehind::of_blobs(target, &image.closure, optional, failures) {
            Ok(left) => left,
            Err(error) => return Err(self.of_archive(error).await),
        };
        match self.try_put_target(target, image, &mut left, failures).await {
            Err(error) if error.may_be_collected() => {
                if !self.restore(target, &image.closure).await? {
                    return Err(error);
                }
                left = LeftBehind::of_blobs(target, &image.closure, optional, failures)?;
                self.try_put_target(target, image, &mut left, failures).await
            }
            put => put,
        }
    }

    /// The error with the file and the position in it, where a blob of the archive is damaged or cannot be read.
    async fn of_archive(&self, error: TargetError) -> TargetError {
        let TargetError::Registry(RegistryError::Source { digest, source }) = error else { return error };
        let Some(blob) = self.bundle.blob(&digest).copied() else {
            return RegistryError::Source { digest, source }.into();
        };
        let (bundle, fallback) = (Arc::clone(self.bundle), TargetError::Missing(digest));
        // Which volume is damaged is found out by reading it.
        let located = tokio::task::spawn_blocking(move || match source {
            SourceError::Corrupt(mismatch) => bundle.content_error(&blob, mismatch),
            SourceError::Read(source) => bundle.read_error(&blob, source),
        });
        located.await.map_or(fallback, |error| TargetError::Bundle(Box::new(error)))
    }

    /// Sends the blobs of a target that are not there although they were. Whether that, or a manifest that is gone, may
    /// have been the reason why the registry refused it.
    async fn restore(&self, target: &Target, closure: &Closure) -> Result<bool, TargetError> {
        let repository = &self.repository(&target.repository);
        let optional = self.optional(target.image);
        let restored =
            closure.contents.clone().into_iter().map(|Descriptor { digest, size, .. }| async move {
                let restored = self.restore_blob(repository, digest, size).await;
                // What is optional never decides about the image.
                let is_optional = optional.contents.contains_key(&digest);
                if is_optional { Ok(restored.unwrap_or(false)) } else { restored }
            });
        let restored = stream::iter(restored).buffer_unordered(QUESTIONS).try_collect::<Vec<_>>().await?;
        let blobs = restored.into_iter().filter(|restored| *restored).count();
        tracing::debug!(repository = %target.repository, blobs, "sent again what the registry lost meanwhile");
        // An index that was left without some of its images by a choice of platforms is refused for that.
        let manifest = self.bundle.manifest().images.get(target.image);
        Ok(blobs > 0 || manifest.is_some_and(|image| image.platforms.is_empty()))
    }

    /// Sends a blob where it is not there any more. Answers whether it was sent.
    async fn restore_blob(
        &self,
        repository: &Repository,
        digest: Digest,
        size: u64,
    ) -> Result<bool, RegistryError> {
        if repository.has_blob_for_push(&digest, size).await? {
            return Ok(false);
        }
        self.send_again(digest, size, repository.name()).await.map(|()| true)
    }

    async fn try_put_target(
        &self,
        target: &Target,
        image: &BundledImage,
        left: &mut LeftBehind<'_>,
        failures: &Failures,
    ) -> Result<Attached, TargetError> {
        let repository = self.repository(&target.repository);
        let (root, documents) = (&image.root, &image.closure.documents);
        // What a tag says of the image need not be asked a second time.
        let is_tagged = |document: &Descriptor| document.digest == root.digest && !target.tags.is_empty();
        let asked = documents.iter().filter(|document| !is_tagged(document));
        let asked = asked.map(|document| (Selector::Digest(document.digest), document));
        let asked = self.lacking(&repository, asked.collect(), left);
        let tags = self.lacking_tags(&repository, target, root);
        let (lacking, tags) = futures::try_join!(asked, tags)?;
        let mut lacking = lacking.into_iter().map(|(_, document)| document.digest).collect::<BTreeSet<_>>();
        let untagged = tags.iter().filter(|(_, document)| document.digest == root.digest).count();
        if untagged > 0 && untagged == target.tags.len() {
            lacking.insert(root.digest);
        }

        for document in documents.iter().filter(|document| lacking.contains(&document.digest)) {
            if left.is_left(&document.digest) {
                continue;
            }
            let put = self.put_with_children(&repository, image, document).await;
            match (put, left.needing(&document.digest)) {
                (Ok(()), _) => {}
                (Err((error, _)), Some(children)) => left.add(children, &error::chain(&error)),
                (Err((error, refused)), None) => {
                    return Err(self.sparse(target, document, error, left, refused));
                }
            }
        }
        // Before the tags: whoever finds the image finds its signatures.
        let mut attached = self.put_referrers(target, failures).await;
        attached.problems.extend(left.problems(target));
        // Tags last: what a tag names is whole. One that may not be changed keeps none of the others.
        let mut fixed = None;
        for (selector, document) in tags {
            if let Err(error) = self.put(&repository, &selector, document).await {
                let documents = &self.images.documents;
                let error = fixed_tag(&repository, &selector, document, documents, error).await;
                let error = error.map_err(|error| self.sparse(target, document, error, left, Vec::new()))?;
                fixed = fixed.or(error);
            }
        }
        fixed.map_or(Ok(attached), Err)
    }

    /// Puts a manifest of an image. Where the registry refuses an index that lists entries of types that are not known,
    /// it may want them as manifests, and not as the blobs that they were sent as. With the error comes which of them it
    /// takes as none.
    async fn put_with_children(
        &self,
        repository: &Repository,
        image: &BundledImage,
        document: &Descriptor,
    ) -> Result<(), (TargetError, Vec<String>)> {
        let selector = Selector::Digest(document.digest);
        let error = match self.put(repository, &selector, document).await {
            Err(error) if error.may_be_collected() => error,
            put => return put.map(drop).map_err(|error| (error, Vec::new())),
        };
        let Ok(ManifestOrIndex::Index(index)) = self.images.documents.read(document) else {
            return Err((error, Vec::new()));
        };
        let (mut accepted, mut refused) = (false, Vec::new());
        let opaque = |child: &&Descriptor| image.closure.opaque.contains(&child.digest);
        for child in index.manifests.iter().filter(opaque) {
            match self.put_opaque(repository, child).await {
                Ok(()) => accepted = true,
                Err(reason) => refused.push(format!("{} {}: {reason}", index.name_of(child), child.digest)),
            }
        }
        if !accepted {
            return Err((error, refused));
        }
        self.put(repository, &selector, document).await.map(drop).map_err(|error| (error, refused))
    }

    async fn put_opaque(&self, repository: &Repository, child: &Descriptor) -> Result<(), String> {
        let blob = self.bundle.blob(&child.digest).ok_or("it is not in the bundle")?;
        let bytes = self.bundle.read(blob, MAX_MANIFEST).map_err(|error| error::chain(&error))?;
        put_as_manifest(repository, child, bytes).await.map_err(|error| error::chain(&error))?;
        self.counts.documents_sent.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Of these, in their order, what the registry does not have. What cannot be asked and is optional is put.
    async fn lacking<'a>(
        &self,
        repository: &Repository,
        wanted: Vec<(Selector, &'a Descriptor)>,
        left: &LeftBehind<'_>,
    ) -> Result<Vec<(Selector, &'a Descriptor)>, TargetError> {
        let asked = wanted.into_iter().map(|(selector, document)| async move {
            let has = match has_manifest(repository, &selector, document).await {
                Err(_) if left.needing(&document.digest).is_some() => false,
                has => has?,
            };
            Ok::<_, TargetError>((!has).then_some((selector, document)))
        });
        let answers = stream::iter(asked).buffered(QUESTIONS).try_collect::<Vec<_>>().await?;
        Ok(answers.into_iter().flatten().collect())
    }

    /// A refused index that lacks children is refused for that. `refused` are children that are there in another way than
    /// the registry wants.
    fn sparse(
        &self,
        target: &Target,
        document: &Descriptor,
        error: TargetError,
        left: &LeftBehind<'_>,
        refused: Vec<String>,
    ) -> TargetError {
        let chosen = self.bundle.manifest().images.get(target.image).is_some_and(|i| !i.platforms.is_empty());
        let absent = self.closures(target).flat_map(|(_, closure)| &closure.absent);
        // A choice of platforms explains the refusal, whatever else is missing.
        let missing = absent.filter(|_| !chosen).map(|child| child.name.clone()).collect::<Vec<_>>();
        let unsent = left.names().into_iter().chain(refused).collect::<Vec<_>>();
        match error {
            TargetError::Registry(
                source @ (RegistryError::Refused { .. }
                | RegistryError::NotFound { .. }
                | RegistryError::Denied { denial: Denial::NoProject, .. }),
            ) if (chosen || !missing.is_empty() || !unsent.is_empty()) && document.is_index() => {
                TargetError::Sparse {
                    registry: self.destination.registry.clone(),
                    digest: document.digest,
                    missing,
                    unsent,
                    source: Box::new(source),
                }
            }
            other => other,
        }
    }
}
