// SPDX-License-Identifier: Apache-2.0
//! The platforms of a release.

use std::fmt;

use clap::ValueEnum;

use xtask::run::Result;
use xtask::toolchain::has_library;

/// A platform. All programs are linked statically with musl: they run on every distribution, and without one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Target {
    /// Linux on x86-64
    #[value(name = "linux-amd64", alias = "x86_64-unknown-linux-musl")]
    Amd64,
    /// Linux on AArch64
    #[value(name = "linux-arm64", alias = "aarch64-unknown-linux-musl")]
    Arm64,
}

/// All platforms.
pub(crate) const ALL: &[Target] = &[Target::Amd64, Target::Arm64];

impl Target {
    /// As names of files have it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Amd64 => "linux-amd64",
            Self::Arm64 => "linux-arm64",
        }
    }

    /// As Rust names it.
    pub(crate) const fn triple(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64-unknown-linux-musl",
            Self::Arm64 => "aarch64-unknown-linux-musl",
        }
    }

    /// `e_machine` of its ELF files.
    pub(crate) const fn elf_machine(self) -> u16 {
        match self {
            Self::Amd64 => 62,
            Self::Arm64 => 183,
        }
    }

    /// Whether this machine runs its programs.
    pub(crate) fn is_native(self) -> bool {
        let architecture = match self {
            Self::Amd64 => "x86_64",
            Self::Arm64 => "aarch64",
        };
        std::env::consts::OS == "linux" && std::env::consts::ARCH == architecture
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The platforms to build for, each once and in order; all where none is named.
pub(crate) fn choose(named: &[Target]) -> Vec<Target> {
    ALL.iter().copied().filter(|target| named.is_empty() || named.contains(target)).collect()
}

/// Refuses platforms for which Rust's standard library is missing, with the command that installs it.
pub(crate) fn require_installed(targets: &[Target]) -> Result<()> {
    let mut missing = Vec::new();
    for target in targets {
        if !has_library(target.triple())? {
            missing.push(target.triple());
        }
    }
    match missing.as_slice() {
        [] => Ok(()),
        missing => Err(missing_library(missing).into()),
    }
}

fn missing_library(triples: &[&str]) -> String {
    format!(
        "Rust's standard library is not installed for {}\nhelp: rustup target add {}; or name the other platforms with \
         --target",
        triples.join(" and "),
        triples.join(" ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_platforms_are_built_unless_some_are_named() {
        assert_eq!(choose(&[]), ALL);
        assert_eq!(choose(&[Target::Arm64, Target::Arm64]), [Target::Arm64]);
        assert_eq!(choose(&[Target::Arm64, Target::Amd64]), ALL);
    }

    #[test]
    fn a_missing_library_is_named_with_the_command_that_installs_it() {
        let text = missing_library(&["a-musl", "b-musl"]);
        assert!(text.contains("for a-musl and b-musl"), "{text}");
        assert!(text.contains("rustup target add a-musl b-musl"), "{text}");
    }
}
