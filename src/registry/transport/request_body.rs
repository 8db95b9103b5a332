// SPDX-License-Identifier: Apache-2.0
//! The body of a request.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

/// A body of known length. It can be sent again after a redirect.
pub(in crate::registry) struct RequestBody {
    pub(in crate::registry) length: u64,
    /// Counts the sent bytes; while the count does not grow, the request counts as stalled.
    pub(in crate::registry) sent: Arc<AtomicU64>,
    /// How many bytes count as sent as soon as the body is passed to the HTTP client.
    sent_at_once: u64,
    make: Box<dyn Fn() -> reqwest::Body + Send + Sync>,
}

impl fmt::Debug for RequestBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestBody").field("length", &self.length).finish_non_exhaustive()
    }
}

impl RequestBody {
    /// A body of `length` bytes. `make` returns it from its start each time, and it counts the sent bytes in `sent`.
    pub(in crate::registry) fn new(
        length: u64,
        sent: Arc<AtomicU64>,
        make: impl Fn() -> reqwest::Body + Send + Sync + 'static,
    ) -> Self {
        Self { length, sent, sent_at_once: 0, make: Box::new(make) }
    }

    /// A body that is sent as one piece.
    pub(in crate::registry) fn small(bytes: Bytes) -> Self {
        let length = bytes.len() as u64;
        let make = move || bytes.clone().into();
        Self { sent_at_once: length, ..Self::new(length, Arc::default(), make) }
    }

    /// The body from its start.
    pub(in crate::registry) fn start(&self) -> reqwest::Body {
        self.sent.store(self.sent_at_once, Ordering::Relaxed);
        (self.make)()
    }
}
