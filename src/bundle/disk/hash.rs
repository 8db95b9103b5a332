// SPDX-License-Identifier: Apache-2.0
//! Hashes content that a function reads.

use std::io;

use crate::oci::digest::{Digest, Hasher};

/// Bytes that are hashed at once.
const CHUNK: usize = 1 << 20;

/// Hashes `size` bytes. `read` reads at an offset.
pub(in crate::bundle) fn hash(
    size: u64,
    read: impl Fn(&mut [u8], u64) -> io::Result<usize>,
) -> io::Result<Digest> {
    let (mut hasher, mut buf) = (Hasher::new(), vec![0; CHUNK]);
    while hasher.bytes() < size {
        let most = usize::try_from(size - hasher.bytes()).unwrap_or(usize::MAX).min(CHUNK);
        match read(&mut buf[..most], hasher.bytes())? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => hasher.update(&buf[..n]),
        }
    }
    Ok(hasher.finish())
}
