// SPDX-License-Identifier: Apache-2.0
//! Signing a bundle that is written, and the list of its volumes, in place.

use camino::{Utf8Path, Utf8PathBuf};

use super::error::BundleError;
use super::file;
use super::layout::Layout;
use super::leftover::PART;
use super::manifest::BundleManifest;
use super::open::Bundle;
use super::output::{self, Output};
use super::volumes::{self, VolumeList};
use super::write::{folder, hash};
use crate::sign::{SIGNATURES_SIZE, SecretKey, Signatures, Trust};

/// Writes `NAME.krs.json` beside the volumes.
pub(super) fn write_list(archive: &Utf8Path, list: &VolumeList) -> Result<(), BundleError> {
    let path = volumes::list_path(archive);
    let encoded = list
        .encode()
        .map_err(|source| BundleError::Manifest { path: path.clone(), source: source.into() })?;
    replace(&path, &encoded)
}

/// Replaces a small file: a temporary one first, on the disk, then the name.
fn replace(path: &Utf8Path, bytes: &[u8]) -> Result<(), BundleError> {
    use std::io::Write as _;
    let temporary = Utf8PathBuf::from(format!("{path}{PART}"));
    let write = || {
        let mut file = std::fs::File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)?;
        file::sync_folder(folder(path))
    };
    write().map_err(|source| BundleError::Write { path: path.to_owned(), source })
}

/// Signs `NAME.krs.json`, where the bundle at `path` lies in volumes: each medium can then be trusted by itself.
///
/// # Errors
/// [`BundleError`] of reading and writing, and of signing.
pub fn sign_list(path: &Utf8Path, key: &SecretKey) -> Result<(), BundleError> {
    let Some((list_path, bytes)) = super::reader::read_list(&volumes::archive_of(path), &[])? else {
        return Ok(());
    };
    let list = VolumeList::parse(&bytes);
    let list = list.map_err(|source| BundleError::Manifest { path: list_path.clone(), source })?;
    let comment = format!("krs volumes, stream {}, sequence {}", list.stream, list.sequence);
    let mut signatures = Signatures::default();
    let untrusted = |source| BundleError::Signature { path: list_path.clone(), source };
    signatures.sign(&bytes, key, &comment).map_err(untrusted)?;
    let text = signatures.text().map_err(untrusted)?;
    replace(Utf8Path::new(&format!("{list_path}.minisig")), text.as_bytes())
}

/// Adds a signature to a bundle, in place: no other byte moves. The bundle's structure is not read; who signs a
/// bundle vouches for its manifest, whose digests vouch for the rest.
///
/// # Errors
/// [`BundleError`] of opening, and of signing.
pub fn sign(path: &Utf8Path, key: &SecretKey) -> Result<super::BundleManifest, BundleError> {
    let policy = super::Policy { trust: Trust::Anyone, ..super::Policy::default() };
    let bundle = Bundle::open(path, &policy)?;
    let unacceptable = |source| BundleError::Manifest { path: path.to_owned(), source };
    let encoded = bundle.manifest().encode().map_err(unacceptable)?;
    let layout = Layout::new(bundle.manifest(), &encoded).map_err(unacceptable)?;
    let cannot = |source| BundleError::Write { path: path.to_owned(), source };
    let untrusted = |source| BundleError::Signature { path: path.to_owned(), source };
    let in_volumes = bundle.path().symlink_metadata().is_err();
    let volume_size = in_volumes.then(|| bundle.volume_size());
    let names = output::names(bundle.path(), bundle.size(), volume_size);
    let file = Output::open(&names, "", volume_size, false).map_err(cannot)?;
    let mut entry = vec![0; SIGNATURES_SIZE];
    file.read_at(&mut entry, layout.signatures_at).map_err(cannot)?;
    let mut signatures = Signatures::parse(&entry).map_err(untrusted)?;
    signatures.sign(&encoded, key, &trusted_comment(bundle.manifest())).map_err(untrusted)?;
    let entry = signatures.entry().map_err(untrusted)?;
    file.write_at(&entry, layout.signatures_at).and_then(|()| file.sync()).map_err(cannot)?;
    if let Some(list) = bundle.volumes() {
        let mut list = list.clone();
        // The signatures lie in the first volumes, which are other bytes now.
        for (n, volume) in (1..).zip(&mut list.volumes) {
            let start = (n - 1) * list.volume_size;
            if start < layout.signatures_at + SIGNATURES_SIZE as u64 {
                volume.digest =
                    hash(volume.size, |buf, done| file.read_at(buf, start + done)).map_err(cannot)?;
            }
        }
        write_list(bundle.path(), &list)?;
        sign_list(bundle.path(), key)?;
    }
    Ok(bundle.manifest().clone())
}

/// What a signature says for people to read.
pub fn trusted_comment(manifest: &BundleManifest) -> String {
    format!(
        "krs bundle, stream {}, sequence {}, created {}",
        manifest.stream, manifest.sequence, manifest.created_at
    )
}
