// SPDX-License-Identifier: Apache-2.0
//! Effects of GitOps engines that krs does not apply, as messages.

use std::path::{Path, PathBuf};

use super::changes::MAX_NAMED;
use crate::error::shortened;

/// An effect of Kustomize, Flux or Argo CD that krs does not apply.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::set) struct Effect {
    /// The file that causes it.
    pub(in crate::set) file: PathBuf,
    /// Line from 1; 0: the file.
    pub(in crate::set) line: u64,
    /// Part of a sentence.
    pub(in crate::set) message: String,
    pub(in crate::set) render: Render,
}

/// How to render the result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::set) enum Render {
    /// Rendering does not help.
    Nothing,
    Kustomize,
    Flux {
        name: String,
        namespace: Option<String>,
        folder: PathBuf,
        /// Whether some values exist only in the cluster.
        from_cluster: bool,
    },
    ArgoCd {
        name: String,
    },
    /// For each Application that an ApplicationSet makes.
    ArgoCdSet,
}

impl Effect {
    pub(super) fn new(kustomization: &Path, message: String) -> Self {
        Self { file: kustomization.to_owned(), line: 0, message, render: Render::Kustomize }
    }
}

pub(super) fn counted(number: usize, one: &str, many: &str) -> Option<String> {
    (number > 0).then(|| format!("{number} more {}", if number == 1 { one } else { many }))
}

pub(super) fn may_take(from: &[String]) -> String {
    format!("may take sets from {}", shortened(from, MAX_NAMED, "; "))
}
