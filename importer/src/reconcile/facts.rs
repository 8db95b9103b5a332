// SPDX-License-Identifier: Apache-2.0
//! What reconciles of different sets must know of each other: who gives which name to what, who holds which blob, and what
//! every set needs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use jiff::Timestamp;
use krs_core::digest::Digest;
use krs_core::reference::{RegistryHost, RepositoryName, Tag};
use tokio::sync::watch;

use super::lock;
use crate::decide::{CopyJob, JobPhase};
use crate::demand::{Demand, SetDemand, SetName};
use crate::target::Target;

/// What is known of one set.
#[derive(Debug, Clone)]
pub(super) struct SetFacts {
    pub(super) created: Option<Timestamp>,
    pub(super) targets: Vec<Target>,
}

/// Facts on all sets.
pub(super) struct Facts {
    sets: Mutex<BTreeMap<SetName, SetFacts>>,
    /// Copy Jobs that have not ended, by the UID of their set.
    running: Mutex<BTreeMap<String, Vec<CopyJob>>>,
    /// Which repositories of an edge registry hold which blobs, as far as proofs told since the start.
    holders: Mutex<BTreeMap<RegistryHost, Holders>>,
    demand: watch::Sender<Arc<Demand>>,
}

/// Repositories by the blobs that they hold, and the namespace of the set that they were proven for.
type Holders = BTreeMap<Digest, BTreeSet<(String, RepositoryName)>>;

/// Most blobs of one registry of which the holders are kept in memory.
const MAX_HELD: usize = 200_000;

impl Facts {
    pub(super) fn new(demand: watch::Sender<Arc<Demand>>) -> Self {
        Self { sets: Mutex::default(), running: Mutex::default(), holders: Mutex::default(), demand }
    }

    fn sets(&self) -> MutexGuard<'_, BTreeMap<SetName, SetFacts>> {
        lock(&self.sets)
    }

    fn running(&self) -> MutexGuard<'_, BTreeMap<String, Vec<CopyJob>>> {
        lock(&self.running)
    }

    /// Whether something is known of a set.
    pub(super) fn knows(&self, name: &SetName) -> bool {
        self.sets().contains_key(name)
    }

    /// Takes note of a set, and answers where it gives a name to something else than an older set does.
    pub(super) fn note(&self, name: &SetName, facts: SetFacts) -> Option<String> {
        let mut sets = self.sets();
        let found = clash(name, &facts, &sets);
        sets.insert(name.clone(), facts);
        found
    }

    /// Takes note of the Jobs of a set; says whether one of those that ran does not any more.
    pub(super) fn runs(&self, uid: &str, jobs: Vec<CopyJob>) -> bool {
        let jobs =
            jobs.into_iter().filter(|job| matches!(job.phase, JobPhase::Running { .. })).collect::<Vec<_>>();
        let mut running = self.running();
        let before = running.remove(uid).unwrap_or_default();
        let ended = before.iter().any(|old| jobs.iter().all(|job| job.name != old.name));
        if !jobs.is_empty() {
            running.insert(uid.to_owned(), jobs);
        }
        ended
    }

    /// How many Jobs of other sets run, and which repositories they write to.
    pub(super) fn elsewhere(&self, uid: &str) -> (usize, BTreeSet<(RegistryHost, RepositoryName)>) {
        let running = self.running();
        let jobs = running.iter().filter(|(whose, _)| *whose != uid).flat_map(|(_, jobs)| jobs);
        let (mut count, mut busy) = (0, BTreeSet::new());
        for job in jobs {
            count += 1;
            let registry = &job.task.destination.registry;
            busy.extend(job.task.targets.iter().map(|target| (registry.clone(), target.repository.clone())));
        }
        (count, busy)
    }

    /// How many copy Jobs run.
    pub(super) fn count_running(&self) -> usize {
        self.running().values().map(Vec::len).sum()
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
            if demand.sets.get(name) == Some(&needs) {
                return false;
            }
            Arc::make_mut(demand).sets.insert(name.clone(), needs);
            true
        });
    }

    /// Drops the sets that are not among `alive`, and names them; the picture is complete once every one of those was
    /// looked at.
    pub(super) fn only(&self, alive: &BTreeSet<SetName>) -> Vec<SetName> {
        self.sets().retain(|name, _| alive.contains(name));
        let mut dropped = Vec::new();
        self.demand.send_if_modified(|demand| {
            dropped = demand.sets.keys().filter(|name| !alive.contains(name)).cloned().collect();
            let complete = alive.iter().all(|name| demand.sets.contains_key(name));
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

    /// Takes note of a repository that was proven to hold `blobs`.
    pub(super) fn holds(
        &self,
        namespace: &str,
        registry: &RegistryHost,
        repository: &RepositoryName,
        blobs: impl Iterator<Item = Digest>,
    ) {
        let mut all = lock(&self.holders);
        let holders = all.entry(registry.clone()).or_default();
        for blob in blobs {
            if holders.len() < MAX_HELD || holders.contains_key(&blob) {
                holders.entry(blob).or_default().insert((namespace.to_owned(), repository.clone()));
            }
        }
    }

    /// Repositories that hold one of `blobs`. Those proven for sets of other namespaces count only where the site shares:
    /// a link to a blob is a way to read it.
    pub(super) fn holders(
        &self,
        namespace: &str,
        share: bool,
        registry: &RegistryHost,
        blobs: &BTreeSet<Digest>,
    ) -> BTreeMap<Digest, Vec<RepositoryName>> {
        let all = lock(&self.holders);
        let Some(holders) = all.get(registry) else { return BTreeMap::new() };
        let visible = |held: &BTreeSet<(String, RepositoryName)>| {
            let own = held.iter().filter(|(whose, _)| share || whose == namespace);
            own.map(|(_, repository)| repository.clone()).collect::<Vec<_>>()
        };
        let held = blobs.iter().filter_map(|blob| Some((*blob, visible(holders.get(blob)?))));
        held.filter(|(_, repositories)| !repositories.is_empty()).collect()
    }
}

/// Where a set gives one name to two things.
pub(super) fn clash_within(targets: &[Target]) -> Option<String> {
    let mut named = BTreeMap::<(&RepositoryName, &Tag), &Target>::new();
    for target in targets {
        for tag in &target.tags {
            let Some(other) = named.insert((&target.repository, tag), target) else { continue };
            if other.digest != target.digest {
                return Some(format!(
                    "{} and {} would both be {}/{}:{tag} at the edge; give one of them another tag, or set destinationRepository or naming: HostInPath",
                    other.reference, target.reference, target.registry, target.repository
                ));
            }
        }
    }
    None
}

/// Where a set gives a name to something else than an older set does, on the same registry.
fn clash(name: &SetName, facts: &SetFacts, sets: &BTreeMap<SetName, SetFacts>) -> Option<String> {
    // The API server sets the time; an object without one is as old as can be.
    let age = |name: &SetName, facts: &SetFacts| (facts.created, name.clone());
    let own = age(name, facts);
    let older = sets.iter().filter(|(other, facts)| *other != name && age(other, facts) < own);
    let mut named = BTreeMap::<(&RegistryHost, &RepositoryName, &Tag), &Target>::new();
    for target in &facts.targets {
        named.extend(target.tags.iter().map(|tag| ((&target.registry, &target.repository, tag), target)));
    }
    for (other, theirs) in
        older.flat_map(|(other, facts)| facts.targets.iter().map(move |target| (other, target)))
    {
        for tag in &theirs.tags {
            let Some(mine) = named.get(&(&theirs.registry, &theirs.repository, tag)) else { continue };
            if mine.digest != theirs.digest {
                return Some(format!(
                    "{}/{}:{tag} is {} in this set ({name}) and {} in the older set {other}; give one of them another tag, or set destinationRepository",
                    mine.registry, mine.repository, mine.reference, theirs.reference
                ));
            }
        }
    }
    None
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
        facts.only(&alive);
        assert!(!receiver.borrow().complete);
        facts.needs(&name("b/y"), SetDemand::default());
        facts.only(&alive);
        assert!(receiver.borrow().complete);
        facts.only(&BTreeSet::from([name("b/y")]));
        assert_eq!(receiver.borrow().sets.keys().collect::<Vec<_>>(), [&name("b/y")]);
    }

    /// A tenant learns nothing of the repositories of another one, unless the site shares them.
    #[test]
    fn blobs_of_other_namespaces_are_linked_only_where_the_site_shares() {
        let facts = Facts::new(watch::channel(Arc::default()).0);
        let registry = "edge.local:5000".parse().unwrap();
        let (mine, theirs) = ("mine/app".parse().unwrap(), "theirs/app".parse().unwrap());
        let blob = Digest::of(b"layer");
        facts.holds("a", &registry, &mine, [blob].into_iter());
        facts.holds("b", &registry, &theirs, [blob].into_iter());
        let asked = BTreeSet::from([blob, Digest::of(b"other")]);
        assert_eq!(facts.holders("a", false, &registry, &asked)[&blob], std::slice::from_ref(&mine));
        assert_eq!(facts.holders("a", true, &registry, &asked)[&blob], [mine, theirs]);
        assert!(facts.holders("c", false, &registry, &asked).is_empty());
    }
}
