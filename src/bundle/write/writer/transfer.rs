// SPDX-License-Identifier: Apache-2.0
//! Blobs out of another bundle, and reading back what was written.

use std::io;
use std::sync::atomic::AtomicBool;

use super::{CHUNK, Writer};
use crate::bundle::disk::media::ReadFrom;
use crate::bundle::error::BundleError;
use crate::bundle::format::content::BundleBlob;
use crate::bundle::format::layout;
use crate::bundle::read::open::Bundle;
use crate::bundle::read::verify::{for_each_blob, hash_until};
use crate::bundle::sign::Signatures;
use crate::oci::digest::{self, Digest, Hasher};
use crate::progress::{Activity, Progress};

/// Bytes of a blob that are noted at once.
const NOTE_STEP: u64 = 64 << 20;

impl Writer {
    /// Copies a blob out of another bundle, inside of the file system where it can. Returns whether what arrived is the
    /// blob; nothing is said of the other bundle where it is not.
    ///
    /// # Errors
    /// What the system says about the archive that is written.
    pub fn copy_from(&self, blob: &BundleBlob, other: &Bundle) -> io::Result<bool> {
        let Some(from) = other.blob(&blob.digest).filter(|from| from.size == blob.size).copied() else {
            return Ok(false);
        };
        let mut done = self.copy_range(blob, other, &from);
        let mut buf = vec![0; CHUNK];
        while done < blob.size {
            match other.read_at(&from, done, &mut buf) {
                Ok(read) if read > 0 => {
                    self.write_at(blob, done, &buf[..read])?;
                    done += read as u64;
                }
                _ => return Ok(false),
            }
        }
        let hasher = self.hash(blob, blob.size)?;
        Ok(hasher.is_some_and(|hasher| hasher.finish() == blob.digest))
    }

    /// `copy_file_range(2)`, which shares the blocks where the file system can. Returns how far it came.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn copy_range(&self, blob: &BundleBlob, other: &Bundle, from: &BundleBlob) -> u64 {
        let mut done = 0;
        while done < blob.size {
            let Some((file, mut at, left)) = other.file_at(from, done) else { break };
            let Ok((to, mut to_at, room)) = self.output.locate(self.content_at(blob) + done) else { break };
            let most = usize::try_from(left.min(room).min(blob.size - done)).unwrap_or(usize::MAX);
            match rustix::fs::copy_file_range(&*file, Some(&mut at), to, Some(&mut to_at), most) {
                Ok(copied) if copied > 0 => {
                    self.output.wrote(copied as u64);
                    done += copied as u64;
                }
                // Another file system, or one that cannot: bytes are read and written then.
                _ => break,
            }
        }
        done
    }

    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    fn copy_range(&self, _: &BundleBlob, _: &Bundle, _: &BundleBlob) -> u64 {
        0
    }

    /// Copies a blob out of another bundle and hashes it on the way, so that damage there is found now and not at the site.
    /// What an interrupted run has written is kept where it is the same. Returns how many bytes that are.
    pub(in crate::bundle) fn copy_verified(
        &self,
        blob: &BundleBlob,
        from: &Bundle,
        progress: &dyn Progress,
    ) -> Result<u64, BundleError> {
        let mut buf = vec![0; CHUNK];
        let written = self.hash(blob, self.resume_offset(blob)).map_err(|e| self.error(e))?;
        let written = written.filter(|written| written.bytes() > 0);
        let kept = match written {
            Some(written) => self.same_beginning(blob, from, written, &mut buf)?,
            None => Hasher::new(),
        };
        let (resumed, mut hasher) = (kept.bytes(), kept);
        progress.advance(Activity::Copy, resumed);
        let mut recorded_bytes = resumed;
        while hasher.bytes() < blob.size {
            let offset = hasher.bytes();
            let read = from.read_at(blob, offset, &mut buf).map_err(|e| from.read_error(blob, e))?;
            hasher.update(&buf[..read]);
            self.write_at(blob, offset, &buf[..read]).map_err(|e| self.error(e))?;
            progress.advance(Activity::Copy, read as u64);
            if hasher.bytes() - recorded_bytes >= NOTE_STEP {
                recorded_bytes = hasher.bytes();
                self.record(&blob.digest, recorded_bytes);
            }
            if self.is_sync_due() {
                // What is shown as done is on the drive, not in memory.
                self.sync_behind();
            }
        }
        if let Err(source) = digest::check(hasher, blob.digest, blob.size) {
            self.record(&blob.digest, 0);
            return Err(from.content_error(blob, source));
        }
        self.record(&blob.digest, blob.size);
        Ok(resumed)
    }

    /// The hash of the beginning of a blob that was `written` before, if the other bundle begins in the same way; else of
    /// nothing.
    fn same_beginning(
        &self,
        blob: &BundleBlob,
        from: &Bundle,
        written: Hasher,
        buf: &mut [u8],
    ) -> Result<Hasher, BundleError> {
        let mut hasher = Hasher::new();
        while hasher.bytes() < written.bytes() {
            let most = usize::try_from(written.bytes() - hasher.bytes()).unwrap_or(usize::MAX).min(buf.len());
            let read = from.read_at(blob, hasher.bytes(), &mut buf[..most]);
            hasher.update(&buf[..read.map_err(|e| from.read_error(blob, e))?]);
        }
        let is_same = hasher.clone().finish() == written.finish();
        Ok(if is_same { hasher } else { Hasher::new() })
    }

    /// Reads everything back, from the media where that can be done, and compares it.
    ///
    /// # Errors
    /// [`BundleError::NotKept`], [`BundleError::Read`], [`BundleError::Write`].
    pub(in crate::bundle) fn read_back(
        &self,
        encoded: &[u8],
        sets: &[&[u8]],
        signatures: &Signatures,
        threads: usize,
        progress: &dyn Progress,
    ) -> Result<ReadFrom, BundleError> {
        let from = self.output.drop_cached().map_err(|source| {
            // The kernel reports a failed write once; what it has in memory must not count later.
            self.lock.journal.forget();
            self.error(source)
        })?;
        self.each_fixed(encoded, sets, signatures, |expected, offset| {
            let mut got = vec![0; expected.len()];
            let read = self.output.read_at(&mut got, offset).map_err(|e| self.read_error(offset, e))?;
            if read == got.len() && got == expected {
                return Ok(());
            }
            let got = Digest::of(&got[..read]);
            let source = digest::ContentMismatch::Digest { expected: Digest::of(expected), got };
            let name = format!("{} bytes at byte {offset}", expected.len());
            Err(BundleError::NotKept { path: self.path.clone(), name, source })
        })?;
        let blobs = &self.manifest.blobs;
        progress.begin(Activity::ReadBack, blobs.iter().map(|blob| blob.size).sum());
        let check = |blob: &BundleBlob, buf: &mut [u8], stop: &AtomicBool| {
            self.is_kept(blob, buf, stop, progress).inspect_err(|_| self.record(&blob.digest, 0))
        };
        let result = for_each_blob(blobs, threads, check);
        progress.end(Activity::ReadBack);
        result.map(|()| from)
    }

    /// Whether a blob is in the files as it was written.
    fn is_kept(
        &self,
        blob: &BundleBlob,
        buf: &mut [u8],
        stop: &AtomicBool,
        progress: &dyn Progress,
    ) -> Result<(), BundleError> {
        let read = |buf: &mut [u8], offset| {
            let most = usize::try_from(blob.size - offset).unwrap_or(usize::MAX).min(buf.len());
            let at = self.content_at(blob) + offset;
            let read = self.output.read_at(&mut buf[..most], at).map_err(|e| self.read_error(at, e))?;
            if read == 0 {
                return Err(self.read_error(at, io::ErrorKind::UnexpectedEof.into()));
            }
            progress.advance(Activity::ReadBack, read as u64);
            Ok(read)
        };
        hash_until(blob, buf, stop, read)?.map_err(|source| BundleError::NotKept {
            path: self.path.clone(),
            name: layout::blob_path(&blob.digest),
            source,
        })
    }

    fn read_error(&self, offset: u64, source: io::Error) -> BundleError {
        BundleError::Read { path: self.path.clone(), offset, source }
    }
}
