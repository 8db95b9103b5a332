// SPDX-License-Identifier: Apache-2.0
//! What holds whatever happens.
use super::super::*;
use super::world::SiteUnderTest;
use super::{INTERVALS, MAX_JOBS, running_jobs};
use crate::engine::needed;

/// A Job that a set asked for.
pub(super) struct Created {
    pub(super) keys: Vec<TargetKey>,
    pub(super) source: TaskSource,
}

impl SiteUnderTest {
    /// After a reconcile of a set.
    pub(super) fn check_set(&self, n: usize) {
        let (now, set) = (self.now(), &self.sets[n]);
        if !set.is_ready {
            return;
        }
        assert!(set.unresolved.is_empty(), "Ready with a tag that stands for nothing");
        for target in &set.targets {
            let at = set.verified.get(&target.key);
            assert!(at.is_some(), "Ready without having been verified");
            // A suspended set is not reconciled.
            let age = now.duration_since(*at.unwrap()).as_secs();
            let oldest = i64::try_from(2 * INTERVALS.verify.as_secs()).unwrap();
            assert!(set.spec.suspend || age <= oldest, "Ready by a verification that is {age} s old");
        }
    }

    /// After a set asked for Jobs: nothing is tried from the same source again just after it failed.
    pub(super) fn check_created(&mut self, n: usize, created: &[Created]) {
        let now = self.now();
        for Created { keys, source } in created {
            let failed = keys.iter().filter_map(|key| self.failed.get(&(n, *key)));
            for (at, from) in failed.filter(|(_, from)| from == source) {
                let passed = now.duration_since(*at).as_secs();
                assert!(passed >= 10 || self.may_be_stale, "retried from {from:?} after {passed} s");
            }
            if self.job_refused {
                let refused = keys.iter().map(|key| ((n, *key), (now, source.clone())));
                self.failed.extend(refused);
            }
        }
    }

    /// After Jobs were created and deleted.
    pub(super) fn check_jobs(&self, n: usize) {
        // Whoever is shown an old list may create a Job too many; its name keeps it from doing that twice.
        if self.may_be_stale {
            return;
        }
        let running = self.sets.iter().flat_map(|set| running_jobs(&set.jobs)).collect::<Vec<_>>();
        assert!(running.len() <= MAX_JOBS, "more Jobs than the site allows");
        let repositories = running.iter().flat_map(|job| job.task.targets.iter().map(|t| &t.repository));
        let (mut written, mut twice) = (BTreeSet::new(), repositories);
        assert!(twice.all(|repository| written.insert(repository)), "two Jobs write to one repository");
        let set = &self.sets[n];
        let index = Index::new(&set.targets);
        for job in running_jobs(&set.jobs) {
            assert!(!set.spec.suspend, "a Job of a suspended set continues");
            assert!(index.positions(job).iter().any(Option::is_some), "a Job continues that nobody wants");
        }
    }

    /// What an ImageBundle says: whether its media may be pulled. The mark is written first.
    pub(super) fn is_safe(&mut self, bundle: &StockBundle) -> bool {
        let stock = self.stock();
        let pending = needed::pending(&self.demand, &stock).remove(&bundle.digest).unwrap_or_default();
        let copying = self.demand.sets.values().any(|set| set.copying_from.contains(&bundle.digest));
        let missing = needed::missing(bundle, &self.demand, false);
        if !self.demand.complete || pending.count > 0 || copying || missing.count > 0 {
            return false;
        }
        let _ = self.raise(bundle.stream.as_str(), &bundle.mark());
        assert!(self.marks().has_reached(&bundle.stream, bundle.sequence), "said before the mark is written");
        true
    }

    /// Media may be pulled only when no set needs them, as far as the sets were reconciled.
    pub(super) fn check_safe_to_remove(&mut self) {
        // The one that decides all tags: each bundle lists all of them.
        let newest = self.stock().bundles.into_iter().filter(StockBundle::can_decide);
        let newest = newest.max_by_key(|bundle| bundle.created_at).map(|bundle| bundle.digest);
        for bundle in self.bundles.clone() {
            if !self.inserted.contains(&bundle.digest) || !self.is_safe(&bundle) {
                continue;
            }
            for set in &self.sets {
                let reads = |job: &CopyJob| matches!(&job.task.source, TaskSource::Bundle { digest, .. } if *digest == bundle.digest);
                let copies = running_jobs(&set.jobs).any(reads);
                assert!(
                    !copies || self.may_be_stale,
                    "{} may be pulled, and a Job of {} reads it",
                    bundle.name,
                    set.name
                );
                if set.is_stopped() {
                    continue;
                }
                let held = set
                    .targets
                    .iter()
                    .filter(|target| bundle.images.of_digest(&target.digest).next().is_some());
                // Content that is damaged at the edge waits for a person, and for no media.
                let mut needed = held.filter(|target| !set.damaged.contains(&target.key));
                assert!(
                    needed.all(|target| set.verified.contains_key(&target.key)),
                    "{} may be pulled, and set {} needs it",
                    bundle.name,
                    set.name
                );
                let later = |(_, held): (&String, &crate::model::state::ResolvedTag)| {
                    held.decided_by.as_ref().is_some_and(|by| by.created_at < bundle.created_at)
                };
                let waits = !set.unresolved.is_empty() || set.state.resolved.iter().any(later);
                assert!(
                    newest != Some(bundle.digest) || !waits,
                    "{} may be pulled before {} uses it",
                    bundle.name,
                    set.name
                );
            }
        }
    }
}
