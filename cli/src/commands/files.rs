// SPDX-License-Identifier: Apache-2.0
//! Files that are read and written completely, and bundles that are opened without asking who made them.

use std::fs::File;
use std::io::{self, Read as _};
use std::sync::Arc;

use camino::{Utf8Path, Utf8PathBuf};
use krs_core::bundle::sign::Trust;
use krs_core::bundle::{self, Bundle, BundledImages, Freshness, Policy};
use krs_core::sync::receipt::{MAX_RECEIPT, Receipt};

use crate::diagnostic::Failure;
use crate::replace_file::{Access, replace_file, replace_file_if};

/// Whether a path is named as bundles and their volumes are.
pub(super) fn is_bundle(path: &Utf8Path) -> bool {
    let name = path.as_str();
    name.ends_with(".krs.tar") || name.ends_with(".krs.json") || bundle::volume_of(path).is_some()
}

/// Opens a bundle of which only the structure matters: what is taken out of it is compared with digests that others vouch
/// for.
///
/// # Errors
/// The first check that failed.
pub(super) fn open_anyones(path: &Utf8Path, folders: &[Utf8PathBuf]) -> Result<Bundle, Failure> {
    let policy = Policy { trust: Trust::Anyone, freshness: Freshness::default() };
    Ok(Bundle::open_with(path, folders, &policy)?)
}

/// Earlier bundles that blobs are taken from.
///
/// # Errors
/// One that cannot be opened.
pub(super) fn reusable(paths: &[Utf8PathBuf]) -> Result<Vec<Arc<Bundle>>, Failure> {
    paths.iter().map(|path| open_anyones(path, &[]).map(Arc::new)).collect()
}

/// Reads a receipt.
///
/// # Errors
/// A file that cannot be read, or is none.
pub(super) fn read_receipt(path: &Utf8Path) -> Result<Receipt, Failure> {
    let bytes = receipt_bytes(path)?;
    Receipt::parse(&bytes).map_err(|e| Failure::from(e).at(path))
}

/// The content of a file; of one that is larger than any receipt the beginning.
///
/// # Errors
/// It cannot be read.
pub(super) fn receipt_bytes(path: &Utf8Path) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|e| Failure::usage(format!("cannot read {path}: {e}")))?;
    let read = file.take(MAX_RECEIPT as u64 + 1).read_to_end(&mut bytes);
    read.map_err(|e| Failure::other(format!("cannot read {path}: {e}")))?;
    Ok(bytes)
}

/// A bundle with its images, as a side of a comparison.
///
/// # Errors
/// The first check that failed.
pub(super) fn with_images(path: &Utf8Path) -> Result<(Bundle, BundledImages), Failure> {
    let bundle = open_anyones(path, &[])?;
    let images = bundle.images()?;
    Ok((bundle, images))
}

/// Replaces a file that messages call `shown`, if its content is still `old`.
///
/// # Errors
/// What the system says, or that the file was changed; it is then as it was.
pub(super) fn replace_unchanged(
    path: &Utf8Path,
    shown: &str,
    old: &[u8],
    content: &[u8],
) -> Result<(), Failure> {
    match replace_file_if(path, content, Access::Inherited, old) {
        Ok(true) => Ok(()),
        Ok(false) => Err(Failure::other(format!("{shown} was changed while krs ran, and was not written"))
            .help("run the same command again")),
        Err(error) => Err(cannot_write(Utf8Path::new(shown), &error)),
    }
}

/// Replaces a file that others may read.
///
/// # Errors
/// What the system says; the file is then as it was.
pub(super) fn replace(path: &Utf8Path, content: &[u8]) -> Result<(), Failure> {
    replace_file(path, content, Access::Inherited).map_err(|error| cannot_write(path, &error))
}

fn cannot_write(path: &Utf8Path, error: &io::Error) -> Failure {
    Failure::new(krs_core::error::io_kind(error), format!("cannot write {path}: {error}"))
        .help(krs_core::error::help_against_write(error))
}
