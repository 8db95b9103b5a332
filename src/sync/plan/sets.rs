// SPDX-License-Identifier: Apache-2.0
//! The sets of a bundle, and the names of their files in its manifest.

use super::error::PlanError;
use crate::bundle::layout;
use crate::bundle::{BundleSet, MAX_SET, MAX_SETS};
use crate::oci::digest::Digest;
use crate::redact::printable;
use crate::set::LoadedSets;

/// Most characters of the name of a file; [`crate::bundle::BundleManifest::check`] takes no more.
const MAX_FILE_NAME: usize = 300;

pub(super) fn bundle_sets(loaded: &LoadedSets) -> Result<Vec<BundleSet>, PlanError> {
    if loaded.sets.is_empty() {
        return Err(PlanError::NoSets);
    }
    if loaded.sets.len() > MAX_SETS {
        return Err(PlanError::TooManySets(loaded.sets.len()));
    }
    let entry = |(n, set): (usize, &crate::set::LoadedSet)| {
        let (file, size) = (file_name(&set.file), set.raw.len() as u64);
        if size > MAX_SET {
            return Err(PlanError::LargeSet { file, size });
        }
        Ok(BundleSet { digest: Digest::of(&set.raw), file, path: layout::set_path(n), size })
    };
    loaded.sets.iter().enumerate().map(entry).collect()
}

/// A path as plain text of at most [`MAX_FILE_NAME`] characters. One that is longer, or has characters that cannot be
/// shown, is replaced by the start of its hash and its end, which tells more than its beginning: no two paths get one name.
fn file_name(path: &str) -> String {
    let shown = printable(path, usize::MAX);
    let length = shown.chars().count();
    if shown == path && length <= MAX_FILE_NAME {
        return shown;
    }
    let mark = format!("{}…", Digest::of(path.as_bytes()).short());
    let cut = length.saturating_sub(MAX_FILE_NAME - mark.chars().count());
    mark.chars().chain(shown.chars().skip(cut)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t205_no_two_paths_have_one_name_in_a_manifest() {
        assert_eq!(file_name("sites/berlin/a.yaml"), "sites/berlin/a.yaml");
        let longest = "é".repeat(MAX_FILE_NAME);
        assert_eq!(file_name(&longest), longest);
        let folders = "f/".repeat(400);
        let paths = [
            format!("{folders}a.yaml"),
            format!("{folders}b.yaml"),
            format!("x/{folders}a.yaml"),
            format!("{longest}é"),
            // What is escaped can be written, too.
            "a\u{7}.yaml".to_owned(),
            "a\\u{7}.yaml".to_owned(),
            "\u{1b}".repeat(MAX_FILE_NAME),
        ];
        let names = paths.iter().map(|path| file_name(path)).collect::<std::collections::BTreeSet<_>>();
        assert_eq!(names.len(), paths.len(), "{names:?}");
        // As the check of a manifest does.
        assert!(names.iter().all(|name| printable(name, MAX_FILE_NAME) == *name), "{names:?}");
        assert!(names.iter().any(|name| name.ends_with("f/f/b.yaml")), "{names:?}");
        assert!(names.contains("a\\u{7}.yaml"), "{names:?}");
    }
}
