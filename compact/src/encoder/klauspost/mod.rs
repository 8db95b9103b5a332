// SPDX-License-Identifier: Apache-2.0
//! The encoder of github.com/klauspost/compress at its default level (5), alone and in the blocks of github.com/klauspost/pgzip:
//! what skopeo, podman and buildah write layers with.
//!
//! The input is cut into chunks of 65535 bytes, each of which becomes at most one block; a chunk can also continue the block of
//! the chunk before it. The files: `finder` finds the matches of a chunk; `chunks` cuts a stream into chunks, and into the
//! blocks of pgzip; `writer` keeps the open block; `literals` and `tokens` choose how a chunk is written, the latter with
//! the `estimate`; `stream` and `blocks` are the encoders.

mod blocks;
mod chunks;
mod estimate;
mod finder;
mod literals;
mod stream;
mod tokens;
mod writer;

pub use blocks::BlockEncoder;
pub use chunks::{BlockFinder, StreamFinder};
pub use stream::StreamEncoder;

use super::Encoder;

/// The time of a gzip header if the caller sets none: that of Go's unset time, of which 32 bits are written.
pub const UNSET_TIME: u32 = 0x886e_0900;

/// Versions of the encoder with the same output. From 1.20.4 on the output is another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Generation {
    /// 1.15.10 to 1.18.0.
    K1,
    /// 1.18.2 to 1.20.3.
    K2,
}

/// What the encoder is used in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Framing {
    /// Nothing.
    Stream,
    /// The blocks of pgzip.
    Blocks,
}

/// How the machine that wrote the stream computes the estimate of a block's size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rounding {
    /// amd64: a multiplication rounds, and an addition rounds again.
    Separate,
    /// arm64: both are one operation. Streams differ from those of amd64 only where two ways to write a chunk are equally large but
    /// for one or two bits.
    Fused,
}

/// An encoder, in the parts that decide what it writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Variant {
    /// Decides how blocks are written.
    pub generation: Generation,
    /// Decides what is searched together.
    pub framing: Framing,
    /// Decides which blocks are continued.
    pub rounding: Rounding,
}

impl Variant {
    /// The variant of a number in a recipe.
    #[must_use]
    pub const fn new(number: u8) -> Option<Self> {
        let (generation, framing) = match number {
            1 | 5 => (Generation::K1, Framing::Stream),
            2 | 6 => (Generation::K2, Framing::Stream),
            3 | 7 => (Generation::K1, Framing::Blocks),
            4 | 8 => (Generation::K2, Framing::Blocks),
            _ => return None,
        };
        let rounding = if number <= 4 { Rounding::Separate } else { Rounding::Fused };
        Some(Self { generation, framing, rounding })
    }

    /// The number of the variant in a recipe.
    #[must_use]
    pub const fn number(self) -> u8 {
        let number = match (self.framing, self.generation) {
            (Framing::Stream, Generation::K1) => 1,
            (Framing::Stream, Generation::K2) => 2,
            (Framing::Blocks, Generation::K1) => 3,
            (Framing::Blocks, Generation::K2) => 4,
        };
        match self.rounding {
            Rounding::Separate => number,
            Rounding::Fused => number + 4,
        }
    }

    /// Writes the deflate stream; up to `workers` blocks of pgzip at the same time.
    #[must_use]
    pub fn encoder(self, workers: usize) -> Box<dyn Encoder> {
        let Self { generation, framing, rounding } = self;
        match framing {
            Framing::Stream => Box::new(StreamEncoder::new(generation, rounding)),
            Framing::Blocks => Box::new(BlockEncoder::new(generation, rounding, workers)),
        }
    }
}
