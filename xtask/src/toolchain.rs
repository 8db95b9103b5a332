// SPDX-License-Identifier: Apache-2.0
//! What of Rust is installed.

use std::fs;
use std::process::Command;

use crate::run::{self, Result};

/// Whether the standard library for a target is there: without it, nothing can be built for the target.
pub fn has_library(target: &str) -> Result<bool> {
    let folder = run::output(Command::new("rustc").args(["--print", "target-libdir", "--target", target]))?;
    let mut files = fs::read_dir(folder.trim()).into_iter().flatten().flatten();
    Ok(files.any(|file| file.file_name().to_string_lossy().starts_with("libstd-")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_installed_targets_have_a_library() {
        // Known to rustc, and never distributed with a library.
        assert_eq!(has_library("armv7-unknown-trusty").ok(), Some(false));
        let version = run::output(Command::new("rustc").arg("-vV")).unwrap_or_default();
        let host = version.lines().find_map(|line| line.strip_prefix("host: ")).unwrap_or_default();
        assert_eq!(has_library(host).ok(), Some(true));
    }
}
