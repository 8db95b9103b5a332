// SPDX-License-Identifier: Apache-2.0
//! Looks at sets, and what all looks share. A look at one set observes, decides, acts, and writes the status.
//!
//! The order of writes makes a process that dies in between harmless: what is remembered is kept before the status says
//! it, what is needed is published before a Job exists that asks for it, and the name of a Job is a function of what it
//! copies.

mod act;
mod ask;
mod blocked;
mod breaker;
mod checks;
mod clients;
mod collisions;
mod content;
mod destination;
mod edge;
mod error;
mod facts;
mod failed;
mod health;
mod hosts;
mod job_reads;
mod jobs;
mod known;
mod learn;
mod locations;
mod look;
mod memory;
mod names;
mod observe;
mod owner;
mod ownership;
mod permits;
mod probes;
mod quiet;
mod renewals;
mod report;
mod reservation;
mod resolve;
mod round;
mod sampling;
mod secrets;
mod slots;
mod sources;
mod wakeups;
mod wanted;
mod written;

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::Stream;
use jiff::Timestamp;
use krs_core::crd::EdgeImageSet;
use krs_core::registry::DenyList;
use kube::ResourceExt as _;
use kube::api::ObjectMeta;
use kube::runtime::reflector::ObjectRef;
use tokio::sync::watch;

use crate::adapters::events::Events;
use crate::adapters::heartbeat::{Heartbeat, Heartbeats};
use crate::adapters::high_water_marks::HighWaterMarks;
use crate::adapters::lease::{Leases, Times};
use crate::adapters::metrics::{Metrics, SetLabels, unix_seconds};
use crate::adapters::stored::StoredSet;
use crate::engine::job;
use crate::model::clock::Clock;
use crate::model::config::Config;
use crate::model::demand::{Demand, SetName};
use crate::model::job::CopyJob;
use crate::model::policy::{Allowed, Destinations};
use crate::model::stock::Stock;
use checks::{Check, Registries};
use content::ContentReads;
use facts::Facts;
use job_reads::{JobReader, ReadLimit};
use known::KnownAnswers;
use memory::Memory;
use quiet::Quiet;
use renewals::Renewals;
use sampling::Samples;
use slots::Slots;
use written::WrittenStatus;

pub use error::ReconcileError;
pub use look::{error_policy, reconcile, reconcile_stored};

/// What the controller is made from.
pub struct Parts {
    /// The site's policy.
    pub config: Arc<Config>,
    /// The API server.
    pub client: kube::Client,
    /// Edge registries that sets may name.
    pub destinations: Destinations,
    /// Source registries that may be read from.
    pub sources: Allowed,
    /// Where events go.
    pub events: Events,
    /// Where numbers go.
    pub metrics: Metrics,
    /// How far the decisions of each stream were used.
    pub marks: Arc<HighWaterMarks>,
    /// What the drop folder holds.
    pub stock: watch::Receiver<Arc<Stock>>,
    /// What the sets need, for others to see.
    pub demand: watch::Sender<Arc<Demand>>,
    /// Authority of the embedded registry, in PEM.
    pub registry_ca: watch::Receiver<String>,
    /// Addresses that the importer never talks to.
    pub deny_list: DenyList,
    /// What time it is.
    pub clock: Clock,
    /// What is under way.
    pub heartbeats: Heartbeats,
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Parts")
    }
}

/// What all looks share.
pub struct Importer {
    parts: Parts,
    facts: Facts,
    memory: Memory,
    /// Looks that failed in a row, by the UID of the set.
    failures: Mutex<HashMap<String, u32>>,
    /// What was last written to the status of each set.
    written: Mutex<HashMap<String, WrittenStatus>>,
    /// Sets that wait for somebody to mend a Secret.
    quiet: Mutex<HashMap<String, Quiet>>,
    /// What the edge registries said and need not be asked again, by the UID of the set.
    known: Mutex<HashMap<String, KnownAnswers>>,
    /// Checks of edge registries that go on, by the UID of the set.
    checks: Mutex<HashMap<String, Check>>,
    /// Which importer serves each set that this one leaves alone, by the UID of the set.
    left: Mutex<HashMap<String, String>>,
    leases: Arc<Leases>,
    registries: Arc<Registries>,
    content: Arc<ContentReads>,
    samples: Samples,
    renewals: Renewals,
    /// Sets decide one by one, and take slots and repositories for their new Jobs with the decision: no two Jobs write to
    /// one repository, and the limit on Jobs holds. Never held while something is waited for.
    deciding: Mutex<()>,
    /// Bounds what is read at once of objects that tenants write.
    reads: ReadLimit,
    /// Whether all sets and Jobs that exist are known by name.
    begun: watch::Sender<bool>,
}

impl fmt::Debug for Importer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Importer")
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Importer {
    /// Nothing is looked at yet.
    pub fn new(parts: Parts) -> Self {
        Self {
            facts: Facts::new(parts.demand.clone()),
            memory: Memory::new(parts.client.clone(), &parts.config.namespace),
            failures: Mutex::default(),
            written: Mutex::default(),
            quiet: Mutex::default(),
            known: Mutex::default(),
            checks: Mutex::default(),
            registries: Arc::new(Registries::new(Arc::clone(&parts.clock), parts.metrics.clone())),
            left: Mutex::default(),
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
            begun: watch::channel(false).0,
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

    fn stock(&self) -> Arc<Stock> {
        Arc::clone(&self.parts.stock.borrow())
    }

    /// What is under way.
    pub fn heartbeats(&self) -> &Heartbeats {
        &self.parts.heartbeats
    }

    fn job_reader<'a>(&'a self, namespace: &'a str, set: &'a str, now: Timestamp) -> JobReader<'a> {
        JobReader { client: &self.parts.client, limit: &self.reads, namespace, set, now }
    }

    /// Whether a change of a Job may concern a set: its name is one that the state of the set has, or it is not known.
    pub fn may_concern(&self, job: &ObjectMeta) -> bool {
        let Some(name) = &job.name else { return false };
        let owners = job.owner_references.iter().flatten();
        owners.into_iter().any(|owner| self.memory.may_own(&owner.uid, name))
    }

    /// Lets sets be reconciled: [`Self::learn`] and [`Self::learn_jobs`] know all that there is. Before that a set might
    /// take a name that an older one has, or a repository that a Job writes to.
    pub fn begin(&self) {
        self.begun.send_if_modified(|begun| !std::mem::replace(begun, true));
    }

    /// Tells when a reconcile last succeeded: now, where none waits for a retry and the Lease is held.
    pub fn measure_success(&self) {
        if *self.begun.borrow() && lock(&self.failures).is_empty() && self.leases.is_held() {
            self.parts.metrics.reconcile_success.set(unix_seconds());
        }
    }

    /// Waits for [`Self::begin`].
    async fn begun(&self) {
        let mut begun = self.begun.subscribe();
        // The sender lives as long as this.
        let _ = begun.wait_for(|begun| *begun).await;
    }

    /// The API server went back to an older state: what was written to statuses may be gone.
    pub fn forget_statuses(&self) {
        lock(&self.written).clear();
    }

    /// Drops what is known of sets that are not among `alive`, which are `all` that there are, or not.
    pub fn retain(&self, alive: &[Arc<EdgeImageSet>], all: bool) {
        let names = alive.iter().filter_map(|set| SetName::of(set)).collect();
        let uids = alive.iter().filter_map(|set| set.uid()).collect::<BTreeSet<_>>();
        for gone in self.facts.only(&names, all) {
            self.forget_metrics(&gone);
        }
        if self.facts.only_uids(&uids) {
            self.registries.wakeups.job_ended(self.may_create());
        }
        lock(&self.failures).retain(|uid, _| uids.contains(uid));
        lock(&self.written).retain(|uid, _| uids.contains(uid));
        lock(&self.quiet).retain(|uid, _| uids.contains(uid));
        lock(&self.known).retain(|uid, _| uids.contains(uid));
        lock(&self.checks).retain(|uid, _| uids.contains(uid));
        lock(&self.left).retain(|uid, _| uids.contains(uid));
        self.registries.retain(|name| names.contains(name));
        let told = self.content.retain(&uids, &names, (self.parts.clock)());
        self.registries.wake(&told);
        self.samples.retain(|name| names.contains(name));
        self.renewals.retain(|name| names.contains(name));
        self.registries.wakeups.retain(|uid| uids.contains(uid), self.may_create());
    }

    /// Takes note of the Jobs of a set, of which there are no others. The end of one that ran is told to those that wait.
    fn runs(&self, namespace: &str, uid: &str, jobs: &[CopyJob]) {
        if self.facts.runs(namespace, uid, jobs) {
            self.registries.wakeups.job_ended(self.may_create());
        }
    }

    /// Gives back what a Job takes that does not exist, and tells those that wait for it.
    fn release(&self, uid: &str, job: &str) {
        if self.facts.release(uid, job) {
            self.registries.wakeups.job_ended(self.may_create());
        }
    }

    /// Tells of a namespace whether its sets may create a copy Job now.
    fn may_create(&self) -> impl Fn(&str) -> bool + use<> {
        let (max, namespaces) = (self.config().jobs.max, self.facts.namespaces());
        let running = self.facts.running_by_namespace();
        move |namespace| Slots { max, running: &running, namespaces: &namespaces }.free(namespace).jobs > 0
    }

    fn forget_metrics(&self, set: &SetName) {
        let labels = SetLabels { namespace: set.namespace.clone(), name: set.name.clone() };
        self.parts.metrics.ready.remove(&labels);
        self.parts.metrics.last_sync.remove(&labels);
        self.parts.metrics.corrupt.remove(&labels);
        self.parts.metrics.read_bytes.remove(&labels);
        report::failure_labels(set).for_each(|labels| {
            self.parts.metrics.failed.remove(&labels);
        });
        report::IMAGE_STATES.iter().for_each(|state| {
            self.parts.metrics.images.remove(&report::image_labels(&labels, state));
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
        let overwritten =
            lock(&self.written).get_mut(&uid).is_some_and(|written| written.observe(fingerprint));
        self.registries.wake(&SetName::of(&stored.without_content()).filter(|_| overwritten));
    }

    /// Deletes what is remembered of sets that are not among `alive`; `heartbeat` beats for each.
    pub async fn delete_stale(&self, alive: &[Arc<EdgeImageSet>], heartbeat: &Heartbeat) {
        let uids = alive.iter().filter_map(|set| set.uid()).collect();
        if let Err(error) = self.memory.forget_all_but(&uids, heartbeat).await {
            tracing::warn!(%error, "what is remembered of sets that are gone could not be deleted");
        }
    }
}

/// Selector of the Jobs and Pods of one set.
fn selector(uid: &str) -> String {
    format!("{},{}={uid}", job::SELECTOR, job::SET_LABEL)
}
