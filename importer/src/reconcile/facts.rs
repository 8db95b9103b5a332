// SPDX-License-Identifier: Apache-2.0
//! What reconciles of different sets must know of each other: who gives which name to what, who holds which blob, and what
//! every set needs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use jiff::Timestamp;
use krs_core::digest::Digest;
use krs_core::reference::{RegistryHost, RepositoryName, Tag};
use tokio::sync::watch;

use super::locations::{BlobLocations, Location};
use super::lock;
use super::names::Names;
use crate::decide::CopyJob;
use crate::demand::{Demand, SetDemand, SetName};
use crate::remember::is_over;
use crate::target::Target;

/// Facts on all sets.
pub(super) struct Facts {
    names: Mutex<Names>,
    /// Copy Jobs that take a place, by the UID of their set.
    running: Mutex<BTreeMap<String, Running>>,
    locations: Mutex<BlobLocations>,
    demand: watch::Sender<Arc<Demand>>,
}

/// How long a Job keeps its repositories from sets of other namespaces.
const MAX_CLAIM: Duration = Duration::from_secs(600);

/// Jobs of one set.
struct Running {
    namespace: String,
    jobs: Vec<CopyJob>,
}

/// What Jobs of other sets take.
#[derive(Default)]
pub(super) struct Elsewhere {
    /// How many run, by the namespace of their set.
    pub(super) running: BTreeMap<String, usize>,
    /// Which repositories they write to.
    pub(super) busy: BTreeSet<(RegistryHost, RepositoryName)>,
}

impl Facts {
    pub(super) fn new(demand: watch::Sender<Arc<Demand>>) -> Self {
        Self { names: Mutex::default(), running: Mutex::default(), locations: Mutex::default(), demand }
    }

    fn running(&self) -> MutexGuard<'_, BTreeMap<String, Running>> {
        lock(&self.running)
    }

    /// Whether it is known what a set gives names to.
    pub(super) fn knows(&self, name: &SetName) -> bool {
        lock(&self.names).contains(name)
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
        lock(&self.names).claim(name, created, writes, targets)
    }

    /// How many namespaces have sets that may write.
    pub(super) fn namespaces(&self) -> usize {
        lock(&self.names).namespaces()
    }

    /// Takes note of the Jobs of a set; says whether one of those that ran does not any more.
    pub(super) fn runs(&self, namespace: &str, uid: &str, jobs: Vec<CopyJob>) -> bool {
        let jobs = jobs.into_iter().filter(CopyJob::is_active).collect::<Vec<_>>();
        let mut running = self.running();
        let before = running.remove(uid).map(|running| running.jobs).unwrap_or_default();
        let ended = before.iter().any(|old| jobs.iter().all(|job| job.name != old.name));
        if !jobs.is_empty() {
            running.insert(uid.to_owned(), Running { namespace: namespace.to_owned(), jobs });
        }
        ended
    }

    /// What Jobs of sets other than this one take. A repository is kept from sets of another namespace for a limited time:
    /// whoever may stop a Pod could keep it for as long as a Job may last. Two Jobs that bring the same content do no harm,
    /// they only send it twice.
    pub(super) fn elsewhere(&self, namespace: &str, uid: &str, now: Timestamp) -> Elsewhere {
        let mut found = Elsewhere::default();
        for (_, Running { namespace: whose, jobs }) in self.running().iter().filter(|(set, _)| *set != uid) {
            *found.running.entry(whose.clone()).or_default() += jobs.len();
            let holds = |job: &&CopyJob| {
                whose == namespace || !job.created.is_some_and(|created| is_over(created, MAX_CLAIM, now))
            };
            for job in jobs.iter().filter(holds) {
                let registry = &job.task.destination.registry;
                let targets = job.task.targets.iter();
                found.busy.extend(targets.map(|target| (registry.clone(), target.repository.clone())));
            }
        }
        found
    }

    /// How many copy Jobs run.
    pub(super) fn count_running(&self) -> usize {
        self.running().values().map(|running| running.jobs.len()).sum()
    }

    /// Forgets the Jobs of sets that are not among `alive`; says whether there were any.
    pub(super) fn only_uids(&self, alive: &BTreeSet<String>) -> bool {
        let mut running = self.running();
        let before = running.len();
        running.retain(|uid, _| alive.contains(uid));
        running.len() < before
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

    /// Takes note of the bundles that Jobs of a set still copy from.
    pub(super) fn copies_from(&self, name: &SetName, copying_from: BTreeSet<Digest>) {
        let known = self.demand.borrow().sets.get(name).cloned().unwrap_or_default();
        self.needs(name, SetDemand { copying_from, ..(*known).clone() });
    }

    /// Takes note that a set is being deleted: it copies nothing more. What its Jobs still read, they may.
    pub(super) fn needs_nothing_more(&self, name: &SetName) {
        let known = self.demand.borrow().sets.get(name).cloned().unwrap_or_default();
        self.needs(name, SetDemand { missing: Vec::new(), tags: Vec::new(), ..(*known).clone() });
    }

    /// Drops the sets that are not among `alive`, and names them; the picture is complete once every one of those was
    /// looked at, and these are `all`.
    pub(super) fn only(&self, alive: &BTreeSet<SetName>, all: bool) -> Vec<SetName> {
        lock(&self.names).retain(alive);
        lock(&self.locations).retain(|set| alive.contains(set));
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
        lock(&self.locations).record(&location, blobs);
    }

    /// Repositories that hold one of `blobs`, of the namespace, or of all where the site shares.
    pub(super) fn holders(
        &self,
        namespace: &str,
        share: bool,
        registry: &RegistryHost,
        blobs: &BTreeSet<Digest>,
    ) -> BTreeMap<Digest, Vec<RepositoryName>> {
        lock(&self.locations).of(namespace, share, registry, blobs)
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
    fn the_demand_is_complete_once_every_set_was_looked_at_and_forgets_sets_that_are_gone() {
        let (sender, receiver) = watch::channel(Arc::default());
        let facts = Facts::new(sender);
        let alive = BTreeSet::from([name("a/x"), name("b/y")]);
        facts.needs(&name("a/x"), SetDemand::default());
        facts.only(&alive, true);
        assert!(!receiver.borrow().complete);
        facts.needs(&name("b/y"), SetDemand::default());
        facts.only(&alive, false);
        assert!(!receiver.borrow().complete, "there may be more");
        facts.only(&alive, true);
        assert!(receiver.borrow().complete);
        facts.only(&BTreeSet::from([name("b/y")]), true);
        assert_eq!(receiver.borrow().sets.keys().collect::<Vec<_>>(), [&name("b/y")]);
    }
}
