// SPDX-License-Identifier: Apache-2.0
//! Why a catalog, or a line of it, cannot be used.

use std::io;
use std::time::Duration;

use camino::Utf8PathBuf;
use thiserror::Error;

use crate::error::{Classify, ErrorKind, help_against_write, io_kind};
use crate::format::FORMAT_VERSION;
use crate::json::JsonError;

/// Why a catalog, or a line of it, cannot be used.
#[derive(Debug, Error)]
pub enum CatalogError {
    /// A line is not JSON of this shape.
    #[error("it cannot be read: {0}")]
    Json(#[from] JsonError),
    /// A line was written by a later version of krs.
    #[error("it has format version {0}; this krs reads up to version {FORMAT_VERSION}")]
    Version(u32),
    /// A line contradicts itself.
    #[error("it contradicts itself: {0}")]
    Inconsistent(String),
    /// A line does not end within the limit.
    #[error("it has more than {0} bytes")]
    TooLong(usize),
    /// The file is no catalog: not even its first line is a record.
    #[error("{path} is not a catalog: its first line is not a record: {source}")]
    NoCatalog {
        /// The file.
        path: Utf8PathBuf,
        /// What is wrong with its first line.
        source: Box<Self>,
    },
    /// Another process writes to the file.
    #[error("{path} is locked by another process; waited {} s", waited.as_secs())]
    Locked {
        /// The file.
        path: Utf8PathBuf,
        /// For how long.
        waited: Duration,
    },
    /// The file cannot be opened or read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: Utf8PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file cannot be written.
    #[error("cannot write {path}: {source}")]
    Write {
        /// The file.
        path: Utf8PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl Classify for CatalogError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Json(_) | Self::Version(_) | Self::Inconsistent(_) | Self::TooLong(_) => ErrorKind::Corrupt,
            Self::NoCatalog { .. } => ErrorKind::Usage,
            Self::Locked { .. } => ErrorKind::Other,
            Self::Read { source, .. } if source.kind() == io::ErrorKind::NotFound => ErrorKind::Usage,
            Self::Read { source, .. } | Self::Write { source, .. } => io_kind(source),
        }
    }

    fn help(&self) -> Option<String> {
        Some(match self {
            Self::NoCatalog { .. } => {
                "name the file that `krs bundle --catalog FILE` writes; krs changes no other file".to_owned()
            }
            Self::Version(_) => "update krs where bundles are made".to_owned(),
            Self::Locked { .. } => "wait until the other krs has ended, and run the command again".to_owned(),
            Self::Write { source, .. } => help_against_write(source).to_owned(),
            _ => return None,
        })
    }
}
