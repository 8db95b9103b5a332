// SPDX-License-Identifier: Apache-2.0
//! Go's encoder, against the streams of the real one.
#![allow(clippy::unwrap_used, reason = "tests")]

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
