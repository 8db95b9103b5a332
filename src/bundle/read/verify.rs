// SPDX-License-Identifier: Apache-2.0
//! Verifies all blobs of a bundle, on all cores.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use parking_lot::Mutex;

use super::images::BundledImages;
use super::open::Bundle;
use crate::bundle::error::BundleError;
use crate::bundle::format::content::BundleBlob;
use crate::oci::digest::{self, ContentMismatch, Hasher};
use crate::progress::{Activity, Progress};

/// Bytes that each thread reads at once.
const CHUNK: usize = 1 << 20;

impl Bundle {
    /// Verifies the digest of every blob, then the structure of the images. Blobs are read in the order of the archive, one
    /// per thread.
    ///
    /// # Errors
    /// [`BundleError`]: the first failure in the order of the archive, of those that were seen.
    pub fn verify(&self, threads: usize, progress: &dyn Progress) -> Result<BundledImages, BundleError> {
        let blobs = &self.manifest().blobs;
        progress.begin(Activity::Verify, blobs.iter().map(|blob| blob.size).sum());
        let check = |blob: &BundleBlob, buf: &mut [u8], stop: &AtomicBool| {
            self.verify_blob(blob, buf, stop, progress)
        };
        let result = for_each_blob(blobs, threads, check);
        progress.end(Activity::Verify);
        result?;
        self.images()
    }

    /// Verifies the digest of every blob, one after the other, until `stop` is set. Returns whether it reached the end.
    /// `progress` is told of each piece.
    ///
    /// # Errors
    /// [`BundleError`] of the first blob that is not right or cannot be read.
    pub fn verify_until(&self, stop: &AtomicBool, progress: &dyn Progress) -> Result<bool, BundleError> {
        let mut buf = vec![0; CHUNK];
        for blob in &self.manifest().blobs {
            self.verify_blob(blob, &mut buf, stop, progress)?;
            if stop.load(Ordering::Relaxed) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn verify_blob(
        &self,
        blob: &BundleBlob,
        buf: &mut [u8],
        stop: &AtomicBool,
        progress: &dyn Progress,
    ) -> Result<(), BundleError> {
        self.check_header(blob)?;
        let read = |buf: &mut [u8], offset| {
            let read = self.read_at(blob, offset, buf).map_err(|e| self.read_error(blob, e))?;
            progress.advance(Activity::Verify, read as u64);
            Ok(read)
        };
        hash_until(blob, buf, stop, read)?.map_err(|source| self.content_error(blob, source))
    }
}

/// Verifies the digest of a blob. `read` reads at an offset. Ends early when `stop` is set, because another thread has
/// found a failure.
///
/// # Errors
/// The errors of `read`. The inner result tells whether the content is the blob.
pub(in crate::bundle) fn hash_until(
    blob: &BundleBlob,
    buf: &mut [u8],
    stop: &AtomicBool,
    mut read: impl FnMut(&mut [u8], u64) -> Result<usize, BundleError>,
) -> Result<Result<(), ContentMismatch>, BundleError> {
    let mut hasher = Hasher::new();
    while hasher.bytes() < blob.size {
        if stop.load(Ordering::Relaxed) {
            return Ok(Ok(()));
        }
        let read = read(buf, hasher.bytes())?;
        hasher.update(&buf[..read]);
    }
    Ok(digest::check(hasher, blob.digest, blob.size))
}

/// Checks blobs on several threads, in the order of the archive, one per thread. `check` gets a buffer to read into, and
/// ends early when its last argument is set, because another thread has found a failure.
///
/// # Errors
/// The first failure in the order of the archive, of those that were seen.
pub(in crate::bundle) fn for_each_blob(
    blobs: &[BundleBlob],
    threads: usize,
    check: impl Fn(&BundleBlob, &mut [u8], &AtomicBool) -> Result<(), BundleError> + Sync,
) -> Result<(), BundleError> {
    let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let first = Mutex::new(None::<(usize, BundleError)>);
    thread::scope(|scope| {
        for _ in 0..threads.clamp(1, blobs.len().max(1)) {
            scope.spawn(|| {
                let mut buf = vec![0; CHUNK];
                while !failed.load(Ordering::Relaxed) {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    let Some(blob) = blobs.get(n) else { break };
                    if let Err(error) = check(blob, &mut buf, &failed) {
                        failed.store(true, Ordering::Relaxed);
                        let mut first = first.lock();
                        if first.as_ref().is_none_or(|(other, _)| n < *other) {
                            *first = Some((n, error));
                        }
                    }
                }
            });
        }
    });
    match first.into_inner() {
        Some((_, error)) => Err(error),
        None => Ok(()),
    }
}
