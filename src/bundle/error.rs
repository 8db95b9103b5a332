// SPDX-License-Identifier: Apache-2.0
//! Everything that can be wrong with a bundle. Each error names the file, what was expected, what was found, and what to
//! do next.

use std::io;

use camino::Utf8PathBuf;
use jiff::Timestamp;
use thiserror::Error;

use super::format::error::ManifestError;
use super::format::freshness::RollbackError;
use super::format::layout::HeaderError;
use super::format::volumes::is_renamed;
use crate::bundle::sign::SignError;
use crate::error::{Classify, DRIVE_FAILED, ErrorKind, help_against_write, io_kind, is_drive_failure};
use crate::format::FORMAT_VERSION;
use crate::oci::closure::ClosureError;
use crate::oci::digest::{ContentMismatch, Digest};
use crate::set::SetError;

/// Why a bundle is refused, or cannot be written.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages explain the fields")]
pub enum BundleError {
    /// The file cannot be opened.
    #[error("cannot open {path}: {source}")]
    Open { path: Utf8PathBuf, source: io::Error },
    /// A link, pipe, device or folder. (T-10, T-12, T-13)
    #[error("{path} is {what}; expected a regular file")]
    Special { path: Utf8PathBuf, what: &'static str },
    /// Reading from the media fails. (T-35)
    #[error("cannot read {path} at byte {offset}: {source}")]
    Read { path: Utf8PathBuf, offset: u64, source: io::Error },
    /// Writing fails.
    #[error("cannot write {path}: {source}")]
    Write { path: Utf8PathBuf, source: io::Error },
    /// Another run writes the same archive.
    #[error("{path} is being written by another krs")]
    Busy { path: Utf8PathBuf },
    /// The file system cannot hold a file of this size. (T-34)
    #[error(
        "{path}: the file system can hold files of at most {limit} bytes (it is FAT), and this one has {size}"
    )]
    FileLimit {
        path: Utf8PathBuf,
        size: u64,
        /// The limit, in bytes.
        limit: u64,
    },
    /// The volumes are so small that there would be too many.
    #[error("{path} would have {count} volumes, more than {most}")]
    ManyVolumes { path: Utf8PathBuf, count: u64, most: u64 },
    /// An archive has the name that volumes are to have.
    #[error("{path} is there already, as one file; it would be read in place of the volumes")]
    InTheWay { path: Utf8PathBuf },
    /// Somebody compressed the archive. (T-24)
    #[error("{path} is compressed with {with}; expected a plain tar archive")]
    Compressed { path: Utf8PathBuf, with: &'static str },
    /// The file is not a bundle.
    #[error("{path} is not a krs bundle: {reason}")]
    NotABundle {
        path: Utf8PathBuf,
        /// Why it is not one.
        reason: String,
    },
    /// The file ends too early. (T-20, T-21)
    #[error(
        "{path} is incomplete: it has {got} bytes, expected {expected}; the first thing that is missing is {missing}"
    )]
    Incomplete {
        path: Utf8PathBuf,
        /// Bytes that it should have, as far as is known.
        expected: u64,
        /// Bytes that it has.
        got: u64,
        /// The first part that is missing.
        missing: String,
    },
    /// Volumes are missing or incomplete. (T-33)
    #[error("{path} is incomplete: {}", volumes(.incomplete, *.count))]
    Volumes {
        path: Utf8PathBuf,
        /// How many volumes it has, if that is known.
        count: Option<u64>,
        /// The missing and incomplete ones.
        incomplete: Vec<IncompleteVolume>,
    },
    /// There are bytes after the end. (T-19)
    #[error("{path} has {got} bytes, {} more than expected", got - expected)]
    Trailing {
        path: Utf8PathBuf,
        /// Bytes that it should have.
        expected: u64,
        /// Bytes that it has.
        got: u64,
    },
    /// Volumes of this name that belong to another bundle. (T-227)
    #[error("beside {path} lie volumes that do not belong to it: {}", .names.join(", "))]
    ForeignVolumes { path: Utf8PathBuf, names: Vec<String> },
    /// The signature is missing or not acceptable.
    #[error("{path} is not trusted: {source}")]
    Signature {
        path: Utf8PathBuf,
        /// Why not.
        source: SignError,
    },
    /// `krs/bundle.json` is not acceptable.
    #[error("{path}: its manifest krs/bundle.json is not acceptable: {source}")]
    Manifest {
        path: Utf8PathBuf,
        /// Why not.
        source: ManifestError,
    },
    /// Older than, or contradicting, what was accepted before. (T-27, T-28)
    #[error("{path} is refused: {source}")]
    Rollback {
        path: Utf8PathBuf,
        /// Why.
        source: RollbackError,
    },
    /// For other sites. (T-26)
    #[error("{path} is for {expected}, not for {got}")]
    Audience {
        path: Utf8PathBuf,
        /// Sites that it is for.
        expected: String,
        /// This site.
        got: String,
    },
    /// Past its end. (T-30)
    #[error("{path} expired at {not_after}; the clock says {now}")]
    Expired {
        path: Utf8PathBuf,
        not_after: Timestamp,
        /// The time that it was compared with.
        now: Timestamp,
    },
    /// Bytes outside the blobs are not what follows from the manifest.
    #[error("{path} is damaged: {part} (at byte {offset}) is not as expected")]
    Damaged {
        path: Utf8PathBuf,
        /// What.
        part: String,
        offset: u64,
    },
    /// A blob or set is not what its digest says.
    #[error("{path} is damaged: {name} (at byte {offset}): {source}")]
    Content {
        path: Utf8PathBuf,
        /// Which.
        name: String,
        /// Where its content begins.
        offset: u64,
        source: ContentMismatch,
    },
    /// Reading back from the media gives other bytes than were written. (T-213)
    #[error("{path} does not hold what was written to it: {name}: {source}")]
    NotKept {
        path: Utf8PathBuf,
        /// What.
        name: String,
        source: ContentMismatch,
    },
    /// An image is incomplete or malformed.
    #[error("{path}: image {image} is not acceptable: {source}")]
    Image {
        path: Utf8PathBuf,
        image: String,
        /// Why.
        source: ClosureError,
    },
    /// An image needs a blob that the manifest does not list, or lists with another size.
    #[error("{path}: image {image} needs {digest} ({size} bytes), which the bundle does not hold")]
    BlobMissing { path: Utf8PathBuf, image: String, digest: Digest, size: u64 },
    /// An image is marked as complete and is not, or the other way round.
    #[error("{path}: image {image} and what the bundle says of its layers do not agree")]
    Partial { path: Utf8PathBuf, image: String },
    /// A blob that no image needs.
    #[error("{path} lists blob {digest}, which belongs to none of its images")]
    Stray { path: Utf8PathBuf, digest: Digest },
    /// A set in the archive is not acceptable.
    #[error("{path}: {source}")]
    Set {
        path: Utf8PathBuf,
        /// Why.
        source: Box<SetError>,
    },
    /// The sets and the list of images do not agree.
    #[error("{path}: {reason}")]
    SetImages {
        path: Utf8PathBuf,
        /// How.
        reason: String,
    },
    /// A name that does not fit the archive.
    #[error(transparent)]
    Header(#[from] HeaderError),
}

/// A volume that is missing or truncated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IncompleteVolume {
    /// Name of the volume's file.
    pub name: String,
    /// Bytes that it should have, if that is known.
    pub expected: Option<u64>,
    /// Bytes that it has, if it is there.
    pub got: Option<u64>,
    /// Its content, for a message.
    pub holds: String,
}

fn volumes(incomplete: &[IncompleteVolume], count: Option<u64>) -> String {
    let of = count.map(|count| format!(" of {count}")).unwrap_or_default();
    let one = |volume: &IncompleteVolume| {
        let IncompleteVolume { name, holds, .. } = volume;
        match (volume.got, volume.expected) {
            (None, _) => format!("volume {name}{of} is missing; it holds {holds}"),
            (Some(got), Some(expected)) => {
                format!("volume {name}{of} has {got} bytes, expected {expected}; it holds {holds}")
            }
            (Some(got), None) => format!("volume {name}{of} ends after {got} bytes; it holds {holds}"),
        }
    };
    incomplete.iter().map(one).collect::<Vec<_>>().join("\n  ")
}

/// Help for a file that ends too early.
const COPY_AGAIN: &str = "wait until the copy is complete, or copy the bundle again from where it was made";

impl Classify for BundleError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Signature { source, .. } => source.kind(),
            Self::Rollback { .. } | Self::Expired { .. } | Self::Audience { .. } => ErrorKind::Rollback,
            Self::Incomplete { .. } | Self::Volumes { .. } => ErrorKind::Incomplete,
            Self::Read { source, .. } => io_kind(source),
            Self::Open { source, .. } | Self::Write { source, .. } => {
                if io_kind(source) == ErrorKind::NoSpace { ErrorKind::NoSpace } else { ErrorKind::Other }
            }
            Self::Header(_) | Self::Busy { .. } => ErrorKind::Other,
            Self::FileLimit { .. } => ErrorKind::NoSpace,
            Self::ManyVolumes { .. } | Self::InTheWay { .. } | Self::ForeignVolumes { .. } => {
                ErrorKind::Usage
            }
            Self::Special { .. }
            | Self::Compressed { .. }
            | Self::NotABundle { .. }
            | Self::Trailing { .. }
            | Self::Manifest { .. }
            | Self::Damaged { .. }
            | Self::Content { .. }
            | Self::NotKept { .. }
            | Self::Image { .. }
            | Self::BlobMissing { .. }
            | Self::Partial { .. }
            | Self::Stray { .. }
            | Self::Set { .. }
            | Self::SetImages { .. } => ErrorKind::Corrupt,
        }
    }

    fn help(&self) -> Option<String> {
        let text = match self {
            Self::Signature { source, .. } => return source.help(),
            Self::Open { source, .. } | Self::Read { source, .. } if is_drive_failure(source) => DRIVE_FAILED,
            Self::Open { .. } => "check the path, the permissions, and that the drive is mounted",
            Self::Special { .. } => "pass the file itself",
            // The file was open, and its folder is empty now: the drive was removed.
            Self::Read { source, .. } if source.kind() == io::ErrorKind::NotFound => DRIVE_FAILED,
            Self::Read { source, .. } if source.kind() == io::ErrorKind::UnexpectedEof => COPY_AGAIN,
            Self::Read { .. } => "the drive may be failing: copy the bundle again, onto another one",
            Self::Write { source, .. } => help_against_write(source),
            Self::NotKept { .. } => {
                "the drive is failing, or holds less than it says: run the same command again, with another drive"
            }
            Self::FileLimit { .. } => {
                "write volumes: --volume-size 3900MiB; or format the drive as exFAT or ext4"
            }
            Self::ForeignVolumes { .. } => {
                "they are left from another bundle of this name, and the bundle itself is complete: remove them"
            }
            Self::ManyVolumes { .. } => "choose a larger --volume-size",
            Self::InTheWay { .. } => "remove it, or give the volumes another name",
            Self::Busy { .. } => "wait until it is done, or give this one another name",
            Self::Compressed { with: "gzip", .. } => "decompress it first: gzip -d FILE",
            Self::Compressed { with: "ZIP", .. } => "unpack it, and pass the .krs.tar inside",
            Self::Compressed { .. } => "decompress it first: zstd -d FILE",
            Self::NotABundle { path, .. } | Self::Incomplete { path, .. } if is_renamed(path) => {
                "it seems to be a volume that was renamed: give each volume its name again, NAME.krs.tar.001, \
                 NAME.krs.tar.002 and so on, and pass one of them"
            }
            Self::NotABundle { .. } => "pass a file that `krs bundle` wrote",
            Self::Incomplete { .. } => COPY_AGAIN,
            Self::Volumes { .. } => {
                "put all volumes into one folder, or name the other folders with --volumes; copy a cut one again"
            }
            Self::Manifest { source: ManifestError::Version(_), .. } => {
                return Some(format!(
                    "update krs, or ask for a bundle that was made with krs bundle --format-version {FORMAT_VERSION}"
                ));
            }
            Self::Rollback { .. } => "use the newest bundle of the stream",
            Self::Audience { .. } => "ask for a bundle for this site",
            Self::Expired { .. } => "ask for a newer bundle, and check the clock",
            Self::Header(_) => return None,
            _ => "copy the bundle again from where it was made; if that does not help, make it again",
        };
        Some(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t255_a_file_that_was_open_and_is_away_is_on_a_drive_that_is_gone() {
        let read = |kind: io::ErrorKind| {
            BundleError::Read { path: "/usb/a.krs.tar".into(), offset: 512, source: kind.into() }.help()
        };
        assert_eq!(read(io::ErrorKind::NotFound).as_deref(), Some(DRIVE_FAILED));
        assert_ne!(read(io::ErrorKind::UnexpectedEof).as_deref(), Some(DRIVE_FAILED));
    }
}
