// SPDX-License-Identifier: Apache-2.0
//! Kustomizations of Flux that change what was read before them.

use std::collections::BTreeSet;

use super::{Collected, Collector, MAX_FILE, MAX_ROUNDS};
use crate::collect::kustomize::Kustomizations;
use crate::collect::model::Origin;
use crate::collect::overlay::{Replacement, unchanged};
use crate::collect::resource::Resource;
use crate::collect::walk::Tree;

impl Collector<'_> {
    /// Applies what Kustomizations of Flux change in their folders.
    pub(super) fn overlays(&mut self, tree: &Tree, kustomizations: &Kustomizations) {
        for _ in 0..MAX_ROUNDS {
            let overlays = self.applied.next(&self.pool, tree);
            if overlays.is_empty() {
                return;
            }
            let mut results = Vec::new();
            let mut replaced = BTreeSet::new();
            for overlay in overlays {
                match overlay.replacement(tree, kustomizations) {
                    Ok(replacement) => {
                        replaced.extend(overlay.replaced(tree, kustomizations));
                        results.push((overlay, replacement));
                    }
                    Err(problem) => self.collected.collection.problems.push(problem),
                }
            }
            let kept = unchanged(&self.pool, tree, kustomizations);
            self.replace(&replaced.difference(&kept).cloned().collect());
            for (overlay, replacement) in results {
                let variables = &overlay.variables;
                if !variables.unread.is_empty() {
                    let reason =
                        format!("takes variables from what is not read: {}", variables.unread.join(", "));
                    let problem = overlay.resource.problem("spec.postBuild.substituteFrom", reason, "");
                    self.collected.skipped.push(problem);
                }
                match replacement {
                    Replacement::Rendered(text) => self.rendered(&overlay.name(), &variables.text(&text)),
                    Replacement::Read { files, kustomizations: folders } => {
                        for file in files {
                            let bytes = crate::files::read_file(&file.path, MAX_FILE).ok();
                            if let Some(text) = bytes.and_then(|bytes| String::from_utf8(bytes).ok()) {
                                self.text(&file.name, variables.text(&text).as_bytes());
                            }
                        }
                        for folder in folders {
                            match kustomizations.build(&folder) {
                                Ok(text) => self.rendered(&folder.name, &variables.text(&text)),
                                Err(problem) => self.collected.collection.problems.push(problem),
                            }
                        }
                    }
                }
            }
        }
    }

    /// Removes what was found in sources, by the names of these, because something else is read in their place.
    fn replace(&mut self, names: &BTreeSet<String>) {
        let names = names.difference(&self.replaced).cloned().collect::<BTreeSet<_>>();
        let Collected { collection, skipped, resources, .. } = &mut self.collected;
        let is_of = |origin: &Origin| names.contains(&origin.source);
        self.replaced_images.extend(collection.images.extract_if(.., |image| is_of(&image.origin)));
        // A file that cannot be read stays one.
        collection.problems.retain(|problem| problem.origin.resource.is_none() || !is_of(&problem.origin));
        skipped.retain(|problem| !is_of(&problem.origin));
        let is_kept = |resource: &Resource| !names.contains(&resource.source);
        let before = self.pool.len();
        self.searched = self.pool.iter().take(self.searched).filter(|resource| is_kept(resource)).count();
        self.pool.retain(is_kept);
        *resources -= before - self.pool.len();
        self.replaced.extend(names);
    }
}
