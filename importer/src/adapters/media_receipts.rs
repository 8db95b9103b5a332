// SPDX-License-Identifier: Apache-2.0
//! The receipt of the site on the media that bring bundles: `KRS-RECEIPTS/SITE.DIGEST.receipt.json` and its signature, through
//! a mount that nothing else uses. Blocking.
//!
//! A stranger may have prepared the media: no symbolic link is followed, and every step is relative to a folder
//! that is open already, so that nothing outside of `KRS-RECEIPTS` is written or removed.

use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use camino::{Utf8Component, Utf8Path};
use krs_core::oci::digest::Digest;
use krs_core::sync::receipt::{MAX_RECEIPT, SiteName};
use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, fstat, fsync, mkdirat, openat, renameat, unlinkat};
use rustix::io::Errno;
use thiserror::Error;

/// The folder on the media.
pub const FOLDER: &str = "KRS-RECEIPTS";
/// What the names of receipts end with, and those of their signatures.
const RECEIPT: &str = ".receipt.json";
const SIGNATURE: &str = ".receipt.json.minisig";
/// Ends the names of files that are not complete.
const PART: &str = ".part";
/// Hex digits of the digest in the names of receipts.
const DIGITS: usize = 12;
/// Most names in the folder that are read.
const MAX_NAMES: usize = 10_000;

/// A receipt for media.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaReceipt {
    /// The site.
    pub site: SiteName,
    /// SHA-256 of the receipt.
    pub digest: Digest,
    /// The receipt.
    pub json: Vec<u8>,
    /// Its signature.
    pub signature: String,
}

/// Why a receipt is not on the media.
#[derive(Debug, Error)]
pub enum MediaError {
    /// The system refused.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// What the system says.
        source: io::Error,
    },
    /// Something that is no folder has its name.
    #[error("{0} is no folder, or a symbolic link, which is not followed")]
    NotAFolder(String),
    /// The media went away.
    #[error("the media are not there any more")]
    Gone,
}

fn failed(what: &'static str) -> impl Fn(Errno) -> MediaError {
    move |error| MediaError::Io { what, source: error.into() }
}

/// Writes a receipt into `media`, a folder below `root` on the file system with the number `device`, in place of older ones of
/// the same site.
///
/// # Guarantees
/// A file with the name of a receipt is complete and durable, whenever the media are pulled: it is written under another name,
/// and its signature is there before it. Files that are not receipts of this site stay as they are.
///
/// # Errors
/// [`MediaError`]; what is left of this attempt is removed by the next one.
pub fn write(
    root: &Utf8Path,
    media: &Utf8Path,
    device: u64,
    receipt: &MediaReceipt,
) -> Result<(), MediaError> {
    let folder = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    let open = failed("the mount of the receipts cannot be opened");
    let mut media_folder = openat(CWD, root.as_std_path(), folder, Mode::empty()).map_err(open)?;
    for component in media.components() {
        let Utf8Component::Normal(name) = component else {
            return Err(MediaError::NotAFolder(media.to_string()));
        };
        media_folder = open_folder(media_folder.as_fd(), name)?;
    }
    // Without the media the folder may still be there, as one of the node.
    let found = fstat(&media_folder).map_err(failed("the media cannot be read"))?;
    if found.st_dev != device {
        return Err(MediaError::Gone);
    }
    match mkdirat(&media_folder, FOLDER, Mode::from_raw_mode(0o755)) {
        Ok(()) => fsync(&media_folder).map_err(failed("the folder KRS-RECEIPTS cannot be made durable"))?,
        Err(Errno::EXIST) => {}
        Err(error) => return Err(failed("the folder KRS-RECEIPTS cannot be created")(error)),
    }
    let receipts = open_folder(media_folder.as_fd(), FOLDER)?;
    let stem = format!("{}.{}", receipt.site, receipt.digest.hex().chars().take(DIGITS).collect::<String>());
    let (json, signature) = (format!("{stem}{RECEIPT}"), format!("{stem}{SIGNATURE}"));
    let is_there = holds(receipts.as_fd(), &signature, receipt.signature.as_bytes())
        && holds(receipts.as_fd(), &json, &receipt.json);
    if !is_there {
        write_file(receipts.as_fd(), &signature, receipt.signature.as_bytes())?;
        write_file(receipts.as_fd(), &json, &receipt.json)?;
    }
    remove_older(receipts.as_fd(), &receipt.site, &[&json, &signature])?;
    fsync(&receipts).map_err(failed("the receipt cannot be made durable"))
}

fn open_folder(parent: BorrowedFd<'_>, name: &str) -> Result<OwnedFd, MediaError> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
    openat(parent, name, flags, Mode::empty()).map_err(|error| match error {
        Errno::LOOP | Errno::NOTDIR => MediaError::NotAFolder(name.to_owned()),
        Errno::NOENT => MediaError::Gone,
        error => failed("the folder of the media cannot be opened")(error),
    })
}

/// Whether a file has this content.
fn holds(folder: BorrowedFd<'_>, name: &str, content: &[u8]) -> bool {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::RDONLY | OFlags::CLOEXEC;
    let Ok(file) = openat(folder, name, flags, Mode::empty()) else { return false };
    let mut found = Vec::new();
    let read = std::fs::File::from(file).take(MAX_RECEIPT as u64 + 1).read_to_end(&mut found);
    read.is_ok() && found == content
}

/// Writes a file under another name, makes it durable, and gives it its name.
fn write_file(folder: BorrowedFd<'_>, name: &str, content: &[u8]) -> Result<(), MediaError> {
    let part = format!("{name}{PART}");
    remove(folder, &part)?;
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::WRONLY | OFlags::CLOEXEC;
    let file = openat(folder, part.as_str(), flags, Mode::from_raw_mode(0o644));
    let file = file.map_err(failed("the receipt cannot be created"))?;
    let written = (|| {
        let mut file = std::fs::File::from(file);
        file.write_all(content)?;
        file.sync_all()?;
        // A folder of this name is not replaced, and stays.
        Ok::<_, io::Error>(renameat(folder, part.as_str(), folder, name)?)
    })();
    if let Err(source) = written {
        // On media that are full or gone this may fail, too; the next attempt removes it.
        let _ = unlinkat(folder, part.as_str(), AtFlags::empty());
        return Err(MediaError::Io { what: "the receipt cannot be written", source });
    }
    fsync(folder).map_err(failed("the receipt cannot be made durable"))
}

fn remove(folder: BorrowedFd<'_>, name: &str) -> Result<(), MediaError> {
    match unlinkat(folder, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(failed("an older receipt cannot be removed")(error)),
    }
}

/// Removes other receipts of the site, and what is left of them.
fn remove_older(folder: BorrowedFd<'_>, site: &SiteName, current: &[&str]) -> Result<(), MediaError> {
    let names = Dir::read_from(folder).map_err(failed("the folder KRS-RECEIPTS cannot be read"))?;
    let mut old = Vec::new();
    for entry in names.take(MAX_NAMES) {
        let entry = entry.map_err(failed("the folder KRS-RECEIPTS cannot be read"))?;
        let Ok(name) = entry.file_name().to_str() else { continue };
        if is_of_site(name, site) && !current.contains(&name) {
            old.push(name.to_owned());
        }
    }
    old.iter().try_for_each(|name| remove(folder, name))
}

/// Whether a file is a receipt of the site, the signature of one, or part of either, by its name.
fn is_of_site(name: &str, site: &SiteName) -> bool {
    let name = name.strip_suffix(PART).unwrap_or(name);
    let stem = name.strip_suffix(SIGNATURE).or_else(|| name.strip_suffix(RECEIPT));
    let digits = stem.and_then(|stem| stem.strip_prefix(site.as_str())?.strip_prefix('.'));
    let is_digit = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
    digits.is_some_and(|digits| digits.len() == DIGITS && digits.bytes().all(is_digit))
}

#[cfg(test)]
mod tests;
