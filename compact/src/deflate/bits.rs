// SPDX-License-Identifier: Apache-2.0
//! Bits to bytes, first bit in the lowest place (RFC 1951, 3.1.1).

/// Collects bits; the caller takes the complete bytes with [`BitWriter::drain`].
#[derive(Debug, Default)]
pub struct BitWriter {
    bytes: Vec<u8>,
    /// Bits that are not in `bytes` yet; those above `count` are zero.
    hold: u64,
    /// Fewer than 32 between two calls.
    count: u32,
}

impl BitWriter {
    /// Appends the lowest `count` bits (at most 32) of `bits`. The bits above must be zero.
    #[inline]
    pub fn put(&mut self, bits: u32, count: u32) {
        debug_assert!(count <= 32 && u64::from(bits) >> count == 0);
        self.hold |= u64::from(bits) << self.count;
        self.count += count;
        if self.count >= 32 {
            self.bytes.extend_from_slice(&(self.hold as u32).to_le_bytes());
            self.hold >>= 32;
            self.count -= 32;
        }
    }

    /// Number of bits (0 to 7) behind the last byte border.
    #[must_use]
    pub fn odd_bits(&self) -> u32 {
        self.count % 8
    }

    /// Complete bytes that [`BitWriter::drain`] would move.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Fills the last byte with zero bits.
    pub fn align(&mut self) {
        self.count = self.count.next_multiple_of(8);
        while self.count > 0 {
            self.bytes.push(self.hold as u8);
            self.hold >>= 8;
            self.count -= 8;
        }
    }

    /// Appends bytes behind a byte border; aligns if there is none.
    pub fn put_bytes(&mut self, bytes: &[u8]) {
        self.align();
        self.bytes.extend_from_slice(bytes);
    }

    /// Moves the complete bytes to `out`. Up to 31 bits stay here until [`BitWriter::align`].
    pub fn drain(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bit_is_the_lowest_of_the_first_byte() {
        let mut bits = BitWriter::default();
        bits.put(1, 1);
        bits.put(0b10, 2);
        bits.put(0xffff_ffff, 32);
        assert_eq!(bits.odd_bits(), 3);
        bits.put_bytes(&[0xaa]);
        let mut out = vec![7];
        bits.drain(&mut out);
        assert_eq!(out, [7, 0b1111_1101, 0xff, 0xff, 0xff, 0b111, 0xaa]);
    }
}
