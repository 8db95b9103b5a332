// SPDX-License-Identifier: Apache-2.0
//! What can be wrong with a source that is no registry.

use std::io;

use thiserror::Error;

use super::daemon::DaemonError;
use super::limits::{MAX_ENTRIES, MAX_EXTENSION, MAX_NAMES};
use super::location::Form;
use crate::error::{Classify, DRIVE_FAILED, ErrorKind, io_kind, is_drive_failure};
use crate::json::JsonError;
use crate::oci::digest::{ContentMismatch, Digest, ParseDigestError};

/// Why a tar is not read.
#[derive(Debug, Error)]
pub enum ArchiveError {
    /// Reading failed.
    #[error("byte {offset} cannot be read: {source}")]
    Read {
        /// Where in the file.
        offset: u64,
        /// What the system says.
        source: io::Error,
    },
    /// The file ends inside of an entry.
    #[error("it is incomplete: {name} ends at byte {end}, and the file has {size} bytes")]
    Incomplete {
        /// The entry.
        name: String,
        /// Where it should end.
        end: u64,
        /// Bytes of the file.
        size: u64,
    },
    /// What should be the header of an entry is none.
    #[error("there is no valid header at byte {offset}: {reason}")]
    Header {
        /// Where in the file.
        offset: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// A name that leads out of the archive.
    #[error("the name `{0}` leads out of the archive")]
    Outside(String),
    /// An entry of a kind that no image archive needs.
    #[error("{name} is {kind}")]
    Entry {
        /// The entry.
        name: String,
        /// What it is.
        kind: &'static str,
    },
    /// Two readers would read two different contents under one name.
    #[error("{0} is in it twice, with different content")]
    Duplicate(String),
    /// More entries than are accepted.
    #[error("it has more than {MAX_ENTRIES} entries, or their names have more than {MAX_NAMES} bytes")]
    TooMany,
    /// A header extension that is larger than is accepted.
    #[error(
        "the extended header at byte {offset} has {size} bytes, more than the {MAX_EXTENSION} that are accepted"
    )]
    Extension {
        /// Where in the file.
        offset: u64,
        /// Its bytes.
        size: u64,
    },
}

/// Why a file inside of a source is not accepted.
#[derive(Debug, Error)]
pub enum FileError {
    /// Not JSON of the expected shape, or too large.
    #[error("it cannot be read: {0}")]
    Json(#[from] JsonError),
    /// It is larger than is accepted.
    #[error("it has {size} bytes, more than the {limit} that are accepted")]
    TooLarge {
        /// Its bytes.
        size: u64,
        /// Bytes that are accepted.
        limit: u64,
    },
    /// It is a link, a folder or a device.
    #[error("it is {0}; expected a regular file")]
    NotAFile(&'static str),
    /// It lists more than is accepted.
    #[error("it lists more than {limit} {what}")]
    TooMany {
        /// What it lists.
        what: &'static str,
        /// How many are accepted.
        limit: usize,
    },
    /// It does not have the digest that names it.
    #[error(transparent)]
    Content(#[from] ContentMismatch),
    /// A digest in it is none.
    #[error(transparent)]
    Digest(#[from] ParseDigestError),
    /// The config of an image states another number of layers than there are.
    #[error("it states {stated} layers, and the archive has {present} for the image")]
    Layers {
        /// By the config.
        stated: usize,
        /// By the archive.
        present: usize,
    },
    /// A layer of `docker save` that is compressed, so that no digest that the config states names it.
    #[error("it is compressed with {0}, and the config of the image names only its uncompressed content")]
    CompressedLayer(&'static str),
    /// One digest for contents of two sizes.
    #[error("{digest} is described with {one} and with {other} bytes")]
    Sizes {
        /// The content.
        digest: Digest,
        /// One size.
        one: u64,
        /// The other size.
        other: u64,
    },
}

/// Why a source cannot be used. `location` is how the user named it.
#[derive(Debug, Error)]
pub enum LocalError {
    /// The images of a daemon cannot be read.
    #[error(transparent)]
    Daemon(#[from] DaemonError),
    /// It cannot be opened.
    #[error("cannot open {location}: {source}")]
    Open {
        /// The source.
        location: String,
        /// What the system says.
        source: io::Error,
    },
    /// It is neither a folder nor a regular file, or it is the other one of them.
    #[error("{location} is {found}; expected {expected}")]
    NotAFile {
        /// The source.
        location: String,
        /// What it is.
        found: &'static str,
        /// What it should be.
        expected: &'static str,
    },
    /// A compressed file has to be unpacked from its beginning to find anything in it.
    #[error("{location} is compressed with {format}")]
    Compressed {
        /// The source.
        location: String,
        /// How.
        format: &'static str,
        /// The command that unpacks it.
        command: &'static str,
    },
    /// It has neither the files of an OCI image layout nor those of `docker save`.
    #[error("{location} is no {expected}: it has no {missing}")]
    Unknown {
        /// The source.
        location: String,
        /// What it is said to be.
        expected: &'static str,
        /// The file that makes one.
        missing: &'static str,
        /// What it is instead, where that is known.
        other: Option<&'static str>,
    },
    /// The tar is not acceptable.
    #[error("{location} is not acceptable: {source}")]
    Archive {
        /// The source.
        location: String,
        /// What is wrong with it.
        source: ArchiveError,
    },
    /// A file in it is not acceptable.
    #[error("{name} in {location} is not acceptable: {source}")]
    File {
        /// The source.
        location: String,
        /// The file.
        name: String,
        /// What is wrong with it.
        source: FileError,
    },
    /// A file in it cannot be read.
    #[error("cannot read {name} in {location}: {source}")]
    Read {
        /// The source.
        location: String,
        /// The file.
        name: String,
        /// What the system says.
        source: io::Error,
    },
    /// It has an image, but not all of it.
    #[error("{name} is not in {location}")]
    Missing {
        /// The source.
        location: String,
        /// What is missing.
        name: String,
    },
    /// One name for several images.
    #[error("{location} has {} images under the name {name}: {}", .digests.len(), shown(.digests))]
    Ambiguous {
        /// The source.
        location: String,
        /// The name.
        name: String,
        /// What it stands for.
        digests: Vec<Digest>,
    },
}

fn shown(digests: &[Digest]) -> String {
    crate::error::shortened(digests, 3, ", ")
}

impl LocalError {
    pub(super) fn file(location: &str, name: &str, source: impl Into<FileError>) -> Self {
        Self::File { location: location.to_owned(), name: name.to_owned(), source: source.into() }
    }

    /// Content that is not what its digest says.
    pub(crate) fn content(location: String, digest: &Digest, source: ContentMismatch) -> Self {
        Self::File { location, name: digest.to_string(), source: source.into() }
    }
}

impl Classify for LocalError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Daemon(source) => source.kind(),
            Self::Open { source, .. } if source.kind() == io::ErrorKind::NotFound => ErrorKind::Usage,
            Self::Open { source, .. }
            | Self::Read { source, .. }
            | Self::Archive { source: ArchiveError::Read { source, .. }, .. } => io_kind(source),
            Self::NotAFile { .. }
            | Self::Compressed { .. }
            | Self::Unknown { .. }
            | Self::Ambiguous { .. }
            | Self::File { source: FileError::CompressedLayer(_), .. } => ErrorKind::Usage,
            Self::Archive { source: ArchiveError::Incomplete { .. }, .. } | Self::Missing { .. } => {
                ErrorKind::Incomplete
            }
            Self::Archive { .. } | Self::File { .. } => ErrorKind::Corrupt,
        }
    }

    fn help(&self) -> Option<String> {
        match self {
            Self::Daemon(source) => source.help(),
            Self::Open { source, .. }
            | Self::Read { source, .. }
            | Self::Archive { source: ArchiveError::Read { source, .. }, .. }
                if is_drive_failure(source) =>
            {
                Some(DRIVE_FAILED.to_owned())
            }
            Self::Open { location, source } if source.kind() == io::ErrorKind::NotFound => {
                let (form, path) = location.split_once(':')?;
                let (path, name) = path.split_once(':')?;
                // As skopeo has it.
                Some(format!(
                    "name only the file, without an image: --from {form}:{path}. krs takes the images that the sets name, here without `{name}`"
                ))
            }
            Self::Compressed { command, .. } => Some(format!(
                "unpack it first, so that images can be found in it without reading all of it: {command}"
            )),
            Self::Unknown { other: Some(other), location, .. } => {
                let path = location.split_once(':').map_or(location.as_str(), |(_, path)| path);
                Some(format!("it is {other}: --from {}:{path}", other_form(other)))
            }
            Self::Unknown { .. } => Some(
                "an OCI image layout is written by `skopeo copy … oci:DIR`, `crane pull --format=oci`, `ctr images export` and others; a Docker archive by `docker save`"
                    .to_owned(),
            ),
            Self::Archive { source: ArchiveError::Incomplete { .. }, .. } => {
                Some("copy or export it again".to_owned())
            }
            Self::File { source: FileError::CompressedLayer(_), .. } => Some(
                "export the image as an OCI image layout, which keeps its digest: crane pull --format=oci IMAGE DIR, or skopeo copy docker://IMAGE oci:DIR"
                    .to_owned(),
            ),
            Self::Missing { .. } => Some(
                "export the image again with all its platforms (skopeo copy --all, ctr images export --all-platforms; for a daemon first docker pull --platform), or choose those that are there with `platforms` or --platform; without --from for it, krs reads the image from its registry"
                    .to_owned(),
            ),
            Self::Ambiguous { .. } => {
                Some("pin the digest of the image in the set: image: NAME:TAG@sha256:…".to_owned())
            }
            Self::Archive { .. } | Self::File { .. } => {
                Some("export it again with the program that wrote it".to_owned())
            }
            Self::Open { .. } | Self::Read { .. } => {
                Some("check the path and the permissions, and that the drive is mounted".to_owned())
            }
            Self::NotAFile { .. } => None,
        }
    }
}

/// The form of what an archive is instead.
fn other_form(other: &str) -> &'static str {
    if other.contains("Docker") { Form::DockerArchive.name() } else { Form::Oci.name() }
}
