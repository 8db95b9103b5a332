// SPDX-License-Identifier: Apache-2.0
//! Bits from a reader, first bit in the lowest place (RFC 1951, 3.1.1).

use std::io::{self, Read};

use super::error::Fault;

const BUFFER: usize = 64 * 1024;

/// Bits of a reader. Never reads ahead of its buffer's need, and never gives a bit twice.
#[derive(Debug)]
pub(super) struct Source<R> {
    reader: R,
    buffer: Vec<u8>,
    /// Next byte of `buffer`, and the end of what it holds.
    at: usize,
    end: usize,
    is_end_of_input: bool,
    /// Bytes of the input before `buffer`.
    before: u64,
    hold: u64,
    /// Bits in `hold`; those above are zero.
    count: u32,
}

impl<R: Read> Source<R> {
    pub(super) fn new(reader: R) -> Self {
        Self {
            reader,
            buffer: vec![0; BUFFER],
            at: 0,
            end: 0,
            is_end_of_input: false,
            before: 0,
            hold: 0,
            count: 0,
        }
    }

    pub(super) fn reader_mut(&mut self) -> &mut R {
        &mut self.reader
    }

    /// Position of the next byte of which no bit was taken.
    pub(super) fn position(&self) -> u64 {
        self.before + self.at as u64 - u64::from(self.count / 8)
    }

    fn fill(&mut self) -> io::Result<()> {
        self.before += self.end as u64;
        (self.at, self.end) = (0, 0);
        while !self.is_end_of_input {
            match self.reader.read(&mut self.buffer) {
                Ok(0) => self.is_end_of_input = true,
                Ok(size) => {
                    self.end = size.min(self.buffer.len());
                    break;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Holds at least 56 bits, or all that the input has.
    #[inline]
    pub(super) fn refill(&mut self) -> io::Result<()> {
        if let Some(bytes) = self.buffer[..self.end].get(self.at..self.at + 8)
            && let Ok(bytes) = <[u8; 8]>::try_from(bytes)
        {
            // Bits of a byte that does not fit completely are taken again by the next call, at the same place.
            let taken = (63 - self.count) / 8;
            let bits = u64::from_le_bytes(bytes) & (u64::MAX >> (64 - 8 * taken.max(1)));
            if taken > 0 {
                self.hold |= bits << self.count;
            }
            self.at += taken as usize;
            self.count += 8 * taken;
            return Ok(());
        }
        self.refill_slowly()
    }

    #[cold]
    fn refill_slowly(&mut self) -> io::Result<()> {
        while self.count < 56 {
            if self.at == self.end {
                self.fill()?;
                if self.at == self.end {
                    break;
                }
            }
            self.hold |= u64::from(self.buffer[self.at]) << self.count;
            self.at += 1;
            self.count += 8;
        }
        Ok(())
    }

    /// The bits that come next, as far as [`Source::refill`] has them; zeros behind the end of the input.
    #[inline]
    pub(super) fn peek(&self) -> u64 {
        self.hold
    }

    /// Takes `count` (below 57) bits that were seen.
    #[inline]
    pub(super) fn take(&mut self, count: u32) -> Result<u32, Fault> {
        if count > self.count {
            return Err(Fault::Truncated);
        }
        let bits = self.hold & ((1 << count) - 1);
        self.hold >>= count;
        self.count -= count;
        Ok(bits as u32)
    }

    /// The next `count` (up to 32) bits.
    pub(super) fn bits(&mut self, count: u32) -> Result<u32, Fault> {
        self.refill()?;
        self.take(count)
    }

    /// The bits up to the next byte border.
    pub(super) fn padding(&mut self) -> Result<u8, Fault> {
        self.take(self.count % 8).map(|bits| bits as u8)
    }

    /// Behind a byte border: appends up to `most` bytes, at least one if the input has any.
    pub(super) fn append(&mut self, most: usize, out: &mut Vec<u8>) -> io::Result<usize> {
        if self.count >= 8 && most > 0 {
            let mut size = 0;
            while self.count >= 8 && size < most {
                out.push(self.hold as u8);
                self.hold >>= 8;
                self.count -= 8;
                size += 1;
            }
            return Ok(size);
        }
        if self.at == self.end {
            self.fill()?;
        }
        let size = most.min(self.end - self.at);
        out.extend_from_slice(&self.buffer[self.at..self.at + size]);
        self.at += size;
        Ok(size)
    }

    /// Behind a byte border: appends exactly `size` bytes.
    pub(super) fn append_exactly(&mut self, size: usize, out: &mut Vec<u8>) -> Result<(), Fault> {
        let mut rest = size;
        while rest > 0 {
            match self.append(rest, out)? {
                0 => return Err(Fault::Truncated),
                size => rest -= size,
            }
        }
        Ok(())
    }

    /// Behind a byte border: the next byte, or none at the end of the input.
    pub(super) fn byte(&mut self) -> Result<Option<u8>, Fault> {
        self.refill()?;
        if self.count < 8 {
            return Ok(None);
        }
        self.take(8).map(|byte| Some(byte as u8))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn bits_and_bytes_come_in_order_at_any_size_of_read() {
        struct Single<'a>(&'a [u8]);
        impl Read for Single<'_> {
            fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
                let size = out.len().min(1);
                self.0.read(&mut out[..size])
            }
        }
        let bytes: Vec<u8> = (0..=255u8).cycle().take(1000).collect();
        for single in [false, true] {
            let reader: Box<dyn Read> =
                if single { Box::new(Single(&bytes)) } else { Box::new(bytes.as_slice()) };
            let mut source = Source::new(reader);
            for (at, &byte) in bytes.iter().take(100).enumerate() {
                assert_eq!(source.position(), at as u64);
                assert_eq!(source.bits(3).unwrap(), u32::from(byte & 7));
                assert_eq!(source.padding().unwrap(), byte >> 3);
            }
            let mut rest = Vec::new();
            source.append_exactly(900, &mut rest).unwrap();
            assert_eq!(rest, bytes[100..]);
            assert_eq!(source.position(), 1000);
            assert_eq!(source.byte().unwrap(), None);
            assert!(matches!(source.bits(1), Err(Fault::Truncated)));
        }
    }
}
