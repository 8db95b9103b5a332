// SPDX-License-Identifier: Apache-2.0
//! The streams of a patch while it is made, and the patch.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;

use super::difference::Difference;
use super::jobs::{Jobs, PanicError};
use super::report::StreamSize;
use super::{DiffError, Mode};
use crate::patch::{
    Block, Cursors, Directory, Edits, FileBytes, Operation, Place, RangeReader, ReadAt, RecentEdits, STREAMS,
    Section, Stream, Target,
};

/// Bytes in a file without a name.
pub(super) struct Spool {
    file: BufWriter<File>,
    length: u64,
}

impl Spool {
    fn new(scratch: &Path) -> Result<Self, DiffError> {
        let file = tempfile::tempfile_in(scratch).map_err(DiffError::Scratch)?;
        Ok(Self { file: BufWriter::with_capacity(256 << 10, file), length: 0 })
    }

    fn push(&mut self, bytes: &[u8]) -> Result<(), DiffError> {
        self.length += bytes.len() as u64;
        self.file.write_all(bytes).map_err(DiffError::Scratch)
    }

    fn finish(self) -> Result<FileBytes, DiffError> {
        let file = self.file.into_inner().map_err(|error| DiffError::Scratch(error.into_error()))?;
        FileBytes::new(file).map_err(DiffError::Scratch)
    }
}

/// The streams of a patch, uncompressed.
pub(super) struct PatchWriter {
    bases: Vec<u64>,
    targets: Vec<Target>,
    operations: Vec<u8>,
    headers: Vec<u8>,
    control: Vec<u8>,
    difference: Spool,
    extra: Spool,
    frames: Spool,
    /// Layer, offset and length: read again when the stream is compressed.
    new: Vec<(usize, u64, u64)>,
    new_length: u64,
    frame_memory: u64,
    target: TargetWriter,
}

/// A patch that was written.
pub(super) struct Written {
    /// The numbers of the bases that are used, ascending: those of the patch.
    pub(super) bases: Vec<usize>,
    /// What each target is made of, by numbers in the patch, and about how many bytes of the patch it takes.
    pub(super) targets: Vec<(Vec<usize>, u64)>,
    /// In the order of [`Stream::ALL`].
    pub(super) streams: [StreamSize; STREAMS],
}

/// The operations of one target; the index of their places is still the number of the source.
#[derive(Default)]
struct TargetWriter {
    layer: usize,
    operations: Vec<Operation>,
    block: Option<Block>,
    recent: RecentEdits,
}

impl PatchWriter {
    pub(super) fn new(bases: Vec<u64>, scratch: &Path) -> Result<Self, DiffError> {
        Ok(Self {
            bases,
            targets: Vec::new(),
            operations: Vec::new(),
            headers: Vec::new(),
            control: Vec::new(),
            difference: Spool::new(scratch)?,
            extra: Spool::new(scratch)?,
            frames: Spool::new(scratch)?,
            new: Vec::new(),
            new_length: 0,
            frame_memory: 0,
            target: TargetWriter::default(),
        })
    }

    /// Begins the operations of this layer.
    pub(super) fn begin(&mut self, layer: usize) {
        self.target = TargetWriter { layer, ..TargetWriter::default() };
    }

    pub(super) fn copy(&mut self, source: usize, offset: u64, length: u64) {
        self.target.operations.push(Operation::Copy(Place { index: source, offset }, length));
    }

    pub(super) fn zeros(&mut self, length: u64) {
        self.target.operations.push(Operation::Zeros(length));
    }

    pub(super) fn new_content(&mut self, offset: u64, length: u64) {
        let layer = self.target.layer;
        self.new_length += length;
        match self.new.last_mut() {
            Some((last, start, size)) if *last == layer && *start + *size == offset => *size += length,
            _ => self.new.push((layer, offset, length)),
        }
        if let Some(Operation::New(last)) = self.target.operations.last_mut() {
            *last += length;
        } else {
            self.target.operations.push(Operation::New(length));
        }
    }

    pub(super) fn frame(
        &mut self,
        (source, offset): (usize, u64),
        prefix: u64,
        length: u64,
        frame: &[u8],
    ) -> Result<(), DiffError> {
        self.frame_memory = self.frame_memory.max(prefix + length);
        self.frames.push(frame)?;
        let place = Place { index: source, offset };
        self.target.operations.push(Operation::Frame { place, prefix, length, stored: frame.len() as u64 });
        Ok(())
    }

    pub(super) fn difference(
        &mut self,
        (source, offset): (usize, u64),
        range: u64,
        length: u64,
        code: &Difference,
    ) -> Result<(), DiffError> {
        self.control.extend_from_slice(&code.encoded_steps());
        self.difference.push(&code.difference)?;
        self.extra.push(&code.extra)?;
        let place = Place { index: source, offset };
        self.target.operations.push(Operation::Difference { place, range, length });
        Ok(())
    }

    /// A block, from one of a source (with its place) or from the last block.
    pub(super) fn header(&mut self, from: Option<(usize, u64, Block)>, block: &Block) {
        let target = &mut self.target;
        let last = target.block.unwrap_or([0; _]);
        let edits = Edits::between(from.as_ref().map_or(&last, |(.., from)| from), block);
        let place = from.map(|(index, offset, _)| Place { index, offset });
        let back = target.recent.position(&edits);
        target.block = Some(*block);
        target.operations.push(match (place, back) {
            (Some(place), Some(back)) => {
                target.operations.push(Operation::HeaderAgain(place, back));
                return;
            }
            (Some(place), None) => Operation::Header(place),
            (None, _) => Operation::Block,
        });
        edits.write(&mut self.headers);
        target.recent.push(edits);
    }

    /// Ends the operations of a layer of `length` bytes. Its share of each stream is what was added since the last one.
    pub(super) fn end(&mut self, length: u64) {
        let target = std::mem::take(&mut self.target);
        let sources = target.operations.iter().filter_map(Operation::place).map(|place| place.index);
        let sources = sources.collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>();
        let mut cursors = Cursors::new(sources.len());
        for operation in &target.operations {
            let index = |place: Place| sources.binary_search(&place.index).unwrap_or_default();
            operation.with_index(index).write(&mut self.operations, &mut cursors);
        }
        let ends = self.lengths();
        let begins = |i: usize| self.targets.iter().map(|target| target.shares[i]).sum::<u64>();
        let shares = std::array::from_fn(|i| ends[i] - begins(i));
        self.targets.push(Target { length, sources, operations: target.operations.len() as u64, shares });
    }

    fn lengths(&self) -> [u64; STREAMS] {
        [
            self.operations.len() as u64,
            self.headers.len() as u64,
            self.control.len() as u64,
            self.difference.length,
            self.extra.length,
            self.new_length,
            self.frames.length,
        ]
    }

    /// Compresses the streams and writes the patch.
    pub(super) fn finish(
        self,
        layers: &[&dyn ReadAt],
        mode: Mode,
        threads: usize,
        scratch: &Path,
        out: &mut dyn Write,
    ) -> Result<Written, DiffError> {
        let lengths = self.lengths();
        let (difference, extra, frames) =
            (self.difference.finish()?, self.extra.finish()?, self.frames.finish()?);
        let new = Segments { layers, segments: &self.new, done: 0 };
        // The longest take the longest: they begin first.
        let jobs = [
            Stream::New,
            Stream::Difference,
            Stream::Extra,
            Stream::Control,
            Stream::Headers,
            Stream::Operations,
        ];
        let compress = |stream: &Stream| -> Result<(u8, FileBytes), DiffError> {
            let length = lengths[*stream as usize];
            let mut from: Box<dyn Read + '_> = match stream {
                Stream::Operations => Box::new(self.operations.as_slice()),
                Stream::Headers => Box::new(self.headers.as_slice()),
                Stream::Control => Box::new(self.control.as_slice()),
                Stream::Difference => Box::new(RangeReader::new(&difference, 0, length)),
                Stream::Extra => Box::new(RangeReader::new(&extra, 0, length)),
                Stream::New => Box::new(new.clone()),
                Stream::Frames => Box::new(RangeReader::new(&frames, 0, length)),
            };
            let mut spool = Spool::new(scratch)?;
            let window_log = compress_stream(*stream, &mut from, length, mode, threads, &mut spool.file)?;
            Ok((window_log, spool.finish()?))
        };
        let mut sections = [Section::default(); STREAMS];
        let mut stored: [Option<FileBytes>; STREAMS] = [const { None }; STREAMS];
        Jobs {
            list: &jobs,
            threads,
            memory: mode.memory(),
            weight: &|stream| mode.compression(*stream, lengths[*stream as usize]).memory(),
            work: &compress,
            result_weight: &|_| 0,
        }
        .run(|i, result| {
            let (window_log, file) = result?;
            sections[jobs[i] as usize] = Section { window_log, stored: file.length() };
            stored[jobs[i] as usize] = Some(file);
            Ok::<_, DiffError>(())
        })?;
        sections[Stream::Frames as usize] = Section { window_log: 0, stored: frames.length() };
        stored[Stream::Frames as usize] = Some(frames);
        let directory = Directory {
            bases: self.bases,
            targets: self.targets,
            frame_memory: self.frame_memory,
            streams: sections,
        };
        let (directory, bases) = directory.without_unused_bases();
        out.write_all(&directory.encode()).map_err(DiffError::Write)?;
        for file in stored.iter().flatten() {
            let mut reader = RangeReader::new(file, 0, file.length());
            io::copy(&mut reader, out).map_err(DiffError::Write)?;
        }
        let streams = std::array::from_fn(|i| StreamSize { length: lengths[i], stored: sections[i].stored });
        let travels = (0..directory.targets.len()).map(|target| directory.share(target)).collect::<Vec<_>>();
        let sources = directory.targets.into_iter().map(|target| target.sources);
        Ok(Written { bases, targets: sources.zip(travels).collect(), streams })
    }
}

impl From<PanicError> for DiffError {
    fn from(error: PanicError) -> Self {
        Self::Panic(error)
    }
}

fn compress_stream(
    stream: Stream,
    from: &mut dyn Read,
    length: u64,
    mode: Mode,
    threads: usize,
    out: &mut dyn Write,
) -> Result<u8, DiffError> {
    if length == 0 {
        return Ok(0);
    }
    let compression = mode.compression(stream, length);
    let encode = || -> io::Result<()> {
        let mut encoder = zstd::Encoder::new(out, compression.level)?;
        encoder.set_pledged_src_size(Some(length))?;
        encoder.window_log(u32::from(compression.window_log))?;
        encoder.long_distance_matching(compression.has_long_distance)?;
        for parameter in compression.parameters() {
            encoder.set_parameter(*parameter)?;
        }
        if compression.is_parallel {
            encoder.multithread(threads as u32)?;
        }
        io::copy(from, &mut encoder)?;
        encoder.finish().map(|_| ())
    };
    encode().map_err(DiffError::Compress)?;
    Ok(compression.window_log)
}

/// Ranges of layers, one after the other.
#[derive(Clone)]
struct Segments<'a> {
    layers: &'a [&'a dyn ReadAt],
    segments: &'a [(usize, u64, u64)],
    done: u64,
}

impl Read for Segments<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let Some((layer, offset, length)) = self.segments.first() else { return Ok(0) };
        let most = (length - self.done).min(buf.len() as u64);
        self.layers[*layer].read_exact_at(&mut buf[..most as usize], offset + self.done)?;
        self.done += most;
        if self.done == *length {
            self.segments = &self.segments[1..];
            self.done = 0;
        }
        Ok(most as usize)
    }
}
