// SPDX-License-Identifier: Apache-2.0
//! What long work tells whoever watches. The core only reports; the command line draws.

use crate::oci::digest::Digest;

/// What a run does with a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Activity {
    /// Finding out what the references stand for; counted in references.
    Resolve,
    /// Looking at what a registry has; counted in repositories.
    Survey,
    /// Blobs from a registry into a bundle; counted in bytes.
    Pull,
    /// Reading a bundle and hashing it; counted in bytes.
    Verify,
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
        !matches!(self, Self::Resolve | Self::Survey)
    }
}

/// Hears what happens, from several tasks at once. Calls must return at once.
pub trait Progress: Send + Sync {
    /// An activity begins, with so much ahead of it (bytes or items, see [`Activity::in_bytes`]).
    fn begin(&self, activity: Activity, total: u64);
    /// So much more is done. May be more than was ahead, when something is fetched again.
    fn advance(&self, activity: Activity, amount: u64);
    /// The activity is over, done or failed.
    fn end(&self, activity: Activity);
    /// A blob is begun; `name` says what it belongs to.
    fn blob_begin(&self, activity: Activity, digest: &Digest, size: u64, name: &str) {
        let _ = (activity, digest, size, name);
    }
    /// So many more bytes of a blob have passed.
    fn blob_advance(&self, digest: &Digest, bytes: u64) {
        let _ = (digest, bytes);
    }
    /// A blob is done, or given up.
    fn blob_end(&self, digest: &Digest) {
        let _ = digest;
    }
    /// Something that a person should read now, in one line: a retry, a warning.
    fn message(&self, text: &str) {
        let _ = text;
    }
}

/// Nobody watches.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoProgress;

impl Progress for NoProgress {
    fn begin(&self, _: Activity, _: u64) {}
    fn advance(&self, _: Activity, _: u64) {}
    fn end(&self, _: Activity) {}
}
