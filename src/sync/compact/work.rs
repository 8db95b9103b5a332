// SPDX-License-Identifier: Apache-2.0
//! The work folder of a bundle that is being made: layers, patches and recipes, each under its digest.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;

use camino::{Utf8Path, Utf8PathBuf};

use super::error::CompactError;
use crate::oci::digest::Digest;

/// The file that a run locks, so that another one for the same archive does not write among its files.
const LOCK: &str = "lock";
/// The patch that is being made, and the recipe.
pub(super) const PARTS: [&str; 2] = ["patch.part", "recipe.part"];

/// A work folder that this run has locked.
#[derive(Debug)]
pub struct WorkFolder {
    path: Utf8PathBuf,
    lock: File,
}

impl Drop for WorkFolder {
    fn drop(&mut self) {
        // Closing the file is not enough: a child process that is being started shares the lock until it runs its program.
        let _ = self.lock.unlock();
    }
}

impl WorkFolder {
    /// Makes the folder where it is absent, and locks it.
    pub(super) fn open(path: &Utf8Path) -> Result<Self, CompactError> {
        let work_error = |source| CompactError::Work { folder: path.to_owned(), source };
        if path.symlink_metadata().is_ok_and(|found| !found.is_dir()) {
            return Err(work_error(io::ErrorKind::NotADirectory.into()));
        }
        fs::create_dir_all(path).map_err(work_error)?;
        let lock = OpenOptions::new().write(true).create(true).truncate(false).open(path.join(LOCK));
        let lock = lock.map_err(work_error)?;
        match lock.try_lock() {
            Err(TryLockError::WouldBlock) => return Err(CompactError::Busy { folder: path.to_owned() }),
            // A file system without locks is accepted: other runs cannot be detected there.
            Ok(()) | Err(TryLockError::Error(_)) => {}
        }
        Ok(Self { path: path.to_owned(), lock })
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
            if is_digest || PARTS.contains(&name) || name == LOCK {
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
