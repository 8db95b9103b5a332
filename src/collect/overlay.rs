// SPDX-License-Identifier: Apache-2.0
//! Building the folder of a Kustomization of Flux with the changes and the variables that it states.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::copy::copy;
use super::engines::flux_folder;
use super::flux::{change_of_images, components, with_changes};
use super::kustomize::{Kustomizations, kustomization_in, run_in};
use super::model::{Collection, Problem};
use super::resource::{Resource, resources};
use super::variables::{Variables, has_variables, is_flux_kustomization};
use super::walk::{Entry, Tree};

/// Largest file that a generated kustomization lists, in bytes.
const MAX_FILE: u64 = 32 << 20;
/// Name of the file that Kustomize reads.
const KUSTOMIZATION: &str = "kustomization.yaml";

/// A Kustomization of Flux that changes what is in its folder, or replaces variables in it.
#[derive(Debug)]
pub(super) struct Overlay {
    pub(super) resource: Resource,
    pub(super) variables: Variables,
    folder: PathBuf,
    /// What messages call the folder.
    name: String,
}

/// Which Kustomizations of Flux were applied, so that none is applied twice.
#[derive(Debug, Default)]
pub(super) struct Applied(BTreeSet<(Option<String>, String, PathBuf)>);

/// What is read in place of files and kustomizations of the sources.
pub(super) enum Replacement {
    /// The output of Kustomize.
    Rendered(String),
    /// Files and kustomizations that are read as they are, but for variables.
    Read { files: Vec<Entry>, kustomizations: Vec<Entry> },
}

impl Overlay {
    fn of(resource: &Resource, pool: &[Resource], tree: &Tree) -> Option<Self> {
        let is_overlay = is_flux_kustomization(resource)
            && (change_of_images(resource).is_some() || has_variables(resource));
        if !is_overlay {
            return None;
        }
        let folder = flux_folder(resource, tree)?;
        let name = tree.name(&folder);
        let variables = Variables::of(resource, name.clone(), pool);
        Some(Self { resource: resource.clone(), variables, folder, name })
    }

    fn key(&self) -> (Option<String>, String, PathBuf) {
        (self.resource.namespace.clone(), self.resource.name.clone(), self.folder.clone())
    }

    /// What messages call its result.
    pub(super) fn name(&self) -> String {
        format!("{} ({})", self.name, self.resource.title())
    }

    /// The names of what is read without it, and that it replaces.
    pub(super) fn replaced(&self, tree: &Tree, kustomizations: &Kustomizations) -> BTreeSet<String> {
        if change_of_images(&self.resource).is_none() {
            return sources_of(&self.folder, tree, kustomizations);
        }
        manifests(&self.folder, tree, kustomizations).into_iter().map(|entry| entry.name).collect()
    }

    /// What is to be read for it.
    ///
    /// # Errors
    /// Why that is not known, and what to do.
    pub(super) fn replacement(
        &self,
        tree: &Tree,
        kustomizations: &Kustomizations,
    ) -> Result<Replacement, Problem> {
        let Some(field) = change_of_images(&self.resource) else {
            return Ok(read_in(&self.folder, tree, kustomizations));
        };
        let path = self.resource.node.text_at(&["spec", "path"]).unwrap_or(".");
        let problem = |reason: String| {
            let reason =
                format!("changes what is in `{path}`, which is read without these changes: {reason}");
            let help = format!(
                "render it, and pipe the result: flux build kustomization {} --path {path} --kustomization-file FILE --dry-run | krs collect -",
                self.resource.name
            );
            self.resource.problem(&format!("spec.{field}"), reason, help)
        };
        if path.trim_matches(['.', '/']).is_empty() {
            return Err(problem(
                "its path is the top of its source, which may be another repository than this one".to_owned(),
            ));
        }
        self.build(tree, kustomizations).map(Replacement::Rendered).map_err(problem)
    }

    /// Paths as a kustomization in the folder lists them.
    fn listed(&self, entries: Vec<Entry>) -> Vec<String> {
        let relative = entries.into_iter().filter_map(|entry| {
            Some(entry.path.strip_prefix(&self.folder).ok()?.to_string_lossy().replace('\\', "/"))
        });
        relative.collect()
    }

    fn build(&self, tree: &Tree, kustomizations: &Kustomizations) -> Result<String, String> {
        let root = tree.roots.iter().map(|root| &root.path).find(|root| self.folder.starts_with(root));
        let root = root.ok_or("its folder is in none of the checkouts")?;
        let written = kustomization_in(&self.folder)
            .map_err(|reason| format!("the kustomization in its folder {reason}"))?;
        let resources = match &written {
            Some(_) => Vec::new(),
            None => self.listed(manifests(&self.folder, tree, kustomizations)),
        };
        if written.is_none() && resources.is_empty() {
            return Err("no manifest is in its folder".to_owned());
        }
        let mut folders = BTreeSet::from([self.folder.clone()]);
        let (stated, ignores_missing) = components(&self.resource);
        let mut components = Vec::new();
        for component in stated {
            let found = self.folder.join(&component).canonicalize();
            match found.ok().filter(|path| path.is_dir() && path.starts_with(root)) {
                Some(folder) => {
                    folders.insert(folder);
                    components.push(component);
                }
                None if ignores_missing => {}
                None => return Err(format!("its component `{component}` is not in the sources")),
            }
        }
        let reached = folders.iter().chain(&kustomizations.below(&self.folder)).cloned().collect::<Vec<_>>();
        let has_charts = kustomizations
            .check(&reached.iter().map(PathBuf::as_path).collect::<Vec<_>>(), &self.name)
            .map_err(|problem| format!("it {}", problem.reason))?;
        for folder in &reached {
            folders.extend(kustomizations.folders(folder).filter(|folder| folder.starts_with(root)));
        }
        let spec = self.resource.node.at(&["spec"]).ok_or("it has no spec")?;
        let node = written.as_ref().map(|(_, node)| node.as_ref());
        let text = with_changes(node, &resources, &components, spec).ok_or("it is too large")?;
        let copy = copy(root, &folders)?;
        let folder = copy.path().join(self.folder.strip_prefix(root).unwrap_or(Path::new("")));
        let file = written.as_ref().and_then(|(file, _)| file.file_name());
        fs::write(folder.join(file.unwrap_or(KUSTOMIZATION.as_ref())), text)
            .map_err(|error| format!("its kustomization cannot be written: {error}"))?;
        let built = run_in(&folder, &self.name, has_charts);
        built.map_err(|problem| format!("it {}", problem.reason))
    }
}

impl Applied {
    /// The Kustomizations of Flux to apply now. One that lies in the folder of another waits until that one is applied, which may
    /// change it.
    pub(super) fn next(&mut self, pool: &[Resource], tree: &Tree) -> Vec<Overlay> {
        let mut pending = BTreeMap::new();
        for overlay in pool.iter().filter_map(|resource| Overlay::of(resource, pool, tree)) {
            let key = overlay.key();
            if !self.0.contains(&key) {
                pending.entry(key).or_insert(overlay);
            }
        }
        let waits = |overlay: &Overlay| {
            pending.iter().any(|(key, other)| {
                *key != overlay.key() && other.variables.holds_for(&overlay.resource.source)
            })
        };
        let waiting = pending.iter().filter(|(_, overlay)| waits(overlay)).map(|(key, _)| key.clone());
        let waiting = waiting.collect::<BTreeSet<_>>();
        if waiting.len() < pending.len() {
            pending.retain(|key, _| !waiting.contains(key));
        }
        self.0.extend(pending.keys().cloned());
        pending.into_values().collect()
    }
}

/// The names of what is read for the Kustomizations of Flux that change nothing, each in a folder of its own.
pub(super) fn unchanged(pool: &[Resource], tree: &Tree, kustomizations: &Kustomizations) -> BTreeSet<String> {
    let is_unchanged = |resource: &&Resource| {
        is_flux_kustomization(resource) && change_of_images(resource).is_none() && !has_variables(resource)
    };
    // The top of its source may be that of another repository.
    let is_top = |folder: &PathBuf| tree.roots.iter().any(|root| root.path == *folder);
    let folders = pool.iter().filter(is_unchanged);
    let folders = folders.filter_map(|resource| flux_folder(resource, tree));
    let folders = folders.filter(|folder| !is_top(folder)).collect::<BTreeSet<_>>();
    folders.iter().flat_map(|folder| sources_of(folder, tree, kustomizations)).collect()
}

/// The names of what is read for a folder to which nothing is changed.
fn sources_of(folder: &Path, tree: &Tree, kustomizations: &Kustomizations) -> BTreeSet<String> {
    match read_in(folder, tree, kustomizations) {
        Replacement::Read { files, kustomizations } => {
            files.into_iter().chain(kustomizations).map(|entry| entry.name).collect()
        }
        Replacement::Rendered(_) => BTreeSet::new(),
    }
}

/// The files and kustomizations that Flux applies for a folder: those of its kustomization, else all that it holds.
fn read_in(folder: &Path, tree: &Tree, kustomizations: &Kustomizations) -> Replacement {
    let tops = kustomizations.below(folder);
    let files = tree.files.iter().filter(|file| {
        file.path.starts_with(folder)
            && !kustomizations.reads(&file.path)
            && !tops.iter().any(|top| file.path.starts_with(top))
    });
    let files = files.cloned().collect();
    let entry = |path: PathBuf| Entry { name: tree.folder_name(&path), path };
    Replacement::Read { files, kustomizations: tops.into_iter().map(entry).collect() }
}

/// What Flux builds for a folder: its kustomization, else its manifests and the folders below it that have a kustomization.
fn manifests(folder: &Path, tree: &Tree, kustomizations: &Kustomizations) -> Vec<Entry> {
    let Replacement::Read { files, kustomizations } = read_in(folder, tree, kustomizations) else {
        return Vec::new();
    };
    let files = files.into_iter().filter(|file| {
        let extension = file.path.extension().unwrap_or_default();
        (extension == "yaml" || extension == "yml") && is_manifest(&file.path)
    });
    files.chain(kustomizations).collect()
}

/// Whether a file holds resources and nothing else; what else it may hold is read, and named, without this.
fn is_manifest(file: &Path) -> bool {
    let bytes = crate::files::read_file(file, MAX_FILE).unwrap_or_default();
    let text = String::from_utf8(bytes).unwrap_or_default();
    let mut collection = Collection::default();
    let found = resources("", false, &text, &mut collection);
    collection.problems.is_empty() && !found.resources.is_empty() && found.others.is_empty()
}
