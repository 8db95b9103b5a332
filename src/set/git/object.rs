// SPDX-License-Identifier: Apache-2.0
//! Objects of Git: their ids, and the content of trees and commits. Pure.

use std::fmt;

use sha1::Sha1;
use sha2::{Digest as _, Sha256};

/// The id of an object, in either of Git's two object formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::set) enum ObjectId {
    Sha1([u8; 20]),
    Sha256([u8; 32]),
}

impl ObjectId {
    /// Reads 40 or 64 hex digits.
    pub(super) fn from_hex(text: &str) -> Option<Self> {
        Self::from_bytes(&hex::decode(text).ok()?)
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().map(Self::Sha1).or_else(|_| bytes.try_into().map(Self::Sha256)).ok()
    }

    const fn length(self) -> usize {
        match self {
            Self::Sha1(_) => 20,
            Self::Sha256(_) => 32,
        }
    }

    /// Hashes an object of the same format whose content has `size` bytes.
    pub(super) fn hasher(self, kind: &str, size: u64) -> Hasher {
        let mut hasher = match self {
            Self::Sha1(_) => Hasher::Sha1(Sha1::new()),
            Self::Sha256(_) => Hasher::Sha256(Sha256::new()),
        };
        hasher.update(format!("{kind} {size}\0").as_bytes());
        hasher
    }

    /// The id, in the same format, of an object with this content.
    pub(super) fn of(self, kind: &str, content: &[u8]) -> Self {
        let mut hasher = self.hasher(kind, content.len() as u64);
        hasher.update(content);
        hasher.finish()
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes: &[u8] = match self {
            Self::Sha1(bytes) => bytes,
            Self::Sha256(bytes) => bytes,
        };
        f.write_str(&hex::encode(bytes))
    }
}

/// Computes an [`ObjectId`] piece by piece.
#[derive(Debug, Clone)]
pub(in crate::set) enum Hasher {
    Sha1(Sha1),
    Sha256(Sha256),
}

impl Hasher {
    pub(in crate::set) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha1(hasher) => hasher.update(bytes),
            Self::Sha256(hasher) => hasher.update(bytes),
        }
    }

    pub(in crate::set) fn finish(self) -> ObjectId {
        match self {
            Self::Sha1(hasher) => ObjectId::Sha1(hasher.finalize().into()),
            Self::Sha256(hasher) => ObjectId::Sha256(hasher.finalize().into()),
        }
    }
}

/// The type of an entry of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EntryKind {
    Tree,
    File,
    Link,
    Submodule,
}

/// One entry of a tree.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry<'a> {
    pub(super) kind: EntryKind,
    pub(super) name: &'a [u8],
    pub(super) id: ObjectId,
}

/// Reads a tree: for each entry the mode in octal digits, a blank, the name, a zero byte, and the id in binary.
/// `like` is an id of the same format. `None`: not a tree.
pub(super) fn entries(mut tree: &[u8], like: ObjectId) -> Option<Vec<Entry<'_>>> {
    let mut entries = Vec::new();
    while !tree.is_empty() {
        let blank = tree.iter().position(|b| *b == b' ')?;
        let (mode, rest) = (tree.get(..blank)?, tree.get(blank + 1..)?);
        let end = rest.iter().position(|b| *b == 0)?;
        let (name, rest) = (rest.get(..end)?, rest.get(end + 1..)?);
        let (id, rest) = rest.split_at_checked(like.length())?;
        let kind = match mode {
            b"40000" => EntryKind::Tree,
            b"120000" => EntryKind::Link,
            b"160000" => EntryKind::Submodule,
            _ if mode.starts_with(b"100") => EntryKind::File,
            _ => return None,
        };
        if name.is_empty() || name.contains(&b'/') || matches!(name, b"." | b"..") {
            return None;
        }
        entries.push(Entry { kind, name, id: ObjectId::from_bytes(id)? });
        tree = rest;
    }
    Some(entries)
}

/// The tree of a commit, and when it was made, in seconds since 1970. `None`: not a commit.
pub(super) fn commit(content: &[u8]) -> Option<(ObjectId, i64)> {
    let text = String::from_utf8_lossy(content);
    let head = text.split("\n\n").next()?;
    let tree = head.lines().find_map(|line| line.strip_prefix("tree "))?;
    let committer = head.lines().find_map(|line| line.strip_prefix("committer "))?;
    // `NAME <MAIL> SECONDS ZONE`: a name may contain anything.
    let seconds = committer.rsplit_once('>')?.1.split_ascii_whitespace().next()?;
    Some((ObjectId::from_hex(tree)?, seconds.parse().ok()?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    const SHA1: ObjectId = ObjectId::Sha1([0; 20]);

    #[test]
    fn ids_are_those_of_git() {
        // `git hash-object --stdin` of nothing, and of `hello\n`, in both formats.
        assert_eq!(SHA1.of("blob", b"").to_string(), "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391");
        assert_eq!(SHA1.of("blob", b"hello\n").to_string(), "ce013625030ba8dba906f756967f9e9ca394464a");
        let sha256 = ObjectId::Sha256([0; 32]);
        assert_eq!(
            sha256.of("blob", b"").to_string(),
            "473a0f4c3be8a93681a267e3b1e9a7dcda1185436fe141f7749120a303721813"
        );
        assert_eq!(ObjectId::from_hex("e69de29b"), None);
    }

    #[test]
    fn trees_are_read_completely_or_not_at_all() {
        let mut tree = Vec::new();
        for (mode, name) in
            [("100644", "a.yaml"), ("100755", "b\n\".yaml"), ("120000", "l"), ("40000", "s"), ("160000", "z")]
        {
            tree.extend_from_slice(format!("{mode} {name}\0").as_bytes());
            tree.extend_from_slice(&[7; 20]);
        }
        let found = entries(&tree, SHA1).unwrap();
        let kinds = found.iter().map(|entry| entry.kind).collect::<Vec<_>>();
        use EntryKind as E;
        assert_eq!(kinds, [E::File, E::File, E::Link, E::Tree, E::Submodule]);
        assert_eq!(found[1].name, b"b\n\".yaml");
        for cut in 1..tree.len() {
            let parts = tree.get(..cut).and_then(|cut| entries(cut, SHA1));
            assert!(parts.is_none_or(|parts| parts.len() < 5), "{cut}");
        }
        for name in ["..", ".", "a/b", ""] {
            let tree = [format!("100644 {name}\0").as_bytes(), &[7; 20]].concat();
            assert_eq!(entries(&tree, SHA1), None, "{name}");
        }
    }

    #[test]
    fn commits_are_read_whoever_made_them() {
        let tree = "4b825dc642cb6eb9a060e54bf8d69288fbee4904";
        let text = format!(
            "tree {tree}\nauthor a <a> 1 +0000\ncommitter C > D <c@example.com> 1700000000 -0130\n\ntree 0\n"
        );
        let (id, time) = commit(text.as_bytes()).unwrap();
        assert_eq!((id.to_string().as_str(), time), (tree, 1_700_000_000));
        assert_eq!(commit(b"tree x\n"), None);
    }
}
