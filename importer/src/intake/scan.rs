// SPDX-License-Identifier: Apache-2.0
//! What lies in the drop folder. Blocking.

use std::time::SystemTime;

use camino::{Utf8DirEntry, Utf8Path, Utf8PathBuf};

/// What the names of bundles end with.
pub(super) const SUFFIX: &str = ".krs.tar";
/// Most entries of one folder that are looked at.
const MAX_ENTRIES: usize = 10_000;
/// Most folders right below the drop folder that are looked at.
const MAX_FOLDERS: usize = 256;
/// Most bundles at once.
const MAX_BUNDLES: usize = 256;
/// Folders that systems make on media for themselves.
const SYSTEM: [&str; 3] = ["lost+found", "System Volume Information", "$RECYCLE.BIN"];

/// By what a file that changed is told from one that did not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    /// Bytes.
    pub size: u64,
    /// When it was last written to.
    pub modified: Option<SystemTime>,
    /// The device and the number of the file on it: another one after a medium was pulled and put back.
    pub place: (u64, u64),
}

/// A file with the name of a bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    /// Below the drop folder.
    pub path: Utf8PathBuf,
    pub stamp: Stamp,
}

/// The files with names of bundles in `folder` and the folders right below it, in the order of their paths. What cannot
/// be read holds nothing: a mount that is empty or went away is no fault.
pub(super) fn list(folder: &Utf8Path) -> Vec<Found> {
    let mut found = Vec::new();
    let mut folders = Vec::new();
    for entry in entries(folder) {
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() {
            folders.push(entry.file_name().to_owned());
        } else {
            found.extend(bundle(&entry, Utf8PathBuf::from(entry.file_name())));
        }
    }
    folders.sort_unstable();
    for name in folders.into_iter().take(MAX_FOLDERS) {
        for entry in entries(&folder.join(&name)) {
            if entry.file_type().is_ok_and(|kind| !kind.is_dir()) {
                found.extend(bundle(&entry, Utf8Path::new(&name).join(entry.file_name())));
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    if found.len() > MAX_BUNDLES {
        tracing::warn!(
            files = found.len(),
            "the drop folder holds more than {MAX_BUNDLES} bundles; the rest waits"
        );
        found.truncate(MAX_BUNDLES);
    }
    found
}

fn entries(folder: &Utf8Path) -> impl Iterator<Item = Utf8DirEntry> {
    let entries = folder.read_dir_utf8().into_iter().flatten();
    // The first error ends it: a medium that went away may give one for ever.
    let entries = entries.take(MAX_ENTRIES).map_while(Result::ok);
    entries.filter(|entry| !entry.file_name().starts_with('.') && !SYSTEM.contains(&entry.file_name()))
}

fn bundle(entry: &Utf8DirEntry, path: Utf8PathBuf) -> Option<Found> {
    use std::os::unix::fs::MetadataExt as _;
    if entry.file_name().strip_suffix(SUFFIX)?.is_empty() {
        return None;
    }
    // Of a link: about the link itself.
    let metadata = entry.metadata().ok()?;
    let stamp = Stamp {
        size: metadata.len(),
        modified: metadata.modified().ok(),
        place: (metadata.dev(), metadata.ino()),
    };
    Some(Found { path, stamp })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn bundles_are_found_in_the_drop_folder_and_right_below_it_and_nothing_else_is() {
        let folder = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(folder.path()).unwrap();
        let names = [
            "b.krs.tar",
            "ä ö.krs.tar",
            "usb1/a.krs.tar",
            ".krs.tar",
            ".hidden.krs.tar",
            "c.krs.tar.part",
            "notes.txt",
            "usb1/deeper/d.krs.tar",
            "lost+found/e.krs.tar",
            "System Volume Information/f.krs.tar",
            ".Trash/g.krs.tar",
        ];
        for name in names {
            std::fs::create_dir_all(root.join(name).parent().unwrap()).unwrap();
            std::fs::write(root.join(name), name).unwrap();
        }
        std::fs::create_dir(root.join("folder.krs.tar")).unwrap();
        std::os::unix::fs::symlink(root.join("usb1"), root.join("usb2")).unwrap();
        let found = list(root).into_iter().map(|file| file.path.into_string()).collect::<Vec<_>>();
        assert_eq!(found, ["b.krs.tar", "usb1/a.krs.tar", "ä ö.krs.tar"]);
        assert_eq!(list(&root.join("gone")), [], "T-36: an empty mount holds nothing");
    }
}
