// SPDX-License-Identifier: Apache-2.0
//! The pass over a whole medium: every blob is read once and hashed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use camino::Utf8PathBuf;
use krs_core::bundle::{Bundle, BundleError};
use krs_core::digest::Digest;
use krs_core::progress::{Activity, Progress};
use tokio::task::{JoinError, JoinHandle};

/// A pass that is under way. Dropping it ends it after the piece that is being read.
pub(super) struct Pass {
    pub path: Utf8PathBuf,
    pub digest: Digest,
    stop: Arc<AtomicBool>,
    bytes: Arc<Bytes>,
    task: JoinHandle<Result<bool, BundleError>>,
}

#[derive(Default)]
struct Bytes(AtomicU64);

impl Progress for Bytes {
    fn begin(&self, _: Activity, _: u64) {}

    fn advance(&self, _: Activity, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    fn end(&self, _: Activity) {}
}

impl Pass {
    pub(super) fn start(path: Utf8PathBuf, bundle: Arc<Bundle>) -> Self {
        let (stop, bytes) = (Arc::new(AtomicBool::new(false)), Arc::new(Bytes::default()));
        let digest = bundle.digest();
        let (stopped, progress) = (Arc::clone(&stop), Arc::clone(&bytes));
        let task = tokio::task::spawn_blocking(move || bundle.verify_until(&stopped, &*progress));
        Self { path, digest, stop, bytes, task }
    }

    /// Bytes that were read so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.0.load(Ordering::Relaxed)
    }

    /// Waits for the end: whether all was read and right.
    pub(super) async fn end(&mut self) -> Result<Result<bool, BundleError>, JoinError> {
        (&mut self.task).await
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
