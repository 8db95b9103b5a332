// SPDX-License-Identifier: Apache-2.0
//! Records in the marks which bundles were imported.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use krs_core::bundle::StreamName;
use krs_core::oci::digest::Digest;
use tokio::time::Instant;

use super::ahead::{self, Times};
use super::conditions;
use super::entry::{Entry, State};
use super::files::Files;
use super::usage::Usage;
use crate::adapters::high_water_marks::HighWaterMarks;
use crate::model::marks::{Mark, MarkComparison, Marks};

/// How long to wait before a mark is written again after it could not be.
const RETRY: Duration = Duration::from_secs(5);

/// Raises marks.
pub(super) struct Recorder {
    marks: Arc<HighWaterMarks>,
    retry_at: Option<Instant>,
}

impl Recorder {
    pub(super) const fn new(marks: Arc<HighWaterMarks>) -> Self {
        Self { marks, retry_at: None }
    }

    pub(super) const fn marks(&self) -> &Arc<HighWaterMarks> {
        &self.marks
    }

    /// Raises the marks to bundles that are imported, before anybody is told that their media may be pulled. The file need
    /// not be there any more, nor this process be the one that imported it. Each bundle raises its mark here once: a mark
    /// that a person lowered or removed since stays so. What could not be written is left in `not_recorded`.
    pub(super) async fn record(
        &mut self,
        imported: BTreeMap<StreamName, Mark>,
        not_recorded: &mut BTreeMap<StreamName, String>,
    ) {
        let now = Instant::now();
        if self.retry_at.is_some_and(|at| now < at) {
            return;
        }
        self.retry_at = None;
        for (stream, mark) in imported {
            match self.marks.raise(&stream, &mark).await {
                Ok(_) => drop(not_recorded.remove(&stream)),
                Err(error) => {
                    tracing::warn!(%stream, sequence = mark.sequence, %error, "the mark cannot be raised");
                    not_recorded.insert(stream, krs_core::error::chain(&error));
                    self.retry_at = Some(now + RETRY);
                }
            }
        }
    }
}

/// The highest mark of each stream that an imported bundle raises. `usages` are those of the files, in their order. Pure.
pub(super) fn imported(
    files: &Files,
    usages: &[Usage],
    times: &Times,
    is_confirmed: impl Fn(&str, &Digest) -> bool,
) -> BTreeMap<StreamName, Mark> {
    let due = files.entries().values().zip(usages).filter(|(entry, usage)| {
        let imported = match &entry.state {
            State::Accepted(_) => usage.imported() && entry.is_verified(),
            _ => {
                conditions::was_imported(entry.earlier.as_ref())
                    && may_have_been_used(entry, files.marks(), times, &is_confirmed)
            }
        };
        imported && !usage.recorded && usage.standing == MarkComparison::Current
    });
    let mut highest = BTreeMap::new();
    for (stream, mark) in due.filter_map(|(entry, _)| entry.mark()) {
        let best = highest.entry(stream).or_insert_with(|| mark.clone());
        if mark.sequence > best.sequence {
            *best = mark;
        }
    }
    highest
}

/// Whether the sequence of a file that is absent, as its ImageBundle tells it, would be used if the file was there. While the
/// importer is stopped anybody with the right to do so may write that. (T-215)
fn may_have_been_used(
    entry: &Entry,
    marks: &Marks,
    times: &Times,
    is_confirmed: impl Fn(&str, &Digest) -> bool,
) -> bool {
    let (Some((stream, mark)), Some(digest)) = (entry.mark(), entry.digest()) else { return false };
    let ahead = ahead::check(mark.sequence, mark.created_at, marks.get(&stream), times);
    ahead.is_none() || is_confirmed(&entry.name, &digest)
}
