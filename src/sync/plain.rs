// SPDX-License-Identifier: Apache-2.0
//! Layers without their compression.

use std::io::{self, Read, Write};

use thiserror::Error;

/// Bytes that are copied at once.
const CHUNK: usize = 256 << 10;

/// Why a layer was not expanded.
#[derive(Debug, Error)]
pub(in crate::sync) enum PlainError {
    /// The layer cannot be read, or its compression is damaged.
    #[error("its compressed content cannot be read: {0}")]
    Read(io::Error),
    /// There is more than is allowed.
    #[error("it expands to more than {0} bytes")]
    TooLarge(u64),
    /// What it expands to cannot be written.
    #[error("{0}")]
    Write(io::Error),
}

/// Writes `layer` to `plain` without its compression, whatever that is: gzip (also of several members), zstd, or none. Returns
/// how many bytes it wrote. `limit`: the most bytes that are written.
pub(in crate::sync) fn expand(
    mut layer: impl Read,
    mut plain: impl Write,
    limit: u64,
) -> Result<u64, PlainError> {
    let mut magic = [0; 4];
    let read = fill(&mut layer, &mut magic).map_err(PlainError::Read)?;
    let all = io::Cursor::new(&magic[..read]).chain(layer);
    let mut reader: Box<dyn Read + '_> = match magic {
        [0x1f, 0x8b, ..] => Box::new(flate2::read::MultiGzDecoder::new(all)),
        [0x28, 0xb5, 0x2f, 0xfd] => Box::new(zstd::Decoder::new(all).map_err(PlainError::Read)?),
        _ => Box::new(all),
    };
    let mut buf = vec![0; CHUNK];
    let mut written = 0_u64;
    loop {
        let read = reader.read(&mut buf).map_err(PlainError::Read)?;
        if read == 0 {
            return Ok(written);
        }
        written += read as u64;
        if written > limit {
            return Err(PlainError::TooLarge(limit));
        }
        plain.write_all(&buf[..read]).map_err(PlainError::Write)?;
    }
}

fn fill(reader: &mut impl Read, buf: &mut [u8]) -> io::Result<usize> {
    let mut done = 0;
    while done < buf.len() {
        match reader.read(&mut buf[done..]) {
            Ok(0) => break,
            Ok(read) => done += read,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn every_compression_of_layers_is_taken_off() {
        let plain = b"content of a layer ".repeat(1000);
        let two_members = [gzip(&plain[..7]), gzip(&plain[7..])].concat();
        let zstd = zstd::encode_all(&plain[..], 3).unwrap();
        for layer in [plain.clone(), gzip(&plain), two_members, zstd] {
            let mut out = Vec::new();
            assert_eq!(expand(&layer[..], &mut out, 1 << 20).unwrap(), plain.len() as u64);
            assert!(out == plain);
        }
        for short in [&b""[..], b"a", b"\x1f"] {
            let mut out = Vec::new();
            expand(short, &mut out, 10).unwrap();
            assert_eq!(out, short);
        }
    }

    #[test]
    fn a_bomb_is_not_written() {
        let bomb = gzip(&vec![0; 1 << 20]);
        let mut out = Vec::new();
        assert!(matches!(expand(&bomb[..], &mut out, 1000), Err(PlainError::TooLarge(1000))));
        assert!(out.len() <= 1000);
    }
}
