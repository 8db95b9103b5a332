// SPDX-License-Identifier: Apache-2.0
//! Writing a bundle in place. Its final name appears only when every byte was proven and is on disk; until then
//! the file is called `NAME.part`.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;

use camino::{Utf8Path, Utf8PathBuf};

use super::error::BundleError;
use super::file;
use super::layout::{self, HEADER, Layout, MANIFEST_AT};
use super::manifest::{BundleBlob, BundleManifest};
use crate::sign::{SIGNATURES_SIZE, Signatures, Trust};

/// An archive that is being written. All methods may be called from several threads at once, for different blobs.
#[derive(Debug)]
pub struct Writer {
    file: File,
    path: Utf8PathBuf,
    part: Utf8PathBuf,
    layout: Layout,
    reserved: bool,
}

impl Writer {
    /// Begins `path` anew as `path.part`, and writes all but the blobs' contents.
    ///
    /// `sets` are the documents, in the order of the manifest.
    ///
    /// # Errors
    /// [`BundleError::Special`] where something other than a file has one of the names, [`BundleError::Write`].
    pub fn create(
        path: &Utf8Path,
        manifest: &BundleManifest,
        sets: &[&[u8]],
        signatures: &Signatures,
    ) -> Result<Self, BundleError> {
        let unacceptable = |source| BundleError::Manifest { path: path.to_owned(), source };
        let encoded = manifest.encode().map_err(unacceptable)?;
        let layout = Layout::new(manifest, &encoded).map_err(unacceptable)?;
        let part = Utf8PathBuf::from(format!("{path}.part"));
        for name in [path, &part] {
            if let Some(what) = file::special(name) {
                return Err(BundleError::Special { path: name.to_owned(), what });
            }
        }
        let cannot = |source| BundleError::Write { path: part.clone(), source };
        let file = begin(&part).map_err(cannot)?.ok_or_else(|| BundleError::Busy { path: part.clone() })?;
        let mut writer = Self { file, path: path.to_owned(), part: part.clone(), layout, reserved: false };
        let written = writer.write_head(manifest, &encoded, sets, signatures);
        writer.reserved = written.inspect_err(|_| writer.discard())?;
        Ok(writer)
    }

    /// Answers whether the space could be reserved.
    fn write_head(
        &self,
        manifest: &BundleManifest,
        encoded: &[u8],
        sets: &[&[u8]],
        signatures: &Signatures,
    ) -> Result<bool, BundleError> {
        // All space is asked for at once, so that a full disk is found before the first blob is fetched.
        let reserved = allocate(&self.file, self.layout.size()).map_err(|e| self.error(e))?;
        for piece in self.layout.pieces(manifest)? {
            self.put(&piece.bytes, piece.offset)?;
        }
        self.put(encoded, MANIFEST_AT)?;
        let untrusted = |source| BundleError::Signature { path: self.path.clone(), source };
        self.put(&signatures.entry().map_err(untrusted)?, self.layout.signatures_at)?;
        for (at, document) in self.layout.sets_at.iter().zip(sets) {
            self.put(document, *at)?;
        }
        for blob in &manifest.blobs {
            let header = layout::header(&layout::blob_path(&blob.digest), blob.size)?;
            self.put(&header, self.layout.blobs_at + blob.offset - HEADER)?;
        }
        Ok(reserved)
    }

    /// Whether blobs may be written in any order at no cost. Where the file system could not reserve the space (FAT,
    /// exFAT), it fills everything before a write with zeroes first, and the order of the archive is the best.
    pub const fn any_order(&self) -> bool {
        self.reserved
    }

    /// Writes a part of a blob's content, `offset` bytes after its beginning.
    ///
    /// # Errors
    /// What the system says; [`io::ErrorKind::InvalidInput`] for bytes outside the blob.
    pub fn write_at(&self, blob: &BundleBlob, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if offset.saturating_add(bytes.len() as u64) > blob.size {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "more bytes than the blob has"));
        }
        file::write_at(&self.file, bytes, self.layout.blobs_at + blob.offset + offset)
    }

    /// Brings everything to the disk, then gives the archive its name. Every blob must have been written and
    /// compared with its digest before.
    ///
    /// # Errors
    /// [`BundleError::Write`].
    pub fn finish(&self) -> Result<Utf8PathBuf, BundleError> {
        let length = self.file.metadata().map_err(|e| self.error(e))?.len();
        if length != self.layout.size() {
            let (path, expected) = (self.part.clone(), self.layout.size());
            return Err(BundleError::Incomplete {
                path,
                expected,
                got: length,
                missing: "its end".to_owned(),
            });
        }
        self.file.sync_all().map_err(|e| self.error(e))?;
        std::fs::rename(&self.part, &self.path).map_err(|e| self.error(e))?;
        let folder = self.path.parent().unwrap_or(Utf8Path::new("."));
        file::sync_folder(folder).map_err(|e| self.error(e))?;
        Ok(self.path.clone())
    }

    /// Removes what was begun.
    pub fn discard(&self) {
        // What cannot be removed is overwritten by the next run.
        let _ = std::fs::remove_file(&self.part);
    }

    fn put(&self, bytes: &[u8], offset: u64) -> Result<(), BundleError> {
        file::write_at(&self.file, bytes, offset).map_err(|e| self.error(e))
    }

    fn error(&self, source: io::Error) -> BundleError {
        BundleError::Write { path: self.part.clone(), source }
    }
}

/// Opens the file that is to be written and empties it; `None` where another run has it. It is emptied only once it
/// is known to be ours and to still have this name: the other run may just have given it its final one.
fn begin(part: &Utf8Path) -> io::Result<Option<File>> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(part)?;
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => return Ok(None),
        // A file system without locks is no reason to refuse: then other runs cannot be told from us.
        Ok(()) | Err(TryLockError::Error(_)) => {}
    }
    if !file::is_named(&file, part)? {
        return Ok(None);
    }
    file.set_len(0)?;
    Ok(Some(file))
}

/// Reserves the space of the file where the file system can, else only sets its length. Answers whether it could.
fn allocate(file: &File, size: u64) -> io::Result<bool> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        use rustix::fs::{FallocateFlags, fallocate};
        match fallocate(file, FallocateFlags::empty(), 0, size) {
            Ok(()) => return Ok(true),
            Err(e @ (rustix::io::Errno::NOSPC | rustix::io::Errno::FBIG)) => return Err(e.into()),
            Err(_) => {}
        }
    }
    file.set_len(size)?;
    Ok(false)
}

/// Adds a signature to a bundle, in place: no other byte moves. The bundle's structure is not read; who signs a
/// bundle vouches for its manifest, whose digests vouch for the rest.
///
/// # Errors
/// [`BundleError`] of opening, and of signing.
pub fn sign(path: &Utf8Path, key: &crate::sign::SecretKey) -> Result<super::BundleManifest, BundleError> {
    let policy = super::Policy { trust: Trust::Anyone, ..super::Policy::default() };
    let bundle = super::Bundle::open(path, &policy)?;
    let unacceptable = |source| BundleError::Manifest { path: path.to_owned(), source };
    let encoded = bundle.manifest().encode().map_err(unacceptable)?;
    let layout = Layout::new(bundle.manifest(), &encoded).map_err(unacceptable)?;
    let cannot = |source| BundleError::Write { path: path.to_owned(), source };
    let untrusted = |source| BundleError::Signature { path: path.to_owned(), source };
    let file = file::open(path, true).map_err(cannot)?;
    let mut entry = vec![0; SIGNATURES_SIZE];
    file::read_at(&file, &mut entry, layout.signatures_at).map_err(cannot)?;
    let mut signatures = Signatures::parse(&entry).map_err(untrusted)?;
    signatures.sign(&encoded, key, &trusted_comment(bundle.manifest())).map_err(untrusted)?;
    let entry = signatures.entry().map_err(untrusted)?;
    file::write_at(&file, &entry, layout.signatures_at).and_then(|()| file.sync_all()).map_err(cannot)?;
    Ok(bundle.manifest().clone())
}

/// What a signature says for people to read.
pub fn trusted_comment(manifest: &BundleManifest) -> String {
    format!(
        "krs bundle, stream {}, sequence {}, created {}",
        manifest.stream, manifest.sequence, manifest.created_at
    )
}
