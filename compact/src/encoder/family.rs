// SPDX-License-Identifier: Apache-2.0
//! The families of encoders, with their parameters, as a recipe names them.

use super::{Encoder, Finder, go, klauspost, zlib};
use crate::deflate::{HEADER_SIZE, header};

/// An encoder of another program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// Go's `compress/gzip`, up to Go 1.26.
    Go(go::Level),
    /// klauspost/compress at its default level, alone or in the blocks of pgzip.
    Klauspost(klauspost::Variant),
    /// zlib, with its default memory level.
    Zlib(zlib::Level),
    /// GNU gzip.
    Gnu(zlib::Level),
    /// pigz.
    Pigz(zlib::Level),
}

/// First byte of [`Family::to_bytes`].
const GO: u8 = 1;
const KLAUSPOST: u8 = 2;
const ZLIB: u8 = 3;
const GNU: u8 = 4;
const PIGZ: u8 = 5;

impl Family {
    /// The family in two bytes: which one, and its parameter.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 2] {
        match self {
            Self::Go(level) => [GO, level.number().to_le_bytes()[0]],
            Self::Klauspost(variant) => [KLAUSPOST, variant.number()],
            Self::Zlib(level) => [ZLIB, level.number()],
            Self::Gnu(level) => [GNU, level.number()],
            Self::Pigz(level) => [PIGZ, level.number()],
        }
    }

    /// The family of two bytes, unless this version does not have it.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 2]) -> Option<Self> {
        let [family, parameter] = bytes;
        let known = match family {
            GO => go::Level::new(i8::from_le_bytes([parameter])).map(Self::Go),
            KLAUSPOST => klauspost::Variant::new(parameter).map(Self::Klauspost),
            ZLIB => zlib::Level::new(parameter).map(Self::Zlib),
            GNU => zlib::Level::new(parameter).map(Self::Gnu),
            PIGZ => zlib::Level::new(parameter).map(Self::Pigz),
            _ => None,
        };
        // A second name for the same (the default level) is not used.
        known.filter(|known| known.to_bytes() == bytes)
    }

    /// Its streams are nearly always those of another family, which more layers come from.
    #[must_use]
    pub fn is_rare(self) -> bool {
        matches!(self, Self::Klauspost(variant) if variant.rounding == klauspost::Rounding::Fused)
    }

    /// Writes the deflate stream.
    #[must_use]
    pub fn encoder(self) -> Box<dyn Encoder> {
        match self {
            Self::Go(level) => level.encoder(),
            Self::Klauspost(variant) => variant.encoder(1),
            Self::Zlib(level) => Box::new(zlib::Zlib::new(level)),
            Self::Gnu(level) => Box::new(zlib::Zlib::gnu(level)),
            Self::Pigz(level) => Box::new(zlib::Pigz::new(level)),
        }
    }

    /// Finds the matches that the encoder would find, unless it does not search for any. A rare family has no finder of its own.
    #[must_use]
    pub fn finder(self) -> Option<Finder> {
        match self {
            Self::Go(level) => None
                .or_else(|| level.lazy().map(Finder::GoLazy))
                .or_else(|| level.greedy().map(Finder::GoGreedy))
                .or_else(|| level.fast().map(Finder::GoFast)),
            Self::Klauspost(_) if self.is_rare() => None,
            Self::Klauspost(variant) => Some(match variant.framing {
                klauspost::Framing::Stream => Finder::KlauspostStream(klauspost::StreamFinder::default()),
                klauspost::Framing::Blocks => Finder::KlauspostBlocks(klauspost::BlockFinder::default()),
            }),
            // pigz begins a new search with each of its blocks, which changes few tokens.
            Self::Zlib(level) | Self::Pigz(level) => {
                Some(Finder::Zlib(zlib::Finder::new(level.parameters())))
            }
            Self::Gnu(level) => Some(Finder::Zlib(zlib::Finder::gnu(level.parameters()))),
        }
    }

    /// Another family has the same finder, and is tried in its place.
    #[must_use]
    pub fn shares_finder(self) -> bool {
        match self {
            Self::Pigz(_) => true,
            Self::Klauspost(variant) => variant.generation == klauspost::Generation::K2,
            Self::Go(_) | Self::Zlib(_) | Self::Gnu(_) => false,
        }
    }

    /// The gzip header that this program writes if nobody sets a name or a time.
    #[must_use]
    pub fn header(self) -> [u8; HEADER_SIZE] {
        match self {
            Self::Go(level) => header(0, level.extra_flags(), 0xff),
            Self::Klauspost(_) => header(klauspost::UNSET_TIME, 0, 0xff),
            Self::Zlib(level) | Self::Gnu(level) | Self::Pigz(level) => header(0, level.extra_flags(), 3),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_bytes_name_one_family_at_most() {
        for family in 0..=u8::MAX {
            for parameter in 0..=u8::MAX {
                if let Some(known) = Family::from_bytes([family, parameter]) {
                    assert_eq!(known.to_bytes(), [family, parameter]);
                }
            }
        }
        assert_eq!(Family::from_bytes([GO, 6]), go::Level::new(-1).map(Family::Go));
    }
}
