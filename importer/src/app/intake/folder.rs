// SPDX-License-Identifier: Apache-2.0
//! What one folder holds, and why something of it cannot be read. Blocking.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::time::SystemTime;

use camino::{Utf8Path, Utf8PathBuf};
use krs_core::bundle::volume_of;
use krs_core::redact::printable;

use crate::adapters::media_receipts;

/// What the names of bundles end with.
pub(super) const SUFFIX: &str = ".krs.tar";
/// Folders that systems make on media for themselves, and that of the receipts.
const SYSTEM: [&str; 4] = ["lost+found", "System Volume Information", "$RECYCLE.BIN", media_receipts::FOLDER];

/// By what a file that changed is told from one that did not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    /// Bytes.
    pub size: u64,
    /// When it was last written to.
    pub modified: Option<SystemTime>,
    /// The device and the number of the file on it: other ones after media were pulled and put back.
    pub inode: (u64, u64),
    /// The file system; of volumes: that of the first.
    pub device: u64,
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

/// The files of one folder that matter here.
#[derive(Default)]
pub(super) struct Folder {
    pub bundles: Vec<Found>,
    pub volumes: Vec<(Utf8PathBuf, u64, Found)>,
    /// Whether it has more than are checked.
    pub more: bool,
    pub unreadable: BTreeMap<Utf8PathBuf, String>,
}

/// Reads the first `most` entries of a folder that is `below` the drop folder.
pub(super) fn read(most: usize, folder: &Utf8Path, below: &Utf8Path) -> Folder {
    let mut read = Folder::default();
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        // A mount that went away.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return read,
        Err(error) => {
            read.unreadable.insert(below.to_owned(), unreadable(folder, below, &error));
            return read;
        }
    };
    for (n, entry) in entries.enumerate() {
        if n >= most {
            read.more = true;
            break;
        }
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                read.unreadable.insert(below.to_owned(), unreadable(folder, below, &error));
                // Media that went away may give errors without end.
                break;
            }
        };
        let name = entry.file_name();
        let Some(name) = name.to_str() else {
            if name.as_bytes().ends_with(SUFFIX.as_bytes()) {
                let path = below.join(name.to_string_lossy().as_ref());
                let text = format!("{} is not read: its name is not UTF-8; rename it", shown(&path));
                read.unreadable.insert(path, text);
            }
            continue;
        };
        let volume = volume_of(Utf8Path::new(name));
        let bundle = volume.as_ref().map_or(name, |(archive, _)| archive.as_str());
        if !is_ours(name) || bundle.strip_suffix(SUFFIX).is_none_or(str::is_empty) {
            continue;
        }
        let path = below.join(name);
        // Of a link: about the link itself.
        match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(metadata) => {
                let found = found(path, &metadata);
                match volume {
                    Some((archive, n)) => read.volumes.push((archive, n, found)),
                    None => read.bundles.push(found),
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                // Without the right to pass the folder, none of its files can be reached.
                let (unreachable, name) = if error.kind() == io::ErrorKind::PermissionDenied {
                    (folder.to_owned(), below.to_owned())
                } else {
                    (folder.join(name), path.clone())
                };
                read.unreadable.insert(path, unreadable(&unreachable, &name, &error));
            }
        }
    }
    read
}

/// A path below the drop folder, for people.
fn shown(below: &Utf8Path) -> String {
    match below.as_str() {
        "" => "the drop folder".to_owned(),
        path => printable(path, 100),
    }
}

/// Why a folder or file cannot be read, and what mends it. `below` is its path below the drop folder. (T-39)
fn unreadable(path: &Utf8Path, below: &Utf8Path, error: &io::Error) -> String {
    let name = shown(below);
    if error.kind() != io::ErrorKind::PermissionDenied {
        return format!("{name} cannot be read: {error}; check the media, or mount them again");
    }
    let user = std::fs::metadata("/proc/self")
        .map_or_else(|_| "another user".to_owned(), |of| format!("user {}", of.uid()));
    // One that lies in an unreadable folder does not say its mode either.
    let mode = std::fs::symlink_metadata(path);
    let mode =
        mode.map(|of| format!(", mode {:04o}, owner {}", of.mode() & 0o7777, of.uid())).unwrap_or_default();
    format!(
        "{name} cannot be read by {user}: {error}{mode}; run `chmod a+rx` on it ({path} in the importer's Pod), or mount the media with the option umask=022"
    )
}

/// Whether people put it there, and not a system for itself.
pub(super) fn is_ours(name: &str) -> bool {
    !name.starts_with('.') && !SYSTEM.contains(&name)
}

fn found(path: Utf8PathBuf, metadata: &Metadata) -> Found {
    let stamp = Stamp {
        size: metadata.len(),
        modified: metadata.modified().ok(),
        inode: (metadata.dev(), metadata.ino()),
        device: metadata.dev(),
    };
    let media = path.parent().unwrap_or(Utf8Path::new("")).to_owned();
    Found { path, stamp, media }
}
