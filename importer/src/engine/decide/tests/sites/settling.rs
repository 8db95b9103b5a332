// SPDX-License-Identifier: Apache-2.0
//! What comes of it once the faults stop.
use super::world::SiteUnderTest;
use super::{Chance, INTERVALS};
use crate::model::state::MAX_MOVES;

/// How long it takes at most until all sets are Ready: an attempt that failed often is repeated after ten minutes, and what
/// the registry lost is noticed with the next reconcile.
const SOON: i64 = 3 * 3600;
/// As long as a tag is left to somebody else who keeps moving it.
const CONTESTED: i64 = 2 * 86_400;
/// How long somebody continues with that.
const INSISTS: i64 = 6 * 3600;

impl SiteUnderTest {
    /// The faults end, and all media are brought. A courier pulls whatever may be pulled.
    pub(super) fn settle(&mut self, chance: &mut Chance) -> bool {
        (self.job_refused, self.is_stale) = (false, false);
        self.corrupt.clear();
        self.inserted = self.bundles.iter().map(|bundle| bundle.digest).collect();
        self.stock_changed();
        // A set that stays suspended holds no media.
        let suspended = chance.below(4) == 0;
        self.sets.iter_mut().enumerate().for_each(|(n, set)| set.spec.suspend = suspended && n == 1);
        // It answers only after they were reconciled, and nobody says that it does.
        let down_until = self.second + if chance.below(2) == 0 { 0 } else { 20 };
        let limit = if self.contested.is_some() || self.is_left_alone() { CONTESTED } else { SOON };
        let contested_until = self.second + if chance.below(2) == 0 { 0 } else { INSISTS };
        self.put_back = 0;
        let (end, mut brought) = (self.second + limit, 0);
        let mut quiet_since = None;
        while self.second < end {
            self.registry_answers = self.second >= down_until;
            self.contested = self.contested.filter(|_| self.second < contested_until);
            assert!(self.put_back <= MAX_MOVES * self.sets.len(), "a tag is fought over");
            for n in 0..self.sets.len() {
                if self.sets[n].due > self.second {
                    continue;
                }
                self.reconcile(n, false);
                self.check_safe_to_remove();
                if chance.below(3) == 0 {
                    // An event that comes twice.
                    self.reconcile(n, false);
                }
            }
            self.pull();
            let waits = self.sets.iter().any(|set| !set.spec.suspend && !set.unresolved.is_empty());
            let is_missing = !self.demand.sets.values().all(|set| set.missing.is_empty());
            if self.inserted.is_empty() && (waits || is_missing) {
                // What the edge lost before is noticed late: then the media are brought again.
                assert!(brought < 3, "media are pulled again and again");
                brought += 1;
                self.inserted = self.bundles.iter().map(|bundle| bundle.digest).collect();
                self.stock_changed();
                continue;
            }
            let jobs = (0..self.sets.len()).find_map(|n| Some((n, self.running_job(n)?)));
            if let Some((n, job)) = jobs {
                self.second += 1;
                self.end_job(n, job, |_| true, Some(true));
                quiet_since = None;
                continue;
            }
            let all_ready = self.sets.iter().all(|set| set.is_ready || set.spec.suspend);
            if all_ready && self.inserted.is_empty() {
                let since = *quiet_since.get_or_insert(self.second);
                // What was lost before has been noticed by then.
                if self.second > since + i64::try_from(2 * INTERVALS.resync.as_secs()).unwrap() {
                    self.check_end();
                    return true;
                }
            } else {
                quiet_since = None;
            }
            let due = self.sets.iter().map(|set| set.due).min().unwrap();
            self.second = due.max(self.second + 1);
        }
        false
    }

    /// Whether somebody moved a tag so often that it is left to them for a day.
    fn is_left_alone(&self) -> bool {
        self.sets.iter().any(|set| set.state.moved.values().any(|moves| moves.len() >= 2))
    }

    fn pull(&mut self) {
        for bundle in self.bundles.clone() {
            if self.inserted.contains(&bundle.digest) && self.is_safe(&bundle) {
                self.inserted.remove(&bundle.digest);
                self.stock_changed();
            }
        }
    }

    fn check_end(&self) {
        for set in self.sets.iter().filter(|set| !set.spec.suspend) {
            for target in &set.targets {
                let there = self.edge.contains(&target.key) && !self.moved.contains(&target.key);
                assert!(there, "{} is Ready without {}", set.name, target.repository);
            }
            for (name, resolved) in &set.state.resolved {
                // The newest of all.
                let by = resolved.decided_by.as_ref().unwrap();
                assert_eq!((by.stream.as_str(), by.sequence), ("low", 3), "{name}");
            }
        }
    }
}
