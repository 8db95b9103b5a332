// SPDX-License-Identifier: Apache-2.0
//! The build script of the programs that ship: what it says of the commit, and when cargo runs it again.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// When all commits here were made.
const COMMITTED: u64 = 1_700_000_000;

/// A checkout as ours: a package `cli` beside the core, with the build script compiled.
struct Checkout {
    folder: tempfile::TempDir,
    script: PathBuf,
}

impl Checkout {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("script");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("commit.rs");
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let mut compile = Command::new(rustc);
        compile.args(["--edition", "2024", "-o"]).arg(&script).arg(source);
        assert!(compile.status().unwrap().success());
        for file in
            ["Cargo.toml", "Cargo.lock", "src/lib.rs", "cli/Cargo.toml", "cli/src/main.rs", "README.md"]
        {
            let path = folder.path().join("sources").join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, file).unwrap();
        }
        Self { folder, script }
    }

    fn sources(&self) -> PathBuf {
        self.folder.path().join("sources")
    }

    fn git(&self, folder: &Path, arguments: &[&str]) -> String {
        let mut git = Command::new("git");
        git.current_dir(folder).env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_SYSTEM", "/dev/null");
        git.env("GIT_COMMITTER_DATE", format!("@{COMMITTED} +0200"));
        git.args(["-c", "user.name=t", "-c", "user.email=t@localhost", "-c", "init.defaultBranch=main"]);
        let output = git.args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Commits everything, and returns the commit.
    fn commit(&self) -> String {
        let sources = self.sources();
        self.git(&sources, &["init", "--quiet"]);
        self.git(&sources, &["add", "--all"]);
        self.git(&sources, &["commit", "--quiet", "--message", "c"]);
        self.git(&sources, &["rev-parse", "HEAD"])
    }

    /// What the script tells cargo, for a build with this profile.
    fn build(&self, sources: &Path, profile: &str, given: Option<&str>) -> BuildOutput {
        let package = sources.join("cli");
        let mut script = Command::new(&self.script);
        script.current_dir(&package).env("CARGO_MANIFEST_DIR", &package).env("PROFILE", profile);
        script.env("CARGO_PKG_VERSION", "1.2.3").env_remove("KRS_COMMIT").env_remove("SOURCE_DATE_EPOCH");
        if let Some(given) = given {
            script.env("KRS_COMMIT", given);
        }
        // Above the test's own folder, Git looks for no checkout.
        script.env("GIT_CEILING_DIRECTORIES", self.folder.path().parent().unwrap());
        let output = script.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        BuildOutput(String::from_utf8(output.stdout).unwrap())
    }
}

struct BuildOutput(String);

impl BuildOutput {
    fn all(&self, key: &str) -> Vec<&str> {
        self.0.lines().filter_map(|line| line.strip_prefix(key)).collect()
    }

    fn commit(&self) -> &str {
        self.all("cargo::rustc-env=KRS_COMMIT=").first().expect("KRS_COMMIT")
    }

    fn built(&self) -> u64 {
        self.all("cargo::rustc-env=KRS_BUILT=").first().expect("KRS_BUILT").parse().unwrap()
    }

    fn version(&self) -> &str {
        self.all("cargo::rustc-env=KRS_VERSION=").first().expect("KRS_VERSION")
    }
}

#[test]
fn a_release_names_the_commit_of_its_sources() {
    let checkout = Checkout::new();
    let commit = checkout.commit();
    let output = checkout.build(&checkout.sources(), "release", None);
    assert_eq!(output.commit(), commit);
    assert_eq!(output.version(), format!("1.2.3 (commit {})", &commit[..12]));
    // What no program is built from does not matter.
    fs::write(checkout.sources().join("README.md"), "other").unwrap();
    assert_eq!(checkout.build(&checkout.sources(), "release", None).commit(), commit);
}

#[test]
fn a_release_of_changed_sources_says_so() {
    let checkout = Checkout::new();
    let commit = checkout.commit();
    for file in ["src/lib.rs", "cli/src/new.rs", "Cargo.lock"] {
        fs::write(checkout.sources().join(file), "other").unwrap();
        let output = checkout.build(&checkout.sources(), "release", None);
        assert_eq!(output.commit(), format!("{commit}-modified"), "{file}");
        assert_eq!(output.version(), format!("1.2.3 (commit {}, modified)", &commit[..12]), "{file}");
        checkout.git(&checkout.sources(), &["stash", "--quiet", "--include-untracked"]);
    }
}

#[test]
fn a_release_without_git_or_inside_of_another_checkout_says_that_it_does_not_know() {
    let checkout = Checkout::new();
    let output = checkout.build(&checkout.sources(), "release", None);
    assert_eq!((output.commit(), output.version()), ("unknown", "1.2.3 (commit unknown)"));
    // Unpacked below a checkout that does not track it.
    fs::write(checkout.folder.path().join(".gitignore"), "/sources\n").unwrap();
    checkout.git(checkout.folder.path(), &["init", "--quiet"]);
    checkout.git(checkout.folder.path(), &["add", ".gitignore"]);
    checkout.git(checkout.folder.path(), &["commit", "--quiet", "--message", "another project"]);
    assert_eq!(checkout.build(&checkout.sources(), "release", None).commit(), "unknown");
}

#[test]
fn two_builds_of_one_commit_have_the_same_time_and_no_other_build_has_one_of_the_future() {
    let checkout = Checkout::new();
    let now = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let before = now();
    let without_git = checkout.build(&checkout.sources(), "release", None).built();
    assert!((before..=now()).contains(&without_git));
    checkout.commit();
    assert_eq!(checkout.build(&checkout.sources(), "release", None).built(), COMMITTED);
    assert!((before..=now()).contains(&checkout.build(&checkout.sources(), "debug", None).built()));
}

#[test]
fn a_commit_that_is_given_holds_where_there_is_no_git_and_must_be_one() {
    let checkout = Checkout::new();
    let given = "0123456789abcdef0123456789abcdef01234567";
    let output = checkout.build(&checkout.sources(), "release", Some(given));
    assert_eq!((output.commit(), output.version()), (given, "1.2.3 (commit 0123456789ab)"));
    assert_eq!(checkout.build(&checkout.sources(), "release", Some("")).commit(), "unknown");
    for wrong in ["main", "0123456", &given.to_uppercase()] {
        let output = checkout.build(&checkout.sources(), "release", Some(wrong));
        assert_eq!(output.all("cargo::error=").len(), 1, "{wrong}: {}", output.0);
    }
}

#[test]
fn a_development_build_is_called_that_and_is_not_built_again_after_a_commit() {
    let checkout = Checkout::new();
    checkout.commit();
    let output = checkout.build(&checkout.sources(), "debug", None);
    assert_eq!((output.commit(), output.version()), ("development", "1.2.3 (development build)"));
    assert!(output.all("cargo::rerun-if-changed=").is_empty(), "{}", output.0);
}

#[test]
fn cargo_runs_the_script_again_when_the_commit_or_the_sources_change_and_not_each_time() {
    let checkout = Checkout::new();
    checkout.commit();
    let tree = checkout.folder.path().join("worktree");
    checkout.git(&checkout.sources(), &["worktree", "add", "--quiet", tree.to_str().unwrap()]);
    for sources in [checkout.sources(), tree] {
        let output = checkout.build(&sources, "release", None);
        let watched = output.all("cargo::rerun-if-changed=");
        // A path that does not exist is new to cargo at each build.
        assert!(watched.iter().all(|path| Path::new(path).exists()), "{}", output.0);
        for path in ["src", "Cargo.toml", "Cargo.lock"] {
            let path = fs::canonicalize(sources.join(path)).unwrap();
            assert!(watched.iter().any(|watched| fs::canonicalize(watched).unwrap() == path), "{path:?}");
        }
        let newest = |paths: &[&str]| {
            paths.iter().map(|path| fs::metadata(path).unwrap().modified().unwrap()).max().unwrap()
        };
        let before = newest(&watched);
        checkout.git(&sources, &["commit", "--quiet", "--allow-empty", "--message", "next"]);
        assert!(newest(&watched) > before, "a commit changes nothing of {}", output.0);
    }
}
