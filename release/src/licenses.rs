// SPDX-License-Identifier: Apache-2.0
//! The licences of everything that is linked into a program, as its distribution requires.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::crates::Crates;
use xtask::cache::Cache;
use xtask::run::{self, Result};

/// How names of files with licences begin, in lower case.
const NAMES: &[&str] = &["license", "licence", "copying", "copyright", "notice", "unlicense"];
/// A text with more bytes is no licence.
const MAX_TEXT: u64 = 1 << 20;

/// What is linked besides crates.
#[derive(Debug)]
pub(crate) struct Linked {
    name: &'static str,
    license: &'static str,
    files: Vec<PathBuf>,
}

/// Rust's library, and what zig links to every program.
pub(crate) fn of_toolchain(cache: &Cache) -> Result<Vec<Linked>> {
    let sysroot = run::output(Command::new("rustc").args(["--print", "sysroot"]))?;
    let rust = Path::new(sysroot.trim()).join("share/doc/rust");
    // An installation without documentation has none of these files.
    let rust = ["licenses/Apache-2.0.txt", "licenses/MIT.txt"].map(|file| rust.join(file));
    let program = fs::canonicalize(cache.bin().join("python-zig"))?;
    let python = program.parent().ok_or("a program is in a folder")?.join("python3");
    let zig = run::output(
        Command::new(python).args(["-c", "import os, ziglang; print(os.path.dirname(ziglang.__file__))"]),
    )?;
    let zig = Path::new(zig.trim()).join("lib");
    Ok(vec![
        Linked {
            name: "Rust standard library",
            license: "MIT OR Apache-2.0",
            files: rust.into_iter().filter(|file| file.is_file()).collect(),
        },
        Linked { name: "musl", license: "MIT", files: vec![zig.join("libc/musl/COPYRIGHT")] },
        Linked {
            name: "LLVM libunwind",
            license: "Apache-2.0 WITH LLVM-exception",
            files: vec![zig.join("libunwind/LICENSE.TXT")],
        },
    ])
}

/// One text: a table of names and licences, then each distinct text with the names that it is for.
pub(crate) fn third_party(crates: &[Crates], linked: &[Linked]) -> Result<Vec<u8>> {
    let (mut table, mut texts) = (BTreeMap::new(), BTreeMap::<String, BTreeSet<String>>::new());
    for ((name, version), library) in crates.iter().flat_map(Crates::libraries) {
        // Crates of this repository have its licence.
        if library.sha256.is_some() {
            let name = format!("{name} {version}");
            for file in license_files(&library.folder)? {
                texts.entry(text(&file)?).or_default().insert(name.clone());
            }
            table.insert(name, library.license.clone());
        }
    }
    for Linked { name, license, files } in linked {
        for file in files {
            texts.entry(text(file)?).or_default().insert((*name).to_owned());
        }
        table.insert((*name).to_owned(), (*license).to_owned());
    }
    let mut out = String::from(
        "Third-party software in this program, with its licences. The program itself has the Apache License 2.0.\n\n",
    );
    let with_text = texts.values().flatten().cloned().collect::<BTreeSet<_>>();
    for (name, license) in &table {
        let note =
            if with_text.contains(name) { "" } else { " (its package contains no text of the licence)" };
        writeln!(out, "{name}: {license}{note}")?;
    }
    // In the order of the first name of each.
    let mut texts = texts.into_iter().map(|(text, names)| (names, text)).collect::<Vec<_>>();
    texts.sort();
    for (names, text) in texts {
        let names = names.into_iter().collect::<Vec<_>>().join(", ");
        write!(out, "\n{}\n{names}\n\n{}\n", "=".repeat(80), text.trim_end())?;
    }
    Ok(out.into_bytes())
}

/// The files with licences directly in a folder, and in its folder `LICENSES`.
fn license_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        if !NAMES.iter().any(|begin| name.starts_with(begin)) || name.ends_with(".rs") {
            continue;
        }
        if path.is_dir() {
            let files = fs::read_dir(&path)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
            found.extend(files.into_iter().filter(|file| file.is_file()));
        } else {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn text(file: &Path) -> Result<String> {
    let bytes = krs_core::files::read_file(file, MAX_TEXT)
        .map_err(|error| format!("cannot read the licence {}: {error}", file.display()))?;
    Ok(String::from_utf8_lossy(&bytes).replace("\r\n", "\n").trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test")]

    use super::*;
    use crate::crates::tests::crates;

    #[test]
    fn each_text_is_there_once_with_all_names_and_a_missing_one_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let crates = crates(folder.path().to_str().unwrap());
        for name in ["core", "dep", "app"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        fs::write(folder.path().join("core/LICENSE"), "ours").unwrap();
        let linked = |files| Linked { name: "musl", license: "MIT", files };
        let made = |linked| {
            String::from_utf8(third_party(&[crates.clone(), crates.clone()], &[linked]).unwrap()).unwrap()
        };
        let text = made(linked(Vec::new()));
        let missing = "(its package contains no text of the licence)";
        assert!(
            text.contains(&format!("\ndep 2.1.0: MIT OR Apache-2.0 {missing}\nmusl: MIT {missing}\n")),
            "{text}"
        );
        assert!(!text.contains("ours") && !text.contains("core"), "{text}");

        fs::write(folder.path().join("dep/LICENSE-MIT"), "permission\r\nis granted\n").unwrap();
        fs::write(folder.path().join("dep/license.rs"), "code").unwrap();
        fs::write(folder.path().join("COPYRIGHT"), "permission\nis granted").unwrap();
        let text = made(linked(vec![folder.path().join("COPYRIGHT")]));
        assert!(!text.contains(missing) && !text.contains("code"), "{text}");
        assert!(text.ends_with("\ndep 2.1.0, musl\n\npermission\nis granted\n"), "{text}");
        assert_eq!(text.matches("permission").count(), 1);
        let gone = linked(vec![folder.path().join("absent")]);
        assert!(third_party(&[], &[gone]).unwrap_err().to_string().contains("absent"));
    }
}
