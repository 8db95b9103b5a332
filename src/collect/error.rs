// SPDX-License-Identifier: Apache-2.0
use std::io;

use camino::Utf8PathBuf;
use thiserror::Error;

use crate::error::{Classify, ErrorKind};

/// Why nothing was collected at all.
#[derive(Debug, Error)]
pub enum CollectError {
    /// A source that cannot be opened.
    #[error("cannot read the source {path}: {error}")]
    Source {
        /// As the call names it.
        path: Utf8PathBuf,
        /// What the system says.
        #[source]
        error: io::Error,
    },
    /// A source that is a device, a pipe or a socket.
    #[error("{0} is neither a file nor a folder")]
    NotRegular(Utf8PathBuf),
    /// More files than are read.
    #[error("the sources hold more than {0} files")]
    TooMany(usize),
}

impl Classify for CollectError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Usage
    }

    fn help(&self) -> Option<String> {
        Some(match self {
            Self::Source { .. } => "name a folder, a manifest, a chart or a list of images".to_owned(),
            Self::NotRegular(_) => "pipe it: … | krs collect -".to_owned(),
            Self::TooMany(_) => "name the folders with manifests, or exclude others in .krsignore".to_owned(),
        })
    }
}
