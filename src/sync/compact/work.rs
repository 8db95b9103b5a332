// SPDX-License-Identifier: Apache-2.0
//! The work folder of a bundle that is being made: layers, patches and recipes, each under its digest.

use std::sync::Arc;
use std::{fs, io};

use camino::{Utf8Path, Utf8PathBuf};

use super::error::CompactError;
use crate::bundle::ArchiveLock;
use crate::oci::digest::Digest;

/// The patch that is being made, and the recipe.
pub(super) const PARTS: [&str; 2] = ["patch.part", "recipe.part"];

/// The folder `FILE.compact` beside an archive. Only who has the archive's lock uses it.
#[derive(Debug)]
pub struct WorkFolder {
    path: Utf8PathBuf,
    _lock: Arc<ArchiveLock>,
}

impl WorkFolder {
    /// Makes the folder where it is absent.
    pub(super) fn open(lock: &Arc<ArchiveLock>) -> Result<Self, CompactError> {
        let path = Utf8PathBuf::from(format!("{}.compact", lock.archive()));
        let work_error = |source| CompactError::Work { folder: path.clone(), source };
        if path.symlink_metadata().is_ok_and(|found| !found.is_dir()) {
            return Err(work_error(io::ErrorKind::NotADirectory.into()));
        }
        fs::create_dir_all(&path).map_err(work_error)?;
        Ok(Self { path, _lock: Arc::clone(lock) })
    }

    /// Removes the folder, with what [`compact`](super::compact) wrote there and nothing else.
    ///
    /// # Errors
    /// It cannot be removed: what somebody else put there stays, and the folder with it.
    pub fn remove(self) -> io::Result<()> {
        for entry in self.path.read_dir_utf8()? {
            let entry = entry?;
            let name = entry.file_name();
            let stem = name.strip_suffix(".part").unwrap_or(name);
            let is_digest = stem.len() == 64 && stem.bytes().all(|byte| byte.is_ascii_hexdigit());
            if is_digest || PARTS.contains(&name) {
                fs::remove_file(entry.path())?;
            }
        }
        fs::remove_dir(&self.path)
    }

    /// Where it is.
    pub fn path(&self) -> &Utf8Path {
        &self.path
    }
}

/// The file of a blob in a work folder.
pub(super) fn file(folder: &Utf8Path, digest: &Digest) -> Utf8PathBuf {
    folder.join(digest.hex())
}
