// SPDX-License-Identifier: Apache-2.0
//! Who may use whom: crates, and the modules of the core. design and docs say it; this holds the code to it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The modules of the core and what each may use besides itself and [`GROUND`].
///
/// `registry` and `bundle` do not know each other; `sync` joins them.
const MODULES: &[(&str, &[&str])] = &[
    ("oci", &[]),
    ("progress", &["oci"]),
    ("crd", &["oci"]),
    ("set", &["oci", "crd"]),
    ("registry", &["oci"]),
    ("bundle", &["oci", "crd", "set", "progress"]),
    ("sync", &["oci", "crd", "set", "progress", "registry", "bundle"]),
    ("fuzz", &["oci", "crd", "set", "progress", "registry", "bundle", "sync"]),
];

/// What every module may use; these use only each other.
const GROUND: &[&str] = &["error", "format", "json", "redact"];

/// What the core must not reach: no terminal, no cluster.
const NOT_IN_CORE: &[&str] = &["clap", "indicatif", "miette", "kube-client", "kube-runtime"];

#[test]
fn the_core_reaches_no_terminal_and_no_cluster() {
    let reached = packages_below("krs-core");
    for package in NOT_IN_CORE {
        assert!(
            !reached.contains(*package),
            "krs-core reaches {package}: cargo tree -p krs-core -i {package}"
        );
    }
}

#[test]
fn the_command_line_and_the_importer_use_the_core_and_never_each_other() {
    let members = members();
    for (package, other) in [("krs-cli", "krs-importer"), ("krs-importer", "krs-cli")] {
        if members.contains(package) {
            let reached = packages_below(package);
            assert!(reached.contains("krs-core"), "{package} does not use the core");
            assert!(!reached.contains(other), "{package} uses {other}");
        }
    }
}

#[test]
fn nothing_that_ships_uses_the_tests_helpers() {
    for package in ["krs-core", "krs-cli"] {
        let reached = packages_below(package);
        assert!(!reached.contains("krs-testing"), "{package} uses krs-testing outside of its tests");
    }
}

/// The program that every chore starts with, on a machine where nothing is built yet.
#[test]
fn chores_build_neither_the_core_nor_the_benchmark_nor_c() {
    let reached = packages_below("xtask");
    for package in ["krs-core", "krs-testing", "krs-bench", "tokio", "cc"] {
        assert!(!reached.contains(package), "xtask reaches {package}: cargo tree -p xtask -i {package}");
    }
    assert!(reached.len() < 60, "xtask is built from {} packages", reached.len());
}

#[test]
fn the_benchmark_uses_nothing_that_it_measures() {
    let reached = packages_below("krs-bench");
    assert!(reached.contains("xtask"), "cargo tree does not know krs-bench");
    for package in ["krs-core", "krs-cli", "krs-testing"] {
        assert!(!reached.contains(package), "krs-bench uses {package}");
    }
}

#[test]
fn the_modules_of_the_core_use_each_other_in_one_direction_only() {
    let allowed: BTreeMap<&str, &[&str]> =
        MODULES.iter().copied().chain(GROUND.iter().map(|m| (*m, &[][..]))).collect();
    let files = rust_files(&checkout().join("src"));
    assert!(files.len() > 5, "the sources of the core were not found");
    let mut wrong = Vec::new();
    for (module, file) in files {
        let Some(may_use) = allowed.get(module.as_str()) else {
            wrong.push(format!("{}: module {module} is not in the table of this test", file.display()));
            continue;
        };
        let source = fs::read_to_string(&file).unwrap();
        for used in used_modules(&source, is_root_of_module(&file)) {
            let known = allowed.contains_key(used.as_str());
            if known
                && used != module
                && !GROUND.contains(&used.as_str())
                && !may_use.contains(&used.as_str())
            {
                wrong.push(format!("{}: {module} must not use {used}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_table_of_modules_has_no_cycle() {
    let mut earlier: BTreeSet<&str> = BTreeSet::new();
    for (module, may_use) in MODULES {
        for used in *may_use {
            assert!(earlier.contains(used), "{module} may use {used}, which comes later");
        }
        earlier.insert(module);
    }
}

#[test]
fn every_way_of_naming_a_module_is_seen() {
    let source = "use crate::{digest::Digest, bundle::{self, Reader}, set};\nfn f() { crate::plan::go() }\n\
         pub(in crate::pull) fn g() {}\n/// [`crate::serve::Server`]\n// crate::push\nuse super::registry;\n\
         #[cfg(test)]\nmod tests {\n    use crate::push;\n}\n";
    let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    let seen = used_modules(source, true);
    assert_eq!(seen, names(&["digest", "bundle", "set", "plan", "pull", "registry"]));
    assert!(!used_modules(source, false).contains("registry"), "below a module, super is not the core");
}

/// The top-level modules that a source file names outside of its tests and comments.
fn used_modules(source: &str, super_is_root: bool) -> BTreeSet<String> {
    let code = without_tests_and_comments(source);
    let mut used = BTreeSet::new();
    let mut after = |marker: &str| {
        for (at, _) in code.match_indices(marker) {
            if code[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_') {
                continue;
            }
            let rest = &code[at + marker.len()..];
            match rest.strip_prefix('{') {
                Some(group) => used.extend(heads_of_group(group)),
                None => used.extend(identifier(rest)),
            }
        }
    };
    after("crate::");
    if super_is_root {
        after("\nuse super::");
        after("\npub use super::");
    }
    used
}

fn without_tests_and_comments(source: &str) -> String {
    // By convention the tests are the last thing in a file.
    let source = source.split("\n#[cfg(test)]\nmod ").next().unwrap_or(source);
    let lines = source.lines().map(|line| line.split("//").next().unwrap_or(line));
    format!("\n{}", lines.collect::<Vec<_>>().join("\n"))
}

/// The first names of `a, b::c, d::{e, f}}`.
fn heads_of_group(group: &str) -> Vec<String> {
    let (mut depth, mut heads, mut at_head) = (0, Vec::new(), true);
    for (at, character) in group.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => at_head = true,
            _ if at_head && !character.is_whitespace() => {
                heads.extend(identifier(&group[at..]));
                at_head = false;
            }
            _ => {}
        }
    }
    heads
}

fn identifier(text: &str) -> Option<String> {
    let name: String = text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    (!name.is_empty()).then_some(name)
}

/// Every source file with the top-level module that it belongs to.
fn rust_files(source: &Path) -> Vec<(String, PathBuf)> {
    let (mut files, mut folders) = (Vec::new(), vec![source.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() && name != "tests" {
                folders.push(path);
            } else if name.ends_with(".rs") && name != "tests.rs" && path != source.join("lib.rs") {
                let below = path.strip_prefix(source).unwrap().with_extension("");
                let module = below.iter().next().unwrap().to_str().unwrap().to_owned();
                files.push((module, path));
            }
        }
    }
    files
}

/// Whether `super` in this file is the core itself.
fn is_root_of_module(file: &Path) -> bool {
    let source = checkout().join("src");
    file.parent() == Some(&source)
        || file.parent().and_then(Path::parent) == Some(&source) && file.ends_with("mod.rs")
}

/// What a package is built from, on any platform, without its tests. Not `cargo metadata`: that answers for the whole
/// workspace at once, and so would show the core the features which the importer asks of a shared crate.
fn packages_below(package: &str) -> BTreeSet<String> {
    let text = cargo(&["tree", "--package", package, "--edges", "normal,build", "--target", "all"]);
    assert!(text.starts_with(package), "cargo tree does not know {package}");
    text.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

fn members() -> BTreeSet<String> {
    let text = cargo(&["metadata", "--no-deps", "--format-version", "1"]);
    let metadata: serde_json::Value = serde_json::from_str(&text).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    packages.iter().map(|package| package["name"].as_str().unwrap().to_owned()).collect()
}

fn cargo(args: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO"));
    command.args(args).arg("--locked").current_dir(checkout());
    if args.contains(&"tree") {
        command.args(["--prefix", "none", "--format", "{p}"]);
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn checkout() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}
