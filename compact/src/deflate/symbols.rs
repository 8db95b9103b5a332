// SPDX-License-Identifier: Apache-2.0
//! Symbols of lengths and distances, and their extra bits (RFC 1951, 3.2.5).

/// Symbols of the alphabet of literals and lengths that a stream can have.
pub const LITERAL_SYMBOLS: usize = 286;
/// Symbols of the alphabet of distances that a stream can have.
pub const DISTANCE_SYMBOLS: usize = 30;
/// The symbol that ends a block.
pub const END_OF_BLOCK: usize = 256;

/// Of each length, minus 3: its symbol, minus 257, and the shortest length of that symbol.
const LENGTHS: [(u8, u8); 256] = {
    let mut table = [(0, 0); 256];
    let (mut symbol, mut at) = (0, 0);
    while symbol < 28 {
        let end = at + (1 << length_extra_bits(257 + symbol));
        let first = at as u8;
        while at < end {
            table[at] = (symbol as u8, first);
            at += 1;
        }
        symbol += 1;
    }
    // Length 258 has a symbol of its own, and the one before it ends at 257.
    table[255] = (28, 255);
    table
};

/// Extra bits of a length symbol (257 to 285; a literal has none).
#[must_use]
#[inline]
pub const fn length_extra_bits(symbol: usize) -> u32 {
    match symbol {
        265..=284 => (symbol as u32 - 261) / 4,
        _ => 0,
    }
}

/// Extra bits of a distance symbol (0 to 29).
#[must_use]
#[inline]
pub const fn distance_extra_bits(symbol: usize) -> u32 {
    (symbol as u32 / 2).saturating_sub(1)
}

/// Symbol and value of the extra bits of a length from 3 to 258.
#[must_use]
#[inline]
pub fn length_symbol(length: u16) -> (usize, u32) {
    let above = length.wrapping_sub(3) as u8;
    let (symbol, first) = LENGTHS[usize::from(above)];
    (257 + usize::from(symbol), u32::from(above - first))
}

/// Symbol and value of the extra bits of a distance from 1 to 32768.
#[must_use]
#[inline]
pub fn distance_symbol(distance: u16) -> (usize, u32) {
    let above = u32::from(distance.wrapping_sub(1) & 0x7fff);
    if above < 4 {
        return (above as usize, 0);
    }
    let extra = above.ilog2() - 1;
    ((2 * extra + (above >> extra)) as usize, above & ((1 << extra) - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// First length of the symbols 257 to 285, from the table of RFC 1951, 3.2.5.
    const FIRST_LENGTHS: [u32; 29] = [
        3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163,
        195, 227, 258,
    ];
    /// First distance of each symbol, from the same table.
    const FIRST_DISTANCES: [u32; 30] = [
        1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537, 2049,
        3073, 4097, 6145, 8193, 12289, 16385, 24577,
    ];

    #[test]
    fn each_length_is_its_symbols_first_and_the_extra_bits() {
        for length in 3..=258 {
            let (symbol, extra) = length_symbol(length);
            assert_eq!(FIRST_LENGTHS[symbol - 257] + extra, u32::from(length));
            assert!(extra < 1 << length_extra_bits(symbol));
        }
        assert_eq!(length_symbol(257), (284, 30));
        assert_eq!(length_symbol(258), (285, 0));
    }

    #[test]
    fn each_distance_is_its_symbols_first_and_the_extra_bits() {
        for distance in 1..=32768 {
            let (symbol, extra) = distance_symbol(distance);
            assert_eq!(FIRST_DISTANCES[symbol] + extra, u32::from(distance));
            assert!(extra < 1 << distance_extra_bits(symbol));
        }
    }
}
