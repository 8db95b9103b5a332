// SPDX-License-Identifier: Apache-2.0
//! What a GitOps engine would do to sets that are read as they are: overlays of Kustomize, templates of
//! Helm, resources of Flux and Argo CD.
//!
//! Nothing is rendered. What Kustomize would change or add, and krs does not, is named with the command that renders
//! it.

mod changes;
mod effects;
mod engines;
mod graph;
mod parse;
mod rendered;
#[cfg(test)]
mod rendered_tests;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::files::walk::KUSTOMIZATIONS;

pub(super) use effects::{Effect, Render, effects};
pub(super) use engines::Engines;
pub(super) use graph::{Extent, FoundSet};
use parse::Kustomization;

/// The kustomizations of the folders that are read.
#[derive(Debug, Default)]
pub(super) struct Kustomizations {
    /// By their folders.
    read: BTreeMap<PathBuf, Kustomization>,
    /// Files that some kustomization lists as patches, with that kustomization.
    patches: BTreeMap<PathBuf, PathBuf>,
    /// Kustomizations that cannot be read, with the reason.
    unreadable: BTreeMap<PathBuf, String>,
}

impl Kustomizations {
    /// Reads a kustomization.
    pub(super) fn add(&mut self, file: &Path) {
        if let Some(kustomization) = self.add_patches(file) {
            self.read.insert(kustomization.folder.clone(), kustomization);
        }
    }

    /// Reads the patches of the kustomizations of the folders above `root`, up to and with `top`.
    pub(super) fn add_above(&mut self, root: &Path, top: &Path) {
        for folder in root.ancestors().skip(1).take_while(|folder| folder.starts_with(top)) {
            for name in KUSTOMIZATIONS {
                self.add_patches(&folder.join(name));
            }
        }
    }

    fn add_patches(&mut self, file: &Path) -> Option<Kustomization> {
        let kustomization = match Kustomization::read(file)? {
            Ok(kustomization) => kustomization,
            Err(reason) => {
                self.unreadable.insert(file.to_owned(), reason);
                return None;
            }
        };
        for patch in kustomization.patches() {
            if let Some(Ok(path)) = patch.file.map(|path| kustomization.folder.join(path).canonicalize()) {
                self.patches.entry(path).or_insert_with(|| file.to_owned());
            }
        }
        Some(kustomization)
    }

    /// The kustomization that lists `path` as a patch.
    pub(super) fn lists(&self, path: &Path) -> Option<&Path> {
        self.patches.get(path).map(PathBuf::as_path)
    }
}

/// The files that a kustomization lists as patches, as it writes them.
pub(super) fn patch_files(text: &[u8]) -> Vec<String> {
    let kustomization = Kustomization::parse(Path::new(KUSTOMIZATIONS[0]), text);
    kustomization
        .iter()
        .flat_map(Kustomization::patches)
        .filter_map(|patch| Some(patch.file?.to_owned()))
        .collect()
}

/// The chart of which a file is a template: it lies below a `templates` folder beside a `Chart.yaml`.
pub(super) fn chart_of_template(path: &Path) -> Option<PathBuf> {
    path.ancestors().skip(1).take(64).find_map(|folder| {
        let chart =
            folder.file_name().filter(|name| *name == "templates").and(folder.parent())?.join("Chart.yaml");
        chart.is_file().then_some(chart)
    })
}
