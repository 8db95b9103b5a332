// SPDX-License-Identifier: Apache-2.0
//! The outcome of a failed attempt at a request.

use crate::oci::reference::RegistryHost;
use crate::registry::failure::denial::Denial;
use crate::registry::failure::error::RegistryError;

/// The outcome of a failed attempt.
#[derive(Debug)]
pub(in crate::registry) enum Failure {
    /// The registry requires authentication, which the next attempt has. It costs no retry. The error is the outcome if the
    /// registry keeps requiring it.
    Challenged(Box<RegistryError>),
    /// A retry cannot help.
    Final(Box<RegistryError>),
    /// A retry may help.
    Retryable(Box<RegistryError>),
    /// The host rate-limited the request, and is paused: the next request waits by itself. If the host has `requested` the
    /// pause, it does not count as an attempt.
    RateLimited {
        /// The error if there is no other attempt.
        error: Box<RegistryError>,
        /// Whether the host stated how long to wait.
        requested: bool,
    },
}

impl From<RegistryError> for Failure {
    fn from(error: RegistryError) -> Self {
        Self::Final(Box::new(error))
    }
}

impl Failure {
    pub(in crate::registry) fn retryable(error: RegistryError) -> Self {
        Self::Retryable(Box::new(error))
    }

    /// The same with another error.
    pub(in crate::registry) fn map(self, change: impl FnOnce(RegistryError) -> RegistryError) -> Self {
        let change = |error: Box<RegistryError>| Box::new(change(*error));
        match self {
            Self::Challenged(error) => Self::Challenged(change(error)),
            Self::Final(error) => Self::Final(change(error)),
            Self::Retryable(error) => Self::Retryable(change(error)),
            Self::RateLimited { error, requested } => Self::RateLimited { error: change(error), requested },
        }
    }

    /// The outcome for a write: 404 then means that the project is missing, and 405 mostly that the registry is read-only.
    pub(in crate::registry) fn of_push(self, registry: &RegistryHost) -> Self {
        let Self::Final(error) = self else { return self };
        let registry = registry.clone();
        let (denial, what, status, detail) = match *error {
            RegistryError::NotFound { what, detail } => (Denial::for_missing(&detail), what, 404, detail),
            RegistryError::Refused { what, status: 405, detail, .. } => {
                (Denial::for_method(&detail), what, 405, detail)
            }
            other => return other.into(),
        };
        match denial {
            Some(denial) => RegistryError::Denied { registry, what, denial, status, detail }.into(),
            None => RegistryError::Refused { registry, what, status, detail }.into(),
        }
    }
}
