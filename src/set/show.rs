// SPDX-License-Identifier: Apache-2.0
//! Text of a checkout in messages.

/// Most characters of a message, and of a file's path in it.
const MAX_SHOWN: usize = 4_000;

/// A text with names and texts of a checkout, which anybody may have written: on one line, without escape sequences,
/// and without the secrets of addresses.
pub(super) fn shown(text: &str) -> String {
    crate::redact::printable(&crate::redact::masked(text), MAX_SHOWN)
}
