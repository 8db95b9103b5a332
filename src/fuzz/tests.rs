// SPDX-License-Identifier: Apache-2.0
//! The corpus, and changes of it. Files that begin with `ok` must be accepted, those that begin with `bad` refused.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use super::*;

/// How many changed copies of each file are tried.
const CHANGES: usize = 300;

fn folder(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/corpus").join(target)
}

fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let files = fs::read_dir(folder(target)).unwrap().map(|entry| entry.unwrap().path());
    let mut seeds = files
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(&path).unwrap()))
        .collect::<Vec<_>>();
    seeds.sort();
    seeds
}

/// Changes bytes in ways that parsers trip over; the same each time.
struct Mutator(u64);

impl Mutator {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit.max(1) as u64).unwrap()
    }

    fn change(&mut self, bytes: &mut Vec<u8>, other: &[u8]) {
        const PIECES: [&[u8]; 14] = [
            b"\"",
            b"{",
            b"[[[[",
            b"}",
            b":",
            b",",
            b"\\u0000",
            b"18446744073709551615",
            b"-1",
            b"\0",
            b"\xff\xfe",
            b"\xe2\x80\xae",
            b"\n",
            b"sha256:",
        ];
        let (at, length) = (self.below(bytes.len() + 1), 1 + self.below(40));
        let end = (at + length).min(bytes.len());
        match self.below(7) {
            0 | 1 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
            2 => drop(bytes.drain(at..end)),
            3 => {
                let copy = bytes[at..end].to_vec();
                bytes.splice(at..at, copy);
            }
            4 => bytes.truncate(at),
            5 => {
                let from = self.below(other.len());
                let piece = &other[from..(from + length).min(other.len())];
                bytes.splice(at..end, piece.iter().copied());
            }
            _ => drop(bytes.splice(at..at, PIECES[self.below(PIECES.len())].iter().copied())),
        }
    }
}

fn run(name: &str) {
    let (_, target) = TARGETS.iter().find(|(target, _)| *target == name).unwrap();
    let seeds = seeds(name);
    assert!(seeds.iter().any(|(file, _)| file.starts_with("ok")), "{name}: something is accepted");
    assert!(seeds.iter().any(|(file, _)| file.starts_with("bad")), "{name}: something is refused");
    for (file, bytes) in &seeds {
        assert_eq!(target(bytes), file.starts_with("ok"), "{name}/{file}");
    }
    let mut mutator = Mutator(0x2545_f491_4f6c_dd1d);
    for (_, bytes) in &seeds {
        for _ in 0..CHANGES {
            let mut changed = bytes.clone();
            for _ in 0..=mutator.below(4) {
                let (_, other) = &seeds[mutator.below(seeds.len())];
                mutator.change(&mut changed, other);
            }
            let accepted = target(&changed);
            if name == "archive" {
                assert!(!accepted || changed == *bytes || seeds.iter().any(|(_, seed)| *seed == changed));
            }
        }
    }
}

#[test]
fn t09_t15_t16_t20_changed_archives_are_refused_and_break_nothing() {
    run("archive");
}

#[test]
fn t06_changed_manifests_break_nothing() {
    run("manifest");
}

#[test]
fn t33_changed_lists_of_volumes_break_nothing() {
    run("volume_list");
}

#[test]
fn t32_changed_receipts_break_nothing() {
    run("receipt");
}

#[test]
fn t04_changed_signatures_break_nothing() {
    run("signature");
}

#[test]
fn t43_t44_t45_changed_manifests_break_nothing() {
    run("oci_document");
}

#[test]
fn t45_changed_names_break_nothing() {
    run("reference");
}

#[test]
fn t57_changed_challenges_break_nothing() {
    run("challenge");
}

#[test]
fn t302_t303_t304_t305_changed_patches_break_nothing() {
    run("patch");
}

#[test]
fn t316_t317_t318_changed_recipes_break_nothing() {
    run("recipe");
}

#[test]
fn t85_changed_sets_break_nothing() {
    run("set_yaml");
}

#[test]
fn t76_changed_files_with_credentials_break_nothing() {
    run("docker_config");
}

#[test]
fn every_folder_of_the_corpus_has_a_target_and_every_target_a_program() {
    for (name, _) in TARGETS {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("fuzz/fuzz_targets/{name}.rs"));
        assert!(
            fs::read_to_string(&program).is_ok_and(|text| text.contains(&format!("krs_core::fuzz::{name}")))
        );
    }
    let folders = fs::read_dir(folder("")).unwrap().map(|entry| entry.unwrap());
    let folders = folders.filter(|entry| entry.file_type().unwrap().is_dir());
    let mut names = folders.map(|entry| entry.file_name().into_string().unwrap()).collect::<Vec<_>>();
    let mut targets = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect::<Vec<_>>();
    names.sort();
    targets.sort();
    assert_eq!(names, targets);
}
