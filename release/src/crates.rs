// SPDX-License-Identifier: Apache-2.0
//! The crates that a program is linked from, as cargo resolves them for one platform.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::build::Program;
use crate::target::Target;
use xtask::run::{self, Result, checkout};

/// Name and version.
pub(crate) type Id = (String, String);

/// A crate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Crate {
    /// An SPDX expression.
    pub(crate) license: String,
    /// Of its archive; crates of this repository have none.
    pub(crate) sha256: Option<String>,
    /// Where its sources are.
    pub(crate) folder: PathBuf,
    pub(crate) depends_on: BTreeSet<Id>,
}

/// The crates of a program, without those that only run while it is built.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Crates {
    pub(crate) root: Id,
    pub(crate) all: BTreeMap<Id, Crate>,
}

impl Crates {
    /// Asks cargo.
    pub(crate) fn of(program: Program, target: Target) -> Result<Self> {
        let cargo = |arguments: &[&str]| {
            run::output(Command::new(env!("CARGO")).args(arguments).current_dir(checkout()))
        };
        // Not the graph of `cargo metadata`: its features are those of all packages of the workspace together.
        let tree = cargo(&[
            "tree",
            "--locked",
            "--package",
            program.package(),
            "--edges",
            "normal,no-proc-macro",
            "--target",
            target.triple(),
            "--prefix",
            "depth",
            "--format",
            " {p}",
        ])?;
        let metadata = serde_json::from_str(&cargo(&["metadata", "--locked", "--format-version=1"])?)?;
        Self::parse(&tree, &metadata, &fs::read_to_string(checkout().join("Cargo.lock"))?)
    }

    fn parse(tree: &str, metadata: &Value, lock: &str) -> Result<Self> {
        let (checksums, mut all) = (checksums(lock), BTreeMap::new());
        let edges = edges(tree)?;
        let root = edges.first().ok_or("cargo tree lists no crate")?.1.clone();
        for package in metadata["packages"].as_array().into_iter().flatten() {
            let text = |field: &str| package[field].as_str().unwrap_or_default().to_owned();
            let id = (text("name"), text("version"));
            if !edges.iter().any(|(_, crate_id)| *crate_id == id) {
                continue;
            }
            let license = text("license");
            if license.is_empty() {
                return Err(format!("{} {} states no licence", id.0, id.1).into());
            }
            let mut folder = PathBuf::from(text("manifest_path"));
            folder.pop();
            let of = edges.iter().filter(|(parent, _)| parent.as_ref() == Some(&id));
            let depends_on = of.map(|(_, child)| child.clone()).collect();
            let sha256 = checksums.get(&id).cloned();
            // Deprecated in SPDX, and still in use.
            let license = license.replace('/', " OR ");
            all.insert(id, Crate { license, sha256, folder, depends_on });
        }
        match edges.iter().find(|(_, id)| !all.contains_key(id)) {
            Some((_, (name, version))) => Err(format!("cargo metadata has no {name} {version}").into()),
            None => Ok(Self { root, all }),
        }
    }

    /// All but the program itself, in the order of their names.
    pub(crate) fn libraries(&self) -> impl Iterator<Item = (&Id, &Crate)> {
        self.all.iter().filter(|(id, _)| **id != self.root)
    }
}

/// Each line of `cargo tree --prefix depth`, with the crate that it depends on.
fn edges(tree: &str) -> Result<Vec<(Option<Id>, Id)>> {
    let (mut path, mut edges) = (Vec::<Id>::new(), Vec::new());
    for line in tree.lines() {
        let (depth, rest) = line.split_once(' ').ok_or("cargo tree prints a line without depth")?;
        let depth = depth.parse::<usize>()?;
        let mut words = rest.split_whitespace();
        let name = words.next().ok_or("cargo tree prints a line without name")?;
        let version = words.next().and_then(|version| version.strip_prefix('v'));
        let version = version.ok_or("cargo tree prints a line without version")?;
        let id = (name.to_owned(), version.to_owned());
        path.truncate(depth);
        edges.push((path.last().cloned(), id.clone()));
        path.push(id);
    }
    Ok(edges)
}

/// The checksums in `Cargo.lock`. Cargo writes one field a line, in this order.
fn checksums(lock: &str) -> BTreeMap<Id, String> {
    let package = |text: &str| {
        let field = |name: &str| {
            let prefix = format!("{name} = \"");
            text.lines().find_map(|line| line.strip_prefix(&prefix)?.strip_suffix('"')).map(str::to_owned)
        };
        Some(((field("name")?, field("version")?), field("checksum")?))
    };
    lock.split("[[package]]").filter_map(package).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used, reason = "a test")]

    use serde_json::json;

    use super::*;

    fn id(name: &str, version: &str) -> Id {
        (name.to_owned(), version.to_owned())
    }

    /// A program, a library of this repository and one of a registry.
    pub(crate) fn crates(folder: &str) -> Crates {
        let tree = "0 app v1.0.0 (/here/app)\n1 core v1.0.0 (/here)\n2 dep v2.1.0\n1 dep v2.1.0 (*)\n";
        let package = |name: &str, version: &str, license: &str| json!({"name": name, "version": version, "license": license, "manifest_path": format!("{folder}/{name}/Cargo.toml")});
        let packages = [
            package("app", "1.0.0", "Apache-2.0"),
            package("core", "1.0.0", "Apache-2.0"),
            package("dep", "2.1.0", "MIT/Apache-2.0"),
            package("other", "1.0.0", "GPL-3.0"),
        ];
        let lock = "[[package]]\nname = \"dep\"\nversion = \"2.1.0\"\nsource = \"s\"\nchecksum = \"abcd\"\n\
                    \n[[package]]\nname = \"core\"\nversion = \"1.0.0\"\n";
        Crates::parse(tree, &json!({"packages": packages}), lock).unwrap()
    }

    #[test]
    fn the_crates_are_those_of_the_tree_with_their_edges() {
        let crates = crates("/here");
        assert_eq!(crates.root, id("app", "1.0.0"));
        assert_eq!(crates.libraries().map(|(id, _)| id.0.as_str()).collect::<Vec<_>>(), ["core", "dep"]);
        let app = &crates.all[&id("app", "1.0.0")];
        assert_eq!(app.depends_on, [id("core", "1.0.0"), id("dep", "2.1.0")].into());
        let dep = &crates.all[&id("dep", "2.1.0")];
        assert_eq!((dep.license.as_str(), dep.sha256.as_deref()), ("MIT OR Apache-2.0", Some("abcd")));
        assert_eq!(dep.folder, PathBuf::from("/here/dep"));
        assert_eq!(crates.all[&id("core", "1.0.0")].sha256, None);
    }

    #[test]
    fn a_crate_without_licence_or_description_is_an_error() {
        let tree = "0 app v1.0.0\n";
        let none =
            json!({"packages": [{"name": "app", "version": "1.0.0", "manifest_path": "/a/Cargo.toml"}]});
        let error = Crates::parse(tree, &none, "").unwrap_err().to_string();
        assert_eq!(error, "app 1.0.0 states no licence");
        let error = Crates::parse(tree, &json!({"packages": []}), "").unwrap_err().to_string();
        assert_eq!(error, "cargo metadata has no app 1.0.0");
    }

    #[test]
    fn cargo_lists_the_crates_of_krs() {
        let crates = Crates::of(Program::Krs, Target::Amd64).unwrap();
        let has = |name: &str| crates.all.keys().any(|(other, _)| other == name);
        assert!(has("krs-core") && has("aws-lc-sys") && has("tokio"), "{:?}", crates.all.keys());
        // Run while krs is built, or only in its tests.
        for name in ["cc", "serde_derive", "insta", "krs-testing"] {
            assert!(!has(name), "{name}");
        }
        assert!(
            crates.libraries().filter(|(id, _)| !id.0.starts_with("krs-")).all(|(_, c)| c.sha256.is_some())
        );
    }
}
