// SPDX-License-Identifier: Apache-2.0
//! Which set gives which name at an edge registry to which image. Only hashes of names and digests are kept, so that
//! hundreds of thousands of images fit into memory, and a set is compared with those that have one of its names, not with
//! all of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasher as _, RandomState};

use jiff::Timestamp;
use krs_core::oci::reference::Tag;

use crate::model::required_images::SetName;
use crate::model::target::Target;

/// The names of all sets. Its hashes have a random key, so that nobody can choose names that meet.
#[derive(Default)]
pub(super) struct Names {
    sets: BTreeMap<SetName, Entry>,
    by_id: HashMap<u32, SetName>,
    /// Digest by name and set.
    claims: BTreeMap<(u64, u32), u64>,
    next_id: u32,
    hasher: RandomState,
}

struct Entry {
    id: u32,
    /// Whether the set may write; else it has no names.
    writes: bool,
    created: Option<Timestamp>,
    names: Box<[u64]>,
}

impl Names {
    pub(super) fn contains(&self, set: &SetName) -> bool {
        self.sets.contains_key(set)
    }

    /// The namespaces that have sets that may write.
    pub(super) fn namespaces(&self) -> BTreeSet<String> {
        let writing = self.sets.iter().filter(|(_, entry)| entry.writes);
        let names = writing.map(|(set, _)| set.namespace.as_str()).collect::<BTreeSet<_>>();
        names.into_iter().map(str::to_owned).collect()
    }

    /// Records what a set gives names to, and answers for which of `targets` older sets give names to something else, by
    /// position: the tags and those sets. A set that may not write (`writes`: it is suspended, being deleted, not allowed its
    /// destination) has no names that others would have to leave to it.
    pub(super) fn claim(
        &mut self,
        set: &SetName,
        created: Option<Timestamp>,
        writes: bool,
        targets: &[Target],
    ) -> BTreeMap<usize, Vec<(Tag, SetName)>> {
        let targets = if writes { targets } else { &[] };
        let id = self.release(set).unwrap_or_else(|| {
            self.next_id = self.next_id.wrapping_add(1);
            self.next_id
        });
        let mut contested = BTreeMap::<_, Vec<_>>::new();
        let mut names = BTreeSet::new();
        for (position, target) in targets.iter().enumerate() {
            let digest = self.hasher.hash_one(target.digest);
            for tag in &target.tags {
                let name = self.hasher.hash_one((&target.registry, &target.repository, tag));
                if let Some(older) = self.older(set, created, name, digest) {
                    contested.entry(position).or_default().push((tag.clone(), older));
                }
                // Where a set gives one name twice, it was taken from both before; of a preview the first counts.
                if names.insert(name) {
                    self.claims.insert((name, id), digest);
                }
            }
        }
        self.by_id.insert(id, set.clone());
        self.sets.insert(set.clone(), Entry { id, writes, created, names: names.into_iter().collect() });
        contested
    }

    /// The oldest other set that gives `name` to something else, if it is older than `set`.
    fn older(&self, set: &SetName, created: Option<Timestamp>, name: u64, digest: u64) -> Option<SetName> {
        let others = self.claims.range((name, 0)..=(name, u32::MAX)).filter(|(_, other)| **other != digest);
        // The API server sets the time; an object without one is as old as can be.
        let aged = others.filter_map(|((_, id), _)| {
            let other = self.by_id.get(id)?;
            Some((self.sets.get(other)?.created, other))
        });
        let (at, other) = aged.min()?;
        ((at, other) < (created, set)).then(|| other.clone())
    }

    /// Drops the names of a set; its number stays.
    fn release(&mut self, set: &SetName) -> Option<u32> {
        let Entry { id, names, .. } = self.sets.remove(set)?;
        for name in names {
            self.claims.remove(&(name, id));
        }
        Some(id)
    }

    /// Drops the sets that are not among `alive`.
    pub(super) fn retain(&mut self, alive: &BTreeSet<SetName>) {
        let gone = self.sets.keys().filter(|set| !alive.contains(*set)).cloned().collect::<Vec<_>>();
        for set in gone {
            self.release(&set).map(|id| self.by_id.remove(&id));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use krs_core::oci::digest::Digest;
    use krs_core::oci::reference::Destination;
    use serde_json::json;

    fn set(name: &str) -> SetName {
        SetName { namespace: "shop".to_owned(), name: name.to_owned() }
    }

    fn at(second: i64) -> Option<Timestamp> {
        Timestamp::from_second(second).ok()
    }

    /// Targets that give each name to a digest.
    fn named(names: &[(&str, &str)]) -> Vec<Target> {
        let image = |(name, content): &(&str, &str)| json!({"image": format!("example.com/{name}:1@{}", Digest::of(content.as_bytes()))});
        let images = names.iter().map(image).collect::<Vec<_>>();
        let spec = json!({"destinationRegistry": "edge.local", "images": images});
        let images = krs_core::set::check_spec(&serde_json::from_value(spec).unwrap()).unwrap();
        let destination = "edge.local".parse::<Destination>().unwrap();
        crate::model::target::targets(&destination, &images, |_| None, |reference| reference.digest).unwrap()
    }

    #[test]
    fn the_older_set_keeps_a_name_whoever_is_reconciled_first() {
        let mut names = Names::default();
        let (mine, theirs) = (named(&[("a", "1"), ("b", "1")]), named(&[("b", "2"), ("c", "2")]));
        assert!(names.claim(&set("late"), at(2), true, &mine).is_empty());
        assert!(names.claim(&set("old"), at(1), true, &theirs).is_empty());
        let contested = names.claim(&set("late"), at(2), true, &mine);
        assert_eq!(
            contested.into_iter().collect::<Vec<_>>(),
            [(1, vec![("1".parse().unwrap(), set("old"))])]
        );
        // The same content is no contest; of two sets of one age the name decides.
        assert!(
            names.claim(&set("same"), at(3), true, &named(&[("b", "2")])).len() == 1,
            "late says otherwise"
        );
        names.claim(&set("old"), at(1), true, &named(&[("c", "2")]));
        assert!(
            names.claim(&set("late"), at(2), true, &mine).is_empty(),
            "the old set has given the name up"
        );
        assert!(names.claim(&set("z"), at(2), true, &named(&[("a", "3")])).len() == 1);
        assert!(names.claim(&set("a"), at(2), true, &named(&[("a", "3")])).is_empty());
    }

    #[test]
    fn sets_that_are_gone_leave_nothing() {
        let mut names = Names::default();
        for n in 0..10 {
            names.claim(&set(&format!("s{n}")), at(n), true, &named(&[("a", "1"), ("b", "2")]));
        }
        names.retain(&BTreeSet::from([set("s3")]));
        assert_eq!((names.sets.len(), names.by_id.len(), names.claims.len()), (1, 1, 2));
        names.retain(&BTreeSet::new());
        assert_eq!((names.sets.len(), names.by_id.len(), names.claims.len()), (0, 0, 0));
    }

    #[test]
    fn t153_a_set_that_may_not_write_takes_no_name_from_others() {
        let mut names = Names::default();
        names.claim(&set("old"), at(1), true, &named(&[("a", "1")]));
        assert_eq!(names.claim(&set("late"), at(2), true, &named(&[("a", "2")])).len(), 1);
        assert_eq!(names.namespaces().len(), 1);
        // It is suspended, say.
        assert!(names.claim(&set("old"), at(1), false, &named(&[("a", "1")])).is_empty());
        assert!(names.claim(&set("late"), at(2), true, &named(&[("a", "2")])).is_empty());
        assert!(names.contains(&set("old")));
        names.claim(&set("late"), at(2), false, &[]);
        assert_eq!(names.namespaces().len(), 0);
        assert_eq!(names.claim(&set("old"), at(1), true, &named(&[("a", "1")])).len(), 0);
    }
}
