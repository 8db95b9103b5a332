// SPDX-License-Identifier: Apache-2.0
//! Blobs that layers are made of: in an archive, or fetched from a registry into scratch space.

use std::io;
use std::sync::Arc;

use krs_compact::patch::{FileBytes, ReadAt};

use super::error::RebuildError;
use super::scratch::Scratch;
use crate::bundle::{Bundle, BundleBlob};
use crate::oci::digest::Digest;
use crate::registry::Repository;
use crate::sync::file_sink::FileSink;

/// Where the blobs are that layers are made of.
pub trait RebuildSource: Sync {
    /// A patch, a recipe, or a layer that a patch reads. Its digest was compared; if it has to be fetched, it is in `scratch`.
    ///
    /// # Errors
    /// [`RebuildError`]: nothing has it, or it cannot be read.
    fn blob(
        &self,
        digest: &Digest,
        scratch: &Scratch,
    ) -> impl Future<Output = Result<StoredBlob, RebuildError>> + Send;

    /// Bytes of scratch space that this blob takes while it is used; 0 if it is read where it is.
    fn scratch_size(&self, digest: &Digest) -> u64;
}

/// A blob that can be read at any offset.
pub type StoredBlob = Arc<dyn ReadAt + Send + Sync>;

/// A blob of an archive, whose digest is compared before anything uses it. Blocking.
///
/// # Errors
/// [`RebuildError::Missing`], [`RebuildError::Bundle`].
fn archived(bundle: &Arc<Bundle>, digest: &Digest) -> Result<StoredBlob, RebuildError> {
    let blob = *bundle.blob(digest).ok_or(RebuildError::Missing { digest: *digest })?;
    bundle.check_header(&blob)?;
    io::copy(&mut bundle.reader(&blob), &mut io::sink()).map_err(|e| bundle.read_error(&blob, e))?;
    Ok(Arc::new(in_archive(bundle, blob)))
}

/// A blob of an archive as it is, whose digest is not compared.
pub(super) fn in_archive(bundle: &Arc<Bundle>, blob: BundleBlob) -> impl ReadAt + Send + use<> {
    ArchivedBlob { bundle: Arc::clone(bundle), blob }
}

struct ArchivedBlob {
    bundle: Arc<Bundle>,
    blob: BundleBlob,
}

impl ReadAt for ArchivedBlob {
    fn length(&self) -> u64 {
        self.blob.size
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let mut done = 0;
        while done < buf.len() {
            match self.bundle.read_at(&self.blob, offset + done as u64, &mut buf[done..])? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => done += read,
            }
        }
        Ok(())
    }
}

/// What bundles at hand have, each blob from the first that has it.
#[derive(Debug, Clone)]
pub struct Bundles(pub Vec<Arc<Bundle>>);

impl RebuildSource for Bundles {
    async fn blob(&self, digest: &Digest, scratch: &Scratch) -> Result<StoredBlob, RebuildError> {
        let bundle = self.0.iter().find(|bundle| bundle.blob(digest).is_some());
        let bundle = Arc::clone(bundle.ok_or(RebuildError::Missing { digest: *digest })?);
        let digest = *digest;
        let read = tokio::task::spawn_blocking(move || archived(&bundle, &digest)).await;
        read.map_err(|e| scratch.error(io::Error::other(e)))?
    }

    fn scratch_size(&self, _: &Digest) -> u64 {
        0
    }
}

/// Fetches a blob of `size` bytes from a registry, which compares its digest.
///
/// # Errors
/// [`RebuildError::Base`], [`RebuildError::Scratch`].
pub async fn fetch(
    repository: &Repository,
    (digest, size): (&Digest, u64),
    scratch: &Scratch,
) -> Result<StoredBlob, RebuildError> {
    let mut sink = FileSink { file: scratch.file()?, progress: None };
    let fetched = repository.blob(digest, size, &mut sink).await;
    fetched.map_err(|source| RebuildError::Base { digest: *digest, source: Box::new(source) })?;
    Ok(Arc::new(FileBytes::new(sink.file).map_err(|source| scratch.error(source))?))
}
