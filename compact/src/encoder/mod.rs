// SPDX-License-Identifier: Apache-2.0
//! Encoders whose output is that of another program, bit for bit.
//!
//! Each family has match finders ([`MatchFinder`](crate::deflate::MatchFinder)), which send tokens, and sinks of these tokens that
//! choose and write blocks. The finders are used without these sinks where a stream differs from what the family writes.

mod family;
mod finder;
pub mod go;
pub mod klauspost;
pub mod zlib;

pub use family::Family;
pub use finder::Finder;

use crate::deflate::Trailer;

/// Writes a deflate stream.
///
/// The output does not depend on the sizes of the pieces in which the plain bytes arrive. Memory is bounded (1 to 2 MiB), and no
/// input makes an encoder fail.
pub trait Encoder: std::fmt::Debug + Send {
    /// Takes the next plain bytes, and appends to `out` what is complete.
    fn write(&mut self, plain: &[u8], out: &mut Vec<u8>);

    /// Appends the rest of the stream. The encoder is not used afterwards.
    fn finish(&mut self, out: &mut Vec<u8>);
}

/// An encoder in the gzip container.
#[derive(Debug)]
pub struct Gzip {
    encoder: Box<dyn Encoder>,
    trailer: Trailer,
}

impl Gzip {
    /// Begins a gzip stream with a complete header of any form, which is appended to `out`.
    #[must_use]
    pub fn new(header: &[u8], encoder: Box<dyn Encoder>, out: &mut Vec<u8>) -> Self {
        out.extend_from_slice(header);
        Self { encoder, trailer: Trailer::default() }
    }
}

impl Encoder for Gzip {
    fn write(&mut self, plain: &[u8], out: &mut Vec<u8>) {
        self.trailer.update(plain);
        self.encoder.write(plain, out);
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        self.encoder.finish(out);
        out.extend_from_slice(&self.trailer.bytes());
    }
}
