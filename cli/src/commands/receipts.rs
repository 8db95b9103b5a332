// SPDX-License-Identifier: Apache-2.0
//! Receipts as files, in folders of a courier's drive, and as text in a call.

use std::io::{self, Read as _};

use camino::{Utf8Path, Utf8PathBuf};
use jiff::{SignedDuration, Timestamp};
use krs_core::bundle::sign::{PublicKey, SIGNATURES_SIZE};
use krs_core::files as core_files;
use krs_core::sync::receipt::{
    AnyReceipt, MAX_RECEIPT, Origin, Receipt, SHORT_RECEIPT_PREFIX, ShortReceipt, SiteKey, SiteKeys,
    SiteName, SiteReceipt,
};

use super::{files, keys};
use crate::args::{SiteKeyFile, SiteKeyFiles};
use crate::diagnostic::Failure;

/// Where an importer writes receipts on media.
pub(super) const MEDIA_FOLDER: &str = "KRS-RECEIPTS";
/// How the files of receipts end that are found in a folder.
const SUFFIXES: [&str; 2] = [".receipt.json", ".receipt.txt"];
/// Most receipts in one folder.
const MAX_IN_FOLDER: usize = 10_000;
/// From what age on a receipt is called old.
const OLD: SignedDuration = SignedDuration::from_hours(30 * 24);
/// How far ahead the clock of a site may be.
const AHEAD: SignedDuration = SignedDuration::from_hours(24);

/// A receipt, with what is known about who made it.
#[derive(Debug)]
pub(super) enum ReadReceipt {
    /// Of one registry; it is never signed.
    Registry(Receipt),
    /// Of a site.
    Site(SiteReceipt, Origin),
    /// Of one bundle.
    Short(ShortReceipt, Origin),
}

impl ReadReceipt {
    /// The site that it names, and when it was made.
    pub(super) fn site(&self) -> Option<(&SiteName, Timestamp)> {
        match self {
            Self::Registry(_) => None,
            Self::Site(receipt, _) => Some((&receipt.site, receipt.created_at)),
            Self::Short(receipt, _) => Some((&receipt.content().site, receipt.content().created_at)),
        }
    }

    /// What a person should know before it is used. `keys`: whether keys of sites are known.
    pub(super) fn remarks(&self, keys: &SiteKeys, now: Timestamp) -> Vec<String> {
        let origin = match self {
            Self::Registry(_) => return Vec::new(),
            Self::Site(_, origin) | Self::Short(_, origin) => origin,
        };
        let Some((site, created_at)) = self.site() else { return Vec::new() };
        let mut remarks = Vec::new();
        let age = now.duration_since(created_at);
        if age > OLD {
            let days = age.as_hours() / 24;
            remarks.push(format!(
                "the receipt of site {site} is {days} days old ({created_at}); what was removed there since is not known, and a bundle that assumes it is refused there"
            ));
        } else if age < -AHEAD {
            remarks.push(format!(
                "the receipt of site {site} is of {created_at}, which is in the future: the clock of the site or of this machine is wrong"
            ));
        }
        let unknown = match origin {
            Origin::UnknownKey(ids) if !keys.0.is_empty() => {
                let ids = ids.iter().map(|id| format!("key {id}")).collect::<Vec<_>>().join(" and ");
                Some(format!("is signed by {ids}, which --site-key does not name"))
            }
            Origin::NotSigned if !keys.0.is_empty() => Some("is not signed".to_owned()),
            Origin::Verified(_) | Origin::UnknownKey(_) | Origin::NotSigned => None,
        };
        remarks.extend(
            unknown.map(|what| format!("the receipt of site {site} {what}: who made it was not verified")),
        );
        remarks
    }
}

/// The keys of sites of a call.
///
/// # Errors
/// A file that cannot be read, or is no public key.
pub(super) fn site_keys(files: &SiteKeyFiles) -> Result<SiteKeys, Failure> {
    let read = |SiteKeyFile { site, file }: &SiteKeyFile| {
        let key = PublicKey::parse(&keys::read_public_key(file)?, file.as_str())?;
        Ok(SiteKey { site: site.clone(), key })
    };
    files.files.iter().map(read).collect::<Result<_, Failure>>().map(SiteKeys)
}

/// Whether a value of a call is a receipt itself and not the name of a file.
pub(super) fn is_text(value: &Utf8Path) -> bool {
    value.as_str().trim_start().starts_with(SHORT_RECEIPT_PREFIX)
}

/// Whether a file is named as receipts are.
pub(super) fn is_receipt_name(path: &Utf8Path) -> bool {
    let name = path.file_name().unwrap_or_default();
    SUFFIXES.iter().any(|suffix| name.ends_with(suffix)) && !name.starts_with('.')
}

/// Reads the receipts that one value of a call stands for: a file, standard input (`-`), a folder with receipts, the root
/// of a drive with such a folder, or short receipts themselves.
///
/// # Errors
/// One that cannot be read, is no receipt, or has a signature that does not fit; a folder without receipts.
pub(super) fn read(value: &Utf8Path, keys: &SiteKeys) -> Result<Vec<ReadReceipt>, Failure> {
    if is_text(value) {
        return of_bytes(value.as_str().as_bytes(), None, keys);
    }
    if !value.is_dir() {
        return read_file(value, keys);
    }
    let files = in_folder(value)?;
    if files.is_empty() {
        return Err(Failure::usage(format!("{value} has no receipts"))
            .help(format!("their names end in {} or {}", SUFFIXES[0], SUFFIXES[1])));
    }
    let mut receipts = Vec::new();
    for file in files {
        receipts.extend(read_file(&file, keys)?);
    }
    Ok(receipts)
}

/// The files of receipts in a folder, or in the folder of receipts in it, sorted by name.
///
/// # Errors
/// The folder cannot be read, or has too many.
pub(super) fn in_folder(folder: &Utf8Path) -> Result<Vec<Utf8PathBuf>, Failure> {
    let on_media = folder.join(MEDIA_FOLDER);
    let folder = if on_media.is_dir() { on_media.as_path() } else { folder };
    let cannot = |error: io::Error| Failure::other(format!("cannot read {folder}: {error}"));
    let mut files = Vec::new();
    for entry in folder.read_dir_utf8().map_err(cannot)? {
        let entry = entry.map_err(cannot)?;
        if is_receipt_name(entry.path()) {
            files.push(entry.into_path());
        }
        if files.len() > MAX_IN_FOLDER {
            return Err(Failure::usage(format!("{folder} has more than {MAX_IN_FOLDER} receipts")));
        }
    }
    files.sort_unstable();
    Ok(files)
}

/// Reads a file with receipts, and the signature beside it.
///
/// # Errors
/// As for [`read`].
pub(super) fn read_file(path: &Utf8Path, keys: &SiteKeys) -> Result<Vec<ReadReceipt>, Failure> {
    let receipts = read_unnamed(path, keys);
    receipts.map_err(|failure| if path == "-" { failure } else { failure.at(path) })
}

/// [`read_file`], also of short receipts as text, with failures that do not name the file.
///
/// # Errors
/// As for [`read`].
pub(super) fn read_unnamed(path: &Utf8Path, keys: &SiteKeys) -> Result<Vec<ReadReceipt>, Failure> {
    if is_text(path) {
        return of_bytes(path.as_str().as_bytes(), None, keys);
    }
    let bytes = read_bytes(path)?;
    of_bytes(&bytes, signature(path)?.as_deref(), keys)
}

fn read_bytes(path: &Utf8Path) -> Result<Vec<u8>, Failure> {
    if path != "-" {
        return files::receipt_bytes(path);
    }
    let mut bytes = Vec::new();
    let read = io::stdin().lock().take(MAX_RECEIPT as u64 + 1).read_to_end(&mut bytes);
    read.map_err(|e| Failure::other(format!("cannot read {path}: {e}")))?;
    Ok(bytes)
}

/// The detached signature beside a file, where there is one.
fn signature(path: &Utf8Path) -> Result<Option<Vec<u8>>, Failure> {
    let beside = Utf8PathBuf::from(format!("{path}.minisig"));
    match core_files::read_file(&beside, SIGNATURES_SIZE as u64) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failure::other(format!("cannot read {beside}: {error}"))),
    }
}

fn of_bytes(bytes: &[u8], signature: Option<&[u8]>, keys: &SiteKeys) -> Result<Vec<ReadReceipt>, Failure> {
    Ok(match AnyReceipt::parse(bytes)? {
        AnyReceipt::Registry(receipt) => vec![ReadReceipt::Registry(receipt)],
        AnyReceipt::Site(receipt) => {
            let origin = keys.check_file(bytes, &receipt.site, signature)?;
            vec![ReadReceipt::Site(receipt, origin)]
        }
        AnyReceipt::Short(receipts) => {
            let check = |receipt: ShortReceipt| {
                let origin = keys.check_short(&receipt)?;
                Ok(ReadReceipt::Short(receipt, origin))
            };
            receipts.into_iter().map(check).collect::<Result<_, Failure>>()?
        }
    })
}
