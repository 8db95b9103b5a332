// SPDX-License-Identifier: Apache-2.0
//! The build script of `krs` and `krs-importer`: which commit they are built from, for `--version` and `krs_build_info`; and
//! a time that is not after the build, in seconds since 1970: no clock of a site can rightly say less.
//!
//! Only a release asks Git. A development build would otherwise be compiled again after each commit, and its sources may
//! change between two builds without anybody saying so.
#![allow(clippy::print_stdout, reason = "a build script tells Cargo on stdout")]

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

/// Names the commit where there is no Git: an image is built without `.git`, a package from an archive of the sources.
const COMMIT: &str = "KRS_COMMIT";
/// Says the time, in place of Git and the clock: <https://reproducible-builds.org/specs/source-date-epoch/>.
const EPOCH: &str = "SOURCE_DATE_EPOCH";

fn main() {
    println!("cargo::rerun-if-env-changed={COMMIT}");
    println!("cargo::rerun-if-env-changed={EPOCH}");
    let package = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let is_release = env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let (git, given) = (Git { package: &package }, env::var(COMMIT).unwrap_or_default());
    let commit = match given.as_str() {
        "" if is_release => git.commit().unwrap_or_else(|| "unknown".to_owned()),
        "" => "development".to_owned(),
        given if is_commit(given) => given.to_owned(),
        given => {
            println!(
                "cargo::error={COMMIT} is `{given}`; expected the 40 or 64 hexadecimal digits of a commit"
            );
            return;
        }
    };
    println!("cargo::rustc-env={COMMIT}={commit}");
    let version = env::var("CARGO_PKG_VERSION").unwrap_or_default();
    println!("cargo::rustc-env=KRS_VERSION={version} ({})", shown(&commit));
    let given = env::var(EPOCH).ok().and_then(|text| text.parse().ok());
    let of_commit = || git.time().filter(|_| is_release);
    println!("cargo::rustc-env=KRS_BUILT={}", given.or_else(of_commit).unwrap_or_else(now));
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
}

/// As people write it: enough digits to find it.
fn shown(commit: &str) -> String {
    match commit.split_once('-') {
        _ if commit == "development" => "development build".to_owned(),
        Some((commit, _)) => format!("commit {}, modified", short(commit)),
        None => format!("commit {}", short(commit)),
    }
}

fn short(commit: &str) -> &str {
    commit.get(..12).unwrap_or(commit)
}

fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// The checkout of a package.
struct Git<'a> {
    package: &'a Path,
}

impl Git<'_> {
    fn query(&self, arguments: &[&str]) -> Option<String> {
        let output = Command::new("git").current_dir(self.package).args(arguments).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim().to_owned())
    }

    /// Whether it is ours: sources without Git may have been unpacked inside of somebody else's checkout.
    fn is_ours(&self) -> bool {
        self.query(&["ls-files", "--error-unmatch", "Cargo.toml"]).is_some()
    }

    /// Its commit; `-modified` where what the program is built from differs from it. Cargo runs this again when either changes.
    fn commit(&self) -> Option<String> {
        let commit =
            self.query(&["rev-parse", "HEAD"]).filter(|commit| is_commit(commit) && self.is_ours())?;
        let branch = self.query(&["symbolic-ref", "--quiet", "HEAD"]);
        for file in ["HEAD", "logs/HEAD", "packed-refs"].into_iter().chain(branch.as_deref()) {
            let file = self.package.join(self.query(&["rev-parse", "--git-path", file])?);
            // A path that does not exist would be new at each build.
            if file.exists() {
                println!("cargo::rerun-if-changed={}", file.display());
            }
        }
        let sources = ["../Cargo.toml", "../Cargo.lock", "../src", "Cargo.toml", "src"];
        for source in sources {
            println!("cargo::rerun-if-changed={}", self.package.join(source).display());
        }
        let changes = self.query(&[&["status", "--porcelain", "--"], &sources[..]].concat())?;
        Some(if changes.is_empty() { commit } else { format!("{commit}-modified") })
    }

    /// When the commit was made: the same for everybody who builds it.
    fn time(&self) -> Option<u64> {
        self.query(&["log", "-1", "--format=%ct"]).filter(|_| self.is_ours())?.parse().ok()
    }
}
