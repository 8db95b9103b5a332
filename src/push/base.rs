// SPDX-License-Identifier: Apache-2.0
//! Layers that a delta does not hold: where the registry has them, and how they get into the repositories that need
//! them. (T-32)

use std::collections::BTreeSet;
use std::io;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use tokio::runtime::Handle;

use super::MissingLayer;
use crate::bundle::BaseLayer;
use crate::digest::Digest;
use crate::reference::{Destination, RepositoryName};
use crate::registry::{BlobSource, RegistryError, Repository};

/// Bytes that are asked for at once where a registry has to be read through.
const WINDOW: u64 = 4 << 20;

/// Repositories of `destination` in which the bundle expects a layer, with and without its prefix: a receipt names them
/// in full, an earlier bundle as its sets do.
pub fn expected(layer: &BaseLayer, destination: &Destination) -> BTreeSet<RepositoryName> {
    let names = layer.repositories.iter().filter_map(|name| name.parse::<RepositoryName>().ok());
    names.flat_map(|name| destination.repository(&name).into_iter().chain([name])).collect()
}

/// The first of `candidates`, repositories of the registry of `repository`, that has the layer.
///
/// # Errors
/// [`RegistryError`]: it is not known whether one has it.
pub async fn find(
    repository: &Repository,
    layer: (&Digest, u64),
    candidates: impl IntoIterator<Item = &RepositoryName>,
) -> Result<Option<RepositoryName>, RegistryError> {
    for candidate in candidates {
        if repository.sibling(candidate).has_blob(layer.0, layer.1).await? {
            return Ok(Some(candidate.clone()));
        }
    }
    Ok(None)
}

/// A layer that no repository has, and where it was looked for.
pub(super) fn missing(
    layer: &BaseLayer,
    images: BTreeSet<String>,
    looked: &BTreeSet<RepositoryName>,
) -> MissingLayer {
    let expected = looked.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    MissingLayer { digest: layer.digest, size: layer.size, images: images.into_iter().collect(), expected }
}

/// A blob of one repository, for another one of a registry that does not mount: read in windows, as it is sent.
pub struct ReadThrough {
    from: Repository,
    digest: Digest,
    size: u64,
    runtime: Handle,
    window: Mutex<(u64, Bytes)>,
}

impl std::fmt::Debug for ReadThrough {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReadThrough").field("digest", &self.digest).finish_non_exhaustive()
    }
}

impl ReadThrough {
    /// Reads the blob from `from`. To be called within a runtime of tokio.
    pub fn new(from: Repository, digest: Digest, size: u64) -> Self {
        Self { from, digest, size, runtime: Handle::current(), window: Mutex::default() }
    }
}

impl BlobSource for ReadThrough {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        let (start, bytes) = &*window;
        if offset < *start || offset >= *start + bytes.len() as u64 {
            let length = WINDOW.min(self.size.saturating_sub(offset));
            if length == 0 {
                return Ok(0);
            }
            let part = self.from.blob_part(&self.digest, self.size, offset, length);
            *window = (offset, self.runtime.block_on(part).map_err(io::Error::other)?);
        }
        let (start, bytes) = &*window;
        let rest = bytes.get(usize::try_from(offset - start).unwrap_or(usize::MAX)..).unwrap_or_default();
        let most = rest.len().min(buf.len());
        buf[..most].copy_from_slice(&rest[..most]);
        Ok(most)
    }
}
