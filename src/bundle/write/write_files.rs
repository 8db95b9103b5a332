// SPDX-License-Identifier: Apache-2.0
//! The files that an archive is written to, as one: the archive itself, or its volumes.

use std::fs::{File, OpenOptions};
use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use camino::{Utf8Path, Utf8PathBuf};
use parking_lot::Mutex;

use crate::bundle::disk::file;
use crate::bundle::disk::media::{self, ReadFrom};
use crate::bundle::format::volumes;

/// Bytes after which written data is synced to the disk while more is fetched. Otherwise gigabytes would wait in memory, and
/// a failing USB drive would report it only at the end.
const SYNC_STEP: u64 = 64 << 20;

/// The suffix of files until they are complete.
pub(in crate::bundle) const PART: &str = ".part";

/// Files that several threads write at offsets of the archive.
#[derive(Debug)]
pub(in crate::bundle) struct Output {
    files: Vec<(Utf8PathBuf, File)>,
    /// Bytes of each file but the last.
    each: u64,
    /// Bytes that were written since the last sync began.
    unsynced: AtomicU64,
    syncing: Mutex<()>,
    /// Why a sync failed. The system reports it once; a second sync of the same data would succeed.
    failed: OnceLock<io::Error>,
}

/// The final names of the files of an archive.
pub(in crate::bundle) fn names(archive: &Utf8Path, size: u64, volume_size: Option<u64>) -> Vec<Utf8PathBuf> {
    match volume_size {
        None => vec![archive.to_owned()],
        Some(each) => (1..=volumes::count(size, each)).map(|n| volumes::path(archive, n)).collect(),
    }
}

impl Output {
    /// Opens the files `names`, each with `suffix`; creates missing ones if `create` is set.
    pub(in crate::bundle) fn open(
        names: &[Utf8PathBuf],
        suffix: &str,
        volume_size: Option<u64>,
        create: bool,
    ) -> io::Result<Self> {
        let mut files = Vec::with_capacity(names.len());
        for name in names {
            let path = Utf8PathBuf::from(format!("{name}{suffix}"));
            if file::special(&path).is_some() {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
            }
            let file =
                OpenOptions::new().read(true).write(true).create(create).truncate(false).open(&path)?;
            files.push((path, file));
        }
        let each = volume_size.unwrap_or(u64::MAX).max(1);
        let (unsynced, syncing, failed) = (AtomicU64::new(0), Mutex::new(()), OnceLock::new());
        Ok(Self { files, each, unsynced, syncing, failed })
    }

    /// The file that contains a byte, and the byte's offset in it.
    fn at(&self, offset: u64) -> io::Result<(&File, u64, u64)> {
        let n = usize::try_from(offset / self.each).unwrap_or(usize::MAX);
        let (_, file) = self.files.get(n).ok_or(io::ErrorKind::UnexpectedEof)?;
        let within = offset % self.each;
        Ok((file, within, self.each - within))
    }

    pub(in crate::bundle) fn write_at(&self, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
        self.has_not_failed()?;
        self.wrote(bytes.len() as u64);
        while !bytes.is_empty() {
            let (file, within, left) = self.at(offset)?;
            let (now, later) = bytes.split_at(usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len()));
            file::write_at(file, now, within)?;
            offset += now.len() as u64;
            bytes = later;
        }
        Ok(())
    }

    /// Reads at `offset` until `buf` is full or a file ends. Returns how many bytes it read.
    pub(in crate::bundle) fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        while done < buf.len() {
            let (file, within, left) = self.at(offset + done as u64)?;
            let most = usize::try_from(left).unwrap_or(usize::MAX).min(buf.len() - done);
            let read = file::read_at(file, &mut buf[done..done + most], within)?;
            done += read;
            if read < most {
                break;
            }
        }
        Ok(done)
    }

    /// Reserves the space of the files if `reserve` is set, and sets their final lengths. Returns whether it could. Otherwise
    /// they grow while they are written: FAT fills a file with zeros up to its length, so that everything would be written
    /// twice.
    pub(in crate::bundle) fn allocate(&self, size: u64, reserve: bool) -> io::Result<bool> {
        let mut reserved = reserve;
        for (n, (_, file)) in self.files.iter().enumerate() {
            let start = (n as u64).saturating_mul(self.each);
            let length = size.saturating_sub(start).min(self.each);
            if file.metadata()?.len() > length {
                file.set_len(length)?;
            }
            reserved &= reserve && allocate(file, length)?;
        }
        Ok(reserved)
    }

    /// Frees the space of a range that is not needed any more, if the file system can.
    pub(in crate::bundle) fn punch(&self, offset: u64, size: u64) {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if let Ok((file, within, left)) = self.at(offset) {
            use rustix::fs::{FallocateFlags, fallocate};
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            // It only saves space, so that its failure does not matter.
            let _ = fallocate(file, flags, within, size.min(left));
        }
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        let _ = (offset, size);
    }

    pub(in crate::bundle) fn paths(&self) -> impl DoubleEndedIterator<Item = &Utf8Path> + ExactSizeIterator {
        self.files.iter().map(|(path, _)| path.as_path())
    }

    /// Bytes of all files.
    pub(in crate::bundle) fn length(&self) -> io::Result<u64> {
        self.files.iter().map(|(_, file)| Ok(file.metadata()?.len())).sum()
    }

    /// Counts bytes that were written.
    pub(in crate::bundle) fn wrote(&self, bytes: u64) {
        self.unsynced.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Whether enough was written for [`Self::sync_behind`]. Counts again after a yes.
    pub(in crate::bundle) fn is_sync_due(&self) -> bool {
        self.unsynced.load(Ordering::Relaxed) >= SYNC_STEP
            && self.unsynced.swap(0, Ordering::Relaxed) >= SYNC_STEP
    }

    /// Syncs what was written so far to the disk, unless another thread is doing that. Its failure is that of every
    /// later write and sync.
    pub(in crate::bundle) fn sync_behind(&self) -> io::Result<()> {
        let Some(_turn) = self.syncing.try_lock() else { return Ok(()) };
        self.keep_failure(self.files.iter().try_for_each(|(_, file)| file.sync_data()))
    }

    /// Brings everything to the disk.
    pub(in crate::bundle) fn sync(&self) -> io::Result<()> {
        // Waits for one that is under way: the failure that both wait for is told to one of them only.
        let _turn = self.syncing.lock();
        self.has_not_failed()?;
        self.keep_failure(self.files.iter().try_for_each(|(_, file)| file.sync_all()))
    }

    /// Brings everything to the disk, and has the next reads come from there.
    pub(in crate::bundle) fn drop_cached(&self) -> io::Result<ReadFrom> {
        self.sync()?;
        let drop = |before: ReadFrom, (path, file): &(Utf8PathBuf, File)| {
            before.and(|| media::drop_cached(file, path))
        };
        self.files.iter().try_fold(ReadFrom::Media, drop)
    }

    fn keep_failure(&self, synced: io::Result<()>) -> io::Result<()> {
        if let Err(error) = synced {
            let _ = self.failed.set(error);
        }
        self.has_not_failed()
    }

    fn has_not_failed(&self) -> io::Result<()> {
        match self.failed.get() {
            None => Ok(()),
            Some(error) => {
                Err(error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error))
            }
        }
    }

    /// The file that contains a byte, the byte's offset in it, and how many bytes follow in this file.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub(in crate::bundle) fn locate(&self, offset: u64) -> io::Result<(&File, u64, u64)> {
        self.at(offset)
    }

    pub(in crate::bundle) fn remove(&self) {
        for path in self.paths() {
            // What cannot be removed is overwritten by the next run.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Reserves the space of a file where the file system can. Returns whether it could.
fn allocate(file: &File, size: u64) -> io::Result<bool> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        use rustix::fs::{FallocateFlags, fallocate};
        if size == 0 {
            return Ok(true);
        }
        // FAT fills a file with zeros up to its length, and keeps space beyond it without that.
        let is_fat = rustix::fs::fstatfs(file).is_ok_and(|found| fat_limit(found.f_type).is_some());
        let flags = if is_fat { FallocateFlags::KEEP_SIZE } else { FallocateFlags::empty() };
        match fallocate(file, flags, 0, size) {
            Ok(()) => return Ok(!is_fat),
            Err(e @ (rustix::io::Errno::NOSPC | rustix::io::Errno::FBIG)) => return Err(e.into()),
            Err(_) => {}
        }
    }
    let _ = (file, size);
    Ok(false)
}

/// What a folder has room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Bytes that are free for this user.
    pub free: u64,
    /// Bytes of the largest file that its file system can hold, if that is less than a bundle may have.
    pub largest_file: Option<u64>,
}

/// What a folder has room for, where the system says it.
pub fn space(folder: &Utf8Path) -> Option<Space> {
    #[cfg(unix)]
    {
        let found = rustix::fs::statvfs(folder.as_std_path()).ok()?;
        let free = free(found.f_blocks, found.f_bavail, found.f_frsize)?;
        Some(Space { free, largest_file: largest_file(folder) })
    }
    #[cfg(not(unix))]
    {
        let _ = folder;
        None
    }
}

/// Bytes that are free, by `statvfs(3)`. Some drivers in user space say nothing: a file system without any block is not full.
#[cfg(unix)]
const fn free(blocks: u64, available: u64, block_size: u64) -> Option<u64> {
    if blocks == 0 || block_size == 0 { None } else { Some(available.saturating_mul(block_size)) }
}

/// The largest file that the file system of `folder` can hold, if that is known to be less than an archive may need.
pub(in crate::bundle) fn largest_file(folder: &Utf8Path) -> Option<u64> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        let folder = if folder.as_str().is_empty() { Utf8Path::new(".") } else { folder };
        let kind = rustix::fs::statfs(folder.as_std_path()).ok()?.f_type;
        fat_limit(kind)
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    {
        let _ = folder;
        None
    }
}

/// The limit of a file system by its number in `statfs(2)`: FAT cannot hold 4 GiB in one file, exFAT can.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn fat_limit(kind: impl TryInto<i64>) -> Option<u64> {
    const MSDOS: i64 = 0x4d44;
    (kind.try_into().ok() == Some(MSDOS)).then_some((1 << 32) - 1)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn t34_fat_is_known_by_its_number_and_other_file_systems_have_no_such_limit() {
        assert_eq!(fat_limit(0x4d44), Some(4_294_967_295));
        for (name, kind) in [("ext4", 0xef53), ("tmpfs", 0x0102_1994), ("exfat", 0x2011_bab0)] {
            assert_eq!(fat_limit(kind), None, "{name}");
        }
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(largest_file(Utf8Path::from_path(folder.path()).unwrap()), None);
    }

    #[cfg(unix)]
    #[test]
    fn t70_a_file_system_that_does_not_say_its_size_is_not_full() {
        assert_eq!((free(0, 0, 1024), free(10, 5, 0)), (None, None));
        assert_eq!((free(10, 0, 1024), free(10, 5, 1024)), (Some(0), Some(5120)));
    }

    #[test]
    fn t69_a_failed_sync_makes_all_later_ones_fail() {
        let folder = tempfile::tempdir().unwrap();
        let archive = Utf8Path::from_path(folder.path()).unwrap().join("a.krs.tar");
        let output = Output::open(&[archive], "", None, true).unwrap();
        output.write_at(b"a", 0).unwrap();
        assert!(!output.is_sync_due());
        output.wrote(SYNC_STEP);
        assert!(output.is_sync_due() && !output.is_sync_due(), "once for each step");
        output.sync_behind().unwrap();
        output.sync().unwrap();
        let broken = || Err(io::Error::from_raw_os_error(5));
        for attempt in
            [output.keep_failure(broken()), output.write_at(b"b", 1), output.sync_behind(), output.sync()]
        {
            assert_eq!(attempt.unwrap_err().raw_os_error(), Some(5));
        }
    }

    #[test]
    fn bytes_go_across_the_borders_of_volumes_and_come_back_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let archive = Utf8Path::from_path(folder.path()).unwrap().join("a.krs.tar");
        let names = names(&archive, 10, Some(4));
        assert_eq!(names.iter().filter_map(|n| n.extension()).collect::<Vec<_>>(), ["001", "002", "003"]);
        let output = Output::open(&names, ".part", Some(4), true).unwrap();
        output.allocate(10, true).unwrap();
        output.write_at(b"bcdefgh", 1).unwrap();
        let mut buf = [0; 8];
        assert_eq!(output.read_at(&mut buf, 0).unwrap(), 8);
        assert_eq!(&buf, b"\0bcdefgh");
        assert_eq!(output.length().unwrap(), 10);
        let sizes = output.paths().map(|path| path.metadata().unwrap().len()).collect::<Vec<_>>();
        assert_eq!(sizes, [4, 4, 2]);
    }
}
