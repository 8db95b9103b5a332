// SPDX-License-Identifier: Apache-2.0
//! The files of a layer or a package, and the tar they become: sorted, owned by root, all of one time, so that the same files
//! give the same bytes.

use std::collections::BTreeMap;
use std::path::Path;

use tar::{Builder, EntryType, Header};

use crate::run::Result;

/// Files by their path, which is relative to the root.
#[derive(Debug, Default)]
pub struct Files(BTreeMap<String, Entry>);

/// What is at a path.
#[derive(Debug)]
pub enum Entry {
    /// A folder with its mode.
    Folder(u32),
    /// Its mode and content.
    File(u32, Vec<u8>),
    /// A symbolic link with its target.
    Link(String),
}

impl Files {
    /// A folder with its mode. Those above a file are made by themselves, with 755.
    pub fn folder(&mut self, path: &str, mode: u32) {
        self.add(path, Entry::Folder(mode));
    }

    /// A file with its mode.
    pub fn file(&mut self, path: &str, mode: u32, content: Vec<u8>) {
        self.add(path, Entry::File(mode, content));
    }

    /// A symbolic link.
    pub fn link(&mut self, path: &str, target: &str) {
        self.add(path, Entry::Link(target.to_owned()));
    }

    fn add(&mut self, path: &str, entry: Entry) {
        for parent in Path::new(path).ancestors().skip(1) {
            let parent = parent.to_string_lossy().into_owned();
            if !parent.is_empty() {
                self.0.entry(parent).or_insert(Entry::Folder(0o755));
            }
        }
        self.0.insert(path.to_owned(), entry);
    }

    /// All entries in order: each folder comes before what is in it.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.0.iter().map(|(path, entry)| (path.as_str(), entry))
    }

    /// The tar; every entry has the time `modified`, in seconds since 1970.
    pub fn tar(&self, modified: u64) -> Result<Vec<u8>> {
        let mut tar = Builder::new(Vec::new());
        for (path, entry) in &self.0 {
            let mut header = Header::new_gnu();
            let (kind, mode, content) = match entry {
                Entry::Folder(mode) => (EntryType::Directory, *mode, &[][..]),
                Entry::File(mode, content) => (EntryType::Regular, *mode, content.as_slice()),
                Entry::Link(_) => (EntryType::Symlink, 0o777, &[][..]),
            };
            header.set_entry_type(kind);
            header.set_mode(mode);
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(modified);
            header.set_size(content.len() as u64);
            if let Entry::Link(target) = entry {
                tar.append_link(&mut header, path, target)?;
            } else {
                tar.append_data(&mut header, path, content)?;
            }
        }
        Ok(tar.into_inner()?)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test")]

    use super::*;

    #[test]
    fn the_order_in_which_files_are_added_does_not_matter() {
        let (mut one, mut other) = (Files::default(), Files::default());
        one.file("usr/bin/a", 0o755, b"a".to_vec());
        one.link("lib", "usr/lib");
        one.folder("tmp", 0o1777);
        other.folder("tmp", 0o1777);
        other.link("lib", "usr/lib");
        other.file("usr/bin/a", 0o755, b"a".to_vec());
        assert_eq!(one.tar(0).unwrap(), other.tar(0).unwrap());
    }

    #[test]
    fn folders_come_before_what_is_in_them() {
        let mut files = Files::default();
        files.file("usr/bin/a", 0o755, Vec::new());
        let bytes = files.tar(0).unwrap();
        let mut tar = tar::Archive::new(bytes.as_slice());
        let paths: Vec<String> = tar
            .entries()
            .unwrap()
            .map(|e| e.unwrap().path().unwrap().to_string_lossy().into_owned())
            .collect();
        assert_eq!(paths, ["usr", "usr/bin", "usr/bin/a"]);
    }
}
