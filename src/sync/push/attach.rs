// SPDX-License-Identifier: Apache-2.0
//! Pushes the referrers of an image: signatures, SBOMs, attestations. They are optional: a failure of one does not affect
//! the others or the image, and is reported. All of their requests together use at most a quarter of the retries of a run.
//! (T-127)

use std::collections::{BTreeMap, BTreeSet};

use futures::stream::{self, StreamExt as _};

use super::error::TargetError;
use super::put::has_manifest;
use super::referrers::{self, PushedReferrer, ReferrerProblem, WrittenList};
use super::run::{Failures, MAX_QUERIES, Run};
use super::target::Target;
use crate::bundle::BundleReferrer;
use crate::error;
use crate::oci::Descriptor;
use crate::oci::closure::Closure;
use crate::oci::digest::Digest;
use crate::oci::reference::{RepositoryName, Selector};
use crate::registry::{Repository, referrers_tag};

/// The result for the referrers of a target.
#[derive(Debug, Default)]
pub(super) struct AttachResult {
    /// Lists to read again at the end of the run.
    pub(super) written: Vec<WrittenList>,
    /// Referrers that are not as they should be.
    pub(super) problems: Vec<ReferrerProblem>,
}

impl Run<'_> {
    /// Reads the lists of referrers that this run wrote again, because another writer may have overwritten them. (T-114)
    pub(super) async fn mend_lists(
        &self,
        written: BTreeMap<RepositoryName, Vec<WrittenList>>,
    ) -> Vec<ReferrerProblem> {
        let mended = written
            .into_iter()
            .map(|(name, written)| async move { referrers::mend(&self.repository(&name), written).await });
        let problems = stream::iter(mended).buffered(MAX_QUERIES).collect::<Vec<_>>().await;
        problems.into_iter().flatten().collect()
    }

    /// Puts the referrers of a target, whose image is present, and makes them findable.
    pub(super) async fn put_referrers(&self, target: &Target, failures: &Failures) -> AttachResult {
        let image = self.images.images.get(target.image).filter(|_| self.referrers);
        let entry = self.bundle.manifest().images.get(target.image);
        let (Some(image), Some(entry)) = (image, entry) else { return AttachResult::default() };
        let found = entry.referrers.iter().zip(&image.referrers).collect::<Vec<_>>();
        if found.is_empty() {
            return AttachResult::default();
        }
        let mut repository = self.repository(&target.repository).optional();
        let mut attach_result = AttachResult::default();
        let mut problem = |referrer: &BundleReferrer, unlisted, error: &TargetError| {
            attach_result.problems.push(ReferrerProblem {
                repository: target.repository.clone(),
                subject: referrer.subject,
                digest: referrer.digest,
                unlisted,
                reason: error::chain(error),
            });
        };
        let manifests = found.iter().flat_map(|(_, (_, closure))| &closure.manifests);
        let present = present(&repository, manifests).await;
        let mut pushed = Vec::new();
        for (referrer, (root, closure)) in found {
            let put = self.put_referrer(&repository, (referrer, root, closure), &present, failures).await;
            match put {
                Ok(acknowledged) => {
                    let acknowledged = acknowledged || self.sets_name_list_of(target, &referrer.subject);
                    pushed.push(PushedReferrer { referrer, root, acknowledged });
                }
                Err(error) => {
                    if matches!(&error, TargetError::Registry(error) if !error.is_refusal()) {
                        repository = repository.optional_once();
                    }
                    problem(referrer, false, &error);
                }
            }
        }
        for PushedReferrer { referrer, root, .. } in &pushed {
            let Some(tag) = referrer.tag.clone().map(Selector::Tag) else { continue };
            let there = has_manifest(&repository, &tag, root).await.unwrap_or(false);
            if !there && let Err(error) = self.put(&repository, &tag, root).await {
                problem(referrer, true, &error);
            }
        }
        let (written, problems) = referrers::list(&repository, &pushed, &self.images.manifests).await;
        attach_result.written = written;
        attach_result.problems.extend(problems);
        attach_result
    }

    /// Whether the list of referrers of `subject` is an image of the sets itself: then it must stay unchanged.
    fn sets_name_list_of(&self, target: &Target, subject: &Digest) -> bool {
        referrers_tag(subject).is_some_and(|tag| self.claimed.contains(&(target.repository.clone(), tag)))
    }

    /// Puts the manifests of a referrer whose blobs have arrived. Returns whether the registry confirmed that it lists the
    /// referrer.
    async fn put_referrer(
        &self,
        repository: &Repository,
        (referrer, root, closure): (&BundleReferrer, &Descriptor, &Closure),
        present: &BTreeSet<Digest>,
        failures: &Failures,
    ) -> Result<bool, TargetError> {
        if let Some(error) = blob_failure(repository, closure, failures) {
            return Err(error);
        }
        let mut acknowledged = false;
        for manifest in closure.manifests.iter().filter(|manifest| !present.contains(&manifest.digest)) {
            let selector = Selector::Digest(manifest.digest);
            let subject = self.put(repository, &selector, manifest).await?;
            acknowledged |= manifest.digest == root.digest && subject == Some(referrer.subject);
        }
        Ok(acknowledged)
    }
}

/// Those of `manifests` that the repository has. A manifest that cannot be queried is put again.
async fn present<'a>(
    repository: &Repository,
    manifests: impl Iterator<Item = &'a Descriptor>,
) -> BTreeSet<Digest> {
    let mut digests = BTreeSet::new();
    let queries = manifests.filter(|manifest| digests.insert(manifest.digest)).map(|manifest| async move {
        let selector = Selector::Digest(manifest.digest);
        let there = has_manifest(repository, &selector, manifest).await.unwrap_or(false);
        there.then_some(manifest.digest)
    });
    let queries = queries.collect::<Vec<_>>();
    stream::iter(queries).buffer_unordered(MAX_QUERIES).filter_map(std::future::ready).collect().await
}

/// Why a blob of a referrer was not pushed. The error is kept for an image that needs the blob too.
fn blob_failure(repository: &Repository, closure: &Closure, failures: &Failures) -> Option<TargetError> {
    let failures = failures.lock();
    closure.blobs.iter().find_map(|content| {
        let error = failures.get(&(content.digest, repository.name().clone()))?;
        let reason =
            error.as_ref().map_or_else(|| "it failed for another image".to_owned(), |e| error::chain(e));
        Some(TargetError::Blob { digest: content.digest, reason })
    })
}
