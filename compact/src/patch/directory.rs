// SPDX-License-Identifier: Apache-2.0
//! The directory of a patch: what it makes, from what, and where its streams are.

use super::error::PatchError;
use super::format::{MAGIC, STREAMS, Stream, VERSION};
use super::read_at::ReadAt;
use super::streams::MIN_WINDOW_LOG;
use super::varint;

/// Magic, version, and the length of the directory.
pub(super) const PREAMBLE: usize = MAGIC.len() + 1 + 4;

/// The longest directory that is read.
pub(super) const MAX_DIRECTORY: usize = 4 << 20;

/// The most base layers of a patch, and the most targets: an image has at most 4096 layers here, and a bundle has several.
pub(super) const MAX_SOURCES: usize = 1 << 16;

/// The largest window of a stream: 128 MiB.
pub const MAX_WINDOW_LOG: u8 = 27;

/// What a patch makes, from what, and where its streams are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Directory {
    /// The lengths of the base layers.
    pub bases: Vec<u64>,
    /// What is made, in this order.
    pub targets: Vec<Target>,
    /// The longest prefix and content of a frame, together: what a reader keeps in memory at once.
    pub frame_memory: u64,
    /// In the order of [`Stream::ALL`].
    pub streams: [Section; STREAMS],
}

/// One target.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Target {
    /// Its bytes.
    pub length: u64,
    /// The sources that its operations use, ascending: first the bases, then the earlier targets.
    pub sources: Vec<usize>,
    /// How many operations make it.
    pub operations: u64,
    /// How many bytes of each stream these take.
    pub shares: [u64; STREAMS],
}

/// One stream in the patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Section {
    /// The logarithm of its window; zero for a stream that is empty, and for frames.
    pub window_log: u8,
    /// Its bytes in the patch.
    pub stored: u64,
}

impl Directory {
    /// The bytes of a stream, as its targets use them.
    pub fn stream_length(&self, stream: Stream) -> Option<u64> {
        self.targets.iter().try_fold(0_u64, |sum, target| sum.checked_add(target.shares[stream as usize]))
    }

    /// The length of a source, by number: first the bases, then the targets.
    pub fn source_length(&self, source: usize) -> Option<u64> {
        let target = || self.targets.get(source - self.bases.len()).map(|target| target.length);
        self.bases.get(source).copied().or_else(target)
    }

    /// How much memory a reader needs: all windows, and the longest frame.
    pub fn memory(&self) -> u64 {
        let windows = self.streams.iter().map(|section| match section.window_log {
            0 => 0,
            log => 1_u64 << log,
        });
        windows.sum::<u64>().saturating_add(self.frame_memory)
    }

    /// About how many bytes of the patch a target takes: its part of each stream, which are compressed as one.
    pub fn share(&self, target: usize) -> u64 {
        let Some(of_target) = self.targets.get(target) else { return 0 };
        let streams = self.streams.iter().zip(&of_target.shares).enumerate();
        let parts = streams.map(|(stream, (section, share))| {
            let lengths = self.targets.iter().filter_map(|target| target.shares.get(stream));
            let length = lengths.map(|share| u128::from(*share)).sum::<u128>();
            let part = u128::from(*share) * u128::from(section.stored);
            u64::try_from(part.checked_div(length).unwrap_or_default()).unwrap_or(u64::MAX)
        });
        parts.fold(0, u64::saturating_add)
    }

    /// Leaves out the bases that no target uses, which a site would have to fetch. Also says which are left, by their numbers
    /// before.
    pub(crate) fn without_unused_bases(mut self) -> (Self, Vec<usize>) {
        let before = self.bases.len();
        let sources = self.targets.iter().flat_map(|target| &target.sources).copied();
        let mut used = sources.filter(|source| *source < before).collect::<Vec<_>>();
        used.sort_unstable();
        used.dedup();
        for source in self.targets.iter_mut().flat_map(|target| &mut target.sources) {
            // Those that are not found are targets.
            *source = used.binary_search(source).unwrap_or_else(|_| *source - before + used.len());
        }
        self.bases = used.iter().filter_map(|base| self.bases.get(*base).copied()).collect();
        (self, used)
    }

    /// The first bytes of a patch with this directory, up to its first stream.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        varint::write(&mut out, self.bases.len() as u64);
        self.bases.iter().for_each(|length| varint::write(&mut out, *length));
        varint::write(&mut out, self.targets.len() as u64);
        for target in &self.targets {
            varint::write(&mut out, target.length);
            varint::write(&mut out, target.sources.len() as u64);
            let mut next = 0;
            for source in &target.sources {
                varint::write(&mut out, (source - next) as u64);
                next = source + 1;
            }
            varint::write(&mut out, target.operations);
            target.shares.iter().for_each(|share| varint::write(&mut out, *share));
        }
        varint::write(&mut out, self.frame_memory);
        for section in &self.streams {
            out.push(section.window_log);
            varint::write(&mut out, section.stored);
        }
        let mut patch = MAGIC.to_vec();
        patch.push(VERSION);
        patch.extend_from_slice(&(out.len() as u32).to_le_bytes());
        patch.extend_from_slice(&out);
        patch
    }

    /// Reads the directory of a patch, and where its first stream begins.
    pub(super) fn read(patch: &dyn ReadAt) -> Result<(Self, u64), PatchError> {
        let mut preamble = [0; PREAMBLE];
        if patch.length() < PREAMBLE as u64 {
            return Err(PatchError::Magic);
        }
        patch.read_exact_at(&mut preamble, 0).map_err(PatchError::Read)?;
        let (magic, rest) = preamble.split_at(MAGIC.len());
        if magic != MAGIC {
            return Err(PatchError::Magic);
        }
        if rest[0] != VERSION {
            return Err(PatchError::Version(rest[0]));
        }
        let length = u32::from_le_bytes([rest[1], rest[2], rest[3], rest[4]]) as usize;
        if length > MAX_DIRECTORY {
            return Err(PatchError::Directory("it is longer than 4 MiB"));
        }
        let end = (PREAMBLE + length) as u64;
        if end > patch.length() {
            return Err(PatchError::Directory("it is longer than the patch"));
        }
        let mut bytes = vec![0; length];
        patch.read_exact_at(&mut bytes, PREAMBLE as u64).map_err(PatchError::Read)?;
        let directory = Self::decode(&bytes)?;
        directory.check(end, patch.length())?;
        Ok((directory, end))
    }

    fn decode(mut bytes: &[u8]) -> Result<Self, PatchError> {
        let from = &mut bytes;
        let number = |from: &mut &[u8]| varint::read(from).map_err(PatchError::DirectoryNumber);
        let count = |from: &mut &[u8]| match number(from)? {
            count if count > MAX_SOURCES as u64 => Err(PatchError::Directory("more than 65536 layers")),
            count => Ok(count as usize),
        };
        let bases = (0..count(from)?).map(|_| number(from)).collect::<Result<Vec<_>, _>>()?;
        let mut targets = Vec::new();
        for before in 0..count(from)? {
            let (length, sources) = (number(from)?, count(from)?);
            let mut target = Target { length, ..Target::default() };
            let mut next = 0_usize;
            for _ in 0..sources {
                let source = next.saturating_add(count(from)?);
                if source >= bases.len() + before {
                    return Err(PatchError::Directory("a target uses a source that does not precede it"));
                }
                target.sources.push(source);
                next = source + 1;
            }
            target.operations = number(from)?;
            for share in &mut target.shares {
                *share = number(from)?;
            }
            targets.push(target);
        }
        let frame_memory = number(from)?;
        let mut streams = [Section::default(); STREAMS];
        for section in &mut streams {
            let (window_log, rest) = from.split_first().ok_or(PatchError::Directory("it is too short"))?;
            *from = rest;
            *section = Section { window_log: *window_log, stored: number(from)? };
        }
        if !from.is_empty() {
            return Err(PatchError::Directory("it is longer than its content"));
        }
        Ok(Self { bases, targets, frame_memory, streams })
    }

    fn check(&self, streams_at: u64, patch_length: u64) -> Result<(), PatchError> {
        let refuse = |problem| Err(PatchError::Directory(problem));
        let mut end = streams_at;
        for (stream, section) in Stream::ALL.into_iter().zip(&self.streams) {
            end = match end.checked_add(section.stored) {
                Some(end) if end <= patch_length => end,
                _ => return refuse("its streams are longer than the patch"),
            };
            let Some(length) = self.stream_length(stream) else {
                return refuse("a stream of more than 2^64 bytes");
            };
            let has_window = stream != Stream::Frames && length > 0;
            let window_is_valid = if has_window {
                (MIN_WINDOW_LOG..=MAX_WINDOW_LOG).contains(&section.window_log)
            } else {
                section.window_log == 0
            };
            if !window_is_valid {
                return refuse("the window of a stream");
            }
            if (length == 0) != (section.stored == 0) {
                return refuse("a stream without bytes, or bytes without a stream");
            }
            if stream == Stream::Frames && length != section.stored {
                return refuse("the frames of its targets are not those of the patch");
            }
        }
        if end != patch_length {
            return refuse("the patch is longer than its streams");
        }
        for target in &self.targets {
            // Each operation makes at least one byte, and reads at least one.
            if target.operations > target.length || target.operations > target.shares[0] {
                return refuse("more operations than bytes");
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_stream_is_divided_by_what_each_target_takes_of_it() {
        let mut directory = Directory::default();
        directory.streams[1].stored = 100;
        directory.streams[2].stored = 7;
        let target = |share, of_second| {
            let mut target = Target::default();
            (target.shares[1], target.shares[2]) = (share, of_second);
            target
        };
        directory.targets = vec![target(750, 0), target(250, 7)];
        assert_eq!([0, 1, 2].map(|number| directory.share(number)), [75, 32, 0]);
        // As large as a hostile patch may say.
        directory.targets = vec![target(u64::MAX, 0), target(u64::MAX, 0)];
        directory.streams[1].stored = u64::MAX;
        assert_eq!(directory.share(1), u64::MAX / 2);
    }

    fn directory() -> Directory {
        let mut shares = [0; STREAMS];
        shares[0] = 3;
        let mut streams = [Section::default(); STREAMS];
        streams[0] = Section { window_log: 10, stored: 4 };
        let target = Target { length: 700, sources: vec![0, 1], operations: 2, shares };
        Directory { bases: vec![512, 1 << 40], targets: vec![target], frame_memory: 0, streams }
    }

    fn patch(directory: &Directory) -> Vec<u8> {
        let mut bytes = directory.encode();
        bytes.extend_from_slice(&[0; 4]);
        bytes
    }

    #[test]
    fn a_directory_is_read_as_it_was_written() {
        let patch = patch(&directory());
        let (read, end) = Directory::read(&patch).unwrap();
        assert_eq!((read, end), (directory(), patch.len() as u64 - 4));
    }

    #[test]
    fn a_directory_that_contradicts_itself_is_refused() {
        let changes: [fn(&mut Directory); 9] = [
            |directory| directory.streams[0].stored = 5,
            |directory| directory.streams[0].stored = 3,
            |directory| directory.streams[0].stored = u64::MAX,
            |directory| directory.streams[0].window_log = 28,
            |directory| directory.streams[0].window_log = 9,
            |directory| directory.streams[1].window_log = 10,
            |directory| directory.targets[0].sources = vec![0, 2],
            |directory| directory.targets[0].operations = 4,
            |directory| directory.targets[0].shares[6] = 1,
        ];
        for (i, change) in changes.iter().enumerate() {
            let mut directory = directory();
            change(&mut directory);
            let refused = Directory::read(&patch(&directory));
            assert!(matches!(refused, Err(PatchError::Directory(_))), "{i}: {refused:?}");
        }
    }
}
