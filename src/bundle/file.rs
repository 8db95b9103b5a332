// SPDX-License-Identifier: Apache-2.0
//! Files that are read and written at positions, opened so that nothing on a foreign medium can trick or block us.

use std::fs::{File, OpenOptions};
use std::io;

use camino::Utf8Path;

/// Reads at `offset` until `buf` is full or the file ends; answers how much it read.
pub(super) fn read_at(file: &File, buf: &mut [u8], offset: u64) -> io::Result<usize> {
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

/// Writes all of `bytes` at `offset`.
pub(super) fn write_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    let mut done = 0;
    while done < bytes.len() {
        match write_once(file, &bytes[done..], offset + done as u64) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => done += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

#[cfg(unix)]
fn read_once(file: &File, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, buf, offset)
}

#[cfg(unix)]
fn write_once(file: &File, bytes: &[u8], offset: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::write_at(file, bytes, offset)
}

#[cfg(windows)]
fn read_once(file: &File, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, buf, offset)
}

#[cfg(windows)]
fn write_once(file: &File, bytes: &[u8], offset: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_write(file, bytes, offset)
}

/// Opens an existing file without following a link and without waiting for the other end of a pipe; the caller
/// then asks what it is. (T-10, T-12)
pub(super) fn open(path: &Utf8Path, write: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(write);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
        options.custom_flags(i32::try_from(flags.bits()).unwrap_or_default());
    }
    #[cfg(not(unix))]
    if std::fs::symlink_metadata(path)?.file_type().is_symlink() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is a symbolic link"));
    }
    options.open(path)
}

/// What the file at `path` is, where it is not a regular file.
pub(super) fn special(path: &Utf8Path) -> Option<&'static str> {
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

/// Whether `path` is a name of the open file, and not of another one by now.
pub(super) fn is_named(file: &File, path: &Utf8Path) -> io::Result<bool> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        let (open, named) = (file.metadata()?, std::fs::symlink_metadata(path));
        Ok(named.is_ok_and(|named| named.dev() == open.dev() && named.ino() == open.ino()))
    }
    #[cfg(not(unix))]
    {
        // Without file numbers in the standard library: a file that was renamed has left the name free.
        let _ = file;
        Ok(std::fs::symlink_metadata(path).is_ok())
    }
}

/// Makes the entries of a folder survive a loss of power.
pub(super) fn sync_folder(folder: &Utf8Path) -> io::Result<()> {
    #[cfg(unix)]
    {
        let folder = if folder.as_str().is_empty() { Utf8Path::new(".") } else { folder };
        match File::open(folder)?.sync_all() {
            // A file system that has no such thing.
            Err(e) if matches!(e.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => {}
            result => result?,
        }
    }
    #[cfg(not(unix))]
    let _ = folder;
    Ok(())
}
