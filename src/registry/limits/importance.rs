// SPDX-License-Identifier: Apache-2.0
//! How much a request matters.

/// Part of [`crate::registry::RetryPolicy::budget`] and [`crate::registry::RetryPolicy::max_wait`] that all optional
/// requests together may use: a quarter.
pub(in crate::registry) const OPTIONAL_SHARE: u32 = 4;

/// What a request may use of the retries and pauses of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::registry) enum Importance {
    /// An image needs it. It may use all of them.
    Required,
    /// It is for optional content. It may use [`OPTIONAL_SHARE`] of them, and its pauses count as attempts.
    Optional,
    /// Optional, after another one has failed in spite of retries. It may use none of them.
    OptionalOnce,
}

impl Importance {
    pub(in crate::registry) const fn is_optional(self) -> bool {
        !matches!(self, Self::Required)
    }
}
