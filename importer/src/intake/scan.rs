// SPDX-License-Identifier: Apache-2.0
//! What lies in the drop folder. Blocking.

use std::collections::BTreeMap;
use std::time::SystemTime;

use camino::{Utf8DirEntry, Utf8Path, Utf8PathBuf};
use krs_core::bundle::volume_of;

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

/// The bundles in `folder` and the folders right below it, in the order of their paths: files with names of bundles, and
/// volumes, which count as one file wherever they lie. What cannot be read holds nothing: a mount that is empty or went
/// away is no fault.
pub(super) fn list(folder: &Utf8Path) -> Vec<Found> {
    let (mut found, mut volumes) = (Vec::new(), BTreeMap::<String, BTreeMap<u64, Found>>::new());
    for sub in folders(folder) {
        let below = sub.strip_prefix(folder).unwrap_or(&sub);
        for entry in entries(&sub).filter(|entry| entry.file_type().is_ok_and(|kind| !kind.is_dir())) {
            let path = below.join(entry.file_name());
            if let Some((archive, n)) = volume_of(Utf8Path::new(entry.file_name())) {
                if let Some(volume) = named(archive.as_str(), &entry, path) {
                    volumes.entry(archive.into_string()).or_default().entry(n).or_insert(volume);
                }
            } else {
                found.extend(named(entry.file_name(), &entry, path));
            }
        }
    }
    found.extend(volumes.into_iter().filter_map(|(archive, volumes)| joined(&archive, &volumes)));
    found.sort_by(|a, b| a.path.cmp(&b.path));
    // Where an archive lies beside its volumes, it is read in their place.
    found.dedup_by(|b, a| a.path == b.path);
    if found.len() > MAX_BUNDLES {
        tracing::warn!(
            files = found.len(),
            "the drop folder holds more than {MAX_BUNDLES} bundles; the rest waits"
        );
        found.truncate(MAX_BUNDLES);
    }
    found
}

/// The drop folder and the folders right below it.
pub(super) fn folders(folder: &Utf8Path) -> Vec<Utf8PathBuf> {
    let below = entries(folder).filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let mut folders = below.map(|entry| folder.join(entry.file_name())).collect::<Vec<_>>();
    folders.sort_unstable();
    folders.truncate(MAX_FOLDERS);
    folders.insert(0, folder.to_owned());
    folders
}

/// Volumes as one file, which lies where the first of them does. It changed when one of them did, or came, or went.
fn joined(archive: &str, volumes: &BTreeMap<u64, Found>) -> Option<Found> {
    let first = volumes.values().next()?;
    let path = first.path.with_file_name(archive);
    let stamp = volumes.iter().fold(Stamp { size: 0, ..first.stamp }, |all, (n, volume)| Stamp {
        size: all.size.saturating_add(volume.stamp.size),
        modified: all.modified.max(volume.stamp.modified),
        place: (
            all.place.0.rotate_left(7) ^ volume.stamp.place.0,
            all.place.1.rotate_left(7) ^ volume.stamp.place.1 ^ n,
        ),
    });
    Some(Found { path, stamp })
}

fn entries(folder: &Utf8Path) -> impl Iterator<Item = Utf8DirEntry> {
    let entries = folder.read_dir_utf8().into_iter().flatten();
    // The first error ends it: a medium that went away may give one for ever.
    let entries = entries.take(MAX_ENTRIES).map_while(Result::ok);
    entries.filter(|entry| !entry.file_name().starts_with('.') && !SYSTEM.contains(&entry.file_name()))
}

fn named(bundle: &str, entry: &Utf8DirEntry, path: Utf8PathBuf) -> Option<Found> {
    use std::os::unix::fs::MetadataExt as _;
    if bundle.strip_suffix(SUFFIX)?.is_empty() {
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

        for name in ["usb1/v.krs.tar.002", "v.krs.tar.003", "usb1/v.krs.json", "a.krs.tar.001"] {
            std::fs::write(root.join(name), name).unwrap();
        }
        let found = list(root);
        let paths = found.iter().map(|file| file.path.as_str()).collect::<Vec<_>>();
        let two = ["a.krs.tar", "b.krs.tar", "usb1/a.krs.tar", "usb1/v.krs.tar", "ä ö.krs.tar"];
        assert_eq!(paths, two, "T-33: volumes are one bundle, wherever they lie");
        std::fs::write(root.join("v.krs.tar.001"), "v").unwrap();
        let now = list(root).into_iter().find(|file| file.path == "v.krs.tar").unwrap();
        assert!(found.iter().all(|file| file.stamp != now.stamp), "it changed when a volume came");
    }
}
