// SPDX-License-Identifier: Apache-2.0
//! What reconciles of different sets must know of each other: who gives which name to what, who holds which blob, and what
//! every set needs.

use parking_lot::{Mutex, MutexGuard};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use krs_core::oci::digest::Digest;
use krs_core::oci::reference::{RegistryHost, RepositoryName, Tag};
use tokio::sync::watch;

use super::locations::{BlobLocations, Location};
use super::names::Names;
use crate::model::clock::is_over;
use crate::model::job::{Batch, CopyJob};
use crate::model::required_images::{RequiredImages, SetDemand, SetName};
use crate::model::site_content::SetContent;
use crate::model::target::Target;

/// Facts on all sets.
pub(super) struct SharedState {
    names: Mutex<Names>,
    /// Copy Jobs that take a slot, by the UID of their set.
    running: Mutex<BTreeMap<String, ActiveJobs>>,
    locations: Mutex<BlobLocations>,
    demand: watch::Sender<Arc<RequiredImages>>,
}

/// How long a Job keeps its repositories from sets of other namespaces.
const MAX_CLAIM: Duration = Duration::from_secs(600);

/// Active Jobs of one set, those that are about to be created included.
struct ActiveJobs {
    namespace: String,
    jobs: BTreeMap<String, Claim>,
}

/// What a Job takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Claim {
    created: Option<Timestamp>,
    registry: RegistryHost,
    repositories: Vec<RepositoryName>,
}

impl From<&CopyJob> for Claim {
    fn from(job: &CopyJob) -> Self {
        Self {
            created: job.created,
            registry: job.task.destination.registry.clone(),
            repositories: job.task.targets.iter().map(|target| target.repository.clone()).collect(),
        }
    }
}

impl Claim {
    /// That of a Job that is about to be created.
    pub(super) fn of(batch: &Batch, now: Timestamp) -> Option<Self> {
        let (first, _) = batch.targets.first()?;
        Some(Self {
            created: Some(now),
            registry: first.registry.clone(),
            repositories: batch.targets.iter().map(|(target, _)| target.repository.clone()).collect(),
        })
    }
}

/// What Jobs of other sets take.
#[derive(Default)]
pub(super) struct Elsewhere {
    /// How many run, by the namespace of their set.
    pub(super) running: BTreeMap<String, usize>,
    /// Which repositories they write to.
    pub(super) busy: BTreeSet<(RegistryHost, RepositoryName)>,
}

impl SharedState {
    pub(super) fn new(demand: watch::Sender<Arc<RequiredImages>>) -> Self {
        Self { names: Mutex::default(), running: Mutex::default(), locations: Mutex::default(), demand }
    }

    fn running(&self) -> MutexGuard<'_, BTreeMap<String, ActiveJobs>> {
        self.running.lock()
    }

    /// Whether it is known what a set gives names to.
    pub(super) fn knows(&self, name: &SetName) -> bool {
        self.names.lock().contains(name)
    }

    /// Records what a set gives names to, and answers where older sets give such names to something else, by the position
    /// of the target.
    pub(super) fn claim(
        &self,
        name: &SetName,
        created: Option<Timestamp>,
        writes: bool,
        targets: &[Target],
    ) -> BTreeMap<usize, Vec<(Tag, SetName)>> {
        self.names.lock().claim(name, created, writes, targets)
    }

    /// The namespaces that have sets that may write.
    pub(super) fn namespaces(&self) -> BTreeSet<String> {
        self.names.lock().namespaces()
    }

    /// Takes note of the Jobs of a set, of which there are no others; says whether one of those that ran does not any more.
    pub(super) fn runs(&self, namespace: &str, uid: &str, jobs: &[CopyJob]) -> bool {
        let active = jobs.iter().filter(|job| job.is_active());
        let jobs = active.map(|job| (job.name.clone(), Claim::from(job))).collect::<BTreeMap<_, _>>();
        let running = ActiveJobs { namespace: namespace.to_owned(), jobs };
        let mut all = self.running();
        let before = all.remove(uid).map(|running| running.jobs).unwrap_or_default();
        let ended = before.keys().any(|name| !running.jobs.contains_key(name));
        all.insert(uid.to_owned(), running);
        ended
    }

    /// Whether the Jobs of a set are known, or cannot be.
    pub(super) fn knows_jobs(&self, uid: &str) -> bool {
        self.running().contains_key(uid)
    }

    /// Takes note that the Jobs of a set cannot be read. Those that are known count on.
    pub(super) fn runs_unknown(&self, namespace: &str, uid: &str) {
        let unknown = || ActiveJobs { namespace: namespace.to_owned(), jobs: BTreeMap::new() };
        self.running().entry(uid.to_owned()).or_insert_with(unknown);
    }

    /// Takes a slot and repositories for a Job that is about to be created.
    pub(super) fn reserve(&self, namespace: &str, uid: &str, name: &str, claim: Claim) {
        self.runs_unknown(namespace, uid);
        if let Some(running) = self.running().get_mut(uid) {
            running.jobs.insert(name.to_owned(), claim);
        }
    }

    /// Gives back what a Job takes; says whether it took something.
    pub(super) fn release(&self, uid: &str, name: &str) -> bool {
        self.running().get_mut(uid).is_some_and(|running| running.jobs.remove(name).is_some())
    }

    /// What Jobs of sets other than this one take. A repository is kept from sets of another namespace for a limited time:
    /// whoever may stop a Pod could keep it for as long as a Job may last. Two Jobs that bring the same content do no harm,
    /// they only send it twice.
    pub(super) fn elsewhere(&self, namespace: &str, uid: &str, now: Timestamp) -> Elsewhere {
        let mut found = Elsewhere::default();
        for (_, ActiveJobs { namespace: whose, jobs }) in self.running().iter().filter(|(set, _)| *set != uid)
        {
            *found.running.entry(whose.clone()).or_default() += jobs.len();
            let holds = |claim: &&Claim| {
                whose == namespace || !claim.created.is_some_and(|created| is_over(created, MAX_CLAIM, now))
            };
            for claim in jobs.values().filter(holds) {
                let repositories = claim.repositories.iter();
                let claims = repositories.map(|repository| (claim.registry.clone(), repository.clone()));
                found.busy.extend(claims);
            }
        }
        found
    }

    /// How many copy Jobs run, by the namespace of their set.
    pub(super) fn running_by_namespace(&self) -> BTreeMap<String, usize> {
        let mut count = BTreeMap::<_, usize>::new();
        for ActiveJobs { namespace, jobs } in
            self.running().values().filter(|running| !running.jobs.is_empty())
        {
            *count.entry(namespace.clone()).or_default() += jobs.len();
        }
        count
    }

    /// How many copy Jobs run.
    pub(super) fn count_running(&self) -> usize {
        self.running().values().map(|running| running.jobs.len()).sum()
    }

    /// Forgets the Jobs of sets that are not among `alive`; says whether there were any.
    pub(super) fn only_uids(&self, alive: &BTreeSet<String>) -> bool {
        let mut running = self.running();
        let mut ended = false;
        running.retain(|uid, running| {
            let is_alive = alive.contains(uid);
            ended |= !is_alive && !running.jobs.is_empty();
            is_alive
        });
        ended
    }

    /// Takes note of what a set needs.
    pub(super) fn needs(&self, name: &SetName, needs: SetDemand) {
        self.demand.send_if_modified(|demand| {
            if demand.sets.get(name).is_some_and(|known| **known == needs) {
                return false;
            }
            // The sets are shared: only their list is copied while somebody reads it.
            Arc::make_mut(demand).sets.insert(name.clone(), Arc::new(needs));
            true
        });
    }

    /// The bundles that Jobs of a set copied from when they were last read.
    pub(super) fn copied_from(&self, name: &SetName) -> BTreeSet<Digest> {
        self.demand.borrow().sets.get(name).map(|needs| needs.copying_from.clone()).unwrap_or_default()
    }

    /// Takes note of the bundles that Jobs of a set still copy from.
    pub(super) fn copies_from(&self, name: &SetName, copying_from: BTreeSet<Digest>) {
        let known = self.demand.borrow().sets.get(name).cloned().unwrap_or_default();
        self.needs(name, SetDemand { copying_from, ..(*known).clone() });
    }

    /// Takes note that a set is being deleted: it copies nothing more. What its Jobs still read, they may.
    pub(super) fn needs_nothing_more(&self, name: &SetName) {
        let known = self.demand.borrow().sets.get(name).cloned().unwrap_or_default();
        self.needs(
            name,
            SetDemand {
                missing: Vec::new(),
                follows_bundles: false,
                // What is present may be deleted from the registry with the set.
                content: SetContent::default(),
                ..(*known).clone()
            },
        );
    }

    /// Drops the sets that are not among `alive`, and names them; the picture is complete once every one of those was
    /// checked, and these are `all`.
    pub(super) fn retain(&self, alive: &BTreeSet<SetName>, all: bool) -> Vec<SetName> {
        self.names.lock().retain(alive);
        self.locations.lock().retain(|set| alive.contains(set));
        let mut dropped = Vec::new();
        self.demand.send_if_modified(|demand| {
            dropped = demand.sets.keys().filter(|name| !alive.contains(name)).cloned().collect();
            let complete = all && alive.iter().all(|name| demand.sets.contains_key(name));
            if dropped.is_empty() && complete == demand.complete {
                return false;
            }
            let demand = Arc::make_mut(demand);
            demand.sets.retain(|name, _| alive.contains(name));
            demand.complete = complete;
            true
        });
        dropped
    }

    /// Records that the repository of a target of a set holds `blobs`.
    pub(super) fn holds(&self, set: &SetName, target: &Target, blobs: impl Iterator<Item = Digest>) {
        let location = Location {
            set: set.clone(),
            registry: target.registry.clone(),
            repository: target.repository.clone(),
        };
        self.locations.lock().record(&location, blobs);
    }

    /// Repositories that hold one of `blobs`, of the namespace, or of all where the site shares.
    pub(super) fn blob_locations(
        &self,
        namespace: &str,
        share: bool,
        registry: &RegistryHost,
        blobs: &BTreeSet<Digest>,
    ) -> BTreeMap<Digest, Vec<RepositoryName>> {
        self.locations.lock().of(namespace, share, registry, blobs)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn name(text: &str) -> SetName {
        let (namespace, name) = text.split_once('/').unwrap();
        SetName { namespace: namespace.to_owned(), name: name.to_owned() }
    }

    #[test]
    fn the_demand_is_complete_once_every_set_was_reconciled_and_forgets_sets_that_are_gone() {
        let (sender, receiver) = watch::channel(Arc::default());
        let facts = SharedState::new(sender);
        let alive = BTreeSet::from([name("a/x"), name("b/y")]);
        facts.needs(&name("a/x"), SetDemand::default());
        facts.retain(&alive, true);
        assert!(!receiver.borrow().complete);
        facts.needs(&name("b/y"), SetDemand::default());
        facts.retain(&alive, false);
        assert!(!receiver.borrow().complete, "there may be more");
        facts.retain(&alive, true);
        assert!(receiver.borrow().complete);
        facts.retain(&BTreeSet::from([name("b/y")]), true);
        assert_eq!(receiver.borrow().sets.keys().collect::<Vec<_>>(), [&name("b/y")]);
    }
}
