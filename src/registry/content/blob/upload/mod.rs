// SPDX-License-Identifier: Apache-2.0
//! Sending blobs: mounted where the registry has them, else in one request, which is resumed where it was cut.

mod sending;
mod way;

use std::fmt;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use self::sending::Upload;
use crate::oci::digest::{Digest, Hasher, check};
use crate::oci::reference::RepositoryName;
use crate::registry::client::repository::Repository;
use crate::registry::content::blob::relay::Received;
use crate::registry::failure::error::RegistryError;
use crate::registry::{BlobSource, Pushed};

/// Where the bytes of a blob come from.
#[derive(Clone)]
pub enum BlobContent {
    /// They are read here.
    Source(Arc<dyn BlobSource>),
    /// Another repository of the same registry has them. Where the registry does not mount, they are downloaded and sent
    /// on without being stored here; `received` is told how many came.
    Repository {
        /// The repository.
        name: RepositoryName,
        /// Is told how many more bytes were received.
        received: Received,
    },
    /// A repository of another registry has them: they are downloaded and sent on without being stored here.
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
    /// Its digest.
    pub digest: Digest,
    /// Its bytes.
    pub size: u64,
    /// Where they come from.
    pub content: BlobContent,
    /// Another repository of the registry that has it, so that the registry may mount it.
    pub mount_from: Option<RepositoryName>,
    /// Limits how many blobs are on their way at once. A mount needs no permit.
    pub transfers: Option<Arc<Semaphore>>,
}

impl Repository {
    /// Sends a blob of exactly this digest and size, or has the registry take it from another of its
    /// repositories, `mount_from`, where it can.
    ///
    /// # Errors
    /// [`RegistryError::Source`] where `source` does not hold that blob, and the others.
    pub async fn push_blob(
        &self,
        digest: &Digest,
        size: u64,
        source: Arc<dyn BlobSource>,
        mount_from: Option<&RepositoryName>,
    ) -> Result<Pushed, RegistryError> {
        let (content, mount_from) = (BlobContent::Source(source), mount_from.cloned());
        self.send_blob(&BlobPush { digest: *digest, size, content, mount_from, transfers: None }).await
    }

    /// Has the registry take a blob from another of its repositories, or downloads it there and sends it on.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub async fn copy_blob(
        &self,
        digest: &Digest,
        size: u64,
        from: &RepositoryName,
    ) -> Result<Pushed, RegistryError> {
        let content = BlobContent::Repository { name: from.clone(), received: Arc::new(|_| ()) };
        let mount_from = Some(from.clone());
        self.send_blob(&BlobPush { digest: *digest, size, content, mount_from, transfers: None }).await
    }

    /// Brings a blob into this repository.
    ///
    /// # Errors
    /// [`RegistryError::Source`] where its source does not hold that blob, and the others.
    pub async fn send_blob(&self, push: &BlobPush) -> Result<Pushed, RegistryError> {
        let BlobPush { digest, size, .. } = push;
        if *size == 0 {
            let empty = check(Hasher::new(), *digest, 0);
            empty.map_err(|e| RegistryError::Source { digest: *digest, source: e.into() })?;
        }
        let mut upload = Upload::new(self, digest, *size, push.content.clone());
        if let Some(from) = &push.mount_from
            && upload.mount(from).await
        {
            return Ok(Pushed::Mounted);
        }
        // What another repository has may be in this one too, without anybody having asked: cheaper than its bytes.
        let is_copy = matches!(push.content, BlobContent::Repository { .. });
        if is_copy && self.has_blob_for_push(digest, *size).await.is_ok_and(|has| has) {
            upload.cancel().await;
            return Ok(Pushed::Mounted);
        }
        let _permit = permit(push.transfers.as_ref()).await;
        upload.send().await.map(|()| Pushed::Uploaded)
    }

    /// Has the registry take a blob from another of its repositories, without a byte being sent. With no `from`, or
    /// where the registry does not do it, an upload is opened and given up: the answer is `false`, and it is known that
    /// blobs may be sent here.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub async fn mount_blob(
        &self,
        digest: &Digest,
        from: Option<&RepositoryName>,
    ) -> Result<bool, RegistryError> {
        let mut upload = Upload::new(self, digest, 0, BlobContent::Source(Arc::new(Nothing)));
        if let Some(from) = from
            && upload.mount(from).await
        {
            return Ok(true);
        }
        upload.open_any().await?;
        upload.cancel().await;
        Ok(false)
    }
}

/// Leave to send bytes, where that is limited.
async fn permit(transfers: Option<&Arc<Semaphore>>) -> Option<OwnedSemaphorePermit> {
    Arc::clone(transfers?).acquire_owned().await.ok()
}

/// Where there is nothing to send.
struct Nothing;

impl BlobSource for Nothing {
    fn read_at(&self, _offset: u64, _buf: &mut [u8]) -> std::io::Result<usize> {
        Ok(0)
    }
}
