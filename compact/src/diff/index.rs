// SPDX-License-Identifier: Apache-2.0
//! Which files there are in all layers, by content and by name.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::tar::{self, Entry};
use crate::patch::ReadAt;

/// A file of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct File {
    /// The number of the layer: first the bases, then the targets.
    pub(super) layer: usize,
    pub(super) entry: usize,
}

/// All layers, and their files by content and by name.
pub(super) struct Index {
    pub(super) layers: Vec<Vec<Entry>>,
    by_digest: HashMap<[u8; 32], Vec<File>>,
    by_path: HashMap<u64, Vec<File>>,
    by_pattern: HashMap<u64, Vec<File>>,
    by_name: HashMap<u64, Vec<File>>,
}

/// The most files that are kept for one path: as many images have a program of that path.
const MAX_OF_PATH: usize = 256;
/// The most files that are kept for a pattern or name: `__init__.py` is the name of thousands.
const MAX_OF_NAME: usize = 64;

impl Index {
    /// Reads all layers, several at once.
    pub(super) fn new(layers: &[&dyn ReadAt], threads: usize) -> Result<Self, (usize, io::Error)> {
        let next = AtomicUsize::new(0);
        let read = || {
            let mut read = Vec::new();
            loop {
                let i = next.fetch_add(1, Ordering::Relaxed);
                let Some(layer) = layers.get(i) else { return Ok(read) };
                read.push((i, tar::entries(*layer).map_err(|error| (i, error))?));
            }
        };
        let mut found = thread::scope(|scope| {
            let workers = (0..threads.max(1)).map(|_| scope.spawn(read)).collect::<Vec<_>>();
            let mut found = Vec::new();
            for worker in workers {
                let read = worker.join().map_err(|_| (0, io::Error::other("a thread panicked")))?;
                found.extend(read?);
            }
            Ok::<_, (usize, io::Error)>(found)
        })?;
        found.sort_by_key(|(i, _)| *i);
        Ok(Self {
            layers: found.into_iter().map(|(_, entries)| entries).collect(),
            by_digest: HashMap::new(),
            by_path: HashMap::new(),
            by_pattern: HashMap::new(),
            by_name: HashMap::new(),
        })
    }

    /// Makes the files of a layer known as sources of the layers that are asked about next.
    pub(super) fn add_source(&mut self, layer: usize) {
        for (entry, of) in self.layers[layer].iter().enumerate() {
            let file = File { layer, entry };
            let push = |files: &mut Vec<File>, most: usize| {
                if files.len() < most {
                    files.push(file);
                }
            };
            push(self.by_path.entry(key(&of.path)).or_default(), MAX_OF_PATH);
            if of.length == 0 {
                continue;
            }
            push(self.by_digest.entry(of.digest).or_default(), MAX_OF_NAME);
            push(self.by_pattern.entry(key(&pattern(&of.path))).or_default(), MAX_OF_NAME);
            push(self.by_name.entry(key(&pattern(name(&of.path)))).or_default(), MAX_OF_NAME);
        }
    }

    pub(super) fn entry(&self, file: File) -> &Entry {
        &self.layers[file.layer][file.entry]
    }

    /// The path of the file that an offset of a layer is in.
    pub(super) fn path_at(&self, layer: usize, offset: u64) -> String {
        let entries = &self.layers[layer];
        let after = entries.partition_point(|entry| entry.header_at <= offset);
        let path = after.checked_sub(1).map_or(&[][..], |at| &entries[at].path);
        String::from_utf8_lossy(path).into_owned()
    }

    /// The files with this content.
    pub(super) fn same_content(&self, entry: &Entry) -> &[File] {
        self.by_digest.get(&entry.digest).map_or(&[], Vec::as_slice)
    }

    /// The files of this path, whatever they contain.
    pub(super) fn same_path(&self, entry: &Entry) -> impl Iterator<Item = File> {
        let files = self.by_path.get(&key(&entry.path)).map_or(&[][..], Vec::as_slice);
        files.iter().copied().filter(|file| self.entry(*file).path == entry.path)
    }

    /// The files that are most likely an older version of this one, the likeliest first: of the same path, of a path that differs in
    /// numbers only, or of such a name in another folder.
    pub(super) fn similar(&self, entry: &Entry) -> Vec<File> {
        let lists = [
            self.by_path.get(&key(&entry.path)),
            self.by_pattern.get(&key(&pattern(&entry.path))),
            self.by_name.get(&key(&pattern(name(&entry.path)))),
        ];
        for files in lists.into_iter().flatten() {
            let mut files = files.clone();
            files.retain(|file| self.entry(*file).length > 0);
            files.sort_by_key(|file| {
                let other = self.entry(*file);
                let suffix = entry.path.iter().rev().zip(other.path.iter().rev());
                let suffix = suffix.take_while(|(a, b)| a == b).count();
                (usize::MAX - suffix, entry.length.abs_diff(other.length), usize::MAX - file.layer)
            });
            // Copies of one file in several layers are one candidate.
            let mut digests = Vec::new();
            files.retain(|file| {
                let digest = self.entry(*file).digest;
                let is_first = !digests.contains(&digest);
                digests.push(digest);
                is_first
            });
            if !files.is_empty() {
                return files;
            }
        }
        Vec::new()
    }
}

fn key(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

fn name(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or_default()
}

/// A path with one `#` for each version number, or for what is most likely a hash: `libfoo.so.1.2` and `libfoo.so.1.10.3`,
/// `main.3f9a02bc.js` and `main.90b1c22d.js` are alike.
fn pattern(path: &[u8]) -> Vec<u8> {
    let mut pattern = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some(first) = rest.first() {
        let hash = rest.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let starts_word = pattern.last().is_none_or(|byte: &u8| !byte.is_ascii_alphanumeric());
        let has_digit = rest[..hash].iter().any(u8::is_ascii_digit);
        if hash >= 8 && starts_word && has_digit {
            pattern.push(b'#');
            rest = &rest[hash..];
        } else if digits > 0 {
            // One number more or less, with its dot, is no other file.
            let number = rest.iter().take_while(|byte| byte.is_ascii_digit() || **byte == b'.').count();
            let number = number - rest[..number].iter().rev().take_while(|byte| **byte == b'.').count();
            pattern.push(b'#');
            rest = &rest[number..];
        } else {
            pattern.push(*first);
            rest = &rest[1..];
        }
    }
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_differ_in_versions_or_hashes_have_one_pattern() {
        for (one, other) in [
            ("usr/lib/libfoo.so.1.2", "usr/lib/libfoo.so.1.10.3"),
            ("usr/lib/python3.11/os.py", "usr/lib/python3.12/os.py"),
            ("app/static/main.3f9a02bc.js", "app/static/main.90b1c22d.js"),
        ] {
            assert_eq!(pattern(one.as_bytes()), pattern(other.as_bytes()), "{one}");
        }
        assert_ne!(pattern(b"usr/lib/libfoo.so.1"), pattern(b"usr/lib/libbar.so.1"));
        assert_eq!(pattern(b"deadbeefcafe"), b"deadbeefcafe", "a word is no hash");
    }
}
