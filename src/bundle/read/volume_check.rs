// SPDX-License-Identifier: Apache-2.0
//! Checks volumes one by one: what is known about the drives that are here while others are missing. (T-33)

use std::collections::HashMap;
use std::io;

use camino::{Utf8Path, Utf8PathBuf};

use super::list::{read_list, signature};
use crate::bundle::disk::file;
use crate::bundle::disk::hash::hash;
use crate::bundle::error::BundleError;
use crate::bundle::format::volumes::{self, Volume, VolumeList};
use crate::bundle::sign::{Signatures, Trust};
use crate::oci::digest::Digest;

/// Most files of the size of a volume that are read in search of a missing one.
const MAX_STRANGERS: usize = 16;

/// The state of a volume, compared with the list of volumes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VolumeState {
    /// Present and undamaged.
    Right,
    /// Present and damaged.
    Damaged,
    /// Present, and cannot be read.
    Unreadable,
    /// Present under another name.
    Renamed(Utf8PathBuf),
    /// There is no such file.
    Missing,
}

/// Compares each volume that is here with the signed list beside it; `None` if there is no list. With
/// [`Trust::Keys`] the list itself must be signed by one of them.
///
/// # Errors
/// [`BundleError`] of a list that is not acceptable.
pub fn check_volumes(
    path: &Utf8Path,
    folders: &[Utf8PathBuf],
    trust: &Trust,
) -> Result<Option<Vec<(String, VolumeState)>>, BundleError> {
    let archive = volumes::archive_of(path);
    let Some((list_path, bytes)) = read_list(&archive, folders)? else { return Ok(None) };
    if let Trust::Keys(_) = trust {
        let untrusted = |source| BundleError::Signature { path: list_path.clone(), source };
        let signatures = Signatures::parse(&signature(&list_path)?).map_err(untrusted)?;
        signatures.check(&bytes, trust).map_err(untrusted)?;
    }
    let list = VolumeList::parse(&bytes);
    let list = list.map_err(|source| BundleError::Manifest { path: list_path, source })?;
    let here = volumes::find(&archive, folders);
    let numbered = (1..).zip(&list.volumes);
    let missing = numbered.filter(|(n, _)| !here.contains_key(n)).map(|(_, volume)| volume);
    let renamed = find_renamed(&archive, folders, &missing.collect::<Vec<_>>());
    let states = (1..).zip(list.volumes).map(|(n, volume)| {
        let state = match (here.get(&n), renamed.get(&volume.digest)) {
            (Some(path), _) => match digest_of(path, volume.size) {
                Ok(digest) if digest == Some(volume.digest) => VolumeState::Right,
                Ok(_) => VolumeState::Damaged,
                Err(_) => VolumeState::Unreadable,
            },
            (None, Some(path)) => VolumeState::Renamed(path.clone()),
            (None, None) => VolumeState::Missing,
        };
        (volume.name, state)
    });
    Ok(Some(states.collect()))
}

/// The digest of a file; `None` if it does not have this size, or is not a regular file.
fn digest_of(path: &Utf8Path, size: u64) -> io::Result<Option<Digest>> {
    let file = file::open(path, false)?;
    if !file.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.len() == size) {
        return Ok(None);
    }
    hash(size, |buf, done| file::read_at(&file, buf, done)).map(Some)
}

/// The files in the folder of `archive` and in `folders` that are one of `missing` by their content, under any
/// name. Only files of the size of a missing volume are read.
fn find_renamed(
    archive: &Utf8Path,
    folders: &[Utf8PathBuf],
    missing: &[&Volume],
) -> HashMap<Digest, Utf8PathBuf> {
    let files = volumes::folders_of(archive, folders).flat_map(volumes::files);
    let own = |path: &Utf8PathBuf| {
        volumes::volume_of(path).is_some_and(|(of, _)| of.file_name() == archive.file_name())
    };
    let sized = files.filter(|path| !own(path)).filter_map(|path| {
        let found = path.symlink_metadata().ok().filter(std::fs::Metadata::is_file)?;
        missing.iter().any(|volume| volume.size == found.len()).then_some((path, found.len()))
    });
    let (mut renamed, mut read) = (HashMap::new(), 0);
    for (path, size) in sized {
        if renamed.len() == missing.len() || read >= missing.len() + MAX_STRANGERS {
            break;
        }
        read += 1;
        // What cannot be read is not known to be a volume.
        if let Ok(Some(digest)) = digest_of(&path, size)
            && missing.iter().any(|volume| volume.digest == digest)
        {
            renamed.entry(digest).or_insert(path);
        }
    }
    renamed
}
