// SPDX-License-Identifier: Apache-2.0
use krs_core::oci::digest::Digest;
use krs_core::set::{SetErrors, SkippedFile, Warning};
use krs_core::sync::pin::PinTarget;
use serde::Serialize;

use super::SCHEMA_VERSION;
use super::human::count;
use super::problem::{Problem, problems};
use super::sets::FileRemark;
use super::table::{Align, Table, sentence};

/// What the digests of sets are and were.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PinReport {
    schema_version: u32,
    /// Whether the files have the changes.
    written: bool,
    changes: Vec<Change>,
    /// References that were looked up and have the digest of their tag already.
    unchanged: usize,
    /// References with a tag and a digest that were not looked up.
    pinned: usize,
    /// References with a digest and no tag.
    digest_only: usize,
    /// References that have no new digest, because of a registry.
    failed: usize,
    /// References that cannot be edited where they stand.
    problems: Vec<Problem>,
    warnings: Vec<FileRemark>,
    /// Sets that were found and not read, and why.
    skipped: Vec<FileRemark>,
}

/// A reference with a new digest.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Change {
    file: String,
    line: u64,
    set: String,
    image: String,
    /// Absent where there was no digest.
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<Digest>,
    after: Digest,
}

impl PinReport {
    pub(crate) fn new(warnings: &[Warning], skipped: &[SkippedFile]) -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            warnings: warnings.iter().map(FileRemark::from).collect(),
            skipped: skipped.iter().map(FileRemark::from).collect(),
            ..Self::default()
        }
    }

    /// Adds what is left alone in a file.
    pub(crate) fn add_kept(&mut self, pinned: usize, digest_only: usize) {
        self.pinned += pinned;
        self.digest_only += digest_only;
    }

    /// Adds the result of a file.
    pub(crate) fn add_file(&mut self, file: &str, changes: &[(PinTarget, Digest)], unchanged: usize) {
        self.unchanged += unchanged;
        self.changes.extend(changes.iter().map(|(target, after)| Change {
            file: file.to_owned(),
            line: target.line,
            set: target.set_name.clone(),
            image: target.tagged.to_string(),
            before: target.digest,
            after: *after,
        }));
    }

    /// Adds how many references have no answer, and which cannot be edited.
    pub(crate) fn add_failures(&mut self, failed: usize, refused: &SetErrors) {
        self.failed += failed;
        self.problems.extend(problems(refused));
    }

    pub(crate) fn set_written(&mut self, written: bool) {
        self.written = written;
    }

    pub(crate) fn has_changes(&self) -> bool {
        !self.changes.is_empty()
    }

    /// For people.
    pub(crate) fn text(&self) -> String {
        let mut table = Table::new(&[
            ("PLACE", Align::Left),
            ("IMAGE", Align::Left),
            ("BEFORE", Align::Left),
            ("NOW", Align::Left),
        ]);
        for change in &self.changes {
            let before = change.before.map_or_else(|| "-".to_owned(), |digest| digest.short());
            let place = format!("{}:{}", change.file, change.line);
            table.row([place, change.image.clone(), before, change.after.short()]);
        }
        let table = table.render();
        let gap = if table.is_empty() { "" } else { "\n" };
        format!("{table}{gap}{}", sentence(&self.summary()))
    }

    fn summary(&self) -> String {
        let moved = self.changes.iter().filter(|change| change.before.is_some()).count();
        let new = self.changes.len() - moved;
        let mut parts = Vec::new();
        let (pinned, moved_now) = if self.written { ("pinned", "moved") } else { ("to pin", "to update") };
        parts.push(format!("{} {pinned}", count(new as u64, "reference")));
        let others = [
            (moved, moved_now),
            (self.unchanged, "unchanged"),
            (self.pinned, "already pinned"),
            (self.digest_only, "with only a digest"),
            (self.failed, "failed"),
            (self.problems.len(), "not editable"),
        ];
        parts.extend(
            others.iter().filter(|(number, _)| *number > 0).map(|(number, what)| format!("{number} {what}")),
        );
        parts.join(", ")
    }
}
