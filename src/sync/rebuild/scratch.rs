// SPDX-License-Identifier: Apache-2.0
//! Scratch space: files without names, which end with the process.

use std::fs::File;
use std::io;
use std::sync::Arc;

use camino::{Utf8Path, Utf8PathBuf};

use super::error::RebuildError;
use crate::bundle::space;

/// A folder for files that are needed for a moment.
#[derive(Debug, Clone)]
pub struct Scratch {
    folder: Arc<Utf8PathBuf>,
    /// The most bytes that may be used, besides what is free.
    limit: Option<u64>,
}

impl Default for Scratch {
    /// The system's folder for temporary files.
    fn default() -> Self {
        let folder = Utf8PathBuf::from_path_buf(std::env::temp_dir());
        Self::new(folder.unwrap_or_else(|_| Utf8PathBuf::from("/tmp")), None)
    }
}

impl Scratch {
    /// Files are made in `folder`, which must exist. `limit`: the most bytes at one time; `None`: what is free.
    pub fn new(folder: impl Into<Utf8PathBuf>, limit: Option<u64>) -> Self {
        Self { folder: Arc::new(folder.into()), limit }
    }

    /// The folder.
    pub fn folder(&self) -> &Utf8Path {
        &self.folder
    }

    /// A new file without a name.
    pub(super) fn file(&self) -> Result<File, RebuildError> {
        tempfile::tempfile_in(self.folder.as_std_path()).map_err(|source| self.error(source))
    }

    /// Checks that files can be made there.
    ///
    /// # Errors
    /// [`RebuildError::Scratch`].
    pub fn check(&self) -> Result<(), RebuildError> {
        self.file().map(drop)
    }

    /// Checks that there is space for so many bytes.
    pub(in crate::sync) fn check_space(&self, needed: u64) -> Result<(), RebuildError> {
        let free = space(self.folder()).map(|space| space.free);
        let available = free.into_iter().chain(self.limit).min();
        match available.filter(|available| *available < needed) {
            Some(available) => {
                Err(RebuildError::Space { folder: self.folder().to_owned(), needed, available })
            }
            None => Ok(()),
        }
    }

    pub(in crate::sync) fn error(&self, source: io::Error) -> RebuildError {
        RebuildError::Scratch { folder: self.folder().to_owned(), source }
    }
}
