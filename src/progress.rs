// SPDX-License-Identifier: Apache-2.0
//! Progress of long work. The core only reports it; the command line displays it.

use crate::oci::digest::Digest;

/// What a run does with a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Activity {
    /// Resolving references; counted in references.
    Resolve,
    /// Querying what a registry has; counted in repositories.
    Survey,
    /// Rendering charts and kustomizations; counted in these.
    Render,
    /// Images from a daemon into a temporary file; counted in bytes.
    Export,
    /// Blobs from a registry into a bundle; counted in bytes.
    Pull,
    /// Reading a bundle and hashing it; counted in bytes.
    Verify,
    /// Making patches of layers; counted in bytes of these.
    Compact,
    /// Layers of patches; counted in bytes without compression.
    Rebuild,
    /// Blobs from a bundle to a registry; counted in bytes.
    Push,
    /// A bundle to a drive; counted in bytes.
    Copy,
    /// Reading back what was copied; counted in bytes.
    ReadBack,
}

impl Activity {
    /// Whether amounts are bytes; otherwise they are items.
    pub const fn in_bytes(self) -> bool {
        !matches!(self, Self::Resolve | Self::Survey | Self::Render)
    }
}

/// Receives the progress, from several tasks at the same time. Calls must return immediately.
pub trait Progress: Send + Sync {
    /// An activity begins, with this much work (bytes or items, see [`Activity::in_bytes`]).
    fn begin(&self, activity: Activity, total: u64);
    /// This much more is done. The sum may exceed the total, if something is fetched again.
    fn advance(&self, activity: Activity, amount: u64);
    /// The activity has ended, successfully or not.
    fn end(&self, activity: Activity);
    /// A transfer of a blob begins; `name` is what it belongs to.
    fn blob_begin(&self, activity: Activity, digest: &Digest, size: u64, name: &str) {
        let _ = (activity, digest, size, name);
    }
    /// This many more bytes of a blob were transferred.
    fn blob_advance(&self, digest: &Digest, bytes: u64) {
        let _ = (digest, bytes);
    }
    /// The transfer of a blob has ended, successfully or not.
    fn blob_end(&self, digest: &Digest) {
        let _ = digest;
    }
    /// A one-line message for the user: a retry, a warning.
    fn message(&self, text: &str) {
        let _ = text;
    }
}

/// Ignores all progress.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoProgress;

impl Progress for NoProgress {
    fn begin(&self, _: Activity, _: u64) {}
    fn advance(&self, _: Activity, _: u64) {}
    fn end(&self, _: Activity) {}
}
