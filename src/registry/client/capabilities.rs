// SPDX-License-Identifier: Apache-2.0
//! The detected capabilities of registries. Kept for the run, so that an unsupported request is attempted once and not for
//! every blob.

use std::collections::HashMap;

use http::StatusCode;
use parking_lot::Mutex;

use crate::oci::reference::RegistryHost;

/// What a `HEAD` request is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::registry) enum ContentKind {
    Blob,
    Manifest,
}

/// Whether a refused `HEAD` only means that the registry, or a proxy in front of it, cannot answer now.
pub(in crate::registry) const fn is_temporary(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 429 | 502..=504)
}

/// Whether the responses to `HEAD` can be used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::registry) enum HeadSupport {
    /// Not known to be wrong, and used.
    #[default]
    Reliable,
    /// `GET` contradicts them, so `HEAD` is not sent any more. Addresses that are signed for `GET` do this.
    Contradicted,
    /// `HEAD` and `GET` are both refused, as by registries that answer 403 for absent content. Before a push, one
    /// refusal is then enough.
    BothRefused,
}

#[derive(Debug, Default)]
struct RegistrySupport {
    head: HashMap<ContentKind, HeadSupport>,
    max_part: Option<u64>,
}

/// What is known about each registry.
#[derive(Debug, Default)]
pub(in crate::registry) struct Capabilities(Mutex<HashMap<RegistryHost, RegistrySupport>>);

impl Capabilities {
    pub(in crate::registry) fn head(&self, registry: &RegistryHost, kind: ContentKind) -> HeadSupport {
        let known = self.0.lock();
        known.get(registry).and_then(|known| known.head.get(&kind)).copied().unwrap_or_default()
    }

    /// A contradiction outweighs a refusal of both, because it shows that `GET` works.
    pub(in crate::registry) fn set_head(
        &self,
        registry: &RegistryHost,
        kind: ContentKind,
        support: HeadSupport,
    ) {
        let mut known = self.0.lock();
        let head = known.entry(registry.clone()).or_default().head.entry(kind).or_default();
        if *head != HeadSupport::Contradicted {
            *head = support;
        }
    }

    /// The largest part of an upload that was accepted after a larger one was refused with 413.
    pub(in crate::registry) fn max_part(&self, registry: &RegistryHost) -> Option<u64> {
        self.0.lock().get(registry).and_then(|known| known.max_part)
    }

    pub(in crate::registry) fn set_max_part(&self, registry: &RegistryHost, bytes: u64) {
        self.0.lock().entry(registry.clone()).or_default().max_part = Some(bytes);
    }
}
