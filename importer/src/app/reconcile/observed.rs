// SPDX-License-Identifier: Apache-2.0
//! What was found out about a set.

use jiff::Timestamp;

use super::blocked::BlockedImages;
use super::collisions::Collisions;
use super::edge::RegistryView;
use super::job_reads::Jobs;
use super::known::KnownAnswers;
use super::secrets::RegistrySecret;
use super::wanted::ParsedSpec;
use crate::adapters::credentials::CaCertificates;
use crate::engine::decide::Blocker;
use crate::model::target::Target;

/// What was found out about a set.
pub(super) struct Observed {
    /// The spec, where it is understood.
    pub(super) wanted: Option<ParsedSpec>,
    pub(super) targets: Vec<Target>,
    pub(super) unresolved: Vec<usize>,
    pub(super) blocker: Option<Blocker>,
    pub(super) collisions: Collisions,
    pub(super) blocked: BlockedImages,
    pub(super) registry_view: RegistryView,
    /// When the registry was asked for that.
    pub(super) queried_at: Timestamp,
    /// What the registry said before and was not asked again.
    pub(super) known: KnownAnswers,
    /// Whether all present targets are asked about, not a sample.
    pub(super) checks_all: bool,
    /// Whether targets that were verified long ago wait because too many of the registry's are to be verified.
    pub(super) renewals_wait: bool,
    /// Whether a check of the registry continues.
    pub(super) is_checking: bool,
    /// Whether a check ended before all targets were asked about.
    pub(super) is_unfinished: bool,
    /// When a source registry is asked again that is left alone.
    pub(super) again_at: Option<Timestamp>,
    /// When the destination registry is asked again that is left alone.
    pub(super) left_alone_until: Option<Timestamp>,
    pub(super) registry_secret: Option<RegistrySecret>,
    /// The keys with CA certificates in the Secret or ConfigMap that the destination names.
    pub(super) ca_keys: Vec<String>,
    /// Whether the Secrets that the destination names were read.
    pub(super) is_destination_read: bool,
    pub(super) jobs: Jobs,
    /// Whether they could be read.
    pub(super) are_jobs_known: bool,
}

impl Observed {
    /// Takes note of what the Secrets and ConfigMaps hold that the destination names.
    pub(super) fn destination_read(
        &mut self,
        registry_secret: Option<RegistrySecret>,
        ca_certs: Option<&CaCertificates>,
    ) {
        self.ca_keys = ca_certs.map(|ca| ca.keys.clone()).unwrap_or_default();
        (self.registry_secret, self.is_destination_read) = (registry_secret, true);
    }
}
