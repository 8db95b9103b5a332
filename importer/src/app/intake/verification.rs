// SPDX-License-Identifier: Apache-2.0
//! The full verification of a bundle: every blob is read once and hashed, in a thread of its own that may never return.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use futures::FutureExt as _;
use krs_core::bundle::{Bundle, BundleError};
use krs_core::progress::{Activity, Progress};
use tokio::sync::oneshot;

use super::watchdog::{Call, Hangs, Watchdog};

/// How often progress is told.
const BEAT: Duration = Duration::from_millis(500);

/// Reads a bundle to its end, as [`Bundle::verify_until`] does.
pub type Verify = Arc<dyn Fn(&Bundle, &AtomicBool, &dyn Progress) -> Result<bool, BundleError> + Send + Sync>;

/// How bundles are verified in full.
#[derive(Clone)]
pub struct VerificationOptions {
    /// What reads a bundle.
    pub verify: Verify,
    /// How long it may make no progress before the media are left alone. A drive that fails takes half a minute for each
    /// piece that it reads again and again.
    pub stall: Duration,
    /// How often progress is told, and files that nobody reads any more are closed.
    pub beat: Duration,
}

impl std::fmt::Debug for VerificationOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VerificationOptions").field("stall", &self.stall).finish_non_exhaustive()
    }
}

impl Default for VerificationOptions {
    fn default() -> Self {
        Self { verify: Arc::new(Bundle::verify_until), stall: Duration::from_secs(120), beat: BEAT }
    }
}

/// The result of a full verification: whether all was read and right. `None`: it broke off.
pub(super) type End = Option<Result<bool, BundleError>>;

/// A full verification that runs. Dropping it ends it after the piece that is being read.
pub(super) struct FullVerification {
    pub path: Utf8PathBuf,
    bundle: Arc<Bundle>,
    stop: Arc<AtomicBool>,
    bytes: Arc<Bytes>,
    /// Bytes that were read when there was progress last, and when that was.
    progress: (u64, Instant),
    stall: Duration,
    call: Call,
    end: oneshot::Receiver<Result<bool, BundleError>>,
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

impl FullVerification {
    /// Begins to read `bundle`, which lies on `media`.
    ///
    /// # Errors
    /// [`Hangs`]: an earlier reader of the media has not returned yet.
    pub(super) fn start(
        media: &Utf8Path,
        path: Utf8PathBuf,
        bundle: Arc<Bundle>,
        options: &VerificationOptions,
        watchdog: &Watchdog,
    ) -> Result<Self, Hangs> {
        let (stop, bytes) = (Arc::new(AtomicBool::new(false)), Arc::new(Bytes::default()));
        let read = Arc::clone(&bundle);
        let (stopped, progress, verify) =
            (Arc::clone(&stop), Arc::clone(&bytes), Arc::clone(&options.verify));
        let (sender, end) = oneshot::channel();
        let call = watchdog.begin(media, move || {
            // Nobody may be left to take it.
            let _ = sender.send(verify(&read, &stopped, &*progress));
        })?;
        let progress = (0, Instant::now());
        Ok(Self { path, bundle, stop, bytes, progress, stall: options.stall, call, end })
    }

    /// Whether it reads this very file. Another one in its place may be damaged where this one is not, and have the same
    /// manifest.
    pub(super) fn reads(&self, bundle: &Arc<Bundle>) -> bool {
        Arc::ptr_eq(&self.bundle, bundle)
    }

    /// Ends it after the piece that is being read. Until then nobody else reads the media.
    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Bytes that were read so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.0.load(Ordering::Relaxed)
    }

    /// Whether all was read and right, once that is known.
    pub(super) fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<End> {
        self.end.poll_unpin(context).map(Result::ok)
    }

    /// Gives up where nothing was read for too long: nothing is read from the media until the thread returns.
    pub(super) fn give_up_if_stalled(&mut self, now: Instant) -> Option<Hangs> {
        let bytes = self.bytes();
        if bytes != self.progress.0 {
            self.progress = (bytes, now);
        }
        let stalled = now.saturating_duration_since(self.progress.1) >= self.stall;
        if stalled { self.call.give_up() } else { None }
    }
}

impl Drop for FullVerification {
    fn drop(&mut self) {
        self.stop();
    }
}
