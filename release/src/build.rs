// SPDX-License-Identifier: Apache-2.0
//! Builds programs with cargo-zigbuild: zig is the C compiler and the linker for all platforms.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::VERSION;
use crate::target::Target;
use xtask::cache::Cache;
use xtask::elf::Elf;
use xtask::run::{self, Result, checkout, step};
use xtask::source::Commit;

/// What cargo puts between the flags of `CARGO_ENCODED_RUSTFLAGS`.
const SEPARATOR: &str = "\x1f";

/// A program of a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Program {
    Krs,
    Importer,
}

/// All programs.
pub(crate) const PROGRAMS: &[Program] = &[Program::Krs, Program::Importer];

/// What was built.
#[derive(Debug)]
pub(crate) struct Built(BTreeMap<(Program, Target), Vec<u8>>);

impl Built {
    /// The binaries of a program, by platform.
    pub(crate) fn of(&self, program: Program) -> impl Iterator<Item = (&Target, &Vec<u8>)> {
        self.0.iter().filter(move |((of, _), _)| *of == program).map(|((_, target), binary)| (target, binary))
    }
}

impl Program {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Krs => "krs",
            Self::Importer => "krs-importer",
        }
    }

    pub(crate) const fn package(self) -> &'static str {
        match self {
            Self::Krs => "krs-cli",
            Self::Importer => "krs-importer",
        }
    }
}

/// How programs are built.
#[derive(Debug)]
pub(crate) struct Builder<'a> {
    cache: &'a Cache,
    commit: &'a Commit,
    /// Where cargo builds.
    folder: PathBuf,
}

impl<'a> Builder<'a> {
    /// Builds where cargo builds everything else: an interrupted run resumes there.
    pub(crate) fn new(cache: &'a Cache, commit: &'a Commit) -> Result<Self> {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["metadata", "--locked", "--no-deps", "--format-version=1"]).current_dir(checkout());
        let metadata = serde_json::from_str::<serde_json::Value>(&run::output(&mut cargo)?)?;
        let folder = metadata["target_directory"].as_str().ok_or("cargo names no target directory")?;
        Ok(Self { cache, commit, folder: folder.into() })
    }

    /// The same in another folder.
    fn in_folder(&self, folder: &Path) -> Self {
        Self { cache: self.cache, commit: self.commit, folder: folder.to_owned() }
    }

    /// All programs for these platforms.
    pub(crate) fn build_all(&self, targets: &[Target]) -> Result<Built> {
        let mut built = BTreeMap::new();
        for target in targets {
            for program in PROGRAMS {
                built.insert((*program, *target), self.build(*target, *program)?);
            }
        }
        Ok(Built(built))
    }

    /// Builds all of it again in an empty folder, and compares.
    pub(crate) fn check_reproducible(&self, built: &Built) -> Result<()> {
        let empty = tempfile::tempdir()?;
        let again = self.in_folder(empty.path());
        for ((program, target), first) in &built.0 {
            if again.build(*target, *program)? != *first {
                return Err(format!("two builds of {} for {target} differ", program.name()).into());
            }
        }
        println!("Built twice with the same bytes.");
        Ok(())
    }

    /// The program, after checks that it is static, for its platform, and of the commit.
    fn build(&self, target: Target, program: Program) -> Result<Vec<u8>> {
        let name = program.name();
        let path = step(&format!("build {name} for {target}"), || {
            let mut cargo = self.zigbuild(target);
            cargo.args(["zigbuild", "--release", "--locked", "--target", target.triple()]);
            run::executable(cargo.args(["--package", program.package(), "--bins"]), name)
        })?;
        let binary = fs::read(&path)?;
        let wrong = |why: String| format!("{}: {why}", path.display());
        Elf::parse(&binary)
            .and_then(|elf| elf.require_static(target.elf_machine()))
            .map_err(|why| wrong(why.to_string()))?;
        if target.is_native() {
            let version = run::output(Command::new(&path).arg("--version"))?;
            let commit = self.commit.revision.get(..12).unwrap_or_default();
            if !version.starts_with(&format!("{name} {VERSION} (commit {commit}")) {
                return Err(wrong(format!("--version prints `{}`", version.trim())).into());
            }
        }
        Ok(binary)
    }

    /// `krs` for this machine, as tests have it: enough for texts that do not depend on the build.
    pub(crate) fn development_build(&self) -> Result<PathBuf> {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.current_dir(checkout()).args(["build", "--locked", "--package", "krs-cli", "--bins"]);
        run::executable(&mut cargo, "krs")
    }

    fn zigbuild(&self, target: Target) -> Command {
        let mut cargo = Command::new(self.cache.bin().join("cargo-zigbuild"));
        cargo.current_dir(checkout()).env("CARGO", env!("CARGO")).env("CARGO_TARGET_DIR", &self.folder);
        cargo.env("CARGO_ZIGBUILD_ZIG_PATH", self.cache.bin().join("python-zig"));
        cargo.env("SOURCE_DATE_EPOCH", self.commit.seconds.to_string()).env_remove("KRS_COMMIT");
        let (rust, c) = path_flags(&replaced_paths(&self.folder));
        cargo.env("CARGO_ENCODED_RUSTFLAGS", rust).env_remove("RUSTFLAGS");
        cargo.env(format!("CFLAGS_{}", target.triple().replace('-', "_")), c);
        cargo
    }
}

/// Folders of this machine whose paths programs would contain, and what they contain instead.
fn replaced_paths(target: &Path) -> Vec<(PathBuf, &'static str)> {
    let home = |variable: &str, folder: &str| {
        let set = env::var_os(variable).filter(|path| !path.is_empty()).map(PathBuf::from);
        set.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(folder)))
    };
    // The last prefix that fits counts: the folder of the build may be in the checkout.
    let mut paths = Vec::new();
    paths.extend(home("CARGO_HOME", ".cargo").map(|path| (path, "/cargo")));
    paths.extend(home("RUSTUP_HOME", ".rustup").map(|path| (path, "/rustup")));
    paths.push((checkout().to_owned(), "/krs"));
    paths.push((target.to_owned(), "/target"));
    paths
}

/// The flags for rustc, and those for the C compiler.
fn path_flags(paths: &[(PathBuf, &str)]) -> (OsString, OsString) {
    let (mut rust, mut c) = (OsString::new(), OsString::new());
    for (index, (path, shown)) in paths.iter().enumerate() {
        if index > 0 {
            rust.push(SEPARATOR);
            c.push(" ");
        }
        for (flags, option) in [(&mut rust, "--remap-path-prefix="), (&mut c, "-ffile-prefix-map=")] {
            flags.push(option);
            flags.push(path);
            flags.push("=");
            flags.push(shown);
        }
    }
    (rust, c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_this_machine_are_replaced_in_rust_and_in_c() {
        let paths = [(PathBuf::from("/home/a b"), "/x"), (PathBuf::from("/t"), "/y")];
        let (rust, c) = path_flags(&paths);
        assert_eq!(rust, "--remap-path-prefix=/home/a b=/x\u{1f}--remap-path-prefix=/t=/y");
        assert_eq!(c, "-ffile-prefix-map=/home/a b=/x -ffile-prefix-map=/t=/y");
        let all = replaced_paths(Path::new("/t"));
        assert_eq!(all.last(), Some(&(PathBuf::from("/t"), "/target")));
        assert!(all.contains(&(checkout().to_owned(), "/krs")));
    }
}
