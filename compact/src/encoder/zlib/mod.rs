// SPDX-License-Identifier: Apache-2.0
//! zlib (1.2.3 to 1.3, as it is built by default), and its relatives GNU gzip and pigz, at levels 1 to 9.
//!
//! Other builds of zlib (zlib-ng, Chromium's, Intel's, Cloudflare's) find other matches. [`Finder`] is a predictor for these.

mod blocks;
mod chains;
mod finder;
mod parameters;
mod pigz;
mod trees;
mod window;

pub use finder::Finder;
pub use parameters::{Level, Parameters, Parse};
pub use pigz::Pigz;
pub(crate) use trees::code_lengths;

use super::Encoder;
use crate::deflate::MatchFinder;
use blocks::{BlockEnd, Blocks};

/// zlib and GNU gzip, which differ in the ends of blocks and near the end of the input.
#[derive(Debug)]
pub struct Zlib {
    finder: Finder,
    blocks: Blocks,
}

impl Zlib {
    /// zlib with its default memory level and window. Python, Java and many others use it.
    #[must_use]
    pub fn new(level: Level) -> Self {
        let parameters = level.parameters();
        Self { finder: Finder::new(parameters), blocks: Blocks::new(BlockEnd::Zlib, &parameters) }
    }

    /// GNU gzip, without `--rsyncable`.
    #[must_use]
    pub fn gnu(level: Level) -> Self {
        let parameters = level.parameters();
        let block_end = BlockEnd::Gnu { is_early: level.number() >= 3 };
        Self { finder: Finder::gnu(parameters), blocks: Blocks::new(block_end, &parameters) }
    }
}

impl Encoder for Zlib {
    fn write(&mut self, plain: &[u8], out: &mut Vec<u8>) {
        self.finder.write(plain, &mut self.blocks);
        self.blocks.drain(out);
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        self.finder.finish(&mut self.blocks);
        self.blocks.finish(self.finder.window());
        self.blocks.drain(out);
    }
}
