// SPDX-License-Identifier: Apache-2.0
//! Sends the blobs of a bundle, each once, and mounts them into the other repositories that need them.

use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Once};

use futures::stream::{self, StreamExt as _};

use super::run::{Failures, MAX_QUERIES, Need, Present, Run};
use crate::bundle::{Bundle, BundleBlob};
use crate::oci::digest::Digest;
use crate::oci::reference::RepositoryName;
use crate::progress::{Activity, Progress};
use crate::registry::{BlobContent, BlobPush, BlobSource, PushOutcome, RegistryError, SourceError};
use crate::sync::rebuild::RebuiltLayer;

/// Blobs of up to this many bytes count as small requests. Larger ones count as transfers, whose number at the same time is
/// limited.
const SMALL: u64 = 256 << 10;

impl Run<'_> {
    /// Sends each missing blob once, and mounts it into the other repositories that need it.
    pub(super) async fn send(&self, needs: &[Need], present: Present, failures: &mut Failures) {
        let known = failures.get_mut();
        let work = needs.iter().filter_map(|need| {
            let has = |name: &&RepositoryName| present.contains(&((*name).clone(), need.digest));
            let failed = |name: &&RepositoryName| known.contains_key(&(need.digest, (*name).clone()));
            let holder = need.repositories.iter().find(has).or(need.elsewhere.as_ref()).cloned();
            let destinations = need.repositories.iter().filter(|name| !has(name) && !failed(name)).cloned();
            let destinations = destinations.collect::<Vec<_>>();
            (!destinations.is_empty()).then_some((need, holder, destinations))
        });
        let work = work.collect::<Vec<_>>();
        let bytes = work.iter().filter(|(_, holder, _)| holder.is_none()).map(|(need, ..)| need.size).sum();
        self.progress.begin(Activity::Push, bytes);
        let failures = &*failures;
        let tasks = work.into_iter().map(|(need, mut holder, destinations)| async move {
            let mut destinations = destinations.into_iter();
            // One repository after the other until one has the blob; then it is mounted into all others.
            while holder.is_none()
                && let Some(name) = destinations.next()
            {
                let sent = self.send_or_note(need, &name, None, failures).await;
                holder = sent.then_some(name);
            }
            let holder = holder.as_ref();
            let links = destinations.map(|name| async move {
                self.send_or_note(need, &name, holder, failures).await;
            });
            stream::iter(links).buffer_unordered(MAX_QUERIES).collect::<Vec<()>>().await;
        });
        stream::iter(tasks).buffer_unordered(MAX_QUERIES).collect::<Vec<()>>().await;
        self.progress.end(Activity::Push);
    }

    /// Sends a blob. Returns whether it is present now. The error goes to the targets that need it.
    async fn send_or_note(
        &self,
        need: &Need,
        to: &RepositoryName,
        from: Option<&RepositoryName>,
        failures: &Failures,
    ) -> bool {
        let sent = self.send_blob(need, to, from).await;
        if let Err(error) = sent {
            let mut failures = failures.lock();
            failures.insert((need.digest, to.clone()), Some(error));
            return false;
        }
        true
    }

    /// Sends a blob that a repository had and has lost.
    pub(super) async fn send_again(
        &self,
        digest: Digest,
        size: u64,
        to: &RepositoryName,
    ) -> Result<(), RegistryError> {
        let blob = self.bundle.blob(&digest).copied();
        let repositories = BTreeSet::from([to.clone()]);
        let elsewhere = match self.bundle.base_layer(&digest) {
            Some(layer) if blob.is_none() => self.find_layer(layer, &repositories).await?,
            _ => None,
        };
        let rebuilt = self.rebuilt.get(&digest);
        let need = Need { digest, size, blob, rebuilt, repositories, required: true, elsewhere };
        self.send_blob(&need, to, need.elsewhere.as_ref()).await
    }

    async fn send_blob(
        &self,
        need: &Need,
        to: &RepositoryName,
        from: Option<&RepositoryName>,
    ) -> Result<(), RegistryError> {
        let Need { digest, size, .. } = *need;
        let progress = Arc::new(BlobProgress {
            progress: Arc::clone(self.progress),
            digest,
            size,
            repository: to.clone(),
            is_started: Once::new(),
        });
        let place = match (need.blob, &need.rebuilt) {
            (Some(blob), _) => Some(Place::Archive(Arc::clone(self.bundle), blob)),
            (None, Some(layer)) => Some(Place::Rebuilt(Arc::clone(layer))),
            (None, None) => None,
        };
        let content = match (place, from) {
            (Some(place), _) => {
                BlobContent::Source(Arc::new(LocalContent { place, progress: Arc::clone(&progress) }))
            }
            // Used only if the registry does not mount.
            (None, Some(from)) => {
                let progress = Arc::clone(&progress);
                let received = Arc::new(move |bytes| progress.advance(bytes));
                BlobContent::Repository { name: from.clone(), received }
            }
            // The base was present before, so it was deleted meanwhile.
            (None, None) => {
                return Err(RegistryError::Source {
                    digest,
                    source: SourceError::Read(io::ErrorKind::NotFound.into()),
                });
            }
        };
        let transfers = (size > SMALL).then(|| Arc::clone(&self.transfers));
        let push = BlobPush { digest, size, content, mount_from: from.cloned(), transfers };
        let pushed = self.repository_for(need, to).send_blob(&push).await;
        progress.end();
        match pushed? {
            PushOutcome::Mounted => {
                self.counts.blobs_mounted.fetch_add(1, Ordering::Relaxed);
            }
            PushOutcome::Uploaded => {
                self.counts.blobs_sent.fetch_add(1, Ordering::Relaxed);
                self.counts.bytes_sent.fetch_add(size, Ordering::Relaxed);
            }
        }
        Ok(())
    }
}

/// The progress of a blob. It starts with the first byte, so that mounted and waiting blobs are not shown.
struct BlobProgress {
    progress: Arc<dyn Progress>,
    digest: Digest,
    size: u64,
    repository: RepositoryName,
    is_started: Once,
}

impl BlobProgress {
    fn advance(&self, bytes: u64) {
        self.is_started.call_once(|| {
            self.progress.blob_begin(Activity::Push, &self.digest, self.size, self.repository.as_str());
        });
        self.progress.advance(Activity::Push, bytes);
        self.progress.blob_advance(&self.digest, bytes);
    }

    fn end(&self) {
        if self.is_started.is_completed() {
            self.progress.blob_end(&self.digest);
        }
    }
}

/// Where a blob is that is to be sent.
enum Place {
    Archive(Arc<Bundle>, BundleBlob),
    Rebuilt(Arc<RebuiltLayer>),
}

/// Reads a blob for the registry client, which hashes it while it sends.
struct LocalContent {
    place: Place,
    progress: Arc<BlobProgress>,
}

impl BlobSource for LocalContent {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let read = match &self.place {
            Place::Archive(bundle, blob) => bundle.read_at(blob, offset, buf)?,
            Place::Rebuilt(layer) => layer.read_at(offset, buf)?,
        };
        self.progress.advance(read as u64);
        Ok(read)
    }
}
