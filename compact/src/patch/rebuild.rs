// SPDX-License-Identifier: Apache-2.0
//! Targets from a patch and its sources.

use std::io::{BufReader, Read, Write};

use super::directory::Directory;
use super::edits::{Edits, RecentEdits};
use super::error::{PatchError, Problem};
use super::format::{BLOCK, Block, STREAMS, Stream, max_prefix};
use super::operation::{Cursors, Operation, Place, Step};
use super::read_at::ReadAt;
use super::streams::{MIN_WINDOW_LOG, StreamReader};

/// What a reader grants a patch.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of memory, for windows and frames.
    pub memory: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { memory: 128 << 20 }
    }
}

/// A patch whose directory was read.
///
/// # Guarantees
/// Nothing of a patch is trusted: each range is compared with the length of its source, each target makes exactly the bytes that
/// the directory declares, and the memory is bounded by [`Limits`]. That the bytes are the right ones is for the caller to verify,
/// by digest; and so is that the declared lengths are the ones of a signed manifest.
pub struct Patch<R> {
    bytes: R,
    directory: Directory,
    streams_at: u64,
}

impl<R> std::fmt::Debug for Patch<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Patch").field("directory", &self.directory).finish_non_exhaustive()
    }
}

impl<R: ReadAt> Patch<R> {
    /// Reads the directory.
    pub fn open(bytes: R, limits: Limits) -> Result<Self, PatchError> {
        let (directory, streams_at) = Directory::read(&bytes)?;
        let needed = directory.memory();
        if needed > limits.memory {
            return Err(PatchError::Memory { needed, limit: limits.memory });
        }
        Ok(Self { bytes, directory, streams_at })
    }

    /// What the patch makes, and from what.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// A reader of the streams, at the first target. Several can read one patch at the same time.
    pub fn rebuild(&self) -> Rebuild<'_> {
        Rebuild { bytes: &self.bytes, directory: &self.directory, streams_at: self.streams_at, open: None }
    }
}

/// Makes targets, each by [`Rebuild::target`].
pub struct Rebuild<'a> {
    bytes: &'a dyn ReadAt,
    directory: &'a Directory,
    streams_at: u64,
    /// The streams, and the target at which they are.
    open: Option<(usize, Vec<StreamReader<'a>>)>,
}

impl std::fmt::Debug for Rebuild<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rebuild").field("open", &self.open).finish_non_exhaustive()
    }
}

impl<'a> Rebuild<'a> {
    /// Writes a target.
    ///
    /// # Expected flow
    /// Targets in ascending order are fastest: the streams are read once. For any other target they are read from their beginning
    /// and the shares of the targets before it are skipped. `sources` are the bases of the directory and then its targets; those
    /// that the directory does not list for this target may be `None`.
    ///
    /// # Guarantees
    /// On success exactly the declared bytes were written. There is no state outside of this value: after a crash or an error the
    /// target begins again.
    ///
    /// # Errors
    /// Name the target and how many bytes of it were made.
    pub fn target(
        &mut self,
        target: usize,
        sources: &[Option<&dyn ReadAt>],
        out: &mut dyn Write,
    ) -> Result<(), PatchError> {
        let Some(expected) = self.directory.targets.get(target) else {
            return Err(PatchError::NoTarget { target, targets: self.directory.targets.len() });
        };
        let mut made = 0;
        let fail = |offset, problem| PatchError::Target { target, offset, problem };
        let sources = self.sources(target, sources).map_err(|problem| fail(0, problem))?;
        let mut streams = self.streams(target).map_err(|problem| fail(0, problem))?;
        let before = std::array::from_fn::<_, STREAMS, _>(|i| streams[i].taken());
        let mut run = Run {
            streams: &mut streams,
            sources,
            out,
            block: [0; BLOCK],
            recent: RecentEdits::default(),
            buffer: vec![0; 128 << 10],
            frame_memory: self.directory.frame_memory,
        };
        run.operations(expected.operations, expected.length, &mut made)
            .map_err(|problem| fail(made, problem))?;
        for (i, stream) in Stream::ALL.into_iter().enumerate() {
            let (got, expected) = (streams[i].taken() - before[i], expected.shares[i]);
            if got != expected {
                return Err(fail(made, Problem::Share { stream, expected, got }));
            }
        }
        let next = target + 1;
        if next == self.directory.targets.len() {
            for (stream, reader) in Stream::ALL.into_iter().zip(&mut streams) {
                if !reader.is_at_end().map_err(|problem| fail(made, problem))? {
                    return Err(fail(made, Problem::Trailing(stream)));
                }
            }
        }
        self.open = Some((next, streams));
        Ok(())
    }

    fn sources<'s>(
        &self,
        target: usize,
        sources: &[Option<&'s dyn ReadAt>],
    ) -> Result<Vec<Source<'s>>, Problem> {
        let numbers = &self.directory.targets[target].sources;
        let mut found = Vec::with_capacity(numbers.len());
        for &number in numbers {
            let bytes = sources.get(number).copied().flatten().ok_or(Problem::MissingSource(number))?;
            let (expected, got) = (self.directory.source_length(number).unwrap_or_default(), bytes.length());
            if expected != got {
                return Err(Problem::SourceLength { source_number: number, expected, got });
            }
            found.push(Source { number, bytes, length: got });
        }
        Ok(found)
    }

    /// The streams at the share of this target. Those of an earlier call are used only if it succeeded.
    fn streams(&mut self, target: usize) -> Result<Vec<StreamReader<'a>>, Problem> {
        let mut streams = match self.open.take() {
            Some((at, streams)) if at <= target => streams,
            _ => self.open_streams()?,
        };
        for (i, reader) in streams.iter_mut().enumerate() {
            let before = self.directory.targets[..target].iter().map(|target| target.shares[i]);
            reader.skip_to(before.sum())?;
        }
        Ok(streams)
    }

    fn open_streams(&self) -> Result<Vec<StreamReader<'a>>, Problem> {
        let mut offset = self.streams_at;
        let streams = Stream::ALL.into_iter().zip(&self.directory.streams).map(|(stream, section)| {
            let range = (offset, offset + section.stored);
            offset = range.1;
            StreamReader::new(stream, self.bytes, range, section.window_log)
                .map_err(|error| Problem::Stream { stream, error })
        });
        streams.collect()
    }
}

#[derive(Clone, Copy)]
struct Source<'a> {
    number: usize,
    bytes: &'a dyn ReadAt,
    length: u64,
}

impl Source<'_> {
    /// Whether a range is within the source.
    fn check(&self, offset: u64, length: u64) -> Result<(), Problem> {
        match offset.checked_add(length) {
            Some(end) if end <= self.length => Ok(()),
            _ => Err(Problem::Range { offset: i128::from(offset), length, available: self.length }),
        }
    }

    fn read(&self, buf: &mut [u8], offset: u64) -> Result<(), Problem> {
        let problem = |error| Problem::ReadSource { source_number: self.number, error };
        self.bytes.read_exact_at(buf, offset).map_err(problem)
    }
}

/// The state within one target.
struct Run<'r, 'a> {
    streams: &'r mut [StreamReader<'a>],
    sources: Vec<Source<'r>>,
    out: &'r mut dyn Write,
    /// The last block that was made with edits.
    block: Block,
    recent: RecentEdits,
    buffer: Vec<u8>,
    frame_memory: u64,
}

impl Run<'_, '_> {
    fn operations(&mut self, count: u64, length: u64, made: &mut u64) -> Result<(), Problem> {
        let mut cursors = Cursors::new(self.sources.len());
        let mut done = 0;
        while *made < length {
            if done == count {
                return Err(Problem::Operations { expected: count, got: done + 1 });
            }
            done += 1;
            let operation = Operation::read(&mut self.streams[Stream::Operations as usize], &mut cursors)?;
            let (makes, rest) = (operation.length(), length - *made);
            if makes == 0 || makes > rest {
                return Err(Problem::Length { length: makes, rest });
            }
            self.run(operation)?;
            *made += makes;
        }
        if done < count {
            return Err(Problem::Operations { expected: count, got: done });
        }
        Ok(())
    }

    fn run(&mut self, operation: Operation) -> Result<(), Problem> {
        match operation {
            Operation::Copy(place, length) => self.copy(place, length),
            Operation::New(length) => self.pieces(length, |run, buf| run.fill(Stream::New, buf)),
            Operation::Zeros(length) => self.pieces(length, |_, buf| {
                buf.fill(0);
                Ok(())
            }),
            Operation::Frame { place, prefix, length, stored } => self.frame(place, prefix, length, stored),
            Operation::Difference { place, range, length } => self.difference(place, range, length),
            Operation::Header(place) => {
                self.block = self.source_block(place)?;
                self.new_edits()
            }
            Operation::Block => self.new_edits(),
            Operation::HeaderAgain(place, back) => {
                self.block = self.source_block(place)?;
                self.recent.get(back).ok_or(Problem::EditsBack(back))?.apply(&mut self.block);
                self.out.write_all(&self.block).map_err(Problem::Write)
            }
        }
    }

    fn fill(&mut self, stream: Stream, buf: &mut [u8]) -> Result<(), Problem> {
        self.streams[stream as usize].fill(buf)
    }

    /// Writes `length` bytes in pieces of the buffer.
    fn pieces(
        &mut self,
        mut length: u64,
        mut make: impl FnMut(&mut Self, &mut [u8]) -> Result<(), Problem>,
    ) -> Result<(), Problem> {
        let mut buffer = std::mem::take(&mut self.buffer);
        while length > 0 {
            let most = usize::try_from(length).map_or(buffer.len(), |length| length.min(buffer.len()));
            make(self, &mut buffer[..most])?;
            self.out.write_all(&buffer[..most]).map_err(Problem::Write)?;
            length -= most as u64;
        }
        self.buffer = buffer;
        Ok(())
    }

    fn copy(&mut self, place: Place, length: u64) -> Result<(), Problem> {
        let source = self.sources[place.index];
        source.check(place.offset, length)?;
        let mut offset = place.offset;
        self.pieces(length, |_, buf| {
            source.read(buf, offset)?;
            offset += buf.len() as u64;
            Ok(())
        })
    }

    fn source_block(&self, place: Place) -> Result<Block, Problem> {
        let source = self.sources[place.index];
        source.check(place.offset, BLOCK as u64)?;
        let mut block = [0; BLOCK];
        source.read(&mut block, place.offset)?;
        Ok(block)
    }

    fn new_edits(&mut self) -> Result<(), Problem> {
        let edits = Edits::read(&mut self.streams[Stream::Headers as usize])?;
        edits.apply(&mut self.block);
        self.recent.push(edits);
        self.out.write_all(&self.block).map_err(Problem::Write)
    }

    /// The frame is decoded in a window of its own length, so that prefix and content are all that it keeps in memory.
    fn frame(&mut self, place: Place, prefix: u64, length: u64, stored: u64) -> Result<(), Problem> {
        let declared = self.frame_memory;
        match prefix.checked_add(length) {
            Some(memory) if memory <= declared => {}
            _ => return Err(Problem::FrameMemory { length, prefix, declared }),
        }
        let most = max_prefix(length);
        if prefix > most {
            return Err(Problem::Prefix { length, prefix, most });
        }
        let source = self.sources[place.index];
        source.check(place.offset, prefix)?;
        let mut prefix_bytes = vec![0; prefix as usize];
        source.read(&mut prefix_bytes, place.offset)?;
        let mut buffer = std::mem::take(&mut self.buffer);
        let frames = Read::by_ref(&mut self.streams[Stream::Frames as usize]).take(stored);
        let mut frames = BufReader::with_capacity(32 << 10, frames);
        let mut decoder =
            zstd::Decoder::with_ref_prefix(&mut frames, &prefix_bytes).map_err(Problem::Frame)?;
        decoder.window_log_max(window_log(length)).map_err(Problem::Frame)?;
        let mut decoder = decoder.single_frame();
        let mut rest = length;
        // One byte more than there should be shows that the frame is too long, and that it ends.
        loop {
            let read = decoder.read(&mut buffer).map_err(Problem::Frame)?;
            if read == 0 {
                break;
            }
            rest = rest.checked_sub(read as u64).ok_or(Problem::FrameLength { stored, length })?;
            self.out.write_all(&buffer[..read]).map_err(Problem::Write)?;
        }
        drop(decoder);
        let is_all_used = frames.buffer().is_empty() && frames.get_ref().limit() == 0;
        self.buffer = buffer;
        if rest == 0 && is_all_used { Ok(()) } else { Err(Problem::FrameLength { stored, length }) }
    }

    fn difference(&mut self, place: Place, range: u64, length: u64) -> Result<(), Problem> {
        let source = self.sources[place.index];
        source.check(place.offset, range)?;
        let mut window =
            Window { source, start: place.offset, end: place.offset + range, bytes: Vec::new(), at: 0 };
        let (mut rest, mut position) = (length, 0_u64);
        while rest > 0 {
            let step = Step::read(&mut self.streams[Stream::Control as usize])?;
            let makes = step.add.checked_add(step.extra).filter(|makes| (1..=rest).contains(makes));
            let makes = makes.ok_or(Problem::Length { length: step.add.saturating_add(step.extra), rest })?;
            let moved = position.checked_add_signed(step.seek).filter(|moved| *moved <= range);
            let outside = || Problem::Range {
                offset: i128::from(position) + i128::from(step.seek),
                length: step.add,
                available: range,
            };
            let moved = moved.filter(|moved| step.add <= range - moved).ok_or_else(outside)?;
            let mut offset = place.offset + moved;
            self.pieces(step.add, |run, buf| {
                run.fill(Stream::Difference, buf)?;
                window.add(buf, offset)?;
                offset += buf.len() as u64;
                Ok(())
            })?;
            self.pieces(step.extra, |run, buf| run.fill(Stream::Extra, buf))?;
            position = moved + step.add;
            rest -= makes;
        }
        Ok(())
    }
}

/// The smallest window that holds so many bytes.
fn window_log(length: u64) -> u32 {
    length.next_power_of_two().trailing_zeros().clamp(u32::from(MIN_WINDOW_LOG), 31)
}

/// Bytes of the range of a difference that were read in advance: its steps are short and mostly follow each other.
struct Window<'a> {
    source: Source<'a>,
    start: u64,
    end: u64,
    bytes: Vec<u8>,
    at: u64,
}

/// How much of a source is read at once for a difference.
const AHEAD: u64 = 32 << 10;

impl Window<'_> {
    /// Adds the bytes at `offset`, which are within the range, to differences.
    fn add(&mut self, differences: &mut [u8], offset: u64) -> Result<(), Problem> {
        let end = offset + differences.len() as u64;
        if offset < self.at || end > self.at + self.bytes.len() as u64 {
            // Steps go back a little as often as forward.
            let start = offset.saturating_sub(AHEAD / 8).max(self.start);
            let read_end = end.max(offset + AHEAD).min(self.end);
            self.bytes.resize((read_end - start) as usize, 0);
            self.at = start;
            self.source.read(&mut self.bytes, start)?;
        }
        let from = &self.bytes[(offset - self.at) as usize..];
        differences.iter_mut().zip(from).for_each(|(byte, base)| *byte = byte.wrapping_add(*base));
        Ok(())
    }
}
