// SPDX-License-Identifier: Apache-2.0
//! The files of the checkouts that a call reads.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use camino::Utf8PathBuf;

use super::model::{SETTINGS_FILE, Settings};
use super::parse::parse;
use crate::files::{open, read_to_end};
use crate::set::error::{SetError, SetErrors};
use crate::set::files::root::{Root, checkout, root};
use crate::set::rules::rule::SETTINGS;

/// Largest file, in bytes.
pub(in crate::set) const MAX_SETTINGS: u64 = 64 << 10;

/// Reads `krs.yaml` at the top of each checkout in which one of `paths` lies, and in each folder of `paths` that is in no
/// checkout. Paths that do not exist are left to [`load`](crate::set::load).
///
/// # Errors
/// A file that cannot be read or is not valid, or two that say different things.
pub fn settings(paths: &[Utf8PathBuf]) -> Result<Option<Settings>, SetErrors> {
    let roots = paths.iter().filter(|path| *path != "-").filter_map(|path| root(path).ok());
    let tops = roots.filter_map(|root| top(&root));
    let mut found = Vec::<Settings>::new();
    for top in tops.collect::<BTreeSet<_>>() {
        found.extend(read(&top)?);
    }
    let mut files = found.into_iter();
    let Some(first) = files.next() else { return Ok(None) };
    match files.find(|other| !first.has_same_values(other)) {
        None => Ok(Some(first)),
        Some(other) => {
            let message = format!("says something else than {}", first.file);
            let error = SetError::file(&other.file, message).rule(SETTINGS);
            Err(error.help("make the files the same, or read one checkout at a time").into())
        }
    }
}

/// The folder whose `krs.yaml` counts for a path. A file in no checkout has none: others may write to its folder.
pub(in crate::set) fn top(root: &Root) -> Option<PathBuf> {
    let folder = root.folder();
    match (checkout(&folder), root) {
        (Some(top), _) => Some(top.to_owned()),
        (None, Root::Folder(_)) => Some(folder),
        (None, Root::File(..)) => None,
    }
}

fn read(top: &Path) -> Result<Option<Settings>, SetErrors> {
    let path = top.join(SETTINGS_FILE);
    let file = shown(&path);
    let error = |message: String| SetErrors::from(SetError::file(&file, message).rule(SETTINGS));
    let cannot = |failure: io::Error| error(format!("cannot be read: {failure}"));
    match path.symlink_metadata() {
        Ok(found) if !found.is_file() => {
            return Err(error("is not a regular file; a symbolic link could leave the checkout".to_owned()));
        }
        Ok(_) => {}
        Err(failure) if failure.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(failure) => return Err(cannot(failure)),
    }
    // No link that was put there since then is followed.
    let opened = open(&path, false).map_err(cannot)?;
    let bytes = read_to_end(opened, MAX_SETTINGS).map_err(cannot)?;
    let text = String::from_utf8(bytes).map_err(|_| error("is not UTF-8".to_owned()))?;
    parse(&text, &file).map(Some)
}

/// The path as a person in the current folder would write it.
fn shown(path: &Path) -> String {
    let here = std::env::current_dir().and_then(|folder| folder.canonicalize()).ok();
    let relative = here.as_ref().and_then(|here| path.strip_prefix(here).ok());
    relative.unwrap_or(path).to_string_lossy().into_owned()
}
