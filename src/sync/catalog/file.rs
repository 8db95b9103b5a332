// SPDX-License-Identifier: Apache-2.0
//! The file: lines are appended under a lock and never changed. A line that was cut, because the disk was full or the
//! machine lost power, costs that line and no other.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::time::{Duration, Instant};

use camino::Utf8Path;

use super::error::CatalogError;
use super::record::{MAX_LINE, Record};
use crate::bundle::sync_folder;
use crate::json::JsonError;

/// How long an append waits for another process.
const LOCK_TIMEOUT: Duration = Duration::from_secs(30);
/// Time between two attempts to lock.
const LOCK_INTERVAL: Duration = Duration::from_millis(50);

/// A line of a catalog: its number, from 1, and its record or what is wrong with it.
#[derive(Debug)]
pub struct Line {
    /// Number of the line.
    pub number: u64,
    /// The record.
    pub record: Result<Record, CatalogError>,
}

/// The lines of a catalog, one at a time: a catalog of years is larger than memory may be.
#[derive(Debug)]
pub struct Lines<R> {
    reader: R,
    number: u64,
    /// Where the next line begins, in bytes.
    offset: u64,
    has_failed: bool,
}

/// Where a line is in its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LinePosition {
    /// Number of the line, from 1.
    pub number: u64,
    /// Where it begins, in bytes.
    pub offset: u64,
}

impl Lines<BufReader<File>> {
    /// Opens a catalog.
    ///
    /// # Errors
    /// [`CatalogError::Read`].
    pub fn open(path: &Utf8Path) -> Result<Self, CatalogError> {
        let file = File::open(path).map_err(|source| CatalogError::Read { path: path.to_owned(), source })?;
        Ok(Self::new(BufReader::with_capacity(1 << 20, file)))
    }
}

impl<R: BufRead> Lines<R> {
    /// The lines of `reader`.
    pub const fn new(reader: R) -> Self {
        Self { reader, number: 0, offset: 0, has_failed: false }
    }

    /// Reads the next line that is not empty into `bytes`, without its end; `None` at the end of the file. At most
    /// [`MAX_LINE`] bytes are read; the rest of a longer line is skipped.
    ///
    /// # Errors
    /// The file cannot be read; it is not read any further.
    pub(super) fn next_line(
        &mut self,
        bytes: &mut Vec<u8>,
    ) -> io::Result<Option<(LinePosition, Result<(), CatalogError>)>> {
        if self.has_failed {
            return Ok(None);
        }
        loop {
            bytes.clear();
            let position = LinePosition { number: self.number + 1, offset: self.offset };
            let length = self.read_line(bytes).inspect_err(|_| self.has_failed = true)?;
            if length == 0 {
                return Ok(None);
            }
            self.number = position.number;
            self.offset += length;
            if bytes.len() > MAX_LINE {
                return Ok(Some((position, Err(CatalogError::TooLong(MAX_LINE)))));
            }
            if !bytes.trim_ascii().is_empty() {
                return Ok(Some((position, Ok(()))));
            }
        }
    }

    /// Answers how many bytes the line has with its end.
    fn read_line(&mut self, bytes: &mut Vec<u8>) -> io::Result<u64> {
        let mut length = self.reader.by_ref().take(MAX_LINE as u64 + 1).read_until(b'\n', bytes)?;
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
        } else if bytes.len() > MAX_LINE {
            length += self.reader.skip_until(b'\n')?;
        }
        Ok(length as u64)
    }
}

impl<R: BufRead> Iterator for Lines<R> {
    type Item = io::Result<Line>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut bytes = Vec::new();
        let next = self.next_line(&mut bytes).transpose()?;
        Some(next.map(|(position, line)| Line {
            number: position.number,
            record: line.and_then(|()| Record::parse(&bytes)),
        }))
    }
}

/// Checks before long work that a record can be appended to `path` later: it is absent, empty or a catalog, and can
/// be opened for writing.
///
/// # Errors
/// [`CatalogError::NoCatalog`], [`CatalogError::Read`], [`CatalogError::Write`].
pub fn check_appendable(path: &Utf8Path) -> Result<(), CatalogError> {
    if path.as_std_path().try_exists().unwrap_or(true) {
        OpenOptions::new()
            .append(true)
            .open(path)
            .map_err(|source| CatalogError::Write { path: path.to_owned(), source })?;
        return is_catalog(path);
    }
    let folder = path.parent().filter(|folder| !folder.as_str().is_empty());
    match folder.filter(|folder| !folder.is_dir()) {
        Some(_) => Err(CatalogError::Write { path: path.to_owned(), source: io::ErrorKind::NotFound.into() }),
        None => Ok(()),
    }
}

/// Whether a file may be appended to: one of its first lines is a record, or there is none but the beginning of one, which
/// is what a full disk leaves of a new catalog.
fn is_catalog(path: &Utf8Path) -> Result<(), CatalogError> {
    let mut first = None;
    for line in Lines::open(path)?.take(16) {
        let line = line.map_err(|source| CatalogError::Read { path: path.to_owned(), source })?;
        match line.record {
            Ok(_) | Err(CatalogError::Version(_)) => return Ok(()),
            Err(CatalogError::Json(JsonError::Parse(error))) if line.number == 1 && error.is_eof() => {}
            Err(error) => drop(first.get_or_insert(error)),
        }
    }
    match first {
        Some(source) => Err(CatalogError::NoCatalog { path: path.to_owned(), source: Box::new(source) }),
        None => Ok(()),
    }
}

/// Whether one of the first lines of a file is a record.
///
/// # Errors
/// [`CatalogError::Read`].
pub fn has_record(path: &Utf8Path) -> Result<bool, CatalogError> {
    for line in Lines::open(path)?.take(16) {
        let line = line.map_err(|source| CatalogError::Read { path: path.to_owned(), source })?;
        if line.record.is_ok() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Appends records, each as one line, and waits until they are on disk. A file that ends in the middle of a line gets
/// the end of that line first.
///
/// # Errors
/// [`CatalogError::Locked`] after 30 s, [`CatalogError::NoCatalog`], [`CatalogError::Read`], [`CatalogError::Write`].
pub fn append(path: &Utf8Path, records: &[Record]) -> Result<(), CatalogError> {
    let write_error = |source| CatalogError::Write { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    for record in records {
        bytes.extend(record.encode()?);
    }
    let is_new = !path.as_std_path().try_exists().unwrap_or(true);
    let mut file = OpenOptions::new().read(true).append(true).create(true).open(path).map_err(write_error)?;
    lock(&file, path)?;
    is_catalog(path)?;
    if !ends_with_line(&mut file).map_err(write_error)? {
        bytes.insert(0, b'\n');
    }
    file.write_all(&bytes).map_err(write_error)?;
    file.sync_all().map_err(write_error)?;
    if is_new {
        sync_folder(path.parent().unwrap_or(Utf8Path::new(""))).map_err(write_error)?;
    }
    Ok(())
}

/// Locks `file` until it is closed.
fn lock(file: &File, path: &Utf8Path) -> Result<(), CatalogError> {
    let begin = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            // File systems without locks: two appends at once are still two lines, because each is one write.
            Err(TryLockError::Error(e)) if e.kind() == io::ErrorKind::Unsupported => return Ok(()),
            Err(TryLockError::Error(source)) => {
                return Err(CatalogError::Write { path: path.to_owned(), source });
            }
            Err(TryLockError::WouldBlock) => {}
        }
        let waited = begin.elapsed();
        if waited >= LOCK_TIMEOUT {
            return Err(CatalogError::Locked { path: path.to_owned(), waited });
        }
        std::thread::sleep(LOCK_INTERVAL);
    }
}

fn ends_with_line(file: &mut File) -> io::Result<bool> {
    if file.seek(SeekFrom::End(0))? == 0 {
        return Ok(true);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}
