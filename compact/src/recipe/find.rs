// SPDX-License-Identifier: Apache-2.0
//! How one gzip member of a layer is written.

use std::collections::HashSet;
use std::io::{self, Read, Seek, Write};
use std::mem::discriminant;

use super::candidate::{Candidate, Part, families};
use super::recompress::{RecipeError, recompress};
use super::{BEHIND_MAXIMUM, Corrections, Gzip, MEMBERS_MAXIMUM, Recipe, SETTINGS_MAXIMUM};
use crate::corrections::{CorrectionError, Limits, RecordError, Trees, record};
use crate::deflate::inflate::{Fault, GzipReader, InflateError, Piece, PlainReader};
use crate::encoder::Family;

/// Plain bytes on which each encoder is tried: several blocks of each, and one of pgzip with what must follow it.
const TRIAL: usize = (1 << 20) + (64 << 10);
/// Encoders that are equal so far and run over the stream side by side; after [`ALONE`] plain bytes, only the first.
const SIDE_BY_SIDE: usize = 4;
const ALONE: u64 = 8 << 20;
/// Plain bytes on which all match finders are compared, and those on which the best few are.
const SAMPLE: u64 = 512 << 10;
const LONG_SAMPLE: u64 = 4 << 20;
const BEST: usize = 4;
/// The largest recipe that is worth it, as a part of the layer: one tenth.
pub(super) const DIVISOR: u64 = 10;

/// Why a layer has no recipe.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// Compressed by zstd.
    #[error("layers that are compressed by zstd have no recipe")]
    Zstd,
    /// Malformed, or an unusual form of gzip.
    #[error("the gzip stream is not readable: {0}")]
    Inflate(#[source] InflateError),
    /// Several gzip streams, one behind the other.
    #[error(
        "the layer has more than {MEMBERS_MAXIMUM} gzip members, or more than {SETTINGS_MAXIMUM} kinds of them"
    )]
    Members,
    /// Too much behind the gzip stream.
    #[error("more than {BEHIND_MAXIMUM} bytes are behind the gzip stream")]
    Behind,
    /// A block with too many tokens.
    #[error("no encoder reproduces the stream, and corrections do not describe it: {0}")]
    Correction(#[source] CorrectionError),
    /// The corrections were tried, and the result is not the layer.
    #[error("no encoder reproduces the stream, and with corrections the result differs from it")]
    Different,
    /// A recipe of more than a tenth of the layer.
    #[error(
        "no encoder reproduces the stream, and the corrections would be larger than a tenth of the layer"
    )]
    TooLarge,
}

/// A failure of the file, or a property of the layer.
pub(super) enum Stop {
    Io(io::Error),
    Reason(Reason),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<InflateError> for Stop {
    fn from(error: InflateError) -> Self {
        match error.fault {
            Fault::Read(error) => Self::Io(error),
            _ => Self::Reason(Reason::Inflate(error)),
        }
    }
}

/// How the first member is written, and where it ends.
pub(super) fn find_member<R: Read + Seek>(layer: &mut R) -> Result<(Gzip, Tail), Stop> {
    let trial = Trial::read(layer)?;
    let equal = trial.equal_encoders();
    let found = match (trial.tail, equal.as_slice()) {
        (Some(tail), equal) => equal.first().copied().map(|family| (family, tail)),
        (None, []) => None,
        (None, equal) => {
            let (rare, common): (Vec<Family>, Vec<Family>) =
                equal.iter().partition(|family| family.is_rare());
            match follow(layer, &common)? {
                None if !rare.is_empty() => follow(layer, &rare)?,
                found => found,
            }
        }
    };
    let header = trial.header;
    match found {
        Some((family, tail)) => Ok((Gzip { family, corrections: None, header, behind: Vec::new() }, tail)),
        None => correct(layer, header),
    }
}

/// A reader that keeps what was read.
struct Tee<R> {
    reader: R,
    kept: Vec<u8>,
}

impl<R: Read> Read for Tee<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let size = self.reader.read(out)?;
        self.kept.extend_from_slice(&out[..size]);
        Ok(size)
    }
}

/// The beginning of a stream.
struct Trial {
    header: Vec<u8>,
    plain: Vec<u8>,
    /// The deflate stream as far as it was read.
    stream: Vec<u8>,
    /// Size of the deflate stream, if all of it was read.
    end: Option<u64>,
    tail: Option<Tail>,
}

impl Trial {
    fn read<R: Read + Seek>(layer: &mut R) -> Result<Self, Stop> {
        layer.rewind()?;
        let mut gzip = GzipReader::new(Tee { reader: layer, kept: Vec::new() })?;
        let header = gzip.header().to_vec();
        let mut trial = Self { header, plain: Vec::new(), stream: Vec::new(), end: None, tail: None };
        while trial.plain.len() < TRIAL {
            match gzip.next()? {
                Piece::Block(_) => {}
                Piece::Data { plain, .. } => trial.plain.extend_from_slice(plain),
                Piece::End => {
                    trial.end = Some(size_of_stream(&gzip));
                    trial.tail = Some(Tail::read(&mut gzip)?);
                    break;
                }
            }
        }
        let mut kept = std::mem::take(&mut gzip.reader_mut().kept);
        trial.stream = kept.split_off(trial.header.len().min(kept.len()));
        Ok(trial)
    }

    /// The encoders that write this beginning, the likely ones first.
    fn equal_encoders(&self) -> Vec<Family> {
        let is_equal = |family: &Family| {
            let mut candidate = Candidate::new(*family);
            let mut part = Part { start: 0, bytes: &self.stream };
            if let Some(end) = self.end {
                part.bytes = &self.stream[..(end as usize).min(self.stream.len())];
            }
            self.plain.chunks(64 << 10).all(|piece| candidate.write(piece, part))
                && self.end.is_none_or(|end| candidate.finish(part, end))
        };
        families(&self.header).into_iter().filter(is_equal).collect()
    }
}

/// Size of the deflate stream, at its end.
fn size_of_stream<R: Read>(gzip: &GzipReader<R>) -> u64 {
    (gzip.position() - 8).saturating_sub(gzip.header().len() as u64)
}

/// Where a member ends.
pub(super) struct Tail {
    /// Size of the member.
    pub(super) size: u64,
    /// Its plain bytes.
    pub(super) plain: u64,
    /// Another member is behind it.
    pub(super) is_member: bool,
    /// What is behind it, if it is no member.
    pub(super) behind: Vec<u8>,
}

impl Tail {
    /// At the end of a stream.
    fn read<R: Read>(gzip: &mut GzipReader<R>) -> Result<Self, Stop> {
        let (size, plain) = (gzip.position(), gzip.plain_size());
        let mut behind = gzip.read_behind(BEHIND_MAXIMUM + 1)?;
        let is_member = behind.starts_with(&[0x1f, 0x8b]);
        if is_member {
            behind.clear();
        }
        if behind.len() > BEHIND_MAXIMUM {
            return Err(Stop::Reason(Reason::Behind));
        }
        Ok(Self { size, plain, is_member, behind })
    }
}

/// Runs encoders over the stream, and returns the first one that is equal to its end.
pub(super) fn follow<R: Read + Seek>(
    layer: &mut R,
    families: &[Family],
) -> Result<Option<(Family, Tail)>, Stop> {
    layer.rewind()?;
    let mut gzip = GzipReader::new(Tee { reader: layer, kept: Vec::new() })?;
    let header = gzip.header().len();
    gzip.reader_mut().kept.drain(..header);
    let mut candidates = families.iter().copied().take(SIDE_BY_SIDE).map(Candidate::new).collect::<Vec<_>>();
    // Position of the first kept byte in the deflate stream.
    let mut start = 0;
    let mut plain = Vec::new();
    loop {
        match gzip.next()? {
            Piece::Block(_) => continue,
            Piece::Data { plain: piece, .. } => {
                plain.clear();
                plain.extend_from_slice(piece);
            }
            Piece::End => break,
        }
        if gzip.plain_size() > ALONE {
            candidates.truncate(1);
        }
        let kept = &mut gzip.reader_mut().kept;
        let part = Part { start, bytes: kept };
        candidates.retain_mut(|candidate| candidate.write(&plain, part));
        let Some(done) = candidates.iter().map(Candidate::position).min() else { return Ok(None) };
        kept.drain(..usize::try_from(done - start).unwrap_or(usize::MAX).min(kept.len()));
        start = done;
    }
    let size = size_of_stream(&gzip);
    let tail = Tail::read(&mut gzip)?;
    let part = Part { start, bytes: &gzip.reader_mut().kept };
    candidates.retain_mut(|candidate| candidate.finish(part, size));
    Ok(candidates.first().map(|candidate| (candidate.family, tail)))
}

/// A member with corrections.
fn correct<R: Read + Seek>(layer: &mut R, header: Vec<u8>) -> Result<(Gzip, Tail), Stop> {
    let (family, trees) = best_prediction(layer, &header)?;
    layer.rewind()?;
    let mut gzip = GzipReader::new(&mut *layer)?;
    let Some(mut finder) = family.finder() else { return Err(Stop::Reason(Reason::TooLarge)) };
    let limits = Limits { plain: u64::MAX, divisor: DIVISOR };
    let recorded = record(&mut gzip, &mut finder, trees, limits).map_err(|error| match error {
        RecordError::Inflate(error) => error.into(),
        RecordError::Correction(error) => Stop::Reason(Reason::Correction(error)),
        RecordError::TooLarge { .. } => Stop::Reason(Reason::TooLarge),
    })?;
    let tail = Tail::read(&mut gzip)?;
    let corrections = Some(Corrections { trees, bytes: recorded.corrections });
    let recipe = Recipe::Gzip(Gzip { family, corrections, header, behind: Vec::new() });
    if (recipe.encode().len() + tail.behind.len()) as u64 > tail.size / DIVISOR {
        return Err(Stop::Reason(Reason::TooLarge));
    }
    verify(layer, tail.size, &recipe)?;
    match recipe {
        Recipe::Gzip(gzip) => Ok((gzip, tail)),
        _ => Err(Stop::Reason(Reason::Different)),
    }
}

/// Size and CRC-32 of what is written.
#[derive(Default)]
struct Summary {
    size: u64,
    checksum: crc32fast::Hasher,
}

impl Write for Summary {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.size += bytes.len() as u64;
        self.checksum.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether the recipe gives the first member back, which has this size.
fn verify<R: Read + Seek>(layer: &mut R, size: u64, recipe: &Recipe) -> Result<(), Stop> {
    let (mut expected, mut actual) = (Summary::default(), Summary::default());
    layer.rewind()?;
    io::copy(&mut layer.by_ref().take(size), &mut expected)?;
    layer.rewind()?;
    let plain = PlainReader::of_first_member(&mut *layer)?;
    recompress(recipe, plain, &mut actual).map_err(|error| match error {
        RecipeError::Correction(error) => Stop::Reason(Reason::Correction(error)),
        RecipeError::Decode(_) | RecipeError::Members => Stop::Reason(Reason::Different),
        RecipeError::Read(error) | RecipeError::Write(error) => Stop::Io(error),
    })?;
    let is_equal = expected.size == actual.size && expected.checksum.finalize() == actual.checksum.finalize();
    if is_equal { Ok(()) } else { Err(Stop::Reason(Reason::Different)) }
}

/// The match finder and the codes that need the fewest corrections at the beginning of a stream.
fn best_prediction<R: Read + Seek>(layer: &mut R, header: &[u8]) -> Result<(Family, Trees), Stop> {
    let mut samples = Vec::new();
    for family in families(header).into_iter().filter(|family| !family.shares_finder()) {
        if let Some(bits) = sample(layer, family, Trees::Go, SAMPLE)? {
            samples.push((bits, family));
        }
    }
    samples.sort_by_key(|&(bits, _)| bits);
    // One of each kind of finder: levels of an encoder differ less than encoders do, and a short sample is not the stream.
    let mut kinds = HashSet::new();
    samples.retain(|(_, family)| kinds.insert(family.finder().as_ref().map(discriminant)));
    let mut best: Option<(u64, Family)> = None;
    for &(_, family) in samples.iter().take(BEST) {
        let bits = sample(layer, family, Trees::Go, LONG_SAMPLE)?.unwrap_or(u64::MAX);
        if best.is_none_or(|(least, _)| bits < least) {
            best = Some((bits, family));
        }
    }
    // Codes follow from the tokens of the stream, whoever expects them, so that one finder tells which are the better ones.
    let (bits, family) = best.ok_or(Stop::Reason(Reason::TooLarge))?;
    let other = sample(layer, family, Trees::Zlib, LONG_SAMPLE)?.unwrap_or(u64::MAX);
    Ok((family, if other < bits { Trees::Zlib } else { Trees::Go }))
}

/// Bits of corrections for a million plain bytes at the beginning of a stream.
fn sample<R: Read + Seek>(
    layer: &mut R,
    family: Family,
    trees: Trees,
    plain: u64,
) -> Result<Option<u64>, Stop> {
    let Some(mut finder) = family.finder() else { return Ok(None) };
    layer.rewind()?;
    let mut gzip = GzipReader::new(layer)?;
    // Even what is too large on the whole is compared: the beginning of a stream is not always like the rest.
    match record(&mut gzip, &mut finder, trees, Limits { plain, divisor: 1 }) {
        Ok(recorded) => Ok(Some(recorded.corrections.len() as u64 * 8_000_000 / recorded.plain.max(1))),
        Err(RecordError::Inflate(error)) => Err(error.into()),
        Err(RecordError::Correction(error)) => Err(Stop::Reason(Reason::Correction(error))),
        Err(RecordError::TooLarge { .. }) => Ok(None),
    }
}
