// SPDX-License-Identifier: Apache-2.0
//! Carries out a plan: fetches blobs in parallel, each once, and writes each at its offset in the archive.

mod error;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use camino::{Utf8Path, Utf8PathBuf};
use futures::stream::{self, StreamExt as _};

use self::error::{group_by_image, group_by_referrer};
use crate::bundle::sign::Signatures;
use crate::bundle::{ArchiveLock, Bundle, BundleBlob, Writer};
use crate::error::{Classify as _, ErrorKind};
use crate::local::LocalSource;
use crate::oci::digest::Hasher;
use crate::oci::reference::RegistryHost;
use crate::progress::{Activity, Progress};
use crate::registry::{BlobSink, Client, ForeignLayers, RegistryError};
use crate::sync::plan::Plan;
use crate::sync::resolve::Origin;
use crate::sync::source::{ReadError, copy_blob, copy_file};

pub use self::error::PullError;

/// The fewest bytes of a blob between two entries in the journal.
const JOURNAL_STEP: u64 = 1 << 20;

/// How to carry out a plan.
#[derive(Debug, Clone)]
pub struct PullOptions {
    /// Blobs that are fetched at once.
    pub jobs: usize,
    /// Bytes of each volume; `None`: one file.
    pub volume_size: Option<u64>,
    /// Earlier bundles, whose blobs are copied instead of fetched.
    pub reuse: Vec<Arc<Bundle>>,
    /// Hosts that foreign layers may be downloaded from, even if their addresses are not public.
    pub foreign_hosts: Vec<RegistryHost>,
    /// The lock of the archive, if it was taken already.
    pub lock: Option<Arc<ArchiveLock>>,
}

impl From<usize> for PullOptions {
    fn from(jobs: usize) -> Self {
        Self { jobs, volume_size: None, reuse: Vec::new(), foreign_hosts: Vec::new(), lock: None }
    }
}

/// What a pull did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PullReport {
    /// The archive, or its volumes.
    pub files: Vec<Utf8PathBuf>,
    /// Bytes of blobs that an interrupted run had fetched.
    pub resumed: u64,
    /// Bytes of blobs that came from earlier bundles.
    pub reused: u64,
    /// Bytes of blobs that were read from local sources.
    pub local: u64,
}

/// Fetches the blobs of `plan` and writes the archive `path`. `options` may be just the number of blobs to fetch at once.
///
/// # Expected flow
/// [`plan`](crate::sync::plan::plan), then this. Each blob comes from an interrupted run at the same `path` if there is one,
/// then from the local source of its image if that has one, otherwise from [`PullOptions::reuse`], then from the registries
/// of the images that need it.
///
/// # Guarantees
/// - `path` exists only if every blob was written, matches its digest, and is on disk ([`Writer::finish`]).
/// - Every blob that an interrupted run has left is hashed before it is used, whatever bundle that run was to make.
/// - A blob is fetched once, however many images share it. A failed blob does not stop the others, but a full disk does.
///
/// # Errors
/// [`PullError`] with every image that failed. No file called `path` was written, and the next run resumes.
///
/// # Cancellation
/// The future may be dropped, and the process may end, at any time. `path.part` and its journal stay for the next run.
/// Blobs that are being fetched when the future is dropped run to their end in the background.
pub async fn pull(
    client: &Client,
    plan: &Plan,
    signatures: Signatures,
    path: &Utf8Path,
    options: impl Into<PullOptions>,
    progress: &Arc<dyn Progress>,
) -> Result<PullReport, PullError> {
    let options = options.into();
    let foreign = ForeignLayers::new(client, &options.foreign_hosts).map_err(PullError::Client)?;
    let (manifest, sets, target) = (plan.manifest.clone(), plan.sets.clone(), path.to_owned());
    let (volume_size, lock) = (options.volume_size, options.lock.clone());
    let create = move || {
        let sets = sets.iter().map(Vec::as_slice).collect::<Vec<_>>();
        Writer::create_locked(&target, lock, &manifest, (&sets, &signatures), volume_size)
    };
    let writer = Arc::new(tokio::task::spawn_blocking(create).await??);
    progress.begin(Activity::Pull, plan.read_size());
    let run = Arc::new(Run {
        client: client.clone(),
        foreign,
        writer: Arc::clone(&writer),
        reuse: options.reuse,
        progress: Arc::clone(progress),
        stop: AtomicBool::new(false),
        resumed: AtomicU64::new(0),
        reused: AtomicU64::new(0),
        local: AtomicU64::new(0),
    });
    let result = run.blobs(plan, path, options.jobs).await;
    progress.end(Activity::Pull);
    if let Err(error) = result {
        writer.abandon();
        return Err(error);
    }
    let files = tokio::task::spawn_blocking(move || writer.finish()).await??;
    Ok(PullReport {
        files,
        resumed: run.resumed.load(Ordering::Relaxed),
        reused: run.reused.load(Ordering::Relaxed),
        local: run.local.load(Ordering::Relaxed),
    })
}

/// What all blobs of a run share.
struct Run {
    client: Client,
    foreign: ForeignLayers,
    writer: Arc<Writer>,
    reuse: Vec<Arc<Bundle>>,
    progress: Arc<dyn Progress>,
    /// A full disk ends the run: every other blob would fail too.
    stop: AtomicBool,
    resumed: AtomicU64,
    reused: AtomicU64,
    local: AtomicU64,
}

impl Run {
    async fn blobs(self: &Arc<Self>, plan: &Plan, path: &Utf8Path, jobs: usize) -> Result<(), PullError> {
        let write_error = |source| PullError::Write { path: path.to_owned(), source };
        for (blob, bytes) in &plan.manifests {
            self.writer.write_at(blob, 0, bytes).map_err(write_error)?;
        }
        let mut fetches = plan.fetches.iter().collect::<Vec<_>>();
        if self.writer.is_any_order_cheap() {
            // The largest first; otherwise one of them is still being fetched when all others are done.
            fetches.sort_by_key(|fetch| std::cmp::Reverse(fetch.blob.size));
        }
        // One task for each blob, so that all cores hash and write.
        let tasks = fetches.into_iter().map(|fetch| {
            let (run, blob, origins) = (Arc::clone(self), fetch.blob, plan.origins(fetch));
            let (known, file, urls) = (fetch.known.clone(), fetch.file.clone(), fetch.urls.clone());
            let source = fetch.source.and_then(|index| plan.sources.get(index));
            let source = source.map(|share| Arc::clone(&share.source));
            let name = plan.images(fetch).next().map(ToString::to_string).unwrap_or_default();
            let task = async move {
                if run.stop.load(Ordering::Relaxed) {
                    return Ok(());
                }
                run.progress.blob_begin(Activity::Pull, &blob.digest, blob.size, &name);
                let result = match (known, file) {
                    (Some(bytes), _) => run.write_known(&blob, &bytes),
                    (None, Some(file)) => run.copy_file(blob, file).await,
                    (None, None) => run.obtain(blob, source, &origins, &urls).await,
                };
                run.progress.blob_end(&blob.digest);
                let is_stopped = matches!(result, Err(ReadError::Registry(RegistryError::Sink { .. })));
                run.stop.fetch_or(is_stopped, Ordering::Relaxed);
                result
            };
            async move { tokio::spawn(task).await.map(|result| result.map_err(|error| (fetch, error))) }
        });
        let results = stream::iter(tasks).buffer_unordered(jobs.max(1)).collect::<Vec<_>>().await;
        let mut failures = Vec::new();
        for result in results {
            let Err((fetch, error)) = result? else { continue };
            match error {
                ReadError::Registry(RegistryError::Sink { source, .. }) => return Err(write_error(source)),
                error => failures.push((fetch, error)),
            }
        }
        if failures.is_empty() {
            return Ok(());
        }
        let (images, referrers): (Vec<_>, Vec<_>) =
            failures.into_iter().partition(|(fetch, _)| !fetch.images.is_empty());
        if images.is_empty() {
            Err(group_by_referrer(plan, referrers).into())
        } else {
            Err(group_by_image(plan, images).into())
        }
    }

    /// Writes a blob that was fetched along with the manifests.
    fn write_known(&self, blob: &BundleBlob, bytes: &[u8]) -> Result<(), ReadError> {
        let sink_error = |source| RegistryError::Sink { digest: blob.digest, source };
        self.writer.write_at(blob, 0, bytes).map_err(sink_error)?;
        self.writer.record(&blob.digest, blob.size);
        Ok(())
    }

    /// Copies a blob out of a file, and compares it with its digest.
    async fn copy_file(self: &Arc<Self>, blob: BundleBlob, path: Utf8PathBuf) -> Result<(), ReadError> {
        let run = Arc::clone(self);
        let digest = blob.digest;
        let copied = tokio::task::spawn_blocking(move || {
            let mut sink = ArchiveSink::new(&run, blob, 0);
            let copied = copy_file(&path, &digest, blob.size, &mut sink);
            run.writer.record(&digest, if copied.is_ok() { blob.size } else { 0 });
            copied
        });
        copied.await.map_err(|e| RegistryError::Sink { digest, source: io::Error::other(e) })?
    }

    /// Obtains one blob: from what an interrupted run left, from its local source, from an earlier bundle, or else from the
    /// network.
    async fn obtain(
        self: &Arc<Self>,
        blob: BundleBlob,
        source: Option<Arc<LocalSource>>,
        origins: &[Origin],
        urls: &[String],
    ) -> Result<(), ReadError> {
        let digest = blob.digest;
        let sink_error = |source| RegistryError::Sink { digest, source };
        let run = Arc::clone(self);
        let has_source = source.is_some();
        let written = tokio::task::spawn_blocking(move || run.find_written(&blob, has_source)).await;
        let written = written.map_err(|e| sink_error(io::Error::other(e)))?.map_err(sink_error)?;
        let Some(hasher) = written else { return Ok(()) };
        let Some(source) = source else { return Ok(self.fetch(blob, origins, urls, hasher).await?) };
        let run = Arc::clone(self);
        let (hasher_copy, has_urls) = (hasher.clone(), !urls.is_empty());
        let read =
            tokio::task::spawn_blocking(move || run.read_local(blob, &source, hasher_copy, has_urls)).await;
        if read.map_err(|e| sink_error(io::Error::other(e)))?? {
            return Ok(());
        }
        // A foreign layer that the source does not have: no registry is asked for it.
        Ok(self.foreign_blob(blob, urls, &hasher).await?)
    }

    /// Copies a blob out of its local source. `false` if that does not have it, which is accepted of foreign layers. Blocking.
    fn read_local(
        self: &Arc<Self>,
        blob: BundleBlob,
        source: &LocalSource,
        hasher: Hasher,
        has_urls: bool,
    ) -> Result<bool, ReadError> {
        let BundleBlob { digest, size, .. } = blob;
        if has_urls && source.content(&digest)?.is_none() {
            return Ok(false);
        }
        let rest = size - hasher.bytes();
        let mut sink = ArchiveSink::new(self, blob, hasher.bytes());
        let copied = copy_blob(source, &digest, size, hasher, &mut sink);
        match &copied {
            Ok(()) => self.writer.record(&digest, size),
            // What was read is not the blob, so no part of it is resumed.
            Err(error) if error.kind() == ErrorKind::Corrupt => self.writer.record(&digest, 0),
            Err(_) => {}
        }
        copied?;
        self.local.fetch_add(rest, Ordering::Relaxed);
        Ok(true)
    }

    /// Fetches what `hasher` does not have of a blob: from the first registry that has it, or a foreign layer from its
    /// addresses.
    async fn fetch(
        self: &Arc<Self>,
        blob: BundleBlob,
        origins: &[Origin],
        urls: &[String],
        hasher: Hasher,
    ) -> Result<(), RegistryError> {
        let BundleBlob { digest, size, .. } = blob;
        let mut result = Ok(());
        for origin in origins {
            let repository = self.client.repository(&origin.registry, &origin.repository);
            let mut sink = ArchiveSink::new(self, blob, hasher.bytes());
            result = repository.rest_of_blob(&digest, size, hasher.clone(), &mut sink).await;
            match &result {
                Ok(()) => {
                    self.writer.record(&digest, size);
                    break;
                }
                Err(RegistryError::Sink { .. }) => break,
                // What arrived is not the blob, so no part of it is resumed.
                Err(RegistryError::Content { .. }) => self.writer.record(&digest, 0),
                // The next origin may have the blob.
                Err(_) => {}
            }
        }
        match result {
            // Registries are not required to have a foreign layer.
            Err(RegistryError::NotFound { .. } | RegistryError::Refused { .. }) if !urls.is_empty() => {
                self.foreign_blob(blob, urls, &hasher).await
            }
            result => result,
        }
    }

    async fn foreign_blob(
        self: &Arc<Self>,
        blob: BundleBlob,
        urls: &[String],
        hasher: &Hasher,
    ) -> Result<(), RegistryError> {
        let BundleBlob { digest, size, .. } = blob;
        let mut sink = ArchiveSink::new(self, blob, hasher.bytes());
        let result = self.foreign.blob(urls, &digest, size, hasher, &mut sink).await;
        match &result {
            Ok(()) => self.writer.record(&digest, size),
            Err(error) if error.kind() == ErrorKind::Corrupt => self.writer.record(&digest, 0),
            Err(_) => {}
        }
        result
    }

    /// Looks for a blob in what an interrupted run left and in earlier bundles. `None` if the blob is complete; otherwise the
    /// hasher of its beginning that is already written. Blocking.
    fn find_written(&self, blob: &BundleBlob, has_source: bool) -> io::Result<Option<Hasher>> {
        let hasher = self.writer.hash(blob, self.writer.resume_offset(blob))?.unwrap_or_default();
        let done = hasher.bytes();
        if done > 0 && (done < blob.size || hasher.clone().finish() == blob.digest) {
            self.resumed.fetch_add(done, Ordering::Relaxed);
            self.advance(blob, done);
            return Ok((done < blob.size).then_some(hasher));
        }
        // The blobs of an image come from its source, as the report says.
        for bundle in self.reuse.iter().filter(|_| !has_source) {
            if self.writer.copy_from(blob, bundle)? {
                self.reused.fetch_add(blob.size, Ordering::Relaxed);
                self.advance(blob, blob.size);
                self.writer.record(&blob.digest, blob.size);
                self.sync_behind();
                return Ok(None);
            }
        }
        Ok(Some(Hasher::new()))
    }

    /// Starts writing to the disk while more is fetched.
    fn sync_behind(&self) {
        if self.writer.is_sync_due() {
            let writer = Arc::clone(&self.writer);
            // Not awaited: if it fails, so do the next write and `finish`.
            tokio::task::spawn_blocking(move || writer.sync_behind());
        }
    }

    fn advance(&self, blob: &BundleBlob, bytes: u64) {
        self.progress.advance(Activity::Pull, bytes);
        self.progress.blob_advance(&blob.digest, bytes);
    }
}

/// Writes a blob into the archive, and records its progress in the journal.
struct ArchiveSink {
    run: Arc<Run>,
    blob: BundleBlob,
    recorded: u64,
    /// Bytes between two entries in the journal, so that a large blob does not fill it.
    step: u64,
}

impl ArchiveSink {
    fn new(run: &Arc<Run>, blob: BundleBlob, recorded: u64) -> Self {
        Self { run: Arc::clone(run), blob, recorded, step: (blob.size / 64).max(JOURNAL_STEP) }
    }
}

impl BlobSink for ArchiveSink {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.run.writer.write_at(&self.blob, offset, bytes)?;
        self.run.advance(&self.blob, bytes.len() as u64);
        self.run.sync_behind();
        let end = offset + bytes.len() as u64;
        // The download started again if it is behind what was recorded.
        if end >= self.recorded.saturating_add(self.step) || end < self.recorded {
            self.recorded = end;
            self.run.writer.record(&self.blob.digest, end);
        }
        Ok(())
    }
}
