// SPDX-License-Identifier: Apache-2.0
//! Where the files of a tar lie, found without unpacking it. Whatever two readers of tars could disagree about is refused;
//! memory is bounded by the names, whatever the sizes of the entries are.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Place;
use std::fs::File;
use std::io;

use tar::{EntryType, Header, PaxExtensions};

use super::error::ArchiveError;
use super::limits::{MAX_ENTRIES, MAX_EXTENSION, MAX_NAMES};
use crate::files::read_at;

const BLOCK: u64 = 512;
/// Bytes that are compared at once.
const CHUNK: usize = 1 << 20;

/// Bytes of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) offset: u64,
    pub(super) size: u64,
}

/// What a name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Entry {
    File(Extent),
    /// A link, with the entry that it leads to; `None`: outside of the archive. It is never followed in the file system.
    Link(Option<String>),
}

/// The entries of a tar by their names, which have neither `.` nor `..` in them.
#[derive(Debug, Default)]
pub(super) struct TarIndex(BTreeMap<String, Entry>);

impl TarIndex {
    /// Reads the headers of a tar of `size` bytes.
    pub(super) fn read(file: &File, size: u64) -> Result<Self, ArchiveError> {
        let mut walk = Walk { file, size, offset: 0 };
        let mut index = Self::default();
        let mut names = 0_usize;
        while let Some(found) = walk.next()? {
            names = names.saturating_add(found.name.len());
            if index.0.len() >= MAX_ENTRIES || names > MAX_NAMES {
                return Err(ArchiveError::TooMany);
            }
            let Some(entry) = found.entry else { continue };
            match index.0.entry(found.name) {
                Place::Vacant(place) => {
                    place.insert(entry);
                }
                Place::Occupied(place) if is_same(file, place.get(), &entry)? => {}
                Place::Occupied(place) => return Err(ArchiveError::Duplicate(shown(place.key()))),
            }
        }
        Ok(index)
    }

    pub(super) fn get(&self, name: &str) -> Option<&Entry> {
        self.0.get(name)
    }

    /// The file of a name; where that is a link to another entry, as archives of `docker save` have them for layers that
    /// images share, the file of that one.
    pub(super) fn follow(&self, name: &str) -> Option<Extent> {
        match self.get(name)? {
            Entry::File(extent) => Some(*extent),
            Entry::Link(target) => match self.get(target.as_ref()?)? {
                Entry::File(extent) => Some(*extent),
                Entry::Link(_) => None,
            },
        }
    }
}

struct Found {
    name: String,
    /// `None`: a folder.
    entry: Option<Entry>,
}

/// What stood before an entry about it.
#[derive(Default)]
struct Extensions {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
}

struct Walk<'a> {
    file: &'a File,
    size: u64,
    offset: u64,
}

impl Walk<'_> {
    /// The next file, link or folder; `None` at the end of the archive.
    fn next(&mut self) -> Result<Option<Found>, ArchiveError> {
        let mut extensions = Extensions::default();
        loop {
            let at = self.offset;
            let Some(header) = self.header()? else { return Ok(None) };
            let invalid = |reason: &dyn std::fmt::Display| ArchiveError::Header {
                offset: at,
                reason: crate::redact::printable(&reason.to_string(), 200),
            };
            let kind = header.entry_type();
            let size = header.entry_size().map_err(|e| invalid(&e))?;
            match kind {
                EntryType::GNULongName => extensions.name = Some(until_nul(self.extension(at, size)?)),
                EntryType::GNULongLink => extensions.link = Some(until_nul(self.extension(at, size)?)),
                EntryType::XHeader => self.pax(at, size, &mut extensions)?,
                EntryType::XGlobalHeader => {
                    let mut global = Extensions::default();
                    self.pax(at, size, &mut global)?;
                    if global.name.is_some() || global.link.is_some() || global.size.is_some() {
                        return Err(invalid(&"it gives all entries one name or size"));
                    }
                }
                _ => {
                    let name = extensions.name.unwrap_or_else(|| header.path_bytes().into_owned());
                    let name = text(name).ok_or_else(|| invalid(&"its name is not UTF-8"))?;
                    let name = entry_name(&name).ok_or_else(|| ArchiveError::Outside(shown(&name)))?;
                    let size = extensions.size.unwrap_or(size);
                    let link = extensions.link.or_else(|| header.link_name_bytes().map(Cow::into_owned));
                    let entry = self.entry(&name, kind, size, link)?;
                    return Ok(Some(Found { name, entry }));
                }
            }
        }
    }

    fn entry(
        &mut self,
        name: &str,
        kind: EntryType,
        size: u64,
        link: Option<Vec<u8>>,
    ) -> Result<Option<Entry>, ArchiveError> {
        let refuse = |kind| Err(ArchiveError::Entry { name: shown(name), kind });
        match kind {
            EntryType::Regular | EntryType::Continuous => {
                let offset = self.offset;
                self.skip(name, size)?;
                Ok(Some(Entry::File(Extent { offset, size })))
            }
            // Readers disagree on whether content follows.
            EntryType::Directory | EntryType::Symlink | EntryType::Link if size > 0 => {
                refuse("a folder or link with content of its own")
            }
            EntryType::Directory => Ok(None),
            // A hard link names its target from the top of the archive, a symbolic one from its own folder.
            EntryType::Link => Ok(Some(Entry::Link(link.and_then(text).and_then(|link| entry_name(&link))))),
            EntryType::Symlink => {
                Ok(Some(Entry::Link(link.and_then(text).and_then(|link| target(name, &link)))))
            }
            EntryType::GNUSparse => refuse("a sparse file"),
            EntryType::Char | EntryType::Block => refuse("a device"),
            EntryType::Fifo => refuse("a named pipe"),
            _ => refuse("an entry of an unknown kind"),
        }
    }

    /// The next header, whose checksum is right; `None` at the end.
    fn header(&mut self) -> Result<Option<Header>, ArchiveError> {
        let offset = self.offset;
        let mut header = Header::new_old();
        let read = self.read(header.as_mut_bytes(), offset)?;
        // Archives without the two empty blocks at the end exist.
        if read == 0 && offset > 0 {
            return Ok(None);
        }
        if read as u64 != BLOCK {
            let (name, end) = (format!("the header at byte {offset}"), offset + BLOCK);
            return Err(ArchiveError::Incomplete { name, end, size: self.size });
        }
        if header.as_bytes().iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let sum = header.as_bytes().iter().enumerate();
        let sum =
            sum.map(|(n, byte)| if (148..156).contains(&n) { 32 } else { u32::from(*byte) }).sum::<u32>();
        if header.cksum().ok() != Some(sum) {
            return Err(ArchiveError::Header { offset, reason: "its checksum is wrong".to_owned() });
        }
        self.offset += BLOCK;
        Ok(Some(header))
    }

    /// The content of an entry that describes the next one.
    fn extension(&mut self, at: u64, size: u64) -> Result<Vec<u8>, ArchiveError> {
        if size > MAX_EXTENSION {
            return Err(ArchiveError::Extension { offset: at, size });
        }
        let offset = self.offset;
        self.skip(&format!("the extended header at byte {at}"), size)?;
        let mut bytes = vec![0; usize::try_from(size).unwrap_or_default()];
        self.read(&mut bytes, offset)?;
        Ok(bytes)
    }

    /// Extended headers (POSIX.1-2024, pax, "pax Extended Header").
    fn pax(&mut self, at: u64, size: u64, extensions: &mut Extensions) -> Result<(), ArchiveError> {
        let bytes = self.extension(at, size)?;
        let invalid = |reason: &str| ArchiveError::Header { offset: at, reason: reason.to_owned() };
        for extension in PaxExtensions::new(&bytes) {
            let extension = extension.map_err(|_| invalid("it is no extended header"))?;
            let (key, value) = (extension.key_bytes(), extension.value_bytes());
            match key {
                b"path" => extensions.name = Some(value.to_vec()),
                b"linkpath" => extensions.link = Some(value.to_vec()),
                b"size" => {
                    let size = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
                    extensions.size = Some(size.ok_or_else(|| invalid("its size is no number"))?);
                }
                _ if key.starts_with(b"GNU.sparse.") => return Err(invalid("it describes a sparse file")),
                _ => {}
            }
        }
        Ok(())
    }

    /// Goes behind the content of an entry.
    fn skip(&mut self, name: &str, size: u64) -> Result<(), ArchiveError> {
        let end = self.offset.saturating_add(size);
        if end > self.size {
            return Err(ArchiveError::Incomplete { name: shown(name), end, size: self.size });
        }
        // The padding of the last entry may be missing.
        self.offset = end.next_multiple_of(BLOCK).min(self.size);
        Ok(())
    }

    fn read(&self, buf: &mut [u8], offset: u64) -> Result<usize, ArchiveError> {
        read_at(self.file, buf, offset).map_err(|source| ArchiveError::Read { offset, source })
    }
}

/// The name of an entry without `.` and empty parts; `None` where it is absolute or has `..` in it.
fn entry_name(path: &str) -> Option<String> {
    if path.starts_with('/') || path.split('/').any(|part| part == "..") {
        return None;
    }
    Some(join(Vec::new(), path)?.join("/"))
}

/// The entry that a symbolic link leads to, by its own name; `None` where that is outside of the archive.
fn target(name: &str, link: &str) -> Option<String> {
    if link.starts_with('/') {
        return None;
    }
    let mut folder = name.split('/').collect::<Vec<_>>();
    folder.pop();
    Some(join(folder, link)?.join("/"))
}

fn join<'a>(mut parts: Vec<&'a str>, path: &'a str) -> Option<Vec<&'a str>> {
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts)
}

fn text(bytes: Vec<u8>) -> Option<String> {
    String::from_utf8(bytes).ok()
}

fn until_nul(mut bytes: Vec<u8>) -> Vec<u8> {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    bytes.truncate(end);
    bytes
}

fn shown(name: &str) -> String {
    crate::redact::printable(name, 120)
}

/// Whether two entries of one name are the same to every reader.
fn is_same(file: &File, one: &Entry, other: &Entry) -> Result<bool, ArchiveError> {
    let (Entry::File(one), Entry::File(other)) = (one, other) else { return Ok(one == other) };
    if one.size != other.size {
        return Ok(false);
    }
    let read = |offset: u64, len: usize| {
        let mut buf = vec![0; len];
        match read_at(file, &mut buf, offset) {
            Ok(read) if read == len => Ok(buf),
            Ok(_) => Err(ArchiveError::Read { offset, source: io::ErrorKind::UnexpectedEof.into() }),
            Err(source) => Err(ArchiveError::Read { offset, source }),
        }
    };
    let mut done = 0;
    while done < one.size {
        let len = usize::try_from(one.size - done).unwrap_or(usize::MAX).min(CHUNK);
        if read(one.offset + done, len)? != read(other.offset + done, len)? {
            return Ok(false);
        }
        done += len as u64;
    }
    Ok(true)
}
