// SPDX-License-Identifier: Apache-2.0
//! The files of the drop folder, and the marks that they are judged by: what scans, full verifications and transfers find
//! changes them, and what all of them together decide is asked of them. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use jiff::Timestamp;
use krs_core::bundle::StreamName;
use krs_core::crd::ImageBundleStatus;
use krs_core::oci::digest::Digest;

use super::accepted::AcceptedBundle;
use super::ahead::Times;
use super::conditions;
use super::entries;
use super::entry::{Entry, State};
use super::finding::{File, Finding, Known, Scan};
use super::names;
use super::rejection::{self, Failure, Kind};
use super::trouble::hanging;
use super::usage::Usage;
use super::verification::{End, FullVerification};
use super::watchdog::Hangs;
use crate::adapters::bundle_store::{OpenBundle, ReadFault};
use crate::model::bundle_inventory::BundleInventory;
use crate::model::marks::{MarkComparison, Marks};
use crate::model::required_images::RequiredImages;

/// The files of all scans, by path, and what is known of each.
#[derive(Debug, Default)]
pub(super) struct Files {
    /// By their path below the drop folder.
    entries: BTreeMap<Utf8PathBuf, Entry>,
    /// The marks that they were last judged by.
    marks: Arc<Marks>,
    /// Whether a scan was taken in.
    is_scanned: bool,
}

/// What names of ImageBundles depend on.
#[derive(Clone, Copy)]
pub(super) struct Naming<'a> {
    /// Names that ImageBundles of other importers have.
    pub foreign: &'a BTreeSet<String>,
    /// Namespace of this importer.
    pub importer: &'a str,
}

impl Files {
    pub(super) const fn entries(&self) -> &BTreeMap<Utf8PathBuf, Entry> {
        &self.entries
    }

    pub(super) const fn marks(&self) -> &Arc<Marks> {
        &self.marks
    }

    pub(super) const fn is_scanned(&self) -> bool {
        self.is_scanned
    }

    /// Takes in the ImageBundle of an earlier run.
    pub(super) fn load(
        &mut self,
        name: &str,
        file: &str,
        status: Option<&ImageBundleStatus>,
        now: Timestamp,
    ) {
        let mut entry = Entry::new(name.to_owned(), conditions::absent_since(status).unwrap_or(now));
        entry.earlier = status.cloned();
        entry.recorded = entry.digest().filter(|_| conditions::was_recorded(status));
        self.entries.insert(file.into(), entry);
    }

    /// What the next scan has to know.
    pub(super) fn known(&self, clock: Timestamp) -> BTreeMap<Utf8PathBuf, Known> {
        let known = self.entries.iter().map(|(path, entry)| {
            let again = matches!(entry.state, State::New) || entry.is_due(clock);
            (path.clone(), Known { stamp: entry.stamp, again })
        });
        known.collect()
    }

    /// Takes in what a scan found.
    pub(super) fn take_in(&mut self, scan: Scan, naming: Naming<'_>, now: Timestamp) {
        let there = scan.files.iter().map(|file| file.path.clone()).collect::<BTreeSet<_>>();
        let mut is_any_lost = false;
        for (path, entry) in &mut self.entries {
            let hangs = scan.hanging.iter().find(|(folder, _)| {
                // Without the drop folder nothing below it can be reached either.
                folder.as_str().is_empty() || path.parent() == Some(folder.as_path())
            });
            // A folder that says nothing of its files; a single file.
            let candidates = [Some(Utf8Path::new("")), path.parent(), Some(path.as_path())];
            let unreadable =
                candidates.into_iter().flatten().find_map(|candidate| scan.unreadable.get(candidate));
            if let (Some((folder, hangs)), Some(_)) = (hangs, entry.stamp) {
                entry.hangs(&hanging(folder, *hangs), now);
            } else if let (Some(why), Some(_), false) = (unreadable, entry.stamp, there.contains(path)) {
                entry.hangs(&rejection::sentence(why, None), now);
            } else if !there.contains(path) && entry.stamp.is_some() {
                entry.gone();
                is_any_lost = true;
            }
        }
        if is_any_lost {
            // What it contradicted may be right now.
            self.retry(|state| matches!(state, State::Refused { reason: rejection::REUSED, .. }), now);
        }
        let mut opened = Vec::new();
        for File { path, stamp, media, finding } in scan.files {
            if let Finding::Opened(Ok(accepted)) = &finding {
                opened.push(path.clone());
                if !self.entries.contains_key(&path) {
                    self.follow_media(&path, &accepted.stock.digest);
                }
            }
            if !self.entries.contains_key(&path) {
                let name = self.name(&path, naming);
                self.entries.insert(path.clone(), Entry::new(name, now));
            }
            if let Some(entry) = self.entries.get_mut(&path) {
                entry.media = media;
                entry.found(stamp, finding, now);
            }
        }
        entries::refuse_reused(&mut self.entries, &opened);
        self.is_scanned = true;
    }

    /// Has files opened again by the next scan.
    pub(super) fn retry(&mut self, which: impl Fn(&State) -> bool, now: Timestamp) {
        for entry in self.entries.values_mut().filter(|entry| which(&entry.state)) {
            entry.retry_at = Some(now);
        }
    }

    /// Media that were pulled and put into another port are the same media: what was known of the file holds for its new
    /// path, and its ImageBundle continues.
    fn follow_media(&mut self, path: &Utf8Path, digest: &Digest) {
        let is_it = |entry: &Entry| entry.stamp.is_none() && entry.digest() == Some(*digest);
        let old = self.entries.iter().find(|(_, entry)| is_it(entry)).map(|(old, _)| old.clone());
        if let Some(entry) = old.and_then(|old| self.entries.remove(&old)) {
            self.entries.insert(path.to_owned(), entry);
        }
    }

    /// A name for the ImageBundle of a file, which no other file has, nor an ImageBundle of another importer.
    fn name(&self, path: &Utf8Path, naming: Naming<'_>) -> String {
        let own = self.entries.iter().map(|(path, entry)| (entry.name.clone(), path.to_string()));
        let foreign = naming.foreign.iter().map(|name| (name.clone(), String::new()));
        names::name(path.as_str(), &own.chain(foreign).collect(), naming.importer)
    }

    /// Gives files other names whose names another importer has taken.
    pub(super) fn rename(&mut self, is_own: impl Fn(&str) -> bool, naming: Naming<'_>) {
        let is_taken = |entry: &Entry| naming.foreign.contains(&entry.name) && !is_own(&entry.name);
        let taken = self.entries.iter().filter(|(_, entry)| is_taken(entry)).map(|(path, _)| path.clone());
        for path in taken.collect::<Vec<_>>() {
            let name = self.name(&path, naming);
            if let Some(entry) = self.entries.get_mut(&path) {
                entry.name = name;
            }
        }
    }

    /// Takes in the result of a full verification.
    pub(super) fn verified(&mut self, verification: &FullVerification, end: End, now: Timestamp) {
        let Some(entry) = self.entries.get_mut(&verification.path) else { return };
        let accepted = entry.accepted().filter(|accepted| verification.reads(&accepted.held.bundle));
        let Some(digest) = accepted.map(|accepted| accepted.stock.digest) else { return };
        match end {
            Some(Ok(true)) => {
                (entry.verified, entry.suspect, entry.failures) = (Some(digest), None, 0);
            }
            Some(Ok(false)) => {}
            Some(Err(error)) => {
                let Failure { kind, message, .. } = rejection::judge(&error);
                match kind {
                    Kind::Refused => entry.damaged(message),
                    Kind::Media | Kind::Incomplete => entry.media_failed(message, now),
                }
            }
            None => entry.media_failed("reading was interrupted".to_owned(), now),
        }
    }

    /// Leaves media alone that stopped answering: all that lies on them counts as unreadable.
    pub(super) fn hang(&mut self, media: &Utf8Path, hangs: Hangs, now: Timestamp) {
        let text = hanging(media, hangs);
        for entry in self.entries.values_mut().filter(|entry| entry.stamp.is_some() && entry.media == media) {
            entry.hangs(&text, now);
        }
    }

    /// Takes in what a transfer found that reads from `offered`.
    pub(super) fn fault(&mut self, offered: &Arc<OpenBundle>, fault: &ReadFault, now: Timestamp) {
        let is_it = |accepted: &AcceptedBundle| Arc::ptr_eq(&accepted.held, offered);
        let entry = self.entries.values_mut().find(|entry| entry.accepted().is_some_and(is_it));
        let Some(entry) = entry else { return };
        let message = rejection::sentence(&fault.message, None);
        if fault.damaged {
            entry.damaged(message);
        } else if entry.present() {
            entry.media_failed(message, now);
        }
    }

    /// Judges the files again where a mark changed, or a clock.
    pub(super) fn judge(
        &mut self,
        marks: Arc<Marks>,
        times: &Times,
        is_confirmed: impl Fn(&str, &Digest) -> bool,
    ) {
        if marks != self.marks {
            self.marks = marks;
            self.retry(|state| matches!(state, State::Refused { reason: rejection::REUSED, .. }), times.site);
        }
        let taken_in = entries::judge_ahead(&mut self.entries, &self.marks, times, is_confirmed);
        entries::refuse_reused(&mut self.entries, &taken_in);
        entries::judge_again(&mut self.entries, &self.marks);
        entries::remember_recorded(&mut self.entries, &self.marks);
    }

    /// Remembers which bundles were imported. `usages` are those of the files, in their order.
    pub(super) fn remember_imported(&mut self, usages: &[Usage]) {
        entries::remember_imported(&mut self.entries, usages);
    }

    /// What others see.
    pub(super) fn stock(&self, demand: &RequiredImages, check_first: bool, shared: bool) -> BundleInventory {
        entries::stock(&self.entries, demand, &self.marks, check_first, self.is_scanned, shared)
    }

    /// The newest time that a bundle told whose signature was right, as far as that may be. (T-30)
    pub(super) fn newest(&self, times: &Times) -> Option<Timestamp> {
        let accepted = self.entries.values().filter_map(Entry::accepted);
        let accepted = accepted.filter(|accepted| !accepted.held.bundle.signers().is_empty());
        let marks = self.marks.iter().map(|(_, mark)| mark.created_at);
        times.newest(accepted.map(|accepted| accepted.stock.created_at).chain(marks))
    }

    /// The newest bundle of each stream that is present and may decide.
    pub(super) fn newest_of_streams(&self) -> BTreeMap<&StreamName, (&Entry, &AcceptedBundle)> {
        let mut newest = BTreeMap::<_, (&Entry, &AcceptedBundle)>::new();
        for entry in self.entries.values().filter(|entry| entry.present()) {
            let Some(accepted) = entry.accepted() else { continue };
            let stock = &accepted.stock;
            if self.marks.standing(&stock.stream, &stock.mark()) != MarkComparison::Current {
                continue;
            }
            let best = newest.entry(&stock.stream).or_insert((entry, accepted));
            if stock.sequence > best.1.stock.sequence {
                *best = (entry, accepted);
            }
        }
        newest
    }

    /// Files that are absent for longer than `keep`, or that lie elsewhere now, with their names.
    pub(super) fn outdated(&self, keep: Duration, now: Timestamp) -> Vec<(Utf8PathBuf, String)> {
        let old = |entry: &Entry| entry.last_seen.checked_add(keep).is_ok_and(|until| until < now);
        let there = self.entries.values().filter(|entry| entry.stamp.is_some());
        let there = there.filter_map(Entry::digest).collect::<BTreeSet<_>>();
        let moved = |entry: &Entry| entry.digest().is_some_and(|digest| there.contains(&digest));
        let outdated =
            self.entries.iter().filter(|(_, entry)| entry.stamp.is_none() && (old(entry) || moved(entry)));
        outdated.map(|(path, entry)| (path.clone(), entry.name.clone())).collect()
    }

    pub(super) fn remove(&mut self, path: &Utf8Path) {
        self.entries.remove(path);
    }
}
