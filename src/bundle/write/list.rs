// SPDX-License-Identifier: Apache-2.0
//! Writes `NAME.krs.json` and its signatures.

use camino::{Utf8Path, Utf8PathBuf};

use super::write_files::PART;
use crate::bundle::disk::file;
use crate::bundle::error::BundleError;
use crate::bundle::format::volumes::VolumeList;
use crate::bundle::read::list::signature_path;

/// Writes `NAME.krs.json` beside the volumes. The signatures of an earlier list are removed.
pub(super) fn write_list(path: &Utf8Path, list: &VolumeList) -> Result<(), BundleError> {
    let encoded = encode(path, list)?;
    let stale = signature_path(path);
    match std::fs::remove_file(&stale) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            return Err(BundleError::Write { path: stale, source });
        }
        _ => {}
    }
    replace(path, &encoded)
}

pub(super) fn encode(path: &Utf8Path, list: &VolumeList) -> Result<Vec<u8>, BundleError> {
    list.encode().map_err(|source| BundleError::Manifest { path: path.to_owned(), source: source.into() })
}

/// Replaces a small file: a temporary one first, on the disk, then the name.
pub(super) fn replace(path: &Utf8Path, bytes: &[u8]) -> Result<(), BundleError> {
    use std::io::Write as _;
    let temporary = Utf8PathBuf::from(format!("{path}{PART}"));
    let write = || {
        let mut file = std::fs::File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)?;
        file::sync_folder(folder(path))
    };
    write().map_err(|source| BundleError::Write { path: path.to_owned(), source })
}

/// The folder that a file lies in.
pub(super) fn folder(path: &Utf8Path) -> &Utf8Path {
    path.parent().unwrap_or(Utf8Path::new("."))
}
