// SPDX-License-Identifier: Apache-2.0
//! Encoders in step with a stream: which of them write it?

use crate::encoder::{Encoder, Family};

/// Output of an encoder that is ahead of the stream at most.
const AHEAD_MAXIMUM: usize = 1 << 20;

/// An encoder whose output is equal to the stream so far.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) family: Family,
    encoder: Box<dyn Encoder>,
    /// Output that was not compared.
    out: Vec<u8>,
    /// Bytes of the deflate stream that are equal.
    equal: u64,
}

/// A part of the deflate stream: bytes from the position `start`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part<'a> {
    pub(super) start: u64,
    pub(super) bytes: &'a [u8],
}

impl Candidate {
    pub(super) fn new(family: Family) -> Self {
        Self { family, encoder: family.encoder(), out: Vec::new(), equal: 0 }
    }

    /// Position in the deflate stream from which bytes are still to be compared.
    pub(super) fn position(&self) -> u64 {
        self.equal
    }

    /// Takes the next plain bytes, and compares the output as far as the stream was read. Returns whether it is equal.
    pub(super) fn write(&mut self, plain: &[u8], stream: Part<'_>) -> bool {
        self.encoder.write(plain, &mut self.out);
        self.compare(stream) && self.out.len() <= AHEAD_MAXIMUM
    }

    /// Compares the rest of the output with the rest of a stream of `size` bytes.
    pub(super) fn finish(&mut self, stream: Part<'_>, size: u64) -> bool {
        self.encoder.finish(&mut self.out);
        self.compare(stream) && self.out.is_empty() && self.equal == size
    }

    fn compare(&mut self, stream: Part<'_>) -> bool {
        let skip = usize::try_from(self.equal.saturating_sub(stream.start)).unwrap_or(usize::MAX);
        let bytes = stream.bytes.get(skip..).unwrap_or_default();
        let size = bytes.len().min(self.out.len());
        if bytes[..size] != self.out[..size] {
            return false;
        }
        self.out.drain(..size);
        self.equal += size as u64;
        true
    }
}

/// All families, those first whose header is that of the stream.
pub(super) fn families(header: &[u8]) -> Vec<Family> {
    let mut families: Vec<Family> =
        (0..=u16::MAX).filter_map(|bytes| Family::from_bytes(bytes.to_be_bytes())).collect();
    families.sort_by_key(|family| family.header() != header);
    families
}
