// SPDX-License-Identifier: Apache-2.0
//! One target on its way, and what all steps of a copy do at the edge.

use std::collections::HashMap;

use krs_core::oci::Descriptor;
use krs_core::oci::closure::Manifests;
use krs_core::oci::digest::Digest;
use krs_core::oci::reference::{RepositoryName, Selector};
use krs_core::registry::{PushOutcome, RegistryError, Repository};
use krs_core::sync::push::{PutOutcome, put_manifest};

use super::base::Base;
use super::endpoint::RegistryEndpoint;
use super::failure::Failure;
use super::paths::Paths;
use super::role::EndpointRole;
use crate::model::task::{CopyReport, CopyTarget};

/// Repositories of the edge to which one Job has sent layers that it made.
pub(super) type SentLayers = HashMap<Digest, RepositoryName>;

/// One target on its way.
pub(super) struct Copy<'a> {
    pub(super) source: &'a RegistryEndpoint<'a>,
    pub(super) destination: &'a RegistryEndpoint<'a>,
    pub(super) target: &'a CopyTarget,
    /// Repositories at the edge that may hold blobs of it.
    pub(super) mount_from: &'a [RepositoryName],
    /// Layers that the bundle leaves to the site.
    pub(super) base: Base,
    /// Where this Job has sent the layers that it made.
    pub(super) sent: &'a mut SentLayers,
    pub(super) paths: &'a Paths,
    pub(super) report: &'a mut CopyReport,
}

impl Copy<'_> {
    pub(super) fn log_step(&self, side: &RegistryEndpoint<'_>, repository: &RepositoryName, step: &str) {
        let (image, role, registry) = (&self.target.image, side.role.name(), &side.registry);
        tracing::info!(image, role, %registry, %repository, "{step}");
    }

    /// Counts a blob that came without skopeo.
    pub(super) const fn count(&mut self, sent: PushOutcome, size: u64) {
        match sent {
            PushOutcome::Mounted => self.report.blobs_mounted += 1,
            PushOutcome::Uploaded => {
                self.report.blobs_copied += 1;
                self.report.bytes_copied += size;
            }
        }
    }

    /// Counts a referrer that is not at the edge as it should be.
    pub(super) fn lose(&mut self, what: &impl std::fmt::Display, reason: &str) {
        self.report.referrers_missing += 1;
        tracing::warn!(image = self.target.image, referrer = %what, "the image is without it: {reason}");
    }
}

/// Answers the subject that the registry says it has processed, where the manifest was not there already.
pub(super) async fn put(
    edge: &Repository,
    selector: &Selector,
    manifest: &Descriptor,
    manifests: &Manifests,
) -> Result<Option<Digest>, Failure> {
    match put_manifest(edge, selector, manifest, manifests).await {
        Ok(PutOutcome::Sent(subject)) => Ok(subject),
        Ok(PutOutcome::Present) => Ok(None),
        Err(error) => Err(Failure::target(&error)),
    }
}

pub(super) fn at_edge(error: &RegistryError) -> Failure {
    Failure::registry(EndpointRole::Destination, error)
}

pub(super) async fn has(edge: &Repository, digest: &Digest, size: u64) -> Result<bool, Failure> {
    edge.has_blob_for_push(digest, size).await.map_err(|error| at_edge(&error))
}
