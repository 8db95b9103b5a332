// SPDX-License-Identifier: Apache-2.0
//! Resources of a kustomization that krs does not read.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::changes::MAX_NAMED;
use super::graph::{Graph, Sources, locate, shown};
use super::parse::Kustomization;

/// Sources of a kustomization that krs does not read.
#[derive(Debug, Default)]
pub(super) struct UnreadSources {
    /// Sources that contain sets.
    pub(super) certain: Vec<String>,
    /// Sources that may contain sets.
    pub(super) possible: Vec<String>,
}

impl Graph<'_> {
    /// Finds these sources of a kustomization.
    pub(super) fn unread_sources(&mut self, kustomization: &Kustomization) -> UnreadSources {
        let mut out = UnreadSources::default();
        for resource in kustomization.resources().chain(kustomization.components()) {
            let path = locate(kustomization, resource).ok();
            // A kustomization that is read reports its own sources.
            if path.as_ref().is_some_and(|path| self.kustomizations.read.contains_key(path)) {
                continue;
            }
            let Sources { unread, unknown, .. } = self.entry(kustomization, resource);
            let resource = shown(resource);
            match path {
                Some(path) if !unread.is_empty() => {
                    out.certain.push(format!("{resource}, where {} not read", name_files(&unread, &path)));
                }
                Some(path) if path.is_dir() && !unknown.is_empty() => {
                    let from = unknown.into_iter().next().unwrap_or_default();
                    out.possible.push(format!("{resource}, which takes manifests from {from}"));
                }
                _ => out.possible.extend(unknown),
            }
        }
        out.possible.extend(self.made(kustomization));
        out.possible.extend(self.absent_patches(kustomization));
        out
    }
}

fn name_files(files: &BTreeSet<PathBuf>, below: &Path) -> String {
    let name = |file: &PathBuf| match file.strip_prefix(below) {
        Ok(relative) if !relative.as_os_str().is_empty() => relative.display().to_string(),
        _ => file.file_name().unwrap_or_default().to_string_lossy().into_owned(),
    };
    let named = files.iter().take(MAX_NAMED).map(name).collect::<Vec<_>>().join(", ");
    let verb = if files.len() == 1 { "holds a set that is" } else { "hold sets that are" };
    format!("{named} {verb}")
}
