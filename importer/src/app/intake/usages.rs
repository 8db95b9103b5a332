// SPDX-License-Identifier: Apache-2.0
//! What each file of the drop folder is needed for. Pure.

use tokio::time::Instant;

use super::accepted::AcceptedBundle;
use super::entry::Entry;
use super::files::Files;
use super::kept::Kept;
use super::offers::Offers;
use super::substitutes;
use super::usage::Usage;
use crate::engine::needed::{self, NameList};
use crate::model::bundle_inventory::BundleInventory;
use crate::model::marks::MarkComparison;
use crate::model::required_images::{RequiredImages, SetDemand};

/// What usages depend on.
#[derive(Clone, Copy)]
pub(super) struct Inputs<'a> {
    pub files: &'a Files,
    pub kept: &'a Kept,
    pub offers: &'a Offers,
    pub demand: &'a RequiredImages,
    pub stock: &'a BundleInventory,
    /// Whether the sets of bundles are applied.
    pub applies_sets: bool,
    /// Whether the site shares the images of bundles across namespaces.
    pub shared: bool,
}

/// What each file is needed for, in the order of the files.
pub(super) fn usages(inputs: Inputs<'_>) -> Vec<Usage> {
    let Inputs { files, kept, offers, demand, stock, applies_sets, shared } = inputs;
    let mut pending = needed::pending(demand, stock);
    let newest = files.newest_of_streams();
    let is_applied = |accepted: &AcceptedBundle| {
        let newest = newest.get(&accepted.stock.stream);
        applies_sets && newest.is_some_and(|(_, newest)| newest.stock.digest == accepted.stock.digest)
    };
    let usage = |entry: &Entry| {
        let mut usage = judged(entry, files, kept);
        let Some(accepted) = entry.accepted() else { return usage };
        let digest = accepted.stock.digest;
        let mut not_applied = NameList::default();
        if is_applied(accepted) {
            let sets = accepted.held.bundle.sets();
            let applied = kept.applied.get(&digest).map(Vec::as_slice);
            not_applied = needed::not_applied(sets, applied, demand, Instant::now());
            usage.sets_applied = needed::refusals(sets, applied);
        }
        usage.may_be_imported = entry.may_be_imported();
        usage.complete = demand.complete;
        usage.pending = pending.remove(&digest).unwrap_or_default().and(not_applied);
        usage.missing = needed::missing(&accepted.stock, demand, shared);
        let copies = |set: &SetDemand| substitutes::copies_from(set, &digest, offers.substitutes());
        usage.copying = demand.sets.values().any(|set| copies(set.as_ref()));
        usage.open = accepted.held.bundle.is_open() || offers.is_closing(&digest);
        usage
    };
    files.entries().values().map(usage).collect()
}

/// What the marks say of a file.
fn judged(entry: &Entry, files: &Files, kept: &Kept) -> Usage {
    let standing = entry.mark().map(|(stream, mark)| files.marks().standing(&stream, &mark));
    // Whether it still is cannot be said of a mark that cannot be read.
    let unknown = matches!(standing, Some(MarkComparison::Unknown { .. }));
    let not_recorded = entry.stream().and_then(|(stream, _)| kept.not_recorded.get(&stream).cloned());
    Usage {
        standing: standing.unwrap_or(MarkComparison::Current),
        recorded: entry.was_recorded() && !unknown,
        not_recorded,
        ..Usage::default()
    }
}

/// Compares the files with the marks again. What the sets need of them is as it was, except of files that are refused now.
pub(super) fn judge_again(usages: &mut [Usage], files: &Files, kept: &Kept) {
    for (entry, usage) in files.entries().values().zip(usages) {
        let judged = judged(entry, files, kept);
        *usage = match entry.accepted() {
            Some(_) => Usage {
                standing: judged.standing,
                recorded: judged.recorded,
                not_recorded: judged.not_recorded,
                ..std::mem::take(usage)
            },
            None => judged,
        };
    }
}
