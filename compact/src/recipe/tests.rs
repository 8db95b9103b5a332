// SPDX-License-Identifier: Apache-2.0

#![allow(clippy::unwrap_used)]

use std::io::{self, Cursor, Write};

use proptest::prelude::*;

use super::*;
use crate::corrections::CorrectionError;
use crate::deflate::inflate::PlainReader;
use crate::deflate::{
    BitWriter, MatchFinder as _, Place, Token, TokenSink, Trailer, fixed_codes, write_fixed_header,
    write_tokens,
};
use crate::encoder::{Encoder as _, go};

fn by_encoder(family: Family, plain: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut gzip = crate::encoder::Gzip::new(&family.header(), family.encoder(), &mut out);
    gzip.write(plain, &mut out);
    gzip.finish(&mut out);
    out
}

/// By an encoder that is none of the families.
fn by_other(plain: &[u8], level: u32) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(level));
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

fn expand(layer: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    io::copy(&mut PlainReader::new(layer).unwrap(), &mut plain).unwrap();
    plain
}

fn found(layer: &[u8]) -> Recipe {
    match find(Cursor::new(layer)).unwrap() {
        Found::Recipe(recipe) => recipe,
        Found::None(reason) => panic!("{reason}"),
    }
}

fn reason(layer: &[u8]) -> Reason {
    match find(Cursor::new(layer)).unwrap() {
        Found::Recipe(recipe) => panic!("{recipe:?}"),
        Found::None(reason) => reason,
    }
}

/// Through bytes and back, and with the recipe to the layer.
fn rebuild(recipe: &Recipe, plain: &[u8]) -> Vec<u8> {
    let decoded = Recipe::decode(&recipe.encode()).unwrap();
    assert_eq!(decoded, *recipe);
    let mut out = Vec::new();
    recompress(&decoded, plain, &mut out).unwrap();
    out
}

fn bytes(parts: usize) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec((prop::collection::vec(any::<u8>(), 1..60), 1usize..1000), 0..parts)
        .prop_map(|parts| parts.into_iter().flat_map(|(part, n)| part.into_iter().cycle().take(n)).collect())
}

/// Text without an end of repetitions, so that encoders differ.
fn text(size: usize) -> Vec<u8> {
    let (mut state, mut text) = (7u32, Vec::with_capacity(size + 16));
    while text.len() < size {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let word = (state >> 16) & (state >> 24);
        for letter in 0..2 + word % 7 {
            text.push(b'a' + ((7 * word + 5 * letter * letter + letter * word) % 26) as u8);
        }
        text.push(b' ');
    }
    text.truncate(size);
    text
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn a_stream_of_any_family_is_rebuilt(data in bytes(60), family in any::<prop::sample::Index>()) {
        let families = candidate::families(&[]);
        let layer = by_encoder(families[family.index(families.len())], &data);
        let recipe = found(&layer);
        prop_assert!(matches!(&recipe, Recipe::Gzip(gzip) if gzip.corrections.is_none()));
        prop_assert!(recipe.encode().len() <= 16);
        prop_assert!(rebuild(&recipe, &data) == layer);
    }

    #[test]
    fn a_stream_of_another_encoder_is_rebuilt_or_travels_as_it_is(data in bytes(60), level in 0u32..10) {
        let layer = by_other(&data, level);
        if let Found::Recipe(recipe) = find(Cursor::new(&layer)).unwrap() {
            prop_assert!(rebuild(&recipe, &data) == layer);
        }
    }

    #[test]
    fn a_changed_bit_is_refused_or_rebuilt(data in bytes(20), bit in any::<prop::sample::Index>()) {
        let mut layer = by_encoder(Family::Go(go::Level::new(6).unwrap()), &data);
        let bit = bit.index(layer.len() * 8);
        layer[bit / 8] ^= 1 << (bit % 8);
        if let Found::Recipe(recipe) = find(Cursor::new(&layer)).unwrap() {
            let plain = if recipe == Recipe::Plain { layer.clone() } else { expand(&layer) };
            prop_assert!(rebuild(&recipe, &plain) == layer);
        }
    }

    #[test]
    fn t316_decoding_any_bytes_ends_and_what_it_accepts_has_one_form(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        let bytes = [&[1, bytes.first().map_or(0, |byte| byte % 4)], &bytes[..]].concat();
        if let Ok(recipe) = Recipe::decode(&bytes) {
            prop_assert!(recipe.encode() == bytes);
            let _ = recompress(&recipe, &b"some plain bytes, some plain bytes"[..], &mut io::sink());
        }
    }
}

#[test]
fn what_is_not_compressed_has_a_recipe_of_two_bytes() {
    for layer in [&b"a tar archive"[..], b"", b"\x1f"] {
        let recipe = found(layer);
        assert_eq!(recipe, Recipe::Plain);
        assert_eq!(recipe.encode().len(), 2);
        assert_eq!(rebuild(&recipe, layer), layer);
    }
    assert!(matches!(reason(&[0x28, 0xb5, 0x2f, 0xfd, 0, 0]), Reason::Zstd));
}

#[test]
fn large_layers_are_followed_to_their_end_and_differences_become_corrections() {
    let family = Family::Go(go::Level::new(6).unwrap());
    let plain = text(3 << 20);
    let layer = by_encoder(family, &plain);
    assert!(
        matches!(found(&layer), Recipe::Gzip(gzip) if gzip.family == family && gzip.corrections.is_none())
    );

    // The same encoder, flushed in the middle: no family does that.
    let (mut layer, mut encoder) = (family.header().to_vec(), go::Level::new(6).unwrap().encoder());
    encoder.write(&plain[..2 << 20], &mut layer);
    encoder.finish(&mut layer);
    // Its final empty block is made an ordinary one: its bit is the last one before LEN and NLEN.
    let sizes = layer.len() - 4;
    let bit = layer[..sizes].iter_mut().rfind(|byte| **byte != 0).unwrap();
    *bit ^= 1 << bit.ilog2();
    let mut encoder = go::Level::new(6).unwrap().encoder();
    encoder.write(&plain[2 << 20..], &mut layer);
    encoder.finish(&mut layer);
    let mut trailer = Trailer::default();
    trailer.update(&plain);
    layer.extend_from_slice(&trailer.bytes());
    let recipe = found(&layer);
    let Recipe::Gzip(gzip) = &recipe else { panic!("{recipe:?}") };
    assert_eq!(gzip.family(), family);
    assert!(gzip.corrections().is_some_and(|size| size < 4000), "{:?}", gzip.corrections());
    assert!(rebuild(&recipe, &plain) == layer);
}

/// The corrections of millions of empty blocks are a few kilobytes.
#[test]
fn t317_corrections_of_blocks_without_end_are_refused() {
    let (mut bits, codes) = (BitWriter::default(), fixed_codes());
    // A little more than the output that one step may have, at 10 bits a block.
    for _ in 0..7_000_000 {
        write_fixed_header(false, &mut bits);
        codes.write_end(&mut bits);
    }
    write_fixed_header(true, &mut bits);
    write_tokens(&[Token::Literal(b'a')], &codes, &mut bits);
    codes.write_end(&mut bits);
    bits.align();
    let mut layer = crate::deflate::header(0, 0, 3).to_vec();
    bits.drain(&mut layer);
    let mut trailer = Trailer::default();
    trailer.update(b"a");
    layer.extend_from_slice(&trailer.bytes());

    let mut gzip = crate::deflate::inflate::GzipReader::new(&layer[..]).unwrap();
    let mut finder = go::Level::new(6).and_then(go::Level::lazy).unwrap();
    let limits = crate::corrections::Limits { plain: u64::MAX, divisor: 10 };
    let bytes = crate::corrections::record(&mut gzip, &mut finder, Trees::Go, limits).unwrap().corrections;
    assert!(bytes.len() < 20_000);
    let recipe = Recipe::Gzip(Gzip {
        family: Family::Go(go::Level::new(6).unwrap()),
        corrections: Some(Corrections { trees: Trees::Go, bytes }),
        header: layer[..10].to_vec(),
        behind: Vec::new(),
    });
    let mut out = Vec::new();
    let error = recompress(&recipe, &b"a"[..], &mut out).unwrap_err();
    assert!(matches!(error, RecipeError::Correction(CorrectionError::TooLarge { at: 0, .. })), "{error}");
    assert!(out.len() < 9 << 20);
}

#[test]
fn names_in_the_header_and_bytes_behind_are_kept() {
    let plain = text(100_000);
    let layer = by_encoder(Family::Go(go::Level::new(9).unwrap()), &plain);
    let named = [&[0x1f, 0x8b, 8, 8, 1, 2, 3, 4, 2, 3][..], b"layer.tar\0", &layer[10..], &[0; 700]].concat();
    let recipe = found(&named);
    assert!(rebuild(&recipe, &plain) == named);
    assert!(matches!(reason(&[&layer[..], &[0; 5000]].concat()), Reason::Behind));
    assert!(matches!(reason(&layer[..layer.len() - 1]), Reason::Inflate(_)));
}

/// Takes a part of each repetition or nothing, by chance: no encoder decides so.
struct ByChance(u32, Vec<Token>);

impl TokenSink for ByChance {
    fn token(&mut self, place: &Place<'_>, predicted: Token) -> Token {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let chance = (self.0 >> 16) as u16;
        let token = match predicted {
            Token::Match { length, distance } if chance & 3 > 0 => {
                Token::Match { length: 3 + (chance >> 2) % (length - 2), distance }
            }
            _ => Token::Literal(place.window[place.at]),
        };
        self.1.push(token);
        token
    }
}

#[test]
fn a_layer_whose_corrections_are_large_travels_as_it_is() {
    let plain = text(800_000);
    let mut sink = ByChance(1, Vec::new());
    let mut finder = go::Level::new(6).and_then(go::Level::lazy).unwrap();
    finder.write(&plain, &mut sink);
    finder.finish(&mut sink);
    let mut bits = BitWriter::default();
    write_fixed_header(true, &mut bits);
    write_tokens(&sink.1, &fixed_codes(), &mut bits);
    fixed_codes().write_end(&mut bits);
    bits.align();
    let mut layer = crate::deflate::header(0, 0, 3).to_vec();
    bits.drain(&mut layer);
    let mut trailer = Trailer::default();
    trailer.update(&plain);
    layer.extend_from_slice(&trailer.bytes());
    assert_eq!(expand(&layer), plain);
    assert!(matches!(reason(&layer), Reason::TooLarge));
}

#[test]
fn t316_recipes_with_wrong_sizes_versions_and_names_are_refused() {
    let six = Family::Go(go::Level::new(6).unwrap()).to_bytes();
    let with = |bytes: &[u8]| Recipe::decode(&[&[1, 1, six[0], six[1]], bytes].concat());
    assert!(with(&[0, 0]).is_ok());
    let error = |bytes: &[u8]| with(bytes).unwrap_err();
    assert_eq!(error(&[0]), DecodeError::Truncated);
    assert_eq!(error(&[0, 5, 1]), DecodeError::Truncated);
    assert_eq!(error(&[0, 0, 9]), DecodeError::Behind(1));
    assert_eq!(error(&[0x80, 0, 0]), DecodeError::Size { most: 4096 });
    assert_eq!(error(&[0xff, 0xff, 0xff, 0x7f]), DecodeError::Size { most: 4096 });
    assert_eq!(error(&[0x81, 0x20]), DecodeError::Size { most: 4096 });
    assert_eq!(error(&[3, 0x1f, 0x8b, 8, 0]), DecodeError::Header);
    assert_eq!(Recipe::decode(&[]), Err(DecodeError::Truncated));
    assert_eq!(Recipe::decode(&[2, 0]), Err(DecodeError::Version(2)));
    assert_eq!(Recipe::decode(&[1, 4]), Err(DecodeError::Kind(4)));
    assert_eq!(Recipe::decode(&[1, 0, 0]), Err(DecodeError::Behind(1)));
    assert_eq!(Recipe::decode(&[1, 1, 0, 0, 0, 0]), Err(DecodeError::Family(0, 0)));
    assert_eq!(Recipe::decode(&[1, 2, six[0], six[1], 7, 0, 0]), Err(DecodeError::Trees(7)));
    let stored = Family::Go(go::Level::new(0).unwrap()).to_bytes();
    assert_eq!(Recipe::decode(&[1, 2, stored[0], stored[1], 0, 0, 0]), Err(DecodeError::NoFinder));
}

#[test]
fn a_failure_of_a_reader_or_a_writer_ends_the_work() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::Error::other("full"))
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let recipe = found(&by_encoder(Family::Go(go::Level::new(6).unwrap()), &text(1000)));
    let error = recompress(&recipe, &b"abc"[..], &mut Full).unwrap_err();
    assert!(matches!(error, RecipeError::Write(_)), "{error}");
    let broken = io::Read::chain(&b"abc"[..], Broken);
    let error = recompress(&recipe, broken, &mut io::sink()).unwrap_err();
    assert!(matches!(error, RecipeError::Read(_)), "{error}");
    struct Broken;
    impl io::Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("broken"))
        }
    }
}

/// A member for each piece, then the one without content that ends an eStargz layer.
fn by_members(pieces: &[&[u8]], encoder: impl Fn(usize) -> Family) -> Vec<u8> {
    let members = pieces.iter().enumerate().map(|(number, piece)| by_encoder(encoder(number), piece));
    let mut layer = members.collect::<Vec<_>>().concat();
    layer.extend_from_slice(&[0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 0xff, 26, 0]);
    layer.extend_from_slice(b"SG\x16\x000000000000000123STARGZ");
    layer.extend_from_slice(&[1, 0, 0, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0]);
    layer
}

#[test]
fn members_with_the_same_settings_cost_the_size_of_their_content() {
    let plain = text(3_000_000);
    let mut pieces = plain.chunks(1000).collect::<Vec<_>>();
    // One is longer than what encoders are tried on.
    pieces.splice(5..1500, [&plain[5000..1_500_000]]);
    let go = |level| Family::Go(go::Level::new(level).unwrap());
    let layer = by_members(&pieces, |_| go(9));
    let recipe = found(&layer);
    let Recipe::Members(members) = &recipe else { panic!("{recipe:?}") };
    assert_eq!((members.count(), members.settings().len(), members.runs.len()), (pieces.len() + 1, 2, 2));
    assert!(recipe.encode().len() <= 2 * members.count() + 60);
    assert!(rebuild(&recipe, &plain) == layer);

    // Settings may change, with bytes behind the last.
    let layer = [&by_members(&pieces, |number| go(if number % 7 < 3 { 9 } else { 1 }))[..], &[0; 9]].concat();
    assert!(rebuild(&found(&layer), &plain) == layer);
}

#[test]
fn members_that_no_encoder_writes_have_corrections_of_their_own() {
    let plain = text(600_000);
    let (first, second) = plain.split_at(300_000);
    let six = by_encoder(Family::Go(go::Level::new(6).unwrap()), second);
    for layer in [
        [by_other(first, 6), six.clone()].concat(),
        [six.clone(), by_other(first, 6)].concat(),
        [by_other(first, 6), by_other(second, 9)].concat(),
    ] {
        let recipe = found(&layer);
        let Recipe::Members(members) = &recipe else { panic!("{recipe:?}") };
        assert!(members.settings().iter().any(|setting| setting.corrections().is_some()));
        assert!(rebuild(&recipe, &expand(&layer)) == layer);
    }
    // Each with another name in its header.
    let named = |name| [&[0x1f, 0x8b, 8, 8, 0, 0, 0, 0, 0, 0xff, name, 0], &six[10..]].concat();
    let names = |count| (0..count).map(|name| named(b'a' + name)).collect::<Vec<_>>().concat();
    assert!(rebuild(&found(&names(16)), &second.repeat(16)) == names(16));
    let many = names(17);
    assert!(matches!(reason(&many), Reason::Members));
    let cut = [&six[..], &six[..six.len() - 1]].concat();
    assert!(matches!(reason(&cut), Reason::Inflate(_)));
}

#[test]
fn t321_members_of_other_sizes_and_lists_without_bound_are_refused() {
    let six = Family::Go(go::Level::new(6).unwrap()).to_bytes();
    let list = |runs: &[u8]| [&[1, 3, 1, 1, six[0], six[1], 0], runs].concat();
    let recipe = Recipe::decode(&list(&[1, 0, 2, 3, 4, 0])).unwrap();
    let run = |plain: &[u8]| recompress(&recipe, plain, &mut io::sink());
    run(b"abcdefg").unwrap();
    for plain in [&b""[..], b"abc", b"abcdef", b"abcdefgh"] {
        assert!(matches!(run(plain), Err(RecipeError::Members)));
    }
    let error = |bytes: &[u8]| Recipe::decode(bytes).unwrap_err();
    let most = |bytes: &[u8]| match error(bytes) {
        DecodeError::Size { most } => most,
        other => panic!("{other}"),
    };
    // More members, in one run or together, or settings than are allowed, and sizes of more than 64 bits.
    assert_eq!(most(&list(&[1, 0, 0x81, 0x80, 8])), 1 << 17);
    let first = [&[2, 0, 0xff, 0xff, 7][..], &vec![0; (1 << 17) - 1]].concat();
    let two = |rest: &[u8]| [&[1, 3, 2, 1, six[0], six[1], 0, 1, six[0], 9, 0], &first[..], rest].concat();
    assert!(Recipe::decode(&two(&[1, 1, 0, 0])).is_ok());
    assert_eq!(most(&two(&[1, 2, 0, 0, 0])), 1);
    assert_eq!(most(&[1, 3, 17]), 16);
    assert_eq!(most(&list(&[1, 0, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2])), u64::MAX);
    // Sizes that are said to follow take no memory.
    assert_eq!(error(&list(&[1, 0, 0x80, 0x80, 8])), DecodeError::Truncated);
    assert_eq!(
        error(&[1, 3, 1, 2, six[0], six[1], 0, 0, 0xff, 0xff, 0xff, 0x7f]),
        DecodeError::Size { most: 4 }
    );
    // One list has one form.
    for runs in [&[0, 0][..], &[1, 0, 0, 0], &[2, 0, 1, 3, 0, 1, 4, 0], &[1, 1, 1, 3, 0]] {
        assert!(matches!(error(&list(runs)), DecodeError::Members(_)), "{runs:?}");
    }
    let unused = [1, 3, 2, 1, six[0], six[1], 0, 1, six[0], 9, 0, 1, 0, 1, 5, 0];
    assert!(matches!(error(&unused), DecodeError::Members(_)));
    assert!(matches!(
        error(&[1, 3, 1, 2, six[0], six[1], 0, 0, 1, 9, 1, 0, 2, 1, 1, 0]),
        DecodeError::Members(_)
    ));
    assert_eq!(error(&[1, 3, 1, 3, six[0], six[1]]), DecodeError::Kind(3));
    assert_eq!(error(&list(&[1, 0, 1, 3, 0, 9])), DecodeError::Behind(1));
}

/// Recipes of each kind, and the layers that they make of one file. `UPDATE_GOLDEN=1` writes them.
#[test]
fn the_recipes_of_the_documentation_make_their_layers() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/recipe");
    let plain = text(20_000);
    let (first, second) = plain.split_at(9000);
    let go = |level| Family::Go(go::Level::new(level).unwrap());
    let layers = [
        ("plain", plain.clone()),
        ("go-6", by_encoder(go(6), &plain)),
        ("corrections", by_other(&plain, 6)),
        ("members", by_members(&[first, second, b""], |_| go(9))),
    ];
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(&folder).unwrap();
        for (name, layer) in &layers {
            std::fs::write(folder.join(format!("{name}.layer")), layer).unwrap();
            std::fs::write(folder.join(format!("{name}.recipe")), found(layer).encode()).unwrap();
        }
    }
    let read = |name: &str| std::fs::read(folder.join(name)).unwrap();
    for (name, _) in &layers {
        let recipe = Recipe::decode(&read(&format!("{name}.recipe"))).unwrap();
        let mut out = Vec::new();
        recompress(&recipe, &read("plain.layer")[..], &mut out).unwrap();
        assert!(out == read(&format!("{name}.layer")), "{name}");
    }
}
