// SPDX-License-Identifier: Apache-2.0
//! A blob that is to be uploaded, and where its bytes come from.

use std::fmt;
use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::oci::digest::Digest;
use crate::oci::reference::RepositoryName;
use crate::registry::client::repository::Repository;
use crate::registry::content::blob::io::BlobSource;
use crate::registry::content::blob::relay::ByteObserver;

/// How a blob got into a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PushOutcome {
    /// The registry mounted the blob from another repository, or already had it. No byte was sent.
    Mounted,
    /// The blob was sent.
    Uploaded,
}

/// Where the bytes of a blob come from.
#[derive(Clone)]
pub enum BlobContent {
    /// A local source.
    Source(Arc<dyn BlobSource>),
    /// Another repository of the same registry. If the registry does not mount the blob, it is downloaded and sent on without
    /// being stored here; `received` is told the number of bytes.
    Repository {
        /// The repository that the blob is mounted from.
        name: RepositoryName,
        /// Is told how many more bytes were received.
        received: ByteObserver,
    },
    /// A repository of another registry. The blob is downloaded and sent on without being stored here.
    Elsewhere(Box<Repository>),
}

impl fmt::Debug for BlobContent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source(_) => f.write_str("Source"),
            Self::Repository { name, .. } => f.debug_tuple("Repository").field(name).finish(),
            Self::Elsewhere(repository) => f.debug_tuple("Elsewhere").field(repository).finish(),
        }
    }
}

/// A blob that is to be sent.
#[derive(Debug, Clone)]
pub struct BlobPush {
    /// Digest of the complete blob.
    pub digest: Digest,
    /// Size of the complete blob, in bytes.
    pub size: u64,
    /// Where they come from.
    pub content: BlobContent,
    /// Another repository of the registry that has the blob, so that the registry may mount it.
    pub mount_from: Option<RepositoryName>,
    /// Limits how many blobs are sent at once. A mount needs no permit.
    pub transfers: Option<Arc<Semaphore>>,
}

/// A source without bytes.
#[derive(Debug)]
pub(in crate::registry) struct EmptySource;

impl BlobSource for EmptySource {
    fn read_at(&self, _offset: u64, _buf: &mut [u8]) -> std::io::Result<usize> {
        Ok(0)
    }
}
