// SPDX-License-Identifier: Apache-2.0
//! Numbers of bytes as people write them.

/// Reads `3900MiB`, `1.5GB`, `512` and the like; at least 1. Bits are not meant, so that `Mb` is refused.
pub(super) fn bytes(text: &str) -> Result<u64, String> {
    let bad = || {
        let shown = krs_core::redact::printable(text, 40);
        format!("`{shown}` is not a number of bytes; write it as 500kB, 3900MiB or 1.5GB")
    };
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit: u64 = match unit.trim() {
        "" | "B" => 1,
        "kB" | "KB" | "k" => 1000,
        "MB" | "M" => 1_000_000,
        "GB" | "G" => 1_000_000_000,
        "TB" | "T" => 1_000_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return Err(bad()),
    };
    let (integer, part) = number.split_once('.').unwrap_or((number, "0"));
    // Three digits after the point are more than anybody means.
    if part.is_empty() || part.len() > 3 {
        return Err(bad());
    }
    let thousandths = format!("{part:0<3}").parse::<u64>().map_err(|_| bad())?;
    let integer =
        integer.parse::<u64>().ok().and_then(|integer| integer.checked_mul(unit)).ok_or_else(bad)?;
    let bytes = integer.checked_add(unit * thousandths / 1000);
    bytes.filter(|bytes| *bytes > 0).ok_or_else(bad)
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
        for (text, expected) in [
            ("3900MiB", 3900 << 20),
            ("4GB", 4_000_000_000),
            ("500 kB", 500_000),
            ("1.5 MB", 1_500_000),
            ("1.5GiB", 3 << 29),
            ("0.001kB", 1),
            ("7", 7),
        ] {
            assert_eq!(bytes(text), Ok(expected), "{text}");
        }
        for wrong in
            ["", "MiB", "0", "0MB", "8Mb", "-1", "4gb", "1e6", "1.2345MB", ".", "1.", "99999999999TiB"]
        {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
        assert!(volume_size("1KiB").is_err() && volume_size("64KiB").is_ok());
    }
}
