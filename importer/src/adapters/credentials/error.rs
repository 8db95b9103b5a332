// SPDX-License-Identifier: Apache-2.0
//! Why the content of a Secret or ConfigMap cannot be used.

use std::collections::BTreeMap;
use std::io;

use camino::Utf8PathBuf;
use krs_core::redact::printable;
use krs_core::registry::KeychainError;
use thiserror::Error;

/// Most bytes of one entry.
pub(super) const MAX_ENTRY: usize = 1 << 20;

/// Why the content of a Secret or ConfigMap cannot be used. Never quotes the content. (T-76)
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages explain the fields")]
pub enum CredentialsError {
    /// A key that a Secret of this type has.
    #[error("the key `{key}` is missing, which a Secret of type {kind} has")]
    Missing {
        key: &'static str,
        /// Type of the Secret.
        kind: String,
    },
    /// One half of the credentials.
    #[error("it has `{has}`, but not `{missing}`")]
    Half {
        /// The key that is there.
        has: &'static str,
        /// The key that is not.
        missing: &'static str,
    },
    /// A file with credentials is damaged.
    #[error(transparent)]
    File(#[from] KeychainError),
    /// A file with credentials names only programs that know them.
    #[error(
        "`{0}` holds no credentials, only names of credential helpers, which cannot be run here: write the credentials themselves into it"
    )]
    Helpers(&'static str),
    /// Credentials twice, and nothing says which are meant.
    #[error("it holds both `{0}` and `{1}`: keep one of them")]
    Ambiguous(&'static str, &'static str),
    /// A text that is none, or is empty.
    #[error("`{0}` is empty or not text")]
    Text(&'static str),
    /// A certificate or a key that is none.
    #[error("`{key}` is not {what} in PEM")]
    Pem {
        /// The key of the entry.
        key: String,
        /// What was expected.
        what: &'static str,
    },
    /// No CA certificate at all.
    #[error(
        "it holds no CA certificate: expected PEM under `ca.crt`, or any key that ends in `.crt` or `.pem`; it has {0}"
    )]
    NoAuthority(String),
    /// Nothing that helps to reach a registry.
    #[error(
        "it holds neither credentials nor certificates: expected `.dockerconfigjson`, `username` and `password`, `ca.crt`, or `tls.crt` and `tls.key`; it has {0}"
    )]
    Nothing(String),
    /// Larger than a Secret can be.
    #[error("`{0}` is larger than {MAX_ENTRY} bytes")]
    TooLarge(String),
    /// A mounted Secret cannot be read.
    #[error("{path} cannot be read")]
    Folder {
        /// The folder or file.
        path: Utf8PathBuf,
        source: io::Error,
    },
}

/// The keys of a Secret or ConfigMap, for an error.
pub(super) fn keys(entries: &BTreeMap<String, Vec<u8>>) -> String {
    let shown = entries.keys().take(8).map(|key| format!("`{}`", printable(key, 60))).collect::<Vec<_>>();
    if shown.is_empty() { "no keys".to_owned() } else { shown.join(", ") }
}
