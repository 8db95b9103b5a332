// SPDX-License-Identifier: Apache-2.0
//! What to say where no set was found: what was read instead.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use ignore::WalkBuilder;

use super::outline::outline;
use super::read::{Content, read_file};
use super::text::split;
use super::walk::is_manifest;
use super::{SetError, Warning};

/// Most files that are looked into again, and most entries of folders that are counted.
const MAX_FILES: usize = 2_000;
const MAX_ENTRIES: usize = 50_000;
/// Largest document that is looked into again.
const MAX_DOCUMENT: usize = 256 << 10;
/// Most kinds, and most reasons, that are named.
const MAX_NAMED: usize = 4;

/// The error for a call that found no set. `files` were read below `folders`; `warnings` say what was skipped.
pub(super) fn nothing_found(
    asked: &str,
    files: &HashSet<PathBuf>,
    folders: &[PathBuf],
    warnings: &[Warning],
) -> SetError {
    let mut details = kinds(files);
    let ignored = ignored(files, folders);
    if ignored > 0 {
        details.push(format!("{ignored} ignored by .gitignore or .krsignore"));
    }
    let count = |number: usize| if number == 1 { "1 file".to_owned() } else { format!("{number} files") };
    let details = if details.is_empty() { String::new() } else { format!(": {}", details.join("; ")) };
    let mut help =
        "krs carries what an EdgeImageSet lists; it does not read images from Deployments or charts. An \
                    example: docs/sets.md"
            .to_owned();
    for warning in warnings.iter().take(MAX_NAMED) {
        help.push_str(&format!("\n{}: {}", warning.file, warning.message));
    }
    SetError::file(asked, format!("no EdgeImageSet ({} read{details})", count(files.len()))).help(help)
}

/// How many objects of which kind the files hold, the most frequent first.
fn kinds(files: &HashSet<PathBuf>) -> Vec<String> {
    let mut kinds = BTreeMap::<String, usize>::new();
    let mut sorted = files.iter().collect::<Vec<_>>();
    sorted.sort();
    for file in sorted.into_iter().take(MAX_FILES) {
        let Ok(Content { bytes: Some(bytes), .. }) = read_file(file, None) else { continue };
        let Ok(text) = std::str::from_utf8(&bytes) else { continue };
        for piece in split(text).iter().filter(|piece| piece.text.len() <= MAX_DOCUMENT) {
            let Ok(outline) = outline(&piece.text) else { continue };
            if let (Some(_), Some(kind)) = (outline.header.api_version, outline.header.kind) {
                *kinds.entry(crate::redact::printable(&kind.value, 60)).or_default() += 1;
            }
        }
    }
    let mut kinds = kinds.into_iter().collect::<Vec<_>>();
    kinds.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let more = kinds.len().saturating_sub(MAX_NAMED);
    let named = kinds.iter().take(MAX_NAMED).map(|(kind, count)| format!("{count} {kind}"));
    let mut named = named.collect::<Vec<_>>().join(", ");
    if more > 0 {
        named.push_str(", others");
    }
    if named.is_empty() { Vec::new() } else { vec![named] }
}

/// How many YAML and JSON files below the folders were not read.
fn ignored(files: &HashSet<PathBuf>, folders: &[PathBuf]) -> usize {
    let walk = |folder: &PathBuf| {
        WalkBuilder::new(folder)
            .standard_filters(false)
            .max_depth(Some(16))
            .filter_entry(|entry| entry.file_name() != ".git")
            .build()
    };
    let found = folders.iter().flat_map(walk).take(MAX_ENTRIES).filter_map(Result::ok);
    let is_file = |entry: &ignore::DirEntry| entry.file_type().is_some_and(|kind| kind.is_file());
    let unread = |path: &Path| is_manifest(path) && !files.contains(path);
    found.filter(|entry| is_file(entry) && unread(entry.path())).count()
}
