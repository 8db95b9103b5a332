// SPDX-License-Identifier: Apache-2.0
//! Reads files and streams whose size is not known to be reasonable.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::path::Path;

use camino::Utf8Path;

/// Reads the file at `path` to its end.
///
/// # Errors
/// The file cannot be read; [`io::ErrorKind::FileTooLarge`] if it has more than `max_bytes` bytes.
pub fn read_file(path: impl AsRef<Path>, max_bytes: u64) -> io::Result<Vec<u8>> {
    read_to_end(File::open(path)?, max_bytes)
}

/// Reads `source` to its end.
///
/// # Errors
/// Reading failed; [`io::ErrorKind::FileTooLarge`] if there are more than `max_bytes` bytes.
pub fn read_to_end(source: impl Read, max_bytes: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source.take(max_bytes.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max_bytes {
        let message = format!("it is larger than {max_bytes} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    Ok(bytes)
}

/// [`read_to_end`] for text.
///
/// # Errors
/// As for [`read_to_end`]; [`io::ErrorKind::InvalidData`] if it is not UTF-8.
pub fn read_to_string(source: impl Read, max_bytes: u64) -> io::Result<String> {
    let bytes = read_to_end(source, max_bytes)?;
    String::from_utf8(bytes).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8"))
}

/// Reads at `offset` until `buf` is full or the file ends. Returns how many bytes it read.
pub(crate) fn read_at(file: &File, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < buf.len() {
        match read_once(file, &mut buf[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(done)
}

#[cfg(unix)]
fn read_once(file: &File, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, buf, offset)
}

#[cfg(windows)]
fn read_once(file: &File, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, buf, offset)
}

/// Opens an existing file without following a link and without waiting for the other end of a pipe; the caller
/// then checks the type of the file. (T-10, T-12)
pub(crate) fn open(path: impl AsRef<Path>, write: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(write);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
        options.custom_flags(i32::try_from(flags.bits()).unwrap_or_default());
    }
    #[cfg(not(unix))]
    if std::fs::symlink_metadata(path.as_ref())?.file_type().is_symlink() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is a symbolic link"));
    }
    options.open(path)
}

/// The type of the file at `path`, if it is not a regular file.
pub(crate) fn special(path: &Utf8Path) -> Option<&'static str> {
    let kind = std::fs::symlink_metadata(path).ok()?.file_type();
    if kind.is_file() {
        return None;
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt as _;
        if kind.is_fifo() {
            return Some("a named pipe");
        }
        if kind.is_socket() {
            return Some("a socket");
        }
        if kind.is_block_device() || kind.is_char_device() {
            return Some("a device");
        }
    }
    Some(match () {
        () if kind.is_symlink() => "a symbolic link",
        () if kind.is_dir() => "a folder",
        () => "not a regular file",
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_larger_than_the_limit_is_an_error_and_never_cut() {
        assert_eq!(read_to_end(&b"1234"[..], 4).unwrap(), b"1234");
        assert_eq!(read_to_end(&b""[..], 0).unwrap(), b"");
        for (bytes, limit) in [(&b"12345"[..], 4), (b"1", 0)] {
            let error = read_to_end(bytes, limit).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
            assert_eq!(error.to_string(), format!("it is larger than {limit} bytes"));
        }
        assert_eq!(read_to_end(&b"1"[..], u64::MAX).unwrap(), b"1");
        assert_eq!(read_to_string(&b"a\xff"[..], 9).unwrap_err().kind(), io::ErrorKind::InvalidData);
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("f"), "123").unwrap();
        assert_eq!(read_file(folder.path().join("f"), 3).unwrap(), b"123");
        assert!(read_file(folder.path().join("f"), 2).is_err());
    }
}
