// SPDX-License-Identifier: Apache-2.0
//! A Debian package (deb(5)): an `ar` archive of two compressed tars.

use crate::VERSION;
use crate::package::{self, DESCRIPTION, Layout, NAME, RECOMMENDED, SUMMARY};
use crate::payload::{Texts, gzip};
use crate::target::Target;
use xtask::files::{Entry, Files};
use xtask::run::Result;

const LAYOUT: Layout = Layout {
    zsh: "usr/share/zsh/vendor-completions",
    license: "usr/share/doc/krs/copyright",
    third_party: "usr/share/doc/krs/THIRD-PARTY-LICENSES",
};

impl Target {
    /// As Debian, Go and OCI name it.
    pub(crate) const fn debian_architecture(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }
}

/// As Debian names packages.
pub(crate) fn file_name(target: Target) -> String {
    format!("{NAME}_{VERSION}_{}.deb", target.debian_architecture())
}

pub(crate) fn package(
    target: Target,
    binary: &[u8],
    texts: &Texts,
    maintainer: &str,
    modified: u64,
) -> Result<Vec<u8>> {
    let files = package::files(binary, texts, &LAYOUT)?;
    let mut control = Files::default();
    control.file("control", 0o644, control_file(target, &files, maintainer).into_bytes());
    let members = [
        ("debian-binary", b"2.0\n".to_vec()),
        ("control.tar.gz", gzip(&control.tar(modified)?)?),
        ("data.tar.gz", gzip(&files.tar(modified)?)?),
    ];
    Ok(ar(&members, modified))
}

fn control_file(target: Target, files: &Files, maintainer: &str) -> String {
    // Each file in blocks of 1 KiB, each folder as one (deb-substvars(5), Installed-Size).
    let blocks = files.entries().map(|(_, entry)| match entry {
        Entry::File(_, content) => content.len().div_ceil(1024),
        Entry::Folder(_) | Entry::Link(_) => 1,
    });
    let (installed, recommended) = (blocks.sum::<usize>(), RECOMMENDED.join(", "));
    format!(
        "Package: {NAME}\nVersion: {VERSION}\nArchitecture: {}\nMaintainer: {maintainer}\nInstalled-Size: {installed}\n\
         Recommends: {recommended}\nSection: admin\nPriority: optional\nDescription: {SUMMARY}\n {DESCRIPTION}\n",
        target.debian_architecture()
    )
}

/// ar(5), with names of at most 16 characters.
fn ar(members: &[(&str, Vec<u8>)], modified: u64) -> Vec<u8> {
    let mut out = b"!<arch>\n".to_vec();
    for (name, content) in members {
        let header =
            format!("{name:<16}{modified:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, "100644", content.len());
        out.extend(header.bytes());
        out.extend(content);
        if content.len() % 2 == 1 {
            out.push(b'\n');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test")]

    use std::fs;
    use std::process::Command;

    use super::*;
    use crate::payload::tests::texts;
    use xtask::run::on_path;

    fn made() -> Vec<u8> {
        package(Target::Arm64, b"program", &texts(), "Somebody <a@example.com>", 1_700_000_000).unwrap()
    }

    #[test]
    fn a_package_has_the_same_bytes_each_time_and_the_members_in_order() {
        let package = made();
        assert_eq!(package, made());
        assert!(
            package
                .starts_with(b"!<arch>\ndebian-binary   1700000000  0     0     100644  4         `\n2.0\n")
        );
        let at = |name: &[u8]| package.windows(name.len()).position(|window| window == name).unwrap();
        assert!(at(b"control.tar.gz") < at(b"data.tar.gz"));
        assert_eq!(at(b"control.tar.gz") % 2, 0);
        assert_eq!(at(b"data.tar.gz") % 2, 0);
    }

    /// Where dpkg is: what it reads from the package.
    #[test]
    fn dpkg_reads_the_package_and_unpacks_it() {
        if on_path("dpkg-deb").is_none() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(file_name(Target::Arm64));
        fs::write(&file, made()).unwrap();
        let ask = |arguments: &[&str]| {
            let output =
                Command::new("dpkg-deb").arg(arguments[0]).arg(&file).args(&arguments[1..]).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).unwrap()
        };
        for (field, value) in [
            ("Package", "krs"),
            ("Architecture", "arm64"),
            ("Version", VERSION),
            ("Recommends", "ca-certificates, git"),
        ] {
            assert_eq!(ask(&["-f", field]).trim(), value);
        }
        let list = ask(&["-c"]);
        for path in
            ["usr/bin/krs", "usr/share/man/man1/krs-push.1.gz", "usr/share/zsh/vendor-completions/_krs"]
        {
            assert!(list.contains(path), "{list}");
        }
        assert!(list.lines().all(|line| line.contains(" root/root ") || line.contains(" 0/0 ")), "{list}");
        ask(&["-x", folder.path().to_str().unwrap()]);
        assert_eq!(fs::read(folder.path().join("usr/bin/krs")).unwrap(), b"program");
        assert_eq!(fs::read(folder.path().join("usr/share/doc/krs/copyright")).unwrap(), b"licence\n");
    }
}
