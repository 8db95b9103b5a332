// SPDX-License-Identifier: Apache-2.0
//! Go's encoder, against the streams of the real one.
#![allow(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;

mod support;

use krs_compact::encoder::{Family, go::Level};
use support::golden;

fn gzip(level: &str, plain: &[u8], sizes: &[usize]) -> Vec<u8> {
    let family = Family::Go(Level::new(level.parse().unwrap()).unwrap());
    support::gzip(&family.header(), family.encoder(), plain, sizes)
}

#[test]
fn all_levels_write_the_golden_streams() {
    golden::assert_table("go", 127 * 12, |level, plain| gzip(level, plain, &[]));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_in_any_pieces_are_one_stream(
        parts in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..300), 1_usize..600, any::<u8>()), 0..12),
        sizes in prop::collection::vec(1_usize..100_000, 1..6),
    ) {
        let plain: Vec<u8> = parts.into_iter().flat_map(|(part, count, mask)| {
            part.repeat(count).into_iter().map(move |byte| byte & mask)
        }).collect();
        for level in -2..=9 {
            let stream = gzip(&level.to_string(), &plain, &sizes);
            prop_assert!(support::gunzip(&stream) == plain, "level {level}");
            prop_assert!(stream == gzip(&level.to_string(), &plain, &[]), "level {level}");
        }
    }
}

/// The real encoder loses the match at 65274 if a call ends at 65535, and finds it if not. Ours writes what it writes for one
/// call, since nobody who has only the bytes knows the calls.
#[test]
fn the_end_of_a_call_just_before_the_window_moves_does_not_matter() {
    let plain = support::inputs::input("W1");
    for level in ["2", "6", "9"] {
        assert!(gzip(level, &plain, &[65535, 4465]) == gzip(level, &plain, &[]), "level {level}");
    }
}
