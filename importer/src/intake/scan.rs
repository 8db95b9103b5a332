// SPDX-License-Identifier: Apache-2.0
//! What lies in the drop folder. Blocking.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use camino::{Utf8DirEntry, Utf8Path, Utf8PathBuf};
use krs_core::bundle::volume_of;
use krs_core::redact::printable;

use super::watchdog::{Hangs, Watchdog};

/// What the names of bundles end with.
pub(super) const SUFFIX: &str = ".krs.tar";
/// Most entries of one folder that are looked at; those that are no bundle cost next to nothing.
const MAX_ENTRIES: usize = 1_000_000;
/// How long a folder may take to say what it holds.
const LIST_LIMIT: Duration = Duration::from_secs(30);
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
    /// The media that hold it up where they hang: the folder of the file. Volumes in several folders are of no single one:
    /// their bundle itself.
    pub media: Utf8PathBuf,
}

/// What lies in the drop folder.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Listing {
    /// The bundles in it and in the folders right below it, in the order of their paths: files with names of bundles, and
    /// volumes, which count as one file wherever they lie. What cannot be read holds nothing: a mount that is empty or
    /// went away is no fault.
    pub found: Vec<Found>,
    /// The folders that answer, the drop folder first.
    pub folders: Vec<Utf8PathBuf>,
    /// Folders that do not answer, as below the drop folder, and since when.
    pub hanging: BTreeMap<Utf8PathBuf, Hangs>,
    /// What was not looked at because there is too much, in words.
    pub left_out: Vec<String>,
}

/// The files of one folder that matter here, and whether it has more than are looked at.
struct Folder {
    bundles: Vec<Found>,
    volumes: Vec<(Utf8PathBuf, u64, Found)>,
    more: bool,
}

/// Reads `folder` and the folders right below it.
pub(super) fn list(folder: &Utf8Path, watchdog: &Watchdog) -> Listing {
    list_up_to(MAX_ENTRIES, folder, watchdog)
}

/// As [`list`], with at most `most` entries of each folder.
fn list_up_to(most: usize, folder: &Utf8Path, watchdog: &Watchdog) -> Listing {
    let mut listing = Listing::default();
    let (mut found, mut volumes) = (Vec::new(), BTreeMap::<Utf8PathBuf, BTreeMap<u64, Found>>::new());
    let root = folder.to_owned();
    let folders = match watchdog.call(folder, LIST_LIMIT, move || folders(&root)) {
        Ok((folders, more)) => {
            if more {
                listing.left_out.push(format!("more than {MAX_FOLDERS} folders"));
            }
            folders
        }
        Err(hangs) => {
            listing.hanging.insert(Utf8PathBuf::new(), hangs);
            return listing;
        }
    };
    for sub in folders {
        let below = sub.strip_prefix(folder).unwrap_or(&sub).to_owned();
        let (path, prefix) = (sub.clone(), below.clone());
        match watchdog.call(&sub, LIST_LIMIT, move || read(most, &path, &prefix)) {
            Ok(read) => {
                if read.more {
                    let name = if below.as_str().is_empty() { "the drop folder" } else { below.as_str() };
                    listing.left_out.push(format!("more than {most} entries in {}", printable(name, 100)));
                }
                found.extend(read.bundles);
                for (archive, n, volume) in read.volumes {
                    volumes.entry(archive).or_default().entry(n).or_insert(volume);
                }
                listing.folders.push(sub);
            }
            Err(hangs) => drop(listing.hanging.insert(below, hangs)),
        }
    }
    found.extend(volumes.into_iter().filter_map(|(archive, volumes)| joined(archive.as_str(), &volumes)));
    found.sort_by(|a, b| a.path.cmp(&b.path));
    // Where an archive lies beside its volumes, it is read in their place.
    found.dedup_by(|b, a| a.path == b.path);
    if found.len() > MAX_BUNDLES {
        listing.left_out.push(format!("{} of {} bundles", found.len() - MAX_BUNDLES, found.len()));
        found.truncate(MAX_BUNDLES);
    }
    listing.found = found;
    listing
}

/// The files of a folder that is `below` the drop folder.
fn read(most: usize, folder: &Utf8Path, below: &Utf8Path) -> Folder {
    let mut read = Folder { bundles: Vec::new(), volumes: Vec::new(), more: false };
    for (n, entry) in entries(folder).enumerate() {
        if n >= most {
            read.more = true;
            break;
        }
        if !is_ours(&entry) || !entry.file_type().is_ok_and(|kind| !kind.is_dir()) {
            continue;
        }
        let path = below.join(entry.file_name());
        if let Some((archive, n)) = volume_of(Utf8Path::new(entry.file_name())) {
            let volume = named(archive.as_str(), &entry, path);
            read.volumes.extend(volume.map(|volume| (archive, n, volume)));
        } else {
            read.bundles.extend(named(entry.file_name(), &entry, path));
        }
    }
    read
}

/// The drop folder and the folders right below it, and whether there are more than are looked at.
fn folders(folder: &Utf8Path) -> (Vec<Utf8PathBuf>, bool) {
    let below = entries(folder).take(MAX_ENTRIES).filter(is_ours);
    let below = below.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let mut folders = below.map(|entry| folder.join(entry.file_name())).collect::<Vec<_>>();
    folders.sort_unstable();
    let more = folders.len() > MAX_FOLDERS;
    folders.truncate(MAX_FOLDERS);
    folders.insert(0, folder.to_owned());
    (folders, more)
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
    let folder = first.path.parent();
    let one = volumes.values().all(|volume| volume.path.parent() == folder);
    let media = if one { first.media.clone() } else { path.clone() };
    Some(Found { path, stamp, media })
}

/// The first error ends it: a medium that went away may give one for ever.
fn entries(folder: &Utf8Path) -> impl Iterator<Item = Utf8DirEntry> {
    folder.read_dir_utf8().into_iter().flatten().map_while(Result::ok)
}

fn is_ours(entry: &Utf8DirEntry) -> bool {
    !entry.file_name().starts_with('.') && !SYSTEM.contains(&entry.file_name())
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
    let media = path.parent().unwrap_or(Utf8Path::new("")).to_owned();
    Some(Found { path, stamp, media })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn list(folder: &Utf8Path) -> Vec<Found> {
        super::list(folder, &Watchdog::default()).found
    }

    #[test]
    fn t142_a_bundle_among_many_other_files_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(folder.path()).unwrap();
        for n in 0..10_500 {
            std::fs::write(root.join(format!("IMG_{n}.jpg")), "").unwrap();
        }
        // A folder lists its entries in any order: one of these comes late.
        for n in 0..200 {
            std::fs::write(root.join(format!("z{n}.krs.tar")), "z").unwrap();
        }
        assert_eq!(list(root).len(), 200);
    }

    #[test]
    fn t142_entries_that_are_not_looked_at_are_said_with_their_folder() {
        let folder = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(folder.path()).unwrap();
        std::fs::create_dir(root.join("usb")).unwrap();
        for n in 0..21 {
            std::fs::write(root.join(format!("usb/{n}.krs.tar")), "z").unwrap();
        }
        let listing = super::list_up_to(20, root, &Watchdog::default());
        assert_eq!(
            (listing.found.len(), listing.left_out),
            (20, vec!["more than 20 entries in usb".to_owned()])
        );
        assert!(super::list_up_to(21, root, &Watchdog::default()).left_out.is_empty());
    }

    #[test]
    fn t142_what_is_too_much_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(folder.path()).unwrap();
        for n in 0..=MAX_BUNDLES {
            std::fs::write(root.join(format!("{n}.krs.tar")), "z").unwrap();
            std::fs::create_dir(root.join(format!("folder{n}"))).unwrap();
        }
        let listing = super::list(root, &Watchdog::default());
        assert_eq!((listing.found.len(), listing.folders.len()), (MAX_BUNDLES, MAX_FOLDERS + 1));
        assert_eq!(listing.left_out, ["more than 256 folders", "1 of 257 bundles"]);
    }

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
        let media = |path: &str, found: &[Found]| {
            found.iter().find(|file| file.path == path).map(|file| file.media.clone()).unwrap()
        };
        assert_eq!((media("usb1/a.krs.tar", &found), media("a.krs.tar", &found)), ("usb1".into(), "".into()));
        assert_eq!(media("usb1/v.krs.tar", &found), "usb1/v.krs.tar", "T-192: no folder alone is to blame");
        std::fs::write(root.join("v.krs.tar.001"), "v").unwrap();
        let now = list(root).into_iter().find(|file| file.path == "v.krs.tar").unwrap();
        assert!(found.iter().all(|file| file.stamp != now.stamp), "it changed when a volume came");
    }
}
