// SPDX-License-Identifier: Apache-2.0
//! Names of the files of a call, for messages and manifests. They are unique, do not depend on the order of the arguments,
//! and do not depend on where the checkout is.

use std::path::{Component, Path, PathBuf};

use camino::{Utf8Path, Utf8PathBuf};

use super::root::{Root, checkout, root};
use crate::set::error::SetErrors;

/// The names of all files below some folders.
#[derive(Debug, Clone, Default)]
pub(in crate::set) struct Names(Vec<(PathBuf, Vec<String>)>);

impl Names {
    /// The names of the files below `folders`, which are canonical paths. They are relative to the innermost folder that
    /// contains all of them, if that is in a checkout. Elsewhere this would name folders of the machine, so that each folder
    /// gets the shortest end of its path that distinguishes it from the others.
    pub(in crate::set) fn of(
        folders: impl IntoIterator<Item = PathBuf>,
        is_in_checkout: impl Fn(&Path) -> bool,
    ) -> Self {
        let folders = outermost(folders.into_iter().collect());
        let common = common(&folders).filter(|common| folders.len() == 1 || is_in_checkout(common));
        let prefixes = match common {
            Some(common) => {
                folders.iter().map(|folder| parts(folder.strip_prefix(common).unwrap_or(folder))).collect()
            }
            None => distinct_ends(&folders.iter().map(|folder| parts(folder)).collect::<Vec<_>>()),
        };
        Self(folders.into_iter().zip(prefixes).collect())
    }

    /// The name of a file, with `/` between its parts; `None` outside of the folders.
    pub(in crate::set) fn name(&self, path: &Path) -> Option<String> {
        self.0.iter().find_map(|(folder, prefix)| {
            let relative = path.strip_prefix(folder).ok()?;
            Some([prefix.as_slice(), &parts(relative)].concat().join("/"))
        })
    }

    /// The file that has a name.
    fn path(&self, name: &str) -> Option<PathBuf> {
        let parts = name.split('/').collect::<Vec<_>>();
        self.0.iter().find_map(|(folder, prefix)| {
            let (head, rest) = parts.split_at_checked(prefix.len())?;
            head.iter()
                .eq(prefix.iter())
                .then(|| rest.iter().fold(folder.clone(), |path, part| path.join(part)))
        })
    }
}

/// The paths of a call, to show files as the user would name them.
#[derive(Debug, Clone)]
pub struct CallPaths {
    names: Names,
    roots: Vec<(Root, Utf8PathBuf)>,
    given: Vec<Utf8PathBuf>,
}

impl CallPaths {
    /// Of the paths that [`load`](crate::set::load) was called with.
    pub fn of(paths: &[Utf8PathBuf]) -> Self {
        let roots = paths.iter().filter(|path| *path != "-");
        let roots = roots.filter_map(|path| Some((root(path).ok()?, path.clone()))).collect::<Vec<_>>();
        let folders = roots.iter().map(|(root, _)| root.folder());
        let names = Names::of(folders, |folder| checkout(folder).is_some());
        Self { names, roots, given: paths.to_vec() }
    }

    /// The path of a file that [`load`](crate::set::load) names, as it begins in the call. Other names stay
    /// unchanged.
    pub fn path(&self, name: &str) -> String {
        let is_given = self.given.iter().any(|path| path == name);
        let path = if is_given { None } else { self.names.path(name) };
        // A message may also be about a folder, or several paths.
        let path = path.filter(|path| path.is_file() || path.is_symlink());
        path.and_then(|path| self.shown(&path))
            .map_or_else(|| name.to_owned(), |path| crate::set::show::shown(&path))
    }

    /// Where the file that [`load`](crate::set::load) calls `name` is.
    pub fn file(&self, name: &str) -> Option<PathBuf> {
        self.names.path(name)
    }

    fn shown(&self, path: &Path) -> Option<String> {
        self.roots.iter().find_map(|(root, shown)| match root {
            Root::File(real, named) => (path == real || path == named).then(|| shown.to_string()),
            Root::Folder(folder) => {
                let relative = Utf8Path::from_path(path.strip_prefix(folder).ok()?)?;
                Some(if shown == "." { relative.to_string() } else { shown.join(relative).to_string() })
            }
        })
    }
}

impl SetErrors {
    /// As [`LoadedSets::show_paths`](crate::set::LoadedSets::show_paths).
    pub fn show_paths(&mut self, paths: &CallPaths) {
        self.0.iter_mut().for_each(|error| error.file = paths.path(&error.file));
    }
}

/// The folders that are not in another one of them, each once, sorted.
fn outermost(mut folders: Vec<PathBuf>) -> Vec<PathBuf> {
    folders.sort();
    folders.dedup_by(|later, kept| later.starts_with(kept));
    folders
}

/// The innermost folder that contains all of them.
fn common(folders: &[PathBuf]) -> Option<&Path> {
    let (first, rest) = folders.split_first()?;
    first.ancestors().find(|folder| rest.iter().all(|other| other.starts_with(folder)))
}

/// The shortest ends of the paths, all of one length, none of which is the beginning of another.
fn distinct_ends(paths: &[Vec<String>]) -> Vec<Vec<String>> {
    let longest = paths.iter().map(Vec::len).max().unwrap_or_default();
    let ends = |length: usize| {
        let end = |path: &Vec<String>| path.iter().skip(path.len().saturating_sub(length)).cloned().collect();
        paths.iter().map(end).collect::<Vec<Vec<String>>>()
    };
    let is_distinct = |ends: &Vec<Vec<String>>| {
        let mut sorted = ends.iter().collect::<Vec<_>>();
        // What begins with another one follows it.
        sorted.sort();
        sorted.iter().zip(sorted.iter().skip(1)).all(|(one, next)| !next.starts_with(one))
    };
    (1..longest).map(ends).find(is_distinct).unwrap_or_else(|| ends(longest))
}

fn parts(path: &Path) -> Vec<String> {
    let part = |part: Component<'_>| match part {
        Component::RootDir => None,
        // A drive: its letter.
        Component::Prefix(prefix) => {
            Some(prefix.as_os_str().to_string_lossy().chars().filter(char::is_ascii_alphanumeric).collect())
        }
        part => Some(part.as_os_str().to_string_lossy().into_owned()),
    };
    path.components().filter_map(part).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn name(folders: &[&str], checkout: &str, file: &str) -> Option<String> {
        let folders = folders.iter().map(PathBuf::from);
        Names::of(folders, |folder| folder.starts_with(checkout)).name(Path::new(file))
    }

    #[test]
    fn names_are_relative_to_what_holds_all_folders() {
        let name = |folders: &[&str], file| name(folders, "/w/shop", file).unwrap();
        assert_eq!(name(&["/w/shop/sites"], "/w/shop/sites/berlin/a.yaml"), "berlin/a.yaml");
        // With the same name in every checkout, also where a folder is called as one further down is.
        let folders = ["/w/shop/sites", "/w/shop/base/sites"];
        assert_eq!(name(&folders, "/w/shop/base/sites/a.yaml"), "base/sites/a.yaml");
        assert_eq!(name(&folders, "/w/shop/sites/a.yaml"), "sites/a.yaml");
        let folders = ["/w/shop/sites/berlin", "/w/shop/sites", "/w/shop/sites"];
        assert_eq!(name(&folders, "/w/shop/sites/berlin/a.yaml"), "berlin/a.yaml");
    }

    #[test]
    fn elsewhere_names_hold_no_more_of_a_path_than_they_need() {
        let name = |folders: &[&str], file| name(folders, "/none", file).unwrap();
        assert_eq!(name(&["/home/anna/shop"], "/home/anna/shop/a.yaml"), "a.yaml");
        assert_eq!(name(&["/home/anna/shop", "/opt/common"], "/opt/common/a.yaml"), "common/a.yaml");
        let folders = ["/home/anna/shop/sites", "/home/anna/bank/sites", "/opt/common"];
        assert_eq!(name(&folders, "/home/anna/bank/sites/a.yaml"), "bank/sites/a.yaml");
        // `a` as it is would be the beginning of `a/b`.
        let folders = ["/p/a", "/q/a/b", "/r/b"];
        assert_eq!(name(&folders, "/p/a/b/f.yaml"), "p/a/b/f.yaml");
        assert_eq!(name(&["/a", "/q/a/b", "/r/b"], "/a/b/f.yaml"), "a/b/f.yaml");
        assert_eq!(name(&["/a", "/q/a/b", "/r/b"], "/q/a/b/f.yaml"), "q/a/b/f.yaml");
    }

    proptest! {
        #[test]
        fn t205_two_files_never_have_one_name(
            folders in prop::collection::vec("(/[ab]){1,4}", 1..5),
            files in prop::collection::btree_set("(/[ab]){1,6}", 1..12),
            checkout in "(/[ab]){0,3}",
        ) {
            let paths = folders.iter().map(PathBuf::from).collect::<Vec<_>>();
            let names = Names::of(paths.clone(), |folder| folder.starts_with(&checkout));
            let reversed = Names::of(paths.iter().rev().cloned(), |folder| folder.starts_with(&checkout));
            let below = |file: &&String| paths.iter().any(|folder| Path::new(file.as_str()).starts_with(folder));
            let read = files.iter().filter(below).collect::<Vec<_>>();
            let named = read.iter().map(|file| names.name(Path::new(file)).unwrap()).collect::<Vec<_>>();
            prop_assert_eq!(named.iter().collect::<BTreeSet<_>>().len(), read.len(), "{:?}", named);
            for (file, name) in read.iter().zip(&named) {
                prop_assert_eq!(&reversed.name(Path::new(file)).unwrap(), name);
            }
        }
    }
}
