// SPDX-License-Identifier: Apache-2.0
//! The match finders of all families as one type.

use super::{go, klauspost, zlib};
use crate::deflate::{MatchFinder, TokenSink};

/// The match finder of a [`Family`](super::Family).
#[derive(Debug)]
pub enum Finder {
    /// Go, levels 4 to 9.
    GoLazy(go::Lazy),
    /// Go, levels 2 and 3.
    GoGreedy(go::Greedy),
    /// Go, level 1.
    GoFast(go::Fast),
    /// klauspost/compress.
    KlauspostStream(klauspost::StreamFinder),
    /// klauspost/compress in the blocks of pgzip.
    KlauspostBlocks(klauspost::BlockFinder),
    /// zlib, GNU gzip and pigz, and what is near them.
    Zlib(zlib::Finder),
}

impl MatchFinder for Finder {
    fn write<S: TokenSink>(&mut self, plain: &[u8], sink: &mut S) {
        match self {
            Self::GoLazy(finder) => finder.write(plain, sink),
            Self::GoGreedy(finder) => finder.write(plain, sink),
            Self::GoFast(finder) => finder.write(plain, sink),
            Self::KlauspostStream(finder) => finder.write(plain, sink),
            Self::KlauspostBlocks(finder) => finder.write(plain, sink),
            Self::Zlib(finder) => finder.write(plain, sink),
        }
    }

    fn finish<S: TokenSink>(&mut self, sink: &mut S) {
        match self {
            Self::GoLazy(finder) => finder.finish(sink),
            Self::GoGreedy(finder) => finder.finish(sink),
            Self::GoFast(finder) => finder.finish(sink),
            Self::KlauspostStream(finder) => finder.finish(sink),
            Self::KlauspostBlocks(finder) => finder.finish(sink),
            Self::Zlib(finder) => finder.finish(sink),
        }
    }
}
