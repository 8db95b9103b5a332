// SPDX-License-Identifier: Apache-2.0
//! A blob of one repository as the body of an upload into another one: one download, read as fast as the upload takes it.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::oci::digest::Digest;
use crate::registry::client::repository::Repository;
use crate::registry::failure::error::RegistryError;

/// Pieces that are in memory ahead of the upload.
const AHEAD: usize = 4;

/// Is told how many more bytes were received.
pub type ByteObserver = Arc<dyn Fn(u64) + Send + Sync>;

/// A download that is an upload's body. It starts when it is polled first, and ends when it is dropped.
pub(in crate::registry) struct Relay {
    from: Repository,
    digest: Digest,
    size: u64,
    received: ByteObserver,
    /// Offset in the blob of the next byte that is passed on.
    position: u64,
    /// Bytes that were received and not passed on yet.
    rest: Bytes,
    running: Option<(mpsc::Receiver<Result<Bytes, RegistryError>>, Download)>,
}

/// The task that downloads; ends with its owner.
struct Download(JoinHandle<()>);

impl Drop for Download {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl fmt::Debug for Relay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Relay").field("digest", &self.digest).finish_non_exhaustive()
    }
}

impl Relay {
    pub(in crate::registry) fn new(
        from: &Repository,
        digest: Digest,
        size: u64,
        position: u64,
        received: ByteObserver,
    ) -> Self {
        // In a lane of its own: the upload holds a connection until its body is complete.
        let from = from.for_relay();
        Self { from, digest, size, received, position, rest: Bytes::new(), running: None }
    }

    pub(in crate::registry) const fn position(&self) -> u64 {
        self.position
    }

    /// Up to `max` further bytes; `None` if the download ended early without saying why.
    pub(in crate::registry) fn poll_next(
        &mut self,
        context: &mut Context<'_>,
        max: usize,
    ) -> Poll<Option<Result<Bytes, RegistryError>>> {
        if self.rest.is_empty() {
            let (chunks, _) = self.running.get_or_insert_with(|| {
                let (sender, chunks) = mpsc::channel(AHEAD);
                let (from, digest, size) = (self.from.clone(), self.digest, self.size);
                let position = self.position;
                let download = tokio::spawn(async move {
                    if let Err(error) = from.stream_blob(&digest, size, position, &sender).await {
                        // The receiver is gone if the upload has ended.
                        let _ = sender.send(Err(error)).await;
                    }
                });
                (chunks, Download(download))
            });
            match ready!(chunks.poll_recv(context)) {
                Some(Ok(bytes)) => {
                    (self.received)(bytes.len() as u64);
                    self.rest = bytes;
                }
                other => return Poll::Ready(other),
            }
        }
        let piece = self.rest.split_to(max.min(self.rest.len()));
        self.position += piece.len() as u64;
        Poll::Ready(Some(Ok(piece)))
    }
}
