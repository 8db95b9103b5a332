// SPDX-License-Identifier: Apache-2.0
//! A client of OCI registries (OCI distribution-spec 1.1, and its deviations in practice).
//!
//! Registries and the network are not trusted: every response is bounded, content is compared with its digest while
//! it arrives, and credentials go to their registry only. Interrupted transfers are resumed.
//!
//! Layers, each of which uses only those before it: `failure` ← `limits` ← `transport` ← `auth` ← `client` ← `content`.
//! `host` (names of hosts) uses none of them. A test enforces this.

mod auth;
mod client;
mod content;
mod failure;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
mod host;
mod limits;
mod transport;

#[cfg(test)]
mod tests;

pub use auth::credential_file::{CredentialFile, CredentialKey, InvalidCredentials};
pub use auth::keychain::Keychain;
pub use client::options::ClientOptions;
pub use client::repository::Repository;
pub use client::{Client, Statistics};
pub use content::blob::foreign::ForeignLayers;
pub use content::blob::io::{BlobSink, BlobSource};
pub use content::blob::relay::ByteObserver;
pub use content::blob::upload::content::{BlobContent, BlobPush, PushOutcome};
pub use content::manifest::{FetchedManifest, ManifestLookup};
pub use content::referrers::{ReferrerList, ReferrersApi, ReferrersTag, UnusableEntry, referrers_tag};
pub use content::tags::ReadableTags;
pub use failure::denial::Denial;
pub use failure::denied_address::DeniedAddress;
pub use failure::error::{CredentialUse, RegistryError, SourceError};
pub use failure::hint::Hint;
pub use failure::keychain::KeychainError;
pub use failure::redirect_refusal::RedirectRefusal;
pub use limits::notifier::Notify;
pub use limits::policy::RetryPolicy;
pub use transport::deny_list::DenyList;
pub use transport::options::ProxyOptions;
pub use transport::tls::ClientIdentity;
