// SPDX-License-Identifier: Apache-2.0
//! What became of each layer, and of its files. Pure.

use std::cmp::Reverse;

use krs_compact::diff::FileReport;

use crate::oci::digest::Digest;

/// Most files that are named for one layer: those that take most.
const MAX_FILES: usize = 100;

/// What became of a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerOutcome {
    /// The layer.
    pub digest: Digest,
    /// Its bytes.
    pub size: u64,
    /// What it belongs to.
    pub name: String,
    /// What of it travels; or why it travels as it is.
    pub travels: Result<PatchOutcome, String>,
}

/// What of a layer travels in a patch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PatchOutcome {
    /// The patch.
    pub patch: Digest,
    /// About how many bytes of the patch and the recipe are of this layer.
    pub bytes: u64,
    /// The files that take most, at most a hundred, the largest first.
    pub files: Vec<FileOutcome>,
    /// How many files changed or are new.
    pub file_count: usize,
}

/// A file that is not a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileOutcome {
    /// Its path; empty for bytes that are no tar entry.
    pub path: String,
    /// Its bytes.
    pub size: u64,
    /// About how many bytes of the patch it takes.
    pub bytes: u64,
    /// The path of the older version, if it is made of one.
    pub from: Option<String>,
}

/// The files that take most of the patch, and how many there are.
pub(super) fn files(reports: &[FileReport]) -> (Vec<FileOutcome>, usize) {
    let mut files = reports.iter().collect::<Vec<_>>();
    files.sort_by_key(|file| Reverse(file.travels));
    let named = files.iter().take(MAX_FILES).map(|file| FileOutcome {
        path: file.path.clone(),
        size: file.length,
        bytes: file.travels,
        from: file.from.as_ref().map(|(_, path)| path.clone()),
    });
    (named.collect(), reports.len())
}
