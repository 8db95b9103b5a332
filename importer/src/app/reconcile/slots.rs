// SPDX-License-Identifier: Apache-2.0
//! How many more copy Jobs a namespace may run. Half of all places is for whoever needs them; the other half is kept for
//! namespaces that have less than their fair share, so that none of them can take all. Pure.

use std::collections::BTreeMap;

/// The places for Jobs, and who has them.
pub(super) struct Slots<'a> {
    /// Most Jobs at once.
    pub(super) max: usize,
    /// Jobs that run, by the namespace of their set.
    pub(super) running: &'a BTreeMap<String, usize>,
    /// Namespaces with sets that may write.
    pub(super) namespaces: usize,
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
        let total = self.running.values().sum::<usize>();
        let own = self.running.get(namespace).copied().unwrap_or_default();
        let share = (self.max / self.namespaces.max(1)).max(1);
        let below_share = share.saturating_sub(own);
        let for_all = self.max.div_ceil(2).saturating_sub(total);
        let left = self.max.saturating_sub(total);
        let jobs = below_share.max(for_all).min(left);
        // What failed before waits for a place that nobody else needs; a namespace that runs nothing needs one.
        let again = left.saturating_sub(self.max / 2).max(usize::from(own == 0)).min(jobs);
        Free { jobs, kept: jobs - again }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn free(max: usize, namespaces: usize, running: &[(&str, usize)], namespace: &str) -> (usize, usize) {
        let running = running.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
        let Free { jobs, kept } = Slots { max, running: &running, namespaces }.free(namespace);
        (jobs, jobs - kept)
    }

    #[test]
    fn t152_no_namespace_takes_all_places_and_a_single_one_may() {
        // How many more it may run, and how many of these for what failed before.
        assert_eq!(free(8, 1, &[], "a"), (8, 4));
        assert_eq!(free(8, 1, &[("a", 6)], "a"), (2, 0));
        assert_eq!(free(8, 2, &[], "a"), (4, 4));
        assert_eq!(free(8, 2, &[("a", 4)], "a"), (0, 0));
        assert_eq!(free(8, 2, &[("a", 4)], "b"), (4, 1), "one that runs nothing may retry");
        assert_eq!(free(8, 4, &[("a", 2)], "a"), (2, 2), "half of the places is for whoever comes");
        assert_eq!(free(8, 4, &[("a", 4)], "a"), (0, 0));
        assert_eq!(free(8, 4, &[("a", 4), ("b", 2)], "b"), (0, 0));
        assert_eq!(free(8, 4, &[("a", 4), ("b", 2)], "c"), (2, 1));
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
}
