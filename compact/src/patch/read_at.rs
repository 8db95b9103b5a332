// SPDX-License-Identifier: Apache-2.0
//! Bytes that are read at any offset: base layers, earlier targets and the patch itself.

use std::fs::File;
use std::io::{self, Read};

/// A sequence of bytes of a known length that is read at offsets, by several threads at once.
pub trait ReadAt: Sync {
    /// The number of bytes.
    fn length(&self) -> u64;

    /// Reads at `offset` until `buf` is full, or fails with [`io::ErrorKind::UnexpectedEof`].
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()>;
}

impl ReadAt for [u8] {
    fn length(&self) -> u64 {
        self.len() as u64
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let start = usize::try_from(offset).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        let end = start.checked_add(buf.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        buf.copy_from_slice(self.get(start..end).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

impl ReadAt for Vec<u8> {
    fn length(&self) -> u64 {
        self.as_slice().length()
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.as_slice().read_exact_at(buf, offset)
    }
}

impl<T: ReadAt + ?Sized> ReadAt for &T {
    fn length(&self) -> u64 {
        (**self).length()
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        (**self).read_exact_at(buf, offset)
    }
}

/// A file, with the length that it had when it was opened.
#[derive(Debug)]
pub struct FileBytes {
    file: File,
    length: u64,
}

impl FileBytes {
    /// Asks the file for its length.
    pub fn new(file: File) -> io::Result<Self> {
        let length = file.metadata()?.len();
        Ok(Self { file, length })
    }
}

impl ReadAt for FileBytes {
    fn length(&self) -> u64 {
        self.length
    }

    fn read_exact_at(&self, mut buf: &mut [u8], mut offset: u64) -> io::Result<()> {
        while !buf.is_empty() {
            match read_once(&self.file, buf, offset) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => {
                    buf = &mut buf[n..];
                    offset += n as u64;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}

#[cfg(unix)]
fn read_once(file: &File, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, buf, offset)
}

#[cfg(windows)]
fn read_once(file: &File, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, buf, offset)
}

/// The bytes from one offset to another, in order.
#[derive(Debug)]
pub struct RangeReader<R> {
    bytes: R,
    offset: u64,
    end: u64,
}

impl<R: ReadAt> RangeReader<R> {
    /// Reads from `offset` to `end`.
    pub fn new(bytes: R, offset: u64, end: u64) -> Self {
        Self { bytes, offset, end }
    }

    /// How many bytes were not read.
    pub fn rest(&self) -> u64 {
        self.end.saturating_sub(self.offset)
    }
}

impl<R: ReadAt> Read for RangeReader<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.rest()).map_or(buf.len(), |rest| rest.min(buf.len()));
        self.bytes.read_exact_at(&mut buf[..most], self.offset)?;
        self.offset += most as u64;
        Ok(most)
    }
}
