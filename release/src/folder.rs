// SPDX-License-Identifier: Apache-2.0
//! The folder of a release, which appears when it is complete.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use xtask::digest::Digest;
use xtask::run::Result;

/// A folder that is being filled under a temporary name. Dropped before [`OutputFolder::finish`], it leaves nothing.
#[derive(Debug)]
pub(crate) struct OutputFolder {
    out: PathBuf,
    partial: tempfile::TempDir,
    rows: Vec<Row>,
}

/// A file of the release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) bytes: usize,
    pub(crate) digest: Digest,
}

impl OutputFolder {
    /// Refuses a folder that exists: files of two releases never mix.
    pub(crate) fn create(out: &Path) -> Result<Self> {
        let out = std::path::absolute(out)?;
        refuse_existing(&out)?;
        let parent = out.parent().ok_or("--out cannot be the root directory")?;
        fs::create_dir_all(parent)?;
        let partial = tempfile::Builder::new().prefix(".krs-release-").tempdir_in(parent)?;
        Ok(Self { out, partial, rows: Vec::new() })
    }

    /// Adds a file.
    pub(crate) fn add(&mut self, name: &str, content: &[u8]) -> Result<()> {
        let mut file = File::create_new(self.partial.path().join(name))?;
        file.write_all(content)?;
        file.sync_all()?;
        self.rows.push(Row { name: name.to_owned(), bytes: content.len(), digest: Digest::of(content) });
        self.rows.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(())
    }

    /// The files so far, by name.
    pub(crate) fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Gives the folder its name, and returns its files.
    pub(crate) fn finish(self) -> Result<Vec<Row>> {
        refuse_existing(&self.out)?;
        let parent = self.out.parent().ok_or("--out cannot be the root directory")?;
        make_readable(self.partial.path())?;
        File::open(self.partial.path())?.sync_all()?;
        // A folder that came into being meanwhile is only replaced if it is empty.
        fs::rename(self.partial.path(), &self.out)?;
        let _ = self.partial.keep();
        File::open(parent)?.sync_all()?;
        Ok(self.rows)
    }
}

fn refuse_existing(out: &Path) -> Result<()> {
    if out.symlink_metadata().is_ok() {
        return Err(
            format!("{} exists: remove it, or name another directory with --out", out.display()).into()
        );
    }
    Ok(())
}

/// A temporary folder can be read by its owner only.
fn make_readable(folder: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    Ok(fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test")]

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let names =
            fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
        let mut names = names.collect::<Vec<_>>();
        names.sort();
        names
    }

    #[test]
    fn the_folder_appears_with_all_files_or_not_at_all() {
        let parent = tempfile::tempdir().unwrap();
        let out = parent.path().join("a/1.0");
        let mut folder = OutputFolder::create(&out).unwrap();
        folder.add("b", b"2").unwrap();
        assert!(!out.exists());
        drop(folder);
        assert_eq!(names(&parent.path().join("a")), [""; 0]);

        let mut folder = OutputFolder::create(&out).unwrap();
        folder.add("b", b"2").unwrap();
        folder.add("a", b"").unwrap();
        assert!(folder.add("a", b"again").is_err());
        let rows = folder.finish().unwrap();
        assert_eq!(
            rows.iter().map(|row| (row.name.as_str(), row.bytes)).collect::<Vec<_>>(),
            [("a", 0), ("b", 1)]
        );
        assert_eq!(names(&out), ["a", "b"]);
        assert_eq!(names(&parent.path().join("a")), ["1.0"]);
    }

    #[test]
    fn a_folder_that_exists_is_never_changed() {
        let parent = tempfile::tempdir().unwrap();
        let out = parent.path().join("1.0");
        let mut folder = OutputFolder::create(&out).unwrap();
        folder.add("a", b"").unwrap();
        fs::create_dir(&out).unwrap();
        assert!(OutputFolder::create(&out).unwrap_err().to_string().contains("exists"));
        assert!(folder.finish().unwrap_err().to_string().contains("exists"));
        assert_eq!(names(&out), [""; 0]);
        assert_eq!(names(parent.path()), ["1.0"]);
    }
}
