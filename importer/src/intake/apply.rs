// SPDX-License-Identifier: Apache-2.0
//! Applies the sets of bundles to the cluster.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use krs_core::bundle::StreamName;

use super::Intake;
use super::entry::{Accepted, Entry};
use super::needed::Applied;
use crate::marks::Standing;

/// How long to wait before sets are applied again after one could not be.
const APPLY_AGAIN: Duration = Duration::from_secs(60);

impl Intake {
    /// The newest bundle of each stream that is there and may decide.
    pub(super) fn newest_of_streams(&self) -> BTreeMap<&StreamName, (&Entry, &Accepted)> {
        let mut newest = BTreeMap::<_, (&Entry, &Accepted)>::new();
        for entry in self.entries.values().filter(|entry| entry.present()) {
            let Some(accepted) = entry.accepted() else { continue };
            let stock = &accepted.stock;
            if self.judged_by.standing(&stock.stream, &stock.mark()) != Standing::Current {
                continue;
            }
            let best = newest.entry(&stock.stream).or_insert((entry, accepted));
            if stock.sequence > best.1.stock.sequence {
                *best = (entry, accepted);
            }
        }
        newest
    }

    /// Applies the sets of the newest bundle of each stream, after the mark of the stream was raised to it.
    pub(super) async fn apply_sets(&mut self) {
        let now = Timestamp::now();
        if !self.config.apply_sets || self.apply_at.is_some_and(|at| now < at) {
            return;
        }
        let newest = self.newest_of_streams().into_values().filter(|(entry, accepted)| {
            let applied = self.applied.get(&accepted.stock.digest);
            let all = |applied: &Vec<Applied>| applied.iter().all(|set| matches!(set, Applied::At(_)));
            entry.ready(self.config.intake.check_first)
                && !applied.is_some_and(all)
                && self.cluster.written.contains_key(&entry.name)
        });
        let due = newest.map(|(entry, accepted)| {
            let (stream, mark) = (accepted.stock.stream.clone(), accepted.stock.mark());
            (entry.name.clone(), Arc::clone(&accepted.held), stream, mark)
        });
        for (name, held, stream, mark) in due.collect::<Vec<_>>() {
            self.beat();
            if let Err(error) = self.marks.raise(&stream, &mark).await {
                tracing::warn!(bundle = name, %error, "the sets of the bundle are not applied");
                self.apply_at = now.checked_add(APPLY_AGAIN).ok();
                continue;
            }
            let (digest, sets) = (held.bundle.digest(), held.bundle.sets());
            let before = self.applied.remove(&digest);
            let mut applied = before.unwrap_or_else(|| vec![Applied::Due; sets.len()]);
            for (set, applied) in sets.iter().zip(&mut applied) {
                if matches!(applied, Applied::At(_)) {
                    continue;
                }
                self.beat();
                *applied = self.cluster.apply_set(&name, set).await;
                if *applied == Applied::Due {
                    // Each further set would wait for the API server as long.
                    break;
                }
            }
            if applied.iter().any(|set| !matches!(set, Applied::At(_))) {
                self.apply_at = now.checked_add(APPLY_AGAIN).ok();
            }
            let is_silent = applied.contains(&Applied::Due);
            self.applied.insert(digest, applied);
            if is_silent {
                break;
            }
        }
    }
}
