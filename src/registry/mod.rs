// SPDX-License-Identifier: Apache-2.0
//! A client of OCI registries (OCI distribution-spec 1.1, and what registries make of it).
//!
//! Registries and the network are not trusted: every answer is bounded, content is compared with its digest while
//! it arrives, and credentials go to their registry only. What is cut is resumed, not started again.
//!
//! Layers, each of which uses only those before it: `failure` ← `limits` ← `transport` ← `auth` ← `client` ← `content`.

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

use std::io;

use bytes::Bytes;

pub use auth::keychain::Keychain;
pub use client::options::{ClientOptions, Notify, ProxyOptions};
pub use client::repository::Repository;
pub use client::{Client, Statistics};
pub use content::blob::foreign::ForeignLayers;
pub use content::blob::relay::Received;
pub use content::blob::upload::{BlobContent, BlobPush};
pub use content::manifest::ManifestLookup;
pub use content::referrers::{ReferrerList, ReferrersApi, ReferrersTag, UnusableEntry, referrers_tag};
pub use content::tags::ReadableTags;
pub use failure::denial::Denial;
pub use failure::denied_address::BarredAddress;
pub use failure::error::{CredentialUse, RegistryError, SourceError};
pub use failure::hint::Hint;
pub use failure::keychain::KeychainError;
pub use failure::redirect_refusal::RedirectRefusal;
pub use limits::retry::RetryPolicy;
pub use transport::deny_list::Barred;
pub use transport::tls::ClientIdentity;

use crate::oci::digest::Digest;

/// An index or manifest as a registry delivered it, byte for byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchedManifest {
    /// What the registry says that it is (`Content-Type`), without parameters.
    pub media_type: String,
    /// Digest of `bytes`; where a digest was asked for, that one.
    pub digest: Digest,
    /// The document, at most [`crate::oci::MAX_DOCUMENT`] bytes.
    pub bytes: Bytes,
}

/// How a blob came into a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// The registry linked the blob that it has in another repository, or had it; no byte was sent.
    Mounted,
    /// The blob was sent.
    Uploaded,
}

/// Takes a blob as it arrives.
pub trait BlobSink: Send {
    /// Takes `bytes` that belong at `offset` of the blob. Offsets only go forward without gaps, but after an
    /// error of the network the blob may begin again at 0. The call may block for as long as a disk does.
    ///
    /// # Errors
    /// Ends the transfer with [`RegistryError::Sink`].
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;
}

/// Gives a blob that is to be sent.
pub trait BlobSource: Send + Sync {
    /// Reads from `offset` into `buf`, as much as it can; 0 is the end. Called on a thread that may block.
    ///
    /// # Errors
    /// Ends the transfer with [`RegistryError::Source`].
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize>;
}
