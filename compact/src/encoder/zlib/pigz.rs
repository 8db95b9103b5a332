// SPDX-License-Identifier: Apache-2.0
//! pigz: blocks of the input that are compressed independently, and joined.

use super::blocks::{BlockEnd, Blocks};
use super::finder::Finder;
use super::parameters::Level;
use crate::deflate::MatchFinder;
use crate::encoder::Encoder;

/// Bytes that one thread of pigz compresses at once.
const BLOCK_SIZE: usize = 128 * 1024;

/// pigz: each 128 KiB are a stream of zlib of their own, with the last bytes before them as dictionary. How many threads work on
/// them has no effect.
#[derive(Debug)]
pub struct Pigz {
    finder: Finder,
    blocks: Blocks,
    /// What the block still takes.
    room: usize,
}

impl Pigz {
    /// Begins a stream.
    #[must_use]
    pub fn new(level: Level) -> Self {
        let parameters = level.parameters();
        Self {
            finder: Finder::new(parameters),
            blocks: Blocks::new(BlockEnd::Zlib, &parameters),
            room: BLOCK_SIZE,
        }
    }
}

impl Encoder for Pigz {
    fn write(&mut self, mut plain: &[u8], out: &mut Vec<u8>) {
        while !plain.is_empty() {
            // Only now is it known that the block is not the last.
            if self.room == 0 {
                self.finder.finish(&mut self.blocks);
                self.blocks.align(self.finder.window());
                self.finder.restart_with_dictionary();
                self.room = BLOCK_SIZE;
            }
            let (part, rest) = plain.split_at(plain.len().min(self.room));
            self.finder.write(part, &mut self.blocks);
            self.room -= part.len();
            plain = rest;
        }
        self.blocks.drain(out);
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        self.finder.finish(&mut self.blocks);
        self.blocks.finish(self.finder.window());
        self.blocks.drain(out);
    }
}
