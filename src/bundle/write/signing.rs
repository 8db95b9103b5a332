// SPDX-License-Identifier: Apache-2.0
//! Signs a complete bundle and the list of its volumes, in place.

use camino::{Utf8Path, Utf8PathBuf};

use super::list::{encode, replace, write_list};
use super::write_files::Output;
use crate::bundle::disk::hash::hash;
use crate::bundle::error::BundleError;
use crate::bundle::format::error::ManifestError;
use crate::bundle::format::layout::Layout;
use crate::bundle::format::manifest::BundleManifest;
use crate::bundle::format::volumes::{self, VolumeList};
use crate::bundle::read::images::BundledImages;
use crate::bundle::read::list::{FOREIGN_LIST, read_list, read_lists, signature, signature_path};
use crate::bundle::read::open::Bundle;
use crate::bundle::sign::{KeyId, SIGNATURES_SIZE, SecretKey, SignError, Signatures};

/// A bundle that was signed.
#[derive(Debug)]
pub struct SignedBundle {
    /// The manifest whose bytes are signed.
    pub manifest: BundleManifest,
    /// All keys whose signatures it has now.
    pub key_ids: Vec<KeyId>,
    /// What was wrong with the signatures that it had: they were replaced, of whichever key they were.
    pub replaced: Option<SignError>,
}

/// Signs `NAME.krs.json` of the bundle at `path`, which is split into volumes. Each drive can then be verified alone.
///
/// # Errors
/// [`BundleError`] of reading and writing, and of signing.
pub fn sign_list(path: &Utf8Path, key: &SecretKey) -> Result<(), BundleError> {
    match read_list(&volumes::archive_of(path), &[])? {
        Some((list_path, bytes)) => add_signature(&list_path, &bytes, &parse(&list_path, &bytes)?, key),
        None => Ok(()),
    }
}

fn parse(path: &Utf8Path, bytes: &[u8]) -> Result<VolumeList, BundleError> {
    VolumeList::parse(bytes).map_err(|source| BundleError::Manifest { path: path.to_owned(), source })
}

/// Adds a signature to those beside a list. Damaged ones are replaced.
fn add_signature(
    path: &Utf8Path,
    bytes: &[u8],
    list: &VolumeList,
    key: &SecretKey,
) -> Result<(), BundleError> {
    let comment = format!("krs volumes, stream {}, sequence {}", list.stream, list.sequence);
    let mut signatures = Signatures::parse(&signature(path)?).unwrap_or_default();
    let untrusted = |source| BundleError::Signature { path: path.to_owned(), source };
    signatures.sign(bytes, key, &comment).map_err(untrusted)?;
    let text = signatures.text().map_err(untrusted)?;
    replace(&signature_path(path), text.as_bytes())
}

/// Adds a signature to a bundle, in place: no other byte moves. Its volumes may also lie in `folders`; each list of them is
/// written and signed again. Signatures that are damaged are replaced. `check` decides whether the bundle may be signed,
/// before anything is written: usually [`Bundle::verify`], so that a damaged copy is not signed.
///
/// # Errors
/// [`BundleError`] of opening, of `check`, and of signing.
pub fn sign(
    path: &Utf8Path,
    folders: &[Utf8PathBuf],
    key: &SecretKey,
    check: impl FnOnce(&Bundle) -> Result<BundledImages, BundleError>,
) -> Result<SignedBundle, BundleError> {
    let (bundle, replaced) = Bundle::open_to_sign(path, folders)?;
    check(&bundle)?;
    let unacceptable = |source| BundleError::Manifest { path: path.to_owned(), source };
    let encoded = bundle.manifest().encode().map_err(unacceptable)?;
    let layout = Layout::new(bundle.manifest(), &encoded).map_err(unacceptable)?;
    let lists = if bundle.is_in_volumes() { lists(&bundle, folders)? } else { Vec::new() };

    // The other volumes may be on read-only media.
    let end = layout.signatures_at + SIGNATURES_SIZE as u64;
    let names = bundle.first_files(end);
    let first = names.first().map_or(path, Utf8PathBuf::as_path).to_owned();
    let cannot = |source| BundleError::Write { path: first.clone(), source };
    let untrusted = |source| BundleError::Signature { path: path.to_owned(), source };
    let volume_size = bundle.is_in_volumes().then(|| bundle.volume_size());
    let file = Output::open(&names, "", volume_size, false).map_err(cannot)?;
    let mut signatures = bundle.signatures().clone();
    signatures.sign(&encoded, key, &trusted_comment(bundle.manifest())).map_err(untrusted)?;
    let entry = signatures.entry().map_err(untrusted)?;
    file.write_at(&entry, layout.signatures_at).and_then(|()| file.sync()).map_err(cannot)?;

    for (list_path, before, mut list) in lists {
        // The signatures are in the first volumes, which have changed now.
        for (n, volume) in (0..).zip(&mut list.volumes).take(names.len()) {
            let start = n * list.volume_size;
            let read = |buf: &mut [u8], done| file.read_at(buf, start + done);
            volume.digest = hash(volume.size, read).map_err(cannot)?;
        }
        let bytes = encode(&list_path, &list)?;
        if bytes != before {
            write_list(&list_path, &list)?;
        }
        add_signature(&list_path, &bytes, &list, key)?;
    }
    Ok(SignedBundle { manifest: bundle.manifest().clone(), key_ids: signatures.key_ids(), replaced })
}

/// The lists of the volumes of a bundle that are here, with their files. All of them are read before the first one is
/// written.
fn lists(
    bundle: &Bundle,
    folders: &[Utf8PathBuf],
) -> Result<Vec<(Utf8PathBuf, Vec<u8>, VolumeList)>, BundleError> {
    let lists = read_lists(bundle.path(), folders).map(|read| {
        let (path, bytes) = read?;
        let list = parse(&path, &bytes)?;
        if list.bundle != bundle.digest() || list.volume_size != bundle.volume_size() {
            let source = ManifestError::Inconsistent(FOREIGN_LIST.to_owned());
            return Err(BundleError::Manifest { path, source });
        }
        Ok((path, bytes, list))
    });
    lists.collect()
}

impl Bundle {
    /// Copies the signatures of this bundle's list of volumes to the list of its copy at `copy`. Returns whether that is
    /// signed now: there may be no signatures, and volumes of another size have another list, which only a key can sign.
    ///
    /// # Errors
    /// [`BundleError`] of reading and writing.
    pub fn copy_list_signature(&self, copy: &Utf8Path) -> Result<bool, BundleError> {
        let Some((path, theirs)) = read_list(copy, &[])? else { return Ok(false) };
        if let Some(list) = self.list_path() {
            let own = list.parent().map(Utf8Path::to_owned);
            let signatures = signature(list)?;
            let is_same = read_list(self.path(), own.as_slice())?.is_some_and(|(_, ours)| ours == theirs);
            if is_same && has_signatures(&signatures) {
                replace(&signature_path(&path), &signatures)?;
                return Ok(true);
            }
        }
        // The list of the copy may have been signed since it was written.
        Ok(has_signatures(&signature(&path)?))
    }
}

fn has_signatures(text: &[u8]) -> bool {
    Signatures::parse(text).is_ok_and(|read| !read.key_ids().is_empty())
}

/// The trusted comment of a signature.
pub fn trusted_comment(manifest: &BundleManifest) -> String {
    format!(
        "krs bundle, stream {}, sequence {}, created {}",
        manifest.stream, manifest.sequence, manifest.created_at
    )
}
