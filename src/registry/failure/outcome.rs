// SPDX-License-Identifier: Apache-2.0
//! How one attempt at a request ended that did not succeed.

use crate::oci::reference::RegistryHost;
use crate::registry::failure::denial::Denial;
use crate::registry::failure::error::RegistryError;

/// How one try ended, where it did not succeed.
#[derive(Debug)]
pub(in crate::registry) enum Failure {
    /// The registry asked for a login, which the next try can make; it costs nothing. The error is what it comes
    /// to where that has no end.
    LoggedIn(Box<RegistryError>),
    /// Trying again cannot help.
    Final(Box<RegistryError>),
    /// A retry may help.
    Again(Box<RegistryError>),
    /// The host refused the request for its limit of requests, and is paused: the next request waits by itself. Where the
    /// host has `asked` for the pause, that uses up none of its tries.
    Limited {
        /// What it comes to where there is no other try.
        error: Box<RegistryError>,
        /// Whether the host stated how long to wait.
        asked: bool,
    },
}

impl From<RegistryError> for Failure {
    fn from(error: RegistryError) -> Self {
        Self::Final(Box::new(error))
    }
}

impl Failure {
    pub(in crate::registry) fn again(error: RegistryError) -> Self {
        Self::Again(Box::new(error))
    }

    /// The same with another error.
    pub(in crate::registry) fn map(self, change: impl FnOnce(RegistryError) -> RegistryError) -> Self {
        let change = |error: Box<RegistryError>| Box::new(change(*error));
        match self {
            Self::LoggedIn(error) => Self::LoggedIn(change(error)),
            Self::Final(error) => Self::Final(change(error)),
            Self::Again(error) => Self::Again(change(error)),
            Self::Limited { error, asked } => Self::Limited { error: change(error), asked },
        }
    }

    /// The same after content was sent: 404 then does not mean that it is missing, but that the registry has no project
    /// for it, and 405 mostly that the registry is read-only.
    pub(in crate::registry) fn of_push(self, registry: &RegistryHost) -> Self {
        let Self::Final(error) = self else { return self };
        let registry = registry.clone();
        let (denial, what, status, detail) = match *error {
            RegistryError::NotFound { what, detail } => (Denial::of_missing(&detail), what, 404, detail),
            RegistryError::Refused { what, status: 405, detail, .. } => {
                (Denial::of_method(&detail), what, 405, detail)
            }
            other => return other.into(),
        };
        match denial {
            Some(denial) => RegistryError::Denied { registry, what, denial, status, detail }.into(),
            None => RegistryError::Refused { registry, what, status, detail }.into(),
        }
    }
}
