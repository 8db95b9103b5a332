// SPDX-License-Identifier: Apache-2.0
//! Which repositories of an edge registry hold which blobs, as far as checks told since the start: others can be linked
//! from there. It saves bytes and decides nothing, so that it is small: few repositories for each blob, and
//! those of sets that are gone are dropped.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use krs_core::oci::digest::Digest;
use krs_core::oci::reference::{RegistryHost, RepositoryName};

use crate::model::required_images::SetName;

/// Most blobs of which the repositories are kept.
const MAX_BLOBS: usize = 50_000;
/// Most repositories that are kept.
const MAX_LOCATIONS: usize = 10_000;
/// Most repositories that are kept for a blob and a namespace.
const PER_BLOB: usize = 2;
/// Stands for no repository.
const NONE: u32 = u32::MAX;

/// A repository, and the set that it was checked for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Location {
    pub(super) set: SetName,
    pub(super) registry: RegistryHost,
    pub(super) repository: RepositoryName,
}

#[derive(Default)]
pub(super) struct BlobLocations {
    locations: BTreeMap<u32, Arc<Location>>,
    numbers: BTreeMap<Arc<Location>, u32>,
    next: u32,
    /// By blob, and the number of a registry and namespace.
    blobs: HashMap<(Digest, u32), [u32; PER_BLOB]>,
    scopes: BTreeMap<(RegistryHost, String), u32>,
}

impl BlobLocations {
    /// Records that a repository holds `blobs`.
    pub(super) fn record(&mut self, location: &Location, blobs: impl Iterator<Item = Digest>) {
        let known = self.numbers.get(location).copied();
        if known.is_none() && self.numbers.len() >= MAX_LOCATIONS {
            return;
        }
        let number = known.unwrap_or(self.next);
        let free = self.scopes.values().max().map_or(0, |last| last.saturating_add(1));
        let scope = (location.registry.clone(), location.set.namespace.clone());
        let scope = *self.scopes.entry(scope).or_insert(free);
        let mut is_used = false;
        for blob in blobs {
            let is_full = self.blobs.len() >= MAX_BLOBS;
            let slots = match self.blobs.entry((blob, scope)) {
                Entry::Occupied(entry) => entry.into_mut(),
                Entry::Vacant(_) if is_full => continue,
                Entry::Vacant(entry) => entry.insert([NONE; PER_BLOB]),
            };
            if !slots.contains(&number)
                && let Some(free) = slots.iter_mut().find(|slot| **slot == NONE)
            {
                *free = number;
                is_used = true;
            }
        }
        if known.is_none() && is_used {
            let location = Arc::new(location.clone());
            self.locations.insert(number, Arc::clone(&location));
            self.numbers.insert(location, number);
            self.next = self.next.wrapping_add(1) % NONE;
        }
    }

    /// Repositories of `registry` that hold one of `blobs`. Those checked for sets of other namespaces count only where the
    /// site shares: a link to a blob is a way to read it.
    pub(super) fn of(
        &self,
        namespace: &str,
        share: bool,
        registry: &RegistryHost,
        blobs: &BTreeSet<Digest>,
    ) -> BTreeMap<Digest, Vec<RepositoryName>> {
        let visible = |(scope, _): &(&(RegistryHost, String), &u32)| {
            scope.0 == *registry && (share || scope.1 == namespace)
        };
        let scopes = self.scopes.iter().filter(visible).map(|(_, number)| *number).collect::<Vec<_>>();
        let of_blob = |blob: &Digest| {
            let slots = scopes.iter().filter_map(|scope| self.blobs.get(&(*blob, *scope))).flatten();
            let locations = slots.filter_map(|number| self.locations.get(number));
            locations.map(|location| location.repository.clone()).collect::<BTreeSet<_>>()
        };
        let held = blobs.iter().map(|blob| (*blob, of_blob(blob).into_iter().collect::<Vec<_>>()));
        held.filter(|(_, repositories)| !repositories.is_empty()).collect()
    }

    /// Drops the repositories of sets that are gone.
    pub(super) fn retain(&mut self, is_alive: impl Fn(&SetName) -> bool) {
        let before = self.locations.len();
        self.locations.retain(|_, location| is_alive(&location.set));
        if self.locations.len() == before {
            return;
        }
        self.numbers.retain(|location, _| is_alive(&location.set));
        let locations = &self.locations;
        self.blobs.retain(|_, slots| {
            slots.iter_mut().filter(|slot| !locations.contains_key(slot)).for_each(|slot| *slot = NONE);
            slots.iter().any(|slot| *slot != NONE)
        });
        self.blobs.shrink_to_fit();
        let used = self.blobs.keys().map(|(_, scope)| *scope).collect::<BTreeSet<_>>();
        self.scopes.retain(|_, number| used.contains(number));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn location(namespace: &str, repository: &str) -> Location {
        let set = SetName { namespace: namespace.to_owned(), name: repository.to_owned() };
        Location {
            set,
            registry: "edge.local:5000".parse().unwrap(),
            repository: repository.parse().unwrap(),
        }
    }

    /// A tenant learns nothing of the repositories of another one, unless the site shares them.
    #[test]
    fn t156_blobs_of_other_namespaces_are_linked_only_where_the_site_shares() {
        let mut known = BlobLocations::default();
        let (mine, theirs) = (location("a", "mine/app"), location("b", "theirs/app"));
        let blob = Digest::of(b"layer");
        known.record(&mine, [blob].into_iter());
        known.record(&theirs, [blob].into_iter());
        let blobs_wanted = BTreeSet::from([blob, Digest::of(b"other")]);
        let registry = &mine.registry;
        assert_eq!(
            known.of("a", false, registry, &blobs_wanted)[&blob],
            std::slice::from_ref(&mine.repository)
        );
        let both = [mine.repository.clone(), theirs.repository.clone()];
        assert_eq!(known.of("a", true, registry, &blobs_wanted)[&blob], both);
        assert!(known.of("c", false, registry, &blobs_wanted).is_empty());
        assert!(known.of("a", true, &"other.local".parse().unwrap(), &blobs_wanted).is_empty());
    }

    #[test]
    fn what_sets_that_are_gone_had_is_dropped_and_the_rest_is_bounded() {
        let mut known = BlobLocations::default();
        let blobs = (0..50).map(|n: u32| Digest::of(&n.to_be_bytes())).collect::<Vec<_>>();
        for n in 0..1000 {
            known.record(&location("a", &format!("old/app{n}")), blobs.iter().copied());
        }
        assert_eq!((known.blobs.len(), known.locations.len()), (50, 2), "two repositories for each");
        known.retain(|set| set.name == "new/app");
        assert!(known.blobs.is_empty() && known.locations.is_empty() && known.numbers.is_empty());
        assert!(known.scopes.is_empty());
        // Of two namespaces with the same blobs one goes away, and another one comes.
        for namespace in ["a", "b"] {
            known.record(&location(namespace, "old/app"), blobs.iter().copied());
        }
        known.retain(|set| set.namespace == "b");
        assert_eq!(known.scopes.len(), 1);
        known.record(&location("c", "new/app"), [Digest::of(b"x")].into_iter());
        let blobs_wanted = blobs.iter().copied().collect();
        let registry = location("a", "old/app").registry;
        assert_eq!(known.of("b", false, &registry, &blobs_wanted).len(), 50);
        assert!(known.of("c", false, &registry, &blobs_wanted).is_empty());
        known.retain(|_| false);
        let new = location("a", "new/app");
        known.record(&new, blobs.iter().copied());
        let blobs_wanted = blobs.iter().copied().collect();
        assert_eq!(known.of("a", false, &new.registry, &blobs_wanted).len(), 50);
        for n in 0..u32::try_from(MAX_BLOBS).unwrap() {
            let blob = Digest::of(format!("blob {n}").as_bytes());
            known.record(&location("a", &format!("many/app{n}")), [blob].into_iter());
        }
        assert!(known.locations.len() <= MAX_LOCATIONS && known.blobs.len() <= MAX_BLOBS);
    }
}
