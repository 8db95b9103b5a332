// SPDX-License-Identifier: Apache-2.0
//! Signatures in minisign's formats (Ed25519 over BLAKE2b): stock `minisign` verifies what `krs` signed, and keys of either
//! work in the other. In a bundle every byte of a signature is fixed, including its untrusted comment, so krs does not
//! accept the output of `minisign -S` unchanged. Signatures are deterministic (RFC 8032), so that bundles of one content
//! that one key signed are equal byte for byte.

mod compact;
mod error;
mod key_id;
mod keys;
mod signatures;

pub use compact::CompactSignature;
pub use error::{KeyProblem, SIGNATURES_SIZE, SignError};
pub use key_id::KeyId;
pub use keys::{MAX_KEY_FILE, NewKeyPair, PublicKey, SecretKey, generate, is_key};
pub use signatures::{Signatures, Trust};
