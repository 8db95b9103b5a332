// SPDX-License-Identifier: Apache-2.0
//! Where the bytes of a blob go, and where they come from.

use std::io;

/// Takes a blob as it arrives.
pub trait BlobSink: Send {
    /// Takes `bytes` that belong at `offset` of the blob. Offsets only go forward without gaps, but after an
    /// error of the network the blob may restart at 0. The call may block for as long as a disk does.
    ///
    /// # Errors
    /// Ends the transfer with [`crate::registry::RegistryError::Sink`].
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;
}

/// Provides a blob that is to be sent.
pub trait BlobSource: Send + Sync {
    /// Reads from `offset` into `buf`, as much as it can; 0 is the end. Called on a thread that may block.
    ///
    /// # Errors
    /// Ends the transfer with [`crate::registry::RegistryError::Source`].
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize>;
}
