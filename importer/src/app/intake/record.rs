// SPDX-License-Identifier: Apache-2.0
//! Records in the marks which bundles were imported.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::Intake;
use super::ahead;
use super::entry::{Entry, State};
use super::view::{self, Use};
use crate::model::marks::Standing;

/// How long to wait before a mark is written again after it could not be.
const RAISE_AGAIN: Duration = Duration::from_secs(5);

impl Intake {
    /// Raises the marks to bundles that are imported, before anybody is told that their media may be pulled. The file need
    /// not be there any more, nor this process be the one that imported it. Each bundle raises its mark here once: a mark
    /// that a person lowered or removed since stays so.
    pub(super) async fn record_imports(&mut self, usages: &[Use]) {
        let now = Instant::now();
        if self.raise_at.is_some_and(|at| now < at) {
            return;
        }
        self.raise_at = None;
        let due = self.entries.values().zip(usages).filter(|(entry, usage)| {
            let imported = match &entry.state {
                State::Accepted(_) => usage.imported() && entry.is_proven(),
                _ => view::was_imported(entry.earlier.as_ref()) && self.may_have_been_used(entry),
            };
            imported && !usage.recorded && usage.standing == Standing::Current
        });
        let mut highest = BTreeMap::new();
        for (stream, mark) in due.filter_map(|(entry, _)| entry.mark()) {
            let best = highest.entry(stream).or_insert_with(|| mark.clone());
            if mark.sequence > best.sequence {
                *best = mark;
            }
        }
        for (stream, mark) in highest {
            match self.marks.raise(&stream, &mark).await {
                Ok(_) => drop(self.kept.not_recorded.remove(&stream)),
                Err(error) => {
                    tracing::warn!(%stream, sequence = mark.sequence, %error, "the mark cannot be raised");
                    self.kept.not_recorded.insert(stream, krs_core::error::chain(&error));
                    self.raise_at = Some(now + RAISE_AGAIN);
                }
            }
        }
        // Not taken for seen: the stock that others see follows in the next round.
        let marks = self.marks_seen.borrow().clone();
        if let Some(marks) = marks {
            self.judge(marks);
        }
    }

    /// Whether the sequence of a file that is away, as its ImageBundle tells it, would be used if the file was there. While the
    /// importer is stopped anybody with the right to do so may write that. (T-215)
    fn may_have_been_used(&self, entry: &Entry) -> bool {
        let (Some((stream, mark)), Some(digest)) = (entry.mark(), entry.digest()) else { return false };
        let ahead = ahead::check(mark.sequence, mark.created_at, self.judged_by.get(&stream), &self.times());
        ahead.is_none() || self.cluster.is_confirmed(&entry.name, &digest)
    }
}
