// SPDX-License-Identifier: Apache-2.0
//! The entries of an archive: their names and headers.

use thiserror::Error;

use crate::oci::digest::Digest;

/// Bytes of a header, and what contents are padded to.
pub const HEADER: u64 = 512;
/// Zero bytes at the end of the archive.
pub const TRAILER: u64 = 1024;
/// Name of the entry that says which version of the OCI image layout this is.
pub const OCI_LAYOUT: &str = "oci-layout";
/// The content of `oci-layout`, the same in every bundle.
pub const OCI_LAYOUT_CONTENT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;
/// Name of the entry with the manifest.
pub const MANIFEST: &str = "krs/bundle.json";
/// Name of the entry with the signatures.
pub const SIGNATURES: &str = "krs/signatures";
/// Name of the entry with the OCI index.
pub const INDEX: &str = "index.json";
/// Where the content of `krs/bundle.json` begins: after the two entries whose sizes do not change.
pub const MANIFEST_AT: u64 = 3 * HEADER;

/// Name of the entry of the set with number `n`.
pub fn set_path(n: usize) -> String {
    format!("krs/sets/{:05}.yaml", n + 1)
}

/// Name of the entry of a blob.
pub fn blob_path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// `size` rounded up to the block size.
pub const fn padded(size: u64) -> u64 {
    size.div_ceil(HEADER) * HEADER
}

/// Where the next header begins, for content of `size` bytes at `offset`.
pub const fn next_header(offset: u64, size: u64) -> u64 {
    offset + padded(size)
}

/// A name that does not fit a header; none that this module makes.
#[derive(Debug, Error)]
#[error("`{name}` does not fit a tar header: {source}")]
pub struct HeaderError {
    name: String,
    source: std::io::Error,
}

/// The header of an entry: a function of its name and size alone.
///
/// # Errors
/// [`HeaderError`] for names that ustar cannot hold.
pub fn header(name: &str, size: u64) -> Result<[u8; 512], HeaderError> {
    let mut header = tar::Header::new_ustar();
    header.set_path(name).map_err(|source| HeaderError { name: name.to_owned(), source })?;
    header.set_entry_type(tar::EntryType::Regular);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size);
    header.set_cksum();
    Ok(*header.as_bytes())
}
