// SPDX-License-Identifier: Apache-2.0
//! Positions in a YAML document, and its largest size.

/// Largest document, in bytes. The largest set that the rules allow needs a tenth of it.
pub(in crate::set) const MAX_DOCUMENT: usize = 4 << 20;

/// A position in a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::set) struct Position {
    /// Line from 1.
    pub(in crate::set) line: u64,
    /// Column from 1, in characters.
    pub(in crate::set) column: u64,
    /// Length in characters.
    pub(in crate::set) length: usize,
}
