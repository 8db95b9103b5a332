// SPDX-License-Identifier: Apache-2.0
//! Reads one file in bounded memory.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use crate::set::git::{Hasher, ObjectId};

/// Largest file that is read, in bytes; rendered YAML of a complete site fits.
pub const MAX_FILE: u64 = 32 << 20;
/// Bytes of a larger file that are searched at a time.
const WINDOW: usize = 256 << 10;

/// The content of a file.
#[derive(Debug)]
pub(in crate::set) struct Content {
    /// All of it, up to [`MAX_FILE`].
    pub(in crate::set) bytes: Option<Vec<u8>>,
    /// Whether a set can be in it.
    pub(in crate::set) mentions: bool,
    /// Its id in Git, if a hasher was given.
    pub(in crate::set) id: Option<ObjectId>,
}

/// Reads a file; `hasher` begins the hash of a file of that many bytes. A file that is too large is searched but not
/// kept.
///
/// # Errors
/// What the system says.
pub(in crate::set) fn read_file(path: &Path, hasher: Option<&dyn Fn(u64) -> Hasher>) -> io::Result<Content> {
    let mut file = File::open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Ok(Content { bytes: None, mentions: false, id: None });
    }
    if metadata.len() <= MAX_FILE {
        let mut bytes = Vec::new();
        file.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
        let id = hasher.map(|hasher| {
            let mut hasher = hasher(bytes.len() as u64);
            hasher.update(&bytes);
            hasher.finish()
        });
        let mentions = mentions_encoded(&bytes);
        return Ok(Content { bytes: (bytes.len() as u64 <= MAX_FILE).then_some(bytes), mentions, id });
    }
    let mut hasher = hasher.map(|hasher| hasher(metadata.len()));
    let mut window = vec![0; WINDOW];
    let (mut kept, mut found) = (0, false);
    loop {
        let read = file.read(window.get_mut(kept..).unwrap_or_default())?;
        if read == 0 {
            return Ok(Content { bytes: None, mentions: found, id: hasher.map(Hasher::finish) });
        }
        let filled = kept + read;
        if let Some(hasher) = &mut hasher {
            hasher.update(window.get(kept..filled).unwrap_or_default());
        }
        found = found || mentions(window.get(..filled).unwrap_or_default());
        // The word may be split between two reads.
        kept = filled.min(32);
        window.copy_within(filled - kept..filled, 0);
    }
}

/// The beginning of the group's name, which a misspelt end does not change.
pub(in crate::set) const PROJECT: &str = "kuberegistrysync";

/// Whether the text may contain a set. A set with a misspelt kind or group still has a part of one of them.
pub(in crate::set) fn mentions(bytes: &[u8]) -> bool {
    contains(bytes, b"EdgeImage") || contains(bytes, PROJECT.as_bytes())
}

/// The same for UTF-16 too, which is refused only if it contains a set.
fn mentions_encoded(bytes: &[u8]) -> bool {
    if is_utf16(bytes) {
        let narrow = bytes.iter().copied().filter(|b| *b != 0).collect::<Vec<_>>();
        return mentions(&narrow);
    }
    mentions(bytes)
}

/// Whether a text begins with the mark of UTF-16.
pub(in crate::set) fn is_utf16(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff")
}

/// Whether the bytes of a word are there.
pub(in crate::set) fn contains(bytes: &[u8], word: &[u8]) -> bool {
    let Some(first) = word.first() else { return true };
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|b| b == first) {
        rest = rest.get(at..).unwrap_or_default();
        if rest.starts_with(word) {
            return true;
        }
        rest = rest.get(1..).unwrap_or_default();
    }
    false
}
