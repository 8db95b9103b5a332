// SPDX-License-Identifier: Apache-2.0
//! What the tests of all encoders share.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "each test file uses a part")]

pub mod golden;
pub mod inputs;
pub mod random;

use std::io::Read as _;

use krs_compact::encoder::{Encoder, Gzip};

/// The gzip stream of `plain`, which arrives in pieces of these sizes, again and again.
pub fn gzip(header: &[u8], encoder: Box<dyn Encoder>, plain: &[u8], sizes: &[usize]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut gzip = Gzip::new(header, encoder, &mut out);
    let mut rest = plain;
    for &size in sizes.iter().cycle() {
        if rest.is_empty() || sizes.iter().all(|&size| size == 0) {
            break;
        }
        let (piece, behind) = rest.split_at(size.min(rest.len()));
        gzip.write(piece, &mut out);
        rest = behind;
    }
    gzip.write(rest, &mut out);
    gzip.finish(&mut out);
    out
}

/// What a decoder that is not ours reads.
pub fn gunzip(stream: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    flate2::read::MultiGzDecoder::new(stream).read_to_end(&mut plain).unwrap();
    plain
}
