// SPDX-License-Identifier: Apache-2.0
//! What looks at the drop folder, passes over media and transfers found, and what may be read from.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use jiff::Timestamp;
use krs_core::bundle::BundleError;
use krs_core::digest::Digest;
use tokio::task::JoinError;

use super::Intake;
use super::entries;
use super::entry::{Accepted, Entry, State};
use super::look::{Finding, Look};
use super::names;
use super::pass::Pass;
use super::verdict::{self, Failure, Kind};
use crate::library::ReadFault;
use crate::metrics::unix_seconds;

/// How long after the last byte a file is closed.
const IDLE: Duration = Duration::from_secs(2);

impl Intake {
    pub(super) fn take_in(&mut self, look: Look) {
        let now = Timestamp::now();
        self.keys = look.keys;
        let there = look.files.iter().map(|(path, ..)| path.clone()).collect::<BTreeSet<_>>();
        self.trouble = trouble(&look.hanging, &look.left_out, self.trouble.as_deref());
        self.metrics.hanging_folders.set(i64::try_from(look.hanging.len()).unwrap_or(i64::MAX));
        let mut lost = false;
        for (path, entry) in &mut self.entries {
            let hangs = look.hanging.iter().find(|(folder, _)| {
                // Without the drop folder nothing below it can be reached either.
                folder.as_str().is_empty() || path.parent() == Some(folder.as_path())
            });
            if let (Some((folder, since)), Some(_)) = (hangs, entry.stamp) {
                entry.hangs(&hanging(folder, *since), now);
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
        for (path, stamp, finding) in look.files {
            if matches!(finding, Finding::Opened(Ok(_))) {
                opened.push(path.clone());
            }
            if let Finding::Opened(Ok(accepted)) = &finding
                && !self.entries.contains_key(&path)
            {
                self.follow_media(&path, &accepted.stock.digest);
            }
            if !self.entries.contains_key(&path) {
                let taken = self.entries.iter().map(|(path, entry)| (entry.name.clone(), path.to_string()));
                let name = names::name(path.as_str(), &taken.collect());
                self.entries.insert(path.clone(), Entry::new(name, now));
            }
            if let Some(entry) = self.entries.get_mut(&path) {
                entry.found(stamp, finding, now);
            }
        }
        entries::refuse_reused(&mut self.entries, &opened);
        self.scanned = true;
        self.metrics.scan_success.set(unix_seconds());
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

    pub(super) fn end_pass(&mut self, end: Result<Result<bool, BundleError>, JoinError>) {
        let Some(pass) = self.pass.take() else { return };
        let Some(entry) = self.entries.get_mut(&pass.path) else { return };
        if entry.accepted().is_none_or(|accepted| accepted.stock.digest != pass.digest) {
            return;
        }
        match end {
            Ok(Ok(true)) => {
                (entry.proven, entry.suspect, entry.failures) = (Some(pass.digest), None, 0);
            }
            Ok(Ok(false)) => {}
            Ok(Err(error)) => {
                let Failure { kind, message, .. } = verdict::judge(&error);
                match kind {
                    Kind::Refused => entry.damaged(message),
                    Kind::Medium | Kind::Incomplete => entry.medium_failed(message, Timestamp::now()),
                }
            }
            Err(error) => entry.medium_failed(format!("the reading broke off: {error}"), Timestamp::now()),
        }
    }

    /// What a transfer found.
    pub(super) fn fault(&mut self, fault: &ReadFault) {
        let Some(offered) = self.offered.get(&fault.bundle) else { return };
        let is_it = |accepted: &Accepted| Arc::ptr_eq(&accepted.held, offered);
        let entry = self.entries.values_mut().find(|entry| entry.accepted().is_some_and(is_it));
        let Some(entry) = entry else { return };
        let message = verdict::sentence(&fault.message, None);
        if fault.damaged {
            entry.damaged(message);
        } else if entry.present() {
            entry.medium_failed(message, Timestamp::now());
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
        for accepted in self.entries.values().filter_map(Entry::accepted) {
            accepted.held.bundle.close_if_idle(IDLE);
        }
        // Whoever still reads from one of these holds it, too; so does the entry of a file that is away.
        let entries = &self.entries;
        self.closing.retain(|held| {
            let is_it = |accepted: &&Accepted| Arc::ptr_eq(&accepted.held, held);
            let entries = entries.values().filter_map(Entry::accepted).filter(is_it).count();
            !held.bundle.close_if_idle(IDLE) || Arc::strong_count(held) > 1 + entries
        });
    }

    /// One medium at a time is read to its end.
    pub(super) fn next_pass(&mut self) {
        if let Some(pass) = &self.pass {
            let wanted = self.entries.get(&pass.path).filter(|entry| entry.present() && !entry.is_proven());
            let digest = wanted.and_then(Entry::accepted).map(|accepted| accepted.stock.digest);
            if digest == Some(pass.digest) {
                return;
            }
            self.pass = None;
        }
        let next = self.entries.iter().filter(|(_, entry)| entry.present() && !entry.is_proven());
        let next = next.filter_map(|(path, entry)| Some((path, entry.accepted()?))).next();
        self.pass = next.map(|(path, accepted)| Pass::start(path.clone(), Arc::clone(&accepted.held.bundle)));
    }
}

/// A folder that does not answer, in words.
fn hanging(folder: &Utf8Path, since: Timestamp) -> String {
    let folder = match folder.as_str() {
        "" => "the drop folder".to_owned(),
        name => format!("folder {}", krs_core::redact::printable(name, 100)),
    };
    let since = since.round(jiff::Unit::Second).unwrap_or(since);
    format!("{folder} does not answer since {since}: check the medium, or the server that it is mounted from")
}

/// What keeps the drop folder from being read; said in the log when it changes.
fn trouble(
    hangs: &BTreeMap<Utf8PathBuf, Timestamp>,
    left_out: &[String],
    before: Option<&str>,
) -> Option<String> {
    let mut parts = hangs.iter().map(|(folder, since)| hanging(folder, *since)).collect::<Vec<_>>();
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
