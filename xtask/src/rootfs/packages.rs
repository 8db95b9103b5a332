// SPDX-License-Identifier: Apache-2.0
//! What an image says about the packages of Debian that its files are from: their control fields in `var/lib/dpkg/status.d`,
//! where scanners for vulnerabilities find them in images without a package manager, and their licences.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::files::Files;
use crate::run::{self, Result};

/// What of a Debian system tells scanners which release the packages are of.
pub const OS_RELEASE: &str = "usr/lib/os-release";
/// Texts that licences of packages refer to.
pub const COMMON_LICENSES: &str = "usr/share/common-licenses";
/// The package with both.
pub(super) const BASE: &str = "base-files";

/// Unpacked packages: their files in `root`, and of each package the control files in `control/PACKAGE`.
#[derive(Debug)]
pub(super) struct Packages {
    folder: PathBuf,
}

impl Packages {
    /// Those that are unpacked in a folder.
    pub(super) const fn in_folder(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Unpacks packages into a new folder.
    pub(super) fn unpack(debs: &[PathBuf], folder: &Path) -> Result<()> {
        let [root, control] = ["root", "control"].map(|name| folder.join(name));
        for folder in [&root, &control] {
            fs::create_dir_all(folder)?;
        }
        for deb in debs {
            run::run(Command::new("dpkg-deb").arg("-x").arg(deb).arg(&root))?;
            let name = run::output(Command::new("dpkg-deb").arg("-f").arg(deb).arg("Package"))?;
            run::run(Command::new("dpkg-deb").arg("-e").arg(deb).arg(control.join(name.trim())))?;
        }
        Ok(())
    }

    /// The folder with the files of all packages.
    pub(super) fn root(&self) -> PathBuf {
        self.folder.join("root")
    }

    /// Adds what describes the packages that contain these files.
    pub(super) fn describe(&self, files: &mut Files, sources: &[PathBuf]) -> Result<()> {
        let root = fs::canonicalize(self.root())?;
        let mut paths = BTreeSet::new();
        for source in sources {
            // Names of libraries are links, which the lists of packages leave out.
            let path = fs::canonicalize(source)?;
            let path =
                path.strip_prefix(&root).map_err(|_| format!("{} is in no package", path.display()))?;
            paths.insert(path.to_string_lossy().into_owned());
        }
        let mut lists = BTreeMap::new();
        for entry in fs::read_dir(self.folder.join("control"))? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            // A package without files has no list.
            lists.insert(name, fs::read_to_string(entry.path().join("md5sums")).unwrap_or_default());
        }
        for package in owners(&lists, paths)? {
            let control = self.folder.join("control").join(package).join("control");
            files.file(&format!("var/lib/dpkg/status.d/{package}"), 0o644, fs::read(control)?);
            let copyright = format!("usr/share/doc/{package}/copyright");
            files.file(&copyright, 0o644, fs::read(root.join(&copyright))?);
        }
        Ok(())
    }

    /// Adds the release of Debian, and the texts that licences refer to.
    pub(super) fn describe_release(&self, files: &mut Files) -> Result<()> {
        let root = self.root();
        files.file(OS_RELEASE, 0o644, fs::read(root.join(OS_RELEASE))?);
        files.link("etc/os-release", "../usr/lib/os-release");
        for entry in fs::read_dir(root.join(COMMON_LICENSES))? {
            let entry = entry?;
            let path = format!("{COMMON_LICENSES}/{}", entry.file_name().to_string_lossy());
            if entry.file_type()?.is_symlink() {
                files.link(&path, &fs::read_link(entry.path())?.to_string_lossy());
            } else {
                files.file(&path, 0o644, fs::read(entry.path())?);
            }
        }
        self.describe(files, &[root.join(OS_RELEASE)])
    }
}

/// The packages that contain these paths, by their lists: in each line a checksum, two spaces and a path.
fn owners(lists: &BTreeMap<String, String>, mut paths: BTreeSet<String>) -> Result<BTreeSet<&str>> {
    let mut packages = BTreeSet::new();
    for (package, list) in lists {
        for path in list.lines().filter_map(|line| Some(line.split_once("  ")?.1)) {
            if paths.remove(path) {
                packages.insert(package.as_str());
            }
        }
    }
    match paths.first() {
        Some(path) => Err(format!("no package of Debian contains {path}").into()),
        None => Ok(packages),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test")]

    use super::*;

    #[test]
    fn only_packages_whose_files_are_taken_are_named_and_every_file_is_of_one() {
        let lists = [("a", "0  usr/bin/a\n1  usr/lib/a b\n"), ("b", "2  usr/bin/b\n"), ("c", "")];
        let lists = lists.map(|(name, list)| (name.to_owned(), list.to_owned())).into();
        let of = |paths: &[&str]| owners(&lists, paths.iter().map(|path| (*path).to_owned()).collect());
        assert_eq!(of(&["usr/lib/a b", "usr/bin/a"]).unwrap(), ["a"].into());
        assert_eq!(of(&["usr/bin/a", "usr/bin/b"]).unwrap(), ["a", "b"].into());
        let error = of(&["usr/bin/a", "usr/bin/other"]).unwrap_err().to_string();
        assert!(error.contains("usr/bin/other"), "{error}");
    }
}
