// SPDX-License-Identifier: Apache-2.0
//! Writes what people see: ImageBundles and metrics.

use std::collections::{BTreeMap, BTreeSet};

use tokio::time::Instant;

use super::Intake;
use super::entry::{Accepted, Entry, State};
use super::namespaces;
use super::needed::{self, Named};
use super::pass::Pass;
use super::substitutes;
use super::verdict;
use super::view::{self, Context, Use};
use crate::adapters::metrics::{ResultLabels, StreamLabels};
use crate::model::demand::{Demand, SetDemand};
use crate::model::marks::Standing;
use crate::model::stock::Stock;

impl Intake {
    /// Writes what people see. `usages` are those of the entries, in their order.
    pub(super) async fn tell(&mut self, demand: &Demand, usages: Vec<Use>) {
        let (now, newest) = ((self.clock)(), self.newest());
        for accepted in self.entries.values().filter_map(Entry::accepted) {
            let found = || namespaces::mismatches(&accepted.stock, demand);
            self.kept.mismatches.entry(accepted.stock.digest).or_insert_with(found);
        }
        let is_taken = |entry: &Entry| {
            self.cluster.foreign().contains(&entry.name) && !self.cluster.written.contains_key(&entry.name)
        };
        let taken = self.entries.iter().filter(|(_, entry)| is_taken(entry)).map(|(path, _)| path.clone());
        for path in taken.collect::<Vec<_>>() {
            let name = self.name(&path);
            if let Some(entry) = self.entries.get_mut(&path) {
                entry.name = name;
            }
        }
        let mut told = Vec::new();
        for ((path, entry), usage) in self.entries.iter().zip(usages) {
            let written = self.cluster.written.get(&entry.name);
            let bytes = self.passes.values().find(|pass| pass.path == *path).map(Pass::bytes);
            let context = Context {
                previous: written.and_then(|written| written.status.as_ref()),
                generation: written.map_or(1, |written| written.generation),
                now,
                bytes,
                newest,
                shared: self.config.share_across_namespaces,
                mismatches: entry.accepted().and_then(|held| self.kept.mismatches.get(&held.stock.digest)),
            };
            let status = view::status(entry, path.as_str(), &usage, &context);
            told.push((entry.name.clone(), path.to_string(), status));
        }
        self.measure();
        for (name, file, status) in told {
            self.cluster.write(&name, &file, status).await;
            self.beat();
        }
    }

    fn measure(&self) {
        for (stream, mark) in self.judged_by.iter() {
            let labels = StreamLabels { stream: stream.to_string() };
            let sequence = i64::try_from(mark.sequence).unwrap_or(i64::MAX);
            self.metrics.sequence.get_or_create(&labels).set(sequence);
            self.metrics.created.get_or_create(&labels).set(mark.created_at.as_second());
        }
        let mut refused = verdict::REFUSALS.map(|reason| (reason, 0)).into_iter().collect::<BTreeMap<_, _>>();
        for entry in self.entries.values().filter(|entry| entry.stamp.is_some()) {
            match entry.state {
                State::Refused { reason, .. } => *refused.entry(reason).or_default() += 1,
                State::Ahead(..) => *refused.entry(verdict::AHEAD).or_default() += 1,
                _ => {}
            }
        }
        for (reason, count) in refused {
            let labels = ResultLabels { result: reason.to_owned() };
            self.metrics.refused.get_or_create(&labels).set(count);
            // A counter that is not there before it counts shows no increase.
            drop(self.metrics.verifications.get_or_create(&labels));
        }
    }

    /// What each file is needed for.
    pub(super) fn usages(&self, demand: &Demand, stock: &Stock) -> Vec<Use> {
        let mut pending = needed::pending(demand, stock);
        let newest = self.newest_of_streams();
        let applying = |accepted: &Accepted| {
            let newest = newest.get(&accepted.stock.stream);
            self.config.apply_sets
                && newest.is_some_and(|(_, newest)| newest.stock.digest == accepted.stock.digest)
        };
        let usage = |entry: &Entry| {
            let mut usage = self.judged(entry);
            let Some(accepted) = entry.accepted() else { return usage };
            let digest = accepted.stock.digest;
            let mut not_applied = Named::default();
            if applying(accepted) {
                let sets = accepted.held.bundle.sets();
                let applied = self.kept.applied.get(&digest).map(Vec::as_slice);
                not_applied = needed::not_applied(sets, applied, demand, Instant::now());
                usage.sets_applied = needed::refusals(sets, applied);
            }
            usage.may_be_imported = entry.may_be_imported();
            usage.complete = demand.complete;
            usage.pending = pending.remove(&digest).unwrap_or_default().and(not_applied);
            usage.missing = needed::missing(&accepted.stock, demand, self.config.share_across_namespaces);
            let copies = |set: &SetDemand| substitutes::copies_from(set, &digest, &self.substitutes);
            usage.copying = demand.sets.values().any(|set| copies(set.as_ref()));
            usage.open = accepted.held.bundle.is_open()
                || self.closing.iter().any(|held| held.bundle.digest() == digest && held.bundle.is_open());
            usage
        };
        self.entries.values().map(usage).collect()
    }

    /// What the marks say of a file.
    fn judged(&self, entry: &Entry) -> Use {
        let standing = entry.mark().map(|(stream, mark)| self.judged_by.standing(&stream, &mark));
        // Whether it still is cannot be said of a mark that cannot be read.
        let unknown = matches!(standing, Some(Standing::Unknown { .. }));
        let not_recorded =
            entry.stream().and_then(|(stream, _)| self.kept.not_recorded.get(&stream).cloned());
        Use {
            standing: standing.unwrap_or(Standing::Current),
            recorded: entry.was_recorded() && !unknown,
            not_recorded,
            ..Use::default()
        }
    }

    /// Compares the files with the marks again. What the sets need of them is as it was, except of files that are refused now.
    pub(super) fn judge_usages(&self, usages: &mut [Use]) {
        for (entry, usage) in self.entries.values().zip(usages) {
            let judged = self.judged(entry);
            *usage = match entry.accepted() {
                Some(_) => Use {
                    standing: judged.standing,
                    recorded: judged.recorded,
                    not_recorded: judged.not_recorded,
                    ..std::mem::take(usage)
                },
                None => judged,
            };
        }
    }

    /// Forgets files that went away long ago.
    pub(super) async fn forget(&mut self) {
        let keep = self.config.intake.keep;
        let now = (self.clock)();
        let old = |entry: &Entry| entry.last_seen.checked_add(keep).is_ok_and(|until| until < now);
        // The same bundle that lies elsewhere now.
        let there = self.entries.values().filter(|entry| entry.stamp.is_some());
        let there = there.filter_map(Entry::digest).collect::<BTreeSet<_>>();
        let moved = |entry: &Entry| entry.digest().is_some_and(|digest| there.contains(&digest));
        let gone =
            self.entries.iter().filter(|(_, entry)| entry.stamp.is_none() && (old(entry) || moved(entry)));
        let gone = gone.map(|(path, entry)| (path.clone(), entry.name.clone())).collect::<Vec<_>>();
        for (path, name) in gone {
            if self.cluster.delete(&name).await {
                self.entries.remove(&path);
            }
        }
        self.kept.forget_unlisted(&self.entries);
    }
}
