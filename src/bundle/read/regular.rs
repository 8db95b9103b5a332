// SPDX-License-Identifier: Apache-2.0
//! Opening what must be a regular file.

use std::fs::File;

use camino::Utf8Path;

use crate::bundle::disk::file;
use crate::bundle::error::BundleError;

/// Opens a regular file, and nothing else. (T-10, T-12)
pub(super) fn open_regular(path: &Utf8Path) -> Result<(File, u64), BundleError> {
    let special = |what| BundleError::Special { path: path.to_owned(), what };
    let file = file::open(path, false).map_err(|source| match file::special(path) {
        Some(what) => special(what),
        None => BundleError::Open { path: path.to_owned(), source },
    })?;
    let metadata = file.metadata().map_err(|source| BundleError::Open { path: path.to_owned(), source })?;
    if !metadata.is_file() {
        return Err(special(file::special(path).unwrap_or("not a regular file")));
    }
    Ok((file, metadata.len()))
}
