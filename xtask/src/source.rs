// SPDX-License-Identifier: Apache-2.0
//! The sources that programs and images are built from.

use std::process::Command;

use crate::run::{self, Result, checkout};

/// The commit of the checkout.
#[derive(Debug)]
pub struct Commit {
    /// Its digits; `-modified` where the sources differ from it.
    pub revision: String,
    /// When it was made, in UTC: what is built of one commit has the same bytes whenever it is built.
    pub time: String,
    /// The same in seconds since 1970.
    pub seconds: u64,
}

impl Commit {
    /// Asks Git; nothing where the sources are in no checkout of their own.
    pub fn of_checkout() -> Option<Self> {
        let git = |arguments: &[&str]| {
            let mut git = Command::new("git");
            run::output(git.current_dir(checkout()).env("TZ", "UTC").args(arguments)).ok()
        };
        git(&["ls-files", "--error-unmatch", "Cargo.toml"])?;
        let format = ["--format=%H %ct %cd", "--date=format-local:%Y-%m-%dT%H:%M:%SZ"];
        let text = git(&["log", "-1", format[0], format[1]])?;
        let mut words = text.split_whitespace();
        let (revision, seconds, time) = (words.next()?, words.next()?.parse().ok()?, words.next()?);
        let is_modified = !git(&["status", "--porcelain", "--untracked-files=no"])?.is_empty();
        let revision = if is_modified { format!("{revision}-modified") } else { revision.to_owned() };
        Some(Self { revision, time: time.to_owned(), seconds })
    }

    /// Whether the sources differ from the commit.
    pub fn is_modified(&self) -> bool {
        self.revision.ends_with("-modified")
    }
}

/// The files below a folder of the checkout that Git tracks, by their paths relative to it: no backup of an editor and no
/// values of a developer.
pub fn tracked_files(folder: &str) -> Result<Vec<String>> {
    let mut git = Command::new("git");
    let names = run::output(git.current_dir(checkout().join(folder)).args(["ls-files", "-z"]))?;
    Ok(names.split_terminator('\0').map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_commit_is_one_of_rfc_3339_in_utc() {
        // Sources from an archive have no commit.
        let Some(commit) = Commit::of_checkout() else { return };
        let shape = |c: char| if c.is_ascii_digit() { '0' } else { c };
        assert_eq!(commit.time.chars().map(shape).collect::<String>(), "0000-00-00T00:00:00Z");
        let digits = commit.revision.split('-').next().unwrap_or_default();
        assert!(matches!(digits.len(), 40 | 64), "{commit:?}");
        assert!(commit.seconds > 1_700_000_000, "{commit:?}");
    }
}
