// SPDX-License-Identifier: Apache-2.0
//! Patches of generated layers: what they make, and how long they are.

#![allow(clippy::unwrap_used)]

use std::fmt::Write as _;

use proptest::prelude::*;

use super::{Mode, Options, Report, make};
use crate::patch::{Limits, Patch, ReadAt};

fn options(mode: Mode) -> Options {
    Options { mode, threads: 2, scratch: std::env::temp_dir() }
}

/// Makes a patch, makes the targets by it in turn and in reverse, and compares.
fn round_trip(bases: &[Vec<u8>], targets: &[Vec<u8>], mode: Mode) -> (Vec<u8>, Report) {
    let mut patch = Vec::new();
    let base_bytes = bases.iter().map(|base| base as &dyn ReadAt).collect::<Vec<_>>();
    let target_bytes = targets.iter().map(|target| target as &dyn ReadAt).collect::<Vec<_>>();
    let report = make(&base_bytes, &target_bytes, &options(mode), &mut patch).unwrap();
    assert_eq!(report.patch_length, patch.len() as u64);
    let limits = Limits { memory: if mode == Mode::Max { 512 << 20 } else { Limits::default().memory } };
    let opened = Patch::open(patch.as_slice(), limits).unwrap();
    let used = report.bases.iter().map(|base| &base_bytes[*base]);
    let sources = used.chain(&target_bytes).map(|source| Some(*source)).collect::<Vec<_>>();
    let mut rebuild = opened.rebuild();
    for (i, target) in targets.iter().enumerate().chain(targets.iter().enumerate().rev()) {
        let mut made = Vec::new();
        rebuild.target(i, &sources[..report.bases.len() + i], &mut made).unwrap();
        assert!(made == *target, "target {i} differs");
    }
    for (target, bytes) in report.targets.iter().zip(targets) {
        let sum = target.copied + target.headers + target.zeros + target.patched + target.new;
        assert_eq!((sum, target.length), (bytes.len() as u64, bytes.len() as u64));
    }
    (patch, report)
}

pub(super) fn noise(mut state: u32, length: usize) -> Vec<u8> {
    let bytes = (0..length).map(|_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    });
    bytes.collect()
}

/// Programs of different images have the same path.
#[test]
fn of_files_with_one_path_the_older_version_is_found() {
    let program = |seed: u64, version: u8| {
        let mut content = content(seed, 300_000);
        content[150_000] = version;
        tar(&[Node { path: "manager".to_owned(), content, mtime: 1 }])
    };
    let versions = |version| (1..=12).map(|seed| program(seed, version)).collect::<Vec<_>>();
    for mode in [Mode::Fast, Mode::Small] {
        let (patch, report) = round_trip(&versions(1), &versions(2), mode);
        assert_eq!(report.targets.iter().map(|target| target.new).sum::<u64>(), 0);
        assert!(patch.len() < 12 * 300, "{mode:?}: {}", patch.len());
    }
}

#[derive(Debug, Clone)]
struct Node {
    path: String,
    content: Vec<u8>,
    mtime: u64,
}

fn tar(files: &[Node]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for node in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(node.content.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(node.mtime);
        // A path that is too long gets an entry of its own.
        builder.append_data(&mut header, &node.path, node.content.as_slice()).unwrap();
    }
    builder.into_inner().unwrap()
}

/// Bytes that are like those of a program: blocks of a small set, in an order that depends on the seed.
fn content(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 64);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let word = (state >> 40) % 512;
        let mut block = word.wrapping_mul(0xd134_2543_de82_ef95);
        for _ in 0..4 + word % 5 {
            block = block.rotate_left(23).wrapping_mul(0x2545_f491_4f6c_dd1d);
            bytes.extend_from_slice(&block.to_le_bytes()[..5]);
        }
    }
    bytes.truncate(length);
    bytes
}

fn node() -> impl Strategy<Value = Node> {
    let path = ("[a-c]{1,2}", "[a-z]{1,3}", prop_oneof![4 => 1..2_usize, 1 => 60..61_usize])
        .prop_map(|(folder, name, repeat)| format!("usr/{}/{name}.1.2", folder.repeat(repeat)));
    let length = prop_oneof![2 => Just(0), 6 => 1..2000_usize, 2 => 2000..60_000_usize];
    (path, 0..20_u64, length, 0..4_u64).prop_map(|(path, seed, length, mtime)| Node {
        path,
        content: content(seed, length),
        mtime: 1_700_000_000 + mtime,
    })
}

#[derive(Debug, Clone)]
enum Change {
    Remove(prop::sample::Index),
    Rename(prop::sample::Index, String),
    Touch(prop::sample::Index),
    Edit(prop::sample::Index, prop::sample::Index, Vec<u8>),
    Add(Node),
    Swap(prop::sample::Index, prop::sample::Index),
}

fn change() -> impl Strategy<Value = Change> {
    use prop::sample::Index;
    prop_oneof![
        any::<Index>().prop_map(Change::Remove),
        (any::<Index>(), "[a-z]{1,8}").prop_map(|(i, name)| Change::Rename(i, name)),
        any::<Index>().prop_map(Change::Touch),
        (any::<Index>(), any::<Index>(), prop::collection::vec(any::<u8>(), 0..40))
            .prop_map(|(i, at, bytes)| Change::Edit(i, at, bytes)),
        node().prop_map(Change::Add),
        (any::<Index>(), any::<Index>()).prop_map(|(a, b)| Change::Swap(a, b)),
    ]
}

fn apply(files: &mut Vec<Node>, change: &Change) {
    if files.is_empty() {
        return;
    }
    let count = files.len();
    match change {
        Change::Remove(i) => drop(files.remove(i.index(count))),
        Change::Rename(i, name) => files[i.index(count)].path = format!("opt/{name}"),
        Change::Touch(i) => files[i.index(count)].mtime += 1,
        Change::Edit(i, at, bytes) => {
            let content = &mut files[i.index(count)].content;
            let at = at.index(content.len() + 1);
            let end = (at + bytes.len() / 2).min(content.len());
            content.splice(at..end, bytes.iter().copied());
        }
        Change::Add(node) => files.push(node.clone()),
        Change::Swap(a, b) => files.swap(a.index(count), b.index(count)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn changed_trees_are_made_again(
        files in prop::collection::vec(node(), 0..20),
        changes in prop::collection::vec(prop::collection::vec(change(), 0..12), 1..4),
        is_small: bool,
    ) {
        let mut now = files.clone();
        let targets = changes.iter().map(|changes| {
            changes.iter().for_each(|change| apply(&mut now, change));
            tar(&now)
        });
        let targets = targets.collect::<Vec<_>>();
        round_trip(&[tar(&files)], &targets, if is_small { Mode::Small } else { Mode::Fast });
    }

    /// A tar stream that is damaged, cut or continued, and bytes that are none.
    #[test]
    fn what_is_no_tar_is_made_again(
        files in prop::collection::vec(node(), 0..6),
        cut in any::<prop::sample::Index>(),
        noise in prop::collection::vec(any::<u8>(), 0..3000),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..5),
    ) {
        let base = tar(&files);
        let mut damaged = base.clone();
        for (at, byte) in flips {
            damaged[at.index(base.len())] = byte;
        }
        let cut = base[..cut.index(base.len())].to_vec();
        let continued = [&base[..], &noise].concat();
        round_trip(&[base, noise.clone()], &[damaged, cut, continued, noise], Mode::Fast);
    }
}

fn files(count: u64) -> Vec<Node> {
    (0..count)
        .map(|i| Node {
            path: format!("usr/share/data/file-{i}"),
            content: content(i, 300 + i as usize * 7 % 5000),
            mtime: 1_700_000_000,
        })
        .collect()
}

#[test]
fn a_rebuild_with_other_times_costs_two_bytes_a_file() {
    let before = files(2000);
    let mut after = before.clone();
    after.iter_mut().for_each(|node| node.mtime = 1_760_000_123);
    let (patch, report) = round_trip(&[tar(&before)], &[tar(&after)], Mode::Small);
    assert!(patch.len() < 4000, "{} bytes", patch.len());
    assert_eq!(report.targets[0].new + report.targets[0].patched, 0);
}

#[test]
fn an_upgraded_file_of_many_layers_travels_once() {
    let layers = (0..6).map(|layer| {
        let mut old = files(20);
        old.iter_mut().for_each(|node| node.path.insert_str(0, &format!("{layer}/")));
        let library = Node { path: "usr/lib/libc.so.6".into(), content: content(77, 400_000), mtime: 1 };
        old.push(library.clone());
        let mut new = old.clone();
        new.last_mut().unwrap().content = content(78, 400_000);
        (tar(&old), tar(&new))
    });
    let (bases, targets) = layers.unzip::<_, _, Vec<_>, Vec<_>>();
    let (once, _) = round_trip(&bases[..1], &targets[..1], Mode::Fast);
    let (all, report) = round_trip(&bases, &targets, Mode::Fast);
    assert!(once.len() > 20_000 && all.len() < once.len() + 1500, "{} and {}", once.len(), all.len());
    assert!(report.targets[1..].iter().all(|target| target.files.is_empty()));
}

#[test]
fn a_first_bundle_has_each_file_once() {
    let layer = tar(&files(50));
    let (once, _) = round_trip(&[], std::slice::from_ref(&layer), Mode::Small);
    let (twice, report) = round_trip(&[], &[layer.clone(), layer.clone()], Mode::Small);
    assert!(twice.len() < once.len() + 40, "{} and {}", once.len(), twice.len());
    assert_eq!(report.targets[1].copied, layer.len() as u64);
    round_trip(&[], &[layer], Mode::Max);
}

#[test]
fn files_that_moved_and_libraries_with_a_new_version_are_found() {
    let node = |path: &str, content: &[u8]| Node { path: path.into(), content: content.into(), mtime: 1 };
    let (library, program) = (content(5, 300_000), content(6, 200_000));
    let mut next = library.clone();
    next[100_000..100_020].fill(0xaa);
    next.splice(5000..5000, [1, 2, 3]);
    let before = tar(&[node("usr/lib/libfoo.so.1.2", &library), node("usr/bin/tool", &program)]);
    let after = tar(&[node("usr/lib/libfoo.so.1.3", &next), node("usr/libexec/tool/main", &program)]);
    for mode in [Mode::Fast, Mode::Small] {
        let (patch, report) = round_trip(std::slice::from_ref(&before), std::slice::from_ref(&after), mode);
        assert!(patch.len() < 500, "{} bytes", patch.len());
        let [file] = &report.targets[0].files[..] else { panic!("{report:?}") };
        assert_eq!(file.path, "usr/lib/libfoo.so.1.3");
        assert_eq!(file.from, Some((0, "usr/lib/libfoo.so.1.2".to_owned())));
        assert!(file.travels > 0 && file.travels < 400, "{file:?}");
    }
}

#[test]
fn pax_records_and_long_names_are_headers() {
    let layer = |mtime: &str| {
        let mut builder = tar::Builder::new(Vec::new());
        for i in 0..300 {
            let mut records = String::new();
            for (key, value) in [("mtime", mtime), ("path", &format!("usr/{}/{i}", "long".repeat(40)))] {
                let length =
                    (0..).find(|n: &usize| n.to_string().len() + key.len() + value.len() + 3 == *n).unwrap();
                writeln!(records, "{length} {key}={value}").unwrap();
            }
            let mut pax = tar::Header::new_ustar();
            pax.set_entry_type(tar::EntryType::XHeader);
            pax.set_size(records.len() as u64);
            pax.set_cksum();
            builder.append(&pax, records.as_bytes()).unwrap();
            let mut header = tar::Header::new_ustar();
            header.set_path("short").unwrap();
            header.set_size(1000);
            header.set_mtime(mtime.split('.').next().unwrap().parse().unwrap());
            header.set_cksum();
            builder.append(&header, content(i, 1000).as_slice()).unwrap();
        }
        builder.into_inner().unwrap()
    };
    let (base, target) = (layer("1700000000.123456789"), layer("1760000001.987654321"));
    let (patch, report) = round_trip(&[base], &[target], Mode::Small);
    assert!(patch.len() < 900, "{} bytes", patch.len());
    assert_eq!(report.targets[0].new + report.targets[0].patched, 0);
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let before = files(200);
    let mut after = before.clone();
    after.iter_mut().for_each(|node| node.content.insert(node.content.len() / 2, b'x'));
    let (before, after) = (tar(&before), tar(&after));
    let patch = |threads| {
        let mut patch = Vec::new();
        make(&[&before], &[&after], &Options { threads, ..options(Mode::Small) }, &mut patch).unwrap();
        patch
    };
    assert!(patch(1) == patch(3));
}

#[test]
fn bases_that_no_target_uses_are_not_in_the_patch() {
    let noise = |seed: u32| {
        (0..200_000_u32)
            .map(|n| (n.wrapping_add(seed).wrapping_mul(2_654_435_761) >> 23) as u8)
            .collect::<Vec<_>>()
    };
    let bases = [noise(1 << 20), noise(2 << 20), noise(3 << 20), noise(4 << 20)];
    let mut first = bases[3].clone();
    first[7] ^= 1;
    let second = first.clone();
    let (patch, report) = round_trip(&bases, &[first, second], Mode::Fast);
    assert_eq!(report.bases, [3]);
    let opened = Patch::open(patch.as_slice(), Limits::default()).unwrap();
    assert_eq!(opened.directory().bases, [200_000]);
    // What the second is made of has another number: it is the first.
    assert_eq!(opened.directory().targets[1].sources, [1]);
}
