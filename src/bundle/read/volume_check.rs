// SPDX-License-Identifier: Apache-2.0
//! Volumes one by one: what can be said of the media that are here while others are not. (T-33)

use camino::{Utf8Path, Utf8PathBuf};

use super::list::{read_list, signature};
use crate::bundle::disk::file;
use crate::bundle::disk::hash::hash;
use crate::bundle::error::BundleError;
use crate::bundle::format::volumes::{self, VolumeList};
use crate::bundle::sign::{Signatures, Trust};

/// What a volume is, compared with the list of volumes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VolumeState {
    /// It is here, and every byte is right.
    Right,
    /// It is here, and is not what the list says.
    Damaged,
    /// It is here, and cannot be read.
    Unreadable,
    /// It is not here.
    Missing,
}

/// Compares each volume that is here with the signed list beside it; `None` where there is no list. With
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
    let states = (1..).zip(list.volumes).map(|(n, volume)| {
        let state = here.get(&n).map_or(VolumeState::Missing, |path| {
            let digest = file::open(path, false).and_then(|file| {
                let right = file.metadata().is_ok_and(|m| m.is_file() && m.len() == volume.size);
                let read = |buf: &mut [u8], done| file::read_at(&file, buf, done);
                if right { hash(volume.size, read).map(Some) } else { Ok(None) }
            });
            match digest {
                Ok(digest) if digest == Some(volume.digest) => VolumeState::Right,
                Ok(_) => VolumeState::Damaged,
                Err(_) => VolumeState::Unreadable,
            }
        });
        (volume.name, state)
    });
    Ok(Some(states.collect()))
}
