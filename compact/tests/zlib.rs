// SPDX-License-Identifier: Apache-2.0
//! The encoders of zlib, GNU gzip and pigz against streams of the real ones, and the match finder against other answers.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use krs_compact::deflate::{MAXIMUM_MATCH, MatchFinder, Place, Token, TokenSink};
use krs_compact::encoder::Family;
use krs_compact::encoder::zlib::{Finder, Level, Parameters, Parse};
use proptest::prelude::*;
use support::golden::{assert_table, fingerprint};
use support::inputs::{copies, masked, mix, noise, text};
use support::{gunzip, gzip};

const PROGRAMS: [&str; 3] = ["zlib", "gnu", "pigz"];

fn stream(program: &str, level: u8, plain: &[u8], sizes: &[usize]) -> Vec<u8> {
    let level = Level::new(level).unwrap();
    let family = match program {
        "zlib" => Family::Zlib(level),
        "gnu" => Family::Gnu(level),
        _ => Family::Pigz(level),
    };
    gzip(&family.header(), family.encoder(), plain, sizes)
}

#[test]
fn zlib_writes_the_golden_streams() {
    assert_table("zlib", 9 * 124, |level, plain| stream("zlib", level.parse().unwrap(), plain, &[]));
}

#[test]
fn gnu_gzip_writes_the_golden_streams() {
    assert_table("gnu", 5 * 126, |level, plain| stream("gnu", level.parse().unwrap(), plain, &[]));
}

#[test]
fn pigz_writes_the_golden_streams() {
    assert_table("pigz", 3 * 126, |level, plain| stream("pigz", level.parse().unwrap(), plain, &[]));
}

#[test]
fn pieces_do_not_change_the_stream() {
    // Around the first move of the window, and around the end of pigz's blocks.
    let plain = [mix(20, 9), text(300_000, 3), vec![0; 100_000], noise(70_000, 4)].concat();
    for program in PROGRAMS {
        for level in [1, 3, 4, 6, 9] {
            let expected = fingerprint(&stream(program, level, &plain, &[]));
            for sizes in
                [&[1][..], &[65536], &[65535, 1], &[131_072], &[32_506, 0, 32_768], &[1000, 261, 262]]
            {
                let actual = fingerprint(&stream(program, level, &plain, sizes));
                assert_eq!(actual, expected, "{program} {level} {sizes:?}");
            }
        }
    }
}

/// Bytes in which there is something to find: runs, copies from near and far, and noise between them.
fn plain_bytes() -> impl Strategy<Value = Vec<u8>> {
    let part = (any::<u32>(), 0..5u8, 0..70_000usize).prop_map(|(seed, kind, size)| match kind {
        0 => text(size, seed),
        1 => noise(size / 8, seed),
        2 => masked(size / 2, seed, 0x13),
        3 => vec![seed as u8; size],
        _ => copies(size.max(3000), seed),
    });
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..600),
        proptest::collection::vec(0..3u8, 0..600),
        proptest::collection::vec(part, 1..5).prop_map(|parts| parts.concat()),
    ]
}

/// Answers with another valid token now and then.
#[derive(Debug)]
struct Stubborn {
    /// Of 256 answers, how many are tried to be another token.
    share: u8,
    seed: u32,
    tokens: Vec<Token>,
}

impl Stubborn {
    fn draw(&mut self) -> u32 {
        self.seed = self.seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        self.seed >> 8
    }

    fn other(&mut self, place: &Place<'_>, predicted: Token) -> Token {
        let ahead = place.window.len() - place.at;
        let literal = Token::Literal(place.window[place.at]);
        let distance = 1 + self.draw() as usize % place.at.clamp(1, 32768);
        let nearest = (1..=300u16).find(|&distance| place.is_valid(Token::Match { length: 3, distance }));
        let choice = self.draw() % 4;
        let distance = match (choice, predicted) {
            (0, _) => return literal,
            (1, Token::Match { distance, .. }) => distance,
            (2, _) => distance as u16,
            _ => nearest.unwrap_or(1),
        };
        let longest = (3..=ahead.min(MAXIMUM_MATCH) as u16)
            .map(|length| Token::Match { length, distance })
            .take_while(|&token| place.is_valid(token))
            .last();
        match longest {
            Some(Token::Match { length, distance }) => {
                Token::Match { length: 3 + self.draw() as u16 % (length - 2), distance }
            }
            _ => literal,
        }
    }
}

impl TokenSink for Stubborn {
    fn token(&mut self, place: &Place<'_>, predicted: Token) -> Token {
        let is_other = (self.draw() % 256) < u32::from(self.share);
        let token = if is_other { self.other(place, predicted) } else { predicted };
        assert!(place.is_valid(token), "{token:?} at {}", place.position());
        self.tokens.push(token);
        token
    }
}

fn expand(tokens: &[Token]) -> Vec<u8> {
    let mut plain = Vec::new();
    for &token in tokens {
        match token {
            Token::Literal(byte) => plain.push(byte),
            Token::Match { length, distance } => {
                for _ in 0..length {
                    plain.push(plain[plain.len() - usize::from(distance)]);
                }
            }
        }
    }
    plain
}

fn tokens(mut finder: Finder, share: u8, seed: u32, plain: &[u8], size: usize) -> Vec<Token> {
    let mut sink = Stubborn { share, seed, tokens: Vec::new() };
    for piece in plain.chunks(size) {
        finder.write(piece, &mut sink);
    }
    finder.finish(&mut sink);
    sink.tokens
}

fn parameters() -> impl Strategy<Value = Parameters> {
    let parse = prop_oneof![
        any::<u16>().prop_map(|insert_limit| Parse::Greedy { insert_limit }),
        (any::<u16>(), any::<u16>()).prop_map(|(lazy, far_three)| Parse::Lazy { lazy, far_three }),
    ];
    prop_oneof![
        (1..=9u8).prop_map(|level| Level::new(level).unwrap().parameters()),
        (parse, 0..300u16, 0..300u16, 0..100u16, prop_oneof![any::<u16>(), Just(32768)]).prop_map(
            |(parse, good, nice, chain, max_distance)| Parameters { parse, good, nice, chain, max_distance }
        ),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn each_stream_has_the_plain_bytes(plain in plain_bytes(), level in 1..=9u8, size in 1..100_000usize) {
        for program in PROGRAMS {
            let actual = stream(program, level, &plain, &[size]);
            prop_assert!(gunzip(&actual) == plain, "{program} {level}");
            prop_assert_eq!(fingerprint(&actual), fingerprint(&stream(program, level, &plain, &[])));
        }
    }

    #[test]
    fn the_finder_continues_after_any_valid_answer(
        plain in plain_bytes(),
        parameters in parameters(),
        is_gnu in any::<bool>(),
        share in prop_oneof![Just(0), 1..8u8, Just(255)],
        seed in any::<u32>(),
        size in 1..100_000usize,
    ) {
        let finder = || if is_gnu { Finder::gnu(parameters) } else { Finder::new(parameters) };
        let sent = tokens(finder(), share, seed, &plain, plain.len().max(1));
        prop_assert!(expand(&sent) == plain);
        prop_assert!(tokens(finder(), share, seed, &plain, size) == sent, "pieces of {size}");
    }

    #[test]
    fn an_invalid_answer_ends(plain in plain_bytes(), parameters in parameters(), length: u16, distance: u16) {
        struct Wrong(Token, usize);
        impl TokenSink for Wrong {
            fn token(&mut self, _: &Place<'_>, _: Token) -> Token {
                self.1 += 1;
                self.0
            }
        }
        let mut sink = Wrong(Token::Match { length, distance }, 0);
        let mut finder = Finder::new(parameters);
        finder.write(&plain, &mut sink);
        finder.finish(&mut sink);
        prop_assert!(sink.1 <= plain.len());
    }
}
