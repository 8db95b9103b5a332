// SPDX-License-Identifier: Apache-2.0
//! Compares the files that were read with the commit that is checked out.
//!
//! A bundle may state a commit as its source only if a checkout of that commit gives the same sets. So every difference makes
//! the checkout dirty, and is named.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::set::files::ignore_rules::{IgnoreRules, join, parent};
use crate::set::files::names::Names;
use crate::set::files::walk::{Candidate, IGNORE_FILE, KUSTOMIZATIONS, is_hidden, is_manifest};
use crate::set::git::{Commit, Hasher, ObjectId, Source, TrackedFile};
use crate::set::kustomize;
use crate::set::model::Warning;
use crate::set::settings::find::MAX_SETTINGS;
use crate::set::settings::model::SETTINGS_FILE;
use crate::set::yaml::kind::says_set;

/// Most differences that are named.
const MAX_NAMED: usize = 50;

/// The relation of a file to the commit.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::set) enum Relation {
    /// The commit is not known.
    Unknown,
    Same,
    /// It differs only in line ends, as with `core.autocrlf`; contains the commit's content.
    LineEnds(Vec<u8>),
    /// It has other content; contains whether the commit's content has a set.
    Changed {
        held_set: bool,
    },
    Untracked,
}

/// The commit, and the differences from it.
#[derive(Debug)]
pub(in crate::set) struct Comparison {
    commit: Commit,
    names: Names,
    /// The folders that are read, as paths in the checkout.
    folders: Vec<Vec<u8>>,
    /// Files that were read.
    visited: BTreeSet<Vec<u8>>,
    /// Files with sets.
    gave: BTreeMap<Vec<u8>, String>,
    /// Files that were skipped, and the file that caused it.
    skipped: Vec<(String, PathBuf)>,
    differences: BTreeMap<String, String>,
    /// Why the commit could not be read to the end.
    failure: Option<String>,
}

impl Comparison {
    /// Opens the commit of the checkout at `top`. `folders` and `files` are what is read of it, `names` the names of the files
    /// in messages.
    ///
    /// # Errors
    /// Why this is not possible, as part of a sentence.
    pub(in crate::set) fn open(
        top: &Path,
        folders: &[PathBuf],
        files: &[PathBuf],
        names: Names,
    ) -> Result<Self, String> {
        let paths = folders.iter().chain(files).cloned().collect::<Vec<_>>();
        let commit = Commit::open(top, &paths, is_wanted)?;
        let folders = folders.iter().filter_map(|folder| commit.path_of(folder)).collect();
        Ok(Self {
            commit,
            names,
            folders,
            visited: BTreeSet::new(),
            gave: BTreeMap::new(),
            skipped: Vec::new(),
            differences: BTreeMap::new(),
            failure: None,
        })
    }

    /// The top folder of the checkout.
    pub(in crate::set) fn top(&self) -> &Path {
        self.commit.top()
    }

    /// Starts to hash a file that has `size` bytes.
    pub(in crate::set) fn hasher(&self, size: u64) -> Hasher {
        self.commit.hasher(size)
    }

    /// Compares a file that was read. `bytes` is its content if it is small enough to be kept.
    pub(in crate::set) fn relate(
        &mut self,
        candidate: &Candidate,
        id: ObjectId,
        bytes: Option<&[u8]>,
    ) -> Relation {
        let mut relation = self.relate_file(&candidate.path, id, bytes);
        if let Some(link) = &candidate.link
            && let Some(changed) = self.relate_link(link)
        {
            relation = changed;
        }
        relation
    }

    fn relate_file(&mut self, path: &Path, id: ObjectId, bytes: Option<&[u8]>) -> Relation {
        let Some(key) = self.commit.path_of(path) else { return Relation::Untracked };
        // A link may point to a file whose name is not read from the commit.
        let file = self.commit.find(&key).unwrap_or_else(|failure| {
            self.failure = Some(failure);
            None
        });
        // If the commit has a link, a file instead of the link is not the linked file.
        let Some(file) = file.filter(|file| !file.link) else { return Relation::Untracked };
        self.visited.insert(key);
        if file.id == id {
            return Relation::Same;
        }
        match (self.content(file), bytes) {
            (Some(blob), Some(bytes)) if without_cr(&blob).eq(without_cr(bytes)) => Relation::LineEnds(blob),
            (Some(blob), _) => Relation::Changed { held_set: says_set(&String::from_utf8_lossy(&blob)) },
            (None, _) => Relation::Changed { held_set: true },
        }
    }

    /// A link that is missing in the commit, or has another target there.
    fn relate_link(&mut self, link: &Path) -> Option<Relation> {
        let key = self.commit.path_of(link)?;
        self.visited.insert(key.clone());
        let target = std::fs::read_link(link).ok()?;
        let target = target.as_os_str().as_encoded_bytes();
        let mut hasher = self.hasher(target.len() as u64);
        hasher.update(target);
        match self.commit.file(&key) {
            Some(file) if file.link && file.id == hasher.finish() => None,
            Some(_) => Some(Relation::Changed { held_set: true }),
            None => Some(Relation::Untracked),
        }
    }

    /// Compares the settings of the checkout, which decide about a bundle as sets do.
    pub(in crate::set) fn relate_settings(&mut self) {
        let path = self.top().join(SETTINGS_FILE);
        let is_here = path.symlink_metadata().is_ok_and(|found| found.is_file());
        let here = is_here.then(|| crate::files::read_file(&path, MAX_SETTINGS).unwrap_or_default());
        let committed = self.commit.file(SETTINGS_FILE.as_bytes());
        match (committed, here) {
            (None, None) => {}
            (None, Some(_)) => self.differs(SETTINGS_FILE, "is not in the commit"),
            (Some(_), None) => self.differs(SETTINGS_FILE, "is in the commit, and not here"),
            (Some(file), Some(bytes)) => {
                let is_same = self.id_of(&bytes) == file.id
                    || self.content(file).is_some_and(|blob| without_cr(&blob).eq(without_cr(&bytes)));
                if file.link || !is_same {
                    self.differs(SETTINGS_FILE, "is not as in the commit");
                }
            }
        }
    }

    /// Records a file with sets or with content that was skipped.
    pub(in crate::set) fn gave_sets(&mut self, candidate: &Candidate, relation: &Relation) {
        let Some(key) = self.commit.path_of(candidate.link.as_ref().unwrap_or(&candidate.path)) else {
            // A file outside of the checkout is named by the path of the call.
            return;
        };
        match relation {
            Relation::Unknown => return,
            Relation::Same | Relation::LineEnds(_) => {}
            Relation::Changed { .. } => self.differs(&candidate.file, "is not as in the commit"),
            Relation::Untracked => self.differs(&candidate.file, "is not in the commit"),
        }
        self.gave.insert(key, candidate.file.clone());
    }

    /// Records a file without sets.
    pub(in crate::set) fn gave_none(&mut self, candidate: &Candidate, relation: &Relation) {
        if let Relation::Changed { held_set: true } = relation {
            self.differs(&candidate.file, "holds a set in the commit, and none here");
        }
    }

    /// Records a file that was skipped because of another file.
    pub(in crate::set) fn skipped(&mut self, candidate: &Candidate, because: &Path) {
        self.skipped.push((candidate.file.clone(), because.to_owned()));
    }

    /// Finds files with sets in the commit that were not read. Those that are here unchanged are returned to be read:
    /// `.gitignore` and `.git/info/exclude` do not apply to files that Git tracks.
    pub(in crate::set) fn unread(&mut self) -> Vec<Candidate> {
        let mut unread = Vec::new();
        let mut of_commit = IgnoreRules::default();
        let mut of_disk = IgnoreRules::default();
        let paths = self.commit.paths().map(<[u8]>::to_vec).collect::<Vec<_>>();
        for path in paths {
            let name = path.rsplit(|b| *b == b'/').next().unwrap_or_default();
            if self.visited.contains(&path) || !is_manifest_name(name) {
                continue;
            }
            let (Some(folder), Some(file)) = (self.folder_of(&path), self.commit.file(&path)) else {
                continue;
            };
            if of_commit.exclude(&path, &folder, |rules| self.committed(rules)) {
                continue;
            }
            let shown = self.name(&path);
            let Some(text) = self.content(file) else {
                self.differs(
                    &shown,
                    "is neither here nor in the repository (partial clone): it may hold a set",
                );
                continue;
            };
            if file.link {
                if !self.covers_target(&path, &text) {
                    self.differs(&shown, "is a symbolic link in the commit, and not here");
                }
                continue;
            }
            if !says_set(&String::from_utf8_lossy(&text)) || is_hidden_in(&path, &folder) {
                continue;
            }
            let here = self.commit.file_of(&path).filter(|file| {
                // No folder above it may be a link, because it would be another file.
                file.is_file() && file.canonicalize().is_ok_and(|real| real == *file)
            });
            match here {
                None => self.differs(&shown, "holds a set in the commit, and is not here"),
                Some(_) if of_disk.exclude(&path, &folder, |rules| self.on_disk(rules)) => {
                    let message =
                        format!("holds a set, and is excluded by a {IGNORE_FILE} that is not in the commit");
                    self.differs(&shown, &message);
                }
                Some(file) => {
                    unread.push(Candidate { file: shown, path: file, hidden: false, link: None });
                }
            }
        }
        unread
    }

    /// Ends the comparison. Returns the commit, and a warning for each difference.
    ///
    /// # Errors
    /// Why the commit could not be read to the end, as part of a sentence.
    pub(in crate::set) fn finish(mut self, elsewhere: bool) -> Result<(Source, Vec<Warning>), String> {
        self.check_reasons();
        self.check_given();
        self.check_submodules();
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        let source = Source::of(&self.commit, elsewhere || !self.differences.is_empty());
        let more = self.differences.len().saturating_sub(MAX_NAMED);
        let warning = |(file, message): (String, String)| Warning::new(&file, 0, &message);
        let mut warnings = self.differences.into_iter().take(MAX_NAMED).map(warning).collect::<Vec<_>>();
        if let (Some(last), 1..) = (warnings.last_mut(), more) {
            last.message.push_str(&format!("; {more} more files differ from the commit"));
        }
        Ok((source, warnings))
    }

    /// Checks that files that were skipped on disk are skipped in the commit too.
    fn check_reasons(&mut self) {
        for (file, because) in std::mem::take(&mut self.skipped) {
            let same = std::fs::read(&because).ok().is_some_and(|bytes| self.is_same(&because, &bytes));
            if !same {
                let name = because.file_name().unwrap_or_default().to_string_lossy().into_owned();
                self.differs(&file, &format!("was skipped because of a {name} that is not as in the commit"));
            }
        }
    }

    /// Checks that files that were read on disk are read in the commit too.
    fn check_given(&mut self) {
        let mut of_commit = IgnoreRules::default();
        let mut patches = BTreeMap::new();
        let changed = self.commit.paths().filter(|path| is_kustomization(path)).map(<[u8]>::to_vec);
        for path in changed.collect::<Vec<_>>() {
            let on_disk = self.commit.file_of(&path).and_then(|file| std::fs::read(file).ok());
            let file = self.commit.file(&path).filter(|file| !file.link);
            let (Some(file), folder) = (file, parent(&path)) else { continue };
            if on_disk.is_some_and(|bytes| self.id_of(&bytes) == file.id) {
                continue;
            }
            for patch in self.content(file).as_deref().map(kustomize::patch_files).unwrap_or_default() {
                if let Some(patch) = resolve(folder, patch.as_bytes()) {
                    patches.insert(patch, path.clone());
                }
            }
        }
        for (path, shown) in std::mem::take(&mut self.gave) {
            let folder = self.folder_of(&path);
            let reason =
                if folder.is_some_and(|f| of_commit.exclude(&path, &f, |rules| self.committed(rules))) {
                    format!("is excluded by a {IGNORE_FILE} of the commit that is not so here")
                } else if let Some(kustomization) = patches.get(&path) {
                    format!("is a patch in the commit, by {}", String::from_utf8_lossy(kustomization))
                } else if self.is_template(&path) {
                    "is a template of a Helm chart in the commit".to_owned()
                } else {
                    continue;
                };
            self.differs(&shown, &reason);
        }
    }

    /// Whether the path is below a `templates` folder beside a chart that only the commit has.
    fn is_template(&self, path: &[u8]) -> bool {
        let mut folder = parent(path);
        while !folder.is_empty() {
            let above = parent(folder);
            if folder.rsplit(|b| *b == b'/').next() == Some(&b"templates"[..]) {
                let chart = join(above, b"Chart.yaml");
                if self.commit.file(&chart).is_some() {
                    return true;
                }
            }
            folder = above;
        }
        false
    }

    fn check_submodules(&mut self) {
        let mut of_commit = IgnoreRules::default();
        let absent =
            self.commit.absent_submodules().map(|(path, id)| (path.to_vec(), id)).collect::<Vec<_>>();
        for (path, id) in absent {
            let Some(folder) = self.folder_of(&path) else { continue };
            let shown = self.name(&path);
            let excluded = of_commit.exclude(&join(&path, b"x"), &folder, |rules| self.committed(rules));
            if !excluded && !is_hidden_in(&path, &folder) {
                let message = format!(
                    "is a submodule whose commit {id} is not here, so its sets were not read. Run: git submodule update --init"
                );
                self.differs(&shown, &message);
            }
        }
    }

    fn differs(&mut self, file: &str, message: &str) {
        self.differences.entry(file.to_owned()).or_insert_with(|| message.to_owned());
    }

    fn content(&mut self, file: TrackedFile) -> Option<Vec<u8>> {
        if self.failure.is_some() {
            return None;
        }
        self.commit.content(file).unwrap_or_else(|failure| {
            self.failure = Some(failure);
            None
        })
    }

    fn id_of(&self, bytes: &[u8]) -> ObjectId {
        let mut hasher = self.hasher(bytes.len() as u64);
        hasher.update(bytes);
        hasher.finish()
    }

    /// Whether the commit has a file with this content, line ends aside.
    fn is_same(&mut self, path: &Path, bytes: &[u8]) -> bool {
        let id = self.id_of(bytes);
        matches!(self.relate_file(path, id, Some(bytes)), Relation::Same | Relation::LineEnds(_))
    }

    /// The innermost folder of the call that contains `path`.
    fn folder_of(&self, path: &[u8]) -> Option<Vec<u8>> {
        let below = |folder: &&Vec<u8>| {
            folder.is_empty()
                || path.strip_prefix(folder.as_slice()).is_some_and(|rest| rest.starts_with(b"/"))
        };
        self.folders.iter().filter(below).max_by_key(|folder| folder.len()).cloned()
    }

    /// The name of a file of the checkout in messages.
    fn name(&self, path: &[u8]) -> String {
        let name = self.commit.file_of(path).and_then(|file| self.names.name(&file));
        name.unwrap_or_else(|| String::from_utf8_lossy(path).into_owned())
    }

    fn committed(&mut self, path: &[u8]) -> Option<Vec<u8>> {
        let file = self.commit.file(path).filter(|file| !file.link)?;
        self.content(file)
    }

    fn on_disk(&self, path: &[u8]) -> Option<Vec<u8>> {
        std::fs::read(self.commit.file_of(path)?).ok()
    }

    /// Whether a link points to a file of the commit that is read by its own name.
    fn covers_target(&self, link: &[u8], target: &[u8]) -> bool {
        let Some(path) = resolve(parent(link), target) else { return false };
        let name = path.rsplit(|b| *b == b'/').next().unwrap_or_default();
        // A link to a folder: its files are read by their own names.
        let folder = self
            .commit
            .paths()
            .any(|other| other.strip_prefix(path.as_slice()).is_some_and(|r| r.starts_with(b"/")));
        folder
            || (is_manifest_name(name)
                && self.commit.file(&path).is_some()
                && self.folder_of(&path).is_some())
    }
}

/// Names of files that decide what is read: YAML and JSON files, and files that exclude others.
fn is_wanted(name: &[u8]) -> bool {
    is_manifest_name(name) || name == IGNORE_FILE.as_bytes() || name == b"Kustomization"
}

fn is_manifest_name(name: &[u8]) -> bool {
    is_manifest(Path::new(&*String::from_utf8_lossy(name)))
}

fn is_kustomization(path: &[u8]) -> bool {
    let name = path.rsplit(|b| *b == b'/').next().unwrap_or_default();
    KUSTOMIZATIONS.iter().any(|known| known.as_bytes() == name)
}

/// Whether a part of a path below `folder` begins with a dot.
fn is_hidden_in(path: &[u8], folder: &[u8]) -> bool {
    let start = if folder.is_empty() { 0 } else { folder.len() + 1 };
    is_hidden(Path::new(&*String::from_utf8_lossy(path.get(start..).unwrap_or_default())))
}

/// Resolves a relative path; `None` if it is outside of the checkout.
fn resolve(folder: &[u8], path: &[u8]) -> Option<Vec<u8>> {
    if path.starts_with(b"/") {
        return None;
    }
    let mut parts = folder.split(|b| *b == b'/').filter(|part| !part.is_empty()).collect::<Vec<_>>();
    for part in path.split(|b| *b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                parts.pop()?;
            }
            _ => parts.push(part),
        }
    }
    Some(parts.join(&b'/'))
}

/// The bytes without the carriage returns before line feeds.
fn without_cr(bytes: &[u8]) -> impl Iterator<Item = u8> {
    let next = bytes.iter().skip(1).map(Some).chain([None]);
    bytes.iter().zip(next).filter(|(b, next)| !(**b == b'\r' && *next == Some(&b'\n'))).map(|(b, _)| *b)
}
