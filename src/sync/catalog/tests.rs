// SPDX-License-Identifier: Apache-2.0
#![allow(clippy::unwrap_used)]

use std::io::Write as _;

use camino::{Utf8Path, Utf8PathBuf};

use super::*;
use crate::oci::digest::Digest;

fn sent(sequence: u64) -> SentBundle {
    let layer = |name: &str| (Digest::of(name.as_bytes()), 5);
    SentBundle {
        audience: vec!["berlin".to_owned()],
        base: vec![],
        bytes: 10_240,
        created_at: "2026-11-24T04:00:00Z".parse().unwrap(),
        digest: Digest::of(&sequence.to_be_bytes()),
        file: format!("prod-{sequence}.krs.tar"),
        format_version: 1,
        identity: Digest::of(b"identity"),
        images: vec![SentImage {
            digest: Digest::of(b"manifest"),
            layers: vec![0, 1],
            platforms: vec![],
            reference: "registry.example.com/shop/web:1.0".parse().unwrap(),
            repositories: vec!["shop/web".parse().unwrap()],
        }],
        layers: vec![layer("a"), layer("b")],
        other_blobs: vec![layer("manifest")],
        sent_at: "2026-11-24T05:00:00Z".parse().unwrap(),
        sequence,
        signed_by: vec!["E7F0151D0A2E74AE".to_owned()],
        stream: "prod".parse().unwrap(),
    }
}

fn folder() -> (tempfile::TempDir, Utf8PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = Utf8Path::from_path(folder.path()).unwrap().join("catalog.jsonl");
    (folder, path)
}

/// The sequences that can be read, and the numbers of the lines that cannot.
fn read(path: &Utf8Path) -> (Vec<u64>, Vec<u64>) {
    let (mut sequences, mut damaged) = (vec![], vec![]);
    for line in Lines::open(path).unwrap() {
        let line = line.unwrap();
        match line.record {
            Ok(Record::Bundle(bundle)) => sequences.push(bundle.sequence),
            Ok(Record::Confirmation(_)) => {}
            Err(_) => damaged.push(line.number),
        }
    }
    (sequences, damaged)
}

#[test]
fn what_is_appended_is_read_again() {
    let (_folder, path) = folder();
    check_appendable(&path).unwrap();
    append(&path, &[Record::Bundle(sent(1))]).unwrap();
    append(&path, &[Record::Bundle(sent(2)), Record::Bundle(sent(3))]).unwrap();
    check_appendable(&path).unwrap();
    assert_eq!(read(&path), (vec![1, 2, 3], vec![]));
    let line = Lines::open(&path).unwrap().next().unwrap().unwrap();
    assert_eq!(line.record.unwrap(), Record::Bundle(sent(1)));
}

#[test]
fn t270_a_catalog_that_was_cut_costs_the_cut_line_and_takes_further_ones() {
    let whole = [1, 2].map(|n| Record::Bundle(sent(n)).encode().unwrap()).concat();
    let first = Record::Bundle(sent(1)).encode().unwrap().len();
    for end in (0..whole.len()).step_by(97).chain([1, first - 1, first, first + 1, whole.len() - 1]) {
        let (_folder, path) = folder();
        std::fs::write(&path, &whole[..end]).unwrap();
        let (kept, _) = read(&path);
        append(&path, &[Record::Bundle(sent(9))]).unwrap();
        let (sequences, damaged) = read(&path);
        assert_eq!(sequences, [kept.clone(), vec![9]].concat(), "cut at {end}");
        // The end of a line is not needed to read it.
        let is_between = end == 0 || end + 1 == first || end == first || end + 1 == whole.len();
        assert_eq!(damaged.len(), usize::from(!is_between), "cut at {end}");
    }
}

#[test]
fn t270_what_is_no_catalog_is_never_appended_to() {
    let (_folder, path) = folder();
    for content in ["apiVersion: v1\n", "{}\n", "{\"kind\":\"bundle\",\"formatVersion\":1}\n"] {
        std::fs::write(&path, content).unwrap();
        assert!(matches!(check_appendable(&path), Err(CatalogError::NoCatalog { .. })), "{content}");
        assert!(append(&path, &[Record::Bundle(sent(1))]).is_err(), "{content}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), content);
    }
    std::fs::write(&path, "").unwrap();
    check_appendable(&path).unwrap();
}

#[test]
fn a_line_that_contradicts_itself_or_comes_from_a_later_krs_is_refused() {
    let refused = |change: &dyn Fn(&mut SentBundle)| {
        let mut sent = sent(1);
        change(&mut sent);
        Record::parse(Record::Bundle(sent).encode().unwrap().trim_ascii_end()).unwrap_err().to_string()
    };
    assert!(refused(&|sent| sent.images[0].layers.push(2)).contains("not listed"));
    assert!(refused(&|sent| sent.layers.push(sent.layers[0])).contains("twice"));
    assert!(refused(&|sent| sent.file = "a\u{1b}[31m".to_owned()).contains("plain text"));
    assert!(refused(&|sent| sent.format_version = 99).contains("format version 99"));
}

#[test]
fn a_line_without_end_is_bounded() {
    let mut bytes = vec![b'x'; MAX_LINE + 2];
    bytes.push(b'\n');
    bytes.write_all(&Record::Bundle(sent(1)).encode().unwrap()).unwrap();
    let lines = Lines::new(&bytes[..]).map(Result::unwrap).collect::<Vec<_>>();
    assert!(matches!(lines[0].record, Err(CatalogError::TooLong(_))));
    assert!(lines[1].record.is_ok());
    assert_eq!(lines.len(), 2);
}
