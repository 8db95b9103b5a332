// SPDX-License-Identifier: Apache-2.0
#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::process::Command;

use xtask::run::on_path;

use super::*;
use crate::payload::tests::texts;

fn made() -> Vec<u8> {
    package(Target::Arm64, b"program", &texts(), 1_700_000_000).unwrap()
}

fn number(bytes: &[u8], at: usize) -> usize {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()) as usize
}

/// An entry: its tag, type, count, and the store from its value on.
type Entry<'a> = (usize, usize, usize, &'a [u8]);

/// A header of `bytes` that begins here: its entries, and where it ends.
fn read_header(bytes: &[u8], at: usize) -> (Vec<Entry<'_>>, usize) {
    assert_eq!(bytes[at..at + 8], [0x8e, 0xad, 0xe8, 1, 0, 0, 0, 0]);
    let (entries, size) = (number(bytes, at + 8), number(bytes, at + 12));
    let store = at + 16 + entries * 16;
    let entry = |index: usize| {
        let at = at + 16 + index * 16;
        let offset = store + number(bytes, at + 8);
        (number(bytes, at), number(bytes, at + 4), number(bytes, at + 12), &bytes[offset..store + size])
    };
    ((0..entries).map(entry).collect(), store + size)
}

fn text(value: &[u8]) -> &str {
    std::str::from_utf8(value.split(|byte| *byte == 0).next().unwrap()).unwrap()
}

/// Read by the description of the format, not by the code that wrote it.
#[test]
fn a_package_has_its_digests_and_describes_its_files() {
    let package = made();
    assert_eq!(package, made());
    assert_eq!(package[..4], [0xed, 0xab, 0xee, 0xdb]);
    let (digests, end) = read_header(&package, 96);
    let start = end.next_multiple_of(8);
    let (tags, payload) = read_header(&package, start);
    let find = |tags: &[Entry<'_>], tag: usize| {
        let (_, kind, count, value) = *tags.iter().find(|(other, ..)| *other == tag).unwrap();
        (kind, count, value.to_vec())
    };
    assert_eq!(text(&find(&digests, 273).2), Digest::of(&package[start..payload]).hex());
    assert_eq!(number(&find(&digests, 1000).2, 0), package.len() - start);
    assert_eq!(text(&find(&tags, 5092).2), Digest::of(&package[payload..]).hex());
    assert_eq!(text(&find(&tags, 1000).2), "krs");
    assert_eq!(text(&find(&tags, 1022).2), "aarch64");
    // A region is closed by a trailer that leads back to the index.
    for (tags, region) in [(&digests, 62), (&tags, 63)] {
        assert_eq!(tags[0].0, region);
        let trailer = tags[0].3;
        assert_eq!((number(trailer, 0), number(trailer, 4), number(trailer, 12)), (region, 7, 16));
        assert_eq!(number(trailer, 8) as u32, (-(16 * tags.len() as i32)) as u32);
        assert!(tags[1..].is_sorted_by(|a, b| a.0 < b.0), "rpm finds tags by bisection");
    }
    // One value for each file in every list of files.
    let count = find(&tags, 1117).1;
    for tag in [1028, 1030, 1034, 1035, 1036, 1037, 1039, 1040, 1045, 1095, 1096, 1097, 1116] {
        assert_eq!(find(&tags, tag).1, count, "tag {tag}");
    }
}

/// Where rpm is: it checks the digests, lists the files and unpacks them.
#[test]
fn rpm_reads_the_package_and_unpacks_it() {
    if on_path("rpm").is_none() || on_path("rpm2cpio").is_none() || on_path("cpio").is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(file_name(Target::Arm64));
    fs::write(&file, made()).unwrap();
    let ask = |arguments: &[&str]| {
        let database = folder.path().join("database");
        let mut rpm = Command::new("rpm");
        let output = rpm.arg("--dbpath").arg(database).args(arguments).arg(&file).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        said
    };
    assert!(ask(&["-K"]).contains("digests OK"));
    let list = ask(&["-qplv"]);
    for path in ["-rwxr-xr-x    1 root     root                        7", " /usr/bin/krs\n", "/_krs\n"] {
        assert!(list.contains(path), "{list}");
    }
    assert!(ask(&["-qp", "--requires"]).lines().all(|line| line.starts_with("rpmlib(")));
    let unpack = format!("rpm2cpio {} | cpio --quiet -idm", file.display());
    let unpacked = Command::new("sh").args(["-c", &unpack]).current_dir(folder.path()).output().unwrap();
    assert!(unpacked.status.success(), "{}", String::from_utf8_lossy(&unpacked.stderr));
    assert_eq!(fs::read(folder.path().join("usr/bin/krs")).unwrap(), b"program");

    let mut changed = made();
    let last = changed.len() - 20;
    changed[last] ^= 1;
    fs::write(&file, changed).unwrap();
    let output = Command::new("rpm").arg("-K").arg(&file).output().unwrap();
    assert!(!output.status.success(), "a changed payload is refused");
}
