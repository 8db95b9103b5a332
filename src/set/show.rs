// SPDX-License-Identifier: Apache-2.0
//! Text of a checkout in messages.

/// Most characters of a message, and of a file's path in it.
const MAX_SHOWN: usize = 4_000;

/// Makes text with untrusted parts of a checkout safe to show: on one line, without escape sequences, and without the secrets
/// of addresses.
pub(super) fn shown(text: &str) -> String {
    crate::redact::printable(&crate::redact::masked(text), MAX_SHOWN)
}
