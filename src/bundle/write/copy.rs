// SPDX-License-Identifier: Apache-2.0
//! Copies a bundle to a drive, byte for byte, and reads it back from there.

use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};

use super::list::folder;
use super::write_files;
use super::writer::Writer;
use crate::bundle::disk::media::ReadFrom;
use crate::bundle::error::BundleError;
use crate::bundle::read::open::Bundle;
use crate::progress::{Activity, Progress};

/// Bytes of a volume on a file system that cannot hold the bundle in one file: FAT ends 1 byte below 4 GiB.
const VOLUME_SIZE: u64 = 3900 << 20;

/// How to copy a bundle.
#[derive(Debug, Clone, Copy)]
pub struct CopyOptions {
    /// Bytes of each volume; `None`: one file, or volumes if the file system cannot hold a file of this size.
    pub volume_size: Option<u64>,
    /// Threads that read back and hash.
    pub threads: usize,
}

/// The result of a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyReport {
    /// The archive, or its volumes.
    pub files: Vec<Utf8PathBuf>,
    /// Bytes of all files.
    pub size: u64,
    /// Bytes that an interrupted run had written.
    pub resumed: u64,
    /// Whether the list of its volumes is signed.
    pub list_signed: bool,
    /// Whether it was read back from the media.
    pub read_from: ReadFrom,
    /// Time for writing, until everything was on the drive.
    pub writing: Duration,
    /// Time for reading back.
    pub reading: Duration,
}

impl Bundle {
    /// Copies this bundle to `path`: every blob is hashed on the way, everything is written to the media, and read back
    /// from there. The names appear only after that. What an interrupted run has left is resumed.
    ///
    /// # Errors
    /// [`BundleError::Content`] or [`BundleError::Read`] of this bundle, [`BundleError::NotKept`] if the media does not
    /// hold what was written, and those of [`Writer::create`]. The names are not there then.
    pub fn copy_to(
        &self,
        path: &Utf8Path,
        options: CopyOptions,
        progress: &dyn Progress,
    ) -> Result<CopyReport, BundleError> {
        let unacceptable = |source| BundleError::Manifest { path: self.path().to_owned(), source };
        let (manifest, sets) = (self.manifest(), self.set_files()?);
        let encoded = manifest.encode().map_err(unacceptable)?;
        let sets = sets.iter().map(Vec::as_slice).collect::<Vec<_>>();
        let limit = write_files::largest_file(folder(path));
        let too_large = limit.is_some_and(|limit| self.size() > limit);
        let volume_size = options.volume_size.or(too_large.then_some(VOLUME_SIZE));
        let writer = Writer::create(path, manifest, &sets, self.signatures(), volume_size)?;
        let copied = (|| {
            let began = Instant::now();
            progress.begin(Activity::Copy, manifest.blobs.iter().map(|blob| blob.size).sum());
            let copied: Result<u64, BundleError> =
                manifest.blobs.iter().map(|blob| writer.copy_verified(blob, self, progress)).sum();
            progress.end(Activity::Copy);
            let resumed = copied?;
            writer.sync()?;
            let (writing, began) = (began.elapsed(), Instant::now());
            let signatures = self.signatures();
            let read_from = writer.read_back(&encoded, &sets, signatures, options.threads, progress)?;
            let reading = began.elapsed();
            let files = writer.finish()?;
            let list_signed = volume_size.is_some() && self.copy_list_signature(path)?;
            Ok(CopyReport { files, size: self.size(), resumed, list_signed, read_from, writing, reading })
        })();
        copied.inspect_err(|_| writer.abandon())
    }

    /// Whether `other` is the same bundle with the same signatures, byte for byte if both are undamaged.
    pub fn is_same_as(&self, other: &Self) -> bool {
        let signatures = |bundle: &Self| bundle.signatures().entry().ok();
        self.digest() == other.digest() && signatures(self) == signatures(other)
    }
}
