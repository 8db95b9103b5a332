// SPDX-License-Identifier: Apache-2.0
//! Where the files of a layer are.
//!
//! The parser accepts whatever it understands and is never the reason for a failure: from the first block that is no tar header on,
//! the layer is one file without a name. Nothing but the size of the patch depends on it.

use std::io::{self, BufReader, Read};

use sha2::{Digest as _, Sha256};

use crate::patch::{BLOCK, Block, RangeReader, ReadAt};

/// One file, directory or link of a layer; or, without a name, the bytes that follow the last one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// Without `./` and `/` in front.
    pub(super) path: Box<[u8]>,
    /// Where its first header block is, also that of a long name or of PAX records.
    pub(super) header_at: u64,
    /// Where its content begins, which is where its header blocks end.
    pub(super) data_at: u64,
    pub(super) length: u64,
    pub(super) digest: [u8; 32],
    /// Whether the content is zeros only.
    pub(super) is_zeros: bool,
    /// Whether the padding after it has other bytes than zeros.
    pub(super) has_dirty_padding: bool,
}

impl Entry {
    /// Where the padding ends; the last entry has none.
    pub(super) fn end(&self, layer_length: u64) -> u64 {
        (self.data_at + self.length).next_multiple_of(BLOCK as u64).min(layer_length)
    }
}

/// The longest name or set of PAX records that is read.
const MAX_EXTENSION: u64 = 1 << 20;

/// The most files of a layer that are told apart; what follows is one file without a name.
const MAX_ENTRIES: usize = 4_000_000;

/// Reads a layer from its beginning to its end, and hashes each file.
pub(super) fn entries(layer: &dyn ReadAt) -> io::Result<Vec<Entry>> {
    let mut reader = Reader {
        inner: BufReader::with_capacity(1 << 20, RangeReader::new(layer, 0, layer.length())),
        at: 0,
        length: layer.length(),
    };
    let mut entries = Vec::new();
    let mut start = 0;
    while entries.len() < MAX_ENTRIES {
        start = reader.at;
        match reader.entry()? {
            Some(entry) => entries.push(entry),
            None => break,
        }
    }
    // The blocks that were read in vain are a part of the rest.
    let mut reader = Reader {
        inner: BufReader::with_capacity(1 << 20, RangeReader::new(layer, start, layer.length())),
        at: start,
        length: layer.length(),
    };
    let (digest, is_zeros) = reader.hash(layer.length() - start)?;
    let length = layer.length() - start;
    entries.push(Entry {
        path: Box::default(),
        header_at: start,
        data_at: start,
        length,
        digest,
        is_zeros,
        has_dirty_padding: false,
    });
    Ok(entries)
}

struct Reader<'a> {
    inner: BufReader<RangeReader<&'a dyn ReadAt>>,
    at: u64,
    length: u64,
}

/// What PAX records and long names say about the next header.
#[derive(Default)]
struct Extensions {
    path: Option<Vec<u8>>,
    size: Option<u64>,
}

impl Reader<'_> {
    /// The next entry, or `None` where none begins.
    fn entry(&mut self) -> io::Result<Option<Entry>> {
        let header_at = self.at;
        let mut extensions = Extensions::default();
        loop {
            let Some(block) = self.block()? else { return Ok(None) };
            let Some(size) = has_checksum(&block).then(|| number(&block[124..136])).flatten() else {
                return Ok(None);
            };
            match block[156] {
                kind @ (b'x' | b'X' | b'g' | b'L' | b'K') => {
                    let Some(body) = self.extension(size)? else { return Ok(None) };
                    match kind {
                        b'L' => extensions.path = Some(until_nul(&body).to_vec()),
                        b'x' | b'X' => extensions.read_pax(&body),
                        _ => {}
                    }
                }
                kind => {
                    if kind == b'S' && !self.sparse_blocks(&block)? {
                        return Ok(None);
                    }
                    return self.content(header_at, &block, size, extensions);
                }
            }
        }
    }

    fn content(
        &mut self,
        header_at: u64,
        block: &Block,
        size: u64,
        extensions: Extensions,
    ) -> io::Result<Option<Entry>> {
        // Links, devices and folders have no content, whatever their size says.
        let length = if matches!(block[156], b'1'..=b'6') { 0 } else { extensions.size.unwrap_or(size) };
        let data_at = self.at;
        if length > self.length - data_at {
            return Ok(None);
        }
        let (digest, is_zeros) = self.hash(length)?;
        let path = extensions.path.unwrap_or_else(|| ustar_path(block));
        let path = path.strip_prefix(b".").filter(|path| path.starts_with(b"/")).unwrap_or(&path);
        let path = path.strip_prefix(b"/").unwrap_or(path).into();
        let mut entry =
            Entry { path, header_at, data_at, length, digest, is_zeros, has_dirty_padding: false };
        let (_, is_clean) = self.hash(entry.end(self.length) - self.at)?;
        entry.has_dirty_padding = !is_clean;
        Ok(Some(entry))
    }

    fn block(&mut self) -> io::Result<Option<Block>> {
        if self.length - self.at < BLOCK as u64 {
            return Ok(None);
        }
        let mut block = [0; BLOCK];
        self.inner.read_exact(&mut block)?;
        self.at += BLOCK as u64;
        Ok(Some(block))
    }

    /// The body of a long name or of PAX records.
    fn extension(&mut self, size: u64) -> io::Result<Option<Vec<u8>>> {
        let padded = size.next_multiple_of(BLOCK as u64);
        if size > MAX_EXTENSION || padded > self.length - self.at {
            return Ok(None);
        }
        let mut body = vec![0; padded as usize];
        self.inner.read_exact(&mut body)?;
        self.at += padded;
        body.truncate(size as usize);
        Ok(Some(body))
    }

    /// The blocks in which a sparse file of GNU tar continues its map.
    fn sparse_blocks(&mut self, header: &Block) -> io::Result<bool> {
        let mut continues = header[482] == 1;
        while continues {
            match self.block()? {
                Some(block) => continues = block[504] == 1,
                None => return Ok(false),
            }
        }
        Ok(true)
    }

    fn hash(&mut self, length: u64) -> io::Result<([u8; 32], bool)> {
        let (mut hasher, mut is_zeros, mut rest) = (Sha256::new(), true, length);
        let mut buf = [0; 32 << 10];
        while rest > 0 {
            let most = usize::try_from(rest).map_or(buf.len(), |rest| rest.min(buf.len()));
            self.inner.read_exact(&mut buf[..most])?;
            hasher.update(&buf[..most]);
            is_zeros = is_zeros && buf[..most].iter().all(|byte| *byte == 0);
            rest -= most as u64;
        }
        self.at += length;
        Ok((hasher.finalize().into(), is_zeros))
    }
}

impl Extensions {
    /// `LENGTH KEY=VALUE\n`, as POSIX.1-2001 has it.
    fn read_pax(&mut self, mut records: &[u8]) {
        while let Some(space) = records.iter().position(|byte| *byte == b' ') {
            let length = decimal(&records[..space]).and_then(|length| usize::try_from(length).ok());
            let Some(length) = length.filter(|length| (space + 2..=records.len()).contains(length)) else {
                return;
            };
            let record = &records[space + 1..length - 1];
            if let Some(path) = record.strip_prefix(b"path=") {
                self.path = Some(path.to_vec());
            } else if let Some(size) = record.strip_prefix(b"size=") {
                self.size = decimal(size);
            }
            records = &records[length..];
        }
    }
}

fn decimal(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    &bytes[..end]
}

fn ustar_path(block: &Block) -> Vec<u8> {
    let name = until_nul(&block[..100]);
    let prefix = until_nul(&block[345..500]);
    if block[257..262] != *b"ustar" || block[262] == b' ' || prefix.is_empty() {
        return name.to_vec();
    }
    [prefix, b"/", name].concat()
}

/// Octal digits, or the base-256 of GNU tar.
fn number(field: &[u8]) -> Option<u64> {
    if field[0] & 0x80 != 0 {
        let (high, low) = field.split_at(field.len() - 8);
        let is_small = high.first() == Some(&0x80) && high[1..].iter().all(|byte| *byte == 0);
        return is_small.then(|| low.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)));
    }
    let text = until_nul(field);
    let digits = text.trim_ascii();
    digits.iter().try_fold(0_u64, |sum, byte| match byte {
        b'0'..=b'7' => Some(sum.checked_mul(8)? + u64::from(byte - b'0')),
        _ => None,
    })
}

fn has_checksum(block: &Block) -> bool {
    let Some(expected) = number(&block[148..156]) else { return false };
    let sum = block[..148].iter().chain(&block[156..]).map(|byte| u64::from(*byte)).sum::<u64>();
    sum != 0 && sum + 8 * u64::from(b' ') == expected
}
