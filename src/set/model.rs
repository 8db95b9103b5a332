// SPDX-License-Identifier: Apache-2.0
//! Sets as they were found and understood.

use super::files::names::CallPaths;
use super::git::Source;
use super::show::shown;
use crate::crd::EdgeImageSetSpec;
use crate::oci::platform::Platform;
use crate::oci::reference::{Reference, RepositoryName, Tag};

/// Everything that [`load`](super::load) found.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadedSets {
    /// The sets, by file, then by place in the file.
    pub sets: Vec<LoadedSet>,
    /// What holds a set and was deliberately not read as one; of files that ignore files exclude the first 200.
    pub skipped: Vec<SkippedFile>,
    /// How many YAML and JSON files `.gitignore` and `.krsignore` exclude, with those that hold no set.
    pub ignored_files: usize,
    /// Commit of the first path that lies in a Git repository.
    pub source: Option<Source>,
    /// What works and should be better.
    pub warnings: Vec<Warning>,
}

impl LoadedSets {
    /// Has messages, warnings and errors of [`merge`](super::merge) name files by paths of the call, in place of names that are the same
    /// wherever the checkout lies.
    pub fn show_paths(&mut self, paths: &CallPaths) {
        self.sets.iter_mut().for_each(|set| set.shown = paths.path(&set.file));
        self.skipped.iter_mut().for_each(|skipped| skipped.file = paths.path(&skipped.file));
        self.warnings.iter_mut().for_each(|warning| warning.file = paths.path(&warning.file));
    }
}

/// A set and where it was found.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadedSet {
    /// Path relative to what holds all that was asked for, with `/` between its parts; `-` for standard input. No two files
    /// have the same.
    pub file: String,
    /// What messages call it: `file`, or the path as the call would name it, see [`LoadedSets::show_paths`].
    pub shown: String,
    /// Line of the file on which the document begins, from 1.
    pub line: u64,
    /// The document verbatim, without the `---` lines. For an item of a list: its lines, moved to the left margin; where
    /// it uses anchors of other items, written out.
    pub raw: Vec<u8>,
    /// What it says.
    pub set: CheckedSet,
}

/// A set that keeps all rules.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckedSet {
    /// `metadata.namespace`.
    pub namespace: Option<String>,
    /// `metadata.name`.
    pub name: String,
    /// The spec, with defaults filled in.
    pub spec: EdgeImageSetSpec,
    /// The images of the spec, in its order.
    pub images: Vec<SetImage>,
}

/// What people call a set: `NAMESPACE/NAME`, or its name alone where Git names no namespace.
pub fn full_name(namespace: Option<&str>, name: &str) -> String {
    namespace.map_or_else(|| name.to_owned(), |namespace| format!("{namespace}/{name}"))
}

impl CheckedSet {
    /// Chooses platforms for the images that say nothing of them.
    pub fn choose(&mut self, platforms: &[Platform]) {
        for image in self.images.iter_mut().filter(|image| image.platforms.is_empty()) {
            image.platforms = platforms.to_vec();
        }
    }
}

/// One image of a set, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetImage {
    /// The reference as the set writes it.
    pub written: String,
    /// The reference.
    pub reference: Reference,
    /// Platforms to bring: the image's, else the set's, without repetition and sorted. Empty: all.
    pub platforms: Vec<Platform>,
    /// Repository at the edge, below the prefix of the set's `destinationRegistry`.
    pub repository: RepositoryName,
    /// Tag at the edge: the reference's, else [`Tag::of_digest`].
    pub tag: Tag,
    /// Line on which the image is written, from 1: of the file after [`load`](super::load), of the document after [`check`](super::check).
    pub line: u64,
}

/// A file or document that holds a set and is not read as one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct SkippedFile {
    /// Path as in [`LoadedSet::file`].
    pub file: String,
    /// Line from 1; 0 for the whole file.
    pub line: u64,
    /// Why, as part of a sentence: "is a Kustomize patch (listed in kustomization.yaml)".
    pub reason: String,
}

impl SkippedFile {
    pub(super) fn new(file: &str, line: u64, reason: &str) -> Self {
        Self { file: shown(file), line, reason: shown(reason) }
    }
}

/// Something that works and should be better.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Warning {
    /// Path as in [`LoadedSet::file`].
    pub file: String,
    /// Line from 1; 0 for the whole file.
    pub line: u64,
    /// One sentence.
    pub message: String,
}

impl Warning {
    /// A warning in which the names and texts of a checkout are safe to be shown.
    pub fn new(file: &str, line: u64, message: &str) -> Self {
        Self { file: shown(file), line, message: shown(message) }
    }
}
