// SPDX-License-Identifier: Apache-2.0
//! What Kustomize would make of the sets that were read.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::changes::MAX_NAMED;
use super::engines::Engines;
use super::graph::{Extent, FoundSet, Graph, MAX_OPENED, Reach, locate, shown};
use super::parse::Kustomization;
use super::{Kustomizations, rendered};

/// What Kustomize, Flux or Argo CD does that krs does not.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::set) struct Effect {
    /// The file that says so.
    pub(in crate::set) file: PathBuf,
    /// Line from 1; 0: the file as a whole.
    pub(in crate::set) line: u64,
    /// Part of a sentence.
    pub(in crate::set) message: String,
    pub(in crate::set) render: Render,
}

/// How to have what is rendered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::set) enum Render {
    /// That does not help.
    Nothing,
    Kustomize,
    Flux {
        name: String,
        namespace: Option<String>,
        folder: PathBuf,
        /// Whether some values are in the cluster only.
        from_cluster: bool,
    },
    ArgoCd {
        name: String,
    },
    /// Of each Application that an ApplicationSet makes.
    ArgoCdSet,
}

/// Finds what the kustomizations and engines would change about `sets`, or add to them.
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
        let mut targets = graph.reach(folder, file);
        // A component changes what the kustomizations that use it have gathered.
        for (parent, file) in parents.get(folder).into_iter().flatten() {
            targets.add(&graph.reach(parent, file));
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
        let LeftOut { certain, possible } = graph.left_out(kustomization);
        let concerns = !targets.sets.is_empty()
            || !targets.unread.is_empty()
            || kustomization.patches().any(|patch| patch.names_set());
        if concerns || !certain.is_empty() {
            let from = [certain, possible].concat();
            effects.extend((!from.is_empty()).then(|| Effect::new(file, may_take(from))));
        } else if !possible.is_empty() {
            unknown.push((file, possible));
        }
    }
    effects.extend(summary(unknown, |possible, more| {
        let more = counted(more, "kustomization takes", "kustomizations take");
        may_take(possible)
            + &more.map(|more| format!(", and {more} manifests from elsewhere")).unwrap_or_default()
    }));
    effects.extend(graph.trouble());
    // In a graph of its own: trouble in folders that only these lead to is not this call's.
    effects.extend(Graph::new(kustomizations, sets, extent).engine_effects(engines));
    effects.extend(rendered::limit(engines));
    effects
}

impl Effect {
    fn new(kustomization: &Path, message: String) -> Self {
        Self { file: kustomization.to_owned(), line: 0, message, render: Render::Kustomize }
    }
}

/// One effect in place of many of a kind: `message` is made of the first, and of how many more there are.
fn summary<T>(
    all: impl IntoIterator<Item = (impl AsRef<Path>, T)>,
    message: impl FnOnce(T, usize) -> String,
) -> Option<Effect> {
    let mut all = all.into_iter();
    let (kustomization, first) = all.next()?;
    Some(Effect::new(kustomization.as_ref(), message(first, all.count())))
}

pub(super) fn counted(number: usize, one: &str, many: &str) -> Option<String> {
    (number > 0).then(|| format!("{number} more {}", if number == 1 { one } else { many }))
}

pub(super) fn may_take(mut from: Vec<String>) -> String {
    let more = from.len().saturating_sub(MAX_NAMED);
    from.truncate(MAX_NAMED);
    let more = if more == 0 { String::new() } else { format!("; and {more} more") };
    format!("may take sets from {}{more}", from.join("; "))
}

/// What a kustomization takes from where krs does not read.
#[derive(Debug, Default)]
pub(super) struct LeftOut {
    /// Where there are sets.
    pub(super) certain: Vec<String>,
    /// Where there may be sets.
    pub(super) possible: Vec<String>,
}

impl Graph<'_> {
    /// What a kustomization takes from elsewhere.
    pub(super) fn left_out(&mut self, kustomization: &Kustomization) -> LeftOut {
        let mut out = LeftOut::default();
        for resource in kustomization.resources().chain(kustomization.components()) {
            let path = locate(kustomization, resource).ok();
            // A kustomization that is read itself says what it takes.
            if path.as_ref().is_some_and(|path| self.kustomizations.read.contains_key(path)) {
                continue;
            }
            let Reach { unread, unknown, .. } = self.entry(kustomization, resource);
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

    /// What Kustomize itself would not accept, or krs has not finished.
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

fn name_files(files: &BTreeSet<PathBuf>, below: &Path) -> String {
    let name = |file: &PathBuf| match file.strip_prefix(below) {
        Ok(relative) if !relative.as_os_str().is_empty() => relative.display().to_string(),
        _ => file.file_name().unwrap_or_default().to_string_lossy().into_owned(),
    };
    let named = files.iter().take(MAX_NAMED).map(name).collect::<Vec<_>>().join(", ");
    let verb = if files.len() == 1 { "holds a set that is" } else { "hold sets that are" };
    format!("{named} {verb}")
}
