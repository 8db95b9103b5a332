// SPDX-License-Identifier: Apache-2.0
//! Archives that were made to mislead a reader, or to use it up.

use krs_testing::image::{ArchiveFile, Image, ImageBuilder, archive_of, oci_layout};
use serde_json::Value;
use tar::{EntryType, Header};

use super::{Desk, digest_of};
use crate::error::{Classify as _, ErrorKind};
use crate::local::{ArchiveError, FileError, LocalError};

fn image() -> Image {
    ImageBuilder::new("web").layer_random(3_000, 1).build()
}

fn layout() -> Vec<ArchiveFile> {
    oci_layout(&[(&image(), Value::Null)])
}

/// An entry with a header of its own.
fn entry(name: &str, kind: EntryType, size: u64, link: &str, content: &[u8]) -> Vec<u8> {
    let mut header = Header::new_gnu();
    header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(0o644);
    header.as_mut_bytes()[157..157 + link.len()].copy_from_slice(link.as_bytes());
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend_from_slice(content);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

/// The entry before those of a layout that would be read without it.
fn before_layout(entry: &[u8]) -> Result<(), LocalError> {
    let desk = Desk::new();
    desk.write("a.tar", &[entry, &archive_of(&layout())].concat());
    desk.open("oci-archive", "a.tar").map(drop)
}

#[track_caller]
fn refused(entry: &[u8], reason: &str) {
    let error = before_layout(entry).unwrap_err();
    assert!(matches!(error, LocalError::Archive { .. }), "{error}");
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(error.to_string().contains(reason), "`{reason}` is not in {error}");
}

fn pax(key: &str, value: &str) -> Vec<u8> {
    // The length counts itself: two digits suffice here.
    let length = key.len() + value.len() + 3 + 2;
    let record = format!("{length} {key}={value}\n");
    assert_eq!(record.len(), length);
    entry("pax", EntryType::XHeader, record.len() as u64, "", record.as_bytes())
}

#[test]
fn t273_what_readers_of_tars_could_disagree_about_is_refused() {
    let file =
        |name: &str, content: &[u8]| entry(name, EntryType::Regular, content.len() as u64, "", content);
    before_layout(&file("notes", b"x")).unwrap();
    refused(&file("../index.json", b"x"), "leads out of the archive");
    refused(&file("blobs/../index.json", b"x"), "leads out of the archive");
    refused(&file("/index.json", b"x"), "leads out of the archive");
    refused(&[pax("path", "../a"), file("a", b"x")].concat(), "leads out of the archive");
    refused(&file("index.json", b"{}"), "twice, with different content");
    refused(&file("./index.json", b"{}"), "twice, with different content");
    refused(&entry("index.json", EntryType::Symlink, 0, "other", b""), "twice, with different content");
    refused(&entry("a", EntryType::GNUSparse, 0, "", b""), "a sparse file");
    refused(&[pax("GNU.sparse.major", "1"), file("a", b"x")].concat(), "a sparse file");
    refused(&entry("a", EntryType::Char, 0, "", b""), "a device");
    refused(&entry("a", EntryType::Fifo, 0, "", b""), "a named pipe");
    refused(&entry("a", EntryType::Directory, 512, "", &[1; 512]), "with content of its own");
    refused(&entry("a", EntryType::new(b'V'), 0, "", b""), "an unknown kind");
    let global = "13 size=9999\n";
    refused(
        &entry("g", EntryType::XGlobalHeader, global.len() as u64, "", global.as_bytes()),
        "gives all entries one name or size",
    );
    let mut damaged = file("a", b"x");
    damaged[0] ^= 1;
    refused(&damaged, "its checksum is wrong");
    refused(&[pax("size", "x"), file("a", b"x")].concat(), "its size is no number");
}

#[test]
fn t273_an_entry_that_is_there_twice_with_one_content_is_one() {
    let layout = layout();
    let desk = Desk::new();
    desk.open_archive(&[layout.clone(), layout.clone()].concat()).unwrap();
    // The same size, and one byte differs at the end.
    let (name, mut bytes) = layout.into_iter().find(|(name, _)| name.starts_with("blobs/")).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    let other = entry(&name, EntryType::Regular, bytes.len() as u64, "", &bytes);
    refused(&other, "twice, with different content");
}

#[test]
fn t273_a_link_in_the_place_of_content_is_not_followed() {
    let (image, desk) = (image(), Desk::new());
    let layer = format!("blobs/sha256/{}", image.blobs[1].0.hex());
    let mut files = layout();
    let (_, content) = files.remove(files.iter().position(|(name, _)| *name == layer).unwrap());
    desk.write("outside", &content);
    for (kind, target) in [
        (EntryType::Symlink, desk.path("outside").to_string()),
        (EntryType::Symlink, "../../../outside".to_owned()),
        (EntryType::Link, "elsewhere".to_owned()),
    ] {
        if target.len() > 100 {
            continue;
        }
        let link = [
            entry("elsewhere", EntryType::Regular, content.len() as u64, "", &content),
            entry(&layer, kind, 0, &target, b""),
            archive_of(&files),
        ];
        desk.write("a.tar", &link.concat());
        let source = desk.open("oci-archive", "a.tar").unwrap();
        let error = source.content(&image.blobs[1].0.to_string().parse().unwrap()).unwrap_err();
        assert!(error.to_string().contains("it is a link; expected a regular file"), "{error}");
    }
}

#[test]
fn t274_an_archive_that_is_cut_is_incomplete_wherever_it_is() {
    let bytes = archive_of(&layout());
    let desk = Desk::new();
    for length in (1..bytes.len() - 1024).step_by(100) {
        desk.write("a.tar", &bytes[..length]);
        let Err(error) = desk.open("oci-archive", "a.tar") else {
            // Cut between two entries: what is missing is found when it is read.
            assert!(
                length.is_multiple_of(512)
                    || bytes[length..length.next_multiple_of(512)].iter().all(|b| *b == 0)
            );
            continue;
        };
        let whole = matches!(
            error,
            LocalError::Unknown { .. } | LocalError::Archive { source: ArchiveError::Incomplete { .. }, .. }
        );
        assert!(whole, "{length}: {error}");
    }
    // At the end of all entries, without the empty blocks.
    desk.write("a.tar", &bytes[..bytes.len() - 1024]);
    desk.open("oci-archive", "a.tar").unwrap();
    desk.write("a.tar", b"");
    assert_eq!(desk.open("oci-archive", "a.tar").unwrap_err().kind(), ErrorKind::Incomplete);
}

#[test]
fn t274_sizes_that_no_memory_holds_are_refused_before_anything_is_read() {
    let desk = Desk::new();
    let huge = 1_u64 << 40;
    let sparse = |bytes: &[u8]| {
        desk.write("a.tar", bytes);
        // It is as large as it says.
        let file = std::fs::File::options().write(true).open(desk.path("a.tar")).unwrap();
        file.set_len(huge + (1 << 20)).unwrap();
        desk.open("oci-archive", "a.tar").unwrap_err()
    };
    for kind in [EntryType::GNULongName, EntryType::GNULongLink, EntryType::XHeader, EntryType::XGlobalHeader]
    {
        let error = sparse(&entry("a", kind, huge, "", b""));
        assert!(
            matches!(error, LocalError::Archive { source: ArchiveError::Extension { .. }, .. }),
            "{error}"
        );
    }
    let error = sparse(&entry("index.json", EntryType::Regular, huge, "", b""));
    assert!(matches!(error, LocalError::File { source: FileError::TooLarge { .. }, .. }), "{error}");
    let error = before_layout(&entry("a", EntryType::Regular, u64::MAX, "", b"")).unwrap_err();
    assert!(matches!(error, LocalError::Archive { source: ArchiveError::Incomplete { .. }, .. }), "{error}");
    // A manifest that is larger than any may be, and one that is listed.
    let (image, mut files) = (image(), layout());
    for (name, bytes) in &mut files {
        if name.ends_with(&image.digest.hex()) {
            bytes.resize((4 << 20) + 1, b' ');
        }
    }
    let error = desk.open_archive(&files).unwrap_err();
    assert!(matches!(error, LocalError::File { source: FileError::TooLarge { .. }, .. }), "{error}");
}

#[test]
fn t274_entries_and_names_without_end_are_refused() {
    let many = 0..=crate::local::limits::MAX_ENTRIES;
    let many = many.flat_map(|n| entry(&n.to_string(), EntryType::Regular, 0, "", b"")).collect::<Vec<_>>();
    let error = before_layout(&many).unwrap_err();
    assert!(matches!(error, LocalError::Archive { source: ArchiveError::TooMany, .. }), "{error}");
    let long = |n: usize| {
        let name = format!("{n}{}\0", "a".repeat((1 << 20) - 20));
        let long = entry("long", EntryType::GNULongName, name.len() as u64, "", name.as_bytes());
        [long, entry("a", EntryType::Regular, 0, "", b"")].concat()
    };
    let error = before_layout(&(0..34).flat_map(long).collect::<Vec<_>>()).unwrap_err();
    assert!(matches!(error, LocalError::Archive { source: ArchiveError::TooMany, .. }), "{error}");
}

#[test]
fn t275_a_manifest_that_is_not_what_its_name_says_is_refused() {
    let (image, mut files) = (image(), layout());
    let other = ImageBuilder::new("other").build();
    for (name, bytes) in &mut files {
        if name.ends_with(&image.digest.hex()) {
            bytes.clone_from(&other.manifest);
        }
    }
    let error = Desk::new().open_archive(&files).unwrap_err();
    assert!(error.to_string().contains("content is damaged"), "{error}");
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    // One that changes after the source was opened.
    let desk = Desk::new();
    for (name, bytes) in &layout() {
        desk.write(&format!("layout/{name}"), bytes);
    }
    let source = desk.open("oci", "layout").unwrap();
    desk.write(&format!("layout/blobs/sha256/{}", image.digest.hex()), &other.manifest);
    assert!(source.manifest(&digest_of(&image)).is_err());
}
