// SPDX-License-Identifier: Apache-2.0
//! The files of a source: in a folder, or in a tar.

use std::fs::File;
use std::io;
use std::sync::Arc;

use camino::Utf8PathBuf;

use super::error::{FileError, LocalError};
use super::location::{Form, Location};
use super::tar_index::{Entry, Extent, TarIndex};
use crate::files::{open, read_at, special};

/// How compressed files begin, what that is called, and the command that unpacks them.
const COMPRESSED: [(&[u8], &str, &str); 4] = [
    (b"\x1f\x8b", "gzip", "gzip -d FILE"),
    (b"\x28\xb5\x2f\xfd", "zstd", "zstd -d FILE"),
    (b"\xfd7zXZ\0", "xz", "xz -d FILE"),
    (b"BZh", "bzip2", "bzip2 -d FILE"),
];

/// How a file that begins with `bytes` is compressed, and the command that unpacks it.
pub(super) fn compression(bytes: &[u8]) -> Option<(&'static str, &'static str)> {
    let (_, format, command) = COMPRESSED.iter().find(|(magic, ..)| bytes.starts_with(magic))?;
    Some((format, command))
}

/// Where the files of a source are.
#[derive(Debug)]
pub(super) enum Store {
    Folder(Utf8PathBuf),
    Tar {
        file: Arc<File>,
        index: TarIndex,
    },
    /// What a daemon without any of the images has.
    Empty,
}

/// The bytes of a file, or of an entry of a tar.
#[derive(Debug, Clone)]
pub struct Content {
    file: Arc<File>,
    extent: Extent,
}

impl Content {
    /// How many bytes it has.
    pub const fn size(&self) -> u64 {
        self.extent.size
    }

    /// Reads from `offset` into `buf` until that is full or the content ends; answers how much it read.
    ///
    /// # Errors
    /// What the system says.
    pub fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let left = usize::try_from(self.extent.size.saturating_sub(offset)).unwrap_or(usize::MAX);
        let most = left.min(buf.len());
        read_at(&self.file, &mut buf[..most], self.extent.offset.saturating_add(offset))
    }

    /// All of it, where it has at most `limit` bytes.
    pub(super) fn read_all(&self, limit: u64) -> Result<Vec<u8>, ReadFailure> {
        if self.size() > limit {
            return Err(FileError::TooLarge { size: self.size(), limit }.into());
        }
        let mut bytes = vec![0; usize::try_from(self.size()).unwrap_or_default()];
        let read = self.read_at(&mut bytes, 0)?;
        if read < bytes.len() {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        Ok(bytes)
    }
}

/// Why a file of a source is not read.
#[derive(Debug)]
pub(super) enum ReadFailure {
    System(io::Error),
    File(FileError),
}

impl From<io::Error> for ReadFailure {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

impl From<FileError> for ReadFailure {
    fn from(error: FileError) -> Self {
        Self::File(error)
    }
}

impl ReadFailure {
    /// Says which file of which source it is about.
    pub(super) fn of(self, location: &str, name: &str) -> LocalError {
        match self {
            Self::System(source) => {
                LocalError::Read { location: location.to_owned(), name: name.to_owned(), source }
            }
            Self::File(source) => LocalError::file(location, name, source),
        }
    }
}

impl Store {
    /// Opens the folder, or indexes the tar.
    pub(super) fn open(location: &Location) -> Result<Self, LocalError> {
        let path = location.path();
        let failed = |source| LocalError::Open { location: location.to_string(), source };
        // The user's own path: a link in it is followed.
        let real = path.canonicalize_utf8().map_err(failed)?;
        if real.is_dir() {
            if location.form() == Form::Oci {
                return Ok(Self::Folder(real));
            }
            let (found, expected) =
                ("a folder", "a tar; for a folder with an OCI image layout write oci:DIR");
            return Err(LocalError::NotAFile { location: location.to_string(), found, expected });
        }
        if let Some(found) = special(&real) {
            let location = location.to_string();
            return Err(LocalError::NotAFile { location, found, expected: "a folder or a regular file" });
        }
        let file = open(&real, false).map_err(failed)?;
        Self::of_tar(file, &location.to_string())
    }

    /// Indexes a tar that is open.
    pub(super) fn of_tar(file: File, location: &str) -> Result<Self, LocalError> {
        let failed = |source| LocalError::Open { location: location.to_owned(), source };
        let metadata = file.metadata().map_err(failed)?;
        let mut begin = [0; 8];
        let read = read_at(&file, &mut begin, 0).map_err(failed)?;
        if let Some((format, command)) = compression(&begin[..read]) {
            return Err(LocalError::Compressed { location: location.to_owned(), format, command });
        }
        let index = TarIndex::read(&file, metadata.len());
        let index = index.map_err(|source| LocalError::Archive { location: location.to_owned(), source })?;
        Ok(Self::Tar { file: Arc::new(file), index })
    }

    /// A file; `None` where there is none of this name. Links are refused.
    pub(super) fn get(&self, name: &str) -> Result<Option<Content>, ReadFailure> {
        match self {
            Self::Folder(folder) => {
                let path = folder.join(name);
                let file = match open(&path, false) {
                    Ok(file) => file,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                    Err(error) => {
                        return Err(match special(&path) {
                            Some(kind) => FileError::NotAFile(kind).into(),
                            None => error.into(),
                        });
                    }
                };
                let metadata = file.metadata()?;
                if !metadata.is_file() {
                    let kind = special(&path).unwrap_or("not a regular file");
                    return Err(FileError::NotAFile(kind).into());
                }
                let extent = Extent { offset: 0, size: metadata.len() };
                Ok(Some(Content { file: Arc::new(file), extent }))
            }
            Self::Empty => Ok(None),
            Self::Tar { file, index } => match index.get(name) {
                None => Ok(None),
                Some(Entry::File(extent)) => Ok(Some(Content { file: Arc::clone(file), extent: *extent })),
                Some(Entry::Link(_)) => Err(FileError::NotAFile("a link").into()),
            },
        }
    }

    /// A file, or the one that a link to another entry of the archive leads to.
    pub(super) fn follow(&self, name: &str) -> Result<Option<Content>, ReadFailure> {
        match self {
            Self::Folder(_) | Self::Empty => self.get(name),
            Self::Tar { file, index } => {
                Ok(index.follow(name).map(|extent| Content { file: Arc::clone(file), extent }))
            }
        }
    }

    /// The content of a file of at most `limit` bytes; `None` where there is none of this name.
    pub(super) fn read(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>, ReadFailure> {
        self.get(name)?.map(|content| content.read_all(limit)).transpose()
    }
}
