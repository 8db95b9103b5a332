// SPDX-License-Identifier: Apache-2.0
//! The gzip container (RFC 1952).

/// Size of a header without optional fields.
pub const HEADER_SIZE: usize = 10;

/// A header without optional fields.
#[must_use]
pub fn header(modified: u32, extra_flags: u8, system: u8) -> [u8; HEADER_SIZE] {
    let [a, b, c, d] = modified.to_le_bytes();
    [0x1f, 0x8b, 8, 0, a, b, c, d, extra_flags, system]
}

/// The check sum and the size of plain bytes, which end a gzip stream.
#[derive(Debug, Default)]
pub struct Trailer {
    checksum: crc32fast::Hasher,
    size: u32,
}

impl Trailer {
    /// Takes the next plain bytes.
    pub fn update(&mut self, plain: &[u8]) {
        self.checksum.update(plain);
        self.size = self.size.wrapping_add(plain.len() as u32);
    }

    /// The last 8 bytes of the stream.
    #[must_use]
    pub fn bytes(&self) -> [u8; 8] {
        let [a, b, c, d] = self.checksum.clone().finalize().to_le_bytes();
        let [e, f, g, h] = self.size.to_le_bytes();
        [a, b, c, d, e, f, g, h]
    }
}
