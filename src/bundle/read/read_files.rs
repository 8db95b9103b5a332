// SPDX-License-Identifier: Apache-2.0
//! Reads the files of an archive as one: the archive itself, or its volumes in any folders.

use std::io;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};

use crate::bundle::disk::file::Handle;
use crate::bundle::disk::media::{self, ReadFrom};
use crate::bundle::error::BundleError;

/// One file, and the bytes of the archive that it holds.
#[derive(Debug)]
pub(in crate::bundle) struct ArchiveFile {
    /// Offset of its first byte in the archive.
    pub start: u64,
    /// Bytes.
    pub size: u64,
    /// Where the file lies.
    pub path: Utf8PathBuf,
    /// The open file.
    pub handle: Handle,
}

/// The files of an archive, in the order of their bytes. There may be gaps, where volumes are missing.
#[derive(Debug)]
pub(in crate::bundle) struct ArchiveFiles(Vec<ArchiveFile>);

impl ArchiveFiles {
    pub(in crate::bundle) fn new(mut parts: Vec<ArchiveFile>) -> Self {
        parts.sort_by_key(|part| part.start);
        Self(parts)
    }

    /// Where the last file ends.
    pub(in crate::bundle) fn end(&self) -> u64 {
        self.0.last().map_or(0, |part| part.start + part.size)
    }

    fn at(&self, offset: u64) -> Option<&ArchiveFile> {
        let next = self.0.partition_point(|part| part.start <= offset);
        let part = self.0.get(next.checked_sub(1)?)?;
        (offset < part.start + part.size).then_some(part)
    }

    /// Whether every byte of this range is in one of the files.
    pub(in crate::bundle) fn covers(&self, offset: u64, size: u64) -> bool {
        let (mut at, end) = (offset, offset.saturating_add(size));
        while at < end {
            let Some(part) = self.at(at) else { return false };
            at = part.start + part.size;
        }
        true
    }

    /// The file that contains a byte, and the byte's offset in it.
    pub(in crate::bundle) fn locate(&self, offset: u64) -> Option<(&Utf8Path, u64)> {
        let part = self.at(offset)?;
        Some((part.path.as_path(), offset - part.start))
    }

    /// The open file that contains a byte, the byte's offset in it, and how many bytes follow in this file.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub(in crate::bundle) fn file_at(
        &self,
        offset: u64,
    ) -> Option<(std::sync::Arc<std::fs::File>, u64, u64)> {
        let part = self.at(offset)?;
        Some((part.handle.file().ok()?, offset - part.start, part.start + part.size - offset))
    }

    /// The files that hold bytes of this range.
    pub(in crate::bundle) fn holding(&self, offset: u64, size: u64) -> impl Iterator<Item = &ArchiveFile> {
        let end = offset.saturating_add(size);
        self.0.iter().filter(move |part| part.start < end && offset < part.start + part.size)
    }

    /// Reads at `offset` until `buf` is full, the archive ends, or there is a gap. Returns how many bytes it read.
    pub(in crate::bundle) fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        while done < buf.len() {
            let at = offset + done as u64;
            let Some(part) = self.at(at) else { break };
            let left = usize::try_from(part.start + part.size - at).unwrap_or(usize::MAX);
            let most = left.min(buf.len() - done);
            let read = part.handle.read_at(&mut buf[done..done + most], at - part.start)?;
            done += read;
            if read < most {
                break;
            }
        }
        Ok(done)
    }

    /// Makes the next reads of all files come from the media, see [`media::drop_cached`].
    pub(in crate::bundle) fn drop_cached(&self) -> Result<ReadFrom, BundleError> {
        self.0.iter().try_fold(ReadFrom::Media, |before, part| {
            let drop = || media::drop_cached(&*part.handle.file()?, &part.path);
            let failed = |source| BundleError::Read { path: part.path.clone(), offset: 0, source };
            before.and(drop).map_err(failed)
        })
    }

    /// Closes every file that nothing has read for `idle`. Returns whether all are closed now.
    pub(in crate::bundle) fn close_if_idle(&self, idle: Duration) -> bool {
        // Continues after one that is still in use.
        self.0.iter().filter(|part| !part.handle.close_if_idle(idle)).count() == 0
    }

    pub(in crate::bundle) fn is_open(&self) -> bool {
        self.0.iter().any(|part| part.handle.is_open())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn files_are_read_as_one_across_their_borders_and_gaps_are_no_content() {
        let folder = tempfile::tempdir().unwrap();
        let folder = Utf8Path::from_path(folder.path()).unwrap();
        let part = |start: u64, text: &str| {
            let path = folder.join(start.to_string());
            std::fs::write(&path, text).unwrap();
            let (file, size) = (std::fs::File::open(&path).unwrap(), text.len() as u64);
            ArchiveFile { start, size, handle: Handle::new(path.clone(), file, size), path }
        };
        let parts = ArchiveFiles::new(vec![part(3, "def"), part(0, "abc"), part(9, "jk")]);
        let mut buf = [0; 8];
        assert_eq!(parts.read_at(&mut buf, 1).unwrap(), 5);
        assert_eq!(&buf[..5], b"bcdef");
        assert_eq!(
            (parts.end(), parts.covers(0, 6), parts.covers(5, 2), parts.covers(9, 2)),
            (11, true, false, true)
        );
        assert_eq!(parts.locate(4).map(|(path, at)| (path.file_name().unwrap(), at)), Some(("3", 1)));
        assert_eq!(parts.holding(2, 2).map(|part| part.start).collect::<Vec<_>>(), [0, 3]);
        assert!(parts.close_if_idle(Duration::ZERO) && !parts.is_open());
    }
}
