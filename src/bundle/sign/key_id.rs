// SPDX-License-Identifier: Apache-2.0
//! What a key is called.

use std::fmt;
use std::str::FromStr;

/// The name of a key, as minisign prints it: 16 upper-case hex digits. It tells which key is meant, but verifies nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(u64);

impl KeyId {
    pub(super) fn of(keynum: &[u8]) -> Self {
        Self(keynum.iter().rev().fold(0, |id, byte| (id << 8) | u64::from(*byte)))
    }
}

impl FromStr for KeyId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_id = text.len() == 16 && text.bytes().all(|c| matches!(c, b'0'..=b'9' | b'A'..=b'F'));
        let id = is_id.then(|| u64::from_str_radix(text, 16).ok()).flatten();
        id.map(Self).ok_or_else(|| {
            format!(
                "`{}` is not the name of a key: expected 16 upper-case hex digits",
                crate::redact::printable(text, 40)
            )
        })
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016X}", self.0)
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The untrusted comment is derived from the key, so that no byte of the entry can change unnoticed.
pub(super) fn untrusted_comment(id: KeyId) -> String {
    format!("signature from krs key {id}")
}
