// SPDX-License-Identifier: Apache-2.0
//! Finds the sources of a kustomization's objects: sets that were read, and others.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::kustomizations::Kustomizations;
use super::parse::{Kustomization, Patch};
use crate::redact::{address, printable};
use crate::set::files::read::{Content, read_file};
use crate::set::files::walk::KUSTOMIZATIONS;
use crate::set::yaml::kind::says_set;

/// Most files that are opened besides those of the call.
pub(super) const MAX_OPENED: usize = 2_000;
/// Most characters of an entry that is shown.
const MAX_SHOWN: usize = 200;

/// A set that was read.
#[derive(Debug)]
pub(in crate::set) struct FoundSet<'a> {
    /// The canonical path of its file.
    pub(in crate::set) path: &'a Path,
    /// The name of the file in messages.
    pub(in crate::set) file: &'a str,
    pub(in crate::set) name: &'a str,
    pub(in crate::set) namespace: Option<&'a str>,
    /// The YAML of the set, as its file has it.
    pub(in crate::set) manifest: &'a [u8],
    /// The images as the set writes them.
    pub(in crate::set) images: Vec<&'a str>,
}

/// The sources of a kustomization's objects.
#[derive(Debug, Clone, Default)]
pub(super) struct Sources {
    /// Indexes of sets that were read.
    pub(super) sets: BTreeSet<usize>,
    /// Files that contain a set and were not read.
    pub(super) unread: BTreeSet<PathBuf>,
    /// Sources that may contain sets and are not read: addresses in a network, charts, generators.
    pub(super) unknown: BTreeSet<String>,
}

impl Sources {
    pub(super) fn add(&mut self, other: &Self) {
        self.sets.extend(&other.sets);
        self.unread.extend(other.unread.iter().cloned());
        self.unknown.extend(other.unknown.iter().cloned());
    }
}

/// The files that krs reads.
pub(in crate::set) struct Extent<'a> {
    /// Whether a path is below one of the folders that are read.
    pub(in crate::set) is_below: &'a dyn Fn(&Path) -> bool,
    /// Whether a file was read, so that the sets in it are known.
    pub(in crate::set) is_read: &'a dyn Fn(&Path) -> bool,
}

/// The kustomizations that are read, and all that they include.
pub(super) struct Graph<'a> {
    pub(super) kustomizations: &'a Kustomizations,
    sets: &'a [FoundSet<'a>],
    extent: &'a Extent<'a>,
    by_path: BTreeMap<&'a Path, Vec<usize>>,
    /// By file or folder.
    collected: BTreeMap<PathBuf, Sources>,
    /// Folders that are being followed, so that a kustomization that includes itself is followed once.
    open: BTreeSet<PathBuf>,
    opened: usize,
    /// Kustomizations that cannot be read, with the reason.
    pub(super) unreadable: BTreeMap<PathBuf, String>,
    /// Kustomizations with missing entries, as part of a sentence.
    pub(super) missing: BTreeSet<(PathBuf, String)>,
    /// The kustomization at which [`MAX_OPENED`] was reached.
    pub(super) limit: Option<PathBuf>,
}

impl<'a> Graph<'a> {
    pub(super) fn new(
        kustomizations: &'a Kustomizations,
        sets: &'a [FoundSet<'a>],
        extent: &'a Extent<'a>,
    ) -> Self {
        let mut by_path = BTreeMap::<&Path, Vec<usize>>::new();
        for (n, set) in sets.iter().enumerate() {
            by_path.entry(set.path).or_default().push(n);
        }
        Self {
            kustomizations,
            sets,
            extent,
            by_path,
            collected: BTreeMap::new(),
            open: BTreeSet::new(),
            opened: 0,
            unreadable: kustomizations.unreadable.clone(),
            missing: BTreeSet::new(),
            limit: None,
        }
    }

    /// Indexes of the sets whose files are below a folder.
    pub(super) fn places_below(&self, folder: &Path) -> impl Iterator<Item = usize> {
        let below = self.by_path.iter().filter(move |(path, _)| path.starts_with(folder));
        below.flat_map(|(_, indexes)| indexes.iter().copied())
    }

    /// The sets at these indexes.
    pub(super) fn sets(&self, sources: &Sources) -> impl Iterator<Item = &'a FoundSet<'a>> {
        let sets = self.sets;
        sources.sets.iter().filter_map(|n| sets.get(*n))
    }

    /// The sources of the kustomization of a folder, which `file` lists.
    pub(super) fn collect_sources(&mut self, folder: &Path, file: &Path) -> Sources {
        if let Some(sources) = self.collected.get(folder) {
            return sources.clone();
        }
        if !self.open.insert(folder.to_owned()) {
            return Sources::default();
        }
        let mut sources = Sources::default();
        let kustomizations = self.kustomizations;
        if let Some(known) = kustomizations.read.get(folder) {
            self.follow(known, &mut sources);
        } else if let Some(unknown) = self.open_kustomization(folder, file) {
            self.follow(&unknown, &mut sources);
        }
        self.open.remove(folder);
        self.collected.insert(folder.to_owned(), sources.clone());
        sources
    }

    fn follow(&mut self, kustomization: &Kustomization, sources: &mut Sources) {
        for resource in kustomization.resources().chain(kustomization.components()) {
            sources.add(&self.entry(kustomization, resource));
        }
        sources.unknown.extend(self.made(kustomization));
        sources.unknown.extend(self.absent_patches(kustomization));
    }

    /// The sources of one entry of `resources` or `components`.
    pub(super) fn entry(&mut self, kustomization: &Kustomization, resource: &str) -> Sources {
        let mut sources = Sources::default();
        let path = match locate(kustomization, resource) {
            Ok(path) => path,
            Err(reason) => {
                sources.unknown.extend(self.absent(kustomization, resource, &reason));
                return sources;
            }
        };
        if path.is_dir() {
            return self.collect_sources(&path, &kustomization.file);
        }
        if let Some(sources) = self.collected.get(&path) {
            return sources.clone();
        }
        if let Some(sets) = self.by_path.get(path.as_path()) {
            sources.sets.extend(sets);
        } else if !(self.extent.is_read)(&path) {
            match self.holds_set(&path, &kustomization.file) {
                Ok(true) => drop(sources.unread.insert(path.clone())),
                Ok(false) => {}
                Err(error) => {
                    sources.unknown.insert(format!("{} (cannot be read: {error})", shown(resource)));
                }
            }
        }
        self.collected.insert(path, sources.clone());
        sources
    }

    /// Patches in missing files. The target of a patch tells what it changes, even without the file.
    pub(super) fn absent_patches(&mut self, kustomization: &Kustomization) -> Vec<String> {
        let mut absent = Vec::new();
        let is_merged = |patch: &Patch<'_>| patch.target.is_none();
        for patch in kustomization.patches().filter(is_merged).filter_map(|patch| patch.file) {
            if let Err(reason) = locate(kustomization, patch) {
                absent.extend(self.absent(kustomization, patch, &reason));
            }
        }
        absent
    }

    /// The source of an entry that is not a file: as for Kustomize, an address if it looks like one.
    fn absent(&mut self, kustomization: &Kustomization, entry: &str, reason: &str) -> Option<String> {
        if is_address(entry) {
            return Some(format!("{} (krs fetches no manifests)", shown(entry)));
        }
        self.missing.insert((kustomization.file.clone(), format!("{}, which {reason}", shown(entry))));
        None
    }

    /// Sources that a kustomization generates: it is not known whether they contain a set.
    pub(super) fn made(&self, kustomization: &Kustomization) -> Vec<String> {
        let is_read = |folder: &Path| folder.canonicalize().is_ok_and(|path| (self.extent.is_below)(&path));
        // Templates of a chart that are read have a message of their own if they contain sets.
        let charts = kustomization.charts().filter(|(_, folder)| !is_read(folder));
        let mut made = charts
            .map(|(name, _)| format!("the Helm chart {} (krs renders no charts)", shown(name)))
            .collect::<Vec<_>>();
        if kustomization.has("generators") {
            made.push("generators (krs runs none)".to_owned());
        }
        made
    }

    pub(super) fn open_kustomization(&mut self, folder: &Path, file: &Path) -> Option<Kustomization> {
        if !self.may_open(file) {
            return None;
        }
        let Some((path, read)) = KUSTOMIZATIONS.iter().find_map(|name| {
            let path = folder.join(name);
            Kustomization::read(&path).map(|read| (path, read))
        }) else {
            let name = folder.file_name().unwrap_or_default().to_string_lossy();
            let message = format!("the folder {name}, which has no {}", KUSTOMIZATIONS[0]);
            self.missing.insert((file.to_owned(), message));
            return None;
        };
        read.map_err(|reason| self.unreadable.insert(path, reason)).ok()
    }

    fn holds_set(&mut self, path: &Path, file: &Path) -> std::io::Result<bool> {
        if !path.is_file() || !self.may_open(file) {
            return Ok(false);
        }
        let Content { bytes, mentions, .. } = read_file(path, None)?;
        // A file that is too large to be kept is only searched for the word.
        Ok(mentions && bytes.is_none_or(|bytes| says_set(&String::from_utf8_lossy(&bytes))))
    }

    /// Counts a file or folder that is opened because `file` includes it.
    fn may_open(&mut self, file: &Path) -> bool {
        self.opened += 1;
        if self.opened > MAX_OPENED && self.limit.is_none() {
            self.limit = Some(file.to_owned());
        }
        self.limit.is_none()
    }
}

/// The path of a file or folder that a kustomization lists.
///
/// # Errors
/// Why it cannot be found, as part of a sentence.
pub(super) fn locate(kustomization: &Kustomization, entry: &str) -> Result<PathBuf, String> {
    kustomization.folder.join(entry).canonicalize().map_err(|error| match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => "does not exist".to_owned(),
        _ => format!("cannot be read: {error}"),
    })
}

/// Whether an entry that is no file can be an address: `https://…`, `git@…`, `github.com/org/repo//path`.
fn is_address(resource: &str) -> bool {
    let host = resource.split('/').next().unwrap_or_default();
    !resource.contains(char::is_whitespace)
        && (resource.contains("://")
            || resource.contains('@')
            || (resource.contains('/') && host.contains('.') && !host.starts_with('.')))
}

/// An entry, safe to show.
pub(super) fn shown(entry: &str) -> String {
    printable(&address(entry), MAX_SHOWN)
}
