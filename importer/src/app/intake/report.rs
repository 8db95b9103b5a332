// SPDX-License-Identifier: Apache-2.0
//! What people see of the files: the statuses of ImageBundles, and metrics.

use std::collections::BTreeMap;

use camino::Utf8Path;
use jiff::Timestamp;
use krs_core::crd::ImageBundleStatus;

use super::entry::{Entry, State};
use super::files::Files;
use super::kept::Kept;
use super::namespaces;
use super::rejection;
use super::usage::Usage;
use super::view::{self, Context};
use super::written::WrittenBundle;
use crate::adapters::metrics::{Metrics, ResultLabels, StreamLabels};
use crate::model::required_images::RequiredImages;

/// What statuses depend on beside the files and their usages.
pub(super) struct Inputs<'a> {
    pub kept: &'a Kept,
    /// The ImageBundles as they were last written, by name.
    pub written: &'a BTreeMap<String, WrittenBundle>,
    /// Bytes that were read of a file that is verified now.
    pub bytes: &'a dyn Fn(&Utf8Path) -> Option<u64>,
    pub now: Timestamp,
    /// The newest time that a trusted bundle has told.
    pub newest: Option<Timestamp>,
    /// Whether the site shares the images of bundles across namespaces.
    pub shared: bool,
}

/// The ImageBundle of a file.
pub(super) struct Report {
    pub name: String,
    pub file: String,
    pub status: ImageBundleStatus,
}

/// Works out which images of bundles sets of other namespaces want, where that is not known yet.
pub(super) fn find_mismatches(kept: &mut Kept, files: &Files, demand: &RequiredImages) {
    for accepted in files.entries().values().filter_map(Entry::accepted) {
        let found = || namespaces::mismatches(&accepted.stock, demand);
        kept.mismatches.entry(accepted.stock.digest).or_insert_with(found);
    }
}

/// The ImageBundles of all files. `usages` are those of the files, in their order. Pure.
pub(super) fn reports(files: &Files, usages: &[Usage], inputs: &Inputs<'_>) -> Vec<Report> {
    let report = |((path, entry), usage): ((&camino::Utf8PathBuf, &Entry), &Usage)| {
        let written = inputs.written.get(&entry.name);
        let context = Context {
            previous: written.and_then(|written| written.status.as_ref()),
            generation: written.map_or(1, |written| written.generation),
            now: inputs.now,
            bytes: (inputs.bytes)(path),
            newest: inputs.newest,
            shared: inputs.shared,
            mismatches: entry.accepted().and_then(|held| inputs.kept.mismatches.get(&held.stock.digest)),
        };
        let status = view::status(entry, path.as_str(), usage, &context);
        Report { name: entry.name.clone(), file: path.to_string(), status }
    };
    files.entries().iter().zip(usages).map(report).collect()
}

/// Sets the metrics of the files and their marks.
pub(super) fn measure(files: &Files, metrics: &Metrics) {
    for (stream, mark) in files.marks().iter() {
        let labels = StreamLabels { stream: stream.to_string() };
        let sequence = i64::try_from(mark.sequence).unwrap_or(i64::MAX);
        metrics.sequence.get_or_create(&labels).set(sequence);
        metrics.created.get_or_create(&labels).set(mark.created_at.as_second());
    }
    let mut refused = rejection::REFUSALS.map(|reason| (reason, 0)).into_iter().collect::<BTreeMap<_, _>>();
    for entry in files.entries().values().filter(|entry| entry.stamp.is_some()) {
        match entry.state {
            State::Refused { reason, .. } => *refused.entry(reason).or_default() += 1,
            State::Ahead(..) => *refused.entry(rejection::AHEAD).or_default() += 1,
            _ => {}
        }
    }
    for (reason, count) in refused {
        let labels = ResultLabels { result: reason.to_owned() };
        metrics.refused.get_or_create(&labels).set(count);
        // A counter that is not there before it counts shows no increase.
        drop(metrics.verifications.get_or_create(&labels));
    }
}
