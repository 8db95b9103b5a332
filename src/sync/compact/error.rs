// SPDX-License-Identifier: Apache-2.0
//! Why patches were not made.

use std::io;

use camino::Utf8PathBuf;
use thiserror::Error;

use crate::error::{self, Classify, ErrorKind};
use crate::oci::digest::Digest;
use crate::sync::plan::PlanError;
use crate::sync::rebuild::RebuildError;

/// Why patches were not made.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages explain the fields")]
pub enum CompactError {
    /// The work folder cannot be used.
    #[error("cannot use the work folder {folder}: {source}")]
    Work { folder: Utf8PathBuf, source: io::Error },
    /// There is not enough space for layers of earlier bundles.
    #[error(transparent)]
    Restore(RebuildError),
    /// The patches do not fit the plan.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A patch cannot be made.
    #[error("cannot make a patch of {} layers, the first of them {first}: {source}", .layers)]
    Diff { layers: usize, first: Digest, source: krs_compact::diff::DiffError },
    /// A task panicked or was cancelled.
    #[error("the run was cut off: {0}")]
    Task(#[from] tokio::task::JoinError),
}

impl Classify for CompactError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Work { source, .. } => error::io_kind(source),
            Self::Restore(e) => e.kind(),
            Self::Plan(e) => e.kind(),
            Self::Diff { .. } | Self::Task(_) => ErrorKind::Other,
        }
    }

    fn help(&self) -> Option<String> {
        match self {
            Self::Work { folder, source } if source.kind() == io::ErrorKind::NotADirectory => {
                Some(format!("remove {folder}, or write the bundle under another name"))
            }
            Self::Work { source, .. } => Some(error::help_against_write(source).to_owned()),
            Self::Restore(_) => Some("free some space, or write the bundle to another drive".to_owned()),
            Self::Plan(e) => e.help(),
            Self::Diff { .. } => Some("make the bundle without --compact".to_owned()),
            Self::Task(_) => None,
        }
    }
}
