// SPDX-License-Identifier: Apache-2.0
//! What of a target is where in its sources.

use std::io;

use super::index::{File, Index};
use super::sketch::{Sketch, Sketches};
use super::tar::Entry;
use crate::patch::{BLOCK, Block, ReadAt, max_prefix};

/// A range of a source, by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) source: usize,
    pub(super) offset: u64,
    pub(super) length: u64,
}

impl Range {
    fn end(&self) -> u64 {
        self.offset + self.length
    }
}

/// What makes the next bytes of a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Piece {
    Copy(Range),
    Zeros(u64),
    /// The header block at `offset` of the target, from a block of a source, or from the last one.
    Header {
        from: Option<(usize, u64)>,
        offset: u64,
    },
    /// These bytes of the target, with what may be an older version of them.
    Content {
        old: Option<Range>,
        offset: u64,
        length: u64,
        entry: usize,
    },
}

/// The pieces of a target, in order.
pub(super) struct Plan<'a> {
    index: &'a Index,
    layers: &'a [&'a dyn ReadAt],
    target: usize,
    window: Windows,
    sketches: &'a mut Sketches,
    pieces: Vec<Piece>,
}

/// How long the parts of a large file are, and what of its older version belongs to each.
#[derive(Debug, Clone, Copy)]
pub(super) struct Windows {
    /// Of the file.
    pub(super) new: u64,
    /// Of its older version.
    pub(super) old: u64,
}

/// The pieces of the target `target` of `layers`.
pub(super) fn pieces(
    index: &Index,
    layers: &[&dyn ReadAt],
    target: usize,
    window: Windows,
    sketches: &mut Sketches,
) -> io::Result<Vec<Piece>> {
    let mut plan = Plan { index, layers, target, window, sketches, pieces: Vec::new() };
    for (number, entry) in index.layers[target].iter().enumerate() {
        plan.entry(number, entry)?;
    }
    Ok(plan.pieces)
}

impl Plan<'_> {
    fn entry(&mut self, number: usize, entry: &Entry) -> io::Result<()> {
        let end = entry.end(self.layers[self.target].length());
        let same = self.choose(entry, self.index.same_content(entry).iter().copied());
        let similar = match same {
            None if entry.length > 0 && !entry.is_zeros => self.most_similar(entry)?,
            _ => None,
        };
        let header = self.choose_header(entry, same).or(similar);
        self.header(entry, header)?;
        if entry.length > 0 {
            match same {
                _ if entry.is_zeros => self.zeros(entry.length)?,
                Some(file) => {
                    let offset = self.index.entry(file).data_at;
                    self.copy(Range { source: file.layer, offset, length: entry.length });
                }
                None => self.content(number, entry, similar),
            }
        }
        let (offset, length) = (entry.data_at + entry.length, end - entry.data_at - entry.length);
        if entry.has_dirty_padding {
            self.pieces.push(Piece::Content { old: None, offset, length, entry: number });
            return Ok(());
        }
        self.zeros(length)
    }

    /// The file that is most likely an older version of this one. Of several the one that has most in common with it: programs of
    /// different images have the same path.
    fn most_similar(&mut self, entry: &Entry) -> io::Result<Option<File>> {
        let files = self.index.similar(entry);
        if files.len() < 2 {
            return Ok(files.first().copied());
        }
        let own = self.sketch(self.target, entry)?.clone();
        let mut best = None;
        for file in files {
            let common = own.common(self.sketch(file.layer, self.index.entry(file))?);
            if best.is_none_or(|(most, _)| common > most) {
                best = Some((common, file));
            }
        }
        Ok(best.map(|(_, file)| file))
    }

    fn sketch(&mut self, layer: usize, entry: &Entry) -> io::Result<&Sketch> {
        self.sketches.get(entry.digest, (self.layers[layer], entry.data_at, entry.length))
    }

    /// Of several files with the content of this one, the one that follows what was copied last, or has its path.
    fn choose(&self, entry: &Entry, files: impl Iterator<Item = File>) -> Option<File> {
        if entry.length == 0 {
            return None;
        }
        files.max_by_key(|file| {
            let other = self.index.entry(*file);
            let has_path = other.path == entry.path;
            (self.follows(file.layer, other.header_at), has_path, usize::MAX - file.layer)
        })
    }

    /// The file whose header is most like that of this one.
    fn choose_header(&self, entry: &Entry, same: Option<File>) -> Option<File> {
        if let Some(file) = same.filter(|file| self.index.entry(*file).path == entry.path) {
            return Some(file);
        }
        let files = self.index.same_path(entry).filter(|file| {
            let other = self.index.entry(*file);
            other.data_at > other.header_at
        });
        let best = files.max_by_key(|file| {
            let other = self.index.entry(*file);
            (self.follows(file.layer, other.header_at), other.length == entry.length, usize::MAX - file.layer)
        });
        best.or(same)
    }

    /// Whether a range that begins there continues the last copy.
    fn follows(&self, source: usize, offset: u64) -> bool {
        match self.pieces.last() {
            Some(Piece::Copy(range)) => range.source == source && range.end() == offset,
            Some(Piece::Header { from: Some((last, at)), .. }) => {
                *last == source && at + BLOCK as u64 == offset
            }
            _ => false,
        }
    }

    fn copy(&mut self, range: Range) {
        match self.pieces.last_mut() {
            Some(Piece::Copy(last)) if last.source == range.source && last.end() == range.offset => {
                last.length += range.length;
            }
            _ => self.pieces.push(Piece::Copy(range)),
        }
    }

    /// The header blocks of an entry from those of a file, the last from the last.
    fn header(&mut self, entry: &Entry, file: Option<File>) -> io::Result<()> {
        let blocks = (entry.data_at - entry.header_at) / BLOCK as u64;
        for block in 0..blocks {
            let offset = entry.header_at + block * BLOCK as u64;
            let from = file.and_then(|file| {
                let other = self.index.entry(file);
                let at = other.data_at.checked_sub((blocks - block) * BLOCK as u64)?;
                (at >= other.header_at).then_some((file.layer, at))
            });
            if let Some((source, at)) = from
                && self.block(source, at)? == self.block(self.target, offset)?
            {
                self.copy(Range { source, offset: at, length: BLOCK as u64 });
            } else {
                self.pieces.push(Piece::Header { from, offset });
            }
        }
        Ok(())
    }

    fn block(&self, layer: usize, offset: u64) -> io::Result<Block> {
        let mut block = [0; BLOCK];
        self.layers[layer].read_exact_at(&mut block, offset)?;
        Ok(block)
    }

    /// Zeros, which are a part of the last copy where they follow it in its source too.
    fn zeros(&mut self, length: u64) -> io::Result<()> {
        /// Longer ones are not looked for in the source.
        const MAX_PADDING: u64 = 64 << 10;
        if length == 0 {
            return Ok(());
        }
        if let Some(Piece::Copy(range)) = self.pieces.last_mut() {
            let source = self.layers[range.source];
            if length <= MAX_PADDING && length <= source.length() - range.end() {
                let mut bytes = vec![0; length as usize];
                source.read_exact_at(&mut bytes, range.end())?;
                if bytes.iter().all(|byte| *byte == 0) {
                    range.length += length;
                    return Ok(());
                }
            }
        }
        if let Some(Piece::Zeros(last)) = self.pieces.last_mut() {
            *last += length;
        } else {
            self.pieces.push(Piece::Zeros(length));
        }
        Ok(())
    }

    /// New content; a large file in parts, each with the part of the older version that has its relative position.
    fn content(&mut self, number: usize, entry: &Entry, similar: Option<File>) {
        let old = similar.map(|file| (file.layer, self.index.entry(file)));
        let mut done = 0;
        while done < entry.length {
            let length = self.window.new.min(entry.length - done);
            let old = old.map(|(source, old)| {
                let (start, size) = self.window.part(done, length, entry.length, old.length);
                Range { source, offset: old.data_at + start, length: size }
            });
            self.pieces.push(Piece::Content { old, offset: entry.data_at + done, length, entry: number });
            done += length;
        }
    }
}

impl Windows {
    /// The part of an older version, of `old` bytes, for `length` bytes at `done` of a file of `new` bytes.
    fn part(&self, done: u64, length: u64, new: u64, old: u64) -> (u64, u64) {
        // Not more than a reader reads for it.
        let most = self.old.min(max_prefix(length));
        if old <= most {
            return (0, old);
        }
        let middle = u128::from(done + length / 2) * u128::from(old) / u128::from(new.max(1));
        let start = (middle as u64).saturating_sub(most / 2).min(old - most);
        (start, most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_part_of_an_older_version_is_within_it_and_about_as_far_from_its_beginning() {
        let window = Windows { new: 10, old: 20 };
        assert_eq!(window.part(0, 10, 100, 15), (0, 15));
        assert_eq!(window.part(0, 10, 100, 100), (0, 20));
        assert_eq!(window.part(50, 10, 100, 100), (45, 20));
        assert_eq!(window.part(90, 10, 100, 100), (80, 20));
        assert_eq!(window.part(90, 10, 100, 50), (30, 20));
        // Short content is not compared with a long file.
        let (most, length) = (max_prefix(1), 100 << 20);
        let window = Windows { new: 64 << 20, old: 128 << 20 };
        assert_eq!(window.part(0, 1, 1, length), (0, most));
        assert_eq!(window.part(64 << 20, 1, (64 << 20) + 1, length), (length - most, most));
    }
}
