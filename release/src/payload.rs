// SPDX-License-Identifier: Apache-2.0
//! What is installed with `krs`: manual pages, completions and the licence; and the archive that contains all of it.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use flate2::{Compression, GzBuilder};

use crate::build::{Builder, Built, Program};
use xtask::files::Files;
use xtask::run::{self, Result, checkout, step};

/// Shells with the names under which each finds the completions of `krs`.
pub(crate) const SHELLS: &[(&str, &str)] = &[("bash", "krs"), ("zsh", "_krs"), ("fish", "krs.fish")];

/// The texts of a release. They depend on the version only, not on the platform.
#[derive(Debug, Default)]
pub(crate) struct Texts {
    /// Manual pages by name: `krs.1`.
    pub(crate) pages: BTreeMap<String, Vec<u8>>,
    /// Completions by shell.
    pub(crate) completions: BTreeMap<&'static str, Vec<u8>>,
    /// The licence of the project.
    pub(crate) license: Vec<u8>,
    /// The licences of what is linked into `krs`.
    pub(crate) third_party: Vec<u8>,
}

impl Texts {
    /// Has `krs` write them: the one of this release where it runs here, else a development build.
    pub(crate) fn of(builder: &Builder<'_>, built: &Built, third_party: Vec<u8>) -> Result<Self> {
        step("manual pages and completions", || {
            let folder = tempfile::tempdir()?;
            let krs = match built.of(Program::Krs).find(|(target, _)| target.is_native()) {
                Some((_, binary)) => {
                    let path = folder.path().join("krs");
                    fs::write(&path, binary)?;
                    run::output(Command::new("chmod").arg("755").arg(&path))?;
                    path
                }
                None => builder.development_build()?,
            };
            Ok(Self { third_party, ..Self::written_by(&krs)? })
        })
    }

    fn written_by(krs: &Path) -> Result<Self> {
        let ask = |arguments: &[&str]| run::output(Command::new(krs).args(arguments)).map(String::into_bytes);
        let mut texts = Self { license: fs::read(checkout().join("LICENSE"))?, ..Self::default() };
        texts.pages.insert("krs.1".to_owned(), ask(&["man"])?);
        let help = run::output(Command::new(krs).arg("--help"))?;
        for command in commands(&help) {
            texts.pages.insert(format!("krs-{command}.1"), ask(&["man", command])?);
            let help = run::output(Command::new(krs).args([command, "--help"]))?;
            for below in commands(&help) {
                texts.pages.insert(format!("krs-{command}-{below}.1"), ask(&["man", command, below])?);
            }
        }
        for (shell, _) in SHELLS {
            texts.completions.insert(*shell, ask(&["completions", *shell])?);
        }
        Ok(texts)
    }
}

/// The commands that the help of `krs` lists. `help` has no manual page.
fn commands(help: &str) -> Vec<&str> {
    let list = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let list = list.take_while(|line| line.starts_with("  "));
    // Continued lines are indented further.
    let names = list.filter_map(|line| line.strip_prefix("  ").filter(|line| !line.starts_with(' ')));
    names.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help").collect()
}

/// `NAME.tar.gz`: one folder with the program and its texts, for hosts without a package manager.
pub(crate) fn archive(name: &str, binary: &[u8], texts: &Texts, modified: u64) -> Result<Vec<u8>> {
    let mut files = Files::default();
    let path = |file: &str| format!("{name}/{file}");
    files.file(&path("krs"), 0o755, binary.to_vec());
    files.file(&path("LICENSE"), 0o644, texts.license.clone());
    files.file(&path("THIRD-PARTY-LICENSES"), 0o644, texts.third_party.clone());
    for (page, text) in &texts.pages {
        files.file(&path(&format!("man/{page}")), 0o644, text.clone());
    }
    for (shell, file) in SHELLS {
        let script = texts.completions.get(shell).ok_or("a shell has no completions")?;
        files.file(&path(&format!("completions/{shell}/{file}")), 0o644, script.clone());
    }
    gzip(&files.tar(modified)?)
}

/// Without name and time, so that the same content gives the same bytes.
pub(crate) fn gzip(content: &[u8]) -> Result<Vec<u8>> {
    // 255: no operating system, where flate2 would write that of this machine.
    let mut writer = GzBuilder::new().mtime(0).operating_system(255).write(Vec::new(), Compression::best());
    writer.write_all(content)?;
    Ok(writer.finish()?)
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used, reason = "a test")]

    use std::io::Read as _;

    use super::*;

    pub(crate) fn texts() -> Texts {
        let pages = ["krs.1", "krs-push.1"].map(|name| (name.to_owned(), b".TH krs 1\n".to_vec()));
        Texts {
            pages: pages.into(),
            completions: SHELLS.iter().map(|(shell, _)| (*shell, b"complete\n".to_vec())).collect(),
            license: b"licence\n".to_vec(),
            third_party: b"licences\n".to_vec(),
        }
    }

    #[test]
    fn commands_are_read_from_the_help() {
        let help = "Usage: krs\n\nCommands:\n  bundle  Write\n            a bundle\n  push    Push\n  help    Print\n\nOptions:\n  -h\n";
        assert_eq!(commands(help), ["bundle", "push"]);
    }

    #[test]
    fn an_archive_has_one_folder_and_the_same_bytes_each_time() {
        let archive = archive("krs-1-linux-amd64", b"program", &texts(), 1_700_000_000).unwrap();
        assert_eq!(
            archive,
            super::archive("krs-1-linux-amd64", b"program", &texts(), 1_700_000_000).unwrap()
        );
        let mut tar = Vec::new();
        flate2::read::GzDecoder::new(archive.as_slice()).read_to_end(&mut tar).unwrap();
        let mut modes = BTreeMap::new();
        for entry in tar::Archive::new(tar.as_slice()).entries().unwrap() {
            let entry = entry.unwrap();
            assert_eq!(entry.header().mtime().unwrap(), 1_700_000_000);
            assert_eq!(entry.header().uid().unwrap(), 0);
            let path = entry.path().unwrap().to_string_lossy().into_owned();
            modes.insert(path, entry.header().mode().unwrap());
        }
        assert!(modes.keys().all(|path| path.starts_with("krs-1-linux-amd64")), "{modes:?}");
        for (file, mode) in [
            ("krs", 0o755),
            ("LICENSE", 0o644),
            ("THIRD-PARTY-LICENSES", 0o644),
            ("man/krs-push.1", 0o644),
            ("completions/bash/krs", 0o644),
            ("completions/zsh/_krs", 0o644),
            ("completions/fish/krs.fish", 0o644),
        ] {
            assert_eq!(modes.get(&format!("krs-1-linux-amd64/{file}")), Some(&mode), "{file}: {modes:?}");
        }
    }
}
