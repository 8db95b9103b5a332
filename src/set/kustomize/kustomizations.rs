// SPDX-License-Identifier: Apache-2.0
//! The kustomizations of the folders that are read.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::parse::Kustomization;
use crate::set::files::walk::KUSTOMIZATIONS;

/// The kustomizations of the folders that are read.
#[derive(Debug, Default)]
pub(in crate::set) struct Kustomizations {
    /// By their folders.
    pub(super) read: BTreeMap<PathBuf, Kustomization>,
    /// Files that some kustomization lists as patches, with that kustomization.
    patches: BTreeMap<PathBuf, PathBuf>,
    /// Kustomizations that cannot be read, with the reason.
    pub(super) unreadable: BTreeMap<PathBuf, String>,
}

impl Kustomizations {
    /// Reads a kustomization.
    pub(in crate::set) fn add(&mut self, file: &Path) {
        if let Some(kustomization) = self.add_patches(file) {
            self.read.insert(kustomization.folder.clone(), kustomization);
        }
    }

    /// Reads the patches of the kustomizations of the folders above `root`, up to and with `top`.
    pub(in crate::set) fn add_above(&mut self, root: &Path, top: &Path) {
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
    pub(in crate::set) fn lists(&self, path: &Path) -> Option<&Path> {
        self.patches.get(path).map(PathBuf::as_path)
    }
}

/// The files that a kustomization lists as patches, as it writes them.
pub(in crate::set) fn patch_files(text: &[u8]) -> Vec<String> {
    let kustomization = Kustomization::parse(Path::new(KUSTOMIZATIONS[0]), text);
    kustomization
        .iter()
        .flat_map(Kustomization::patches)
        .filter_map(|patch| Some(patch.file?.to_owned()))
        .collect()
}

/// The chart of which a file is a template: the file is below a `templates` folder beside a `Chart.yaml`.
pub(in crate::set) fn chart_of_template(path: &Path) -> Option<PathBuf> {
    path.ancestors().skip(1).take(64).find_map(|folder| {
        let chart =
            folder.file_name().filter(|name| *name == "templates").and(folder.parent())?.join("Chart.yaml");
        chart.is_file().then_some(chart)
    })
}
