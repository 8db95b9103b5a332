// SPDX-License-Identifier: Apache-2.0
//! Files that `.gitignore` and `.krsignore` exclude from being read, so that a message can tell why a set is missing.

use std::collections::{HashMap, HashSet};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use ignore::WalkBuilder;
use ignore::gitignore::{Gitignore, GitignoreBuilder};

use crate::set::files::read::mentions;
use crate::set::files::root::checkout;
use crate::set::files::walk::{IGNORE_FILE, is_manifest};
use crate::set::yaml::kind::says_set;

/// Most entries of folders that are listed, and most excluded files that are read: a folder with dependencies of
/// another language has more.
const MAX_ENTRIES: usize = 50_000;
const MAX_READ: usize = 2_000;
/// Largest part of a file that is read.
const MAX_BYTES: u64 = 1 << 20;
/// Most files that are listed one by one.
const MAX_LISTED: usize = 200;
/// Deepest folder that is listed.
const MAX_DEPTH: usize = 32;

/// The files that ignore files exclude below the folders of a call.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::set) struct IgnoredFiles {
    /// YAML and JSON files that contain a set, sorted.
    pub(in crate::set) sets: Vec<PathBuf>,
    /// All YAML and JSON files that are excluded.
    pub(in crate::set) files: usize,
}

/// Finds YAML and JSON files below `folders` that are not among the files that were `read`.
pub(in crate::set) fn ignored(read: &HashSet<PathBuf>, folders: &[PathBuf]) -> IgnoredFiles {
    let walk = |folder: &PathBuf| {
        WalkBuilder::new(folder)
            .standard_filters(false)
            .max_depth(Some(MAX_DEPTH))
            .sort_by_file_path(Path::cmp)
            .filter_entry(|entry| entry.file_name() != ".git")
            .build()
    };
    let entries = folders.iter().flat_map(walk).take(MAX_ENTRIES).filter_map(Result::ok);
    let is_file = |entry: &ignore::DirEntry| entry.file_type().is_some_and(|kind| kind.is_file());
    let mut found = entries
        .filter(|entry| is_file(entry) && is_manifest(entry.path()) && !read.contains(entry.path()))
        .map(ignore::DirEntry::into_path)
        .collect::<Vec<_>>();
    found.sort();
    found.dedup();
    let sets = found.iter().take(MAX_READ).filter(|path| holds_set(path)).take(MAX_LISTED);
    IgnoredFiles { sets: sets.cloned().collect(), files: found.len() }
}

fn holds_set(path: &Path) -> bool {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path);
    // A file that cannot be read is not reported.
    let Ok(_) = file.and_then(|file| file.take(MAX_BYTES).read_to_end(&mut bytes)) else { return false };
    mentions(&bytes) && says_set(&String::from_utf8_lossy(&bytes))
}

/// The lines of ignore files, each file read once.
#[derive(Default)]
pub(in crate::set) struct Rules(HashMap<PathBuf, Gitignore>);

impl Rules {
    /// The line that excludes `path`, a file below `root`, and the file with this line.
    pub(in crate::set) fn excluding(&mut self, path: &Path, root: &Path) -> Option<(String, PathBuf)> {
        let top = checkout(root).unwrap_or(root);
        let folders = path.ancestors().skip(1).take_while(|folder| folder.starts_with(top));
        let own = folders.flat_map(|folder| {
            [IGNORE_FILE, ".gitignore"].map(|name| (folder.to_owned(), folder.join(name)))
        });
        let all = own.chain([(top.to_owned(), top.join(".git/info/exclude"))]).collect::<Vec<_>>();
        all.into_iter().find_map(|(folder, file)| {
            let rules = self.0.entry(file.clone()).or_insert_with(|| {
                let mut builder = GitignoreBuilder::new(folder);
                // The walk warns of an invalid line.
                let _ = builder.add(&file);
                builder.build().unwrap_or_else(|_| Gitignore::empty())
            });
            // The path is below the folder of the rules, as the call requires.
            match rules.matched_path_or_any_parents(path, false) {
                ignore::Match::Ignore(line) => Some((line.original().to_owned(), file)),
                _ => None,
            }
        })
    }
}
