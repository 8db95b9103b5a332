// SPDX-License-Identifier: Apache-2.0
//! Bounds of what is read of a tar before anything in it is known. (T-274)

/// Most entries of an archive.
pub(super) const MAX_ENTRIES: usize = 100_000;
/// Most bytes of all names together.
pub(super) const MAX_NAMES: usize = 32 << 20;
/// Most bytes of a name or header extension that stands before an entry.
pub(super) const MAX_EXTENSION: u64 = 1 << 20;
