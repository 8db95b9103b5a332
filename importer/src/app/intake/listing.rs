// SPDX-License-Identifier: Apache-2.0
//! What lies in the drop folder. Blocking.

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use krs_core::redact::printable;
use parking_lot::Mutex;

use super::folder::{Folder, Found, Stamp, is_ours, read};
use super::watchdog::{Hangs, Watchdog};

/// Most entries of one folder that are checked; those that are no bundle cost next to nothing.
const MAX_ENTRIES: usize = 1_000_000;
/// How long all folders together may take to say what they hold, and each of those that begin after that.
const LIST_LIMIT: Duration = Duration::from_secs(30);
const LAST_LIMIT: Duration = Duration::from_secs(1);
/// Folders that are listed at once.
const MAX_LISTERS: usize = 32;
/// Most folders right below the drop folder that are checked.
const MAX_FOLDERS: usize = 256;
/// Most bundles at once.
const MAX_BUNDLES: usize = 256;

/// What lies in the drop folder.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Listing {
    /// The bundles in it and in the folders right below it, in the order of their paths: files with names of bundles, and
    /// volumes, which count as one file wherever they lie. A mount that is empty or went away is no fault.
    pub found: Vec<Found>,
    /// The folders that answer, the drop folder first.
    pub folders: Vec<Utf8PathBuf>,
    /// Folders that do not answer, as below the drop folder, and since when.
    pub hanging: BTreeMap<Utf8PathBuf, Hangs>,
    /// Folders and files that cannot be read, as below the drop folder, and why, in words.
    pub unreadable: BTreeMap<Utf8PathBuf, String>,
    /// What was not checked because there is too much, in words.
    pub left_out: Vec<String>,
}

/// Reads a folder, at most so many of its entries, that is below the drop folder as the last argument says.
type Reader = fn(usize, &Utf8Path, &Utf8Path) -> Folder;

/// How the drop folder is listed.
#[derive(Clone, Copy)]
struct Lister {
    /// Most entries of each folder.
    most: usize,
    /// For all folders together.
    limit: Duration,
    read: Reader,
}

/// Reads `folder` and the folders right below it.
pub(super) fn list(folder: &Utf8Path, watchdog: &Watchdog) -> Listing {
    Lister { most: MAX_ENTRIES, limit: LIST_LIMIT, read }.list(folder, watchdog)
}

/// How much of a limit for all is left for one more call: those that begin late get a little, too.
pub(super) fn time_left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now()).max(LAST_LIMIT)
}

impl Lister {
    fn list(self, folder: &Utf8Path, watchdog: &Watchdog) -> Listing {
        let deadline = Instant::now() + self.limit;
        let mut listing = Listing::default();
        let root = folder.to_owned();
        let folders = match watchdog.call(folder, self.limit, move || folders(&root)) {
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
        let below = |sub: &Utf8Path| sub.strip_prefix(folder).unwrap_or(sub).to_owned();
        let (left, results) = (Mutex::new(folders.iter()), Mutex::new(BTreeMap::new()));
        // The lock is held for no longer than this takes.
        let next = || left.lock().next();
        // Folders that do not answer wait side by side.
        std::thread::scope(|scope| {
            for _ in 0..MAX_LISTERS.min(folders.len()) {
                scope.spawn(|| {
                    while let Some(sub) = next() {
                        let (path, prefix) = (sub.clone(), below(sub));
                        let read = move || (self.read)(self.most, &path, &prefix);
                        let result = watchdog.call(sub, time_left(deadline), read);
                        results.lock().insert(sub.clone(), result);
                    }
                });
            }
        });
        let results = results.into_inner();
        let (mut found, mut volumes) = (Vec::new(), BTreeMap::<Utf8PathBuf, BTreeMap<u64, Found>>::new());
        for (sub, result) in results {
            let below = below(&sub);
            match result {
                Ok(read) => {
                    if read.more {
                        let name = if below.as_str().is_empty() { "the drop folder" } else { below.as_str() };
                        let most = self.most;
                        let text = format!("more than {most} entries in {}", printable(name, 100));
                        listing.left_out.push(text);
                    }
                    found.extend(read.bundles);
                    for (archive, n, volume) in read.volumes {
                        volumes.entry(archive).or_default().entry(n).or_insert(volume);
                    }
                    listing.unreadable.extend(read.unreadable);
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
}

/// The drop folder and the folders right below it, and whether there are more than are checked. What of it cannot be
/// read, reading its files tells.
fn folders(folder: &Utf8Path) -> (Vec<Utf8PathBuf>, bool) {
    let entries = folder.read_dir_utf8().into_iter().flatten().take(MAX_ENTRIES);
    // One name that is not UTF-8 hides none of the others; any other error ends it.
    let entries = entries.take_while(|entry| {
        entry.as_ref().err().is_none_or(|error| error.kind() == io::ErrorKind::InvalidData)
    });
    let below = entries.filter_map(Result::ok).filter(|entry| is_ours(entry.file_name()));
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
        inode: (
            all.inode.0.rotate_left(7) ^ volume.stamp.inode.0,
            all.inode.1.rotate_left(7) ^ volume.stamp.inode.1 ^ n,
        ),
        device: first.stamp.device,
    });
    let folder = first.path.parent();
    let one = volumes.values().all(|volume| volume.path.parent() == folder);
    let media = if one { first.media.clone() } else { path.clone() };
    Some(Found { path, stamp, media })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::ffi::OsStrExt as _;

    use super::*;

    fn list(folder: &Utf8Path) -> Vec<Found> {
        super::list(folder, &Watchdog::default()).found
    }

    fn up_to(most: usize) -> Lister {
        Lister { most, limit: LIST_LIMIT, read }
    }

    #[test]
    fn t222_folders_that_do_not_answer_are_waited_for_side_by_side_and_not_again() {
        fn slow(most: usize, folder: &Utf8Path, below: &Utf8Path) -> Folder {
            if below.as_str().starts_with("dead") {
                std::thread::sleep(Duration::from_secs(5));
            }
            read(most, folder, below)
        }
        let folder = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(folder.path()).unwrap();
        for n in 0..24 {
            std::fs::create_dir(root.join(format!("dead{n:02}"))).unwrap();
        }
        std::fs::create_dir(root.join("usb")).unwrap();
        std::fs::write(root.join("usb/a.krs.tar"), "a").unwrap();
        let (lister, watchdog) =
            (Lister { limit: Duration::from_secs(1), read: slow, ..up_to(20) }, Watchdog::default());
        for limit in [4, 1] {
            let began = Instant::now();
            let listing = lister.list(root, &watchdog);
            assert!(began.elapsed() < Duration::from_secs(limit), "{:?}", began.elapsed());
            assert_eq!((listing.found.len(), listing.hanging.len()), (1, 24));
        }
    }

    #[test]
    fn t39_a_name_that_is_not_utf_8_hides_no_other_bundle_and_is_named() {
        use std::ffi::OsStr;
        let folder = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(folder.path()).unwrap();
        for n in 0..20 {
            let name = [b"b\xFC", n.to_string().as_bytes(), b".krs.tar"].concat();
            std::fs::write(folder.path().join(OsStr::from_bytes(&name)), "x").unwrap();
            std::fs::create_dir(
                folder.path().join(OsStr::from_bytes(&[b"\xFC", n.to_string().as_bytes()].concat())),
            )
            .unwrap();
            std::fs::write(root.join(format!("a{n}.krs.tar")), "a").unwrap();
            std::fs::create_dir(root.join(format!("usb{n}"))).unwrap();
        }
        let listing = super::list(root, &Watchdog::default());
        assert_eq!((listing.found.len(), listing.folders.len(), listing.unreadable.len()), (20, 21, 20));
        assert!(listing.unreadable.values().all(|text| text.contains("rename")), "{:?}", listing.unreadable);
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
    fn t142_entries_that_are_not_read_are_reported_with_their_folder() {
        let folder = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(folder.path()).unwrap();
        std::fs::create_dir(root.join("usb")).unwrap();
        for n in 0..21 {
            std::fs::write(root.join(format!("usb/{n}.krs.tar")), "z").unwrap();
        }
        let listing = up_to(20).list(root, &Watchdog::default());
        assert_eq!(
            (listing.found.len(), listing.left_out),
            (20, vec!["more than 20 entries in usb".to_owned()])
        );
        assert!(up_to(21).list(root, &Watchdog::default()).left_out.is_empty());
    }

    #[test]
    fn t142_what_is_too_much_is_reported() {
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
