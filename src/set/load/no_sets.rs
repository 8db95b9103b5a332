// SPDX-License-Identifier: Apache-2.0
//! The error if no set was found. It tells what was read instead.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;

use crate::set::error::SetError;
use crate::set::files::read::{Content, read_file};
use crate::set::model::{SkippedFile, Warning};
use crate::set::yaml::outline::outline;
use crate::set::yaml::text::split;

/// Most files that are read again.
const MAX_FILES: usize = 2_000;
/// Largest YAML document that is read again.
const MAX_DOCUMENT: usize = 256 << 10;
/// Most kinds, and most reasons, that are named.
const MAX_NAMED: usize = 4;

/// A call that found no set.
pub(in crate::set) struct NoSets<'a> {
    /// The paths of the call.
    pub(in crate::set) paths: &'a str,
    /// Files that were read.
    pub(in crate::set) files: &'a HashSet<PathBuf>,
    /// How many files ignore files exclude.
    pub(in crate::set) ignored: usize,
    /// Warnings about the files.
    pub(in crate::set) warnings: &'a [Warning],
    /// Sets that were not read, and why.
    pub(in crate::set) skipped: &'a [SkippedFile],
}

/// The error for a call that found no set.
pub(in crate::set) fn no_sets_error(nothing: &NoSets<'_>) -> SetError {
    let NoSets { paths, files, ignored, warnings, skipped } = nothing;
    let mut details = kinds(files);
    if *ignored > 0 {
        details.push(format!("{ignored} ignored by .gitignore or .krsignore"));
    }
    let count = |number: usize| if number == 1 { "1 file".to_owned() } else { format!("{number} files") };
    let details = if details.is_empty() { String::new() } else { format!(": {}", details.join("; ")) };
    let mut help =
        "krs carries what an EdgeImageSet lists. `krs collect` writes one of the images that manifests and charts \
                    use: docs/collect.md"
            .to_owned();
    for warning in warnings.iter().take(MAX_NAMED) {
        help.push_str(&format!("\n{}: {}", warning.file, warning.message));
    }
    let warned = |file: &str| warnings.iter().any(|warning| warning.line == 0 && warning.file == file);
    let others = skipped.iter().filter(|skipped| !warned(&skipped.file)).collect::<Vec<_>>();
    for skipped in others.iter().take(MAX_NAMED) {
        help.push_str(&format!("\n{}: holds a set and was skipped: it {}", skipped.file, skipped.reason));
    }
    if let more @ 1.. = others.len().saturating_sub(MAX_NAMED) {
        help.push_str(&format!("\n{more} more were skipped"));
    }
    SetError::file(paths, format!("no EdgeImageSet ({} read{details})", count(files.len()))).help(help)
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
