// SPDX-License-Identifier: Apache-2.0
//! What the packages for Debian's and Red Hat's systems have in common.

use crate::payload::{SHELLS, Texts, gzip};
use xtask::files::Files;
use xtask::run::Result;

/// The name of the package, and of its folders.
pub(crate) const NAME: &str = "krs";
pub(crate) const SUMMARY: &str = "Copies container images into sites without a network";
/// One paragraph.
pub(crate) const DESCRIPTION: &str = "krs bundles the images that EdgeImageSet resources in Git list into one signed \
    archive, verifies the archive, and pushes it into the registry of a site without a network.";
/// What `krs` uses if it is there: the CA certificates of the system, and `git` for the commit of a checkout.
pub(crate) const RECOMMENDED: &[&str] = &["ca-certificates", "git"];

/// Where a family of systems has its files.
#[derive(Debug)]
pub(crate) struct Layout {
    /// Folder of zsh's completions.
    pub(crate) zsh: &'static str,
    /// The file with the licence of the project.
    pub(crate) license: &'static str,
    /// The file with those of others.
    pub(crate) third_party: &'static str,
}

/// The files, by their path below the root.
pub(crate) fn files(binary: &[u8], texts: &Texts, layout: &Layout) -> Result<Files> {
    let mut files = Files::default();
    files.file("usr/bin/krs", 0o755, binary.to_vec());
    for (page, text) in &texts.pages {
        files.file(&format!("usr/share/man/man1/{page}.gz"), 0o644, gzip(text)?);
    }
    for (shell, name) in SHELLS {
        let folder = match *shell {
            "bash" => "usr/share/bash-completion/completions",
            "fish" => "usr/share/fish/vendor_completions.d",
            _ => layout.zsh,
        };
        let script = texts.completions.get(shell).ok_or("a shell has no completions")?;
        files.file(&format!("{folder}/{name}"), 0o644, script.clone());
    }
    files.file(layout.license, 0o644, texts.license.clone());
    files.file(layout.third_party, 0o644, texts.third_party.clone());
    Ok(files)
}
