// SPDX-License-Identifier: Apache-2.0
//! Packages: what each is built from.

use std::collections::BTreeSet;
use std::process::Command;

use crate::checkout;

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
    for (package, other) in [("krs-cli", "krs-importer"), ("krs-importer", "krs-cli")] {
        let reached = packages_below(package);
        assert!(reached.contains("krs-core"), "{package} does not use the core");
        assert!(!reached.contains(other), "{package} uses {other}");
    }
}

#[test]
fn nothing_that_ships_uses_the_tests_helpers() {
    for package in ["krs-core", "krs-cli", "krs-importer"] {
        let reached = packages_below(package);
        assert!(!reached.contains("krs-testing"), "{package} uses krs-testing outside of its tests");
    }
}

/// The program that every chore starts with, on a machine where nothing is built yet.
#[test]
fn chores_build_neither_the_core_nor_the_benchmark_nor_c() {
    let reached = packages_below("xtask");
    for package in ["krs-core", "krs-testing", "krs-bench", "krs-release", "tokio", "cc"] {
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

/// What a package is built from, on any platform, without its tests. Not `cargo metadata`: that answers for the complete
/// workspace at once, and so would show the core the features which the importer asks of a shared crate.
fn packages_below(package: &str) -> BTreeSet<String> {
    let mut command = Command::new(env!("CARGO"));
    command.args(["tree", "--locked", "--package", package, "--edges", "normal,build", "--target", "all"]);
    let output =
        command.args(["--prefix", "none", "--format", "{p}"]).current_dir(checkout()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with(package), "cargo tree does not know {package}");
    text.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}
