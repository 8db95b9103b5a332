// SPDX-License-Identifier: Apache-2.0
//! One member of a gzip stream (RFC 1952).

use std::io::Read;

use super::error::{Fault, InflateError};
use super::source::Source;
use super::{Inflate, Piece, Step};
use crate::deflate::Trailer;

/// Size that a header with its optional fields has at most.
pub const HEADER_MAXIMUM: usize = 4096;

const TEXT: u8 = 1;
const HEADER_CHECKSUM: u8 = 2;
const EXTRA: u8 = 4;
const NAME: u8 = 8;
const COMMENT: u8 = 16;
const KNOWN: u8 = TEXT | HEADER_CHECKSUM | EXTRA | NAME | COMMENT;

/// Reads a gzip stream with the structure of its blocks.
///
/// # Flow
/// [`GzipReader::next`] gives blocks and their content until [`Piece::End`], by which the check sum and the size were compared.
/// Then [`GzipReader::read_behind`] gives what is behind the member.
///
/// # Guarantees
/// Memory is below 512 KiB. Malformed input gives an error with its position, and no panic. After an error, the reader is not used.
#[derive(Debug)]
pub struct GzipReader<R> {
    source: Source<R>,
    header: Vec<u8>,
    inflate: Inflate,
    trailer: Trailer,
    /// The bits behind the final block.
    padding: Option<u8>,
}

impl<R: Read> GzipReader<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// The reader fails, or there is no gzip header.
    pub fn new(reader: R) -> Result<Self, InflateError> {
        let mut source = Source::new(reader);
        let header =
            read_header(&mut source).map_err(|fault| InflateError { at: source.position(), fault })?;
        Ok(Self { source, header, inflate: Inflate::new(), trailer: Trailer::default(), padding: None })
    }

    /// The header, as it is written.
    #[must_use]
    pub fn header(&self) -> &[u8] {
        &self.header
    }

    /// The reader, which is usually some bytes ahead.
    pub fn reader_mut(&mut self) -> &mut R {
        self.source.reader_mut()
    }

    /// The bits between the end of the final block and the byte border, when the end was read. Encoders write zeros.
    #[must_use]
    pub fn padding(&self) -> u8 {
        self.padding.unwrap_or_default()
    }

    /// Plain bytes of the pieces so far.
    #[must_use]
    pub fn plain_size(&self) -> u64 {
        self.inflate.size
    }

    /// Bytes of the stream that are read.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.source.position()
    }

    /// The next block, or the next part of its content.
    ///
    /// # Errors
    /// The reader fails, or the stream is malformed.
    #[expect(clippy::should_implement_trait, reason = "a piece borrows from the reader")]
    pub fn next(&mut self) -> Result<Piece<'_>, InflateError> {
        let step = self.step().map_err(|fault| InflateError { at: self.source.position(), fault })?;
        let Inflate { block, tokens, out, .. } = &self.inflate;
        Ok(match step {
            Step::Block => Piece::Block(block),
            Step::Data { begin } => Piece::Data { tokens, plain: &out[begin..] },
            Step::End => Piece::End,
        })
    }

    fn step(&mut self) -> Result<Step, Fault> {
        let step = self.inflate.next(&mut self.source)?;
        match step {
            Step::Block => {}
            Step::Data { begin } => self.trailer.update(&self.inflate.out[begin..]),
            Step::End => self.end()?,
        }
        Ok(step)
    }

    /// Reads the trailer.
    fn end(&mut self) -> Result<(), Fault> {
        if self.padding.is_some() {
            return Ok(());
        }
        self.padding = Some(self.source.padding()?);
        let checksum = self.source.bits(32)?;
        let size = self.source.bits(32)?;
        let [a, b, c, d, e, f, g, h] = self.trailer.bytes();
        let actual = u32::from_le_bytes([a, b, c, d]);
        if checksum != actual {
            return Err(Fault::Checksum { expected: checksum, actual });
        }
        let actual = u32::from_le_bytes([e, f, g, h]);
        if size != actual {
            return Err(Fault::Size { expected: size, actual });
        }
        Ok(())
    }

    /// The bytes behind the member, at most `most`.
    ///
    /// # Errors
    /// The reader fails.
    pub fn read_behind(&mut self, most: usize) -> Result<Vec<u8>, InflateError> {
        let mut behind = Vec::new();
        while behind.len() < most {
            match self.source.append(most - behind.len(), &mut behind) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) => return Err(InflateError { at: self.source.position(), fault: error.into() }),
            }
        }
        Ok(behind)
    }

    /// The last `size` plain bytes of the piece.
    pub(super) fn last_plain(&self, size: usize) -> &[u8] {
        let out = &self.inflate.out;
        &out[out.len().saturating_sub(size)..]
    }

    /// Begins the next member, or returns `false` at the end of the input or before zeros only.
    pub(super) fn next_member(&mut self) -> Result<bool, InflateError> {
        let result = match self.source.byte() {
            Ok(None) => Ok(false),
            Ok(Some(0)) => self.skip_zeros(),
            Ok(Some(first)) => read_header_behind(first, &mut self.source).map(|header| {
                self.header = header;
                self.inflate = Inflate::new();
                self.trailer = Trailer::default();
                self.padding = None;
                true
            }),
            Err(fault) => Err(fault),
        };
        result.map_err(|fault| InflateError { at: self.source.position(), fault })
    }

    fn skip_zeros(&mut self) -> Result<bool, Fault> {
        loop {
            match self.source.byte()? {
                Some(0) => {}
                Some(_) => return Err(Fault::Behind),
                None => return Ok(false),
            }
        }
    }
}

fn read_header<R: Read>(source: &mut Source<R>) -> Result<Vec<u8>, Fault> {
    let first = source.byte()?.ok_or(Fault::Truncated)?;
    read_header_behind(first, source)
}

fn read_header_behind<R: Read>(first: u8, source: &mut Source<R>) -> Result<Vec<u8>, Fault> {
    let mut header = vec![first];
    source.append_exactly(3, &mut header)?;
    let &[a, b, c, flags] = header.as_slice() else { return Err(Fault::Truncated) };
    if [a, b, c] != [0x1f, 0x8b, 8] || flags & !KNOWN != 0 {
        return Err(Fault::NotGzip([a, b, c, flags]));
    }
    source.append_exactly(6, &mut header)?;
    if flags & EXTRA != 0 {
        let mut size = Vec::new();
        source.append_exactly(2, &mut size)?;
        header.extend_from_slice(&size);
        let size = size.iter().rev().fold(0, |size, &byte| size << 8 | usize::from(byte));
        if size > HEADER_MAXIMUM {
            return Err(Fault::HeaderTooLong(HEADER_MAXIMUM));
        }
        source.append_exactly(size, &mut header)?;
    }
    for flag in [NAME, COMMENT] {
        if flags & flag != 0 {
            append_text(source, &mut header)?;
        }
    }
    if flags & HEADER_CHECKSUM != 0 {
        source.append_exactly(2, &mut header)?;
    }
    if header.len() > HEADER_MAXIMUM {
        return Err(Fault::HeaderTooLong(HEADER_MAXIMUM));
    }
    Ok(header)
}

/// Appends bytes up to a zero byte.
fn append_text<R: Read>(source: &mut Source<R>, header: &mut Vec<u8>) -> Result<(), Fault> {
    loop {
        let byte = source.byte()?.ok_or(Fault::Truncated)?;
        header.push(byte);
        if byte == 0 {
            return Ok(());
        }
        if header.len() > HEADER_MAXIMUM {
            return Err(Fault::HeaderTooLong(HEADER_MAXIMUM));
        }
    }
}
