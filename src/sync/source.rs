// SPDX-License-Identifier: Apache-2.0
//! Where the manifests and blobs of an image are read: its registry, or a local source.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use camino::Utf8Path;
use thiserror::Error;

use crate::error::{Classify, ErrorKind};
use crate::local::{LocalError, LocalSource};
use crate::oci::digest::{self, Digest, Hasher};
use crate::oci::reference::Selector;
use crate::registry::{BlobSink, FetchedManifest, RegistryError, Repository};

/// Bytes of a blob that are read at once.
const CHUNK: usize = 1 << 20;

/// What manifests are read from.
pub trait Source: Sync {
    /// Why one cannot be read.
    type Error: Classify + Send + Sync + 'static;

    /// An index or manifest, whose bytes were compared with the digest.
    fn manifest(
        &self,
        selector: &Selector,
    ) -> impl Future<Output = Result<FetchedManifest, Self::Error>> + Send;

    /// Whether content is kept as a blob.
    fn has_blob(&self, digest: &Digest, size: u64) -> impl Future<Output = Result<bool, Self::Error>> + Send;

    /// Content of an unknown type that is kept as a manifest.
    fn manifest_of_type(
        &self,
        digest: &Digest,
        media_type: &str,
    ) -> impl Future<Output = Result<Bytes, Self::Error>> + Send;

    /// Whether an error says that the source does not have it.
    fn is_absence(error: &Self::Error) -> bool;
}

impl Source for Repository {
    type Error = RegistryError;

    async fn manifest(&self, selector: &Selector) -> Result<FetchedManifest, RegistryError> {
        Self::manifest(self, selector).await
    }

    async fn has_blob(&self, digest: &Digest, size: u64) -> Result<bool, RegistryError> {
        Self::has_blob(self, digest, size).await
    }

    async fn manifest_of_type(&self, digest: &Digest, media_type: &str) -> Result<Bytes, RegistryError> {
        Self::manifest_of_type(self, digest, media_type).await
    }

    fn is_absence(error: &RegistryError) -> bool {
        matches!(error, RegistryError::NotFound { .. })
    }
}

/// Where the content of an image is read.
#[derive(Debug, Clone)]
pub(in crate::sync) enum ImageSource {
    Registry(Repository),
    Local(Arc<LocalSource>),
}

/// Why content of an image cannot be read.
#[derive(Debug, Error)]
pub enum ReadError {
    /// By its registry.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// By a local source.
    #[error(transparent)]
    Local(#[from] LocalError),
}

impl Classify for ReadError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Registry(error) => error.kind(),
            Self::Local(error) => error.kind(),
        }
    }

    fn help(&self) -> Option<String> {
        match self {
            Self::Registry(error) => error.help(),
            Self::Local(error) => error.help(),
        }
    }
}

impl Source for ImageSource {
    type Error = ReadError;

    async fn manifest(&self, selector: &Selector) -> Result<FetchedManifest, ReadError> {
        let local = match self {
            Self::Registry(repository) => return Ok(repository.manifest(selector).await?),
            Self::Local(local) => local,
        };
        let found = match selector {
            Selector::Digest(digest) => local.manifest_of(digest).cloned(),
            Selector::Tag(_) => None,
        };
        let Some(found) = found else { return Err(local.missing(selector.to_string()).into()) };
        let digest = found.digest;
        let bytes = blocking(local, move |local| local.manifest(&digest)).await?;
        Ok(FetchedManifest { media_type: found.media_type, digest, bytes })
    }

    async fn has_blob(&self, digest: &Digest, size: u64) -> Result<bool, ReadError> {
        match self {
            Self::Registry(repository) => Ok(repository.has_blob(digest, size).await?),
            Self::Local(local) => {
                let digest = *digest;
                let found = blocking(local, move |local| local.content(&digest)).await?;
                Ok(found.is_some_and(|found| found.size() == size))
            }
        }
    }

    async fn manifest_of_type(&self, digest: &Digest, media_type: &str) -> Result<Bytes, ReadError> {
        match self {
            Self::Registry(repository) => Ok(repository.manifest_of_type(digest, media_type).await?),
            // There, everything is a blob.
            Self::Local(local) => Err(local.missing(digest.to_string()).into()),
        }
    }

    fn is_absence(error: &ReadError) -> bool {
        matches!(
            error,
            ReadError::Registry(RegistryError::NotFound { .. })
                | ReadError::Local(LocalError::Missing { .. })
        )
    }
}

impl ImageSource {
    /// Reads a blob, which is compared with its digest.
    ///
    /// # Errors
    /// [`ReadError`]; what `sink` has taken until then is not the blob.
    pub(in crate::sync) async fn blob<S: BlobSink + 'static>(
        &self,
        digest: &Digest,
        size: u64,
        mut sink: S,
    ) -> Result<S, ReadError> {
        let digest = *digest;
        match self {
            Self::Registry(repository) => repository.blob(&digest, size, &mut sink).await?,
            Self::Local(local) => {
                return blocking(local, move |local| {
                    copy_blob(local, &digest, size, Hasher::new(), &mut sink).map(|()| sink)
                })
                .await;
            }
        }
        Ok(sink)
    }
}

/// Runs what reads files where it may block.
pub(in crate::sync) async fn blocking<T: Send + 'static, E: From<LocalError> + Send + 'static>(
    local: &Arc<LocalSource>,
    read: impl FnOnce(&LocalSource) -> Result<T, E> + Send + 'static,
) -> Result<T, E> {
    let (source, location) = (Arc::clone(local), local.location().to_owned());
    match tokio::task::spawn_blocking(move || read(&source)).await {
        Ok(result) => result,
        Err(error) => Err(LocalError::Open { location, source: io::Error::other(error) }.into()),
    }
}

/// Copies what a blob has beyond the bytes in `hashed` out of a local source, and compares it with its digest. Where those
/// bytes turn out not to be the blob's, it is copied from the start. Blocking.
///
/// # Errors
/// [`ReadError::Registry`] with [`RegistryError::Sink`] where `sink` fails, else [`ReadError::Local`].
pub(in crate::sync) fn copy_blob(
    local: &LocalSource,
    digest: &Digest,
    size: u64,
    hashed: Hasher,
    sink: &mut dyn BlobSink,
) -> Result<(), ReadError> {
    let content = local.content_of_size(digest, size)?;
    let mut buf = vec![0; CHUNK.min(usize::try_from(size).unwrap_or(CHUNK)).max(1)];
    let mut hasher = hashed;
    loop {
        let resumed = hasher.bytes() > 0;
        while hasher.bytes() < size {
            let offset = hasher.bytes();
            let read = content.read_at(&mut buf, offset).and_then(|read| match read {
                0 => Err(io::ErrorKind::UnexpectedEof.into()),
                read => Ok(read),
            });
            let read = read.map_err(|source| LocalError::Read {
                location: local.location().to_owned(),
                name: digest.to_string(),
                source,
            })?;
            hasher.update(&buf[..read]);
            let written = sink.write_at(offset, &buf[..read]);
            written.map_err(|source| RegistryError::Sink { digest: *digest, source })?;
        }
        match digest::check(hasher, *digest, size) {
            Ok(()) => return Ok(()),
            Err(_) if resumed => hasher = Hasher::new(),
            Err(source) => {
                return Err(LocalError::content(local.location().to_owned(), digest, source).into());
            }
        }
    }
}

/// Copies a blob out of a file, and compares it with its digest. Blocking.
///
/// # Errors
/// [`ReadError::Registry`] with [`RegistryError::Sink`] where `sink` fails, else [`ReadError::Local`].
pub(in crate::sync) fn copy_file(
    path: &Utf8Path,
    digest: &Digest,
    size: u64,
    sink: &mut dyn BlobSink,
) -> Result<(), ReadError> {
    let (location, name) = (path.to_string(), digest.to_string());
    let failed = |source| LocalError::Read { location: location.clone(), name: name.clone(), source };
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut buf = vec![0; CHUNK];
    let mut hasher = Hasher::new();
    loop {
        let read = crate::files::read_at(&file, &mut buf, hasher.bytes()).map_err(failed)?;
        if read == 0 {
            break;
        }
        let offset = hasher.bytes();
        hasher.update(&buf[..read]);
        // More than there should be is refused below.
        if hasher.bytes() > size {
            break;
        }
        let written = sink.write_at(offset, &buf[..read]);
        written.map_err(|source| RegistryError::Sink { digest: *digest, source })?;
    }
    let checked = digest::check(hasher, *digest, size);
    Ok(checked.map_err(|source| LocalError::content(path.to_string(), digest, source))?)
}
