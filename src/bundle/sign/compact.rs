// SPDX-License-Identifier: Apache-2.0
//! A signature without minisign's text around it, where a few bytes count: a short receipt fits into a QR code.

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use blake2::{Blake2b512, Digest as _};

use super::error::SignError;
use super::key_id::KeyId;
use super::keys::{PublicKey, SecretKey};

/// An Ed25519 signature over the BLAKE2b-512 of a message, and the key that made it: the first of the two signatures that
/// minisign writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompactSignature {
    key: KeyId,
    bytes: [u8; 64],
}

impl CompactSignature {
    /// Signs `message`. Deterministic.
    ///
    /// The caller makes sure that no message of one kind is one of another kind, since the key also signs files.
    ///
    /// # Errors
    /// [`SignError::Failed`].
    pub fn sign(message: &[u8], key: &SecretKey) -> Result<Self, SignError> {
        Ok(Self { key: key.id(), bytes: key.sign_bytes(&Blake2b512::digest(message))? })
    }

    /// A signature as it was received.
    ///
    /// # Errors
    /// `text` is not 64 bytes in base64 (RFC 4648 section 5, without padding).
    pub fn parse(key: KeyId, text: &str) -> Result<Self, SignError> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok().and_then(|bytes| bytes.try_into().ok());
        let damaged = || SignError::Damaged("the signature is not 64 bytes in base64url".to_owned());
        Ok(Self { key, bytes: bytes.ok_or_else(damaged)? })
    }

    /// The key that the signature names.
    pub const fn key(&self) -> KeyId {
        self.key
    }

    /// The signature without the key, in base64 (RFC 4648 section 5, without padding).
    pub fn text(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.bytes)
    }

    /// Whether `key` made the signature over `message`.
    pub fn is_valid(&self, message: &[u8], key: &PublicKey) -> bool {
        // Algorithm, key number, key.
        let encoded = key.0.to_bytes();
        let Some(public) = encoded.get(10..42).filter(|_| key.id() == self.key) else { return false };
        UnparsedPublicKey::new(&ED25519, public).verify(&Blake2b512::digest(message), &self.bytes).is_ok()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::bundle::sign::generate;

    #[test]
    fn a_compact_signature_is_of_one_message_and_one_key() {
        let keys = || {
            let pair = generate(None).unwrap();
            let secret = SecretKey::parse(pair.secret.expose(), None, "k").unwrap();
            (secret, PublicKey::parse(&pair.public, "k").unwrap())
        };
        let ((secret, public), (_, other)) = (keys(), keys());
        let signature = CompactSignature::sign(b"m", &secret).unwrap();
        assert!(signature.is_valid(b"m", &public));
        assert!(!signature.is_valid(b"n", &public) && !signature.is_valid(b"m", &other));
        let read = CompactSignature::parse(public.id(), &signature.text()).unwrap();
        assert_eq!(read, signature);
        for at in 0..64 {
            let mut changed = read;
            changed.bytes[at] ^= 1;
            assert!(!changed.is_valid(b"m", &public), "byte {at}");
        }
        assert!(CompactSignature::parse(public.id(), "AAAA").is_err());
    }
}
