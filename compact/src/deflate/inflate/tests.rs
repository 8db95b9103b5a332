// SPDX-License-Identifier: Apache-2.0

#![allow(clippy::unwrap_used)]

use std::io::{self, Read, Write};

use proptest::prelude::*;

use super::*;
use crate::deflate::{
    BitWriter, DynamicHeader, Frequencies, Trailer, append_runs, code_lengths, fixed_codes, header,
    write_fixed_header, write_stored, write_tokens,
};

fn gzip(plain: &[u8], level: u32) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(level));
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

/// A gzip stream around this deflate stream.
fn member(deflate: &[u8], plain: &[u8]) -> Vec<u8> {
    let mut trailer = Trailer::default();
    trailer.update(plain);
    [&header(0, 0, 255)[..], deflate, &trailer.bytes()].concat()
}

fn plain(gzip: &[u8]) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    PlainReader::new(gzip)?.read_to_end(&mut out)?;
    Ok(out)
}

/// Plain bytes, number of blocks, and plain bytes as the tokens have them.
fn read(gzip: &[u8]) -> Result<(Vec<u8>, Vec<Block>), InflateError> {
    let mut reader = GzipReader::new(gzip)?;
    let (mut plain, mut copied, mut blocks) = (Vec::new(), Vec::new(), Vec::new());
    loop {
        match reader.next()? {
            Piece::Block(block) => blocks.push(block.clone()),
            Piece::Data { tokens, plain: piece } => {
                plain.extend_from_slice(piece);
                for &token in tokens {
                    match token {
                        Token::Literal(byte) => copied.push(byte),
                        Token::Match { length, distance } => {
                            for _ in 0..length {
                                copied.push(copied[copied.len() - usize::from(distance)]);
                            }
                        }
                    }
                }
                if tokens.is_empty() {
                    copied.extend_from_slice(piece);
                }
                assert_eq!(copied.len(), plain.len(), "tokens and plain bytes do not keep step");
            }
            Piece::End => break,
        }
    }
    assert!(copied == plain);
    assert_eq!(reader.plain_size(), plain.len() as u64);
    Ok((plain, blocks))
}

fn fault(gzip: &[u8]) -> Fault {
    read(gzip).unwrap_err().fault
}

/// Plain bytes with repetitions near and far.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec((prop::collection::vec(any::<u8>(), 1..40), 1usize..3000), 0..60).prop_map(
        |parts| parts.into_iter().flat_map(|(part, count)| part.into_iter().cycle().take(count)).collect(),
    )
}

proptest! {
    #[test]
    fn what_zlib_writes_is_read(data in bytes(), level in 0u32..10, cut in any::<prop::sample::Index>()) {
        let gzip = gzip(&data, level);
        let (plain, _) = read(&gzip).unwrap();
        prop_assert!(plain == data);
        // An early end is an error, wherever it is.
        let cut = cut.index(gzip.len());
        prop_assert!(read(&gzip[..cut]).is_err());
    }

    #[test]
    fn no_change_of_a_bit_gives_other_bytes_or_a_panic(data in bytes(), level in 1u32..10, bit in any::<prop::sample::Index>()) {
        let mut gzip = gzip(&data, level);
        let bit = bit.index(gzip.len() * 8);
        gzip[bit / 8] ^= 1 << (bit % 8);
        if let Ok((plain, _)) = read(&gzip) {
            prop_assert!(plain == data);
        }
    }

    #[test]
    fn any_bytes_are_refused_or_read(deflate in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = read(&member(&deflate, b""));
        let _ = plain(&deflate);
    }
}

#[test]
fn fields_of_the_header_are_kept_as_they_are() {
    let gzip = gzip(b"abc", 6);
    let mut header = vec![0x1f, 0x8b, 8, TEXT_AND_ALL, 1, 2, 3, 4, 0, 3];
    header.extend_from_slice(&[2, 0, 7, 7]);
    header.extend_from_slice(b"name\0comment\0");
    header.extend_from_slice(&[9, 9]);
    let stream = [&header[..], &gzip[10..]].concat();
    let reader = GzipReader::new(&stream[..]).unwrap();
    assert_eq!(reader.header(), header);
    assert_eq!(plain(&stream).unwrap(), b"abc");

    let long = [&[0x1f, 0x8b, 8, 8, 0, 0, 0, 0, 0, 3][..], &[b'a'; 5000]].concat();
    assert!(matches!(fault(&long), Fault::HeaderTooLong(_)));
    assert!(matches!(fault(&[0x1f, 0x8b, 8, 0x20, 0, 0, 0, 0, 0, 3]), Fault::NotGzip(_)));
}

const TEXT_AND_ALL: u8 = 31;

#[test]
fn members_and_zeros_behind_them_are_read_and_other_bytes_refused() {
    let two = [gzip(b"abc", 6), gzip(b"", 1), gzip(b"def", 9)].concat();
    assert_eq!(plain(&two).unwrap(), b"abcdef");
    assert_eq!(plain(&[&two[..], &[0; 700]].concat()).unwrap(), b"abcdef");
    for behind in [&b"x"[..], b"\0\0x", b"\x1f\x8b"] {
        assert!(plain(&[&two[..], behind].concat()).is_err());
    }
    let mut reader = GzipReader::new(&two[..]).unwrap();
    while !matches!(reader.next().unwrap(), Piece::End) {}
    assert_eq!(reader.read_behind(5).unwrap(), two[23..28]);
}

#[test]
fn a_single_distance_code_and_empty_stored_blocks_are_legal() {
    let tokens = [Token::Literal(b'a'), Token::Match { length: 258, distance: 1 }];
    let mut frequencies = Frequencies::of_tokens(&tokens);
    frequencies.literals[END_OF_BLOCK] = 1;
    let mut lengths = crate::deflate::Lengths::default();
    code_lengths(&frequencies.literals, 15, &mut lengths.literals);
    lengths.distances[0] = 1;
    let mut runs = Vec::new();
    append_runs(lengths.literals.into_iter().chain([1]), &mut runs);
    let mut bits = BitWriter::default();
    write_stored(false, b"", &mut bits);
    DynamicHeader::new((286, 1), runs, |frequencies, lengths| code_lengths(frequencies, 7, lengths))
        .write(false, &mut bits);
    let codes = lengths.codes();
    write_tokens(&tokens, &codes, &mut bits);
    codes.write_end(&mut bits);
    write_stored(true, b"xyz", &mut bits);
    let mut deflate = Vec::new();
    bits.align();
    bits.drain(&mut deflate);
    let expected = [&[b'a'; 259][..], b"xyz"].concat();
    let (plain, blocks) = read(&member(&deflate, &expected)).unwrap();
    assert!(plain == expected);
    assert_eq!(blocks.len(), 3);
    let BlockKind::Dynamic(dynamic) = &blocks[1].kind else { panic!("{:?}", blocks[1]) };
    assert_eq!((dynamic.literal_count, dynamic.distance_count), (286, 1));
    assert_eq!(dynamic.lengths, lengths);
}

#[test]
fn malformed_blocks_are_refused_with_the_place() {
    let with = |put: &dyn Fn(&mut BitWriter)| {
        let mut bits = BitWriter::default();
        put(&mut bits);
        bits.align();
        let mut deflate = Vec::new();
        bits.drain(&mut deflate);
        member(&deflate, b"")
    };
    assert!(matches!(fault(&with(&|bits| bits.put(0b111, 3))), Fault::BlockType));
    assert!(matches!(
        fault(&with(&|bits| {
            bits.put(1, 3);
            bits.put_bytes(&[1, 0, 1, 0]);
        })),
        Fault::StoredLength
    ));
    assert!(matches!(
        fault(&with(&|bits| {
            bits.put(0b101, 3);
            bits.put(30, 14);
        })),
        Fault::CodeCounts { literals: 287, distances: 1 }
    ));
    // A match at the first byte.
    assert!(matches!(
        fault(&with(&|bits| {
            write_fixed_header(true, bits);
            write_tokens(&[Token::Match { length: 3, distance: 1 }], &fixed_codes(), bits);
        })),
        Fault::Distance { distance: 1, available: 0 }
    ));
    let good = gzip(b"abc", 6);
    let at = good.len() - 8;
    let mut bad = good.clone();
    bad[at] ^= 1;
    assert!(matches!(fault(&bad), Fault::Checksum { .. }));
    let mut bad = good.clone();
    bad[at + 4] ^= 1;
    let error = read(&bad).unwrap_err();
    assert_eq!(error.at, good.len() as u64);
    assert!(matches!(error.fault, Fault::Size { expected: 2, actual: 3 }));
}
