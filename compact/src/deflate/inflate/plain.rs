// SPDX-License-Identifier: Apache-2.0
//! Plain bytes of a gzip stream.

use std::io::{self, BufRead, Read};

use super::error::InflateError;
use super::{GzipReader, Piece};

/// The plain bytes of a gzip stream, of all its members, as one reader.
///
/// Errors are [`io::Error`]s with an [`InflateError`] inside. Zero bytes behind the last member are ignored.
#[derive(Debug)]
pub struct PlainReader<R> {
    members: GzipReader<R>,
    /// Bytes of the last piece that are not given yet.
    rest: usize,
    is_first_only: bool,
}

impl<R: Read> PlainReader<R> {
    /// Reads the header of the first member.
    ///
    /// # Errors
    /// The reader fails, or there is no gzip header.
    pub fn new(reader: R) -> Result<Self, InflateError> {
        Ok(Self { members: GzipReader::new(reader)?, rest: 0, is_first_only: false })
    }

    /// The same, but what is behind the first member is not read.
    ///
    /// # Errors
    /// The reader fails, or there is no gzip header.
    pub fn of_first_member(reader: R) -> Result<Self, InflateError> {
        Ok(Self { is_first_only: true, ..Self::new(reader)? })
    }

    /// Makes `rest` nonzero unless the stream is at its end.
    fn advance(&mut self) -> Result<(), InflateError> {
        while self.rest == 0 {
            match self.members.next()? {
                Piece::Block(_) => {}
                Piece::Data { plain, .. } => self.rest = plain.len(),
                Piece::End => {
                    if self.is_first_only || !self.members.next_member()? {
                        break;
                    }
                }
            }
        }
        Ok(())
    }
}

impl<R: Read> BufRead for PlainReader<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.advance()?;
        Ok(self.members.last_plain(self.rest))
    }

    fn consume(&mut self, amount: usize) {
        self.rest -= amount.min(self.rest);
    }
}

impl<R: Read> Read for PlainReader<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let mut plain = self.fill_buf()?;
        let size = plain.read(out)?;
        self.consume(size);
        Ok(size)
    }
}
