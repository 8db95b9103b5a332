// SPDX-License-Identifier: Apache-2.0
//! Writing a bundle into one file or into volumes. The final name appears only when every byte is verified and on disk.
//! Until then the files are called `NAME.part`, and a journal beside them records the progress of each blob.

mod transfer;

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use camino::{Utf8Path, Utf8PathBuf};

use super::journal::JournalState;
use super::list::{folder, write_list};
use super::lock::{ArchiveLock, journal_path};
use super::resume::{PartialArchive, SET_ASIDE};
use super::write_files::{self, Output, PART};
use crate::bundle::disk::file;
use crate::bundle::disk::hash::hash;
use crate::bundle::error::BundleError;
use crate::bundle::format::content::BundleBlob;
use crate::bundle::format::layout::{self, HEADER, Layout, MANIFEST_AT};
use crate::bundle::format::manifest::BundleManifest;
use crate::bundle::format::volumes::{self, Volume, VolumeList};
use crate::bundle::sign::Signatures;
use crate::oci::digest::{Digest, Hasher};

/// Size of the buffer for copying and hashing.
const CHUNK: usize = 1 << 20;

/// An archive that is being written. Several threads may call its methods at the same time, for different blobs.
#[derive(Debug)]
pub struct Writer {
    output: Output,
    names: Vec<Utf8PathBuf>,
    path: Utf8PathBuf,
    manifest: BundleManifest,
    layout: Layout,
    volume_size: Option<u64>,
    lock: Arc<ArchiveLock>,
    resume_offsets: HashMap<Digest, u64>,
    reserved: bool,
    /// Whether the headers and the padding of the blobs, and the end of the archive, are written.
    is_framed: AtomicBool,
}

impl Writer {
    /// Starts the archive `path`, as `path.part` or as volumes of `volume_size` bytes. Writes everything that comes before the
    /// blobs. `sets` are the bytes of the sets' files, in the order of the manifest.
    ///
    /// # Expected flow
    /// Create, then for each blob: [`Self::hash`] what [`Self::resume_offset`] says is there, [`Self::write_at`] for the rest,
    /// compare the digest, [`Self::record`]. Then [`Self::finish`], or [`Self::abandon`] after an error.
    ///
    /// # Guarantees
    /// - `path` and the names of its volumes appear only in [`Self::finish`]. Until then, existing files of these names are
    ///   not changed.
    /// - Only one writer has an archive at a time, on file systems that have locks.
    /// - What an interrupted run has fetched is kept, even if it was to make another bundle at the same `path`.
    /// - The space is reserved if the file system can, so that a full disk fails here and not after the first blobs.
    ///
    /// # Errors
    /// [`BundleError::Special`] if something other than a regular file has one of the names, [`BundleError::Busy`] if another
    /// run writes this archive, [`BundleError::InTheWay`], [`BundleError::ManyVolumes`], [`BundleError::FileLimit`],
    /// [`BundleError::Write`]. Content that an interrupted run has fetched stays for the next run.
    ///
    /// # Cancellation
    /// The call blocks and cannot be cancelled. The process may end at any time, here and later: the next writer of the same
    /// `path` resumes from the journal, and hashes what it claims.
    pub fn create(
        path: &Utf8Path,
        manifest: &BundleManifest,
        sets: &[&[u8]],
        signatures: &Signatures,
        volume_size: Option<u64>,
    ) -> Result<Self, BundleError> {
        Self::create_locked(path, None, manifest, (sets, signatures), volume_size)
    }

    /// The same where the archive may have been locked before.
    ///
    /// # Errors
    /// As [`Self::create`].
    pub fn create_locked(
        path: &Utf8Path,
        lock: Option<Arc<ArchiveLock>>,
        manifest: &BundleManifest,
        (sets, signatures): (&[&[u8]], &Signatures),
        volume_size: Option<u64>,
    ) -> Result<Self, BundleError> {
        let unacceptable = |source| BundleError::Manifest { path: path.to_owned(), source };
        let encoded = manifest.encode().map_err(unacceptable)?;
        let layout = Layout::new(manifest, &encoded).map_err(unacceptable)?;
        let names = write_files::names(path, layout.size(), volume_size);
        check_writable(path, &names, layout.size(), volume_size)?;
        let journal_at = journal_path(path);
        let cannot = |path: &Utf8Path| {
            let path = path.to_owned();
            move |source| BundleError::Write { path: path.clone(), source }
        };
        let lock = lock.filter(|lock| lock.is_of(path)).map_or_else(|| ArchiveLock::take(path), Ok)?;
        let journal = &lock.journal;
        let (same, other) = PartialArchive::find(path, journal, &layout, manifest, volume_size);
        // The journal of a resumed archive is never emptied: its entries must survive a failure here.
        let resume_offsets = match same {
            Some(state) => state.blobs,
            None => {
                let empty = JournalState { volume_size, blobs: HashMap::new() };
                journal.begin(&empty).map_err(cannot(&journal_at))?;
                empty.blobs
            }
        };
        let output = Output::open(&names, PART, volume_size, true).map_err(cannot(path))?;
        let (path, manifest) = (path.to_owned(), manifest.clone());
        let (reserved, is_framed) = (false, AtomicBool::new(false));
        let mut writer = Self {
            output,
            names,
            path,
            manifest,
            layout,
            volume_size,
            lock,
            resume_offsets,
            reserved,
            is_framed,
        };
        let written = writer.write_head(&encoded, sets, signatures, other);
        if written.is_err() {
            writer.abandon();
        }
        written?;
        Ok(writer)
    }

    fn write_head(
        &mut self,
        encoded: &[u8],
        sets: &[&[u8]],
        signatures: &Signatures,
        partial: Option<PartialArchive>,
    ) -> Result<(), BundleError> {
        // All space is reserved at once, so that a full disk is found before the first blob is fetched. But content that is
        // moved from another file frees its space only piece by piece, so that the space is reserved after that.
        let allocate = |reserve| self.output.allocate(self.layout.size(), reserve).map_err(|e| self.error(e));
        let mut reserved = allocate(partial.is_none())?;
        let mut adopted = HashMap::new();
        if let Some(partial) = partial {
            adopted = self.adopt(&partial).map_err(|e| self.error(e))?;
            partial.remove();
            reserved = allocate(true)?;
        }
        self.resume_offsets.extend(adopted);
        self.reserved = reserved;
        self.each_fixed(encoded, sets, signatures, |bytes, offset| {
            if offset < self.layout.blobs_at { self.put(bytes, offset) } else { Ok(()) }
        })
    }

    /// Writes what lies between the blobs and after them. This comes last, because a file system that cannot reserve space
    /// would first fill everything before it with zeros.
    fn write_frames(&self) -> Result<(), BundleError> {
        if self.is_framed.load(Ordering::Acquire) {
            return Ok(());
        }
        self.each_frame(|bytes, offset| self.put(bytes, offset))?;
        for piece in self.layout.pieces(&self.manifest)? {
            if piece.offset >= self.layout.blobs_at {
                self.put(&piece.bytes, piece.offset)?;
            }
        }
        self.is_framed.store(true, Ordering::Release);
        Ok(())
    }

    /// Calls `visit` with everything but the content of the blobs, and its offset.
    fn each_fixed(
        &self,
        encoded: &[u8],
        sets: &[&[u8]],
        signatures: &Signatures,
        mut visit: impl FnMut(&[u8], u64) -> Result<(), BundleError>,
    ) -> Result<(), BundleError> {
        for piece in self.layout.pieces(&self.manifest)? {
            visit(&piece.bytes, piece.offset)?;
        }
        visit(encoded, MANIFEST_AT)?;
        let untrusted = |source| BundleError::Signature { path: self.path.clone(), source };
        visit(&signatures.entry().map_err(untrusted)?, self.layout.signatures_at)?;
        for (at, set) in self.layout.sets_at.iter().zip(sets) {
            visit(set, *at)?;
        }
        self.each_frame(visit)
    }

    /// Calls `visit` with the header and the padding of each blob, and their offsets.
    fn each_frame(
        &self,
        mut visit: impl FnMut(&[u8], u64) -> Result<(), BundleError>,
    ) -> Result<(), BundleError> {
        for blob in &self.manifest.blobs {
            let header = layout::header(&layout::blob_path(&blob.digest), blob.size)?;
            visit(&header, self.layout.blobs_at + blob.offset - HEADER)?;
            let padding = usize::try_from(layout::padded(blob.size) - blob.size).unwrap_or_default();
            visit(&[0; 512][..padding], self.content_at(blob) + blob.size)?;
        }
        Ok(())
    }

    /// Moves the content that an interrupted run has fetched to its offset in this archive.
    fn adopt(&self, partial: &PartialArchive) -> io::Result<HashMap<Digest, u64>> {
        let (mut adopted, mut buf) = (HashMap::new(), vec![0; CHUNK]);
        for blob in &self.manifest.blobs {
            let Some((from, bytes)) = partial.blob(&blob.digest, blob.size) else { continue };
            let mut done = 0;
            while done < bytes {
                let most = usize::try_from(bytes - done).unwrap_or(usize::MAX).min(CHUNK);
                let read = partial.output.read_at(&mut buf[..most], from + done)?;
                if read == 0 {
                    break;
                }
                self.output.write_at(&buf[..read], self.content_at(blob) + done)?;
                partial.output.punch(from + done, read as u64);
                done += read as u64;
            }
            self.lock.journal.record(&blob.digest, done);
            adopted.insert(blob.digest, done);
        }
        Ok(adopted)
    }

    /// How many bytes of a blob's beginning an earlier run has written. They are not verified: the caller hashes them.
    pub fn resume_offset(&self, blob: &BundleBlob) -> u64 {
        self.resume_offsets.get(&blob.digest).copied().unwrap_or(0).min(blob.size)
    }

    /// Records in the journal that the first `bytes` of a blob are written. 0 discards the blob.
    pub fn record(&self, digest: &Digest, bytes: u64) {
        self.lock.journal.record(digest, bytes);
    }

    /// Whether blobs may be written in any order at no cost. A file system that cannot reserve space (FAT, exFAT) first fills
    /// everything before a write with zeros, so that the order of the archive is best.
    pub const fn is_any_order_cheap(&self) -> bool {
        self.reserved
    }

    /// Writes a part of a blob's content, `offset` bytes after its beginning.
    ///
    /// # Errors
    /// The error of the file system; [`io::ErrorKind::InvalidInput`] for bytes outside of the blob.
    pub fn write_at(&self, blob: &BundleBlob, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if offset.saturating_add(bytes.len() as u64) > blob.size {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "more bytes than the blob has"));
        }
        self.output.write_at(bytes, self.content_at(blob) + offset)
    }

    /// Hashes the first `bytes` of a blob as they are on disk. `None` if there are fewer.
    ///
    /// # Errors
    /// The error of the file system.
    pub fn hash(&self, blob: &BundleBlob, bytes: u64) -> io::Result<Option<Hasher>> {
        let (mut hasher, mut buf) = (Hasher::new(), vec![0; CHUNK]);
        while hasher.bytes() < bytes {
            let most = usize::try_from(bytes - hasher.bytes()).unwrap_or(usize::MAX).min(CHUNK);
            match self.output.read_at(&mut buf[..most], self.content_at(blob) + hasher.bytes())? {
                0 => return Ok(None),
                read => hasher.update(&buf[..read]),
            }
        }
        Ok(Some(hasher))
    }

    /// Whether enough was written that [`Self::sync_behind`] should be called, on a thread of its own.
    pub fn is_sync_due(&self) -> bool {
        self.output.is_sync_due()
    }

    /// Syncs what was written so far to the disk, while more is written. If that fails, all later writes and
    /// [`Self::finish`] fail too.
    pub fn sync_behind(&self) {
        match self.output.sync_behind() {
            Ok(()) => self.lock.journal.sync(),
            Err(error) => {
                tracing::debug!(%error, "what was written did not reach the disk");
                self.lock.journal.forget();
            }
        }
    }

    /// Syncs everything to the disk after all blobs are written. If that fails, the next run uses nothing of it.
    pub(in crate::bundle) fn sync(&self) -> Result<(), BundleError> {
        self.write_frames()?;
        self.output.sync().map_err(|error| {
            self.lock.journal.forget();
            self.abandon();
            self.error(error)
        })
    }

    /// Syncs everything to the disk, then renames the files to their final names and returns these. The caller must have
    /// written every blob and compared it with its digest.
    ///
    /// # Errors
    /// [`BundleError`].
    pub fn finish(&self) -> Result<Vec<Utf8PathBuf>, BundleError> {
        self.sync()?;
        let length = self.output.length().map_err(|e| self.error(e))?;
        if length != self.layout.size() {
            let (path, expected) = (self.path.clone(), self.layout.size());
            let missing = "its end".to_owned();
            return Err(BundleError::Incomplete { path, expected, got: length, missing });
        }
        let list = self.volume_size.map(|each| self.volume_list(each)).transpose()?;
        // The first volume comes last: without it, the others are not taken for a bundle.
        for (part, name) in self.output.paths().zip(&self.names).rev() {
            std::fs::rename(part, name).map_err(|e| self.error(e))?;
        }
        if let Some(list) = list {
            write_list(&volumes::list_path(&self.path), &list)?;
            for (n, stale) in volumes::find(&self.path, &[]) {
                // Volumes of an older, larger bundle of this name.
                if n > list.volumes.len() as u64 {
                    std::fs::remove_file(stale).map_err(|e| self.error(e))?;
                }
            }
        }
        file::sync_folder(folder(&self.path)).map_err(|e| self.error(e))?;
        self.lock.journal.remove(&journal_path(&self.path));
        Ok(self.names.clone())
    }

    /// Makes the list of the volumes by reading them back.
    fn volume_list(&self, volume_size: u64) -> Result<VolumeList, BundleError> {
        let mut volumes = Vec::with_capacity(self.names.len());
        for (n, name) in (1..).zip(&self.names) {
            let (start, size) = ((n - 1) * volume_size, volumes::size_of(n, self.layout.size(), volume_size));
            let digest = hash(size, |buf, done| self.output.read_at(buf, start + done));
            let name = name.file_name().unwrap_or_default().to_owned();
            volumes.push(Volume { digest: digest.map_err(|e| self.error(e))?, name, size });
        }
        let unacceptable = |source| BundleError::Manifest { path: self.path.clone(), source };
        Ok(VolumeList {
            bundle: Digest::of(&self.manifest.encode().map_err(unacceptable)?),
            created_at: self.manifest.created_at,
            format_version: crate::format::FIRST_VERSION,
            sequence: self.manifest.sequence,
            size: self.layout.size(),
            stream: self.manifest.stream.clone(),
            volume_size,
            volumes,
        })
    }

    /// Keeps the files for the next run if they hold fetched content, and removes them otherwise.
    pub fn abandon(&self) {
        // The journal is removed with the lock.
        if self.lock.journal.is_empty() {
            self.output.remove();
        }
    }

    fn content_at(&self, blob: &BundleBlob) -> u64 {
        self.layout.blobs_at + blob.offset
    }

    fn put(&self, bytes: &[u8], offset: u64) -> Result<(), BundleError> {
        self.output.write_at(bytes, offset).map_err(|e| self.error(e))
    }

    fn error(&self, source: io::Error) -> BundleError {
        BundleError::Write { path: format!("{}{PART}", self.path).into(), source }
    }
}

/// Checks before the first write everything that would make a later one fail.
fn check_writable(
    path: &Utf8Path,
    names: &[Utf8PathBuf],
    size: u64,
    volume_size: Option<u64>,
) -> Result<(), BundleError> {
    if let Some(each) = volume_size {
        if volumes::count(size, each) > volumes::MAX_VOLUMES {
            let most = volumes::MAX_VOLUMES;
            return Err(BundleError::ManyVolumes {
                path: path.to_owned(),
                count: volumes::count(size, each),
                most,
            });
        }
        if path.symlink_metadata().is_ok() {
            return Err(BundleError::InTheWay { path: path.to_owned() });
        }
    }
    let parts = names.iter().flat_map(|name| [name.clone(), format!("{name}{PART}").into()]);
    for name in parts.chain([journal_path(path), format!("{path}{PART}{SET_ASIDE}").into()]) {
        if let Some(what) = file::special(&name) {
            return Err(BundleError::Special { path: name, what });
        }
    }
    let largest = volume_size.unwrap_or(size).min(size);
    match write_files::largest_file(folder(path)) {
        Some(limit) if largest > limit => {
            Err(BundleError::FileLimit { path: path.to_owned(), size: largest, limit })
        }
        _ => Ok(()),
    }
}
