// SPDX-License-Identifier: Apache-2.0
//! Reads all sets of a call.

mod advice;
mod compare;
mod ignored;
mod no_sets;
mod skip;
mod twins;
mod unread_settings;

use std::collections::{BTreeSet, HashSet};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use camino::Utf8PathBuf;

use self::advice::Advice;
use self::compare::{Comparison, Relation};
use self::ignored::{IgnoredFiles, Rules, ignored};
use self::no_sets::{NoSets, no_sets_error};
use self::skip::{Skip, skip};
use self::twins::twins;
use self::unread_settings::{UNREAD_SETTINGS, above, is_unread};
use super::files::names::Names;
use super::files::origin::{Origin, in_no_commit, origin};
use super::files::read::{Content, MAX_FILE, is_utf16, mentions, read_file};
use super::files::root::{Root, checkout, root};
use super::files::walk::{Candidate, Walk, WalkResult, merge_walks, walk};
use super::git::Source;
use super::kustomize::{Effect, Engines, Extent, FoundSet, Kustomizations, effects};
use super::rules::document::{find, read, too_large};
use super::rules::rule::{NO_DIGEST, SETTINGS};
use super::settings::find::top;
use super::yaml::kind::{DocumentKind, says_set};
use super::yaml::position::MAX_DOCUMENT;
use super::yaml::text::{Piece, split};
use crate::crd::GROUP;
use crate::set::error::{SetError, SetErrors};
use crate::set::model::{CheckedSet, LoadedSet, LoadedSets, SkippedFile, Warning};

/// Most sets of one call.
const MAX_SETS: usize = 10_000;
/// Most errors that are reported at once.
const MAX_ERRORS: usize = 50;

/// Reads every set below `paths`, each a folder or a file; `-` is `stdin`.
///
/// A file that is found twice is read once. The order of the paths matters only for the commit: it is that of the first path
/// in a Git repository, and paths in another repository give a warning. What Git or Kustomize would apply and krs does not
/// read gives a warning too.
///
/// # Errors
/// All errors, not only the first one; also if there is no set.
pub fn load(paths: &[Utf8PathBuf], mut stdin: Option<&mut dyn Read>) -> Result<LoadedSets, SetErrors> {
    let mut loader = Loader::default();
    let mut roots = Vec::new();
    for path in paths {
        if path == "-" {
            match stdin.take() {
                Some(stdin) => loader.stdin(stdin),
                None => loader.errors.push(SetError::file("-", "standard input can be read only once")),
            }
            continue;
        }
        match root(path) {
            Ok(root) => roots.push((root, path.clone())),
            Err(error) => loader.errors.push(error),
        }
    }
    for candidate in &loader.open(roots) {
        loader.candidate(candidate);
    }
    for candidate in loader.comparison.as_mut().map(Comparison::unread).unwrap_or_default() {
        loader.candidate(&candidate);
    }
    loader.finish(paths)
}

#[derive(Default)]
struct Loader {
    sets: Vec<LoadedSet>,
    /// The canonical path of each set's file.
    paths: Vec<PathBuf>,
    skipped: Vec<SkippedFile>,
    warnings: Vec<Warning>,
    errors: Vec<SetError>,
    visited: HashSet<PathBuf>,
    /// Those of them that were not read as sets.
    skipped_files: HashSet<PathBuf>,
    /// Folders of the call, with their names in messages.
    folders: Vec<(PathBuf, Utf8PathBuf)>,
    /// Files of the call.
    files: HashSet<PathBuf>,
    names: Names,
    kustomizations: Kustomizations,
    comparison: Option<Comparison>,
    /// A warning for each path that was read and is not in the commit.
    elsewhere: Vec<Warning>,
}

impl Loader {
    /// Finds the files of the roots. The roots come in the order of the call, with their names in messages.
    fn open(&mut self, mut roots: Vec<(Root, Utf8PathBuf)>) -> Vec<Candidate> {
        self.names =
            Names::of(roots.iter().map(|(root, _)| root.folder()), |folder| checkout(folder).is_some());
        self.open_commit(&roots);
        roots.sort();
        roots.dedup_by(|later, kept| later.0 == kept.0);
        let folder = |(root, shown): &(Root, Utf8PathBuf)| match root {
            Root::Folder(folder) => Some((folder.clone(), shown.clone())),
            Root::File(..) => None,
        };
        self.folders = roots.iter().filter_map(folder).collect();
        let folders = self.folders.iter().map(|(folder, _)| folder.clone()).collect::<Vec<_>>();
        let mut candidates = Vec::new();
        for (root, shown) in &roots {
            self.name_settings_above(root);
            match root {
                Root::Folder(root) => {
                    let names = &self.names;
                    let walked = walk(Walk { root, shown, names, folders: &folders });
                    candidates.extend(self.walked(root, walked));
                }
                Root::File(path, named) => {
                    // If it is below a folder of the call, it has its name there.
                    let named =
                        if folders.iter().any(|folder| path.starts_with(folder)) { path } else { named };
                    let file = self.names.name(named).unwrap_or_else(|| shown.to_string());
                    candidates.push(Candidate { file, path: path.clone(), hidden: false, link: None });
                    self.files.insert(path.clone());
                }
            }
        }
        merge_walks(candidates)
    }

    fn walked(&mut self, folder: &Path, walked: WalkResult) -> Vec<Candidate> {
        let WalkResult { candidates, kustomizations, errors, warnings } = walked;
        self.errors.extend(errors);
        self.warnings.extend(warnings);
        for kustomization in &kustomizations {
            self.kustomizations.add(kustomization);
        }
        if let Some(top) = checkout(folder) {
            self.kustomizations.add_above(folder, top);
        }
        candidates
    }

    /// Warns of settings in folders above a path, which a person may think hold for it.
    fn name_settings_above(&mut self, root: &Root) {
        let Some(top) = top(root) else { return };
        let folder = root.folder();
        let first = if matches!(root, Root::Folder(_)) { folder.parent() } else { Some(folder.as_path()) };
        for file in first.map(|first| above(first, &top)).unwrap_or_default() {
            let name = file.strip_prefix(&top).unwrap_or(&file).to_string_lossy().into_owned();
            self.warnings.push(Warning::new(&name, 0, UNREAD_SETTINGS).rule(SETTINGS));
        }
    }

    /// Whether a file below a folder of the call is called like the settings, and is not read as such.
    fn is_unread_settings(&self, file: &Path) -> bool {
        let folder = self.folders.iter().find(|(folder, _)| file.starts_with(folder));
        let top = folder.and_then(|(folder, _)| top(&Root::Folder(folder.clone())));
        top.is_some_and(|top| is_unread(file, &top))
    }

    /// Opens the commit of the first checkout that is read.
    fn open_commit(&mut self, roots: &[(Root, Utf8PathBuf)]) {
        let Origin { checkout, elsewhere, warnings } = origin(roots);
        self.elsewhere.extend(elsewhere);
        self.warnings.extend(warnings);
        let Some((top, folders, files)) = checkout else { return };
        match Comparison::open(&top, &folders, &files, self.names.clone()) {
            Ok(mut comparison) => {
                comparison.relate_settings();
                self.comparison = Some(comparison);
            }
            Err(reason) => self.warnings.push(no_commit(&top, &reason)),
        }
    }

    fn stdin(&mut self, stdin: &mut dyn Read) {
        self.elsewhere.push(in_no_commit("-", "standard input is in no commit"));
        match crate::files::read_to_end(stdin, MAX_FILE) {
            Ok(bytes) => {
                self.bytes("-", &bytes);
                self.paths.resize(self.sets.len(), PathBuf::new());
            }
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
                self.errors.push(file_too_large("-"));
            }
            Err(error) => self.errors.push(SetError::file("-", format!("cannot be read: {error}"))),
        }
    }

    fn candidate(&mut self, candidate: &Candidate) {
        if !self.visited.insert(candidate.path.clone()) {
            return;
        }
        let file = candidate.file.as_str();
        let comparison = self.comparison.as_ref();
        let hasher = comparison.map(|comparison| move |size: u64| comparison.hasher(size));
        let hasher = hasher.as_ref().map(|hasher| hasher as &dyn Fn(u64) -> super::git::Hasher);
        let Content { mut bytes, mut mentions, id } = match read_file(&candidate.path, hasher) {
            Ok(content) => content,
            Err(error) => return self.errors.push(SetError::file(file, format!("cannot be read: {error}"))),
        };
        let mut relation = match (&mut self.comparison, id) {
            (Some(comparison), Some(id)) => comparison.relate(candidate, id, bytes.as_deref()),
            _ => Relation::Unknown,
        };
        if let Relation::LineEnds(blob) = &mut relation {
            mentions = self::mentions(blob);
            bytes = Some(std::mem::take(blob));
        }
        if !mentions && self.is_unread_settings(&candidate.path) {
            self.warnings.push(Warning::new(file, 0, UNREAD_SETTINGS).rule(SETTINGS));
        }
        let before = (self.sets.len(), self.errors.len());
        // Only few files concern sets; the others need no comparison.
        let held_set = matches!(relation, Relation::Changed { held_set: true });
        let skip = if mentions || held_set { self.skip(candidate) } else { None };
        let skipped = skip.is_some();
        if skipped {
            self.skipped_files.insert(candidate.path.clone());
        }
        match (bytes, skip) {
            _ if !mentions => {}
            (None, None) => self.errors.push(file_too_large(file)),
            (None, Some(_)) => {}
            (Some(bytes), None) => self.bytes(file, &bytes),
            (Some(bytes), Some(skip)) => self.name_skipped(candidate, &bytes, skip),
        }
        self.paths.resize(self.sets.len(), candidate.path.clone());
        let Some(comparison) = &mut self.comparison else { return };
        if (self.sets.len(), self.errors.len()) == before {
            if !skipped {
                comparison.gave_none(candidate, &relation);
            }
        } else {
            comparison.gave_sets(candidate, &relation);
        }
    }

    fn name_skipped(&mut self, candidate: &Candidate, bytes: &[u8], skip: Skip) {
        if !says_set(&String::from_utf8_lossy(bytes)) {
            return;
        }
        let Skip { reason, because, advice } = skip;
        let message = format!("holds a set and was skipped: it {reason}. {advice}");
        self.warnings.push(Warning::new(&candidate.file, 0, &message));
        self.skipped.push(SkippedFile::new(&candidate.file, 0, &reason));
        if let (Some(because), Some(comparison)) = (because, &mut self.comparison) {
            comparison.skipped(candidate, &because);
        }
    }

    fn skip(&self, candidate: &Candidate) -> Option<Skip> {
        // A file that the call names is always read.
        let is_named = self.files.contains(&candidate.path);
        if is_named { None } else { skip(candidate, &self.kustomizations, &self.advice()) }
    }

    fn advice(&self) -> Advice<'_> {
        Advice(&self.folders)
    }

    fn bytes(&mut self, file: &str, bytes: &[u8]) {
        if is_utf16(bytes) {
            return self.errors.push(SetError::file(file, "is UTF-16").help("save it as UTF-8"));
        }
        match std::str::from_utf8(bytes) {
            Ok(text) => split(text).iter().for_each(|piece| self.piece(file, piece)),
            Err(error) if says_set(&String::from_utf8_lossy(bytes)) => {
                let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
                let line = before.iter().filter(|b| **b == b'\n').count() + 1;
                self.errors.push(SetError::file(file, format!("is not UTF-8 (line {line})")));
            }
            Err(_) => {}
        }
    }

    fn piece(&mut self, file: &str, piece: &Piece<'_>) {
        if !mentions(piece.text.as_bytes()) {
            return;
        }
        if piece.text.len() > MAX_DOCUMENT {
            if says_set(&piece.text) {
                self.errors.push(too_large(file, piece.text.len()));
            }
            return;
        }
        let found = match find(piece) {
            Ok(found) => found,
            Err(_) if !says_set(&piece.text) => return,
            Err((position, message)) => return self.errors.push(piece.error(file, position, message)),
        };
        for found in found {
            let line = found.piece.first_line();
            match found.kind {
                DocumentKind::Set => match read(&found.piece, file) {
                    Ok(set) => self.set(file, line, found.piece.text.as_bytes(), set),
                    Err(errors) => self.errors.extend(errors),
                },
                DocumentKind::Wrong(position, message) => {
                    self.errors.push(found.piece.error(file, position, message));
                }
                DocumentKind::Foreign(version) => {
                    let version = crate::redact::printable(&version, 100);
                    let reason = format!("is of apiVersion {version}, not of {GROUP}");
                    self.skipped.push(SkippedFile::new(file, line, &reason));
                }
                DocumentKind::List | DocumentKind::Other => {}
            }
        }
    }

    fn set(&mut self, file: &str, line: u64, raw: &[u8], set: CheckedSet) {
        for image in set.images.iter().filter(|image| image.reference.digest.is_none()) {
            let message = format!("`{}` has no digest: what its tag points to may change", image.written);
            self.warnings.push(Warning::new(file, image.line, &message).rule(NO_DIGEST));
        }
        if self.sets.len() == MAX_SETS {
            if !self.errors.iter().any(|error| error.message.starts_with("more than")) {
                self.errors.push(SetError::file(file, format!("more than {MAX_SETS} sets in one call")));
            }
            return;
        }
        self.sets.push(LoadedSet {
            file: file.to_owned(),
            shown: file.to_owned(),
            line,
            raw: raw.to_vec(),
            set,
        });
    }

    fn finish(mut self, paths: &[Utf8PathBuf]) -> Result<LoadedSets, SetErrors> {
        self.name_effects();
        let ignored_files = self.name_ignored();
        if self.sets.is_empty() && self.errors.is_empty() {
            let path_list = paths.iter().map(|path| path.as_str()).collect::<Vec<_>>().join(", ");
            self.warnings.extend(
                self.comparison.take().and_then(|c| Some(c.finish(true).ok()?.1)).unwrap_or_default(),
            );
            self.warnings.sort();
            self.errors.push(no_sets_error(&NoSets {
                paths: &path_list,
                files: &self.visited,
                ignored: ignored_files,
                warnings: &self.warnings,
                skipped: &self.skipped,
            }));
        }
        if !self.errors.is_empty() {
            let key =
                |error: &SetError| (error.file.clone(), error.line, error.column, error.message.clone());
            self.errors.sort_by_cached_key(key);
            self.errors.dedup();
            let more = self.errors.len().saturating_sub(MAX_ERRORS);
            self.errors.truncate(MAX_ERRORS);
            if let (Some(last), 1..) = (self.errors.last_mut(), more) {
                last.help = Some(format!("{more} more errors are not shown").into());
            }
            return Err(SetErrors(self.errors));
        }
        let source = self.source();
        // A stable sort, so that sets of one file keep their order.
        self.sets.sort_by(|a, b| a.file.cmp(&b.file));
        self.warnings.extend(twins(&self.sets));
        self.skipped.sort();
        self.warnings.sort();
        self.warnings.dedup();
        Ok(LoadedSets {
            sets: self.sets,
            skipped: self.skipped,
            ignored_files,
            source,
            warnings: self.warnings,
        })
    }

    /// Names the sets that ignore files exclude, and counts all files that they exclude.
    fn name_ignored(&mut self) -> usize {
        let folders = self.folders.iter().map(|(folder, _)| folder.clone()).collect::<Vec<_>>();
        let IgnoredFiles { sets, files } = ignored(&self.visited, &folders);
        let mut rules = Rules::default();
        for path in sets {
            let root = folders.iter().find(|folder| path.starts_with(folder));
            let name = |path: &Path| self.names.name(path);
            let reason = match root.and_then(|root| rules.excluding(&path, root)) {
                Some((line, file)) => {
                    let file = name(&file).unwrap_or_else(|| {
                        file.file_name().unwrap_or_default().to_string_lossy().into_owned()
                    });
                    format!("is excluded by `{line}` in {file}")
                }
                None => "is excluded by an ignore file".to_owned(),
            };
            let file = name(&path).unwrap_or_else(|| path.to_string_lossy().into_owned());
            self.skipped.push(SkippedFile::new(&file, 0, &reason));
        }
        files
    }

    fn source(&mut self) -> Option<Source> {
        let comparison = self.comparison.take()?;
        let top = comparison.top().to_owned();
        match comparison.finish(!self.elsewhere.is_empty()) {
            Ok((source, warnings)) => {
                self.warnings.extend(warnings);
                self.warnings.append(&mut self.elsewhere);
                Some(source)
            }
            Err(reason) => {
                self.warnings.push(no_commit(&top, &reason));
                None
            }
        }
    }

    /// Warns of what Kustomize, Flux and Argo CD would change in the sets.
    fn name_effects(&mut self) {
        fn found<'a>((loaded, path): (&'a LoadedSet, &'a PathBuf)) -> FoundSet<'a> {
            FoundSet {
                path,
                file: &loaded.file,
                name: &loaded.set.name,
                namespace: loaded.set.namespace.as_deref(),
                manifest: &loaded.raw,
                images: loaded.set.images.iter().map(|image| image.written.as_str()).collect(),
            }
        }
        let sets = self.sets.iter().zip(&self.paths).map(found).collect::<Vec<_>>();
        let extent = Extent {
            is_below: &|path| self.folders.iter().any(|(folder, _)| path.starts_with(folder)),
            is_read: &|path| self.visited.contains(path) && !self.skipped_files.contains(path),
        };
        let warning = |effect: Effect| {
            let is_below = self.folders.iter().any(|(folder, _)| effect.file.starts_with(folder));
            let file = self.names.name(&effect.file).filter(|_| is_below);
            let file = file.unwrap_or_else(|| effect.file.to_string_lossy().into_owned());
            let advice = self.advice().render(&effect);
            let separator = if advice.is_empty() { "" } else { ". " };
            let message = format!("{}{separator}{advice}", effect.message);
            Warning::new(&file, effect.line, &message)
        };
        let mut engines = Engines::default();
        let roots = self.folders.iter().map(|(folder, _)| checkout(folder).unwrap_or(folder));
        roots.collect::<BTreeSet<_>>().into_iter().for_each(|root| engines.add(root));
        let warnings = effects(&self.kustomizations, &engines, &sets, &extent).into_iter().map(warning);
        let warnings = warnings.collect::<Vec<_>>();
        self.warnings.extend(warnings);
    }
}

fn no_commit(top: &Path, reason: &str) -> Warning {
    Warning::new(&top.to_string_lossy(), 0, &format!("no commit is recorded: {reason}"))
}

fn file_too_large(file: &str) -> SetError {
    SetError::file(
        file,
        format!("mentions EdgeImageSet and has more than the {MAX_FILE} bytes that are allowed"),
    )
    .help("divide it, or name it in .krsignore if it holds no set")
}
