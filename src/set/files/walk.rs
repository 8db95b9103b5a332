// SPDX-License-Identifier: Apache-2.0
//! Finds the YAML and JSON files of a checkout: sorted, with limits, and never outside of the root.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use camino::Utf8Path;
use ignore::WalkBuilder;

use super::names::Names;
use super::read::{Content, read_file};
use super::root::{MAX_DEPTH, checkout};
use crate::set::error::SetError;
use crate::set::model::Warning;

/// A file to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::set) struct Candidate {
    /// Its name in messages.
    pub(in crate::set) file: String,
    /// Its canonical path.
    pub(in crate::set) path: PathBuf,
    /// Whether a part of its path below the root begins with a dot.
    pub(in crate::set) hidden: bool,
    /// The symbolic link by which it was found.
    pub(in crate::set) link: Option<PathBuf>,
}

/// The files below one root.
#[derive(Debug, Default)]
pub(in crate::set) struct WalkResult {
    pub(in crate::set) candidates: Vec<Candidate>,
    /// Files that Kustomize reads.
    pub(in crate::set) kustomizations: Vec<PathBuf>,
    pub(in crate::set) errors: Vec<SetError>,
    pub(in crate::set) warnings: Vec<Warning>,
}

/// Names of the file of Kustomize.
pub(crate) const KUSTOMIZATIONS: [&str; 3] = ["kustomization.yaml", "kustomization.yml", "Kustomization"];

/// The file that excludes others from being read, in the syntax of `.gitignore`.
pub(in crate::set) const IGNORE_FILE: &str = ".krsignore";

/// Whether a file has a name under which `kubectl` and Kustomize read manifests.
pub(in crate::set) fn is_manifest(path: &Path) -> bool {
    path.extension().is_some_and(|extension| ["yaml", "yml", "json"].iter().any(|known| extension == *known))
}

fn is_json(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "json")
}

/// Whether a failure to read a JSON file is an error: most JSON files are not manifests.
fn mentions_set(path: &Path) -> bool {
    !matches!(read_file(path, None), Ok(Content { mentions: false, .. }))
}

/// Whether a part of a relative path begins with a dot.
pub(in crate::set) fn is_hidden(relative: &Path) -> bool {
    relative.components().any(|part| part.as_os_str().as_encoded_bytes().starts_with(b"."))
}

/// A folder to walk, with the context of the call.
#[derive(Debug, Clone, Copy)]
pub(in crate::set) struct Walk<'a> {
    /// Its canonical path.
    pub(in crate::set) root: &'a Path,
    /// Its name in messages.
    pub(in crate::set) shown: &'a Utf8Path,
    /// Names of the files in it.
    pub(in crate::set) names: &'a Names,
    /// All folders of the call: symbolic links may lead to any of them.
    pub(in crate::set) folders: &'a [PathBuf],
}

/// Walks a folder in the order of the paths, without hidden files, and without what `.gitignore` and `.krsignore` name.
pub(crate) fn walker(root: &Path) -> WalkBuilder {
    let mut builder = WalkBuilder::new(root);
    builder
        .hidden(true)
        // Rules of folders above the root apply only in the same checkout: a `.gitignore` in a home folder does not apply.
        .parents(checkout(root).is_some())
        .ignore(false)
        .git_ignore(true)
        .git_exclude(true)
        // A bundle must not depend on the user's configuration.
        .git_global(false)
        .require_git(false)
        .follow_links(false)
        .max_depth(Some(MAX_DEPTH))
        .add_custom_ignore_filename(IGNORE_FILE)
        .sort_by_file_path(Path::cmp);
    builder
}

/// Lists the YAML and JSON files below a folder. What `.gitignore` and `.krsignore` name is left out, `.git` always.
pub(in crate::set) fn walk(walk: Walk<'_>) -> WalkResult {
    let Walk { root, shown, names, folders } = walk;
    let mut walked = WalkResult::default();
    let mut builder = walker(root);
    builder.hidden(false).filter_entry(|entry| entry.file_name() != ".git");
    let mut files = BTreeMap::new();
    let mut links = Vec::new();
    for entry in builder.build() {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                walked.errors.push(SetError::file(shown.as_str(), format!("cannot be walked: {error}")));
                continue;
            }
        };
        let path = entry.path();
        let relative = path.strip_prefix(root).unwrap_or(path);
        let file = names.name(path).unwrap_or_else(|| shown.to_string());
        if let Some(error) = entry.error() {
            let message = format!("an ignore file does not read: {error}");
            walked.warnings.push(Warning::new(&file, 0, &message));
        }
        let Some(kind) = entry.file_type() else { continue };
        let hidden = is_hidden(relative);
        // As for Kustomize, a link of that name counts too.
        if !kind.is_dir() && KUSTOMIZATIONS.iter().any(|name| entry.file_name() == *name) {
            walked.kustomizations.push(path.to_owned());
        }
        if kind.is_symlink() {
            links.push((file, path.to_owned(), hidden));
        } else if kind.is_file() && is_manifest(path) {
            if Utf8Path::from_path(relative).is_none() && (!is_json(path) || mentions_set(path)) {
                walked.errors.push(SetError::file(file, "has a name that is not UTF-8; rename it"));
                continue;
            }
            files.insert(path.to_owned(), Candidate { file, path: path.to_owned(), hidden, link: None });
        }
    }
    // After the files, so that a file that is also linked to is read once, under its own name.
    for (file, path, hidden) in links {
        match link(folders, &path) {
            Ok(Some(target)) => {
                files.entry(target.clone()).or_insert(Candidate {
                    file,
                    path: target,
                    hidden,
                    link: Some(path),
                });
            }
            Err(message) if !hidden => walked
                .errors
                .push(SetError::file(file, message).help("replace it by the file, or name it in .krsignore")),
            Ok(None) | Err(_) => {}
        }
    }
    walked.candidates = files.into_values().collect();
    walked.candidates.sort_by(|a, b| a.file.cmp(&b.file));
    walked
}

/// The target of a link: a YAML or JSON file below one of the folders. Links to folders are not followed, because the folder
/// itself is walked.
fn link(folders: &[PathBuf], path: &Path) -> Result<Option<PathBuf>, String> {
    let Ok(target) = path.canonicalize() else {
        return if is_manifest(path) && !is_json(path) {
            Err("is a symbolic link to a file that does not exist".to_owned())
        } else {
            Ok(None)
        };
    };
    let folder = target.is_dir();
    if !folder && !is_manifest(path) {
        return Ok(None);
    }
    if !folders.iter().any(|folder| target.starts_with(folder)) {
        if !folder && is_json(path) && !mentions_set(&target) {
            return Ok(None);
        }
        return Err("is a symbolic link that leaves the folder that is read".to_owned());
    }
    Ok((!folder && target.is_file()).then_some(target))
}

/// Merges the results of several walks: each file once, and as one to read if one of the walks reads it.
pub(in crate::set) fn merge_walks(candidates: impl IntoIterator<Item = Candidate>) -> Vec<Candidate> {
    let mut files = BTreeMap::<PathBuf, Candidate>::new();
    for candidate in candidates {
        let Some(other) = files.get_mut(&candidate.path) else {
            files.insert(candidate.path.clone(), candidate);
            continue;
        };
        let hidden = other.hidden && candidate.hidden;
        // Its own name comes before that of a link to it.
        if (candidate.link.is_some(), &candidate.file) < (other.link.is_some(), &other.file) {
            *other = candidate;
        }
        other.hidden = hidden;
    }
    let mut candidates = files.into_values().collect::<Vec<_>>();
    candidates.sort_by(|a, b| a.file.cmp(&b.file));
    candidates
}
