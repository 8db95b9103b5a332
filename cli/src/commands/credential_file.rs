// SPDX-License-Identifier: Apache-2.0
//! A file with credentials on disk: read completely, and replaced as one by a file that only its owner can read.

use std::{fs, io};

use camino::Utf8Path;
use krs_core::error::{help_against_write, io_kind};
use krs_core::files;
use krs_core::registry::CredentialFile;

use crate::diagnostic::Failure;
use crate::replace_file::{Access, replace_file};

/// Largest file that is read, in bytes: what the reader of credentials takes, too.
const MAX_BYTES: u64 = 1 << 20;

/// Reads the file; one that does not exist is empty.
///
/// # Errors
/// It cannot be read, or is not understood.
pub(super) fn read(path: &Utf8Path) -> Result<CredentialFile, Failure> {
    let bytes = match files::read_file(path, MAX_BYTES) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        read => read.map_err(|error| Failure::other(format!("cannot read {path}: {error}")))?,
    };
    Ok(CredentialFile::parse(path, &bytes)?)
}

/// Replaces the file; folders that do not exist are made for its owner alone.
///
/// # Errors
/// What the system says. The file is then as it was.
pub(super) fn write(path: &Utf8Path, file: &CredentialFile) -> Result<(), Failure> {
    replace(path, file.to_text().expose().as_bytes()).map_err(|error| {
        Failure::new(io_kind(&error), format!("cannot write {path}: {error}"))
            .help(help_against_write(&error))
    })
}

fn replace(path: &Utf8Path, content: &[u8]) -> io::Result<()> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_str().is_empty()) {
        make_folder(folder)?;
    }
    replace_file(path, content, Access::Private)
}

fn make_folder(folder: &Utf8Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt as _;
        builder.mode(0o700);
    }
    builder.create(folder)
}
