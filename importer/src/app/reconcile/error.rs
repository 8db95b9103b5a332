// SPDX-License-Identifier: Apache-2.0
//! Why a reconcile fails.

use std::time::Duration;

use thiserror::Error;

use crate::adapters::high_water_marks::MarkError;

/// Why a reconcile failed. It is retried.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages explain the fields")]
pub enum ReconcileError {
    /// The API server did not do something.
    #[error("{what}: {source}")]
    Api {
        /// What it was to do.
        what: &'static str,
        /// What it said.
        source: kube::Error,
    },
    /// It took too long.
    #[error("reconciling takes longer than {} s", .limit.as_secs())]
    TimedOut { limit: Duration },
    /// The system has no random numbers.
    #[error("the system gives no random numbers, so that no copy Job can be created")]
    Random,
    /// The mark of a stream could not be raised, so that nothing of its bundle is used.
    #[error("what a bundle decides cannot be used: {0}")]
    Mark(#[from] MarkError),
    /// The set has no name, namespace or UID: it does not come from an API server.
    #[error("the set has no name, namespace or UID")]
    Nameless,
}

impl ReconcileError {
    /// Its name in the metrics.
    pub(super) const fn category(&self) -> &'static str {
        match self {
            Self::Api { .. } => "Api",
            Self::TimedOut { .. } => "TimedOut",
            Self::Random => "Random",
            Self::Mark(_) => "Mark",
            Self::Nameless => "Nameless",
        }
    }

    pub(super) fn api(what: &'static str) -> impl FnOnce(kube::Error) -> Self {
        move |source| Self::Api { what, source }
    }
}
