// SPDX-License-Identifier: Apache-2.0
//! Finds the fields of a kustomization that change sets.

use std::collections::BTreeSet;

use super::graph::{FoundSet, Graph, Sources, shown};
use super::parse::{Kustomization, Patch, selects};
use crate::error::shortened;

/// Most files and addresses that one message names.
pub(super) const MAX_NAMED: usize = 3;

impl Graph<'_> {
    /// The fields of a kustomization that change sets among `targets`.
    pub(super) fn changes(&self, kustomization: &Kustomization, targets: &Sources) -> Vec<&'static str> {
        let sets = self.sets(targets).collect::<Vec<_>>();
        // Resources from elsewhere may have any name.
        let known = targets.unread.is_empty() && targets.unknown.is_empty();
        let names = if known { sets.iter().map(|set| set.name).collect() } else { Vec::new() };
        let some = !sets.is_empty() || !targets.unread.is_empty();
        let mut changes = Vec::new();
        let mut check = |field: &'static str, changed: bool| {
            if changed {
                changes.push(field);
            }
        };
        // A patch in a file of a set's kind has a message of its own.
        let patch = |patch: Patch<'_>| {
            patch.names_set() || patch.target.is_some_and(|target| some && selects(target, &names))
        };
        check("patches", kustomization.patches().any(patch));
        check(
            "replacements",
            some && kustomization
                .replacement_targets()
                .any(|target| target.is_none_or(|t| selects(t, &names))),
        );
        check("namePrefix", some && kustomization.text("namePrefix").is_some());
        check("nameSuffix", some && kustomization.text("nameSuffix").is_some());
        let namespace = kustomization.text("namespace");
        check("namespace", namespace.is_some_and(|name| sets.iter().any(|set| set.namespace != Some(name))));
        check("transformers", some && kustomization.has("transformers"));
        check("configurations", some && kustomization.has("configurations"));
        changes
    }

    /// What `images` does about images that the sets list, as part of a sentence: Kustomize replaces them in
    /// workloads only, which then need another image than the one that travels.
    pub(super) fn replaced_images(&self, kustomization: &Kustomization, targets: &Sources) -> Option<String> {
        let sets = self.sets(targets).collect::<Vec<_>>();
        let replaced = kustomization.images().filter(|name| sets.iter().any(|set| uses(set, name)));
        let replaced = replaced.map(shown).collect::<BTreeSet<_>>();
        (!replaced.is_empty()).then(|| {
            let (named, of) = (shortened(&replaced, MAX_NAMED, ", "), self.name_targets(targets));
            format!(
                "replaces {named} in workloads by `images`, and not in {of}; the bundle carries the images that the sets list"
            )
        })
    }

    pub(super) fn name_targets(&self, targets: &Sources) -> String {
        let files = self.sets(targets).map(|set| set.file).collect::<BTreeSet<_>>();
        let more = files.len().saturating_sub(MAX_NAMED);
        let named = files.into_iter().take(MAX_NAMED).collect::<Vec<_>>().join(", ");
        match (named.is_empty(), more) {
            (true, _) => "sets that are not read here".to_owned(),
            (false, 0) => format!("the sets of {named}"),
            (false, more) => format!("the sets of {named} and {more} more files"),
        }
    }
}

/// Whether a set has an image of this name, as Kustomize compares names.
fn uses(set: &FoundSet<'_>, name: &str) -> bool {
    set.images.iter().any(|image| {
        let image = image.split('@').next().unwrap_or_default();
        let tag = image.rfind(':').filter(|at| !image.get(*at..).unwrap_or_default().contains('/'));
        image.get(..tag.unwrap_or(image.len())) == Some(name)
    })
}
