// SPDX-License-Identifier: Apache-2.0
//! Why something is not signed, or a file is not the requested key.

use thiserror::Error;

use super::key_id::KeyId;
use crate::error::{Classify, ErrorKind};

/// Bytes of the `krs/signatures` entry of a bundle. Fixed, so that signing moves no byte.
pub const SIGNATURES_SIZE: usize = 16 << 10;

/// Why a file is not the requested key.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum KeyProblem {
    /// Empty, or only white space.
    #[error("it is empty")]
    Empty,
    /// Not a key, and of no known type.
    #[error("it holds no key in minisign's format: two lines, a comment and the key in base64")]
    NoKey,
    /// A public key instead of a secret one.
    #[error("it is a public key, which verifies signatures")]
    Public,
    /// A secret key instead of a public one.
    #[error("it is a secret key, which makes signatures")]
    Secret,
    /// A file with signatures.
    #[error("it is a signature")]
    Signature,
    /// A key of OpenSSL, SSH or cosign.
    #[error("it is a PEM file; krs reads keys in minisign's format")]
    Pem,
    /// The checksum is wrong, or the halves do not belong together.
    #[error("it is damaged")]
    Damaged,
    /// Encrypted, and no passphrase was given.
    #[error("it is encrypted and needs a passphrase")]
    NeedsPassphrase,
    /// Encrypted with another passphrase.
    #[error("wrong passphrase")]
    WrongPassphrase,
    /// What minisign says.
    #[error("{0}")]
    Unusable(String),
}

/// Why something is not signed, or not by a trusted key.
#[derive(Debug, Error)]
pub enum SignError {
    /// The text is no public key.
    #[error("`{name}` cannot be used as a public key: {reason}")]
    PublicKey {
        /// File or origin of the key.
        name: String,
        /// What is wrong with it.
        reason: KeyProblem,
    },
    /// The text is no secret key, or the passphrase is wrong.
    #[error("`{name}` cannot be used as a secret key: {reason}")]
    SecretKey {
        /// File or origin of the key.
        name: String,
        /// What is wrong with it.
        reason: KeyProblem,
    },
    /// There is no signature at all. (T-01)
    #[error("the bundle is not signed; expected a signature of {expected}")]
    Missing {
        /// The keys that are trusted.
        expected: String,
    },
    /// Signed, but by no key that is trusted. (T-02)
    #[error("no trusted key signed the bundle: expected {expected}, got {got}")]
    Untrusted {
        /// The keys that are trusted.
        expected: String,
        /// The keys that the signatures name.
        got: String,
    },
    /// A signature names a trusted key and does not match the content. (T-04)
    #[error("the signature of key {0} does not fit: the bundle's manifest was changed after it was signed")]
    Invalid(KeyId),
    /// The signatures entry is not a list of minisign signatures.
    #[error("the list of signatures is damaged: {0}")]
    Damaged(String),
    /// The entry has no room for one more.
    #[error("there is no room for another signature (at most {SIGNATURES_SIZE} bytes)")]
    Full,
    /// Signing itself failed.
    #[error("signing failed: {0}")]
    Failed(String),
}

impl Classify for SignError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::PublicKey { .. } | Self::SecretKey { .. } => ErrorKind::Usage,
            Self::Missing { .. } | Self::Untrusted { .. } | Self::Invalid(_) => ErrorKind::Trust,
            Self::Damaged(_) => ErrorKind::Corrupt,
            Self::Full | Self::Failed(_) => ErrorKind::Other,
        }
    }

    fn help(&self) -> Option<String> {
        let text = match self {
            Self::PublicKey { reason: KeyProblem::Empty, .. }
            | Self::SecretKey { reason: KeyProblem::Empty, .. } => {
                "in CI: is the variable of type File, and available on this branch?"
            }
            Self::PublicKey { reason: KeyProblem::Secret, .. } => {
                "pass the .pub file that was made with it, and keep the secret key where bundles are signed"
            }
            Self::PublicKey { .. } => "pass the .pub file that `krs keygen` or `minisign -G` wrote",
            Self::SecretKey { reason: KeyProblem::WrongPassphrase, .. } => "enter the passphrase of this key",
            Self::SecretKey { .. } => "pass the .key file that `krs keygen` or `minisign -G` wrote",
            Self::Missing { .. } => {
                "ask the sender to sign it and to send it again. Do not use it, and do not sign it yourself"
            }
            Self::Untrusted { .. } => {
                "get the sender's public key over a channel that you trust, and pass it with --public-key"
            }
            Self::Invalid(_) | Self::Damaged(_) => {
                "do not use this bundle; copy it again from where it was made, or ask its sender"
            }
            Self::Full | Self::Failed(_) => return None,
        };
        Some(text.to_owned())
    }
}
