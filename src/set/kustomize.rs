// SPDX-License-Identifier: Apache-2.0
//! Files that only look like sets: patches of Kustomize, templates of Helm.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::walk::KUSTOMIZATIONS;

/// Largest file of Kustomize that is read.
const MAX_FILE: u64 = 1 << 20;

/// Files that some kustomization lists as patches, with that kustomization.
#[derive(Debug, Default)]
pub(super) struct Patches(BTreeMap<PathBuf, PathBuf>);

impl Patches {
    /// Reads what a kustomization lists. One that does not read lists nothing: Kustomize itself will say why.
    pub(super) fn add(&mut self, kustomization: &Path) {
        let Some(folder) = kustomization.parent() else { return };
        for listed in read(kustomization).as_ref().map(listed).unwrap_or_default() {
            if let Ok(patch) = folder.join(listed).canonicalize() {
                self.0.entry(patch).or_insert_with(|| kustomization.to_owned());
            }
        }
    }

    /// Reads the kustomizations of the folders above `root`, up to and with `top`.
    pub(super) fn add_above(&mut self, root: &Path, top: &Path) {
        for folder in root.ancestors().skip(1).take_while(|folder| folder.starts_with(top)) {
            for name in KUSTOMIZATIONS {
                self.add(&folder.join(name));
            }
        }
    }

    /// The kustomization that lists `path` as a patch.
    pub(super) fn lists(&self, path: &Path) -> Option<&Path> {
        self.0.get(path).map(PathBuf::as_path)
    }
}

fn read(path: &Path) -> Option<Value> {
    let mut text = String::new();
    std::fs::File::open(path).ok()?.take(MAX_FILE).read_to_string(&mut text).ok()?;
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_depth: 32, max_nodes: 50_000, max_aliases: 100 },
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(&text, options).ok()
}

fn listed(kustomization: &Value) -> Vec<&str> {
    let entries = |key: &str| kustomization.get(key).and_then(Value::as_array).into_iter().flatten();
    ["patches", "patchesStrategicMerge", "patchesJson6902"]
        .into_iter()
        .flat_map(entries)
        .filter_map(|entry| entry.as_str().or_else(|| entry.get("path").and_then(Value::as_str)))
        // A patch may also be written out in place.
        .filter(|path| !path.contains('\n'))
        .collect()
}

/// Whether a file is a template of a Helm chart: below a `templates` folder beside a `Chart.yaml`.
pub(super) fn is_helm_template(path: &Path) -> bool {
    path.ancestors().skip(1).take(64).any(|folder| {
        folder.file_name().is_some_and(|name| name == "templates")
            && folder.parent().is_some_and(|chart| chart.join("Chart.yaml").is_file())
    })
}
