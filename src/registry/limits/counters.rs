// SPDX-License-Identifier: Apache-2.0
//! What a run has done so far.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts of a run; its clients share them.
#[derive(Debug, Default)]
pub(in crate::registry) struct Counters {
    requests: AtomicU64,
    received: AtomicU64,
    sent: AtomicU64,
    retries: AtomicU64,
}

impl Counters {
    pub(in crate::registry) fn add_request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    pub(in crate::registry) fn add_retry(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
    }

    pub(in crate::registry) fn add_received(&self, bytes: u64) {
        self.received.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(in crate::registry) fn add_sent(&self, bytes: u64) {
        self.sent.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Requests, redirects and retries included.
    pub(in crate::registry) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    pub(in crate::registry) fn retries(&self) -> u64 {
        self.retries.load(Ordering::Relaxed)
    }

    /// Bytes of bodies received.
    pub(in crate::registry) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Bytes of blobs sent.
    pub(in crate::registry) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}
