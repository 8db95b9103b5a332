// SPDX-License-Identifier: Apache-2.0
//! Finds the effects of Kustomize on the sets that were read.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::effect::{Effect, Render, counted, may_take};
use super::engines::Engines;
use super::graph::{Extent, FoundSet, Graph, MAX_OPENED};
use super::kustomizations::Kustomizations;
use super::rendered;
use super::unread_sources::UnreadSources;

/// Finds what the kustomizations and engines would change in `sets`, or add to them.
pub(in crate::set) fn effects(
    kustomizations: &Kustomizations,
    engines: &Engines,
    sets: &[FoundSet<'_>],
    extent: &Extent<'_>,
) -> Vec<Effect> {
    let mut graph = Graph::new(kustomizations, sets, extent);
    let mut parents = BTreeMap::<PathBuf, Vec<(&Path, &Path)>>::new();
    for (folder, kustomization) in &kustomizations.read {
        for component in kustomization.components().filter_map(|path| folder.join(path).canonicalize().ok()) {
            parents.entry(component).or_default().push((folder, &kustomization.file));
        }
    }
    let mut effects = Vec::new();
    let mut unknown = Vec::new();
    for (folder, kustomization) in &kustomizations.read {
        let file = &kustomization.file;
        let mut targets = graph.collect_sources(folder, file);
        // A component changes the resources of the kustomizations that use it.
        for (parent, file) in parents.get(folder).into_iter().flatten() {
            targets.add(&graph.collect_sources(parent, file));
        }
        let changes = graph.changes(kustomization, &targets);
        if !changes.is_empty() {
            let of = graph.name_targets(&targets);
            let message = format!("{} would change {of}, and krs reads sets as they are", changes.join(", "));
            effects.push(Effect::new(file, message));
        }
        if let Some(message) = graph.replaced_images(kustomization, &targets) {
            effects.push(Effect { render: Render::Nothing, ..Effect::new(file, message) });
        }
        let UnreadSources { certain, possible } = graph.unread_sources(kustomization);
        let concerns = !targets.sets.is_empty()
            || !targets.unread.is_empty()
            || kustomization.patches().any(|patch| patch.names_set());
        if concerns || !certain.is_empty() {
            let from = [certain, possible].concat();
            effects.extend((!from.is_empty()).then(|| Effect::new(file, may_take(&from))));
        } else if !possible.is_empty() {
            unknown.push((file, possible));
        }
    }
    effects.extend(summary(unknown, |possible, more| {
        let more = counted(more, "kustomization takes", "kustomizations take");
        may_take(&possible)
            + &more.map(|more| format!(", and {more} manifests from elsewhere")).unwrap_or_default()
    }));
    effects.extend(graph.trouble());
    // In a graph of its own: problems in folders that only these include do not concern this call.
    effects.extend(Graph::new(kustomizations, sets, extent).engine_effects(engines));
    effects.extend(rendered::limit(engines));
    effects
}

/// Replaces many effects of one kind by one: `message` is called with the first one and the number of others.
fn summary<T>(
    all: impl IntoIterator<Item = (impl AsRef<Path>, T)>,
    message: impl FnOnce(T, usize) -> String,
) -> Option<Effect> {
    let mut all = all.into_iter();
    let (kustomization, first) = all.next()?;
    Some(Effect::new(kustomization.as_ref(), message(first, all.count())))
}

impl Graph<'_> {
    /// Kustomizations that Kustomize would refuse, or that krs could not read completely.
    fn trouble(self) -> Vec<Effect> {
        let unreadable = summary(self.unreadable, |reason, more| {
            let more = counted(more, "kustomization cannot be read", "kustomizations cannot be read");
            format!(
                "{reason}; so krs does not know what it changes, and may have read a patch that it lists as a set{}",
                more.map(|more| format!(". {more}")).unwrap_or_default()
            )
        });
        let missing = summary(self.missing, |entry, more| {
            let more = counted(more, "entry of a kustomization is", "entries of kustomizations are");
            format!(
                "lists {entry}, so no set in it was read{}",
                more.map(|more| format!(". {more} missing")).unwrap_or_default()
            )
        });
        let mut trouble = [unreadable, missing].into_iter().flatten().collect::<Vec<_>>();
        for effect in &mut trouble {
            effect.render = Render::Nothing;
        }
        trouble.extend(self.limit.map(|kustomization| {
            let message = format!(
                "leads outside of what is read, where krs searched {MAX_OPENED} files and folders for sets, and not the others"
            );
            Effect::new(&kustomization, message)
        }));
        trouble
    }
}
