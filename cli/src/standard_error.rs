// SPDX-License-Identifier: Apache-2.0
//! Standard error, for what is no result.

use std::io::{self, Write as _};

/// Writes to standard error. A reader that went away does not matter.
pub(crate) fn write(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}
