// SPDX-License-Identifier: Apache-2.0
//! Layers that were made.

use std::io;

use krs_compact::patch::{FileBytes, ReadAt as _};

/// A layer that was made. Its file has no name, and so ends with the last reference, however the process ends.
#[derive(Debug)]
pub struct RebuiltLayer {
    pub(super) file: FileBytes,
    pub(super) size: u64,
}

impl RebuiltLayer {
    /// Bytes.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Reads a part of the layer. Returns 0 at its end.
    ///
    /// # Errors
    /// The scratch space cannot be read.
    pub fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.size.saturating_sub(offset)).unwrap_or(usize::MAX).min(buf.len());
        self.file.read_exact_at(&mut buf[..left], offset)?;
        Ok(left)
    }
}
