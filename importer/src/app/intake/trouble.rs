// SPDX-License-Identifier: Apache-2.0
//! What keeps parts of the drop folder from being read: for people, and for the files that are there.

use std::collections::BTreeMap;

use camino::{Utf8Path, Utf8PathBuf};

use super::finding::Scan;
use super::folder;
use super::rejection;
use super::watchdog::Hangs;
use crate::adapters::metrics::Metrics;

/// Most folders and files that cannot be read and that a message names; it counts the rest.
const MAX_UNREADABLE: usize = 3;
/// What cannot be read of the drop folder.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    /// Media that do not answer.
    hanging: BTreeMap<Utf8PathBuf, Hangs>,
    /// Folders and files that cannot be read, and why.
    unreadable: BTreeMap<Utf8PathBuf, String>,
    /// What was left out because there is too much.
    left_out: Vec<String>,
    /// All of it in one sentence; none: everything was read.
    message: Option<String>,
}

impl Trouble {
    /// Takes in what a scan could not read.
    pub(super) fn update(&mut self, scan: &Scan, metrics: &Metrics) {
        let hanging = scan.hanging.iter().chain(&scan.unread);
        self.hanging = hanging.map(|(media, hangs)| (media.clone(), *hangs)).collect();
        self.unreadable.clone_from(&scan.unreadable);
        self.left_out.clone_from(&scan.left_out);
        self.tell(metrics);
    }

    /// Takes note of media that stopped answering between two scans.
    pub(super) fn add(&mut self, media: Utf8PathBuf, hangs: Hangs, metrics: &Metrics) {
        self.hanging.insert(media, hangs);
        self.tell(metrics);
    }

    pub(super) fn message(&self) -> Option<String> {
        self.message.clone()
    }

    fn tell(&mut self, metrics: &Metrics) {
        let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        metrics.hanging_folders.set(count(self.hanging.len()));
        metrics.unreadable_entries.set(count(self.unreadable.len()));
        let before = self.message.take();
        self.message = trouble(&self.hanging, &self.unreadable, &self.left_out, before.as_deref());
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
                "{media} does not answer since {since}: check the media, or the server that they are mounted from"
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
    let now = (!parts.is_empty()).then(|| rejection::sentence(&parts.join("; "), None));
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
