// SPDX-License-Identifier: Apache-2.0
//! What goes wrong.
use super::super::*;
use super::world::SiteUnderTest;
use super::{Chance, pick};
use crate::model::required_images::RequiredImages;

impl SiteUnderTest {
    fn random_target(&self, chance: &mut Chance) -> Option<TargetKey> {
        let set = &self.sets[pick(chance, self.sets.len())];
        (!set.targets.is_empty()).then(|| set.targets[pick(chance, set.targets.len())].key)
    }

    pub(super) fn fault(&mut self, chance: &mut Chance) {
        let n = pick(chance, self.sets.len());
        match (chance.below(18), self.running_job(n)) {
            (0 | 1, Some(job)) => self.end_job(n, job, |_| true, Some(true)),
            (2, Some(job)) => self.end_job(n, job, |position| position % 2 == 0, Some(false)),
            (3, Some(job)) => self.end_job(n, job, |_| false, Some(true)),
            (4, Some(job)) => {
                let brings = chance.below(2) == 0;
                self.end_job(n, job, |_| brings, None);
            }
            (5, _) => {
                let lost = self.random_target(chance);
                lost.map(|key| self.edge.remove(&key));
            }
            (6, _) => {
                let damaged = self.random_target(chance).filter(|key| self.edge.contains(key));
                self.corrupt.extend(damaged);
            }
            (7, _) => {
                let moved = self.random_target(chance).filter(|key| self.edge.contains(key));
                self.moved.extend(moved);
                // Somebody insists.
                self.contested = moved.filter(|_| chance.below(2) == 0);
            }
            // Somebody pushes it by hand, maybe while a Job copies it.
            (16, _) => {
                let pushed = self.random_target(chance);
                pushed.map(|key| self.moved.remove(&key));
                self.edge.extend(pushed);
            }
            (8, _) => {
                self.sets[n].spec = self.random_spec(chance);
                // What is not wanted any more is forgotten.
                self.failed.retain(|(set, _), _| *set != n);
            }
            (9, _) => self.sets[n].spec.suspend = !self.sets[n].spec.suspend,
            // Media come and go, whatever anybody says.
            (10 | 11, _) => {
                let bundle = self.bundles[pick(chance, self.bundles.len())].digest;
                if !self.inserted.remove(&bundle) {
                    self.inserted.insert(bundle);
                }
                self.stock_changed();
            }
            (12, _) => self.lose_state(n, chance),
            (13, _) => self.job_refused = chance.below(2) == 0,
            // The importer is killed: what it published is gone.
            (14, _) => {
                self.reconcile(n, true);
                self.demand = RequiredImages::default();
            }
            // The registry is away for a night, or for days.
            (15, _) => self.second += i64::try_from(chance.below(3 * 86_400)).unwrap(),
            _ => self.second += 1 + i64::try_from(chance.below(700)).unwrap(),
        }
    }

    fn lose_state(&mut self, n: usize, chance: &mut Chance) {
        // Nobody knows any more that something failed.
        self.failed.retain(|(set, _), _| *set != n);
        let state = &mut self.sets[n].state;
        match chance.below(6) {
            0 => *state = SetState::default(),
            1 => state.verified_at.clear(),
            2 => state.attempts.clear(),
            3 => state.ended.clear(),
            4 => state.tried.clear(),
            _ => state.resolved.clear(),
        }
    }
}
