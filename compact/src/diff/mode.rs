// SPDX-License-Identifier: Apache-2.0
//! How much time a patch may take.

use zstd::zstd_safe::{CParameter, Strategy};

use super::plan::Windows;
use crate::patch::{MAX_WINDOW_LOG, Stream};

/// How much time a patch may take, and how much memory a reader of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    /// Seconds for each layer.
    Fast,
    /// The smaller of two encodings for each file.
    Small,
    /// As `Small`, with a window of 128 MiB for new content: its readers need more memory than the default.
    Max,
}

/// How a stream is compressed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Compression {
    pub(super) level: i32,
    pub(super) window_log: u8,
    pub(super) has_long_distance: bool,
    pub(super) is_parallel: bool,
    /// Has other parameters than those of its level.
    pub(super) is_long_difference: bool,
}

const MIB: u64 = 1 << 20;

/// What of a stream is compressed at the highest level in `Small`: twice as long takes longer than a minute.
const SLOW: u64 = 96 * MIB;

impl Mode {
    /// What all jobs together may have in memory.
    pub(super) fn memory(self) -> u64 {
        match self {
            Self::Fast => 320 * MIB,
            Self::Small | Self::Max => 1000 * MIB,
        }
    }

    pub(super) fn windows(self) -> Windows {
        match self {
            Self::Fast => Windows { new: 16 * MIB, old: 32 * MIB },
            Self::Small | Self::Max => Windows { new: 32 * MIB, old: 64 * MIB },
        }
    }

    pub(super) fn compression(self, stream: Stream, length: u64) -> Compression {
        let longest = match (stream, self) {
            (Stream::New, Self::Max) => MAX_WINDOW_LOG,
            (Stream::New, _) => 25,
            (Stream::Difference | Stream::Extra, _) => 23,
            _ => 22,
        };
        let level = match (self, stream) {
            (Self::Fast, Stream::New) => 3,
            (Self::Fast, _) => 6,
            (Self::Small, Stream::New) if length > SLOW => 12,
            _ => 19,
        };
        let needed = length.next_power_of_two().trailing_zeros().min(63) as u8;
        Compression {
            level,
            window_log: needed.clamp(10, longest),
            has_long_distance: stream == Stream::New && length > 8 * MIB,
            is_parallel: length > 64 * MIB,
            is_long_difference: self == Self::Small && stream == Stream::Difference && length > SLOW,
        }
    }
}

impl Compression {
    /// What differs from the level. Differences are zeros with numbers in between that are like those shortly before: level 19 takes
    /// twice as long as these for 1 % less, and the levels before it, which search less, make 5 % more.
    pub(super) fn parameters(&self) -> &'static [CParameter] {
        if !self.is_long_difference {
            return &[];
        }
        &[
            CParameter::Strategy(Strategy::ZSTD_btopt),
            CParameter::ChainLog(21),
            CParameter::HashLog(18),
            CParameter::SearchLog(8),
            CParameter::MinMatch(3),
            CParameter::TargetLength(999),
        ]
    }

    /// About what zstd takes: its window, and tables of about its size.
    pub(super) fn memory(&self) -> u64 {
        (1 << self.window_log) * if self.level > 12 { 8 } else { 4 }
    }
}
