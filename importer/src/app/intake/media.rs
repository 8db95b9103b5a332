// SPDX-License-Identifier: Apache-2.0
//! What looks at the drop folder, passes over media and transfers found, and what may be read from.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use krs_core::oci::digest::Digest;

use super::Intake;
use super::entries;
use super::entry::{Accepted, Entry, State};
use super::folder;
use super::look::{File, Finding, Look};
use super::names;
use super::pass::{End, Pass};
use super::substitutes;
use super::verdict::{self, Failure, Kind};
use super::watchdog::Hangs;
use crate::adapters::library::ReadFault;
use crate::adapters::metrics::unix_seconds;
use crate::model::demand::Demand;

/// How long after the last byte a file is closed.
const IDLE: Duration = Duration::from_secs(2);
/// Most folders and files that cannot be read and that a message names; it counts the rest.
const MAX_UNREADABLE: usize = 3;
/// Most media that are read to their end at once.
const MAX_PASSES: usize = 4;

impl Intake {
    pub(super) fn take_in(&mut self, look: Look) {
        let now = (self.clock)();
        self.keys = look.keys;
        let there = look.files.iter().map(|file| file.path.clone()).collect::<BTreeSet<_>>();
        let all = look.hanging.iter().chain(&look.unread).map(|(media, hangs)| (media.clone(), *hangs));
        let all = all.collect();
        self.note_trouble(all, look.unreadable, &look.left_out);
        let mut lost = false;
        for (path, entry) in &mut self.entries {
            let hangs = look.hanging.iter().find(|(folder, _)| {
                // Without the drop folder nothing below it can be reached either.
                folder.as_str().is_empty() || path.parent() == Some(folder.as_path())
            });
            // A folder that says nothing of its files; a single file.
            let places = [Some(Utf8Path::new("")), path.parent(), Some(path.as_path())];
            let mut places = places.into_iter().flatten();
            let unreadable = places.find_map(|place| self.unreadable.get(place));
            if let (Some((folder, hangs)), Some(_)) = (hangs, entry.stamp) {
                entry.hangs(&hanging(folder, *hangs), now);
            } else if let (Some(why), Some(_), false) = (unreadable, entry.stamp, there.contains(path)) {
                entry.hangs(&verdict::sentence(why, None), now);
            } else if !there.contains(path) && entry.stamp.is_some() {
                entry.gone();
                lost = true;
            }
        }
        if lost {
            // What it contradicted may be right now.
            self.retry(|state| matches!(state, State::Refused { reason: verdict::REUSED, .. }));
        }
        let mut opened = Vec::new();
        for File { path, stamp, media, finding } in look.files {
            if matches!(finding, Finding::Opened(Ok(_))) {
                opened.push(path.clone());
            }
            if let Finding::Opened(Ok(accepted)) = &finding
                && !self.entries.contains_key(&path)
            {
                self.follow_media(&path, &accepted.stock.digest);
            }
            if !self.entries.contains_key(&path) {
                let name = self.name(&path);
                self.entries.insert(path.clone(), Entry::new(name, now));
            }
            if let Some(entry) = self.entries.get_mut(&path) {
                entry.media = media;
                entry.found(stamp, finding, now);
            }
        }
        entries::refuse_reused(&mut self.entries, &opened);
        self.scanned = true;
        self.metrics.scan_success.set(unix_seconds());
    }

    /// A name for the ImageBundle of a file, which no other file has, nor an ImageBundle of another importer.
    pub(super) fn name(&self, path: &Utf8Path) -> String {
        let own = self.entries.iter().map(|(path, entry)| (entry.name.clone(), path.to_string()));
        let foreign = self.cluster.foreign().iter().map(|name| (name.clone(), String::new()));
        names::name(path.as_str(), &own.chain(foreign).collect(), &self.config.namespace)
    }

    /// Media that were pulled and put into another port are the same media: what was known of the file holds for its new
    /// path, and its ImageBundle goes on.
    fn follow_media(&mut self, path: &Utf8Path, digest: &Digest) {
        let is_it = |entry: &Entry| entry.stamp.is_none() && entry.digest() == Some(*digest);
        let old = self.entries.iter().find(|(_, entry)| is_it(entry)).map(|(old, _)| old.clone());
        if let Some(entry) = old.and_then(|old| self.entries.remove(&old)) {
            self.entries.insert(path.to_owned(), entry);
        }
    }

    /// Remembers which media hang, and what cannot be read, for people.
    fn note_trouble(
        &mut self,
        hanging: BTreeMap<Utf8PathBuf, Hangs>,
        unreadable: BTreeMap<Utf8PathBuf, String>,
        left_out: &[String],
    ) {
        let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.trouble = trouble(&hanging, &unreadable, left_out, self.trouble.as_deref());
        self.metrics.hanging_folders.set(count(hanging.len()));
        self.metrics.unreadable_entries.set(count(unreadable.len()));
        (self.hanging, self.unreadable, self.left_out) = (hanging, unreadable, left_out.to_vec());
    }

    /// Waits until a pass has ended.
    pub(super) async fn pass_ended(passes: &mut BTreeMap<Utf8PathBuf, Pass>) -> (Utf8PathBuf, End) {
        std::future::poll_fn(|context| {
            for (media, pass) in &mut *passes {
                if let Poll::Ready(end) = pass.poll_end(context) {
                    return Poll::Ready((media.clone(), end));
                }
            }
            Poll::Pending
        })
        .await
    }

    pub(super) fn end_pass(&mut self, media: &Utf8Path, end: End) {
        let Some(pass) = self.passes.remove(media).filter(|pass| !pass.is_stopped()) else { return };
        let Some(entry) = self.entries.get_mut(&pass.path) else { return };
        let accepted = entry.accepted().filter(|accepted| pass.reads(&accepted.held.bundle));
        let Some(digest) = accepted.map(|accepted| accepted.stock.digest) else { return };
        let now = (self.clock)();
        match end {
            Some(Ok(true)) => {
                (entry.proven, entry.suspect, entry.failures) = (Some(digest), None, 0);
            }
            Some(Ok(false)) => {}
            Some(Err(error)) => {
                let Failure { kind, message, .. } = verdict::judge(&error);
                match kind {
                    Kind::Refused => entry.damaged(message),
                    Kind::Medium | Kind::Incomplete => entry.medium_failed(message, now),
                }
            }
            None => entry.medium_failed("the reading broke off".to_owned(), now),
        }
    }

    /// Leaves media alone from which a pass has read nothing for too long: all that lies on them counts as unreadable until
    /// the thread that reads returns. (T-192)
    pub(super) fn give_up_stalled_passes(&mut self) {
        let mut stalled = Vec::new();
        for (media, pass) in &mut self.passes {
            stalled.extend(pass.give_up_if_stalled(Instant::now()).map(|hangs| (media.clone(), hangs)));
        }
        for (media, hangs) in stalled {
            self.passes.remove(&media);
            let (text, now) = (hanging(&media, hangs), (self.clock)());
            for entry in
                self.entries.values_mut().filter(|entry| entry.stamp.is_some() && entry.media == media)
            {
                entry.hangs(&text, now);
            }
            let (mut all, left_out) = (std::mem::take(&mut self.hanging), std::mem::take(&mut self.left_out));
            all.insert(media, hangs);
            let unreadable = std::mem::take(&mut self.unreadable);
            self.note_trouble(all, unreadable, &left_out);
        }
    }

    /// What a transfer found.
    pub(super) fn fault(&mut self, fault: &ReadFault) {
        let Some(offered) = self.offered.get(&fault.bundle) else { return };
        let is_it = |accepted: &Accepted| Arc::ptr_eq(&accepted.held, offered);
        let entry = self.entries.values_mut().find(|entry| entry.accepted().is_some_and(is_it));
        let Some(entry) = entry else { return };
        let message = verdict::sentence(&fault.message, None);
        let now = (self.clock)();
        if fault.damaged {
            entry.damaged(message);
        } else if entry.present() {
            entry.medium_failed(message, now);
        }
    }

    /// Gives the library what may be read from, takes back the rest, and closes files that nobody reads.
    pub(super) fn offer(&mut self) {
        let mut wanted = HashMap::new();
        for entry in self.entries.values().filter(|entry| entry.present()) {
            if let Some(accepted) = entry.accepted().filter(|_| entry.ready(self.config.intake.check_first)) {
                wanted.entry(accepted.stock.digest).or_insert_with(|| Arc::clone(&accepted.held));
            }
        }
        for (digest, held) in std::mem::take(&mut self.offered) {
            if !wanted.get(&digest).is_some_and(|wanted| Arc::ptr_eq(wanted, &held)) {
                self.library.remove(&digest);
                if !self.closing.iter().any(|other| Arc::ptr_eq(other, &held)) {
                    self.closing.push(held);
                }
            }
        }
        for (digest, held) in &wanted {
            let same = self.library.get(digest).is_some_and(|old| Arc::ptr_eq(&old, held));
            if !same {
                self.library.put(Arc::clone(held));
            }
        }
        self.offered = wanted;
        for accepted in self.entries.values().filter_map(Entry::opened) {
            accepted.held.bundle.close_if_idle(IDLE);
        }
        // Whoever still reads from one of these holds it, too; so does the entry of a file that is away.
        let entries = &self.entries;
        self.closing.retain(|held| {
            let is_it = |accepted: &&Accepted| Arc::ptr_eq(&accepted.held, held);
            let entries = entries.values().filter_map(Entry::opened).filter(is_it).count();
            !held.bundle.close_if_idle(IDLE) || Arc::strong_count(held) > 1 + entries
        });
    }

    /// Tells the library from where running Jobs read whose bundles are away.
    pub(super) fn substitute(&mut self, demand: &Demand) {
        let substitutes = substitutes::substitutes(&self.entries, &self.offered, demand);
        if self.substitutes != substitutes {
            self.library.substitute(substitutes.clone());
            self.substitutes = substitutes;
        }
    }

    /// Each of the media is read to its end, one bundle at a time, and few media at once.
    pub(super) fn next_pass(&mut self) {
        let entries = &self.entries;
        let due = |entry: &&Entry| entry.present() && !entry.is_proven();
        for (media, pass) in &self.passes {
            let entry = entries.get(&pass.path).filter(due).filter(|entry| entry.media == *media);
            let accepted = entry.and_then(Entry::accepted);
            if !accepted.is_some_and(|accepted| pass.reads(&accepted.held.bundle)) {
                pass.stop();
            }
        }
        for (path, entry) in entries.iter().filter(|(_, entry)| due(entry)) {
            if self.passes.len() >= MAX_PASSES {
                break;
            }
            let Some(accepted) = entry.accepted().filter(|_| !self.passes.contains_key(&entry.media)) else {
                continue;
            };
            let bundle = Arc::clone(&accepted.held.bundle);
            let pass = Pass::start(&entry.media, path.clone(), bundle, &self.pass_options, &self.watchdog);
            // Media that hang are told of by the next look, which finds them so.
            self.passes.extend(pass.ok().map(|pass| (entry.media.clone(), pass)));
        }
    }
}

/// Media that do not answer, in words.
pub(super) fn hanging(media: &Utf8Path, hangs: Hangs) -> String {
    let name = || krs_core::redact::printable(media.as_str(), 100);
    let media = match media.as_str() {
        "" => "the drop folder".to_owned(),
        path if path.ends_with(folder::SUFFIX) => format!("a folder with volumes of {}", name()),
        _ => format!("folder {}", name()),
    };
    match hangs {
        Hangs::Since(since) => {
            let since = since.round(jiff::Unit::Second).unwrap_or(since);
            format!(
                "{media} does not answer since {since}: check the medium, or the server that it is mounted from"
            )
        }
        Hangs::TooMany => {
            format!("{media} is not read: too many other folders do not answer; check these first")
        }
    }
}

/// What keeps the drop folder from being read; said in the log when it changes.
fn trouble(
    hangs: &BTreeMap<Utf8PathBuf, Hangs>,
    unreadable: &BTreeMap<Utf8PathBuf, String>,
    left_out: &[String],
    before: Option<&str>,
) -> Option<String> {
    let mut parts = hangs.iter().map(|(media, hangs)| hanging(media, *hangs)).collect::<Vec<_>>();
    parts.extend(unreadable.values().take(MAX_UNREADABLE).cloned());
    let more = unreadable.len().saturating_sub(MAX_UNREADABLE);
    parts.extend((more > 0).then(|| format!("{more} more files or folders cannot be read")));
    parts
        .extend(left_out.iter().map(|what| format!("the drop folder holds {what}, which wait: remove some")));
    let now = (!parts.is_empty()).then(|| verdict::sentence(&parts.join("; "), None));
    match &now {
        Some(now) if before != Some(now.as_str()) => tracing::warn!(reason = "DropFolder", "{now}"),
        None if before.is_some() => tracing::info!(reason = "DropFolder", "the drop folder is read again"),
        _ => {}
    }
    now
}

#[cfg(test)]
#[path = "hanging_tests.rs"]
mod tests;
