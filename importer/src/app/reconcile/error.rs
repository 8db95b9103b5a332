// SPDX-License-Identifier: Apache-2.0
//! Why a look at a set fails.

use thiserror::Error;

use super::look::RECONCILE_TIMEOUT;
use crate::adapters::high_water_marks::MarkError;

/// Why a look at a set did not end well. It is repeated.
#[derive(Debug, Error)]
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
    #[error("reconciling takes longer than {} s", RECONCILE_TIMEOUT.as_secs())]
    TimedOut,
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
    pub(super) fn api(what: &'static str) -> impl FnOnce(kube::Error) -> Self {
        move |source| Self::Api { what, source }
    }
}
