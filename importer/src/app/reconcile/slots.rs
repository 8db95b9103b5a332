// SPDX-License-Identifier: Apache-2.0
//! How many more copy Jobs a namespace may run. Up to half of all slots are kept for namespaces that have less than their fair
//! share, so that no namespace can take all; a slot that is kept for none is for whoever needs it. Pure.

use std::collections::{BTreeMap, BTreeSet};

/// The slots for Jobs, and who has them.
pub(super) struct Slots<'a> {
    /// Most Jobs at once.
    pub(super) max: usize,
    /// Jobs that run, by the namespace of their set.
    pub(super) running: &'a BTreeMap<String, usize>,
    /// Namespaces with sets that may write.
    pub(super) namespaces: &'a BTreeSet<String>,
}

/// What one namespace may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Free {
    /// How many more Jobs it may run.
    pub(super) jobs: usize,
    /// How many of these are kept for what was not tried yet.
    pub(super) kept: usize,
}

impl Slots<'_> {
    /// What is free for sets of `namespace`.
    pub(super) fn free(&self, namespace: &str) -> Free {
        let running = |namespace: &str| self.running.get(namespace).copied().unwrap_or_default();
        let left = self.max.saturating_sub(self.running.values().sum());
        let share = (self.max / self.namespaces.len().max(1)).max(1);
        let below_share = |namespace: &str| share.saturating_sub(running(namespace));
        let others = self.namespaces.iter().filter(|other| *other != namespace);
        let reserved = others.map(|other| below_share(other)).sum::<usize>().min(self.max / 2);
        let jobs = below_share(namespace).max(left.saturating_sub(reserved)).min(left);
        // What failed before waits for a slot that nobody else needs; a namespace that runs nothing needs one.
        let again = left.saturating_sub(self.max / 2).max(usize::from(running(namespace) == 0)).min(jobs);
        Free { jobs, kept: jobs - again }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// How many more Jobs `namespace` may run of `count` namespaces, and how many of these for what failed before.
    fn free(max: usize, count: usize, running: &[(&str, usize)], namespace: &str) -> (usize, usize) {
        let running =
            running.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect::<BTreeMap<_, _>>();
        let mut namespaces = running.keys().cloned().collect::<BTreeSet<_>>();
        namespaces.insert(namespace.to_owned());
        namespaces.extend((namespaces.len()..count).map(|n| format!("other-{n}")));
        let Free { jobs, kept } = Slots { max, running: &running, namespaces: &namespaces }.free(namespace);
        (jobs, jobs - kept)
    }

    #[test]
    fn t152_no_namespace_takes_all_slots_and_a_single_one_may() {
        assert_eq!(free(8, 1, &[], "a"), (8, 4));
        assert_eq!(free(8, 1, &[("a", 6)], "a"), (2, 0));
        assert_eq!(free(8, 2, &[], "a"), (4, 4));
        assert_eq!(free(8, 2, &[("a", 4)], "a"), (0, 0));
        assert_eq!(free(8, 2, &[("a", 4)], "b"), (4, 1), "one that runs nothing may retry");
        assert_eq!(free(8, 4, &[("a", 2)], "a"), (2, 2), "half of the slots are kept for the others");
        assert_eq!(free(8, 4, &[("a", 4)], "a"), (0, 0));
        assert_eq!(free(8, 4, &[("a", 4), ("b", 2)], "b"), (0, 0));
        assert_eq!(free(8, 4, &[("a", 4), ("b", 2)], "c"), (2, 1));
        // Six namespaces, and each has its share of one.
        let six = [("a", 1), ("b", 1), ("c", 1), ("d", 1), ("e", 1), ("f", 1)];
        assert_eq!(free(8, 6, &six, "a"), (2, 0), "the rest of the division is kept for none");
        assert_eq!(free(8, 6, &six[..5], "a"), (2, 0), "one is kept for the sixth");
        assert_eq!(free(1, 3, &[], "a"), (1, 1));
        assert_eq!(free(1, 3, &[("a", 1)], "b"), (0, 0));
        assert_eq!(free(8, 20, &[("a", 9)], "b"), (0, 0), "the limit was lowered");
    }

    /// Whatever one namespace runs, another one that has sets can start a Job.
    #[test]
    fn t152_one_namespace_alone_never_blocks_another() {
        for max in 2..40 {
            for namespaces in 2..50 {
                let mut own = 0;
                while free(max, namespaces, &[("evil", own)], "evil").0 > 0 {
                    own += 1;
                }
                assert!(free(max, namespaces, &[("evil", own)], "good").0 > 0, "{max} {namespaces} {own}");
            }
        }
    }

    proptest! {
        /// Whatever runs, and whoever asks in which order: no slot stays free while all namespaces have sets that wait, and
        /// no more than half of the slots where only some of them have.
        #[test]
        fn t266_no_slot_that_is_kept_for_none_stays_free_while_sets_wait(
            max in 1_usize..40,
            running in vec(0_usize..6, 1..50),
            order in vec(any::<prop::sample::Index>(), 200),
        ) {
            let name = |n: usize| format!("n{n}");
            let namespaces = (0..running.len()).map(name).collect::<BTreeSet<_>>();
            let mut running = running.iter().enumerate().map(|(n, count)| (name(n), *count)).collect::<BTreeMap<_, _>>();
            let free = |running: &BTreeMap<String, usize>, name: &str| {
                Slots { max, running, namespaces: &namespaces }.free(name).jobs
            };
            let some = order[0].index(namespaces.len()) + 1;
            for asking in [some, namespaces.len()] {
                let add = |running: &mut BTreeMap<String, usize>, name: String| {
                    let jobs = free(running, &name);
                    *running.entry(name).or_default() += jobs.min(1);
                };
                order.iter().for_each(|index| add(&mut running, name(index.index(asking))));
                for _ in 0..max {
                    (0..asking).for_each(|n| add(&mut running, name(n)));
                }
                let left = max.saturating_sub(running.values().sum());
                let kept = if asking < namespaces.len() { max / 2 } else { 0 };
                prop_assert!(left <= kept, "{left} of {max} are free: {running:?}");
            }
        }
    }
}
