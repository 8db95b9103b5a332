// SPDX-License-Identifier: Apache-2.0
//! Files that are read and written at positions, opened so that nothing on untrusted media can mislead or block krs.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use parking_lot::{Mutex, MutexGuard};

// Runs with the clock of the runtime, which tests may pause.
use tokio::time::Instant;

pub(in crate::bundle) use crate::files::{open, read_at, special};

/// A file that is open only while it is read, so that its media can be unmounted in between. A later file of the same name
/// and size is taken for the same file: readers compare all content with its digest.
#[derive(Debug)]
pub(in crate::bundle) struct Handle {
    path: Utf8PathBuf,
    size: u64,
    open: Mutex<Option<OpenFile>>,
    /// How many readers are opening it. A file system that does not answer may block them indefinitely, so they do not hold the
    /// lock.
    opening: AtomicUsize,
}

#[derive(Debug)]
struct OpenFile {
    file: Arc<File>,
    used: Instant,
}

impl Handle {
    /// Of a regular file that is open already.
    pub(in crate::bundle) fn new(path: Utf8PathBuf, file: File, size: u64) -> Self {
        let open = OpenFile { file: Arc::new(file), used: Instant::now() };
        Self { path, size, open: Mutex::new(Some(open)), opening: AtomicUsize::new(0) }
    }

    fn state(&self) -> MutexGuard<'_, Option<OpenFile>> {
        self.open.lock()
    }

    /// Reads as [`read_at`] does, and opens the file first if it is closed. After a failure the next read opens it again,
    /// because a drive that was removed and put back is another device.
    pub(in crate::bundle) fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let file = self.file()?;
        let result = read_at(&file, buf, offset);
        let mut state = self.state();
        let ours = state.as_mut().filter(|open| Arc::ptr_eq(&open.file, &file));
        match (&result, ours) {
            (Ok(_), Some(open)) => open.used = Instant::now(),
            (Err(_), Some(_)) => *state = None,
            (_, None) => {}
        }
        // Only after the lock is released: the reader must be counted until it has stored its result.
        drop(file);
        drop(state);
        result
    }

    /// The file. Opens it if it is closed.
    pub(in crate::bundle) fn file(&self) -> io::Result<Arc<File>> {
        {
            let state = self.state();
            if let Some(open) = state.as_ref() {
                return Ok(Arc::clone(&open.file));
            }
            self.opening.fetch_add(1, Ordering::AcqRel);
        }
        let opened = self.open();
        let mut state = self.state();
        self.opening.fetch_sub(1, Ordering::AcqRel);
        let file = opened?;
        // Another thread may have opened it meanwhile.
        let open = state.get_or_insert_with(|| OpenFile { file: Arc::new(file), used: Instant::now() });
        Ok(Arc::clone(&open.file))
    }

    /// Opens the file. May never return.
    fn open(&self) -> io::Result<File> {
        let file = open(&self.path, false)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file any more"));
        }
        if metadata.len() != self.size {
            let text = format!("it has {} bytes now, expected {}", metadata.len(), self.size);
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
        }
        Ok(file)
    }

    /// Closes the file if nothing has read it for `idle`. Returns whether it is closed now.
    pub(in crate::bundle) fn close_if_idle(&self, idle: Duration) -> bool {
        let mut state = self.state();
        let idle = |open: &OpenFile| Arc::strong_count(&open.file) == 1 && open.used.elapsed() >= idle;
        if state.as_ref().is_some_and(idle) {
            *state = None;
        }
        state.is_none() && self.opening.load(Ordering::Acquire) == 0
    }

    pub(in crate::bundle) fn is_open(&self) -> bool {
        let state = self.state();
        state.is_some() || self.opening.load(Ordering::Acquire) > 0
    }
}

/// Writes all of `bytes` at `offset`.
pub(in crate::bundle) fn write_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
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
fn write_once(file: &File, bytes: &[u8], offset: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::write_at(file, bytes, offset)
}

#[cfg(windows)]
fn write_once(file: &File, bytes: &[u8], offset: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_write(file, bytes, offset)
}

/// Whether `path` still names the open file.
pub(in crate::bundle) fn is_named(file: &File, path: &Utf8Path) -> io::Result<bool> {
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

/// Syncs the entries of a folder, if its file system supports that. Empty: the current folder.
///
/// # Errors
/// The folder cannot be opened, or its media fail.
pub fn sync_folder(folder: &Utf8Path) -> io::Result<()> {
    #[cfg(unix)]
    {
        let folder = if folder.as_str().is_empty() { Utf8Path::new(".") } else { folder };
        match File::open(folder)?.sync_all() {
            // The file system does not support it.
            Err(e) if matches!(e.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => {}
            result => result?,
        }
    }
    #[cfg(not(unix))]
    let _ = folder;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn handle(path: &Utf8Path) -> Handle {
        let file = open(path, false).unwrap();
        let size = file.metadata().unwrap().len();
        Handle::new(path.to_owned(), file, size)
    }

    #[test]
    fn t36_an_idle_file_is_closed_and_opened_again_by_the_next_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(folder.path()).unwrap().join("b");
        std::fs::write(&path, b"content").unwrap();
        let handle = handle(&path);
        assert!(!handle.close_if_idle(Duration::from_secs(3600)) && handle.is_open(), "it was used just now");
        assert!(handle.close_if_idle(Duration::ZERO) && !handle.is_open());
        let mut buf = [0; 4];
        assert_eq!(handle.read_at(&mut buf, 3).unwrap(), 4);
        assert_eq!((&buf, handle.is_open()), (b"tent", true));

        handle.close_if_idle(Duration::ZERO);
        std::fs::rename(&path, path.with_extension("away")).unwrap();
        assert_eq!(handle.read_at(&mut buf, 0).unwrap_err().kind(), io::ErrorKind::NotFound);
        std::fs::write(&path, b"another one").unwrap();
        assert!(handle.read_at(&mut buf, 0).is_err(), "T-37: it has another size");
        std::fs::remove_file(&path).unwrap();
        std::fs::rename(path.with_extension("away"), &path).unwrap();
        assert_eq!(handle.read_at(&mut buf, 0).unwrap(), 4, "it was put back");
    }

    #[test]
    #[cfg(unix)]
    fn t10_a_link_in_the_place_of_the_file_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(folder.path()).unwrap().join("b");
        std::fs::write(&path, b"content").unwrap();
        let handle = handle(&path);
        handle.close_if_idle(Duration::ZERO);
        std::fs::rename(&path, path.with_extension("other")).unwrap();
        std::os::unix::fs::symlink(path.with_extension("other"), &path).unwrap();
        assert!(handle.read_at(&mut [0; 4], 0).is_err());
    }
}
