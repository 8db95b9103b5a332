// SPDX-License-Identifier: Apache-2.0
//! The encoder of one deflate stream.

use super::chunks::StreamFinder;
use super::writer::Writer;
use super::{Generation, Rounding};
use crate::encoder::Encoder;

/// Writes what `klauspost/compress/gzip` writes at its default level.
#[derive(Debug)]
pub struct StreamEncoder {
    finder: StreamFinder,
    writer: Writer,
}

impl StreamEncoder {
    /// Begins a stream.
    #[must_use]
    pub fn new(generation: Generation, rounding: Rounding) -> Self {
        Self { finder: StreamFinder::default(), writer: Writer::new(generation, rounding) }
    }
}

impl Encoder for StreamEncoder {
    fn write(&mut self, plain: &[u8], out: &mut Vec<u8>) {
        self.finder.write_chunks(plain, &mut self.writer);
        self.writer.bits.drain(out);
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        self.finder.finish_chunks(&mut self.writer);
        self.writer.finish();
        self.writer.bits.drain(out);
    }
}
