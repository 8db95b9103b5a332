// SPDX-License-Identifier: Apache-2.0
//! The signatures of a bundle, and which of them are trusted.

use std::collections::BTreeSet;
use std::fmt;
use std::io::Cursor;

use minisign::SignatureBox;

use super::error::{SIGNATURES_SIZE, SignError};
use super::key_id::{KeyId, untrusted_comment};
use super::keys::{PublicKey, SecretKey};

/// Which keys are trusted.
#[derive(Debug, Clone, Default)]
pub enum Trust {
    /// No signature is required: integrity is checked, but the origin of the bundle is not.
    #[default]
    Anyone,
    /// A valid signature of one of these is required.
    Keys(Vec<PublicKey>),
}

/// The signatures of a bundle: the content of its `krs/signatures` entry.
#[derive(Clone, Default)]
pub struct Signatures(Vec<SignatureBox>);

impl fmt::Debug for Signatures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.key_ids()).finish()
    }
}

impl Signatures {
    /// Parses a padded entry, or concatenated signatures.
    ///
    /// # Errors
    /// [`SignError::Damaged`] for anything but complete minisign signatures followed by new lines.
    pub fn parse(entry: &[u8]) -> Result<Self, SignError> {
        let damaged = |what: &str| SignError::Damaged(what.to_owned());
        if entry.len() > SIGNATURES_SIZE {
            return Err(damaged("it is larger than 16 KiB"));
        }
        let text = std::str::from_utf8(entry).map_err(|_| damaged("it is not text"))?;
        let text = text.trim_end_matches('\n');
        if text.is_empty() {
            return Ok(Self::default());
        }
        let lines = text.split('\n').collect::<Vec<_>>();
        let groups = lines.chunks_exact(4);
        if !groups.remainder().is_empty() {
            return Err(damaged("a signature does not have four lines"));
        }
        groups.map(|lines| parse_one(&(lines.join("\n") + "\n"))).collect::<Result<_, _>>().map(Self)
    }

    /// The entry: the concatenated signatures, padded with new lines to [`SIGNATURES_SIZE`].
    ///
    /// # Errors
    /// [`SignError::Full`].
    pub fn entry(&self) -> Result<Vec<u8>, SignError> {
        let mut entry = String::new();
        for signature in &self.0 {
            entry.push_str(&canonical(signature)?);
        }
        let mut entry = entry.into_bytes();
        if entry.len() > SIGNATURES_SIZE {
            return Err(SignError::Full);
        }
        entry.resize(SIGNATURES_SIZE, b'\n');
        Ok(entry)
    }

    /// The content of a detached signature file, as minisign writes and reads it.
    ///
    /// # Errors
    /// [`SignError::Damaged`] if one cannot be expressed.
    pub fn text(&self) -> Result<String, SignError> {
        self.0.iter().map(canonical).collect()
    }

    /// Signs `message` with `key`, deterministically. Replaces an earlier signature of the same key.
    ///
    /// # Errors
    /// [`SignError::Failed`].
    pub fn sign(&mut self, message: &[u8], key: &SecretKey, trusted_comment: &str) -> Result<(), SignError> {
        let signature = parse_one(&key.sign(message, trusted_comment)?)?;
        match self.0.iter_mut().find(|other| KeyId::of(other.keynum()) == key.id()) {
            Some(earlier) => *earlier = signature,
            None => self.0.push(signature),
        }
        Ok(())
    }

    /// Keys that the signatures name, whether or not they are valid.
    pub fn key_ids(&self) -> Vec<KeyId> {
        self.0.iter().map(|signature| KeyId::of(signature.keynum())).collect()
    }

    /// The distinct trusted keys whose signature over `message` is valid. (T-03, T-08)
    ///
    /// # Errors
    /// With [`Trust::Keys`]: [`SignError::Missing`], [`SignError::Untrusted`], [`SignError::Invalid`]. A signature
    /// of a trusted key that does not match is an error even if another one matches: something was changed.
    pub fn check(&self, message: &[u8], trust: &Trust) -> Result<BTreeSet<KeyId>, SignError> {
        let Trust::Keys(keys) = trust else { return Ok(BTreeSet::new()) };
        let list = |ids: Vec<KeyId>| {
            let ids = ids.iter().map(|id| format!("key {id}")).collect::<Vec<_>>();
            if ids.is_empty() { "no key".to_owned() } else { ids.join(" or ") }
        };
        let expected = || list(keys.iter().map(PublicKey::id).collect());
        if self.0.is_empty() {
            return Err(SignError::Missing { expected: expected() });
        }
        let mut valid = BTreeSet::new();
        for signature in &self.0 {
            let id = KeyId::of(signature.keynum());
            for key in keys.iter().filter(|key| key.id() == id) {
                minisign::verify(&key.0, signature, Cursor::new(message), true, false, false)
                    .map_err(|_| SignError::Invalid(id))?;
                valid.insert(id);
            }
        }
        if valid.is_empty() {
            return Err(SignError::Untrusted { expected: expected(), got: list(self.key_ids()) });
        }
        Ok(valid)
    }
}

/// Reads the four lines of one signature. The lengths are checked here because the library takes them on trust.
fn parse_one(text: &str) -> Result<SignatureBox, SignError> {
    use base64::Engine as _;
    let damaged = |what: &str| SignError::Damaged(what.to_owned());
    let mut lines = text.lines().skip(1).step_by(2);
    let mut length = || {
        let line = lines.next().unwrap_or_default();
        base64::engine::general_purpose::STANDARD.decode(line).map_or(0, |bytes| bytes.len())
    };
    // Algorithm, key number and signature; then the signature over the trusted comment.
    if length() != 2 + 8 + 64 || length() != 64 {
        return Err(damaged("a signature does not have the right length"));
    }
    let signature = SignatureBox::from_string(text).map_err(|e| SignError::Damaged(e.to_string()))?;
    if canonical(&signature)? != text {
        return Err(damaged("a signature is not written as krs writes it"));
    }
    Ok(signature)
}

/// The text of a signature with the comment that its key fixes.
fn canonical(signature: &SignatureBox) -> Result<String, SignError> {
    let text = signature.to_string();
    let (_, rest) = text.split_once('\n').ok_or_else(|| SignError::Damaged("it has one line".to_owned()))?;
    let id = KeyId::of(signature.keynum());
    Ok(format!("untrusted comment: {}\n{}\n", untrusted_comment(id), rest.trim_end_matches('\n')))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::bundle::sign::keys::generate;

    fn keys() -> (SecretKey, PublicKey) {
        let pair = generate(None).unwrap();
        (
            SecretKey::parse(pair.secret.expose(), None, "k").unwrap(),
            PublicKey::parse(&pair.public, "k").unwrap(),
        )
    }

    #[test]
    fn what_was_signed_is_accepted_and_anything_else_is_not() {
        let ((secret, public), (_, other)) = (keys(), keys());
        let mut signatures = Signatures::default();
        let trust = Trust::Keys(vec![public.clone()]);
        assert!(matches!(signatures.check(b"m", &trust), Err(SignError::Missing { .. })));
        signatures.sign(b"m", &secret, "c").unwrap();
        signatures.sign(b"m", &secret, "c").unwrap();
        let entry = signatures.entry().unwrap();
        assert_eq!(entry.len(), SIGNATURES_SIZE);
        let read = Signatures::parse(&entry).unwrap();
        assert_eq!(read.check(b"m", &trust).unwrap().len(), 1, "T-03: a key counts once");
        assert!(matches!(read.check(b"n", &trust), Err(SignError::Invalid(_))), "T-04");
        let foreign = Trust::Keys(vec![other.clone()]);
        assert!(matches!(read.check(b"m", &foreign), Err(SignError::Untrusted { .. })), "T-02");
        assert!(read.check(b"m", &Trust::Keys(vec![other, public])).is_ok(), "T-08");
    }

    #[test]
    fn every_byte_of_the_entry_counts() {
        let (secret, public) = keys();
        let mut signatures = Signatures::default();
        signatures.sign(b"m", &secret, "stream prod").unwrap();
        let entry = signatures.entry().unwrap();
        let trust = Trust::Keys(vec![public]);
        let used = entry.iter().rposition(|b| *b != b'\n').unwrap();
        for at in (0..used + 3).chain([SIGNATURES_SIZE - 1]) {
            let mut changed = entry.clone();
            changed[at] ^= 0x01;
            let verdict = Signatures::parse(&changed).and_then(|s| s.check(b"m", &trust));
            assert!(verdict.is_err(), "byte {at} ({:?}) is not covered", char::from(entry[at]));
        }
    }
}
