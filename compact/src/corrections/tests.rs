// SPDX-License-Identifier: Apache-2.0

#![allow(clippy::unwrap_used)]

use std::io::Write as _;

use proptest::prelude::*;

use super::*;
use crate::deflate::inflate::{GzipReader, PlainReader};
use crate::deflate::{
    BitWriter, MatchFinder, Place, Token, TokenSink, Trailer, fixed_codes, header, write_fixed_header,
    write_stored, write_tokens,
};
use crate::encoder::go;

const NO_LIMITS: Limits = Limits { plain: u64::MAX, divisor: 1 };

fn finder() -> impl MatchFinder {
    go::Level::new(6).and_then(go::Level::lazy).unwrap()
}

fn gzip(plain: &[u8], level: u32) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(level));
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

fn record_all(gzip: &[u8], trees: Trees) -> Result<Recorded, RecordError> {
    record(&mut GzipReader::new(gzip).unwrap(), &mut finder(), trees, NO_LIMITS)
}

/// The deflate stream from plain bytes in pieces of this size.
fn replay(corrections: &[u8], plain: &[u8], trees: Trees, piece: usize) -> Result<Vec<u8>, CorrectionError> {
    let (mut replay, mut out) = (Replay::new(corrections, finder(), trees), Vec::new());
    for piece in plain.chunks(piece.max(1)) {
        replay.write(piece, &mut out)?;
    }
    replay.finish(&mut out)?;
    Ok(out)
}

fn deflate(gzip: &[u8]) -> &[u8] {
    &gzip[10..gzip.len() - 8]
}

fn member(bits: &mut BitWriter, plain: &[u8]) -> Vec<u8> {
    let mut out = header(0, 0, 3).to_vec();
    bits.align();
    bits.drain(&mut out);
    let mut trailer = Trailer::default();
    trailer.update(plain);
    out.extend_from_slice(&trailer.bytes());
    out
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec((prop::collection::vec(any::<u8>(), 1..60), 1usize..1000), 0..50)
        .prop_map(|parts| parts.into_iter().flat_map(|(part, n)| part.into_iter().cycle().take(n)).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_stream_is_replayed_bit_for_bit(data in bytes(), level in 0u32..10, piece in 1usize..70_000, tree in 0..Trees::ALL.len()) {
        let gzip = gzip(&data, level);
        let recorded = record_all(&gzip, Trees::ALL[tree]).unwrap();
        prop_assert!(recorded.is_complete);
        let out = replay(&recorded.corrections, &data, Trees::ALL[tree], piece).unwrap();
        prop_assert!(out == deflate(&gzip));
    }

    #[test]
    fn t318_other_plain_bytes_and_changed_corrections_give_errors_or_other_streams(
        data in bytes(), level in 1u32..10, bit in any::<prop::sample::Index>(), cut in any::<prop::sample::Index>(),
    ) {
        let gzip = gzip(&data, level);
        let mut corrections = record_all(&gzip, Trees::Go).unwrap().corrections;
        let other: Vec<u8> = data.iter().map(|byte| byte ^ 1).collect();
        let _ = replay(&corrections, &other, Trees::Go, 5000);
        let _ = replay(&corrections, &data[cut.index(data.len() + 1)..], Trees::Go, 5000);
        prop_assert!(replay(&corrections[..cut.index(corrections.len())], &data, Trees::Go, 5000).is_err());
        let bit = bit.index(corrections.len() * 8);
        corrections[bit / 8] ^= 1 << (bit % 8);
        let _ = replay(&corrections, &data, Trees::Go, 5000);
    }

    #[test]
    fn t318_corrections_of_any_bytes_end(corrections in prop::collection::vec(any::<u8>(), 0..4000), data in bytes()) {
        let _ = replay(&corrections, &data, Trees::Go, 5000);
    }
}

#[test]
fn blocks_of_all_kinds_with_padding_are_replayed() {
    let plain = [&b"stored and then a fixed block, a fixed block"[..], b"yzyzyzyzyzyzy"].concat();
    let mut bits = BitWriter::default();
    write_fixed_header(false, &mut bits);
    fixed_codes().write_end(&mut bits);
    // A stored block whose padding is not zero.
    bits.put(0, 3);
    let padding = 8 - bits.odd_bits();
    bits.put((1 << padding) - 1, padding);
    bits.put_bytes(&[10, 0, !10, 0xff]);
    bits.put_bytes(&plain[..10]);
    write_stored(false, b"", &mut bits);
    write_fixed_header(false, &mut bits);
    let literals: Vec<Token> = plain[10..44].iter().copied().map(Token::Literal).collect();
    write_tokens(&literals, &fixed_codes(), &mut bits);
    fixed_codes().write_end(&mut bits);
    write_fixed_header(true, &mut bits);
    let tokens = [Token::Literal(b'y'), Token::Literal(b'z'), Token::Match { length: 11, distance: 2 }];
    write_tokens(&tokens, &fixed_codes(), &mut bits);
    fixed_codes().write_end(&mut bits);
    // Padding of the stream that is not zero.
    assert_eq!(bits.odd_bits(), 1);
    bits.put(1, 1);
    let gzip = member(&mut bits, &plain);
    let recorded = record_all(&gzip, Trees::Go).unwrap();
    assert_eq!(replay(&recorded.corrections, &plain, Trees::Go, 7).unwrap(), deflate(&gzip));
}

#[test]
fn t318_corrections_that_end_early_or_are_left_over_or_copy_other_bytes_are_refused() {
    let plain: Vec<u8> = (0..50_000u32).map(|n| (n.wrapping_mul(n) >> 7) as u8 & 7).collect();
    let gzip = gzip(&plain, 1);
    let corrections = record_all(&gzip, Trees::Go).unwrap().corrections;
    assert_eq!(replay(&corrections, &plain, Trees::Go, 5000).unwrap(), deflate(&gzip));
    let error = |corrections: &[u8], plain: &[u8]| replay(corrections, plain, Trees::Go, 5000).unwrap_err();
    let half = &corrections[..corrections.len() / 2];
    assert!(matches!(error(half, &plain), CorrectionError::TooFew { .. }));
    assert_eq!(error(&[&corrections[..], &[0]].concat(), &plain), CorrectionError::TooMany);
    // Bytes without repetitions: the first match of the corrections is none.
    let other: Vec<u8> = (0..50_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    assert!(matches!(error(&corrections, &other), CorrectionError::Match { .. }));
}

#[test]
fn few_differences_cost_few_bytes() {
    let plain: Vec<u8> = (0..300_000u32).map(|n| (n / 7 * 31 % 253) as u8 ^ (n % 11) as u8).collect();
    let mut encoder = go::Level::new(6).unwrap().encoder();
    let mut out = header(0, 0, 255).to_vec();
    encoder.write(&plain, &mut out);
    encoder.finish(&mut out);
    let mut trailer = Trailer::default();
    trailer.update(&plain);
    out.extend_from_slice(&trailer.bytes());
    let recorded = record_all(&out, Trees::Go).unwrap();
    assert!(recorded.corrections.len() < 200, "{} bytes", recorded.corrections.len());
}

#[test]
fn recording_stops_where_it_was_asked_to() {
    let plain: Vec<u8> = (0..400_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8 & 15).collect();
    let gzip = gzip(&plain, 1);
    let mut reader = GzipReader::new(&gzip[..]).unwrap();
    let limits = Limits { plain: 100_000, divisor: 1 };
    let recorded = record(&mut reader, &mut finder(), Trees::Zlib, limits).unwrap();
    assert!(!recorded.is_complete);
    assert!((100_000..200_000).contains(&recorded.plain));
}

#[test]
fn a_block_of_too_many_tokens_is_refused() {
    let plain = vec![b'a'; script::BLOCK_MAXIMUM + 1];
    let mut bits = BitWriter::default();
    write_fixed_header(true, &mut bits);
    write_tokens(&vec![Token::Literal(b'a'); plain.len()], &fixed_codes(), &mut bits);
    fixed_codes().write_end(&mut bits);
    let gzip = member(&mut bits, &plain);
    let error = record_all(&gzip, Trees::Go).unwrap_err();
    let too_long = CorrectionError::BlockTooLong { at: plain.len() as u64, most: script::BLOCK_MAXIMUM };
    assert!(matches!(error, RecordError::Correction(error) if error == too_long), "{error}");
    let mut read = Vec::new();
    std::io::copy(&mut PlainReader::new(&gzip[..]).unwrap(), &mut read).unwrap();
    assert!(read == plain);
}

#[test]
fn a_finder_that_skips_bytes_is_noticed() {
    struct Skipping;
    impl MatchFinder for Skipping {
        fn write<S: TokenSink>(&mut self, plain: &[u8], sink: &mut S) {
            let place = Place { window: plain, start: 0, at: 3.min(plain.len()), is_end: true };
            sink.token(&place, Token::Literal(0));
        }

        fn finish<S: TokenSink>(&mut self, _: &mut S) {}
    }
    let gzip = gzip(b"abcdef", 6);
    let error =
        record(&mut GzipReader::new(&gzip[..]).unwrap(), &mut Skipping, Trees::Go, NO_LIMITS).unwrap_err();
    let expected = CorrectionError::OutOfStep { at: 0, finder: 3 };
    assert!(matches!(error, RecordError::Correction(error) if error == expected), "{error}");
}
