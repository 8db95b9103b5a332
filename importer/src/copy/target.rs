// SPDX-License-Identifier: Apache-2.0
//! Brings one image to one repository at the edge: what refers to it, its manifests by skopeo, its indexes byte for
//! byte, inner before outer; walks it there, and tags it last.

use std::collections::BTreeSet;

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use krs_core::bundle::BundleReferrer;
use krs_core::closure::{Closure, Documents};
use krs_core::crd::reason;
use krs_core::digest::Digest;
use krs_core::error::ErrorKind;
use krs_core::fetch;
use krs_core::oci::{Descriptor, Document, Inline};
use krs_core::prove::{Proof, ProveError, prove};
use krs_core::push::{PushedReferrer, TargetError, list_referrers, mend_lists, put_document, put_tag};
use krs_core::reference::{RepositoryName, Selector};
use krs_core::registry::{Pushed, RegistryError, Repository};
use krs_core::resolve::{FoundReferrers, ResolvedReferrer, find_referrers};

use super::base::Base;
use super::failure::Failure;
use super::side::{Side, Which};
use super::{Paths, by_hand, skopeo};
use crate::task::{CopyReport, CopyTarget};

/// Blobs of a manifest that are asked for, or linked, at once.
const AT_ONCE: usize = 8;

/// How a blob is at the edge.
enum Brought {
    Present,
    Now(Pushed),
    /// It has to come from the source.
    Not,
}

/// One target on its way.
pub(super) struct Copy<'a> {
    pub(super) source: &'a Side<'a>,
    pub(super) destination: &'a Side<'a>,
    pub(super) target: &'a CopyTarget,
    /// Repositories at the edge that may hold blobs of it.
    pub(super) mount_from: &'a [RepositoryName],
    /// Layers that the bundle leaves to the site.
    pub(super) base: Base,
    pub(super) paths: &'a Paths,
    pub(super) report: &'a mut CopyReport,
}

fn at_edge(error: &RegistryError) -> Failure {
    Failure::registry(Which::Destination, error)
}

/// Copies the target, unless all of it is there already.
pub(super) async fn copy(mut copy: Copy<'_>) -> Result<(), Failure> {
    let target = copy.target;
    let edge = copy.destination.repository(&target.repository)?;
    match prove(&edge, &target.digest, &target.platforms, &target.tags).await {
        Ok(Proof::Whole { absent, .. }) if absent.is_empty() => {
            tracing::info!(image = target.image, "it is there already");
            return Ok(());
        }
        // Where only optional children are absent, what of them the source has is brought all the same. And some
        // registries refuse to answer for what is absent: whether the image may be put there, putting it says.
        Ok(_)
        | Err(ProveError::Registry(RegistryError::Forbidden { .. } | RegistryError::Refused { .. })) => {}
        Err(error) => return Err(Failure::prove(&error)),
    }
    let (root, closure, found, documents) = copy.look().await?;
    for missing in &found.missing {
        copy.lose(&missing.digest.unwrap_or(missing.subject), &missing.reason);
    }
    let referrers = found.referrers;
    if copy.source.which == Which::Bundle {
        let source = copy.source.repository(&target.source_repository)?;
        let closures = std::iter::once(&closure).chain(referrers.iter().map(|referrer| &referrer.closure));
        copy.base = Base::find(&source, &edge, copy.mount_from, closures).await?;
    }
    // Before the image: whoever finds the image finds its signatures. They are optional: what fails with one of them
    // costs that one.
    let mut brought = Vec::with_capacity(referrers.len());
    for referrer in referrers {
        match copy.bring(&edge, &referrer.closure, &documents).await {
            Ok(()) => brought.push(referrer),
            // No other request can succeed either.
            Err(failure) if failure.for_all => return Err(failure),
            Err(failure) => copy.lose(&referrer.root.digest, &failure.message),
        }
    }
    copy.bring(&edge, &closure, &documents).await?;
    copy.list(&edge, &brought, &documents).await;
    let proof = prove(&edge, &target.digest, &target.platforms, &[]).await;
    match proof.map_err(|error| Failure::prove(&error))? {
        Proof::Whole { .. } | Proof::Tag { .. } => {}
        Proof::Missing { what } => {
            let text = format!("{what} is not at the destination registry after it was copied there");
            return Err(Failure::new(reason::COPY_FAILED, ErrorKind::Unavailable, &text));
        }
    }
    let mut refused = None;
    for tag in &target.tags {
        // One that may not be changed keeps none of the others.
        match put_tag(&edge, tag, &root, &documents).await {
            Ok(_) => {}
            Err(error @ TargetError::FixedTag { .. }) => refused = refused.or(Some(error)),
            Err(error) => return Err(Failure::target(&error)),
        }
    }
    refused.map_or(Ok(()), |error| Err(Failure::target(&error)))
}

async fn put(
    edge: &Repository,
    selector: &Selector,
    document: &Descriptor,
    documents: &Documents,
) -> Result<(), Failure> {
    let put = put_document(edge, selector, document, documents).await;
    put.map(drop).map_err(|error| Failure::target(&error))
}

impl Copy<'_> {
    /// Counts a referrer that is not at the edge as it should be.
    fn lose(&mut self, what: &impl std::fmt::Display, reason: &str) {
        self.report.referrers_missing += 1;
        tracing::warn!(image = self.target.image, referrer = %what, "the image is without it: {reason}");
    }

    /// Makes the referrers findable: by the API, by a list under a tag, or by the tags that they had.
    async fn list(&mut self, edge: &Repository, referrers: &[ResolvedReferrer], documents: &Documents) {
        let described = referrers.iter().map(|referrer| {
            let ResolvedReferrer { subject, root, artifact_type, tag, .. } = referrer;
            let described = BundleReferrer {
                artifact_type: artifact_type.clone(),
                digest: root.digest,
                media_type: root.media_type.clone(),
                subject: *subject,
                tag: tag.clone(),
            };
            (described, root)
        });
        let described = described.collect::<Vec<_>>();
        let pushed =
            described.iter().map(|(referrer, root)| PushedReferrer { referrer, root, acknowledged: false });
        let (written, mut problems) = list_referrers(edge, &pushed.collect::<Vec<_>>(), documents).await;
        problems.extend(mend_lists(edge, written).await);
        for problem in problems {
            self.lose(&problem.digest, &problem.reason);
        }
        for (root, tag) in
            referrers.iter().filter_map(|referrer| Some((&referrer.root, referrer.tag.as_ref()?)))
        {
            if let Err(failure) = put(edge, &Selector::Tag(tag.clone()), root, documents).await {
                self.lose(tag, &failure.message);
            }
        }
    }

    /// What the source has of the target.
    async fn look(&self) -> Result<(Descriptor, Closure, FoundReferrers, Documents), Failure> {
        let which = self.source.which;
        let repository = self.source.repository(&self.target.source_repository)?;
        let mut documents = Documents::default();
        let fetched = async {
            let root = fetch::top(&repository, &self.target.digest, &mut documents).await?;
            let closure = fetch::closure(&repository, &root, &self.target.platforms, &mut documents).await?;
            Ok((root, closure))
        };
        let (root, closure) = fetched.await.map_err(|error| Failure::fetch(which, &error))?;
        let found = find_referrers(&repository, &closure, &mut documents).await;
        Ok((root, closure, found, documents))
    }

    /// Brings all documents of a closure, inner before outer, with what they need. What the edge's garbage collection
    /// takes meanwhile is brought once more. (T-63)
    async fn bring(
        &mut self,
        edge: &Repository,
        closure: &Closure,
        documents: &Documents,
    ) -> Result<(), Failure> {
        match self.try_bring(edge, closure, documents).await {
            Err(failure) if failure.collected => self.try_bring(edge, closure, documents).await,
            brought => brought,
        }
    }

    async fn try_bring(
        &mut self,
        edge: &Repository,
        closure: &Closure,
        documents: &Documents,
    ) -> Result<(), Failure> {
        self.bring_opaque(edge, closure).await;
        for descriptor in &closure.documents {
            let document = documents.read(descriptor);
            let document = document.map_err(|error| Failure::fetch(self.source.which, &error.into()))?;
            match &document {
                Document::Manifest(_) => self.bring_manifest(edge, descriptor, &document, documents).await?,
                Document::Index(_) => {
                    let put = put(edge, &Selector::Digest(descriptor.digest), descriptor, documents).await;
                    put.map_err(|failure| self.sparse(failure, closure))?;
                }
            }
        }
        Ok(())
    }

    /// Brings what indexes list of a type that is not known. An image is complete without it.
    async fn bring_opaque(&self, edge: &Repository, closure: &Closure) {
        for blob in closure.contents.iter().filter(|content| closure.opaque.contains(&content.digest)) {
            let brought = async {
                let source = self.source.repository(&self.target.source_repository)?;
                if has(edge, &blob.digest, blob.size).await? {
                    return Ok(());
                }
                let why = format!("its type `{}` is not known", blob.media_type);
                by_hand::copy(&source, self.source.which, edge, &[blob], &why).await
            };
            if let Err(failure) = brought.await {
                let Failure { message, .. } = failure;
                tracing::warn!(image = self.target.image, blob = %blob.digest, "left behind: {message}");
            }
        }
    }

    /// A refused index that lacks children is refused for that.
    fn sparse(&self, failure: Failure, closure: &Closure) -> Failure {
        let whole = self.target.platforms.is_empty() && closure.absent.is_empty();
        if failure.reason != reason::REGISTRY_REFUSED || whole {
            return failure;
        }
        let text = format!(
            "the destination registry takes no index that lacks children ({}): leave `platforms` out of the set, or set up the registry to take it (Distribution 3: validation.manifests.indexes.platforms: none)",
            failure.message
        );
        Failure::new(reason::SPARSE_INDEX_REFUSED, ErrorKind::Other, &text)
    }

    async fn bring_manifest(
        &mut self,
        edge: &Repository,
        descriptor: &Descriptor,
        document: &Document,
        documents: &Documents,
    ) -> Result<(), Failure> {
        let selector = Selector::Digest(descriptor.digest);
        let mut asked = BTreeSet::new();
        let blobs = document.children().filter(|blob| asked.insert(blob.digest)).collect::<Vec<_>>();
        let this = &*self;
        let brought = blobs
            .into_iter()
            .map(|blob| async move { Ok::<_, Failure>((blob, this.bring_blob(edge, blob).await?)) });
        let brought = stream::iter(brought).buffered(AT_ONCE).try_collect::<Vec<_>>().await?;
        let mut missing = Vec::new();
        for (blob, brought) in brought {
            match brought {
                Brought::Present => {}
                Brought::Now(Pushed::Mounted) => self.report.blobs_mounted += 1,
                Brought::Now(Pushed::Uploaded) => {
                    self.report.blobs_copied += 1;
                    self.report.bytes_copied += blob.size;
                }
                Brought::Not => missing.push(blob),
            }
        }
        if missing.is_empty() {
            return put(edge, &selector, descriptor, documents).await;
        }
        let bytes = missing.iter().map(|blob| blob.size).sum::<u64>();
        tracing::info!(
            image = self.target.image, manifest = %descriptor.digest, blobs = missing.len(), bytes, "copying"
        );
        let from = (self.source, &self.target.source_repository);
        let to = (self.destination, &self.target.repository);
        if let Err(said) = skopeo::copy(from, to, &descriptor.digest, self.paths).await? {
            tracing::warn!(image = self.target.image, manifest = %descriptor.digest, "{said}");
            // What is wrong, the registries say better; and some artifacts are nothing that skopeo copies.
            let source = self.source.repository(&self.target.source_repository)?;
            by_hand::copy(&source, self.source.which, edge, &missing, &said).await?;
        }
        put(edge, &selector, descriptor, documents).await?;
        self.report.blobs_copied += missing.len() as u64;
        self.report.bytes_copied += bytes;
        Ok(())
    }

    /// Brings a blob that the edge has somewhere already.
    async fn bring_blob(&self, edge: &Repository, blob: &Descriptor) -> Result<Brought, Failure> {
        if has(edge, &blob.digest, blob.size).await? {
            return Ok(Brought::Present);
        }
        if self.mount(edge, blob).await? {
            return Ok(Brought::Now(Pushed::Mounted));
        }
        if let Some(pushed) = self.base.bring(edge, blob).await? {
            return Ok(Brought::Now(pushed));
        }
        Ok(if self.bring_directly(edge, blob).await? { Brought::Now(Pushed::Uploaded) } else { Brought::Not })
    }

    /// Brings a blob that skopeo does not: one whose content is in its descriptor, and a foreign layer, which skopeo leaves
    /// out because its manifest says where else it lies.
    async fn bring_directly(&self, edge: &Repository, blob: &Descriptor) -> Result<bool, Failure> {
        if let Some(Inline::Content(bytes)) = blob.inline() {
            by_hand::send(edge, blob, bytes.to_vec()).await?;
            return Ok(true);
        }
        if !blob.is_foreign() {
            return Ok(false);
        }
        let source = self.source.repository(&self.target.source_repository)?;
        by_hand::stream(&source, self.source.which, edge, blob).await?;
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

async fn has(edge: &Repository, digest: &Digest, size: u64) -> Result<bool, Failure> {
    edge.has_blob_for_push(digest, size).await.map_err(|error| at_edge(&error))
}
