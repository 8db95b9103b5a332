// SPDX-License-Identifier: Apache-2.0
//! Patches that are not made by us.

#![allow(clippy::unwrap_used)]

use super::edits::Edits;
use super::operation::{Cursors, Operation, Place, Step};
use super::*;

/// A patch of one target, by its streams.
struct Crafted {
    bases: Vec<Vec<u8>>,
    length: u64,
    sources: Vec<usize>,
    operations: u64,
    frame_memory: u64,
    window_log: u8,
    /// Uncompressed, but for the frames.
    streams: [Vec<u8>; STREAMS],
    /// What the directory says that the target takes, where it is not the length of the stream.
    shares: [Option<u64>; STREAMS],
}

impl Crafted {
    fn new(length: u64, operations: &[Operation]) -> Self {
        let base = (0..4096_u32).map(|i| ((i * i) >> 5) as u8).collect();
        let mut crafted = Self {
            bases: vec![base],
            length,
            sources: vec![0],
            operations: operations.len() as u64,
            frame_memory: 1 << 20,
            window_log: 21,
            streams: Default::default(),
            shares: [None; STREAMS],
        };
        let mut cursors = Cursors::new(1);
        operations.iter().for_each(|operation| operation.write(&mut crafted.streams[0], &mut cursors));
        crafted
    }

    fn with(mut self, stream: Stream, bytes: &[u8]) -> Self {
        self.streams[stream as usize] = bytes.to_vec();
        self
    }

    fn with_steps(self, steps: &[Step]) -> Self {
        let mut bytes = Vec::new();
        steps.iter().for_each(|step| step.write(&mut bytes));
        self.with(Stream::Control, &bytes)
    }

    fn encode(&self) -> Vec<u8> {
        let mut stored = Vec::new();
        for (i, bytes) in self.streams.iter().enumerate() {
            stored.push(match Stream::ALL[i] {
                _ if bytes.is_empty() => Vec::new(),
                Stream::Frames => bytes.clone(),
                _ => zstd::encode_all(bytes.as_slice(), 3).unwrap(),
            });
        }
        let target = Target {
            length: self.length,
            sources: self.sources.clone(),
            operations: self.operations,
            shares: std::array::from_fn(|i| self.shares[i].unwrap_or(self.streams[i].len() as u64)),
        };
        let directory = Directory {
            bases: self.bases.iter().map(|base| base.len() as u64).collect(),
            targets: vec![target],
            frame_memory: self.frame_memory,
            streams: std::array::from_fn(|i| Section {
                window_log: if stored[i].is_empty() || i == 6 { 0 } else { self.window_log },
                stored: stored[i].len() as u64,
            }),
        };
        let mut patch = directory.encode();
        stored.iter().for_each(|bytes| patch.extend_from_slice(bytes));
        patch
    }

    fn rebuild(&self) -> (Vec<u8>, Result<(), PatchError>) {
        rebuild(&self.encode(), &self.bases)
    }

    /// Why it is refused, and how much was written before.
    fn problem(&self) -> (usize, Problem) {
        match self.rebuild() {
            (made, Err(PatchError::Target { target: 0, offset, problem })) => {
                assert!(
                    made.len() as u64 >= offset && made.len() as u64 <= self.length,
                    "{} bytes",
                    made.len()
                );
                (made.len(), problem)
            }
            other => panic!("{other:?}"),
        }
    }
}

fn rebuild(patch: &[u8], bases: &[Vec<u8>]) -> (Vec<u8>, Result<(), PatchError>) {
    let mut made = Vec::new();
    let opened = match Patch::open(patch, Limits::default()) {
        Ok(opened) => opened,
        Err(error) => return (made, Err(error)),
    };
    let sources = bases.iter().map(|base| Some(base as &dyn ReadAt)).collect::<Vec<_>>();
    let outcome = opened.rebuild().target(0, &sources, &mut made);
    (made, outcome)
}

const START: Place = Place { index: 0, offset: 0 };

fn frame(prefix: &[u8], content: &[u8], window_log: u32) -> Vec<u8> {
    let mut encoder = zstd::Encoder::with_ref_prefix(Vec::new(), 3, prefix).unwrap();
    encoder.window_log(window_log).unwrap();
    if window_log == 12 {
        encoder.set_pledged_src_size(Some(content.len() as u64)).unwrap();
    }
    std::io::Write::write_all(&mut encoder, content).unwrap();
    encoder.finish().unwrap()
}

/// One patch with all operations, and what it makes.
fn all_operations() -> (Crafted, Vec<u8>) {
    let operations = [
        Operation::Copy(START, 100),
        Operation::Copy(Place { index: 0, offset: 100 }, 20),
        Operation::New(5),
        Operation::Header(Place { index: 0, offset: 1024 }),
        Operation::HeaderAgain(Place { index: 0, offset: 2048 }, 1),
        Operation::Block,
        Operation::Zeros(7),
        Operation::Frame { place: Place { index: 0, offset: 50 }, prefix: 2000, length: 1500, stored: 0 },
        Operation::Difference { place: Place { index: 0, offset: 10 }, range: 300, length: 250 },
    ];
    let crafted = Crafted::new(0, &[]);
    let base = crafted.bases[0].clone();
    let mut content = base[50..1550].to_vec();
    content[700] ^= 1;
    let frame = frame(&base[50..2050], &content, 12);
    let mut operations = operations;
    if let Operation::Frame { stored, .. } = &mut operations[7] {
        *stored = frame.len() as u64;
    }
    let block = |offset: usize| Block::try_from(&base[offset..offset + BLOCK]).unwrap();
    let mut headers = Vec::new();
    let mut changed = block(1024);
    changed[136..140].copy_from_slice(b"1234");
    let edits = Edits::between(&block(1024), &changed);
    edits.write(&mut headers);
    let mut again = block(2048);
    edits.apply(&mut again);
    let mut third = again;
    third[0] ^= 0xff;
    Edits::between(&again, &third).write(&mut headers);
    let steps = [Step { seek: 100, add: 200, extra: 10 }, Step { seek: -300, add: 40, extra: 0 }];
    let mut difference = vec![0; 240];
    difference[3] = 255;
    let mut added = base[110..310].to_vec();
    added[3] = added[3].wrapping_sub(1);
    let mut made = [&base[..120], b"fresh", &changed, &again, &third, &[0; 7], &content].concat();
    made.extend_from_slice(&added);
    made.extend_from_slice(b"0123456789");
    made.extend_from_slice(&base[10..50]);
    let crafted = Crafted::new(made.len() as u64, &operations)
        .with(Stream::New, b"fresh")
        .with(Stream::Headers, &headers)
        .with(Stream::Frames, &frame)
        .with(Stream::Difference, &difference)
        .with(Stream::Extra, b"0123456789")
        .with_steps(&steps);
    (crafted, made)
}

#[test]
fn every_operation_makes_its_bytes() {
    let (crafted, expected) = all_operations();
    let (made, outcome) = crafted.rebuild();
    outcome.unwrap();
    assert_eq!(made, expected);
}

/// The test vector of docs/reference/format.md: the same patch, as it was encoded when the format was defined.
#[test]
fn the_patch_of_the_documentation_is_read() {
    let (crafted, expected) = all_operations();
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/patch");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("all.patch"), crafted.encode()).unwrap();
        std::fs::write(folder.join("all.base"), &crafted.bases[0]).unwrap();
        std::fs::write(folder.join("all.target"), &expected).unwrap();
    }
    let read = |name: &str| std::fs::read(folder.join(name)).unwrap();
    let (made, outcome) = rebuild(&read("all.patch"), &[read("all.base")]);
    outcome.unwrap();
    assert_eq!(made, read("all.target"));
}

#[test]
fn t303_ranges_outside_of_a_source_are_refused() {
    let whole = Place { index: 0, offset: 4000 };
    for operation in [
        Operation::Copy(whole, 97),
        Operation::Copy(Place { index: 0, offset: u64::MAX }, 97),
        Operation::Header(whole),
        Operation::HeaderAgain(whole, 1),
        Operation::Frame { place: whole, prefix: 97, length: 97, stored: 1 },
        Operation::Difference { place: whole, range: 97, length: 97 },
    ] {
        let crafted = Crafted::new(operation.length(), &[operation]);
        assert!(matches!(crafted.problem(), (0, Problem::Range { .. })), "{operation:?}");
    }
}

#[test]
fn t303_steps_outside_of_their_range_are_refused_wherever_the_source_has_bytes() {
    let operation =
        Operation::Difference { place: Place { index: 0, offset: 1000 }, range: 100, length: 200 };
    for steps in [
        &[Step { seek: -1, add: 10, extra: 0 }][..],
        &[Step { seek: 0, add: 101, extra: 0 }],
        &[Step { seek: 91, add: 10, extra: 0 }],
        &[Step { seek: 0, add: 60, extra: 0 }, Step { seek: 0, add: 41, extra: 0 }],
        &[Step { seek: 101, add: 0, extra: 10 }],
        &[Step { seek: i64::MIN, add: 0, extra: 10 }],
        &[Step { seek: i64::MAX, add: 10, extra: 0 }],
    ] {
        let crafted = Crafted::new(200, &[operation])
            .with_steps(steps)
            .with(Stream::Difference, &[0; 200])
            .with(Stream::Extra, &[0; 200]);
        assert!(matches!(crafted.problem(), (_, Problem::Range { .. })), "{steps:?}");
    }
}

#[test]
fn t302_a_patch_that_makes_more_than_it_declares_is_refused_before_it_does() {
    let content = vec![0; 1 << 20];
    let bomb = frame(&[0; 64], &content, 12);
    let place = START;
    for operation in [
        Operation::Copy(place, 101),
        Operation::New(101),
        Operation::Zeros(u64::MAX),
        Operation::Difference { place, range: 4096, length: 101 },
        Operation::Zeros(0),
        Operation::New(0),
    ] {
        let crafted = Crafted::new(100, &[operation]).with(Stream::New, &content);
        assert!(matches!(crafted.problem(), (0, Problem::Length { .. })), "{operation:?}");
    }
    // A frame that goes on after its length, and steps that do.
    let operation = Operation::Frame { place, prefix: 64, length: 100, stored: bomb.len() as u64 };
    let crafted = Crafted::new(100, &[operation]).with(Stream::Frames, &bomb);
    assert!(matches!(crafted.problem(), (0, Problem::Frame(_) | Problem::FrameLength { .. })));
    let operation = Operation::Difference { place, range: 4096, length: 100 };
    for steps in [
        &[Step { seek: 0, add: 60, extra: 41 }][..],
        &[Step { seek: 0, add: u64::MAX, extra: 2 }],
        &[Step { seek: 0, add: 1, extra: 0 }, Step { seek: 0, add: 100, extra: 0 }],
        // Steps that make nothing would never end.
        &[Step { seek: 1, add: 0, extra: 0 }],
    ] {
        let crafted = Crafted::new(100, &[operation])
            .with_steps(steps)
            .with(Stream::Difference, &[0; 200])
            .with(Stream::Extra, &[0; 200]);
        assert!(matches!(crafted.problem(), (_, Problem::Length { .. })), "{steps:?}");
    }
}

#[test]
fn t302_operations_and_shares_are_those_of_the_directory() {
    let copies = [Operation::Copy(START, 50), Operation::Copy(START, 50)];
    for operations in [1, 3] {
        let mut crafted = Crafted::new(100, &copies);
        crafted.operations = operations;
        let (_, problem) = crafted.problem();
        assert!(matches!(problem, Problem::Operations { .. }), "{operations}: {problem:?}");
    }
    let mut crafted = Crafted::new(100, &[Operation::New(100)]).with(Stream::New, &[1; 101]);
    assert!(matches!(crafted.problem().1, Problem::Share { stream: Stream::New, expected: 101, got: 100 }));
    crafted.shares[Stream::New as usize] = Some(100);
    assert!(matches!(crafted.problem().1, Problem::Trailing(Stream::New)));
}

#[test]
fn t304_windows_and_frames_that_need_more_memory_than_declared_are_refused() {
    let mut crafted = Crafted::new(100, &[Operation::Zeros(100)]);
    crafted.frame_memory = 1 << 27;
    assert!(matches!(crafted.rebuild().1, Err(PatchError::Memory { .. })));
    crafted.frame_memory = u64::MAX;
    assert!(matches!(crafted.rebuild().1, Err(PatchError::Memory { needed: u64::MAX, .. })));
    // A stream whose frame has a larger window than its section.
    let noise = (0..300_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect::<Vec<_>>();
    let mut crafted =
        Crafted::new(noise.len() as u64, &[Operation::New(noise.len() as u64)]).with(Stream::New, &noise);
    crafted.rebuild().1.unwrap();
    crafted.window_log = 17;
    assert!(matches!(crafted.problem(), (0, Problem::Stream { .. })));
    // A frame whose prefix and content, or whose window, is larger than declared.
    let content = vec![7; 1000];
    let small = frame(&[0; 64], &content, 12);
    let operation = Operation::Frame { place: START, prefix: 64, length: 1000, stored: small.len() as u64 };
    let mut crafted = Crafted::new(1000, &[operation]).with(Stream::Frames, &small);
    crafted.frame_memory = 1063;
    assert!(matches!(crafted.problem(), (0, Problem::FrameMemory { .. })));
    crafted.frame_memory = 1064;
    crafted.rebuild().1.unwrap();
    let large = frame(&[0; 64], &content, 26);
    let operation = Operation::Frame { place: START, prefix: 64, length: 1000, stored: large.len() as u64 };
    let crafted = Crafted::new(1000, &[operation]).with(Stream::Frames, &large);
    assert!(matches!(crafted.problem(), (0, Problem::Frame(_))));
}

#[test]
fn t319_a_frame_reads_no_prefix_that_is_long_for_what_it_makes() {
    let base = vec![9; 2 << 20];
    let most = super::format::max_prefix(1);
    for (prefix, is_allowed) in [(most, true), (most + 1, false), (2 << 20, false)] {
        let stored = frame(&base[..prefix as usize], &[7], 12);
        let operation = Operation::Frame { place: START, prefix, length: 1, stored: stored.len() as u64 };
        let mut crafted = Crafted::new(1, &[operation]).with(Stream::Frames, &stored);
        crafted.bases = vec![base.clone()];
        crafted.frame_memory = 4 << 20;
        if is_allowed {
            crafted.rebuild().1.unwrap();
        } else {
            assert!(matches!(crafted.problem(), (0, Problem::Prefix { length: 1, .. })), "{prefix}");
        }
    }
}

#[test]
fn t305_a_patch_that_is_cut_or_continued_is_refused() {
    let (crafted, _) = all_operations();
    let patch = crafted.encode();
    for length in 0..patch.len() {
        let (made, outcome) = rebuild(&patch[..length], &crafted.bases);
        assert!(outcome.is_err() && made.is_empty(), "cut to {length} bytes");
    }
    let longer = [&patch[..], &[0]].concat();
    assert!(matches!(rebuild(&longer, &crafted.bases).1, Err(PatchError::Directory(_))));
    // Within the patch: a frame that is shorter than its operation says, or longer.
    let content = vec![7; 1000];
    let frame = frame(&[0; 64], &content, 12);
    for stored in [frame.len() - 1, frame.len() + 3] {
        let operation = Operation::Frame { place: START, prefix: 64, length: 1000, stored: stored as u64 };
        let mut frames = frame.clone();
        frames.resize(stored, 0);
        let crafted = Crafted::new(1000, &[operation]).with(Stream::Frames, &frames);
        let (_, problem) = crafted.problem();
        assert!(matches!(problem, Problem::Frame(_) | Problem::FrameLength { .. }), "{stored}: {problem:?}");
    }
}

#[test]
fn t305_any_changed_byte_is_refused_or_makes_as_many_bytes() {
    let (crafted, expected) = all_operations();
    let patch = crafted.encode();
    for i in 0..patch.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut changed = patch.clone();
            changed[i] ^= flip;
            let (made, outcome) = rebuild(&changed, &crafted.bases);
            assert!(made.len() <= expected.len() + 70_000, "byte {i}: {} bytes", made.len());
            if outcome.is_ok() {
                assert_eq!(made.len(), expected.len(), "byte {i}");
            }
        }
    }
}

#[test]
fn t306_a_source_that_is_missing_or_of_another_length_is_named() {
    let crafted = Crafted::new(100, &[Operation::Copy(START, 100)]);
    let patch = crafted.encode();
    let opened = Patch::open(patch.as_slice(), Limits::default()).unwrap();
    let mut rebuild = opened.rebuild();
    let mut made = Vec::new();
    let missing = rebuild.target(0, &[None], &mut made).unwrap_err();
    assert!(matches!(missing, PatchError::Target { problem: Problem::MissingSource(0), .. }), "{missing:?}");
    let short = vec![0; 4095];
    let other = rebuild.target(0, &[Some(&short)], &mut made).unwrap_err();
    let expected = "source 0 has 4095 bytes; expected 4096";
    assert!(
        matches!(&other, PatchError::Target { problem, .. } if problem.to_string() == expected),
        "{other:?}"
    );
    assert!(made.is_empty());
    rebuild.target(0, &[Some(&crafted.bases[0])], &mut made).unwrap();
    assert_eq!(made, crafted.bases[0][..100]);
    let mut crafted = Crafted::new(100, &[Operation::Copy(START, 100)]);
    crafted.sources.clear();
    assert!(matches!(crafted.problem(), (0, Problem::SourceIndex { index: 0, sources: 0 })));
}

#[test]
fn a_later_version_is_told_from_what_is_no_patch() {
    let mut patch = all_operations().0.encode();
    patch[8] = 2;
    assert!(matches!(rebuild(&patch, &[]).1, Err(PatchError::Version(2))));
    patch[0] = b'K';
    assert!(matches!(rebuild(&patch, &[]).1, Err(PatchError::Magic)));
}
