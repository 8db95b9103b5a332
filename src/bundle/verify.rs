// SPDX-License-Identifier: Apache-2.0
//! Hashing a whole bundle, on all cores.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use super::error::BundleError;
use super::images::BundledImages;
use super::manifest::BundleBlob;
use super::open::Bundle;
use crate::digest::{self, Hasher};
use crate::progress::{Activity, Progress};

/// Bytes that each thread reads at once.
const CHUNK: usize = 1 << 20;

impl Bundle {
    /// Reads every byte of every blob and compares it, then the structure of the images. Blobs are taken in the
    /// order in which they lie, one to a thread.
    ///
    /// # Errors
    /// [`BundleError`]: of the failures that were seen, the one that lies first in the archive.
    pub fn verify(&self, threads: usize, progress: &dyn Progress) -> Result<BundledImages, BundleError> {
        let blobs = &self.manifest().blobs;
        progress.begin(Activity::Verify, blobs.iter().map(|blob| blob.size).sum());
        let result = self.verify_blobs(threads.clamp(1, blobs.len().max(1)), progress);
        progress.end(Activity::Verify);
        result?;
        self.images()
    }

    /// Reads every byte of every blob and compares it, one blob after the other, until `stop` is set. Answers whether
    /// it came to the end. Each piece that was read is reported to `progress`.
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

    fn verify_blobs(&self, threads: usize, progress: &dyn Progress) -> Result<(), BundleError> {
        let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
        let first = Mutex::new(None::<(usize, BundleError)>);
        thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    let mut buf = vec![0; CHUNK];
                    while !failed.load(Ordering::Relaxed) {
                        let n = next.fetch_add(1, Ordering::Relaxed);
                        let Some(blob) = self.manifest().blobs.get(n) else { break };
                        if let Err(error) = self.verify_blob(blob, &mut buf, &failed, progress) {
                            failed.store(true, Ordering::Relaxed);
                            let mut first = first.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                            if first.as_ref().is_none_or(|(other, _)| n < *other) {
                                *first = Some((n, error));
                            }
                        }
                    }
                });
            }
        });
        match first.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
            Some((_, error)) => Err(error),
            None => Ok(()),
        }
    }

    fn verify_blob(
        &self,
        blob: &BundleBlob,
        buf: &mut [u8],
        stop: &AtomicBool,
        progress: &dyn Progress,
    ) -> Result<(), BundleError> {
        self.check_header(blob)?;
        let mut hasher = Hasher::new();
        while hasher.bytes() < blob.size && !stop.load(Ordering::Relaxed) {
            let read = self.read_at(blob, hasher.bytes(), buf).map_err(|e| self.read_error(blob, e))?;
            hasher.update(&buf[..read]);
            progress.advance(Activity::Verify, read as u64);
        }
        if hasher.bytes() < blob.size {
            // Another thread has found something to report.
            return Ok(());
        }
        digest::check(hasher, blob.digest, blob.size).map_err(|source| self.content_error(blob, source))
    }
}
