// SPDX-License-Identifier: Apache-2.0
//! Brings one manifest with its blobs: what the edge has stays, what it can link is linked, the rest comes by skopeo.

use std::collections::BTreeSet;

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use krs_core::oci::closure::Manifests;
use krs_core::oci::digest::Digest;
use krs_core::oci::reference::Selector;
use krs_core::oci::{Descriptor, Inline, ManifestOrIndex};
use krs_core::registry::{PushOutcome, Repository};
use krs_core::sync::push::send_manifest;

use super::failure::Failure;
use super::transfer::{Copy, at_edge, has, put};
use super::{direct_copy, skopeo};

/// Blobs of a manifest that are asked for, or linked, at once.
const AT_ONCE: usize = 8;

/// How a blob is at the edge.
enum Brought {
    Present,
    Now(PushOutcome),
    /// It has to come from the source.
    Not,
}

impl Copy<'_> {
    pub(super) async fn bring_manifest(
        &mut self,
        edge: &Repository,
        descriptor: &Descriptor,
        manifest: &ManifestOrIndex,
        manifests: &Manifests,
    ) -> Result<Option<Digest>, Failure> {
        let selector = Selector::Digest(descriptor.digest);
        let mut unique = BTreeSet::new();
        let blobs = manifest.children().filter(|blob| unique.insert(blob.digest)).collect::<Vec<_>>();
        let this = &*self;
        let brought = blobs
            .into_iter()
            .map(|blob| async move { Ok::<_, Failure>((blob, this.bring_blob(edge, blob).await?)) });
        let brought = stream::iter(brought).buffered(AT_ONCE).try_collect::<Vec<_>>().await?;
        let mut missing = Vec::new();
        for (blob, brought) in brought {
            match brought {
                Brought::Present => {}
                Brought::Now(pushed) => self.count(pushed, blob.size),
                Brought::Not => missing.push(blob),
            }
        }
        if missing.is_empty() {
            return put(edge, &selector, descriptor, manifests).await;
        }
        let bytes = missing.iter().map(|blob| blob.size).sum::<u64>();
        tracing::info!(
            image = self.target.image, manifest = %descriptor.digest, blobs = missing.len(), bytes,
            from = %self.source.registry, to = %self.destination.registry, "copying"
        );
        let from = (self.source, &self.target.source_repository);
        let to = (self.destination, &self.target.repository);
        if let Err(failure) = skopeo::copy(from, to, &descriptor.digest, self.paths).await? {
            tracing::warn!(image = self.target.image, manifest = %descriptor.digest, "{failure}");
            // What is wrong, the registries say better; and some artifacts are nothing that skopeo copies.
            let source = self.source.repository(&self.target.source_repository)?;
            direct_copy::copy(&source, self.source.role, edge, &missing).await?;
        }
        // skopeo has put it, and does not tell the answer. What refers to something is sent again to hear it.
        let again = match manifest.subject() {
            Some(_) => send_manifest(edge, &selector, descriptor, manifests).await.ok(),
            None => None,
        };
        let acknowledged = match again {
            Some(acknowledged) => acknowledged,
            None => put(edge, &selector, descriptor, manifests).await?,
        };
        self.report.blobs_copied += missing.len() as u64;
        self.report.bytes_copied += bytes;
        Ok(acknowledged)
    }

    /// Brings a blob that the edge has somewhere already.
    async fn bring_blob(&self, edge: &Repository, blob: &Descriptor) -> Result<Brought, Failure> {
        if has(edge, &blob.digest, blob.size).await? {
            return Ok(Brought::Present);
        }
        if self.mount(edge, blob).await? {
            return Ok(Brought::Now(PushOutcome::Mounted));
        }
        if let Some(pushed) = self.base.transfer(edge, blob).await? {
            return Ok(Brought::Now(pushed));
        }
        Ok(if self.bring_directly(edge, blob).await? {
            Brought::Now(PushOutcome::Uploaded)
        } else {
            Brought::Not
        })
    }

    /// Brings a blob that skopeo does not: one whose content is in its descriptor, and a foreign layer, which skopeo leaves
    /// out because its manifest says where else it lies.
    async fn bring_directly(&self, edge: &Repository, blob: &Descriptor) -> Result<bool, Failure> {
        if let Some(Inline::Content(bytes)) = blob.inline() {
            direct_copy::send(edge, blob, bytes.to_vec()).await?;
            return Ok(true);
        }
        if !blob.is_foreign() {
            return Ok(false);
        }
        let source = self.source.repository(&self.target.source_repository)?;
        direct_copy::stream(&source, self.source.role, edge, blob).await?;
        Ok(true)
    }

    /// Has the registry link a blob from another repository that has it.
    async fn mount(&self, edge: &Repository, blob: &Descriptor) -> Result<bool, Failure> {
        for from in self.mount_from.iter().filter(|from| **from != self.target.repository) {
            let other = edge.sibling(from);
            // A repository that may not be read is none to link from.
            if !other.has_blob(&blob.digest, blob.size).await.unwrap_or(false) {
                continue;
            }
            let mounted = edge.mount_blob(&blob.digest, Some(from)).await.map_err(|error| at_edge(&error))?;
            if mounted && has(edge, &blob.digest, blob.size).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
