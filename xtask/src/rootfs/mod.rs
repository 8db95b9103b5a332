// SPDX-License-Identifier: Apache-2.0
//! The root file systems of our images: Debian's programs with the libraries that they load, and our own. The one definition
//! of the images that are built without a daemon, and of `importer/Dockerfile`.
//!
//! Nothing of another architecture runs here: what a program loads is read from its ELF headers.

pub mod labels;
mod packages;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::cache::Cache;
use crate::digest::Digest;
use crate::elf::Elf;
use crate::files::Files;
use crate::run::{Result, step};
use crate::tools::debian;

use self::packages::{BASE, Packages};
pub use self::packages::{COMMON_LICENSES, OS_RELEASE};

/// The release of Debian that skopeo and its libraries come from.
pub const DEBIAN: &str = "trixie";
/// Debian packages, of which only what [`PROGRAMS`] load and [`ROOTS`] are taken.
pub const PACKAGES: &[&str] = &["skopeo", "ca-certificates"];
/// Programs of these packages.
pub const PROGRAMS: &[&str] = &["usr/bin/skopeo"];
/// Where the importer lies, and what starts.
pub const IMPORTER: &str = "usr/bin/krs-importer";
/// The folder of single roots in ca-certificates.
pub const ROOTS: &str = "usr/share/ca-certificates/mozilla";
/// Where programs look for all of them.
pub const ROOTS_FILE: &str = "etc/ssl/certs/ca-certificates.crt";
/// Not root.
pub const USER: &str = "65532:65532";

/// Files with their content; all may be read by everybody.
pub const FILES: &[(&str, &str)] = &[
    ("etc/passwd", "root:x:0:0:root:/:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/tmp:/sbin/nologin\n"),
    ("etc/group", "root:x:0:\nnonroot:x:65532:\n"),
    ("etc/nsswitch.conf", "hosts: files dns\n"),
    // What is copied is named by digest, and skopeo checks it.
    ("etc/containers/policy.json", "{\"default\":[{\"type\":\"insecureAcceptAnything\"}]}\n"),
];
/// Folders where anybody may write.
pub const SCRATCH: &[&str] = &["tmp", "var/tmp"];
/// Links of a Debian system, so that programs find their loader.
pub const LINKS: &[(&str, &str)] = &[("lib", "usr/lib"), ("lib64", "usr/lib64")];

/// The name of the importer's image in its archive, as the chart asks for it: `localhost`, so that no node ever asks a registry
/// of somebody else for it.
pub const IMPORTER_IMAGE: &str = concat!("localhost/krs-importer:", env!("CARGO_PKG_VERSION"));

/// A platform of Linux.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Architecture {
    /// x86-64
    Amd64,
    /// AArch64
    Arm64,
}

impl Architecture {
    /// That of this machine.
    pub fn native() -> Result<Self> {
        match std::env::consts::ARCH {
            "x86_64" => Ok(Self::Amd64),
            "aarch64" => Ok(Self::Arm64),
            other => Err(format!("no image is built for {other}").into()),
        }
    }

    /// As Debian and OCI name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// The dynamic loader of Debian's programs.
    const fn loader(self) -> &'static str {
        match self {
            Self::Amd64 => "usr/lib64/ld-linux-x86-64.so.2",
            Self::Arm64 => "usr/lib/ld-linux-aarch64.so.1",
        }
    }

    /// Debian's folder of libraries.
    const fn libraries(self) -> &'static str {
        match self {
            Self::Amd64 => "usr/lib/x86_64-linux-gnu",
            Self::Arm64 => "usr/lib/aarch64-linux-gnu",
        }
    }
}

/// Packages of Debian with all that they depend on, unpacked.
#[derive(Debug)]
pub struct DebianRoot {
    packages: Packages,
    /// The folder with their files.
    root: PathBuf,
    architecture: Architecture,
}

impl DebianRoot {
    /// Unpacks packages into a folder of the cache that is named after their versions.
    pub fn unpack(cache: &Cache, architecture: Architecture, packages: &[&str]) -> Result<Self> {
        let _lock = cache.lock("images.lock")?;
        let all = [packages, &[BASE]].concat();
        let debs = debian::closure(cache, DEBIAN, architecture.name(), &all)?;
        let names: Vec<_> =
            debs.iter().map(|deb| deb.file_name().unwrap_or_default().to_string_lossy()).collect();
        let digest = Digest::of(names.join("\n").as_bytes());
        let parent = cache.cluster().join("debian").join(architecture.name()).join(all.join("+"));
        let folder = parent.join(digest.hex().get(..16).unwrap_or_default());
        if !folder.is_dir() {
            let title =
                format!("unpack {} packages of Debian {DEBIAN} for {}", debs.len(), architecture.name());
            step(&title, || {
                if parent.exists() {
                    fs::remove_dir_all(&parent)?;
                }
                let partial = parent.join("partial");
                Packages::unpack(&debs, &partial)?;
                Ok(fs::rename(&partial, &folder)?)
            })?;
        }
        let packages = Packages::in_folder(folder);
        Ok(Self { root: packages.root(), packages, architecture })
    }

    /// What does not change with any program: users, CA certificates, folders for temporary files.
    pub fn base(&self) -> Result<Files> {
        let mut files = Files::default();
        for (path, content) in FILES {
            files.file(path, 0o644, content.as_bytes().to_vec());
        }
        for folder in SCRATCH {
            files.folder(folder, 0o1777);
        }
        for (link, target) in LINKS {
            if self.root.join(target).is_dir() {
                files.link(link, target);
            }
        }
        let certificates = fs::read_dir(self.root.join(ROOTS))?.map(|entry| Ok(entry?.path()));
        let mut certificates = certificates.collect::<Result<Vec<PathBuf>>>()?;
        certificates.sort();
        let mut all = Vec::new();
        for certificate in &certificates {
            all.extend(fs::read(certificate)?);
        }
        files.file(ROOTS_FILE, 0o644, all);
        self.packages.describe(&mut files, &certificates)?;
        self.packages.describe_release(&mut files)?;
        Ok(files)
    }

    /// Programs of the packages, and the libraries that they and `others` load.
    pub fn programs(&self, programs: &[&str], others: &[&Path]) -> Result<Files> {
        let mut files = Files::default();
        for program in programs {
            files.file(program, 0o755, fs::read(self.root.join(program))?);
        }
        let mut sources = programs.iter().map(|program| self.root.join(program)).collect::<Vec<_>>();
        let open = sources.iter().cloned().chain(others.iter().map(|path| (*path).to_owned())).collect();
        for (path, library) in self.loaded(open)? {
            let mode = fs::metadata(&library)?.permissions().mode() & 0o777;
            files.file(&path, mode, fs::read(&library)?);
            sources.push(library);
        }
        self.packages.describe(&mut files, &sources)?;
        Ok(files)
    }

    /// A file of the packages.
    pub fn path(&self, file: &str) -> PathBuf {
        self.root.join(file)
    }

    /// The libraries that programs load, and those that these load, by their paths in the image; the loader included.
    fn loaded(&self, mut open: Vec<PathBuf>) -> Result<BTreeMap<String, PathBuf>> {
        let (mut files, mut names) = (BTreeMap::new(), BTreeSet::new());
        while let Some(path) = open.pop() {
            let wrong = |why: String| format!("{}: {why}", path.display());
            let elf = Elf::parse(&fs::read(&path)?).map_err(|why| wrong(why.to_string()))?;
            if elf.loader.is_some() {
                let loader = self.architecture.loader();
                files.insert(loader.to_owned(), self.root.join(loader));
            }
            // The loader is there already, under its own path.
            for name in elf.needed.into_iter().filter(|name| !name.starts_with("ld-linux")) {
                let library = format!("{}/{name}", self.architecture.libraries());
                let source = self.root.join(&library);
                if !source.is_file() {
                    return Err(wrong(format!("Debian {DEBIAN} has no {name}")).into());
                }
                if names.insert(name) {
                    open.push(source.clone());
                    files.insert(library, source);
                }
            }
        }
        Ok(files)
    }
}

/// The tars of the importer's image, base first. Libraries are also those of `linked`, if the importer is not static.
pub fn importer_layers(root: &DebianRoot, linked: &[&Path], own: &Files) -> Result<[Vec<u8>; 3]> {
    Ok([root.base()?.tar(0)?, root.programs(PROGRAMS, linked)?.tar(0)?, own.tar(0)?])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::checkout;

    #[test]
    fn the_chart_and_its_documentation_name_the_image_that_is_built() {
        let text = |path: &str| fs::read_to_string(checkout().join(path)).unwrap_or_default();
        let (repository, tag) = IMPORTER_IMAGE.rsplit_once(':').unwrap_or_default();
        assert!(text("importer/chart/values.yaml").contains(&format!("\n  repository: {repository}\n")));
        assert!(text("importer/chart/Chart.yaml").contains(&format!("\nappVersion: {tag}\n")));
        assert!(text("docs/install.md").contains(&format!("`{IMPORTER_IMAGE}`")));
    }

    #[test]
    fn the_image_runs_as_somebody_who_is_not_root_and_is_in_passwd() {
        let id = USER.split(':').next().unwrap_or_default();
        assert_ne!(id, "0");
        assert!(
            FILES.iter().any(|(path, text)| *path == "etc/passwd" && text.contains(&format!(":{id}:{id}:")))
        );
    }
}
