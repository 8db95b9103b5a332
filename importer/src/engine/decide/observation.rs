// SPDX-License-Identifier: Apache-2.0
//! What a decision is made from, and what it consists of.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use krs_core::crd::{BundleReference, EdgeImageSetSpec, ImageFailure};
use krs_core::oci::digest::Digest;
use krs_core::oci::reference::{RegistryHost, RepositoryName};

use crate::model::answer::Answer;
use crate::model::bundle_inventory::BundleInventory;
use crate::model::job::{Batch, CopyJob};
use crate::model::policy::AllowList;
use crate::model::state::SetState;
use crate::model::target::{Target, TargetKey};

/// Everything that is known about a set at one moment.
#[derive(Debug)]
pub struct Observation<'a> {
    /// When the decision is made.
    pub now: Timestamp,
    /// What the set asks for.
    pub spec: &'a EdgeImageSetSpec,
    /// The set's namespace.
    pub namespace: &'a str,
    /// What has to be at the edge, as far as it is known.
    pub targets: &'a [Target],
    /// Places in `spec.images` of references with only a tag that nothing has an answer for yet.
    pub unresolved: &'a [usize],
    /// Images that do not get their names, by their positions in `spec.images`, and why.
    pub collisions: &'a BTreeMap<usize, String>,
    /// What stops all work on the set.
    pub blocker: Option<Blocker>,
    /// What the edge registry said in this round, for the targets that it was asked about.
    pub answers: &'a BTreeMap<TargetKey, Answer>,
    /// What is remembered, this round's answers and ended Jobs included.
    pub state: &'a SetState,
    /// The Jobs of this set that still exist, ended ones included.
    pub jobs: &'a [CopyJob],
    /// Repositories that Jobs of other sets write to.
    pub busy: &'a BTreeSet<(RegistryHost, RepositoryName)>,
    /// Repositories of this edge registry that hold a blob, by its digest, as far as verifications tell.
    pub blob_locations: &'a BTreeMap<Digest, Vec<RepositoryName>>,
    /// What the drop folder holds.
    pub stock: &'a BundleInventory,
    /// The site's limits.
    pub limits: Limits<'a>,
    /// When targets are asked about again whose verification is old, where too many of the registry's are.
    pub renew_in: Option<Duration>,
}

/// The site's limits.
#[derive(Debug, Clone, Copy)]
pub struct Limits<'a> {
    /// Whether copying directly from source registries is allowed.
    pub online: bool,
    /// Source registries that may be read from; empty: any.
    pub sources: &'a AllowList,
    /// How many more Jobs may run, over all sets.
    pub free_jobs: usize,
    /// How many of these are kept for what was not tried yet, so that sets that cannot succeed now do not stand in the way
    /// of those that can.
    pub kept_jobs: usize,
}

/// What stops all work on a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocker {
    /// A reason of [`krs_core::crd::reason`].
    pub reason: &'static str,
    /// A sentence for people: what, where, what to do next.
    pub message: String,
    /// Whether the set's owner must act (`Stalled`), or it may pass by itself (a registry that is down).
    pub stalled: bool,
}

/// What to do, and what to say.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// Jobs to create.
    pub create: Vec<Batch>,
    /// Jobs to delete: nothing that they copy is wanted any more.
    pub delete: Vec<String>,
    /// What the status says.
    pub summary: StatusSummary,
    /// When to reconcile again, if nothing happens before.
    pub again: Duration,
    /// Whether targets could be copied, but for the limits on Jobs or a repository that another Job writes to.
    pub waits_for_jobs: bool,
    /// Targets, by their position, that are copied from a bundle now or later unless somebody changes the set or the site
    /// first. Media that hold one of them must stay.
    pub from_bundle: Vec<usize>,
}

/// What the status says.
#[derive(Debug, Clone, PartialEq)]
pub struct StatusSummary {
    /// For each image of the spec whether it is verified.
    pub present: Vec<bool>,
    /// Images whose last attempt failed; all of them, in spec order.
    pub failures: Vec<ImageFailure>,
    /// Reason of `Ready` and `Synced`; they are True with [`krs_core::crd::reason::SYNC_SUCCESSFUL`] only.
    pub ready: (&'static str, String),
    /// Reason and message of `Reconciling`, while it is True.
    pub reconciling: Option<(&'static str, String)>,
    /// Reason and message of `Stalled`, while it is True.
    pub stalled: Option<(&'static str, String)>,
    /// The bundle that the images came from.
    pub bundle: Option<BundleReference>,
}
