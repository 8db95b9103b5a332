// SPDX-License-Identifier: Apache-2.0
//! Keys in the formats of minisign and rsign, and the error for a file that is not a key.

use std::fmt;

use aws_lc_rs::signature::Ed25519KeyPair;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use blake2::{Blake2b512, Digest as _};
use minisign::{KeyPair, SecretKeyBox};

use super::error::{KeyProblem, SignError};
use super::key_id::{KeyId, untrusted_comment};
use crate::redact::{Secret, printable};

/// Largest key file that is read, in bytes.
pub const MAX_KEY_FILE: u64 = 16 << 10;
/// Bytes of a public key: algorithm, key number, Ed25519 key.
const PUBLIC_KEY: usize = 2 + 8 + 32;
/// Bytes of a signature: algorithm, key number, Ed25519 signature.
const SIGNATURE: usize = 2 + 8 + 64;
/// Bytes of a secret key before the key number: its algorithms, and how the rest is encrypted.
const SECRET_HEAD: usize = 2 + 2 + 2 + 32 + 8 + 8;
/// Bytes of a secret key: then key number, seed with public key, and checksum.
const SECRET_KEY: usize = SECRET_HEAD + 8 + 64 + 32;
/// The marker of a secret key that is not encrypted.
const NO_KDF: &[u8] = &[0, 0];

/// The bytes of the key in the content of a file. Only the second line counts, as for minisign; a key without a comment
/// line is accepted too.
fn decode(text: &str) -> Result<Vec<u8>, KeyProblem> {
    let text = text.trim_start_matches('\u{feff}').trim();
    if text.is_empty() {
        return Err(KeyProblem::Empty);
    }
    if text.starts_with("-----BEGIN ") {
        return Err(KeyProblem::Pem);
    }
    let line = text.lines().nth(1).unwrap_or(text).trim();
    let bytes = STANDARD.decode(line).map_err(|_| KeyProblem::NoKey)?;
    if bytes.starts_with(b"Ed") || bytes.starts_with(b"ED") { Ok(bytes) } else { Err(KeyProblem::NoKey) }
}

/// Whether a text is a key itself and not the name of a file.
pub fn is_key(text: &str) -> bool {
    text.starts_with("untrusted comment:") || decode(text).is_ok()
}

/// What a file that is not the requested key is.
fn other(bytes: &[u8]) -> KeyProblem {
    match bytes.len() {
        PUBLIC_KEY => KeyProblem::Public,
        SECRET_KEY => KeyProblem::Secret,
        SIGNATURE => KeyProblem::Signature,
        _ => KeyProblem::Damaged,
    }
}

/// A key that signatures are checked with.
#[derive(Clone)]
pub struct PublicKey(pub(super) minisign::PublicKey);

impl PublicKey {
    /// Parses the content of a `.pub` file. Errors contain `name`.
    ///
    /// # Errors
    /// [`SignError::PublicKey`].
    pub fn parse(text: &str, name: &str) -> Result<Self, SignError> {
        let bad = |reason| SignError::PublicKey { name: printable(name, 200), reason };
        let bytes = decode(text).map_err(bad)?;
        if bytes.len() != PUBLIC_KEY {
            return Err(bad(other(&bytes)));
        }
        let key = minisign::PublicKey::from_base64(&STANDARD.encode(bytes));
        key.map(Self).map_err(|e| bad(KeyProblem::Unusable(e.to_string())))
    }

    /// Which key it is.
    pub fn id(&self) -> KeyId {
        KeyId::of(self.0.keynum())
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.id())
    }
}

/// A key that signs. Never printed.
pub struct SecretKey {
    keynum: [u8; 8],
    pair: Ed25519KeyPair,
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(***)")
    }
}

impl SecretKey {
    /// Whether the content of a `.key` file can only be used with a passphrase.
    pub fn needs_passphrase(text: &str) -> bool {
        decode(text).is_ok_and(|bytes| bytes.len() == SECRET_KEY && &bytes[2..4] != NO_KDF)
    }

    /// Parses the content of a `.key` file. Errors contain `name`.
    ///
    /// # Errors
    /// [`SignError::SecretKey`], also for a wrong passphrase.
    pub fn parse(text: &str, passphrase: Option<&Secret>, name: &str) -> Result<Self, SignError> {
        let bad = |reason| SignError::SecretKey { name: printable(name, 200), reason };
        let bytes = decode(text).map_err(bad)?;
        if bytes.len() != SECRET_KEY {
            return Err(bad(other(&bytes)));
        }
        let bytes = match (&bytes[2..4] == NO_KDF, passphrase) {
            (true, _) => unencrypted(bytes),
            (false, None) => Err(KeyProblem::NeedsPassphrase),
            (false, Some(passphrase)) => decrypt(&bytes, passphrase),
        };
        Self::of_bytes(&bytes.map_err(bad)?).map_err(bad)
    }

    fn of_bytes(bytes: &[u8]) -> Result<Self, KeyProblem> {
        let damaged = || KeyProblem::Damaged;
        let (_, key) = bytes.split_at_checked(SECRET_HEAD).ok_or_else(damaged)?;
        let (keynum, key) = key.split_first_chunk().ok_or_else(damaged)?;
        let (seed, key) = key.split_at_checked(32).ok_or_else(damaged)?;
        let (public, _) = key.split_at_checked(32).ok_or_else(damaged)?;
        // The public half is compared with what follows from the seed: keys of `minisign -W` have no other checksum.
        let pair = Ed25519KeyPair::from_seed_and_public_key(seed, public).map_err(|_| damaged())?;
        Ok(Self { keynum: *keynum, pair })
    }

    /// Which key it is.
    pub fn id(&self) -> KeyId {
        KeyId::of(&self.keynum)
    }

    /// The Ed25519 signature over `bytes`.
    pub(super) fn sign_bytes(&self, bytes: &[u8]) -> Result<[u8; 64], SignError> {
        let failed = || SignError::Failed("the key cannot be used".to_owned());
        let signature = self.pair.try_sign(bytes).map_err(|_| failed())?;
        signature.as_ref().try_into().map_err(|_| failed())
    }

    /// A signature over `message` as minisign writes it. Not made by the library, which adds random bytes.
    pub(super) fn sign(&self, message: &[u8], trusted_comment: &str) -> Result<String, SignError> {
        let signature = self.sign_bytes(&Blake2b512::digest(message))?;
        let signed = [b"ED", &self.keynum[..], &signature[..]].concat();
        let global = self.sign_bytes(&[&signature[..], trusted_comment.as_bytes()].concat())?;
        Ok(format!(
            "untrusted comment: {}\n{}\ntrusted comment: {trusted_comment}\n{}\n",
            untrusted_comment(self.id()),
            STANDARD.encode(signed),
            STANDARD.encode(global)
        ))
    }
}

/// The bytes of a key without a passphrase. rsign and krs write a checksum, `minisign -W` writes zeros instead.
fn unencrypted(bytes: Vec<u8>) -> Result<Vec<u8>, KeyProblem> {
    if bytes.iter().skip(SECRET_KEY - 32).all(|byte| *byte == 0) {
        return Ok(bytes);
    }
    boxed(&bytes)?.into_unencrypted_secret_key().map_err(|_| KeyProblem::Damaged)?;
    Ok(bytes)
}

fn decrypt(bytes: &[u8], passphrase: &Secret) -> Result<Vec<u8>, KeyProblem> {
    let key = boxed(bytes)?.into_secret_key(Some(passphrase.expose().to_owned()));
    key.map(|key| key.to_bytes()).map_err(|e| match e.kind() {
        minisign::ErrorKind::Verify => KeyProblem::WrongPassphrase,
        _ => KeyProblem::Unusable(e.to_string()),
    })
}

fn boxed(bytes: &[u8]) -> Result<SecretKeyBox, KeyProblem> {
    let text = format!("untrusted comment: key\n{}\n", STANDARD.encode(bytes));
    SecretKeyBox::from_string(&text).map_err(|e| KeyProblem::Unusable(e.to_string()))
}

/// A new key pair as the content of its two files.
#[derive(Debug)]
pub struct NewKeyPair {
    /// Content of `NAME.key`.
    pub secret: Secret,
    /// Content of `NAME.pub`.
    pub public: String,
    /// Which key it is.
    pub id: KeyId,
}

/// Makes a key pair. The secret half is encrypted if there is a passphrase.
///
/// # Errors
/// [`SignError::Failed`], when the machine has no randomness or too little memory for the passphrase's hash.
pub fn generate(passphrase: Option<&Secret>) -> Result<NewKeyPair, SignError> {
    let failed = |e: minisign::PError| SignError::Failed(e.to_string());
    let pair = match passphrase {
        Some(passphrase) => KeyPair::generate_encrypted_keypair(Some(passphrase.expose().to_owned())),
        None => KeyPair::generate_unencrypted_keypair(),
    }
    .map_err(failed)?;
    let id = KeyId::of(pair.pk.keynum());
    let secret = pair.sk.to_box(Some(&format!("krs secret key {id}"))).map_err(failed)?;
    let public = pair.pk.to_base64();
    Ok(NewKeyPair {
        secret: Secret::new(secret.into_string()),
        public: format!("untrusted comment: krs public key {id}\n{public}\n"),
        id,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_passphrase_protects_the_secret_key() {
        let pass = Secret::new("correct horse");
        let pair = generate(Some(&pass)).unwrap();
        assert!(SecretKey::needs_passphrase(pair.secret.expose()));
        assert!(SecretKey::parse(pair.secret.expose(), None, "k").is_err());
        assert!(SecretKey::parse(pair.secret.expose(), Some(&Secret::new("wrong")), "k").is_err());
        assert_eq!(SecretKey::parse(pair.secret.expose(), Some(&pass), "k").unwrap().id(), pair.id);
    }

    /// Made by minisign 0.11 with `-G -W`, of `RWRHjUx06JU4X0LsmWN4bIWgQP1l9CdrGAalGA3C/Yr2Zf6xRZPkosf1`.
    const MINISIGN_W: &str = "untrusted comment: minisign encrypted secret key\n\
        RWQAAEIyAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAR41MdOiVOF+L5pMCp1e8Buq4InfC8qXs40tsZwAt\
        +NHBhyT6lAijykLsmWN4bIWgQP1l9CdrGAalGA3C/Yr2Zf6xRZPkosf1AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n";
    const ITS_PUBLIC_KEY: &str = "RWRHjUx06JU4X0LsmWN4bIWgQP1l9CdrGAalGA3C/Yr2Zf6xRZPkosf1";

    #[test]
    fn t235_keys_of_minisign_without_a_password_are_read_and_their_halves_compared() {
        assert!(!SecretKey::needs_passphrase(MINISIGN_W));
        let (secret, public) = (
            SecretKey::parse(MINISIGN_W, None, "k").unwrap(),
            PublicKey::parse(ITS_PUBLIC_KEY, "p").unwrap(),
        );
        assert_eq!(secret.id(), public.id());
        assert_eq!(secret.id().to_string(), "5F3895E8744C8D47");
        let mut bytes = decode(MINISIGN_W).unwrap();
        for at in SECRET_HEAD + 8..SECRET_KEY {
            bytes[at] ^= 1;
            let text = format!("untrusted comment: k\n{}\n", STANDARD.encode(&bytes));
            let error = SecretKey::parse(&text, None, "k").unwrap_err();
            assert!(
                matches!(error, SignError::SecretKey { reason: KeyProblem::Damaged, .. }),
                "{at}: {error}"
            );
            bytes[at] ^= 1;
        }
    }

    #[test]
    fn t235_signatures_of_one_message_are_equal_and_those_of_rfc_8032() {
        // Test 1 of section 7.1: the seed and its public key.
        let hex = |text: &str| hex::decode(text).unwrap();
        let seed = hex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60");
        let public = hex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
        let pair = Ed25519KeyPair::from_seed_and_public_key(&seed, &public).unwrap();
        let expected = "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b\
                        d25bf5f0595bbe24655141438e7a100b";
        assert_eq!(hex::encode(pair.try_sign(b"").unwrap()), expected);
        let key = SecretKey::parse(MINISIGN_W, None, "k").unwrap();
        assert_eq!(key.sign(b"m", "c").unwrap(), key.sign(b"m", "c").unwrap());
        assert_ne!(key.sign(b"m", "c").unwrap(), key.sign(b"m", "d").unwrap());
    }

    #[test]
    fn t239_what_is_no_key_is_called_what_it_is() {
        let pair = generate(None).unwrap();
        let secret = SecretKey::parse(pair.secret.expose(), None, "k").unwrap();
        let signature = secret.sign(b"m", "c").unwrap();
        let crlf = pair.public.replace('\n', "\r\n");
        for public in [pair.public.as_str(), &format!("\u{feff}{crlf}"), ITS_PUBLIC_KEY] {
            assert!(PublicKey::parse(public, "p").is_ok() && is_key(public), "{public}");
        }
        let texts = [
            ("", KeyProblem::Empty),
            (" \r\n\n", KeyProblem::Empty),
            ("\u{feff}", KeyProblem::Empty),
            ("untrusted comment: k", KeyProblem::NoKey),
            ("untrusted comment: k\n", KeyProblem::NoKey),
            ("untrusted comment: k\nnothing", KeyProblem::NoKey),
            ("-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n", KeyProblem::Pem),
            (&signature, KeyProblem::Signature),
            ("x\nRWRHjUx06JU4X0LsmWN4bIWgQP1l9Cdr\n", KeyProblem::Damaged),
        ];
        for (text, expected) in texts {
            let public = PublicKey::parse(text, "k").unwrap_err();
            assert!(
                matches!(&public, SignError::PublicKey { reason, .. } if *reason == expected),
                "{public}"
            );
            let secret = SecretKey::parse(text, None, "k").unwrap_err();
            assert!(
                matches!(&secret, SignError::SecretKey { reason, .. } if *reason == expected),
                "{secret}"
            );
        }
        let public = PublicKey::parse(pair.secret.expose(), "k").unwrap_err();
        assert!(matches!(public, SignError::PublicKey { reason: KeyProblem::Secret, .. }), "{public}");
        let secret = SecretKey::parse(&pair.public, None, "k").unwrap_err();
        assert!(matches!(secret, SignError::SecretKey { reason: KeyProblem::Public, .. }), "{secret}");
    }
}
