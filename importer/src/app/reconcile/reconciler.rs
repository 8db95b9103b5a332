// SPDX-License-Identifier: Apache-2.0
//! What all reconciles share.

use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use futures::Stream;
use jiff::Timestamp;
use krs_core::crd::EdgeImageSet;
use krs_core::registry::DenyList;
use kube::ResourceExt as _;
use kube::api::ObjectMeta;
use kube::runtime::reflector::ObjectRef;
use tokio::sync::watch;

use super::checks::Registries;
use super::content::ContentReads;
use super::job_reads::{JobReader, ReadLimit};
use super::labels::{IMAGE_STATES, failure_labels, image_labels};
use super::renewals::Renewals;
use super::sampling::Samples;
use super::sets::SetEntries;
use super::shared_state::SharedState;
use super::slots::Slots;
use super::state_store::StateStore;
use crate::adapters::events::Events;
use crate::adapters::heartbeat::{Heartbeat, Heartbeats};
use crate::adapters::high_water_marks::HighWaterMarks;
use crate::adapters::lease::{Leases, Times};
use crate::adapters::metrics::{Metrics, SetLabels, unix_seconds};
use crate::adapters::stored::StoredSet;
use crate::model::bundle_inventory::BundleInventory;
use crate::model::clock::Clock;
use crate::model::config::Config;
use crate::model::job::CopyJob;
use crate::model::policy::{AllowList, Destinations};
use crate::model::required_images::{RequiredImages, SetName};

/// What the controller is made from.
pub struct Context {
    /// The site's policy.
    pub config: Arc<Config>,
    /// The API server.
    pub client: kube::Client,
    /// Edge registries that sets may name.
    pub destinations: Destinations,
    /// Source registries that may be read from.
    pub sources: AllowList,
    /// Where events go.
    pub events: Events,
    /// Where numbers go.
    pub metrics: Metrics,
    /// How far the decisions of each stream were used.
    pub marks: Arc<HighWaterMarks>,
    /// What the drop folder holds.
    pub stock: watch::Receiver<Arc<BundleInventory>>,
    /// What the sets need, for others to see.
    pub demand: watch::Sender<Arc<RequiredImages>>,
    /// CA certificate of the embedded registry, in PEM.
    pub registry_ca: watch::Receiver<String>,
    /// Addresses that the importer never talks to.
    pub deny_list: DenyList,
    /// What time it is.
    pub clock: Clock,
    /// What is under way.
    pub heartbeats: Heartbeats,
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Parts")
    }
}

/// What all reconciliations share.
pub struct Reconciler {
    pub(super) parts: Context,
    pub(super) facts: SharedState,
    pub(super) memory: StateStore,
    pub(super) sets: SetEntries,
    pub(super) leases: Arc<Leases>,
    pub(super) registries: Arc<Registries>,
    pub(super) content: Arc<ContentReads>,
    pub(super) samples: Samples,
    pub(super) renewals: Renewals,
    /// Sets decide one by one, and take slots and repositories for their new Jobs with the decision: no two Jobs write to
    /// one repository, and the limit on Jobs holds. Never held while something is waited for.
    pub(super) deciding: Mutex<()>,
    /// Bounds what is read at once of objects that tenants write.
    pub(super) reads: ReadLimit,
    /// Whether all sets and Jobs that exist are known by name.
    pub(super) is_primed: watch::Sender<bool>,
}

impl fmt::Debug for Reconciler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Importer")
    }
}

impl Reconciler {
    /// Nothing is reconciled yet.
    pub fn new(parts: Context) -> Self {
        Self {
            facts: SharedState::new(parts.demand.clone()),
            memory: StateStore::new(parts.client.clone(), &parts.config.namespace),
            registries: Arc::new(Registries::new(Arc::clone(&parts.clock), parts.metrics.clone())),
            sets: SetEntries::default(),
            leases: Arc::new(Leases::new(
                parts.client.clone(),
                &parts.config.namespace,
                "",
                &parts.config.watch_namespaces,
                Times::default(),
            )),
            content: Arc::default(),
            samples: Samples::default(),
            renewals: Renewals::default(),
            deciding: Mutex::default(),
            reads: ReadLimit::default(),
            is_primed: watch::channel(false).0,
            parts,
        }
    }

    /// Reconciles only while the Lease of the importer is held.
    #[must_use]
    pub fn with_leases(self, leases: Arc<Leases>) -> Self {
        Self { leases, ..self }
    }

    /// The site's policy.
    pub fn config(&self) -> &Config {
        &self.parts.config
    }

    /// The API server.
    pub fn client(&self) -> kube::Client {
        self.parts.client.clone()
    }

    pub(super) fn stock(&self) -> Arc<BundleInventory> {
        Arc::clone(&self.parts.stock.borrow())
    }

    /// What is under way.
    pub fn heartbeats(&self) -> &Heartbeats {
        &self.parts.heartbeats
    }

    pub(super) fn job_reader<'a>(
        &'a self,
        namespace: &'a str,
        set: &'a str,
        now: Timestamp,
    ) -> JobReader<'a> {
        JobReader { client: &self.parts.client, limit: &self.reads, namespace, set, now }
    }

    /// Whether a change of a Job may concern a set: its name is one that the state of the set has, or it is not known.
    pub fn may_concern(&self, job: &ObjectMeta) -> bool {
        let Some(name) = &job.name else { return false };
        let owners = job.owner_references.iter().flatten();
        owners.into_iter().any(|owner| self.memory.may_own(&owner.uid, name))
    }

    /// Lets sets be reconciled: [`Self::prime`] and [`Self::prime_jobs`] know all that there is. Before that a set might
    /// take a name that an older one has, or a repository that a Job writes to.
    pub fn begin(&self) {
        self.is_primed.send_if_modified(|is_primed| !std::mem::replace(is_primed, true));
    }

    /// Tells when a reconcile last succeeded: now, where none waits for a retry and the Lease is held.
    pub fn measure_success(&self) {
        if *self.is_primed.borrow() && !self.sets.has_failures() && self.leases.is_held() {
            self.parts.metrics.reconcile_success.set(unix_seconds());
        }
    }

    /// Waits for [`Self::begin`].
    pub(super) async fn until_primed(&self) {
        let mut is_primed = self.is_primed.subscribe();
        // The sender lives as long as this.
        let _ = is_primed.wait_for(|is_primed| *is_primed).await;
    }

    /// The API server went back to an older state: what was written to statuses may be gone.
    pub fn forget_statuses(&self) {
        self.sets.forget_written();
    }

    /// Drops what is known of sets that are not among `alive`, which are `all` that there are, or not.
    pub fn retain(&self, alive: &[Arc<EdgeImageSet>], all: bool) {
        let names = alive.iter().filter_map(|set| SetName::of(set)).collect();
        let uids = alive.iter().filter_map(|set| set.uid()).collect::<BTreeSet<_>>();
        for gone in self.facts.retain(&names, all) {
            self.forget_metrics(&gone);
        }
        if self.facts.only_uids(&uids) {
            self.registries.wakeups.job_ended(self.may_create());
        }
        self.sets.retain(&uids);
        self.registries.retain(|name| names.contains(name));
        let to_wake = self.content.retain(&uids, &names, (self.parts.clock)());
        self.registries.wake(&to_wake);
        self.samples.retain(|name| names.contains(name));
        self.renewals.retain(|name| names.contains(name));
        self.registries.wakeups.retain(|uid| uids.contains(uid), self.may_create());
    }

    /// Takes note of the Jobs of a set, of which there are no others. The end of one that ran is told to those that wait.
    pub(super) fn runs(&self, namespace: &str, uid: &str, jobs: &[CopyJob]) {
        if self.facts.runs(namespace, uid, jobs) {
            self.registries.wakeups.job_ended(self.may_create());
        }
    }

    /// Gives back what a Job takes that does not exist, and tells those that wait for it.
    pub(super) fn release(&self, uid: &str, job: &str) {
        if self.facts.release(uid, job) {
            self.registries.wakeups.job_ended(self.may_create());
        }
    }

    /// Tells of a namespace whether its sets may create a copy Job now.
    pub(super) fn may_create(&self) -> impl Fn(&str) -> bool + use<> {
        let (max, namespaces) = (self.config().jobs.max, self.facts.namespaces());
        let running = self.facts.running_by_namespace();
        move |namespace| Slots { max, running: &running, namespaces: &namespaces }.free(namespace).jobs > 0
    }

    pub(super) fn forget_metrics(&self, set: &SetName) {
        let labels = SetLabels { namespace: set.namespace.clone(), name: set.name.clone() };
        self.parts.metrics.ready.remove(&labels);
        self.parts.metrics.last_sync.remove(&labels);
        self.parts.metrics.corrupt.remove(&labels);
        self.parts.metrics.read_bytes.remove(&labels);
        failure_labels(set).for_each(|labels| {
            self.parts.metrics.failed.remove(&labels);
        });
        IMAGE_STATES.iter().for_each(|state| {
            self.parts.metrics.images.remove(&image_labels(&labels, state));
        });
    }

    /// Sets of a namespace (absent: of all) that are to be reconciled because something happened that they wait for.
    pub fn wakeups(
        &self,
        namespace: Option<&str>,
    ) -> impl Stream<Item = ObjectRef<EdgeImageSet>> + Send + 'static + use<> {
        self.registries.wakeups.listen(namespace)
    }

    /// Takes note of a set that the API server holds: one whose status somebody else wrote is reconciled, which puts it right.
    pub fn observe(&self, stored: &StoredSet) {
        let Some(uid) = stored.uid() else { return };
        let fingerprint = stored.status_fingerprint();
        let overwritten = self.sets.written(&uid, |written| written.observe(fingerprint)).unwrap_or_default();
        self.registries.wake(&SetName::of(&stored.without_content()).filter(|_| overwritten));
    }

    /// Deletes what is remembered of sets that are not among `alive`; `heartbeat` beats for each.
    pub async fn delete_stale(&self, alive: &[Arc<EdgeImageSet>], heartbeat: &Heartbeat) {
        let uids = alive.iter().filter_map(|set| set.uid()).collect();
        if let Err(error) = self.memory.delete_stale(&uids, heartbeat).await {
            tracing::warn!(%error, "the stored state of deleted sets could not be deleted");
        }
    }
}
