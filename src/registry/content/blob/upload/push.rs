// SPDX-License-Identifier: Apache-2.0
//! Pushes blobs: mounts them if the registry has them, and sends them otherwise.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::oci::digest::{Digest, Hasher, check};
use crate::oci::reference::RepositoryName;
use crate::registry::client::repository::Repository;
use crate::registry::content::blob::io::BlobSource;
use crate::registry::content::blob::upload::content::{BlobContent, BlobPush, EmptySource, PushOutcome};
use crate::registry::content::blob::upload::state::Upload;
use crate::registry::failure::error::RegistryError;

impl Repository {
    /// Pushes a blob of exactly this digest and size. The registry mounts it from its repository `mount_from` if it can.
    ///
    /// # Errors
    /// [`RegistryError::Source`] if `source` does not have this blob, and the others.
    pub async fn push_blob(
        &self,
        digest: &Digest,
        size: u64,
        source: Arc<dyn BlobSource>,
        mount_from: Option<&RepositoryName>,
    ) -> Result<PushOutcome, RegistryError> {
        let (content, mount_from) = (BlobContent::Source(source), mount_from.cloned());
        self.send_blob(&BlobPush { digest: *digest, size, content, mount_from, transfers: None }).await
    }

    /// Mounts a blob from another repository of the registry, or downloads it there and sends it on.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub async fn copy_blob(
        &self,
        digest: &Digest,
        size: u64,
        from: &RepositoryName,
    ) -> Result<PushOutcome, RegistryError> {
        let content = BlobContent::Repository { name: from.clone(), received: Arc::new(|_| ()) };
        let mount_from = Some(from.clone());
        self.send_blob(&BlobPush { digest: *digest, size, content, mount_from, transfers: None }).await
    }

    /// Pushes a blob into this repository.
    ///
    /// # Errors
    /// [`RegistryError::Source`] if its source does not have this blob, and the others.
    pub async fn send_blob(&self, push: &BlobPush) -> Result<PushOutcome, RegistryError> {
        let BlobPush { digest, size, .. } = push;
        if *size == 0 {
            let empty = check(Hasher::new(), *digest, 0);
            empty.map_err(|e| RegistryError::Source { digest: *digest, source: e.into() })?;
        }
        let mut upload = Upload::new(self, digest, *size, push.content.clone());
        if let Some(from) = &push.mount_from
            && upload.mount(from).await
        {
            return Ok(PushOutcome::Mounted);
        }
        // A blob of another repository may be in this one too: a lookup is cheaper than a transfer.
        let is_copy = matches!(push.content, BlobContent::Repository { .. });
        if is_copy && self.has_blob_for_push(digest, *size).await.is_ok_and(|has| has) {
            upload.cancel().await;
            return Ok(PushOutcome::Mounted);
        }
        let _permit = acquire_permit(push.transfers.as_ref()).await;
        upload.send().await.map(|()| PushOutcome::Uploaded)
    }

    /// Mounts a blob from another repository of the registry, without sending it. If there is no `from`, or the registry does
    /// not mount, an upload is opened and cancelled: the result is `false`, and the permission to send blobs is verified.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub async fn mount_blob(
        &self,
        digest: &Digest,
        from: Option<&RepositoryName>,
    ) -> Result<bool, RegistryError> {
        let mut upload = Upload::new(self, digest, 0, BlobContent::Source(Arc::new(EmptySource)));
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

/// The permit to send bytes, if that is limited.
async fn acquire_permit(transfers: Option<&Arc<Semaphore>>) -> Option<OwnedSemaphorePermit> {
    Arc::clone(transfers?).acquire_owned().await.ok()
}
