// SPDX-License-Identifier: Apache-2.0
//! A Git checkout in a temporary folder, with the same commits on each run.

use std::process::Command;

use camino::{Utf8Path, Utf8PathBuf};

/// When the first commit was made, in seconds since 1970; each further one is a minute later.
pub const FIRST_COMMIT: u64 = 1_767_225_600;

/// A Git repository with a working tree. Dropping it removes the folder.
#[derive(Debug)]
pub struct Checkout {
    folder: tempfile::TempDir,
    commits: u64,
}

impl Checkout {
    /// An empty repository with the branch `main`.
    #[expect(clippy::new_without_default, reason = "it runs a program and makes a folder")]
    pub fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("krs-checkout-").tempdir().unwrap();
        let checkout = Self { folder, commits: 0 };
        checkout.git(&["init", "--quiet", "--initial-branch=main"]);
        checkout
    }

    /// The top of the work tree.
    pub fn path(&self) -> &Utf8Path {
        Utf8Path::from_path(self.folder.path()).unwrap()
    }

    /// Writes a file below the folder, with the folders above it. Returns its full path.
    pub fn write(&self, path: &str, text: impl AsRef<[u8]>) -> Utf8PathBuf {
        let file = self.path().join(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, text).unwrap();
        file
    }

    /// Commits everything that changed. Returns the commit's id: 40 hex digits.
    pub fn commit(&mut self, message: &str) -> String {
        let date = format!("{} +0000", FIRST_COMMIT + 60 * self.commits);
        self.commits += 1;
        self.git(&["add", "--all"]);
        self.git_at(&date, &["commit", "--quiet", "--allow-empty", "--message", message]);
        self.git(&["rev-parse", "HEAD"]).trim().to_owned()
    }

    /// Runs `git` in the folder, without the configuration of user and machine. Returns its output.
    ///
    /// # Panics
    /// It fails; the message has what it said.
    pub fn git(&self, arguments: &[&str]) -> String {
        self.git_at(&format!("{FIRST_COMMIT} +0000"), arguments)
    }

    fn git_at(&self, date: &str, arguments: &[&str]) -> String {
        let mut command = Command::new("git");
        for variable in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY"] {
            command.env_remove(variable);
        }
        for role in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{role}_NAME"), "Test");
            command.env(format!("GIT_{role}_EMAIL"), "test@example.com");
            command.env(format!("GIT_{role}_DATE"), date);
        }
        command
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", self.folder.path().join(".git/none"));
        let output = command.current_dir(self.folder.path()).args(arguments).output().expect("git runs");
        let messages = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "git {arguments:?} failed: {messages}");
        String::from_utf8(output.stdout).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history() -> (String, String) {
        let mut checkout = Checkout::new();
        checkout.write("sets/a.yaml", "kind: EdgeImageSet\n");
        let first = checkout.commit("Add a set");
        checkout.write("sets/a.yaml", "kind: Other\n");
        (first, checkout.commit("Change it"))
    }

    #[test]
    fn the_same_files_give_the_same_commits() {
        let (first, second) = history();
        assert_eq!((first.len(), second.len()), (40, 40));
        assert_ne!(first, second);
        assert_eq!((first, second), history());
    }
}
