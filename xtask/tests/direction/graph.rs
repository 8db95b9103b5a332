// SPDX-License-Identifier: Apache-2.0
//! Which file of a crate uses which. A module is a file here; inline modules belong to theirs.
//!
//! Re-exports are followed: who takes a name from a facade uses the file that the name comes from, and the facade itself
//! uses nothing by handing it on.

use std::collections::{BTreeMap, BTreeSet};
use std::{fs, path};

use crate::source::{Path, Source};

/// The files of a crate, each with the files that it uses.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    uses: BTreeMap<Path, BTreeSet<Path>>,
}

impl Graph {
    /// Reads a crate's folder of sources: the modules that `lib.rs` and `main.rs` declare, without those for tests.
    pub(crate) fn of_crate(folder: &path::Path) -> Self {
        let mut sources = BTreeMap::<Path, Source>::new();
        for root in ["lib.rs", "main.rs"].iter().filter(|root| folder.join(root).exists()) {
            let mut files = vec![(Path::new(), fs::read_to_string(folder.join(root)).unwrap())];
            while let Some((module, text)) = files.pop() {
                let source = Source::read(&text, &module);
                files.extend(source.declared.iter().map(|child| (child.clone(), text_of(folder, child))));
                let all = sources.entry(module).or_default();
                all.used.extend(source.used);
                all.imported.extend(source.imported);
            }
        }
        Self::new(&sources)
    }

    fn new(sources: &BTreeMap<Path, Source>) -> Self {
        let uses = sources.iter().map(|(file, source)| {
            let used = source.used.iter().map(|path| origin(path, sources)).filter(|used| used != file);
            (file.clone(), used.collect())
        });
        Self { uses: uses.collect() }
    }

    /// Each file with each file that it uses.
    pub(crate) fn uses(&self) -> impl Iterator<Item = (&Path, &Path)> {
        self.uses.iter().flat_map(|(file, used)| used.iter().map(move |used| (file, used)))
    }

    /// All files.
    pub(crate) fn files(&self) -> impl Iterator<Item = &Path> {
        self.uses.keys()
    }

    /// Groups of files in which each reaches each other one.
    pub(crate) fn circles(&self) -> Vec<BTreeSet<&Path>> {
        let reached =
            self.uses.keys().map(|file| (file, self.reached_from(file))).collect::<BTreeMap<_, _>>();
        let mut circles = Vec::<BTreeSet<&Path>>::new();
        for (file, others) in &reached {
            if others.contains(*file) && !circles.iter().any(|circle| circle.contains(file)) {
                circles
                    .push(others.iter().copied().filter(|other| reached[*other].contains(*file)).collect());
            }
        }
        circles
    }

    /// Everything that a file uses, directly or by others.
    fn reached_from<'a>(&'a self, file: &'a Path) -> BTreeSet<&'a Path> {
        let (mut reached, mut next) = (BTreeSet::new(), vec![file]);
        while let Some(file) = next.pop() {
            next.extend(self.uses[file].iter().filter(|used| reached.insert(*used)));
        }
        reached
    }
}

/// A file's name in messages and lists.
pub(crate) fn name(file: &[String]) -> String {
    if file.is_empty() { "(root)".to_owned() } else { file.join("::") }
}

/// The file in which that which a path names is written.
fn origin(path: &[String], sources: &BTreeMap<Path, Source>) -> Path {
    let is_file = |length: &usize| sources.contains_key(&path[..*length]);
    let length = (1..=path.len()).take_while(is_file).last().unwrap_or_default();
    let (file, rest) = path.split_at(length);
    let imported = rest.first().and_then(|_| sources.get(file)?.imported.get(&path[..=length]));
    match imported {
        Some(imported) if imported != path => origin(&[imported, &rest[1..]].concat(), sources),
        _ => file.to_owned(),
    }
}

/// The text of the file of a module: `a/b.rs` or `a/b/mod.rs`.
fn text_of(folder: &path::Path, module: &[String]) -> String {
    let below = module.iter().collect::<path::PathBuf>();
    let files = [folder.join(&below).with_extension("rs"), folder.join(&below).join("mod.rs")];
    let text = files.iter().find_map(|file| fs::read_to_string(file).ok());
    text.unwrap_or_else(|| panic!("{} has no file of module {}", folder.display(), below.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(files: &[(&str, &str)]) -> Graph {
        let sources = files.iter().map(|(file, text)| {
            let path = file.split("::").filter(|part| !part.is_empty()).map(str::to_owned).collect::<Path>();
            let source = Source::read(text, &path);
            (path, source)
        });
        Graph::new(&sources.collect())
    }

    fn uses(files: &[(&str, &str)]) -> Vec<String> {
        let graph = graph(files);
        graph.uses().map(|(file, used)| format!("{} -> {}", file.join("::"), used.join("::"))).collect()
    }

    fn circles(files: &[(&str, &str)]) -> Vec<String> {
        let graph = graph(files);
        let name = |circle: &BTreeSet<&Path>| circle.iter().map(|path| path.join("::")).collect::<Vec<_>>();
        graph.circles().iter().map(|circle| name(circle).join(" ")).collect()
    }

    #[test]
    fn a_path_belongs_to_the_innermost_file_that_holds_it() {
        let code = "use crate::{Root, a::b::Type, c::X}; fn f() { crate::a::Other::new() }";
        let files = [("", ""), ("a", ""), ("a::b", ""), ("c", code)];
        assert_eq!(uses(&files), ["c -> ", "c -> a", "c -> a::b"]);
    }

    #[test]
    fn names_are_followed_to_where_they_come_from() {
        let facade = "mod b; mod c; pub use self::b::B; pub use c::{self as see, C}; use crate::x::X;";
        let files = [
            ("", "mod a; mod x; pub use a::B as Best;"),
            ("a", facade),
            ("a::b", "use super::{C, X};"),
            ("a::c", ""),
            ("x", "fn f() { crate::a::see::C::new(crate::Best::new()) }"),
        ];
        assert_eq!(uses(&files), ["a -> x", "a::b -> a::c", "a::b -> x", "x -> a::b", "x -> a::c"]);
    }

    #[test]
    fn circles_are_found_and_nothing_beside_them() {
        assert_eq!(circles(&[("", ""), ("a", "use crate::b;"), ("b", "use crate::c;"), ("c", "")]), [""; 0]);
        let (a, b) = (("a", "use crate::b;"), ("b", "use crate::a::X;"));
        assert_eq!(circles(&[("", ""), a, b, ("c", "use crate::a;")]), ["a b"]);
        let parent = ("a", "mod b; struct A; fn f() { b::f() }");
        assert_eq!(circles(&[("", ""), parent, ("a::b", "use super::A;")]), ["a a::b"]);
        let two = [
            ("", ""),
            ("a", "use crate::b;"),
            ("b", "use crate::{c, x};"),
            ("c", "use crate::a;"),
            ("x", "use crate::y;"),
            ("y", "use crate::{x, z};"),
            ("z", ""),
        ];
        assert_eq!(circles(&two), ["a b c", "x y"]);
    }
}
