// SPDX-License-Identifier: Apache-2.0
//! Content digests, and a reader that always verifies them.
//!
//! Only `sha256` is accepted: every registry in use addresses content with it, and one algorithm leaves no
//! room for two parts of the system to disagree about what a name means (OCI image-spec, "Digests").

use std::fmt;
use std::io::{self, Read, Write};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::Digest as _;
use thiserror::Error;

/// The SHA-256 digest of some content, written `sha256:<64 lower-case hex digits>`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

/// Why a text is not a digest.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ParseDigestError {
    /// Another algorithm than `sha256`, or none.
    #[error("digest `{0}` does not start with `sha256:`, the only algorithm that is accepted")]
    Algorithm(String),
    /// Not exactly 64 lower-case hex digits.
    #[error("digest `{0}` does not have exactly 64 lower-case hex digits after `sha256:`")]
    Hex(String),
}

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(sha2::Sha256::digest(bytes).into())
    }

    /// The 64 hex digits, without the algorithm.
    pub fn hex(&self) -> String {
        hex::encode(self.0)
    }

    /// The first 12 hex digits: enough for a person to tell digests apart, not for a machine.
    pub fn short(&self) -> String {
        hex::encode(&self.0[..6])
    }

    /// The digest whose 32 bytes are `bytes`.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The raw 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = ParseDigestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let shown = || crate::redact::printable(text, 90);
        let digits = text.strip_prefix("sha256:").ok_or_else(|| ParseDigestError::Algorithm(shown()))?;
        let lower = digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let mut bytes = [0; 32];
        if !lower || hex::decode_to_slice(digits, &mut bytes).is_err() {
            return Err(ParseDigestError::Hex(shown()));
        }
        Ok(Self(bytes))
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Hashes content as it passes by.
#[derive(Clone, Default)]
pub struct Hasher {
    state: sha2::Sha256,
    bytes: u64,
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hasher").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

impl Hasher {
    /// A hasher of no bytes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Hashes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.state.update(bytes);
        self.bytes += bytes.len() as u64;
    }

    /// How many bytes it has hashed.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The digest of all bytes that it has hashed.
    pub fn finish(self) -> Digest {
        Digest(self.state.finalize().into())
    }
}

/// How content differs from its descriptor.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ContentMismatch {
    /// Fewer or more bytes than the descriptor promises; `got` is one past the promise where there were more.
    #[error("size of {digest} is wrong: expected {expected} bytes, got {got}")]
    Size {
        /// Whose content it should have been.
        digest: Digest,
        /// Bytes that the descriptor promises.
        expected: u64,
        /// Bytes that came.
        got: u64,
    },
    /// The right number of bytes, but other bytes.
    #[error("content is damaged: expected {expected}, got {got}")]
    Digest {
        /// The digest that the descriptor promises.
        expected: Digest,
        /// The digest of the bytes that came.
        got: Digest,
    },
}

/// Compares content that was hashed with what its descriptor promises.
///
/// # Errors
/// [`ContentMismatch`] names the first difference, size before digest.
pub fn check(hasher: Hasher, digest: Digest, size: u64) -> Result<(), ContentMismatch> {
    if hasher.bytes() != size {
        return Err(ContentMismatch::Size { digest, expected: size, got: hasher.bytes() });
    }
    let got = hasher.finish();
    if got != digest {
        return Err(ContentMismatch::Digest { expected: digest, got });
    }
    Ok(())
}

/// Passes bytes on and hashes them; fails at the byte beyond `limit`, before it is passed on.
#[derive(Debug)]
pub struct HashWriter<W> {
    inner: W,
    hasher: Hasher,
    limit: u64,
}

impl<W> HashWriter<W> {
    /// Writes at most `limit` bytes to `inner`.
    pub fn new(inner: W, limit: u64) -> Self {
        Self { inner, hasher: Hasher::new(), limit }
    }

    /// What was written to, and the hash of it.
    pub fn into_parts(self) -> (W, Hasher) {
        (self.inner, self.hasher)
    }
}

impl<W: Write> Write for HashWriter<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        if self.hasher.bytes().saturating_add(buf.len() as u64) > self.limit {
            let message = format!("there are more than {} bytes", self.limit);
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
        }
        self.inner.write_all(buf)?;
        self.hasher.update(buf);
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Reads content of a known size and digest. If the content differs, returns an error instead of the end of file.
///
/// Reading to the end is the verification, so that a caller cannot omit it. Never returns more bytes than `size`.
#[derive(Debug)]
pub struct VerifyReader<R> {
    inner: R,
    hasher: Option<Hasher>,
    digest: Digest,
    size: u64,
}

impl<R: Read> VerifyReader<R> {
    /// Reads `inner`, which must be exactly the content that `digest` and `size` describe.
    pub fn new(inner: R, digest: Digest, size: u64) -> Self {
        Self { inner, hasher: Some(Hasher::new()), digest, size }
    }
}

impl<R: Read> Read for VerifyReader<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let Some(hasher) = &mut self.hasher else { return Ok(0) };
        if buf.is_empty() {
            return Ok(0);
        }
        let left = self.size - hasher.bytes();
        if left == 0 {
            let more = self.inner.read(&mut [0])?;
            let hasher = self.hasher.take().unwrap_or_default();
            if more > 0 {
                let mismatch =
                    ContentMismatch::Size { digest: self.digest, expected: self.size, got: self.size + 1 };
                return Err(io::Error::new(io::ErrorKind::InvalidData, mismatch));
            }
            return check(hasher, self.digest, self.size)
                .map(|()| 0)
                .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e));
        }
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(buf.len());
        let read = self.inner.read(&mut buf[..most])?;
        if read == 0 {
            let mismatch =
                ContentMismatch::Size { digest: self.digest, expected: self.size, got: hasher.bytes() };
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, mismatch));
        }
        hasher.update(&buf[..read]);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn a_digest_reads_and_prints_the_same() {
        assert_eq!(EMPTY.parse::<Digest>().map(|d| d.to_string()), Ok(EMPTY.to_owned()));
        assert_eq!(Digest::of(b"").to_string(), EMPTY);
    }

    #[test]
    fn t45_other_algorithms_upper_case_and_wrong_lengths_are_refused() {
        let upper = EMPTY.to_uppercase().replace("SHA256", "sha256");
        for bad in ["", "sha512:00", "sha256:", &EMPTY[..70], &format!("{EMPTY}0"), &upper, &EMPTY[7..]] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
    }

    #[test]
    fn t84_an_invalid_digest_is_shown_without_control_characters() {
        for bad in ["\u{1b}[31m", "sha256:\u{1b}[31m"] {
            let error = bad.parse::<Digest>().map_err(|e| e.to_string());
            assert!(error.is_err_and(|text| !text.contains('\u{1b}')));
        }
    }

    fn read(content: &[u8], promised: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        let mut reader = VerifyReader::new(content, Digest::of(promised), promised.len() as u64);
        reader.read_to_end(&mut out).map(|_| out)
    }

    #[test]
    fn a_reader_gives_an_error_in_place_of_the_end_when_content_differs() {
        assert_eq!(read(b"abc", b"abc").ok(), Some(b"abc".to_vec()));
        assert_eq!(read(b"", b"").ok(), Some(Vec::new()));
        for (content, promised) in
            [(&b"abd"[..], &b"abc"[..]), (b"ab", b"abc"), (b"abcd", b"abc"), (b"a", b"")]
        {
            assert!(read(content, promised).is_err(), "{content:?} for {promised:?}");
        }
    }
}
