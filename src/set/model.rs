// SPDX-License-Identifier: Apache-2.0
//! Sets that were loaded.

use super::files::names::CallPaths;
use super::git::Source;
use super::rules::rule::CHECKOUT;
use super::show::shown;
use super::yaml::text::has_content;
use crate::crd::EdgeImageSetSpec;
use crate::oci::platform::Platform;
use crate::oci::reference::{Reference, RepositoryName, Tag};

/// The result of [`load`](super::load).
#[derive(Debug, Clone, PartialEq)]
pub struct LoadedSets {
    /// The sets, by file, then by their order in the file.
    pub sets: Vec<LoadedSet>,
    /// Files with a set that was deliberately not read; of those that ignore files exclude, the first 200.
    pub skipped: Vec<SkippedFile>,
    /// How many YAML and JSON files `.gitignore` and `.krsignore` exclude, with those that hold no set.
    pub ignored_files: usize,
    /// Commit of the first path in a Git repository.
    pub source: Option<Source>,
    /// Problems that do not prevent loading.
    pub warnings: Vec<Warning>,
}

impl LoadedSets {
    /// Makes messages, warnings and errors of [`merge`](super::merge) name files by the paths of the call, instead of names
    /// that do not depend on where the checkout is.
    pub fn show_paths(&mut self, paths: &CallPaths) {
        self.sets.iter_mut().for_each(|set| set.shown = paths.path(&set.file));
        self.skipped.iter_mut().for_each(|skipped| skipped.file = paths.path(&skipped.file));
        self.warnings.iter_mut().for_each(|warning| warning.file = paths.path(&warning.file));
    }
}

/// A set and its location.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadedSet {
    /// Path relative to the folder that contains all paths of the call, with `/` between its parts; `-` for standard input.
    /// Unique for each file.
    pub file: String,
    /// Its name in messages: `file`, or the path as in the call, see [`LoadedSets::show_paths`].
    pub shown: String,
    /// Line of the file on which the document begins, from 1.
    pub line: u64,
    /// The YAML document verbatim, without the `---` lines. For an item of a list: its lines, without the indentation; aliases
    /// of anchors in other items are expanded.
    pub raw: Vec<u8>,
    /// The parsed set.
    pub set: CheckedSet,
}

impl LoadedSet {
    /// Line of the file on which `raw` begins: comments and empty lines come before `line`.
    pub(super) fn document_line(&self) -> u64 {
        let raw = String::from_utf8_lossy(&self.raw);
        let before = raw.lines().take_while(|line| !has_content(line)).count() as u64;
        self.line.saturating_sub(before)
    }
}

/// A valid set.
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

/// The full name of a set: `NAMESPACE/NAME`, or its name alone if the file has no namespace.
pub fn full_name(namespace: Option<&str>, name: &str) -> String {
    namespace.map_or_else(|| name.to_owned(), |namespace| format!("{namespace}/{name}"))
}

impl CheckedSet {
    /// Chooses platforms for the images that name none.
    pub fn choose(&mut self, platforms: &[Platform]) {
        for image in self.images.iter_mut().filter(|image| image.platforms.is_empty()) {
            image.platforms = platforms.to_vec();
        }
    }
}

/// One parsed image of a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetImage {
    /// The reference as the set writes it.
    pub written: String,
    /// The reference as the set writes it, with its defaults.
    pub reference: Reference,
    /// Platforms to copy: the image's, or else the set's, sorted and without duplicates. Empty: all.
    pub platforms: Vec<Platform>,
    /// Repository at the edge, below the prefix of the set's `destinationRegistry`.
    pub repository: RepositoryName,
    /// Tag at the edge: the reference's, else [`Tag::of_digest`].
    pub tag: Tag,
    /// Line on which the image is written, from 1: in the file after [`load`](super::load), in the YAML document after
    /// [`check`](super::check).
    pub line: u64,
    /// Column on which it begins there, from 1, in characters; 0 where that is not known.
    pub column: u64,
}

/// A file or YAML document with a set that is not read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct SkippedFile {
    /// Path as in [`LoadedSet::file`].
    pub file: String,
    /// Line from 1; 0 for the file.
    pub line: u64,
    /// Why, as part of a sentence: "is a Kustomize patch (listed in kustomization.yaml)".
    pub reason: String,
}

impl SkippedFile {
    pub(super) fn new(file: &str, line: u64, reason: &str) -> Self {
        Self { file: shown(file), line, reason: shown(reason) }
    }
}

/// A problem that does not prevent loading.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Warning {
    /// Path as in [`LoadedSet::file`].
    pub file: String,
    /// Line from 1; 0 for the file.
    pub line: u64,
    /// What it is about, for reports: one of [`RULES`](crate::set::RULES).
    pub rule: &'static str,
    /// One sentence.
    pub message: String,
}

impl Warning {
    /// A warning whose names and texts from a checkout are escaped.
    pub fn new(file: &str, line: u64, message: &str) -> Self {
        Self { file: shown(file), line, rule: CHECKOUT, message: shown(message) }
    }

    /// Says what it is about.
    pub(super) fn rule(self, rule: &'static str) -> Self {
        Self { rule, ..self }
    }
}
