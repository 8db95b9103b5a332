// SPDX-License-Identifier: Apache-2.0
//! Numbers in the encoding LEB128: seven bits in a byte, the lowest first, the top bit set on all bytes but the last.

use std::io::{self, Read};

/// What is not a number in its one encoding.
#[derive(Debug, thiserror::Error)]
pub enum VarintError {
    /// A longer encoding of a number than it needs, or one of more than 64 bits: each number has one encoding.
    #[error("a number of more than 64 bits, or with leading zeros")]
    Encoding,
    /// The bytes end within it, or cannot be read.
    #[error(transparent)]
    Read(#[from] io::Error),
}

pub(crate) fn write(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

pub(crate) fn read(from: &mut impl Read) -> Result<u64, VarintError> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let mut byte = [0];
        from.read_exact(&mut byte)?;
        let bits = u64::from(byte[0] & 0x7f);
        if shift == 63 && bits > 1 {
            return Err(VarintError::Encoding);
        }
        number |= bits << shift;
        if byte[0] < 0x80 {
            let is_shortest = bits != 0 || shift == 0;
            return if is_shortest { Ok(number) } else { Err(VarintError::Encoding) };
        }
    }
    Err(VarintError::Encoding)
}

/// A signed number, with small ones of either sign encoded in few bytes: 0, -1, 1, -2 become 0, 1, 2, 3.
pub(crate) fn write_signed(out: &mut Vec<u8>, number: i64) {
    write(out, ((number << 1) ^ (number >> 63)) as u64);
}

pub(crate) fn read_signed(from: &mut impl Read) -> Result<i64, VarintError> {
    let number = read(from)?;
    Ok((number >> 1) as i64 ^ -((number & 1) as i64))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_are_read_as_they_were_written(number: u64, signed: i64) {
            let mut bytes = Vec::new();
            write(&mut bytes, number);
            write_signed(&mut bytes, signed);
            let mut rest = bytes.as_slice();
            prop_assert_eq!(read(&mut rest).unwrap(), number);
            prop_assert_eq!(read_signed(&mut rest).unwrap(), signed);
            prop_assert!(rest.is_empty());
        }
    }

    #[test]
    fn a_number_has_one_encoding() {
        let too_long = [0xff; 9].iter().chain(&[2]).copied().collect::<Vec<u8>>();
        for bytes in [&[0x80, 0x00][..], &[0xff, 0x80, 0x00], &too_long, &[0x80; 11]] {
            assert!(matches!(read(&mut &bytes[..]), Err(VarintError::Encoding)), "{bytes:x?}");
        }
        assert!(matches!(read(&mut &[0x80_u8][..]), Err(VarintError::Read(_))));
    }
}
