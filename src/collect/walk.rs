// SPDX-License-Identifier: Apache-2.0
//! The files of the sources: sorted, bounded, and never outside of a source.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use camino::{Utf8Path, Utf8PathBuf};
use ignore::WalkBuilder;

use super::error::CollectError;
use super::model::{Origin, Problem};
use crate::set::{KUSTOMIZATIONS, MAX_DEPTH, checkout, walker};

/// Most files of one call.
const MAX_FILES: usize = 100_000;
/// Most entries of folders that are listed to count the files that are ignored: a folder with dependencies of another language
/// has more.
const MAX_ENTRIES: usize = 50_000;

/// A file or folder, and what messages call it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    /// Where it really is.
    pub(super) path: PathBuf,
    pub(super) name: String,
}

/// What lies in the sources.
#[derive(Debug, Default)]
pub(super) struct Tree {
    /// Text files that may name images, without those of charts that Helm reads.
    pub(super) files: Vec<Entry>,
    /// Folders with a `Chart.yaml`, without charts in `charts/` of another.
    pub(super) charts: Vec<Entry>,
    /// Archives that may be charts, and whether the call names them.
    pub(super) archives: Vec<(Entry, bool)>,
    /// Files that Kustomize reads.
    pub(super) kustomizations: Vec<Entry>,
    /// Top folders of the checkouts, and folders that are in none: paths of Flux and Argo CD begin there.
    pub(super) roots: Vec<Entry>,
    pub(super) problems: Vec<Problem>,
    /// Number of files that would be read if no ignore file excluded them.
    pub(super) ignored: usize,
}

impl Tree {
    /// What messages call a folder with a kustomization.
    pub(super) fn folder_name(&self, path: &Path) -> String {
        let file = self.kustomizations.iter().find(|entry| entry.path.parent() == Some(path));
        file.map_or_else(|| self.name(path), |file| parent_label(&file.name))
    }

    /// What messages call a path below one of the sources or their checkouts.
    pub(super) fn name(&self, path: &Path) -> String {
        let below = |root: &Entry| {
            let relative = path.strip_prefix(&root.path).ok()?.to_string_lossy().replace('\\', "/");
            Some(joined(&root.name, &relative))
        };
        let known =
            [&self.charts, &self.kustomizations].into_iter().flatten().find(|entry| entry.path == path);
        known
            .map(|entry| entry.name.clone())
            .or_else(|| self.roots.iter().find_map(below))
            .unwrap_or_else(|| path.to_string_lossy().into_owned())
    }
}

/// Finds the files of the sources; `-` is left to the caller.
///
/// # Errors
/// A source does not exist, or cannot be read.
pub(super) fn walk(sources: &[Utf8PathBuf]) -> Result<Tree, CollectError> {
    let mut tree = Tree::default();
    let mut known = BTreeSet::new();
    let mut folders = Vec::new();
    for source in sources.iter().filter(|source| *source != "-") {
        let cannot = |error| CollectError::Source { path: source.clone(), error };
        let real = source.canonicalize().map_err(cannot)?;
        let label = label(source);
        if real.is_dir() {
            tree.roots.push(root(&real, &label));
            folder(&real, &label, &mut tree, &mut known)?;
            folders.push(real);
        } else if real.is_file() {
            let parent = real.parent().unwrap_or(&real);
            let parent_label = Utf8Path::new(&label).parent().map(ToString::to_string).unwrap_or_default();
            tree.roots.push(root(parent, &parent_label));
            let entry = Entry { path: real, name: label };
            if known.insert(entry.path.clone()) {
                file(entry, true, &mut tree);
            }
        } else {
            return Err(CollectError::NotRegular(source.clone()));
        }
    }
    tree.ignored = ignored(&folders, &known);
    let charts = tree.charts.clone();
    let is_of_chart = |path: &Path| charts.iter().any(|chart| is_read_by_helm(&chart.path, path));
    tree.charts.retain(|chart| !is_of_chart(&chart.path));
    tree.files.retain(|file| !is_of_chart(&file.path));
    tree.archives.retain(|(archive, is_named)| *is_named || !is_of_chart(&archive.path));
    tree.kustomizations.retain(|file| !is_of_chart(&file.path));
    tree.files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(tree)
}

/// Whether Helm reads a file as a part of a chart.
fn is_read_by_helm(chart: &Path, path: &Path) -> bool {
    let Ok(relative) = path.strip_prefix(chart) else { return false };
    let mut parts = relative.components().map(|part| part.as_os_str().to_string_lossy().into_owned());
    let first = parts.next().unwrap_or_default();
    let is_values = first.starts_with("values") && parts.next().is_none();
    is_values
        || ["templates", "charts", "crds", "files", "Chart.yaml", "Chart.lock"].contains(&first.as_str())
}

fn folder(
    top: &Path,
    label: &str,
    tree: &mut Tree,
    known: &mut BTreeSet<PathBuf>,
) -> Result<(), CollectError> {
    for found in walker(top).build() {
        let found = match found {
            Ok(found) => found,
            Err(error) => {
                let reason = format!("cannot be read: {error}");
                tree.problems.push(Problem { origin: Origin::file(label), reason, help: None });
                continue;
            }
        };
        let relative = found.path().strip_prefix(top).unwrap_or(found.path());
        let name = joined(label, &relative.to_string_lossy().replace('\\', "/"));
        let Some(kind) = found.file_type() else { continue };
        if kind.is_symlink() {
            link(top, found.path(), &name, tree);
        } else if kind.is_file() && known.insert(found.path().to_owned()) {
            if known.len() > MAX_FILES {
                return Err(CollectError::TooMany(MAX_FILES));
            }
            file(Entry { path: found.path().to_owned(), name }, false, tree);
        }
    }
    Ok(())
}

/// Counts the files below `folders` that ignore files exclude, and that would be read without these.
fn ignored(folders: &[PathBuf], known: &BTreeSet<PathBuf>) -> usize {
    let walk = |folder: &PathBuf| {
        WalkBuilder::new(folder).standard_filters(false).hidden(true).max_depth(Some(MAX_DEPTH)).build()
    };
    let entries = folders.iter().flat_map(walk).take(MAX_ENTRIES).filter_map(Result::ok);
    let is_ignored = |entry: &ignore::DirEntry| {
        entry.file_type().is_some_and(|kind| kind.is_file())
            && is_text(entry.path())
            && !known.contains(entry.path())
    };
    entries.filter(is_ignored).map(ignore::DirEntry::into_path).collect::<BTreeSet<_>>().len()
}

/// A link to a file that is read anyway matters to nobody; another one may hide images.
fn link(top: &Path, path: &Path, name: &str, tree: &mut Tree) {
    let target = path.canonicalize();
    if target.as_ref().is_ok_and(|target| target.starts_with(top)) || !(is_text(path) || path.is_dir()) {
        return;
    }
    let reason = "is a symbolic link that leaves the folder, or leads nowhere".to_owned();
    let help = Some("name its target as a source too, or name the link in .krsignore".to_owned());
    tree.problems.push(Problem { origin: Origin::file(name), reason, help });
}

fn file(entry: Entry, is_named: bool, tree: &mut Tree) {
    let name = entry.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if name == "Chart.yaml" {
        let folder = |path: &Path| path.parent().unwrap_or(path).to_owned();
        let label = parent_label(&entry.name);
        tree.charts.push(Entry { path: folder(&entry.path), name: label });
    } else if KUSTOMIZATIONS.contains(&name.as_str()) {
        tree.kustomizations.push(entry);
    } else if name.ends_with(".tgz") || (is_named && name.ends_with(".tar.gz")) {
        tree.archives.push((entry, is_named));
    } else if is_named || is_text(&entry.path) {
        tree.files.push(entry);
    }
}

/// The name of the folder of a file.
pub(super) fn parent_label(name: &str) -> String {
    name.rsplit_once('/').map_or_else(|| ".".to_owned(), |(folder, _)| folder.to_owned())
}

/// Whether a file has a name under which manifests or lists of images are written.
fn is_text(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let is_list = || name.contains("image") && (name.ends_with(".txt") || name.ends_with(".lock"));
    [".yaml", ".yml", ".json"].iter().any(|ending| name.ends_with(ending)) || is_list()
}

/// The checkout of a folder, else the folder.
fn root(folder: &Path, label: &str) -> Entry {
    let top = checkout(folder).unwrap_or(folder);
    let below = folder.strip_prefix(top).unwrap_or(Path::new("")).components().count();
    if below == 0 {
        return Entry { path: top.to_owned(), name: label.to_owned() };
    }
    // `deploy/prod` two folders below the top: the top is the folder of the call.
    let parts = label.split('/').filter(|part| !part.is_empty() && *part != ".").collect::<Vec<_>>();
    let name = match parts.len().checked_sub(below) {
        Some(kept) => parts.get(..kept).unwrap_or_default().join("/"),
        None => "../".repeat(below - parts.len()).trim_end_matches('/').to_owned(),
    };
    Entry { path: top.to_owned(), name }
}

/// How the files of a source are called: as the call names it, without the folders of the machine.
fn label(source: &Utf8Path) -> String {
    let source = source.as_str().replace('\\', "/");
    let text = source.trim_end_matches('/');
    let text = text.strip_prefix("./").unwrap_or(text);
    if text.starts_with('/') || text.contains(":/") {
        return text.rsplit('/').next().unwrap_or_default().to_owned();
    }
    if text == "." { String::new() } else { text.to_owned() }
}

fn joined(folder: &str, name: &str) -> String {
    match (folder, name) {
        ("" | ".", "") => ".".to_owned(),
        ("" | ".", name) => name.to_owned(),
        (folder, "") => folder.to_owned(),
        (folder, name) => format!("{folder}/{name}"),
    }
}
