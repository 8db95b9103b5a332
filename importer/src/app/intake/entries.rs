// SPDX-License-Identifier: Apache-2.0
//! What all files of the drop folder together decide. Pure.

use std::collections::{BTreeMap, BTreeSet};

use camino::Utf8PathBuf;
use krs_core::bundle::{BundleError, RollbackError};
use krs_core::oci::digest::Digest;

use super::accepted::AcceptedBundle;
use super::ahead::{self, Times};
use super::entry::{Entry, State};
use super::rejection::{self, Failure, sentence};
use super::usage::Usage;
use crate::engine::needed;
use crate::model::bundle_inventory::{BundleInventory, Refusal, StockBundle};
use crate::model::marks::{MarkComparison, Marks};
use crate::model::required_images::RequiredImages;

/// Refuses bundles that use the number of another one in the folder for other content; the one that was there before, or
/// whose path comes first, counts. (T-28)
pub(super) fn refuse_reused(entries: &mut BTreeMap<Utf8PathBuf, Entry>, opened: &[Utf8PathBuf]) {
    for path in opened {
        let Some(this) = entries.get(path).and_then(Entry::accepted) else { continue };
        let (stream, sequence, identity) =
            (this.stock.stream.clone(), this.stock.sequence, this.held.bundle.identity());
        let before = |other: &Utf8PathBuf| !opened.contains(other) || other < path;
        let there = entries.iter().filter(|(_, entry)| entry.stamp.is_some());
        let clash = there.filter(|(other, _)| *other != path && before(other)).find(|(_, entry)| {
            entry.accepted().is_some_and(|other| {
                let same = other.stock.stream == stream && other.stock.sequence == sequence;
                same && other.held.bundle.identity() != identity
            })
        });
        let Some((other, _)) = clash else { continue };
        let text = format!(
            "{path} and {other} have the same sequence {sequence} of stream `{stream}` and other content"
        );
        let message = sentence(&text, Some("ask the sender which one counts, and remove the other"));
        if let Some(entry) = entries.get_mut(path) {
            entry.state = State::Refused { reason: rejection::REUSED, message };
        }
    }
}

/// Refuses accepted bundles whose number was used for other content. Whether a bundle is superseded is not kept but compared
/// again each time: it may change with every mark.
pub(super) fn judge_again(entries: &mut BTreeMap<Utf8PathBuf, Entry>, marks: &Marks) {
    for (path, entry) in entries {
        let Some(accepted) = entry.accepted() else { continue };
        let stock = &accepted.stock;
        let MarkComparison::Reused { expected } = marks.standing(&stock.stream, &stock.mark()) else {
            continue;
        };
        let (stream, sequence, got) = (stock.stream.clone(), stock.sequence, stock.identity);
        let source = RollbackError::Reused { stream, sequence, expected, got };
        let Failure { reason, message, .. } =
            rejection::judge(&BundleError::Rollback { path: path.clone(), source });
        entry.state = State::Refused { reason, message };
    }
}

/// Puts aside bundles whose sequence is too far ahead and that `is_confirmed` does not know by their ImageBundle and digest,
/// and takes in again those that are not or were confirmed. Answers which were taken in. (T-215)
pub(super) fn judge_ahead(
    entries: &mut BTreeMap<Utf8PathBuf, Entry>,
    marks: &Marks,
    times: &Times,
    is_confirmed: impl Fn(&str, &Digest) -> bool,
) -> Vec<Utf8PathBuf> {
    let mut taken_in = Vec::new();
    for (path, entry) in entries {
        let Some(AcceptedBundle { stock, .. }) = entry.opened() else { continue };
        let ahead = if is_confirmed(&entry.name, &stock.digest) {
            None
        } else {
            ahead::check(stock.sequence, stock.created_at, marks.get(&stock.stream), times)
        };
        entry.state = match (std::mem::replace(&mut entry.state, State::New), ahead) {
            (State::Accepted(accepted), Some(ahead)) => State::Ahead(accepted, ahead),
            (State::Ahead(accepted, _), None) => {
                taken_in.push(path.clone());
                State::Accepted(accepted)
            }
            // The times that it was put aside by stay, lest its status be written all the time.
            (state, _) => state,
        };
    }
    taken_in
}

/// Remembers which manifests the marks have reached; a copy of the same manifest need not be recorded again.
pub(super) fn remember_recorded(entries: &mut BTreeMap<Utf8PathBuf, Entry>, marks: &Marks) {
    let reached =
        |entry: &Entry| entry.stream().is_some_and(|(stream, sequence)| marks.has_reached(&stream, sequence));
    let recorded = entries.values().filter(|entry| entry.was_recorded() || reached(entry));
    let recorded = recorded.filter_map(Entry::digest).collect::<BTreeSet<_>>();
    for entry in entries.values_mut() {
        if let Some(digest) = entry.digest().filter(|digest| recorded.contains(digest)) {
            entry.recorded = Some(digest);
        }
    }
}

/// Remembers of which bundles that are there the sets need nothing more: their marks are raised also once they are away. A
/// bundle that was taken out before must not raise one, for another one may be used in its place. (T-252)
pub(super) fn remember_imported(entries: &mut BTreeMap<Utf8PathBuf, Entry>, usages: &[Usage]) {
    let there = entries.values_mut().zip(usages).filter(|(entry, _)| entry.stamp.is_some());
    for (entry, _) in there.filter(|(_, usage)| usage.imported()) {
        entry.imported = entry.accepted().map(|accepted| accepted.stock.digest);
    }
}

/// What others see. Bundles whose media are away are listed while a set will copy something that they hold.
pub(super) fn stock(
    entries: &BTreeMap<Utf8PathBuf, Entry>,
    demand: &RequiredImages,
    marks: &Marks,
    check_first: bool,
    scanned: bool,
    shared: bool,
) -> BundleInventory {
    let mut stock = BundleInventory { scanned, shared, ..BundleInventory::default() };
    for entry in entries.values() {
        match &entry.state {
            State::Accepted(accepted)
                if entry.present() || needed::holds_missing(&accepted.stock, demand, shared) =>
            {
                let (present, ready) = (entry.present(), entry.ready(check_first));
                let standing = marks.standing(&accepted.stock.stream, &accepted.stock.mark());
                stock.bundles.push(StockBundle { present, ready, standing, ..accepted.stock.clone() });
            }
            State::Refused { reason, message } if entry.stamp.is_some() => stock.refused.push(Refusal {
                name: entry.name.clone(),
                reason: (*reason).to_owned(),
                message: message.clone(),
            }),
            State::Ahead(accepted, ahead) if entry.stamp.is_some() => stock.refused.push(Refusal {
                name: entry.name.clone(),
                reason: rejection::AHEAD.to_owned(),
                message: ahead.message(&entry.name, &accepted.stock.stream, &accepted.stock.digest),
            }),
            _ => {}
        }
    }
    stock.bundles.sort_by(|a, b| {
        a.stream.cmp(&b.stream).then(b.sequence.cmp(&a.sequence)).then_with(|| a.name.cmp(&b.name))
    });
    stock
}
