// SPDX-License-Identifier: Apache-2.0
//! Resolves the paths of a call, and finds their checkouts.

use std::io;
use std::path::{Path, PathBuf};

use camino::Utf8Path;

use crate::set::error::SetError;

/// Most folders between the root and a file.
pub(crate) const MAX_DEPTH: usize = 64;

/// The nearest folder at or above `path` that is a Git checkout.
pub(crate) fn checkout(path: &Path) -> Option<&Path> {
    path.ancestors().take(MAX_DEPTH).find(|folder| folder.join(".git").exists())
}

/// A file of the call, as the checkout that it lies in names it: relative to its top folder, with `/` between the parts.
/// `None`: it lies in no checkout.
pub fn path_in_checkout(file: &Utf8Path) -> Option<String> {
    let real = match file.file_name() {
        // A symbolic link has a place of its own.
        Some(name) if !file.is_dir() => {
            let folder = file.parent().filter(|folder| !folder.as_str().is_empty());
            folder.unwrap_or(Utf8Path::new(".")).canonicalize_utf8().ok()?.join(name)
        }
        _ => file.canonicalize_utf8().ok()?,
    };
    let top = checkout(real.as_std_path())?;
    let relative = Utf8Path::from_path(real.as_std_path().strip_prefix(top).ok()?)?;
    let parts = relative.components().map(|part| part.as_str()).collect::<Vec<_>>();
    Some(if parts.is_empty() { ".".to_owned() } else { parts.join("/") })
}

/// A path of the call.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::set) enum Root {
    /// A folder to walk: its canonical path.
    Folder(PathBuf),
    /// A file to read, with any name: its canonical path, and its path in the call.
    File(PathBuf, PathBuf),
}

impl Root {
    /// The folder that contains it.
    pub(in crate::set) fn folder(&self) -> PathBuf {
        match self {
            Self::Folder(folder) => folder.clone(),
            Self::File(_, named) => named.parent().unwrap_or(named).to_owned(),
        }
    }
}

/// Resolves a path of the call.
///
/// # Errors
/// It does not exist, or is neither a file nor a folder.
pub(in crate::set) fn root(path: &Utf8Path) -> Result<Root, SetError> {
    let cannot = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound if path.as_std_path().is_symlink() => {
            SetError::file(path, "is a symbolic link to what does not exist")
        }
        io::ErrorKind::NotFound => {
            SetError::file(path, "does not exist").help("name a folder of a Git checkout, or a file")
        }
        _ => SetError::file(path, format!("cannot be opened: {error}")),
    };
    let real = path.canonicalize().map_err(cannot)?;
    if real.is_dir() {
        return Ok(Root::Folder(real));
    }
    if !real.is_file() {
        return Err(SetError::file(path, "is neither a file nor a folder"));
    }
    let folder = path.parent().filter(|folder| !folder.as_str().is_empty()).unwrap_or(Utf8Path::new("."));
    let folder = folder.canonicalize().map_err(cannot)?;
    let named = folder.join(path.file_name().unwrap_or(path.as_str()));
    Ok(Root::File(real, named))
}
