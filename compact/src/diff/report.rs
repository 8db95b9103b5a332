// SPDX-License-Identifier: Apache-2.0
//! What of each target travels, and what is made of what.

use crate::patch::{STREAMS, Stream};

/// What a patch contains, by target and by file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The numbers of the bases that are used, ascending: those of the patch.
    pub bases: Vec<usize>,
    /// In the order of the patch.
    pub targets: Vec<TargetReport>,
    /// In the order of [`Stream::ALL`].
    pub streams: [StreamSize; STREAMS],
    /// The bytes of the patch.
    pub patch_length: u64,
}

/// A stream of the patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StreamSize {
    /// Uncompressed.
    pub length: u64,
    /// In the patch.
    pub stored: u64,
}

/// The bytes of a target, by what makes them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TargetReport {
    /// All.
    pub length: u64,
    /// The sources that it is made of, ascending, by their numbers in the patch: first the bases, then the earlier targets.
    pub sources: Vec<usize>,
    /// About how many bytes of the patch it takes: its part of each stream.
    pub travels: u64,
    /// As they are in a source.
    pub copied: u64,
    /// Tar headers that differ from those of a source in a few bytes.
    pub headers: u64,
    /// Padding.
    pub zeros: u64,
    /// From an older version.
    pub patched: u64,
    /// As they are in the patch.
    pub new: u64,
    /// Those of which at least a part is patched or new, in the order of the target.
    pub files: Vec<FileReport>,
}

/// A file that is not a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileReport {
    /// Its path, with replacement characters where it is not UTF-8; empty for bytes that are no tar entry.
    pub path: String,
    /// Its bytes.
    pub length: u64,
    /// The older version, if one is used: the number of its source, and its path.
    pub from: Option<(usize, String)>,
    /// The bytes of it that are new.
    pub new: u64,
    /// About how many bytes of the patch it takes: its frames, and its part of each stream that is compressed as one.
    pub travels: u64,
    pub(super) shares: [u64; STREAMS],
}

impl Report {
    /// Divides each stream among the files by their uncompressed bytes.
    pub(super) fn divide(&mut self) {
        for file in self.targets.iter_mut().flat_map(|target| &mut target.files) {
            let part = |stream: Stream| {
                let StreamSize { length, stored } = self.streams[stream as usize];
                let share = u128::from(file.shares[stream as usize]);
                (share * u128::from(stored)).checked_div(u128::from(length)).unwrap_or_default() as u64
            };
            file.travels = Stream::ALL.into_iter().map(part).sum();
        }
    }
}
