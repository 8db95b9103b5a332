// SPDX-License-Identifier: Apache-2.0
//! The folder outside of the checkout where programs and packages are kept between runs.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::run::Result;

/// `$KRS_CACHE`, else `$XDG_CACHE_HOME/krs`, else `~/.cache/krs`. It may be deleted at any time.
#[derive(Debug)]
pub struct Cache(PathBuf);

impl Cache {
    /// Finds the folder; creates nothing.
    pub fn locate() -> Result<Self> {
        let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let folder = set("KRS_CACHE")
            .or_else(|| Some(set("XDG_CACHE_HOME")?.join("krs")))
            .or_else(|| Some(set("HOME")?.join(".cache/krs")))
            .ok_or("none of KRS_CACHE, XDG_CACHE_HOME and HOME is set")?;
        Ok(Self(std::path::absolute(folder)?))
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.0
    }

    /// Where installed programs and what belongs to them lie; tests get it as `KRS_TOOLS`.
    pub fn tools(&self) -> PathBuf {
        self.0.join("tools")
    }

    /// The folder of the programs.
    pub fn bin(&self) -> PathBuf {
        self.0.join("tools/bin")
    }

    /// Debian packages and wheels, as downloaded.
    pub fn packages(&self) -> PathBuf {
        self.0.join("packages")
    }

    /// The images that tests and the benchmark use, as an OCI image layout.
    pub fn corpus(&self, small: bool) -> PathBuf {
        self.0.join(if small { "corpus-small" } else { "corpus" })
    }

    /// The corpus of images before and after updates.
    pub fn corpus_of_updates(&self, small: bool) -> PathBuf {
        self.0.join(if small { "corpus-updates-small" } else { "corpus-updates" })
    }

    /// Everything of clusters for tests: programs, images, and the nodes' own folders.
    pub fn cluster(&self) -> PathBuf {
        self.0.join("cluster")
    }

    /// Waits until no other run does the work that this lock is for. The lock ends with the returned file.
    pub fn lock(&self, name: &str) -> Result<File> {
        fs::create_dir_all(&self.0)?;
        let file = File::create(self.0.join(name))?;
        if file.try_lock().is_err() {
            println!("waiting for another run that uses {}", self.0.display());
            file.lock()?;
        }
        Ok(file)
    }
}
