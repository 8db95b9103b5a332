// SPDX-License-Identifier: Apache-2.0
//! Finds the bundles in a folder by their content, not by their names.

use std::collections::BTreeSet;
use std::io::Read as _;

use camino::{Utf8Path, Utf8PathBuf};

use super::reader::begins_as_bundle;
use crate::bundle::format::layout;
use crate::bundle::format::volumes;

/// Deepest folder that is searched, below the one that was named.
const MAX_DEPTH: usize = 4;
/// Most entries of folders that are read, and most bundles that are found.
const MAX_ENTRIES: usize = 20_000;
const MAX_FOUND: usize = 200;

/// The form in which a bundle was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Form {
    /// One file.
    Archive,
    /// Several files, as `krs bundle --volume-size` writes them.
    Volumes,
    /// A folder with the content of an unpacked bundle.
    Unpacked,
    /// A ZIP archive that holds a bundle.
    Zip,
    /// A volume whose name does not tell its bundle and its number any more.
    RenamedVolume,
}

/// A bundle in a folder, or a bundle in a form that krs cannot open.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FoundBundle {
    /// Its file, the archive that its volumes are of, or its folder.
    pub path: Utf8PathBuf,
    /// Whether it is one file or split.
    pub form: Form,
}

/// What a folder holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FoundBundles {
    /// The bundles, sorted.
    pub bundles: Vec<FoundBundle>,
    /// Files that are no part of a bundle.
    pub other_files: usize,
    /// Whether the search ended early: more entries or bundles, deeper folders, or folders that cannot be read.
    pub is_cut: bool,
}

/// Searches `folder` and the folders in it, without following links. Reads only the beginning of each file, and checks
/// nothing.
pub fn find_bundles(folder: &Utf8Path) -> FoundBundles {
    let mut found = FoundBundles::default();
    let (mut bundles, mut entry_count) = (BTreeSet::new(), 0);
    let mut folders = vec![(folder.to_owned(), 0)];
    while let Some((folder, depth)) = folders.pop() {
        if folder.join(layout::OCI_LAYOUT).is_file() && folder.join(layout::MANIFEST).is_file() {
            bundles.insert(FoundBundle { path: folder, form: Form::Unpacked });
            continue;
        }
        let Ok(entries) = folder.read_dir_utf8() else {
            found.is_cut = true;
            continue;
        };
        for entry in entries {
            entry_count += 1;
            if entry_count > MAX_ENTRIES || bundles.len() >= MAX_FOUND {
                found.is_cut = true;
                break;
            }
            let Ok(entry) = entry else {
                found.is_cut = true;
                continue;
            };
            let path = entry.path().to_owned();
            match entry.file_type() {
                Ok(kind) if kind.is_dir() && depth < MAX_DEPTH => folders.push((path, depth + 1)),
                Ok(kind) if kind.is_dir() => found.is_cut = true,
                Ok(kind) if kind.is_file() => match form(&path) {
                    Some((path, form)) => drop(bundles.insert(FoundBundle { path, form })),
                    None if is_list(&path) => {}
                    None => found.other_files += 1,
                },
                _ => {}
            }
        }
    }
    found.bundles = bundles.into_iter().collect();
    found
}

/// What a file is, or is a part of.
fn form(path: &Utf8Path) -> Option<(Utf8PathBuf, Form)> {
    if let Some((archive, _)) = volumes::volume_of(path) {
        // A volume beside an archive that is one file is not a separate bundle.
        let form = if archive.is_file() { Form::Archive } else { Form::Volumes };
        return Some((archive, form));
    }
    if begins_as_bundle(path) {
        let form = if volumes::is_renamed(path) { Form::RenamedVolume } else { Form::Archive };
        return Some((path.to_owned(), form));
    }
    // An empty or damaged copy; the error comes when it is opened.
    if volumes::is_archive(path) {
        return Some((path.to_owned(), Form::Archive));
    }
    if volumes::is_renamed(path) && path.as_str().to_ascii_lowercase().contains(".krs") {
        return Some((path.to_owned(), Form::RenamedVolume));
    }
    is_zip(path).then(|| (path.to_owned(), Form::Zip))
}

/// Whether a file has the name of a list of volumes.
fn is_list(path: &Utf8Path) -> bool {
    path.as_str().to_ascii_lowercase().ends_with(".krs.json")
}

/// Whether a file is a ZIP archive whose first file is named as a bundle, or as a part of an unpacked one. (APPNOTE.TXT,
/// 4.3.7: a local file header of 30 bytes, whose last four are the lengths of the name and of the extra field.)
fn is_zip(path: &Utf8Path) -> bool {
    let mut begin = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(512).read_to_end(&mut begin));
    if read.is_err() || !begin.starts_with(b"PK\x03\x04") {
        return false;
    }
    let Some(&[low, high]) = begin.get(26..28) else { return false };
    let length = usize::from(u16::from_le_bytes([low, high]));
    let name = begin.get(30..30 + length.min(400)).unwrap_or_default();
    let name = String::from_utf8_lossy(name).to_ascii_lowercase();
    name.contains(".krs.") || name.ends_with(layout::OCI_LAYOUT) || name.ends_with(layout::MANIFEST)
}
