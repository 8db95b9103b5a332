// SPDX-License-Identifier: Apache-2.0
//! The files of a commit that concern sets, read from its trees.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::batch::{Batch, Object};
use super::object::{self, EntryKind, Hasher, ObjectId};

/// Longest time for reading the trees of a commit.
const LIMIT: Duration = Duration::from_secs(120);
/// Most trees of one commit.
const MAX_TREES: usize = 1_000_000;
/// Most files that are kept of one commit.
const MAX_FILES: usize = 1_000_000;
/// Most folders between the top and a file.
const MAX_DEPTH: usize = 256;
/// Most submodules that are opened.
const MAX_SUBMODULES: usize = 200;

/// A file of the commit.
#[derive(Debug, Clone, Copy)]
pub(in crate::set) struct TrackedFile {
    pub(in crate::set) id: ObjectId,
    /// A symbolic link: its content is its target.
    pub(in crate::set) link: bool,
    repository: usize,
}

/// The commit that is checked out. Paths are relative to the top, with `/` between their parts.
#[derive(Debug)]
pub(in crate::set) struct Commit {
    top: PathBuf,
    id: ObjectId,
    tree: ObjectId,
    time: i64,
    /// The checkout's own, then those of submodules.
    repositories: Vec<Batch>,
    files: BTreeMap<Vec<u8>, TrackedFile>,
    /// Submodules whose commit is missing here, with that commit.
    absent_submodules: Vec<(Vec<u8>, ObjectId)>,
    wanted: fn(&[u8]) -> bool,
    trees: usize,
    end: Instant,
}

/// A tree that is to be read.
struct Folder {
    repository: usize,
    tree: ObjectId,
    path: Vec<u8>,
    depth: usize,
}

impl Commit {
    /// Reads the trees of HEAD of the checkout whose top folder is `top`: below `asked`, the files whose names `wanted`
    /// accepts; in the folders above it, the same without their other folders. `top` and
    /// `asked` are canonical.
    ///
    /// # Errors
    /// Why this is not possible, as part of a sentence.
    pub(in crate::set) fn open(
        top: &Path,
        paths: &[PathBuf],
        wanted: fn(&[u8]) -> bool,
    ) -> Result<Self, String> {
        let mut batch = Batch::start(top)?;
        let (id, tree, time) = match batch.object("HEAD")? {
            Object::Found { id, content, .. } if id.of("commit", &content) == id => {
                let (tree, time) = object::commit(&content).ok_or("git named no commit")?;
                (id, tree, time)
            }
            Object::Missing => return Err("there is no commit yet".to_owned()),
            Object::Found { .. } | Object::TooLarge => return Err("the commit is damaged".to_owned()),
        };
        let mut commit = Self {
            top: top.to_owned(),
            id,
            tree,
            time,
            repositories: vec![batch],
            files: BTreeMap::new(),
            absent_submodules: Vec::new(),
            wanted,
            trees: 0,
            end: Instant::now() + LIMIT,
        };
        for (n, path) in paths.iter().enumerate() {
            if !paths.iter().take(n).any(|earlier| path.starts_with(earlier))
                && let Some(folder) = commit.descend(path, wanted)?
            {
                commit.collect(folder, wanted)?;
            }
        }
        Ok(commit)
    }

    /// The top folder of the checkout.
    pub(in crate::set) fn top(&self) -> &Path {
        &self.top
    }

    /// Its id in hex.
    pub(super) fn id(&self) -> String {
        self.id.to_string()
    }

    /// When it was made, in seconds since 1970.
    pub(super) const fn time(&self) -> i64 {
        self.time
    }

    /// The path of a file of the checkout; `None` outside of it.
    pub(in crate::set) fn path_of(&self, file: &Path) -> Option<Vec<u8>> {
        let parts = file.strip_prefix(&self.top).ok()?.components();
        let parts = parts.map(|part| part.as_os_str().as_encoded_bytes());
        Some(parts.collect::<Vec<_>>().join(&b'/'))
    }

    /// The path of a file of the commit in the checkout; `None` if this system does not allow the name.
    pub(in crate::set) fn file_of(&self, path: &[u8]) -> Option<PathBuf> {
        #[cfg(unix)]
        let relative = <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(path);
        #[cfg(not(unix))]
        let relative = std::ffi::OsStr::new(std::str::from_utf8(path).ok()?);
        Some(self.top.join(relative))
    }

    pub(in crate::set) fn file(&self, path: &[u8]) -> Option<TrackedFile> {
        self.files.get(path).copied()
    }

    /// As [`Self::file`], also for a file whose name `wanted` does not accept. Reads that one from the repository.
    ///
    /// # Errors
    /// Why it cannot be read, as part of a sentence.
    pub(in crate::set) fn find(&mut self, path: &[u8]) -> Result<Option<TrackedFile>, String> {
        let name = path.rsplit(|b| *b == b'/').next().unwrap_or_default();
        if !(self.wanted)(name)
            && let Some(file) = self.file_of(path)
        {
            self.descend(&file, |_| false)?;
        }
        Ok(self.file(path))
    }

    pub(in crate::set) fn paths(&self) -> impl Iterator<Item = &[u8]> {
        self.files.keys().map(Vec::as_slice)
    }

    /// Submodules whose commit is missing here, with that commit in hex.
    pub(in crate::set) fn absent_submodules(&self) -> impl Iterator<Item = (&[u8], String)> {
        self.absent_submodules.iter().map(|(path, id)| (path.as_slice(), id.to_string()))
    }

    /// Starts to hash a file of `size` bytes as Git does.
    pub(in crate::set) fn hasher(&self, size: u64) -> Hasher {
        self.id.hasher("blob", size)
    }

    /// The content of a file of the commit; `None` if it is missing here (partial clone).
    ///
    /// # Errors
    /// Why it cannot be read, as part of a sentence.
    pub(in crate::set) fn content(&mut self, file: TrackedFile) -> Result<Option<Vec<u8>>, String> {
        let repository = self.repositories.get_mut(file.repository);
        repository.map_or(Ok(None), |repository| repository.verified(file.id, "blob"))
    }

    /// Follows the folders from the top to `path`, and keeps it if it is a file.
    fn descend(&mut self, path: &Path, wanted: fn(&[u8]) -> bool) -> Result<Option<Folder>, String> {
        let Some(path) = self.path_of(path) else { return Ok(None) };
        let mut folder = Folder { repository: 0, tree: self.tree, path: Vec::new(), depth: 0 };
        for name in path.split(|b| *b == b'/').filter(|name| !name.is_empty()) {
            let content = self.tree(&folder)?;
            let entries = entries(&content, &folder)?;
            let mut next = None;
            for entry in entries {
                let path = join(&folder.path, entry.name);
                match entry.kind {
                    EntryKind::Tree if entry.name == name => {
                        next = Some(Folder { tree: entry.id, path, depth: folder.depth + 1, ..folder });
                    }
                    EntryKind::File | EntryKind::Link if entry.name == name || wanted(entry.name) => {
                        self.keep(path, entry.id, entry.kind, folder.repository)?;
                    }
                    _ => {}
                }
            }
            let Some(next) = next else { return Ok(None) };
            folder = next;
        }
        Ok(Some(folder))
    }

    /// Reads everything below a folder.
    fn collect(&mut self, folder: Folder, wanted: fn(&[u8]) -> bool) -> Result<(), String> {
        let mut open = vec![folder];
        while let Some(folder) = open.pop() {
            let content = self.tree(&folder)?;
            for entry in entries(&content, &folder)? {
                let path = join(&folder.path, entry.name);
                let depth = folder.depth + 1;
                match entry.kind {
                    EntryKind::Tree => {
                        open.push(Folder { tree: entry.id, path, depth, repository: folder.repository });
                    }
                    EntryKind::File | EntryKind::Link if wanted(entry.name) => {
                        self.keep(path, entry.id, entry.kind, folder.repository)?;
                    }
                    EntryKind::Submodule => match self.submodule(&path, entry.id)? {
                        Some((repository, tree)) => open.push(Folder { repository, tree, path, depth }),
                        None => self.absent_submodules.push((path, entry.id)),
                    },
                    EntryKind::File | EntryKind::Link => {}
                }
            }
        }
        Ok(())
    }

    fn tree(&mut self, folder: &Folder) -> Result<Vec<u8>, String> {
        self.trees += 1;
        if self.trees > MAX_TREES || folder.depth > MAX_DEPTH || Instant::now() > self.end {
            return Err("the commit is too large to be compared with what was read".to_owned());
        }
        let repository = self.repositories.get_mut(folder.repository).ok_or("git named no repository")?;
        repository.verified(folder.tree, "tree")?.ok_or_else(|| {
            format!(
                "the repository does not have a part of the commit (tree {}), as a partial clone does",
                folder.tree
            )
        })
    }

    fn keep(
        &mut self,
        path: Vec<u8>,
        id: ObjectId,
        kind: EntryKind,
        repository: usize,
    ) -> Result<(), String> {
        if self.files.len() == MAX_FILES {
            return Err(format!("the commit has more than {MAX_FILES} YAML and JSON files"));
        }
        self.files.insert(path, TrackedFile { id, link: kind == EntryKind::Link, repository });
        Ok(())
    }

    /// Opens a submodule. Uses the commit that the checkout records, not the one that is checked out there.
    fn submodule(&mut self, path: &[u8], id: ObjectId) -> Result<Option<(usize, ObjectId)>, String> {
        let Some(folder) = self.file_of(path).filter(|folder| folder.join(".git").exists()) else {
            return Ok(None);
        };
        if self.repositories.len() > MAX_SUBMODULES {
            return Err(format!("the commit has more than {MAX_SUBMODULES} submodules"));
        }
        let mut batch = Batch::start(&folder)?;
        // A submodule whose repository is missing or damaged counts as one that was never fetched.
        let Ok(Some(content)) = batch.verified(id, "commit") else { return Ok(None) };
        let Some((tree, _)) = object::commit(&content) else { return Ok(None) };
        self.repositories.push(batch);
        Ok(Some((self.repositories.len() - 1, tree)))
    }
}

fn entries<'a>(tree: &'a [u8], folder: &Folder) -> Result<Vec<object::Entry<'a>>, String> {
    object::entries(tree, folder.tree).ok_or_else(|| format!("tree {} is damaged", folder.tree))
}

fn join(folder: &[u8], name: &[u8]) -> Vec<u8> {
    if folder.is_empty() { name.to_vec() } else { [folder, name].join(&b'/') }
}
