// SPDX-License-Identifier: Apache-2.0
//! Sinks and sources of the bytes of a blob.

use std::io;

/// Receives a blob.
pub trait BlobSink: Send {
    /// Receives `bytes` at `offset` of the blob. Offsets grow without gaps, but after an error of the network the blob may
    /// restart at 0. The call may block as long as a write to a disk.
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
