// SPDX-License-Identifier: Apache-2.0
//! Reads a wheel, which is a zip. Only as much of the format as wheels use; the input is a package that pip has checked.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;

use flate2::read::DeflateDecoder;

use xtask::run::Result;

const END: [u8; 4] = *b"PK\x05\x06";
const END_SIZE: u64 = 22;
const CENTRAL: usize = 46;
const LOCAL: u64 = 30;

/// An open wheel.
#[derive(Debug)]
pub(crate) struct Wheel {
    file: File,
    directory: Vec<u8>,
}

impl Wheel {
    /// Reads the directory at the end of the file.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let mut file = File::open(path)?;
        let size = file.metadata()?.len();
        file.seek(SeekFrom::Start(size.checked_sub(END_SIZE).ok_or("too short for a wheel")?))?;
        let mut end = Vec::new();
        file.read_to_end(&mut end)?;
        if !end.starts_with(&END) {
            return Err(format!("{} does not end as a wheel does", path.display()).into());
        }
        let mut directory = vec![0; number(&end, 12, 4)?];
        file.seek(SeekFrom::Start(number(&end, 16, 4)? as u64))?;
        file.read_exact(&mut directory)?;
        Ok(Self { file, directory })
    }

    /// Calls with path, mode and content of each file, in the order of the directory.
    pub(crate) fn for_each_file(
        &mut self,
        mut each: impl FnMut(&str, u32, &[u8]) -> Result<()>,
    ) -> Result<()> {
        let mut at = 0;
        while at < self.directory.len() {
            let entry = self.directory.get(at..).unwrap_or_default();
            let (method, packed, size) =
                (number(entry, 10, 2)?, number(entry, 20, 4)?, number(entry, 24, 4)?);
            let name_len = number(entry, 28, 2)?;
            let mode = number(entry, 38, 4)? >> 16;
            let offset = number(entry, 42, 4)? as u64;
            let name = entry.get(CENTRAL..CENTRAL + name_len).ok_or("a wheel's directory is cut")?;
            let name = String::from_utf8(name.to_vec())?;
            at += CENTRAL + name_len + number(entry, 30, 2)? + number(entry, 32, 2)?;
            if name.ends_with('/') {
                continue;
            }

            let mut local = [0; LOCAL as usize];
            self.file.seek(SeekFrom::Start(offset))?;
            self.file.read_exact(&mut local)?;
            let skip = number(&local, 26, 2)? + number(&local, 28, 2)?;
            self.file.seek(SeekFrom::Current(i64::try_from(skip)?))?;
            let packed = (&self.file).take(packed as u64);
            let mut data = Vec::with_capacity(size);
            match method {
                0 => packed.take(size as u64).read_to_end(&mut data)?,
                8 => DeflateDecoder::new(packed).take(size as u64 + 1).read_to_end(&mut data)?,
                other => return Err(format!("{name} is packed with method {other}").into()),
            };
            if data.len() != size {
                return Err(format!("{name} has {} bytes, not {size}", data.len()).into());
            }
            let executable = mode & 0o111 != 0;
            each(&name, if executable { 0o755 } else { 0o644 }, &data)?;
        }
        Ok(())
    }
}

/// A little-endian number of 2 or 4 bytes.
fn number(bytes: &[u8], at: usize, len: usize) -> Result<usize> {
    let bytes = bytes.get(at..at + len).ok_or("a wheel's directory is cut")?;
    Ok(bytes.iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte)))
}
