// SPDX-License-Identifier: Apache-2.0
//! A copy of some folders of a checkout, in which a kustomization is changed before it is built.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// Most files of a copy.
const MAX_FILES: usize = 20_000;
/// Most bytes of a copy.
const MAX_BYTES: u64 = 256 << 20;
/// Deepest nesting of folders.
const MAX_DEPTH: usize = 64;

/// Copies the folders, all of which lie in `root`, to the same places below a temporary folder. Links are left out, as Flux
/// leaves them out of its artifacts.
///
/// # Errors
/// Why there is no copy, as part of a sentence.
pub(super) fn copy(root: &Path, folders: &BTreeSet<PathBuf>) -> Result<TempDir, String> {
    let target = tempfile::Builder::new().prefix("krs-kustomize-").tempdir();
    let target = target.map_err(|error| format!("there is no temporary folder for a copy of it: {error}"))?;
    let mut limits = Limits { files: MAX_FILES, bytes: MAX_BYTES };
    for folder in folders {
        let is_part = folder.ancestors().skip(1).any(|above| folders.contains(above));
        if is_part {
            continue;
        }
        let Ok(relative) = folder.strip_prefix(root) else { continue };
        folder_to(folder, &target.path().join(relative), &mut limits, MAX_DEPTH)?;
    }
    Ok(target)
}

struct Limits {
    files: usize,
    bytes: u64,
}

fn folder_to(from: &Path, to: &Path, limits: &mut Limits, depth: usize) -> Result<(), String> {
    let cannot = |error: io::Error| format!("it cannot be copied: {}: {error}", from.display());
    if depth == 0 {
        return Err(format!("it is nested deeper than {MAX_DEPTH} folders"));
    }
    fs::create_dir_all(to).map_err(cannot)?;
    for entry in fs::read_dir(from).map_err(cannot)? {
        let entry = entry.map_err(cannot)?;
        let (kind, name) = (entry.file_type().map_err(cannot)?, entry.file_name());
        if kind.is_dir() && name != ".git" {
            folder_to(&entry.path(), &to.join(name), limits, depth - 1)?;
        } else if kind.is_file() {
            let size = entry.metadata().map_err(cannot)?.len();
            let left = limits.files.checked_sub(1).zip(limits.bytes.checked_sub(size));
            let Some((files, bytes)) = left else {
                return Err(format!(
                    "what it builds on has more than {MAX_FILES} files or {} MiB",
                    MAX_BYTES >> 20
                ));
            };
            *limits = Limits { files, bytes };
            let content = crate::files::read_file(entry.path(), size.saturating_add(1)).map_err(cannot)?;
            fs::write(to.join(name), content).map_err(cannot)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[cfg(unix)]
    #[test]
    fn folders_are_copied_once_without_links_and_history() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        for name in ["a/b/x", "a/.git/y", "c/z", "d/w"] {
            fs::create_dir_all(path(name).parent().unwrap()).unwrap();
            fs::write(path(name), name).unwrap();
        }
        std::os::unix::fs::symlink("/", path("a/link")).unwrap();
        let folders = ["a/b", "a", "c"].map(path).into();
        let copy = copy(root.path(), &folders).unwrap();
        let mut found = Vec::new();
        let mut todo = vec![copy.path().to_owned()];
        while let Some(folder) = todo.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() { todo.push(path) } else { found.push(fs::read_to_string(path).unwrap()) }
            }
        }
        found.sort();
        assert_eq!(found, ["a/b/x", "c/z"]);
    }

    #[test]
    fn deep_folders_are_refused() {
        let root = tempfile::tempdir().unwrap();
        let deep = root.path().join("d/".repeat(MAX_DEPTH + 1));
        fs::create_dir_all(deep).unwrap();
        let error = copy(root.path(), &[root.path().join("d")].into()).unwrap_err();
        assert_eq!(error, "it is nested deeper than 64 folders");
    }
}
