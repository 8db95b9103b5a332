// SPDX-License-Identifier: Apache-2.0
//! `NAME.krs.json` beside the volumes of an archive, and the file with its signatures.

use camino::{Utf8Path, Utf8PathBuf};

use super::regular::open_regular;
use crate::bundle::disk::file;
use crate::bundle::error::BundleError;
use crate::bundle::format::volumes;

/// The message for a list of volumes that belongs to another bundle.
pub(in crate::bundle) const FOREIGN_LIST: &str = "it belongs to another bundle";

/// Reads `NAME.krs.json`, from the first folder that has one.
pub(in crate::bundle) fn read_list(
    archive: &Utf8Path,
    folders: &[Utf8PathBuf],
) -> Result<Option<(Utf8PathBuf, Vec<u8>)>, BundleError> {
    read_lists(archive, folders).next().transpose()
}

/// Reads `NAME.krs.json` from each folder that has one: each drive may have a copy.
pub(in crate::bundle) fn read_lists(
    archive: &Utf8Path,
    folders: &[Utf8PathBuf],
) -> impl Iterator<Item = Result<(Utf8PathBuf, Vec<u8>), BundleError>> {
    let own = volumes::list_path(archive);
    let others = folders.iter().filter_map(|folder| Some(folder.join(own.file_name()?)));
    let there = std::iter::once(own.clone()).chain(others.collect::<Vec<_>>());
    there.filter(|path| path.symlink_metadata().is_ok()).map(|path| {
        let (file, size) = open_regular(&path)?;
        let mut bytes = vec![0; usize::try_from(size.min(volumes::MAX_LIST as u64 + 1)).unwrap_or_default()];
        let read = file::read_at(&file, &mut bytes, 0);
        let read = read.map_err(|source| BundleError::Read { path: path.clone(), offset: 0, source })?;
        bytes.truncate(read);
        Ok((path, bytes))
    })
}

/// Largest `NAME.krs.json.minisig`, in bytes.
const MAX_SIGNATURE: u64 = 16 << 10;

/// The file with the signatures of a list.
pub(in crate::bundle) fn signature_path(list: &Utf8Path) -> Utf8PathBuf {
    format!("{list}.minisig").into()
}

/// The signatures of a list; empty if there are none.
pub(in crate::bundle) fn signature(list: &Utf8Path) -> Result<Vec<u8>, BundleError> {
    let path = signature_path(list);
    let Ok(file) = file::open(&path, false) else { return Ok(Vec::new()) };
    let regular = file.metadata().is_ok_and(|metadata| metadata.is_file());
    let mut bytes = vec![0; if regular { usize::try_from(MAX_SIGNATURE).unwrap_or_default() } else { 0 }];
    let read = file::read_at(&file, &mut bytes, 0);
    let read = read.map_err(|source| BundleError::Read { path, offset: 0, source })?;
    bytes.truncate(read);
    Ok(bytes)
}
