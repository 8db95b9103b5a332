// SPDX-License-Identifier: Apache-2.0
//! Reads files and streams whose size is not known to be reasonable.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Reads the file at `path` to its end.
///
/// # Errors
/// The file cannot be read; [`io::ErrorKind::FileTooLarge`] if it has more than `max_bytes` bytes.
pub fn read_file(path: impl AsRef<Path>, max_bytes: u64) -> io::Result<Vec<u8>> {
    read_to_end(File::open(path)?, max_bytes)
}

/// Reads `source` to its end.
///
/// # Errors
/// Reading failed; [`io::ErrorKind::FileTooLarge`] if there are more than `max_bytes` bytes.
pub fn read_to_end(source: impl Read, max_bytes: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source.take(max_bytes.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max_bytes {
        let message = format!("it is larger than {max_bytes} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    Ok(bytes)
}

/// [`read_to_end`] for text.
///
/// # Errors
/// As for [`read_to_end`]; [`io::ErrorKind::InvalidData`] if it is not UTF-8.
pub fn read_to_string(source: impl Read, max_bytes: u64) -> io::Result<String> {
    let bytes = read_to_end(source, max_bytes)?;
    String::from_utf8(bytes).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_larger_than_the_limit_is_an_error_and_never_cut() {
        assert_eq!(read_to_end(&b"1234"[..], 4).unwrap(), b"1234");
        assert_eq!(read_to_end(&b""[..], 0).unwrap(), b"");
        for (bytes, limit) in [(&b"12345"[..], 4), (b"1", 0)] {
            let error = read_to_end(bytes, limit).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
            assert_eq!(error.to_string(), format!("it is larger than {limit} bytes"));
        }
        assert_eq!(read_to_end(&b"1"[..], u64::MAX).unwrap(), b"1");
        assert_eq!(read_to_string(&b"a\xff"[..], 9).unwrap_err().kind(), io::ErrorKind::InvalidData);
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("f"), "123").unwrap();
        assert_eq!(read_file(folder.path().join("f"), 3).unwrap(), b"123");
        assert!(read_file(folder.path().join("f"), 2).is_err());
    }
}
