// SPDX-License-Identifier: Apache-2.0
//! Match finders whose sink answers with other tokens than predicted.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::io::Read as _;

use krs_compact::deflate::{
    BitWriter, MAXIMUM_MATCH, MatchFinder as _, Place, Token, TokenSink, WINDOW, fixed_codes,
    write_fixed_header, write_tokens,
};
use krs_compact::encoder::Family;
use proptest::prelude::*;
use support::inputs;

/// Answers with another valid token at some places, and keeps what comes of it.
struct Disagree {
    /// One of so many tokens gets another answer.
    one_of: u32,
    random: u32,
    plain: Vec<u8>,
    answers: Vec<(Token, Token)>,
}

impl Disagree {
    fn new(one_of: u32, random: u32) -> Self {
        Self { one_of, random, plain: Vec::new(), answers: Vec::new() }
    }

    fn random(&mut self, below: u32) -> u32 {
        self.random = self.random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.random >> 8) % below.max(1)
    }

    /// Another token that stands for the bytes at the place.
    fn other(&mut self, place: &Place<'_>, predicted: Token) -> Token {
        let shorter = match predicted {
            Token::Match { length, distance } if length > 3 => {
                Token::Match { length: 3 + self.random(u32::from(length) - 3) as u16, distance }
            }
            _ => place.literal(),
        };
        let distance = 1 + self.random((place.at as u32).min(WINDOW as u32)) as usize;
        let equal = |distance: usize| {
            let ahead = place.window[place.at..].iter().take(MAXIMUM_MATCH);
            let source = place.window.get(place.at.wrapping_sub(distance)..).unwrap_or_default();
            ahead.zip(source).take_while(|(a, b)| a == b).count()
        };
        let near = (distance..distance + 30).map(|distance| (equal(distance), distance)).max();
        let longest =
            near.map(|(length, distance)| Token::Match { length: length as u16, distance: distance as u16 });
        match (self.random(3), longest) {
            (0, _) => place.literal(),
            (1, Some(longest)) if place.is_valid(longest) => longest,
            _ => shorter,
        }
    }
}

impl TokenSink for Disagree {
    fn token(&mut self, place: &Place<'_>, predicted: Token) -> Token {
        assert_eq!(place.position(), self.plain.len() as u64, "tokens cover the input without a gap");
        assert!(place.is_valid(predicted), "{predicted:?} at {}", place.position());
        let answer = if self.random(self.one_of) == 0 { self.other(place, predicted) } else { predicted };
        assert!(place.is_valid(answer));
        match answer {
            Token::Literal(byte) => self.plain.push(byte),
            Token::Match { length, distance } => {
                for _ in 0..length {
                    self.plain.push(self.plain[self.plain.len() - usize::from(distance)]);
                }
            }
        }
        self.answers.push((predicted, answer));
        answer
    }
}

/// Answers as another run did.
struct Replay(std::vec::IntoIter<(Token, Token)>);

impl TokenSink for Replay {
    fn token(&mut self, _: &Place<'_>, predicted: Token) -> Token {
        let (expected, answer) = self.0.next().unwrap();
        assert_eq!(predicted, expected, "both sides predict the same");
        answer
    }
}

fn run(family: Family, plain: &[u8], sizes: &[usize], sink: &mut impl TokenSink) {
    let Some(mut finder) = family.finder() else { return };
    let mut rest = plain;
    for &size in sizes {
        let (piece, behind) = rest.split_at(size.min(rest.len()));
        finder.write(piece, sink);
        rest = behind;
    }
    finder.write(rest, sink);
    finder.finish(sink);
}

/// What a decoder makes of the answers in one block.
fn inflate(answers: &[(Token, Token)]) -> Vec<u8> {
    let tokens: Vec<Token> = answers.iter().map(|(_, answer)| *answer).collect();
    let (mut bits, mut stream, mut plain) = (BitWriter::default(), Vec::new(), Vec::new());
    write_fixed_header(true, &mut bits);
    write_tokens(&tokens, &fixed_codes(), &mut bits);
    fixed_codes().write_end(&mut bits);
    bits.align();
    bits.drain(&mut stream);
    flate2::read::DeflateDecoder::new(stream.as_slice()).read_to_end(&mut plain).unwrap();
    plain
}

fn families() -> Vec<Family> {
    let all = (0..=u8::MAX).flat_map(|family| (0..=u8::MAX).map(move |parameter| [family, parameter]));
    let families: Vec<Family> = all.filter_map(Family::from_bytes).collect();
    assert!(families.iter().filter(|family| family.finder().is_some()).count() >= 9);
    families
}

fn check(family: Family, plain: &[u8], one_of: u32, random: u32) {
    let mut sink = Disagree::new(one_of, random);
    run(family, plain, &[], &mut sink);
    if family.finder().is_none() {
        return;
    }
    assert!(sink.plain == plain, "{family:?}: the answers stand for the input");
    assert!(inflate(&sink.answers) == plain, "{family:?}: a decoder reads the input from the answers");
    let mut replay = Replay(sink.answers.into_iter());
    run(family, plain, &[1, 40_000, 70_000, 3], &mut replay);
    assert!(replay.0.next().is_none(), "{family:?}: both sides have as many tokens");
}

#[test]
fn a_finder_continues_from_the_answer() {
    let plain =
        [inputs::text(90_000, 1), inputs::mix(6, 32), vec![0; 70_000], inputs::text(3000, 1)].concat();
    let differ =
        |answers: &[(Token, Token)]| answers.iter().filter(|(predicted, answer)| predicted != answer).count();
    for family in families() {
        for one_of in [1, 40] {
            check(family, &plain, one_of, one_of);
        }
        let mut sink = Disagree::new(5, 7);
        run(family, &plain, &[], &mut sink);
        assert!(family.finder().is_none() || differ(&sink.answers) > 1000, "{family:?}: the answers differ");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_finder_continues_from_any_answer_on_any_bytes(
        pieces in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..200), 1_usize..500, any::<u8>()), 0..12),
        one_of in 1_u32..100,
        random: u32,
    ) {
        let plain: Vec<u8> = pieces.into_iter().flat_map(|(piece, count, mask)| {
            piece.repeat(count).into_iter().map(move |byte| byte & mask).take(20_000)
        }).collect();
        for family in families() {
            check(family, &plain, one_of, random);
        }
    }
}
