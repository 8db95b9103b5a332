// SPDX-License-Identifier: Apache-2.0
//! A patch from layers.

use std::io::{self, Write};
use std::path::PathBuf;

use super::DiffError;
use super::code::{self, Code};
use super::index::Index;
use super::jobs::Jobs;
use super::mode::Mode;
use super::plan::{self, Piece};
use super::report::{FileReport, Report, TargetReport};
use super::sketch::Sketches;
use super::write::{PatchWriter, Written};
use crate::patch::{BLOCK, Block, ReadAt, STREAMS, Stream};

/// How a patch is made.
#[derive(Debug, Clone)]
pub struct Options {
    /// How much time it may take.
    pub mode: Mode,
    /// How many threads work.
    pub threads: usize,
    /// A folder for temporary files: as long as all changed content, uncompressed.
    pub scratch: PathBuf,
}

/// Writes a patch that makes `targets` from `bases` (all of them uncompressed layers), and reports what is in it.
///
/// # Expected flow
/// Each layer is read once from its beginning to its end, then parts of it at offsets. A target that is no tar stream is one file.
///
/// # Guarantees
/// Layers are not kept in memory: about 512 MiB are used in mode `Fast`, 1.2 GiB in the others. The same layers make the same
/// patch, whatever the number of threads.
pub fn make(
    bases: &[&dyn ReadAt],
    targets: &[&dyn ReadAt],
    options: &Options,
    out: &mut dyn Write,
) -> Result<Report, DiffError> {
    let layers = bases.iter().chain(targets).copied().collect::<Vec<_>>();
    let mut index = Index::new(&layers, options.threads)
        .map_err(|(layer, error)| DiffError::ReadLayer { layer, error })?;
    (0..bases.len()).for_each(|base| index.add_source(base));
    let lengths = bases.iter().copied().map(ReadAt::length).collect();
    let mut maker = Maker {
        layers: &layers,
        options,
        writer: PatchWriter::new(lengths, &options.scratch)?,
        reports: Vec::new(),
        sketches: Sketches::default(),
    };
    for target in bases.len()..layers.len() {
        maker.target(&index, target)?;
        index.add_source(target);
    }
    let Maker { writer, mut reports, .. } = maker;
    let mut counter = Counter { out, bytes: 0 };
    let Written { bases, targets, streams } =
        writer.finish(&layers, options.mode, options.threads, &options.scratch, &mut counter)?;
    for (report, (sources, travels)) in reports.iter_mut().zip(targets) {
        (report.sources, report.travels) = (sources, travels);
    }
    let mut report = Report { bases, targets: reports, streams, patch_length: counter.bytes };
    report.divide();
    Ok(report)
}

struct Counter<'a> {
    out: &'a mut dyn Write,
    bytes: u64,
}

impl Write for Counter<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let written = self.out.write(buf)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

struct Maker<'a> {
    layers: &'a [&'a dyn ReadAt],
    options: &'a Options,
    writer: PatchWriter,
    reports: Vec<TargetReport>,
    sketches: Sketches,
}

impl Maker<'_> {
    fn target(&mut self, index: &Index, target: usize) -> Result<(), DiffError> {
        let (layers, mode) = (self.layers, self.options.mode);
        let read_error = |error| DiffError::ReadLayer { layer: target, error };
        let pieces =
            plan::pieces(index, layers, target, mode.windows(), &mut self.sketches).map_err(read_error)?;
        let length = layers[target].length();
        let mut report = TargetReport { length, ..TargetReport::default() };
        self.writer.begin(target);
        let jobs = Jobs {
            list: &pieces,
            threads: self.options.threads,
            memory: mode.memory(),
            weight: &|piece| weight(mode, piece),
            work: &|piece| encode(layers, target, mode, piece),
            result_weight: &|code| code.as_ref().map_or(0, Code::memory),
        };
        jobs.run(|i, code| {
            let code = code.map_err(read_error)?;
            self.piece(index, target, pieces[i], &code, &mut report)
        })?;
        self.writer.end(length);
        self.reports.push(report);
        Ok(())
    }

    fn piece(
        &mut self,
        index: &Index,
        target: usize,
        piece: Piece,
        code: &Code,
        report: &mut TargetReport,
    ) -> Result<(), DiffError> {
        match piece {
            Piece::Copy(range) => {
                report.copied += range.length;
                self.writer.copy(range.source, range.offset, range.length);
            }
            Piece::Zeros(length) => {
                report.zeros += length;
                self.writer.zeros(length);
            }
            Piece::Header { from, offset } => {
                report.headers += BLOCK as u64;
                let from = match from {
                    Some((source, at)) => Some((source, at, self.block(source, at)?)),
                    None => None,
                };
                let block = self.block(target, offset)?;
                self.writer.header(from, &block);
            }
            Piece::Content { old, offset, length, entry } => {
                let mut shares = [0; STREAMS];
                let mut new = 0;
                let used = match (code, old) {
                    (Code::Frame(frame), Some(old)) => {
                        shares[Stream::Frames as usize] = frame.len() as u64;
                        self.writer.frame((old.source, old.offset), old.length, length, frame)?;
                        Some(old)
                    }
                    (Code::Difference(code), Some(old)) => {
                        shares[Stream::Difference as usize] = code.difference.len() as u64;
                        shares[Stream::Extra as usize] = code.extra.len() as u64;
                        self.writer.difference((old.source, old.offset), old.length, length, code)?;
                        Some(old)
                    }
                    _ => {
                        new = length;
                        shares[Stream::New as usize] = length;
                        self.writer.new_content(offset, length);
                        None
                    }
                };
                report.patched += length - new;
                report.new += new;
                let from = used.map(|old| (old.source, index.path_at(old.source, old.offset)));
                let entry = &index.layers[target][entry];
                let path = String::from_utf8_lossy(&entry.path).into_owned();
                match report.files.last_mut() {
                    // The parts of a large file.
                    Some(last) if offset > entry.data_at => {
                        last.new += new;
                        last.from = last.from.take().or(from);
                        last.shares.iter_mut().zip(shares).for_each(|(sum, share)| *sum += share);
                    }
                    _ => report.files.push(FileReport {
                        path,
                        length: entry.length,
                        from,
                        new,
                        travels: 0,
                        shares,
                    }),
                }
            }
        }
        Ok(())
    }

    fn block(&self, layer: usize, offset: u64) -> Result<Block, DiffError> {
        let mut block = [0; BLOCK];
        let read = self.layers[layer].read_exact_at(&mut block, offset);
        read.map_err(|error| DiffError::ReadLayer { layer, error })?;
        Ok(block)
    }
}

/// The memory in which a piece is encoded.
fn weight(mode: Mode, piece: &Piece) -> u64 {
    match piece {
        Piece::Content { old: Some(old), length, .. } => code::memory(mode, old.length, *length),
        _ => 0,
    }
}

fn encode(layers: &[&dyn ReadAt], target: usize, mode: Mode, piece: &Piece) -> io::Result<Code> {
    let Piece::Content { old: Some(old), offset, length, .. } = piece else { return Ok(Code::New) };
    let read = |layer: usize, offset, length| {
        let mut bytes = vec![0; length as usize];
        layers[layer].read_exact_at(&mut bytes, offset)?;
        Ok::<_, io::Error>(bytes)
    };
    let (old, new) = (read(old.source, old.offset, old.length)?, read(target, *offset, *length)?);
    code::encode(mode, &old, &new)
}
