// SPDX-License-Identifier: Apache-2.0
//! Archives that other readers of tar take, or take apart in their own way.

use std::fs::OpenOptions;

use krs_core::bundle::{Bundle, BundleError, Policy};
use krs_core::error::{Classify as _, ErrorKind};
use krs_core::oci;
use krs_core::oci::digest::Digest;
use krs_core::progress::NoProgress;

use super::forge::{Drive, Entry, Parts, entries, image, inserted, noise, refused, sample, tarred, verdict};

#[test]
fn an_archive_that_was_taken_apart_and_put_together_is_the_same() {
    let sample = sample();
    assert!(tarred(&entries(&sample.unsigned)) == sample.unsigned);
    verdict(&sample.unsigned, &Policy::default()).unwrap();
}

#[test]
fn t09_names_outside_of_the_archive_are_refused_and_never_skipped() {
    let names: [&[u8]; 9] = [
        b"../x",
        b"/abs",
        b"C:\\x",
        b"blobs/sha256/../../x",
        b"index.json\0.txt",
        b"index.json\n",
        b"\xff\xfe",
        b"./index.json",
        b"",
    ];
    for name in names {
        let mut entry = Entry::file("x", b"content");
        entry.rename(name);
        for archive in inserted(&entry) {
            refused(&archive, ErrorKind::Corrupt);
        }
        let original = entries(&sample().unsigned);
        for at in 0..original.len() {
            let mut changed = original.clone();
            changed[at].rename(name);
            refused(&tarred(&changed), ErrorKind::Corrupt);
        }
    }
}

#[test]
fn t14_sparse_files_of_a_pebibyte_are_refused() {
    let mut gnu = Entry::kind(b'S', "blobs/sha256/x", &[7; 512]);
    gnu.change(|header| {
        // Where GNU tar keeps the real size.
        header.as_mut_bytes()[483..495].copy_from_slice(b"\x80\0\0\0\0\x04\0\0\0\0\0\0");
    });
    let pax = Entry::kind(b'x', "x", b"33 GNU.sparse.realsize=1125899906842624\n");
    for archive in inserted(&gnu).into_iter().chain(inserted(&pax)) {
        refused(&archive, ErrorKind::Corrupt);
    }
}

#[test]
fn t15_a_pax_size_that_differs_from_the_header_is_refused() {
    for record in ["9 size=0\n", "11 size=512\n", "28 size=18446744073709551615\n"] {
        for kind in *b"xg" {
            for archive in inserted(&Entry::kind(kind, "PaxHeaders/x", record.as_bytes())) {
                refused(&archive, ErrorKind::Corrupt);
            }
        }
    }
    // The other half of the trick: the header itself says another size than the manifest.
    let original = entries(&sample().unsigned);
    for at in 0..original.len() {
        for size in [0, 1, 511, 513, 8 << 30] {
            let mut changed = original.clone();
            if changed[at].content.len() as u64 == size {
                continue;
            }
            changed[at].change(|header| header.set_size(size));
            let bytes = tarred(&changed);
            let error = verdict(&bytes, &Policy::default()).expect_err("it is refused");
            assert!(!matches!(error, BundleError::Open { .. } | BundleError::Read { .. }), "{error}");
        }
    }
}

#[test]
fn t16_malformed_extensions_are_refused_and_never_skipped() {
    let contents: [&[u8]; 7] =
        [b"", b"garbage", b"999999999 path=x\n", b"-1 path=x\n", b"6 path=", b"0 \n", b"12 path=../x\n"];
    for content in contents {
        for kind in *b"xgLK" {
            for archive in inserted(&Entry::kind(kind, "././@LongLink", content)) {
                refused(&archive, ErrorKind::Corrupt);
            }
        }
    }
    // One that claims to be followed by 10 GiB of name.
    let mut long = Entry::kind(b'L', "././@LongLink", b"x");
    long.change(|header| header.set_size(10 << 30));
    for archive in inserted(&long) {
        refused(&archive, ErrorKind::Corrupt);
    }
}

#[test]
fn t17_an_entry_that_stands_twice_is_refused_whatever_it_holds() {
    let original = entries(&sample().unsigned);
    for entry in &original {
        let mut other = entry.clone();
        other.content.iter_mut().for_each(|byte| *byte ^= 1);
        for archive in inserted(entry).into_iter().chain(inserted(&other)) {
            refused(&archive, ErrorKind::Corrupt);
        }
    }
    // The manifest itself says so.
    let mut parts = Parts::new(1);
    let mut twice = parts.manifest.blobs[0];
    let last = parts.manifest.blobs.last().unwrap();
    twice.offset = last.offset + last.size.div_ceil(512) * 512 + 512;
    parts.manifest.blobs.push(twice);
    assert!(matches!(refused(&parts.archive(), ErrorKind::Corrupt), BundleError::Manifest { .. }));
}

#[test]
fn t18_names_that_differ_only_in_case_are_refused() {
    let original = entries(&sample().unsigned);
    for (at, entry) in original.iter().enumerate() {
        let upper = entry.name().to_uppercase();
        let mut changed = original.clone();
        changed[at].rename(upper.as_bytes());
        refused(&tarred(&changed), ErrorKind::Corrupt);
        let beside = Entry::file(&upper, &entry.content);
        refused(inserted(&beside).last().unwrap(), ErrorKind::Corrupt);
    }
}

#[test]
fn t19_whatever_follows_the_end_is_refused() {
    let original = &sample().unsigned;
    let entry = tarred(&[Entry::file("index.json", b"{}")]);
    for more in [&[0][..], &[0; 512], &[0; 10_240], b"text", &entry, original] {
        let error = refused(&[original, more].concat(), ErrorKind::Corrupt);
        assert!(matches!(error, BundleError::Trailing { .. }), "{error}");
        assert!(error.to_string().contains(&format!("{} more than expected", more.len())), "{error}");
    }
}

#[test]
fn t20_an_archive_that_was_cut_anywhere_is_incomplete_and_the_first_missing_part_is_named() {
    let original = &sample().unsigned;
    let mut at = 0;
    for entry in entries(original) {
        let (content, end) = (at + 512, at + 512 + entry.content.len());
        let next = end.div_ceil(512) * 512;
        for cut in [at, at + 1, at + 511, content, content + entry.content.len() / 2, end, next - 1] {
            // Where an entry ends without padding, the file may end with the next one missing.
            if cut == 0 || cut >= next {
                continue;
            }
            let error = refused(&original[..cut], ErrorKind::Incomplete);
            assert!(matches!(error, BundleError::Incomplete { .. }), "{error}");
            if entry.name().starts_with("blobs/") {
                assert!(error.to_string().contains(&entry.name()), "cut at {cut}: {error}");
            }
        }
        at = next;
    }
    for cut in [at, at + 511, at + 512, at + 1023] {
        let error = refused(&original[..cut], ErrorKind::Incomplete);
        assert!(error.to_string().contains("its end"), "{error}");
    }
}

/// A frame of zstd that stands for `blocks` times 128 KiB of zeroes, in four bytes each.
fn bomb(blocks: usize) -> Vec<u8> {
    let block = |last: usize| {
        let header = (128_usize << 10 << 3 | 1 << 1 | last).to_le_bytes();
        [header[0], header[1], header[2], 0]
    };
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x38];
    (1..blocks).for_each(|_| frame.extend(block(0)));
    frame.extend(block(1));
    frame
}

#[test]
fn t22_a_bomb_is_never_unpacked() {
    let bomb = bomb(250_000);
    assert!(bomb.len() <= 1_000_006, "31 GiB from 1 MB");
    let error = refused(&bomb, ErrorKind::Corrupt);
    assert!(matches!(error, BundleError::Compressed { with: "zstd", .. }), "{error}");
    // As a layer it is bytes like any other: compared, and never unpacked.
    let root = image(std::slice::from_ref(&bomb));
    let parts = Parts::of(oci::OCI_MANIFEST, &root, &[b"{}", &bomb]);
    verdict(&parts.archive(), &Policy::default()).unwrap();
    // Never more bytes are taken than the manifest says, however many there are.
    let mut longer = parts;
    let blob = longer.manifest.blobs.last().unwrap().digest;
    longer.contents.get_mut(&blob).unwrap().truncate(1000);
    assert!(matches!(refused(&longer.archive(), ErrorKind::Corrupt), BundleError::Content { .. }));
}

#[test]
fn t23_no_frame_of_zstd_is_read_whatever_its_header_says() {
    let magic = [0x28, 0xb5, 0x2f, 0xfd];
    // A wrong checksum, a window of 3.75 TiB, a dictionary.
    for rest in [&[0x04, 0x00, 1, 0, 0, 1, 2, 3, 4][..], &[0x00, 0xff, 1, 0, 0], &[0x03, 0x00, 9, 9, 9, 9]] {
        let error = refused(&[&magic, rest].concat(), ErrorKind::Corrupt);
        assert!(matches!(error, BundleError::Compressed { .. }), "{error}");
    }
    for nibble in 0..16 {
        let skippable = [0x50 | nibble, 0x2a, 0x4d, 0x18, 0xff, 0xff, 0xff, 0xff];
        let error = refused(&skippable, ErrorKind::Corrupt);
        assert!(matches!(error, BundleError::NotABundle { .. }), "{error}");
        refused(&[&skippable, sample().unsigned.as_slice()].concat(), ErrorKind::Corrupt);
    }
}

#[test]
fn t25_a_million_entries_cost_nothing() {
    // Each is a header alone; no reader of ours goes from header to header.
    let empty = Entry::file("x", b"");
    let mut bytes = sample().unsigned.clone();
    bytes.truncate(bytes.len() - 1024);
    for _ in 0..100_000 {
        bytes.extend_from_slice(empty.header.as_bytes());
    }
    bytes.resize(bytes.len() + 1024, 0);
    assert!(matches!(refused(&bytes, ErrorKind::Corrupt), BundleError::Trailing { .. }));
}

#[test]
fn t31_the_manifest_of_one_bundle_with_the_blobs_of_another_is_refused() {
    let (one, other) = (Parts::new(1), Parts::new(100));
    let (head, tail) = (one.archive(), other.archive());
    assert_eq!(head.len(), tail.len(), "the sizes are no help");
    let blobs_at = sample().blobs_at;
    let error = refused(&[&head[..blobs_at], &tail[blobs_at..]].concat(), ErrorKind::Corrupt);
    assert!(matches!(error, BundleError::Damaged { .. }), "{error}");
    // The headers fit, the contents do not.
    let mut mixed = one;
    for content in other.contents.values() {
        let same = mixed.contents.values_mut().find(|mine| mine.len() == content.len());
        same.unwrap().clone_from(content);
    }
    let error = refused(&mixed.archive(), ErrorKind::Corrupt);
    assert!(matches!(error, BundleError::Content { .. }), "{error}");
}

#[test]
fn t38_a_file_that_shrinks_while_it_is_read_is_an_error() {
    let drive = Drive::with(&sample().unsigned);
    let bundle = Bundle::open(&drive.path, &Policy::default()).unwrap();
    let blobs_at = u64::try_from(sample().blobs_at).unwrap();
    OpenOptions::new().write(true).open(&drive.path).unwrap().set_len(blobs_at + 600).unwrap();
    let error = bundle.verify(1, &NoProgress).unwrap_err();
    assert!(matches!(error, BundleError::Read { .. }), "{error}");
    assert!(error.to_string().contains(drive.path.as_str()), "{error}");
    // It is incomplete, and no fault of the drive.
    assert_eq!(error.kind(), ErrorKind::Incomplete, "{error}");
    assert!(error.help().unwrap().contains("copy the bundle again from where it was made"), "{error}");
    // One that is still being copied is incomplete, one that has grown too long.
    refused(&sample().unsigned[..blobs_at as usize + 600], ErrorKind::Incomplete);
    refused(&[&sample().unsigned[..], &noise(5, 5)].concat(), ErrorKind::Corrupt);
}

#[test]
fn t40_any_path_will_do() {
    let folder = tempfile::tempdir().unwrap();
    let long = "x".repeat(240);
    for name in ["mit Leerzeichen.krs.tar", "Größe – 尺寸.krs.tar", "-o.krs.tar", "a'b\"c\n.krs.tar", &long]
    {
        let below = folder.path().join("Ü b/ö").join(&long);
        std::fs::create_dir_all(&below).unwrap();
        let path = camino::Utf8PathBuf::from_path_buf(below.join(name)).unwrap();
        std::fs::write(&path, &sample().unsigned).unwrap();
        Bundle::open(&path, &Policy::default()).unwrap().verify(1, &NoProgress).unwrap();
    }
}

#[test]
fn t41_an_edited_index_is_refused() {
    let original = entries(&sample().unsigned);
    let at = original.iter().position(|entry| entry.name() == "index.json").unwrap();
    let text = String::from_utf8(original[at].content.clone()).unwrap();
    let other = Digest::of(b"other");
    let digest = Parts::new(1).manifest.images[0].digest;
    for edited in [text.replace(&digest.to_string(), &other.to_string()), text.replace("quay.io", "evil.io")]
    {
        assert_ne!(edited, text);
        let mut changed = original.clone();
        changed[at].content = edited.into_bytes();
        let error = refused(&tarred(&changed), ErrorKind::Corrupt);
        assert!(matches!(&error, BundleError::Damaged { part, .. } if part == "index.json"), "{error}");
    }
}

#[test]
fn t46_a_second_entry_with_the_same_name_in_the_index_is_refused() {
    let original = entries(&sample().unsigned);
    let at = original.iter().position(|entry| entry.name() == "index.json").unwrap();
    let mut index = serde_json::from_slice::<serde_json::Value>(&original[at].content).unwrap();
    let list = index["manifests"].as_array_mut().unwrap();
    let mut second = list[0].clone();
    second["digest"] = Digest::of(b"other").to_string().into();
    list.insert(0, second);
    let mut changed = original;
    changed[at] = Entry::file("index.json", &serde_json::to_vec(&index).unwrap());
    refused(&tarred(&changed), ErrorKind::Corrupt);
}
