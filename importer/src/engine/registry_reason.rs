// SPDX-License-Identifier: Apache-2.0
//! The one table from failures of registries to the reasons of a set. Checks and copy Jobs use it.

use krs_core::crd::reason;
use krs_core::registry::{Denial, RegistryError};

/// The reason of [`krs_core::crd::reason`] that a failure of the edge registry or of a source registry has. Every variant is
/// named, so that a new one is decided here. A copy Job knows more about some: see `runner::failure`.
pub(crate) const fn reason_of(error: &RegistryError) -> &'static str {
    use RegistryError as E;
    match error {
        E::Unauthorized { .. } | E::Forbidden { .. } | E::Keychain(_) => reason::AUTH_FAILED,
        E::Tls { .. } | E::Certificate { .. } | E::PlainHttp { .. } => reason::TLS_FAILED,
        E::NotFound { .. } => reason::IMAGE_NOT_FOUND,
        E::Content { .. } | E::OtherDigest { .. } => reason::DIGEST_MISMATCH,
        E::Full { .. } | E::Denied { denial: Denial::Quota, .. } => reason::REGISTRY_FULL,
        E::Denied { denial: Denial::ReadOnly, .. } => reason::REGISTRY_READ_ONLY,
        E::Sink { .. } | E::Source { .. } => reason::COPY_FAILED,
        E::Unavailable { .. } | E::RateLimited { .. } | E::Intercepted { .. } => reason::REGISTRY_UNREACHABLE,
        // A response above its limit says nothing about a digest: nothing was hashed.
        E::TooLarge { .. }
        | E::Protocol { .. }
        | E::Refused { .. }
        | E::Denied { .. }
        | E::Foreign { .. }
        | E::Redirect { .. }
        | E::Realm { .. }
        | E::DeniedAddress { .. } => reason::REGISTRY_REFUSED,
    }
}
