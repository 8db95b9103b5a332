// SPDX-License-Identifier: Apache-2.0
//! Puts the indexes, manifests and tags of an image: queries them all at once, puts inner ones before outer ones, reads them
//! back, and puts tags last.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures::stream::{self, StreamExt as _, TryStreamExt as _};

use super::attach::AttachResult;
use super::error::TargetError;
use super::left_behind::LeftBehind;
use super::put::{fixed_tag, has_manifest, put_as_manifest};
use super::run::{Failures, MAX_QUERIES, Run};
use super::target::Target;
use crate::bundle::BundledImage;
use crate::error;
use crate::oci::closure::Closure;
use crate::oci::digest::Digest;
use crate::oci::reference::Selector;
use crate::oci::{Descriptor, MAX_MANIFEST, ManifestOrIndex};
use crate::registry::{Denial, RegistryError, Repository, SourceError};

impl Run<'_> {
    /// Puts the manifests of a target, reads them back, puts its referrers, and tags it. If the registry's garbage collection
    /// meanwhile deleted a blob that was present before, the blob is sent again and all manifests are put again. (T-63)
    pub(super) async fn put_target(
        &self,
        target: &Target,
        failures: &Failures,
    ) -> Result<AttachResult, TargetError> {
        let image = self.images.images.get(target.image).ok_or(TargetError::Missing(target.digest))?;
        let optional = self.optional(target.image);
        let mut left = match LeftBehind::of_blobs(target, &image.closure, optional, failures) {
            Ok(left) => left,
            Err(error) => return Err(self.locate_archive_error(error).await),
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

    /// Adds the file and the offset to an error about a blob of the archive that is damaged or cannot be read.
    async fn locate_archive_error(&self, error: TargetError) -> TargetError {
        let TargetError::Registry(RegistryError::Source { digest, source }) = error else { return error };
        let Some(blob) = self.bundle.blob(&digest).copied() else {
            return RegistryError::Source { digest, source }.into();
        };
        let (bundle, fallback) = (Arc::clone(self.bundle), TargetError::Missing(digest));
        // Only reading tells which volume is damaged.
        let located = tokio::task::spawn_blocking(move || match source {
            SourceError::Corrupt(mismatch) => bundle.content_error(&blob, mismatch),
            SourceError::Read(source) => bundle.read_error(&blob, source),
        });
        located.await.map_or(fallback, |error| TargetError::Bundle(Box::new(error)))
    }

    /// Sends the blobs of a target that were present and now are missing. Returns whether a missing blob or manifest may be
    /// the reason why the registry refused the target.
    async fn restore(&self, target: &Target, closure: &Closure) -> Result<bool, TargetError> {
        let repository = &self.repository(&target.repository);
        let optional = self.optional(target.image);
        let restored = closure.blobs.clone().into_iter().map(|Descriptor { digest, size, .. }| async move {
            let restored = self.restore_blob(repository, digest, size).await;
            // What is optional never decides about the image.
            let is_optional = optional.blobs.contains_key(&digest);
            if is_optional { Ok(restored.unwrap_or(false)) } else { restored }
        });
        let restored = stream::iter(restored).buffer_unordered(MAX_QUERIES).try_collect::<Vec<_>>().await?;
        let blobs = restored.into_iter().filter(|restored| *restored).count();
        tracing::debug!(repository = %target.repository, blobs, "sent again what the registry lost meanwhile");
        // If platforms were chosen, the registry may refuse the index because it is sparse.
        let manifest = self.bundle.manifest().images.get(target.image);
        Ok(blobs > 0 || manifest.is_some_and(|image| image.platforms.is_empty()))
    }

    /// Sends a blob if it is missing now. Returns whether it was sent.
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
    ) -> Result<AttachResult, TargetError> {
        let repository = self.repository(&target.repository);
        let (root, manifests) = (&image.root, &image.closure.manifests);
        // The query of a tag also tells whether the image is present.
        let is_tagged = |manifest: &Descriptor| manifest.digest == root.digest && !target.tags.is_empty();
        let wanted = manifests.iter().filter(|manifest| !is_tagged(manifest));
        let wanted = wanted.map(|manifest| (Selector::Digest(manifest.digest), manifest));
        let missing = self.find_missing(&repository, wanted.collect(), left);
        let tags = self.find_missing_tags(&repository, target, root);
        let (missing, tags) = futures::try_join!(missing, tags)?;
        let mut missing = missing.into_iter().map(|(_, manifest)| manifest.digest).collect::<BTreeSet<_>>();
        let untagged = tags.iter().filter(|(_, manifest)| manifest.digest == root.digest).count();
        if untagged > 0 && untagged == target.tags.len() {
            missing.insert(root.digest);
        }

        for manifest in manifests.iter().filter(|manifest| missing.contains(&manifest.digest)) {
            if left.is_left(&manifest.digest) {
                continue;
            }
            let put = self.put_with_children(&repository, image, manifest).await;
            match (put, left.needing(&manifest.digest)) {
                (Ok(()), _) => {}
                (Err((error, _)), Some(children)) => left.add(children, &error::chain(&error)),
                (Err((error, refused)), None) => {
                    return Err(self.explain_sparse(target, manifest, error, left, refused));
                }
            }
        }
        // Before the tags, so that a client that finds the image by its tag finds its signatures.
        let mut attach_result = self.put_referrers(target, failures).await;
        attach_result.problems.extend(left.problems(target));
        // Tags last, so that a tag never names an incomplete image. An immutable tag does not stop the others.
        let mut fixed = None;
        for (selector, manifest) in tags {
            if let Err(error) = self.put(&repository, &selector, manifest).await {
                let manifests = &self.images.manifests;
                let error = fixed_tag(&repository, &selector, manifest, manifests, error).await;
                let error =
                    error.map_err(|error| self.explain_sparse(target, manifest, error, left, Vec::new()))?;
                fixed = fixed.or(error);
            }
        }
        fixed.map_or(Ok(attach_result), Err)
    }

    /// Puts a manifest of an image. If the registry refuses an index with entries of unknown types, it may want these as
    /// manifests instead of blobs, so they are put as manifests. The error comes with the entries that it refuses as well.
    async fn put_with_children(
        &self,
        repository: &Repository,
        image: &BundledImage,
        manifest: &Descriptor,
    ) -> Result<(), (TargetError, Vec<String>)> {
        let selector = Selector::Digest(manifest.digest);
        let error = match self.put(repository, &selector, manifest).await {
            Err(error) if error.may_be_collected() => error,
            put => return put.map(drop).map_err(|error| (error, Vec::new())),
        };
        let Ok(ManifestOrIndex::Index(index)) = self.images.manifests.read(manifest) else {
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
        self.put(repository, &selector, manifest).await.map(drop).map_err(|error| (error, refused))
    }

    async fn put_opaque(&self, repository: &Repository, child: &Descriptor) -> Result<(), String> {
        let blob = self.bundle.blob(&child.digest).ok_or("it is not in the bundle")?;
        let bytes = self.bundle.read(blob, MAX_MANIFEST).map_err(|error| error::chain(&error))?;
        put_as_manifest(repository, child, bytes).await.map_err(|error| error::chain(&error))?;
        self.counts.manifests_sent.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Returns those of `wanted` that the registry does not have, in order. Optional ones that cannot be queried count as
    /// missing.
    async fn find_missing<'a>(
        &self,
        repository: &Repository,
        wanted: Vec<(Selector, &'a Descriptor)>,
        left: &LeftBehind<'_>,
    ) -> Result<Vec<(Selector, &'a Descriptor)>, TargetError> {
        let queries = wanted.into_iter().map(|(selector, manifest)| async move {
            let has = match has_manifest(repository, &selector, manifest).await {
                Err(_) if left.needing(&manifest.digest).is_some() => false,
                has => has?,
            };
            Ok::<_, TargetError>((!has).then_some((selector, manifest)))
        });
        let answers = stream::iter(queries).buffered(MAX_QUERIES).try_collect::<Vec<_>>().await?;
        Ok(answers.into_iter().flatten().collect())
    }

    /// Explains the refusal of an index whose children are not all present by the missing children. `refused` are children
    /// that the registry has as blobs and refuses as manifests.
    fn explain_sparse(
        &self,
        target: &Target,
        manifest: &Descriptor,
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
            ) if (chosen || !missing.is_empty() || !unsent.is_empty()) && manifest.is_index() => {
                TargetError::Sparse {
                    registry: self.destination.registry.clone(),
                    digest: manifest.digest,
                    missing,
                    unsent,
                    source: Box::new(source),
                }
            }
            other => other,
        }
    }
}
