// SPDX-License-Identifier: Apache-2.0
//! Numbers of bytes as people write them.

/// Units and what they stand for, in bytes.
const UNITS: [(&str, u64); 10] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("B", 1),
    ("", 1),
];

/// Reads `3900MiB`, `4GB`, `512` and the like; at least 1.
pub(super) fn bytes(text: &str) -> Result<u64, String> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let factor = UNITS.iter().find(|(name, _)| *name == unit.trim()).map(|(_, factor)| *factor);
    let bytes =
        number.parse::<u64>().ok().zip(factor).and_then(|(number, factor)| number.checked_mul(factor));
    bytes
        .filter(|bytes| *bytes > 0)
        .ok_or_else(|| "expected a whole number with a unit, such as 3900MiB, 4GB or 500kB".to_owned())
}

/// The size of volumes: large enough that there is something in each of them.
pub(super) fn volume_size(text: &str) -> Result<u64, String> {
    const LEAST: u64 = 64 << 10;
    let bytes = bytes(text)?;
    if bytes < LEAST { Err("volumes of less than 64KiB are of no use".to_owned()) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_decimal_and_binary_units() {
        assert_eq!(bytes("3900MiB"), Ok(3900 << 20));
        assert_eq!((bytes("4GB"), bytes("500 kB"), bytes("7")), (Ok(4_000_000_000), Ok(500_000), Ok(7)));
        for wrong in ["", "MiB", "0", "1.5GiB", "-1", "4gb", "99999999999TiB"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
        assert!(volume_size("1KiB").is_err() && volume_size("64KiB").is_ok());
    }
}
