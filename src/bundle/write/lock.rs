// SPDX-License-Identifier: Apache-2.0
//! That one run at a time writes an archive, and what belongs to it.

use std::sync::Arc;

use camino::{Utf8Path, Utf8PathBuf};

use super::journal::Journal;
use crate::bundle::disk::file;
use crate::bundle::error::BundleError;

/// The right to write the archive of a path. Whoever prepares something beside the archive takes it before.
#[derive(Debug)]
pub struct ArchiveLock {
    path: Utf8PathBuf,
    pub(super) journal: Journal,
}

pub(super) fn journal_path(path: &Utf8Path) -> Utf8PathBuf {
    format!("{path}.journal").into()
}

impl ArchiveLock {
    /// Locks the archive `path` by its journal, as long as one of the returned values lives. The journal is removed then if it
    /// records nothing.
    ///
    /// # Errors
    /// [`BundleError::Busy`] if another run has it, [`BundleError::Special`], [`BundleError::Write`].
    pub fn take(path: &Utf8Path) -> Result<Arc<Self>, BundleError> {
        let journal = journal_path(path);
        if let Some(what) = file::special(&journal) {
            return Err(BundleError::Special { path: journal, what });
        }
        let taken = Journal::take(&journal);
        let taken = taken.map_err(|source| BundleError::Write { path: journal, source })?;
        let journal = taken.ok_or_else(|| BundleError::Busy { path: path.to_owned() })?;
        Ok(Arc::new(Self { path: path.to_owned(), journal }))
    }

    /// The archive that is locked.
    pub fn archive(&self) -> &Utf8Path {
        &self.path
    }

    /// Whether this is the lock of the archive `path`.
    pub(super) fn is_of(&self, path: &Utf8Path) -> bool {
        self.path == path
    }
}

impl Drop for ArchiveLock {
    fn drop(&mut self) {
        if self.journal.is_empty() {
            self.journal.remove(&journal_path(&self.path));
        }
    }
}
