// SPDX-License-Identifier: Apache-2.0
//! Brings the manifests of an image, indexes byte for byte, inner before outer, and leaves behind what is optional of it
//! and cannot be brought.

use std::collections::BTreeMap;

use krs_core::crd::reason;
use krs_core::error::ErrorKind;
use krs_core::oci::closure::{Closure, Manifests, OptionalContent};
use krs_core::oci::digest::Digest;
use krs_core::oci::reference::Selector;
use krs_core::oci::{Descriptor, Index, ManifestOrIndex};
use krs_core::registry::Repository;
use krs_core::sync::push::put_as_manifest;

use super::direct_copy;
use super::failure::Failure;
use super::transfer::{Copy, at_edge, has, put};

impl Copy<'_> {
    /// Brings all manifests of a closure, inner before outer, with what they need; what is `optional` of it stays behind
    /// where it cannot be brought. What the edge's garbage collection takes meanwhile is brought again. (T-63)
    ///
    /// Answers the subject of the last one that the registry says it has processed.
    pub(super) async fn transfer(
        &mut self,
        edge: &Repository,
        closure: &Closure,
        manifests: &Manifests,
        optional: &OptionalContent,
    ) -> Result<Option<Digest>, Failure> {
        let mut left = BTreeMap::new();
        let brought = match self.try_bring(edge, closure, manifests, optional, &mut left).await {
            Err(failure) if failure.collected => {
                left.clear();
                self.try_bring(edge, closure, manifests, optional, &mut left).await
            }
            brought => brought,
        };
        for (child, reason) in left {
            self.lose(&child, &reason);
        }
        brought
    }

    async fn try_bring(
        &mut self,
        edge: &Repository,
        closure: &Closure,
        manifests: &Manifests,
        optional: &OptionalContent,
        left: &mut BTreeMap<Digest, String>,
    ) -> Result<Option<Digest>, Failure> {
        self.bring_opaque(edge, closure, manifests, left).await;
        let mut acknowledged = None;
        for descriptor in &closure.manifests {
            let children = optional.manifests.get(&descriptor.digest);
            if children.is_some_and(|children| children.iter().all(|child| left.contains_key(child))) {
                continue;
            }
            let manifest = manifests.read(descriptor);
            let manifest = manifest.map_err(|error| Failure::fetch(self.source.role, &error.into()))?;
            let brought = match &manifest {
                ManifestOrIndex::Manifest(_) => {
                    self.bring_manifest(edge, descriptor, &manifest, manifests).await
                }
                ManifestOrIndex::Index(index) => {
                    self.bring_index(edge, (descriptor, index), closure, manifests, left).await
                }
            };
            match (brought, children) {
                (Ok(subject), _) => acknowledged = subject,
                // No other request can succeed either.
                (Err(failure), Some(children)) if !failure.for_all => {
                    left.extend(children.iter().map(|child| (*child, failure.message.clone())));
                }
                (Err(failure), _) => return Err(failure),
            }
        }
        Ok(acknowledged)
    }

    /// Brings what indexes list of a type that is not known. An image is complete without it.
    async fn bring_opaque(
        &self,
        edge: &Repository,
        closure: &Closure,
        manifests: &Manifests,
        left: &mut BTreeMap<Digest, String>,
    ) {
        for blob in closure.blobs.iter().filter(|content| closure.opaque.contains(&content.digest)) {
            let brought = async {
                let source = self.source.repository(&self.target.source_repository)?;
                if has(edge, &blob.digest, blob.size).await? {
                    return Ok(());
                }
                // Registries keep it as a blob, or as a manifest.
                if let Some(bytes) = manifests.content(&blob.digest) {
                    return direct_copy::send(edge, blob, bytes.to_vec()).await;
                }
                direct_copy::copy(&source, self.source.role, edge, &[blob]).await
            };
            if let Err(failure) = brought.await {
                left.insert(blob.digest, failure.message);
            }
        }
    }

    /// Puts an index. Where the registry refuses one that lists entries of types that are not known, it may want them as
    /// manifests, and not as the blobs that they were sent as.
    async fn bring_index(
        &self,
        edge: &Repository,
        (descriptor, index): (&Descriptor, &Index),
        closure: &Closure,
        manifests: &Manifests,
        left: &BTreeMap<Digest, String>,
    ) -> Result<Option<Digest>, Failure> {
        let selector = Selector::Digest(descriptor.digest);
        let failure = match put(edge, &selector, descriptor, manifests).await {
            Err(failure) if failure.collected => failure,
            put => return put.map_err(|failure| self.sparse(failure, closure, left)),
        };
        let mut accepted = false;
        for child in index.manifests.iter().filter(|child| closure.opaque.contains(&child.digest)) {
            accepted |= self.put_opaque(edge, child, manifests).await;
        }
        let put = if accepted { put(edge, &selector, descriptor, manifests).await } else { Err(failure) };
        put.map_err(|failure| self.sparse(failure, closure, left))
    }

    async fn put_opaque(&self, edge: &Repository, child: &Descriptor, manifests: &Manifests) -> bool {
        let put = async {
            let source = self.source.repository(&self.target.source_repository)?;
            let bytes = match manifests.content(&child.digest) {
                Some(bytes) => bytes.clone(),
                None => direct_copy::fetch(&source, self.source.role, child).await?.into(),
            };
            put_as_manifest(edge, child, bytes).await.map_err(|error| at_edge(&error))
        };
        let put = put.await;
        if let Err(Failure { message, .. }) = &put {
            tracing::warn!(image = self.target.image, manifest = %child.digest, "not taken as a manifest: {message}");
        }
        put.is_ok()
    }

    /// A refused index without all of its children is refused for that.
    fn sparse(&self, failure: Failure, closure: &Closure, left: &BTreeMap<Digest, String>) -> Failure {
        let is_sparse = !closure.absent.is_empty() || !closure.opaque.is_empty() || !left.is_empty();
        let takes_all = self.target.platforms.is_empty() && !is_sparse;
        if failure.reason != reason::REGISTRY_REFUSED || takes_all {
            return failure;
        }
        let is_chosen = !self.target.platforms.is_empty();
        let hint = if is_chosen { "leave `platforms` out of the set, or " } else { "" };
        let names = closure.absent.iter().map(|absent| format!("the {} {}", absent.name, absent.digest));
        let opaque = closure.opaque.iter().filter(|child| !left.contains_key(child));
        let names = names.chain(left.keys().chain(opaque).map(ToString::to_string)).collect::<Vec<_>>();
        let missing =
            if names.is_empty() { String::new() } else { format!("; missing there: {}", names.join(", ")) };
        // What helps comes first: a long message is cut at its end.
        let text = format!(
            "the destination registry takes no index without all of its children: {hint}set up the registry to take it (Distribution 3: validation.manifests.indexes.platforms: none){missing} ({})",
            failure.message
        );
        let collected = failure.collected && self.target.platforms.is_empty() && closure.absent.is_empty();
        let sparse = Failure::new(reason::SPARSE_INDEX_REFUSED, ErrorKind::Other, &text);
        Failure { collected, ..sparse }
    }
}
