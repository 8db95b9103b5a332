// SPDX-License-Identifier: Apache-2.0
//! The encoder of klauspost/compress and pgzip against streams of the real ones, and its match finder against other answers.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::io::Cursor;

use krs_compact::deflate::{MatchFinder, Place, Token, TokenSink};
use krs_compact::encoder::klauspost::{BlockEncoder, BlockFinder, Generation, Rounding, StreamEncoder};
use krs_compact::encoder::{Encoder, Family};
use krs_compact::recipe::{Found, Recipe, find};
use proptest::prelude::*;
use sha2::Digest as _;
use support::inputs::{copies, masked, mix, noise, text};
use support::{gunzip, gzip};

const K1: Generation = Generation::K1;
const K2: Generation = Generation::K2;
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0x00, 0x09, 0x6e, 0x88, 0, 0xff];

fn stream(generation: Generation) -> Box<dyn Encoder> {
    Box::new(StreamEncoder::new(generation, Rounding::Separate))
}

fn blocks(generation: Generation, workers: usize) -> Box<dyn Encoder> {
    Box::new(BlockEncoder::new(generation, Rounding::Separate, workers))
}

#[test]
fn each_stream_is_that_of_the_vectors() {
    support::golden::assert_table("klauspost", 4 * 127, |name, plain| {
        let number = match name {
            "kgzip-1.18.0" => 1,
            "kgzip-1.18.5" => 2,
            "pgzip-1.18.0" => 3,
            "pgzip-1.18.5" => 4,
            _ => panic!("{name}"),
        };
        let family = Family::from_bytes([2, number]).unwrap();
        assert_eq!(family.header(), HEADER);
        gzip(&HEADER, family.encoder(), plain, &[])
    });
}

/// Branches that no vector of the table takes: a fixed block is considered, and the chunk is stored.
#[test]
fn a_chunk_is_stored_where_a_fixed_block_was_considered() {
    let high = |bytes: Vec<u8>| bytes.into_iter().map(|byte| byte | 0x80).collect::<Vec<u8>>();
    let again = |seed: u32, size: usize, tail: usize, repeated: usize| {
        let tail = noise(tail, seed + 1);
        [text(60000, seed), noise(size, seed), tail.clone(), tail[..repeated].to_vec()].concat()
    };
    let first = high(noise(119, 1));
    let cases = [
        (
            [first.clone(), first[..9].to_vec(), high(noise(12, 2))].concat(),
            "3ee4c49f6a1d7de795129301e11792540eff286dc90ffea5003616fa5196242b",
            "3ee4c49f6a1d7de795129301e11792540eff286dc90ffea5003616fa5196242b",
        ),
        (
            again(0, 5535, 200, 20),
            "b33fa5e4443e05d1f6cbf8eb6ef2767912299c989cd5025d0476d4c9805b8f1b",
            "7f799d7385c753ddff8d384ae561c4ae46a813d8c3420bea0d325e4707e0491d",
        ),
        (
            again(3, 5535, 300, 30),
            "51f599ed00b458a1857d17d158e4fe83c0c3b408202010cf6b60d4d1110e7360",
            "a71d4f82877cc2beaf46553cf4b3a5edfca2dcde319b6e06d7854ac5450585e4",
        ),
    ];
    for (plain, first, second) in cases {
        for (generation, expected) in [(K1, first), (K2, second)] {
            let stream = gzip(&HEADER, stream(generation), &plain, &[]);
            assert_eq!(
                hex::encode(sha2::Sha256::digest(&stream)),
                expected,
                "{} {generation:?}",
                plain.len()
            );
        }
    }
}

/// Noise of 128 values with a copy in every 64 bytes. Values below `least` are that.
fn with_copies(size: usize, seed: u32, least: u8) -> Vec<u8> {
    let mut out = Vec::with_capacity(size + 64);
    for piece in noise(size, seed).chunks(52) {
        out.extend(piece.iter().map(|byte| (byte % 128).max(least)));
        if out.len() >= 1000 {
            out.extend_from_within(out.len() - 1000..out.len() - 988);
        }
    }
    out.truncate(size);
    out
}

/// The two ways to write the second chunk are equally large but for one bit, which is in the rounding.
fn on_the_border(size: usize, seed: u32) -> Vec<u8> {
    let first = [copies(18000, seed), with_copies(47535, seed, 0)].concat();
    let second = [with_copies(size, seed + 1, 0), with_copies(65535 - size, seed + 2, 4)].concat();
    [first, second, b"xyz".to_vec()].concat()
}

/// The streams are those of klauspost/compress 1.18.0 and 1.18.5 on amd64, and of their arm64 builds in QEMU.
#[test]
fn a_fused_multiplication_decides_between_two_blocks_as_on_arm64() {
    let cases = [
        (21137, 248, K1, "87250:2bc7f230b626b091", "86908:1325862332b4fc0c"),
        (19344, 356, K1, "87278:d5e4a23a18627b6f", "86936:cfd608222efa166d"),
        (21693, 557, K2, "87157:3af42f3c8330b803", "86812:88240e5587e272c0"),
    ];
    for (size, seed, generation, separate, fused) in cases {
        let plain = on_the_border(size, seed);
        for (rounding, expected) in [(Rounding::Separate, separate), (Rounding::Fused, fused)] {
            let encoder = Box::new(StreamEncoder::new(generation, rounding));
            let stream = gzip(&HEADER, encoder, &plain, &[]);
            assert_eq!(support::golden::fingerprint(&stream), expected, "{size} {rounding:?}");
        }
    }
}

/// Behind the bytes on which encoders are tried, and at once.
#[test]
fn a_layer_from_arm64_has_a_recipe_without_corrections() {
    for zeros in [0, 65535 * 20] {
        let plain = [vec![0; zeros], on_the_border(21137, 248)].concat();
        let streams = [1, 5].map(|number| {
            let family = Family::from_bytes([2, number]).unwrap();
            (family, gzip(&HEADER, family.encoder(), &plain, &[]))
        });
        assert_ne!(streams[0].1, streams[1].1);
        for (family, stream) in streams {
            let Found::Recipe(Recipe::Gzip(found)) = find(Cursor::new(stream)).unwrap() else {
                panic!("none")
            };
            assert_eq!((found.family(), found.corrections().is_some()), (family, false));
        }
    }
}

#[test]
fn pieces_and_workers_do_not_change_the_stream() {
    let plain = [mix(40, 9), text(400_000, 3), vec![0; 700_000], noise(70_000, 4), mix(30, 5)].concat();
    assert!(plain.len() > 3 << 20);
    let all = |encoder| gzip(&HEADER, encoder, &plain, &[]);
    for generation in [K1, K2] {
        let (stream_, blocks_) = (all(stream(generation)), all(blocks(generation, 1)));
        assert_eq!(gunzip(&stream_), plain);
        assert_eq!(gunzip(&blocks_), plain);
        for sizes in [&[1000][..], &[65535], &[1 << 20], &[1, 65534, 65536, 3, 300_000]] {
            assert!(gzip(&HEADER, stream(generation), &plain, sizes) == stream_, "{sizes:?}");
            for workers in 1..=3 {
                assert!(
                    gzip(&HEADER, blocks(generation, workers), &plain, sizes) == blocks_,
                    "{sizes:?} {workers}"
                );
            }
        }
    }
}

/// The last block is empty where the input ends with a block, for any number of workers.
#[test]
fn blocks_end_where_the_input_does() {
    for blocks_ in 0..=4_usize {
        for extra in [-259_i64, -258, -1, 0, 1, 32, 33, 257, 258, 259] {
            let Ok(size) = usize::try_from(((blocks_ as i64) << 20) + extra) else { continue };
            let plain = text(size, 8);
            let expected = gzip(&HEADER, blocks(K2, 1), &plain, &[]);
            assert!(gunzip(&expected) == plain, "{size}");
            for workers in 2..=3 {
                assert!(gzip(&HEADER, blocks(K2, workers), &plain, &[]) == expected, "{size} {workers}");
            }
        }
    }
}

/// Answers with another token at some places, and checks each place.
struct Contrarian<'a> {
    plain: &'a [u8],
    position: usize,
    differing: usize,
    /// One in so many answers differs.
    interval: u32,
    state: u32,
}

impl Contrarian<'_> {
    fn draw(&mut self, below: u32) -> u32 {
        self.state = self.state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.state >> 8) % below.max(1)
    }

    /// A literal, a shorter match, or a match at any distance that has one.
    fn other(&mut self, place: &Place<'_>, predicted: Token) -> Option<Token> {
        let rest = &self.plain[self.position..];
        match (self.draw(3), predicted) {
            (0, Token::Match { length, distance }) if length > 3 => {
                Some(Token::Match { length: 3 + self.draw(u32::from(length) - 3) as u16, distance })
            }
            (1, Token::Match { .. }) => Some(Token::Literal(rest[0])),
            _ => (0..20).find_map(|_| {
                let distance = 1 + self.draw(place.at.min(32768) as u32) as usize;
                let source = self.position.checked_sub(distance)?;
                let length =
                    rest.iter().zip(&self.plain[source..]).take(258).take_while(|(a, b)| a == b).count();
                (length >= 3).then_some(Token::Match { length: length as u16, distance: distance as u16 })
            }),
        }
    }
}

impl TokenSink for Contrarian<'_> {
    fn token(&mut self, place: &Place<'_>, predicted: Token) -> Token {
        assert_eq!(place.position(), self.position as u64);
        assert!(place.is_valid(predicted), "{predicted:?} at {}", self.position);
        let end = place.start as usize + place.window.len();
        let behind = place.window.len().min(place.at + 300);
        assert!(place.window[place.at..behind] == self.plain[self.position..][..behind - place.at]);
        assert!(place.window.len() - place.at >= 258 || place.is_end && end == self.plain.len());
        let other = if self.draw(self.interval) == 0 { self.other(place, predicted) } else { None };
        let answer = other.unwrap_or(predicted);
        self.differing += usize::from(answer != predicted);
        self.position += answer.size();
        answer
    }
}

/// In all of what [`answers`](../answers.rs) checks, no input has more than one block.
#[test]
fn other_answers_pass_the_borders_of_blocks() {
    let plain = [mix(16, 3), copies(200_000, 8), vec![7; 200_000], text(500_000, 5)].concat();
    assert!(plain.len() > 1 << 20);
    for (interval, size) in [(1, 4096), (2, 1 << 22), (10, 100_000), (1000, 1 << 22)] {
        let mut sink = Contrarian { plain: &plain, position: 0, differing: 0, interval, state: 1 };
        let mut finder = BlockFinder::default();
        for piece in plain.chunks(size) {
            finder.write(piece, &mut sink);
        }
        finder.finish(&mut sink);
        assert_eq!(sink.position, plain.len());
        assert!(sink.differing > 20);
    }
}

/// What compresses well, badly, and not at all, of sizes around the limits of chunks.
fn any_plain() -> impl Strategy<Value = Vec<u8>> {
    let segment =
        (0..6, 1..70_000_usize, any::<u32>(), any::<u8>()).prop_map(|(kind, size, seed, mask)| match kind {
            0 => text(size, seed),
            1 => noise(size, seed),
            2 => masked(size, seed, mask),
            3 => vec![mask; size],
            4 => copies(size, seed),
            _ => masked(size % 300, seed, mask),
        });
    proptest::collection::vec(segment, 0..5).prop_map(|segments| segments.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_bytes_are_what_a_decoder_reads(plain in any_plain(), size in 1..200_000_usize) {
        for generation in [K1, K2] {
            prop_assert!(gunzip(&gzip(&HEADER, stream(generation), &plain, &[size])) == plain);
            prop_assert!(gunzip(&gzip(&HEADER, blocks(generation, 1), &plain, &[size])) == plain);
        }
    }
}
