// SPDX-License-Identifier: Apache-2.0
//! The operations of a patch.

use std::io::Read;

use super::error::Problem;
use super::format::{BLOCK, Stream};
use super::varint;

/// A range of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// Its position in the target's list of sources.
    pub(crate) index: usize,
    /// Where the range begins.
    pub(crate) offset: u64,
}

/// What makes the next bytes of a target. All but [`Operation::New`], [`Operation::Zeros`] and the two blocks begin at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    /// These bytes of a source.
    Copy(Place, u64),
    /// The next bytes of the stream of new content.
    New(u64),
    /// A frame that is decompressed with a range of a source as prefix.
    Frame {
        /// Where the prefix is.
        place: Place,
        /// The length of the prefix.
        prefix: u64,
        /// The length of what it makes.
        length: u64,
        /// The bytes of the frame in the stream of frames.
        stored: u64,
    },
    /// Bytes of a range of a source with differences added to them, and bytes between these.
    Difference {
        /// Where the range is.
        place: Place,
        /// The length of the range.
        range: u64,
        /// The length of what is made.
        length: u64,
    },
    /// A block of a source with the next edits of the stream of headers.
    Header(Place),
    /// A block of a source with edits that this target used before: 1 is the last.
    HeaderAgain(Place, u64),
    /// The last block with edits that this target has, with the next edits.
    Block,
    /// Zeros.
    Zeros(u64),
}

/// The bit of an operation that begins where the last one in a source ended.
const CONTINUES: u8 = 0x10;

/// Where the last operation of a target ended, in each of its sources.
#[derive(Debug)]
pub(crate) struct Cursors {
    offsets: Vec<u64>,
    last: usize,
}

impl Cursors {
    /// At the beginning of each source of a target.
    pub(crate) fn new(sources: usize) -> Self {
        Self { offsets: vec![0; sources], last: 0 }
    }

    fn is_at(&self, place: Place) -> bool {
        place.index == self.last && self.offsets.get(place.index) == Some(&place.offset)
    }

    fn advance(&mut self, place: Place, length: u64) {
        self.last = place.index;
        if let Some(offset) = self.offsets.get_mut(place.index) {
            *offset = place.offset.saturating_add(length);
        }
    }
}

impl Operation {
    /// The number of bytes of a source that the operation uses, and where.
    fn range(&self) -> Option<(Place, u64)> {
        match *self {
            Self::Copy(place, length) => Some((place, length)),
            Self::Frame { place, prefix, .. } => Some((place, prefix)),
            Self::Difference { place, range, .. } => Some((place, range)),
            Self::Header(place) | Self::HeaderAgain(place, _) => Some((place, BLOCK as u64)),
            Self::New(_) | Self::Block | Self::Zeros(_) => None,
        }
    }

    /// Where it reads.
    pub(crate) fn place(&self) -> Option<Place> {
        self.range().map(|(place, _)| place)
    }

    /// The same with other numbers of sources.
    pub(crate) fn with_index(mut self, index: impl Fn(Place) -> usize) -> Self {
        match &mut self {
            Self::Copy(place, _)
            | Self::Frame { place, .. }
            | Self::Difference { place, .. }
            | Self::Header(place)
            | Self::HeaderAgain(place, _) => place.index = index(*place),
            Self::New(_) | Self::Block | Self::Zeros(_) => {}
        }
        self
    }

    /// The bytes that it makes.
    pub(crate) fn length(&self) -> u64 {
        match *self {
            Self::Copy(_, length)
            | Self::New(length)
            | Self::Zeros(length)
            | Self::Frame { length, .. }
            | Self::Difference { length, .. } => length,
            Self::Header(_) | Self::HeaderAgain(..) | Self::Block => BLOCK as u64,
        }
    }

    fn code(&self) -> u8 {
        match self {
            Self::Copy(..) => 1,
            Self::New(_) => 2,
            Self::Frame { .. } => 3,
            Self::Difference { .. } => 4,
            Self::Header(_) => 5,
            Self::HeaderAgain(..) => 6,
            Self::Block => 7,
            Self::Zeros(_) => 8,
        }
    }

    /// Appends the operation to the stream of operations.
    pub(crate) fn write(&self, out: &mut Vec<u8>, cursors: &mut Cursors) {
        let range = self.range();
        let continues = range.is_some_and(|(place, _)| cursors.is_at(place));
        out.push(self.code() | if continues { CONTINUES } else { 0 });
        if let Some((place, length)) = range {
            if !continues {
                varint::write(out, place.index as u64);
                varint::write_signed(out, place.offset.wrapping_sub(cursors.offsets[place.index]) as i64);
            }
            cursors.advance(place, length);
        }
        match *self {
            Self::Copy(_, length) | Self::New(length) | Self::Zeros(length) => varint::write(out, length),
            Self::Frame { prefix, length, stored, .. } => {
                [prefix, length, stored].into_iter().for_each(|number| varint::write(out, number));
            }
            Self::Difference { range, length, .. } => {
                [range, length].into_iter().for_each(|number| varint::write(out, number));
            }
            Self::HeaderAgain(_, back) => varint::write(out, back),
            Self::Header(_) | Self::Block => {}
        }
    }

    pub(super) fn read(from: &mut impl Read, cursors: &mut Cursors) -> Result<Self, Problem> {
        let mut code = [0];
        from.read_exact(&mut code).map_err(|error| Problem::Stream { stream: Stream::Operations, error })?;
        let (code, continues) = (code[0] & !CONTINUES, code[0] & CONTINUES != 0);
        let has_place = matches!(code, 1 | 3..=6);
        if !matches!(code, 1..=8) || continues && !has_place {
            return Err(Problem::Operation(code | if continues { CONTINUES } else { 0 }));
        }
        let place = if has_place {
            Self::read_place(from, cursors, continues)?
        } else {
            Place { index: 0, offset: 0 }
        };
        let operation = match code {
            1 => Self::Copy(place, number(from)?),
            2 => Self::New(number(from)?),
            3 => Self::Frame { place, prefix: number(from)?, length: number(from)?, stored: number(from)? },
            4 => Self::Difference { place, range: number(from)?, length: number(from)? },
            5 => Self::Header(place),
            6 => Self::HeaderAgain(place, number(from)?),
            7 => Self::Block,
            _ => Self::Zeros(number(from)?),
        };
        if let Some((place, length)) = operation.range() {
            cursors.advance(place, length);
        }
        Ok(operation)
    }

    fn read_place(from: &mut impl Read, cursors: &Cursors, continues: bool) -> Result<Place, Problem> {
        let sources = cursors.offsets.len();
        let index = if continues { cursors.last as u64 } else { number(from)? };
        let refuse = || Problem::SourceIndex { index, sources };
        let at = usize::try_from(index).ok().filter(|at| *at < sources).ok_or_else(refuse)?;
        let moved = if continues {
            0
        } else {
            varint::read_signed(from)
                .map_err(|error| Problem::Number { stream: Stream::Operations, error })?
        };
        let offset = cursors.offsets[at];
        let moved_to = offset.checked_add_signed(moved);
        let range = || Problem::Range {
            offset: i128::from(offset) + i128::from(moved),
            length: 0,
            available: u64::MAX,
        };
        Ok(Place { index: at, offset: moved_to.ok_or_else(range)? })
    }
}

fn number(from: &mut impl Read) -> Result<u64, Problem> {
    varint::read(from).map_err(|error| Problem::Number { stream: Stream::Operations, error })
}

/// One step of a difference: bytes of the source with differences added, then bytes without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Step {
    /// How far the position in the range moves first.
    pub(crate) seek: i64,
    /// Bytes of the range to which differences are added.
    pub(crate) add: u64,
    /// Bytes that follow as they are.
    pub(crate) extra: u64,
}

impl Step {
    /// Appends the step to the stream of control numbers.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        varint::write_signed(out, self.seek);
        varint::write(out, self.add);
        varint::write(out, self.extra);
    }

    pub(super) fn read(from: &mut impl Read) -> Result<Self, Problem> {
        let read = |from: &mut _| varint::read(from);
        let problem = |error| Problem::Number { stream: Stream::Control, error };
        Ok(Self {
            seek: varint::read_signed(from).map_err(problem)?,
            add: read(from).map_err(problem)?,
            extra: read(from).map_err(problem)?,
        })
    }
}
