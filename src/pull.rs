// SPDX-License-Identifier: Apache-2.0
//! Carries out a plan: fetches blobs in parallel, each once, and writes them to their places.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use camino::{Utf8Path, Utf8PathBuf};
use futures::stream::{self, StreamExt as _};
use thiserror::Error;

use crate::bundle::{BundleBlob, BundleError, Writer};
use crate::error::{Classify, ErrorKind};
use crate::plan::{Fetch, Plan};
use crate::progress::{Activity, Progress};
use crate::reference::Reference;
use crate::registry::{BlobSink, Client, RegistryError};
use crate::resolve::{ImageError, ImageErrors};
use crate::sign::Signatures;

/// Why there is no archive.
#[derive(Debug, Error)]
pub enum PullError {
    /// The archive cannot be written.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// Images that could not be fetched.
    #[error(transparent)]
    Images(#[from] ImageErrors),
    /// The disk was full, or failed, in the middle.
    #[error("cannot write {path}: {source}")]
    Write {
        /// The file.
        path: Utf8PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A thread died; nothing was published.
    #[error("the run was cut off: {0}")]
    Task(#[from] tokio::task::JoinError),
}

impl Classify for PullError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Bundle(e) => e.kind(),
            Self::Images(e) => e.kind(),
            Self::Write { source, .. } => crate::error::io_kind(source),
            Self::Task(_) => ErrorKind::Other,
        }
    }

    fn help(&self) -> Option<String> {
        match self {
            Self::Bundle(e) => e.help(),
            Self::Images(e) => e.help(),
            Self::Write { .. } => {
                Some("free some space or write to another medium, then run the same command again".to_owned())
            }
            Self::Task(_) => None,
        }
    }
}

/// Fetches everything that `plan` lacks and writes the archive `path`, with at most `jobs` blobs at once.
///
/// # Errors
/// [`PullError`] with every image that failed; then no file called `path` was written.
pub async fn pull(
    client: &Client,
    plan: &Plan,
    signatures: Signatures,
    path: &Utf8Path,
    jobs: usize,
    progress: &Arc<dyn Progress>,
) -> Result<Utf8PathBuf, PullError> {
    let (manifest, sets, target) = (plan.manifest.clone(), plan.sets.clone(), path.to_owned());
    let create = move || {
        let sets = sets.iter().map(Vec::as_slice).collect::<Vec<_>>();
        Writer::create(&target, &manifest, &sets, &signatures)
    };
    let writer = Arc::new(tokio::task::spawn_blocking(create).await??);
    progress.begin(Activity::Pull, plan.fetch_size());
    let result = write_blobs(client, plan, &writer, path, jobs, progress).await;
    progress.end(Activity::Pull);
    if let Err(error) = result {
        writer.discard();
        return Err(error);
    }
    Ok(tokio::task::spawn_blocking(move || writer.finish()).await??)
}

async fn write_blobs(
    client: &Client,
    plan: &Plan,
    writer: &Arc<Writer>,
    path: &Utf8Path,
    jobs: usize,
    progress: &Arc<dyn Progress>,
) -> Result<(), PullError> {
    let write_error = |source| PullError::Write { path: path.to_owned(), source };
    for (blob, bytes) in &plan.documents {
        writer.write_at(blob, 0, bytes).map_err(write_error)?;
    }
    let mut fetches = plan.fetches.iter().collect::<Vec<_>>();
    if writer.any_order() {
        // The largest first: else one of them is still on its way when all others are done.
        fetches.sort_by_key(|fetch| std::cmp::Reverse(fetch.blob.size));
    }
    // A full disk ends the run: no other blob would fare better.
    let stop = Arc::new(AtomicBool::new(false));
    // A task of its own for each blob, so that they are hashed and written on all cores.
    let tasks = fetches.into_iter().map(|fetch| {
        let (client, own, stop) = (client.clone(), fetch.clone(), Arc::clone(&stop));
        let (writer, progress) = (Arc::clone(writer), Arc::clone(progress));
        let task = async move {
            if stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            let result = fetch_blob(&client, &own, &writer, &progress).await;
            stop.fetch_or(matches!(result, Err(RegistryError::Sink { .. })), Ordering::Relaxed);
            result
        };
        async move { tokio::spawn(task).await.map(|result| result.map_err(|error| (fetch, error))) }
    });
    let results = stream::iter(tasks).buffer_unordered(jobs.max(1)).collect::<Vec<_>>().await;
    let mut failures = Vec::new();
    for result in results {
        let Err((fetch, error)) = result? else { continue };
        match error {
            RegistryError::Sink { source, .. } => return Err(write_error(source)),
            error => failures.push((fetch, error)),
        }
    }
    if failures.is_empty() { Ok(()) } else { Err(by_image(plan, failures).into()) }
}

/// Names every image that needs a blob that failed, each once, in the order of the sets.
fn by_image(plan: &Plan, failures: Vec<(&Fetch, RegistryError)>) -> ImageErrors {
    let places = plan.manifest.images.iter().enumerate().map(|(n, image)| (&image.reference, n));
    let places = places.collect::<HashMap<_, _>>();
    let mut errors = BTreeMap::<usize, (Reference, ImageError)>::new();
    let mut shared = Vec::new();
    for (fetch, error) in failures {
        let mut error = Some(error);
        for image in &fetch.images {
            let Some(place) = places.get(image) else { continue };
            match error.take() {
                // The first image that is not named yet says why; the others, that they share the blob.
                Some(error) if !errors.contains_key(place) => {
                    errors.insert(*place, (image.clone(), error.into()));
                }
                kept => {
                    error = kept;
                    shared.push((*place, image, fetch.blob.digest));
                }
            }
        }
    }
    for (place, image, digest) in shared {
        errors.entry(place).or_insert_with(|| (image.clone(), ImageError::Shared(digest)));
    }
    ImageErrors(errors.into_values().collect())
}

async fn fetch_blob(
    client: &Client,
    fetch: &Fetch,
    writer: &Arc<Writer>,
    progress: &Arc<dyn Progress>,
) -> Result<(), RegistryError> {
    let BundleBlob { digest, size, .. } = fetch.blob;
    let name = fetch.images.first().map(ToString::to_string).unwrap_or_default();
    progress.blob_begin(Activity::Pull, &digest, size, &name);
    let mut sink =
        ArchiveSink { writer: Arc::clone(writer), blob: fetch.blob, progress: Arc::clone(progress) };
    let mut result = Ok(());
    for origin in &fetch.origins {
        let repository = client.repository(&origin.registry, &origin.repository);
        result = repository.blob(&digest, size, &mut sink).await;
        match &result {
            // The next origin may have what this one has not.
            Err(e) if !matches!(e, RegistryError::Sink { .. }) => {}
            _ => break,
        }
    }
    progress.blob_end(&digest);
    result
}

/// Writes a blob to its place in the archive.
struct ArchiveSink {
    writer: Arc<Writer>,
    blob: BundleBlob,
    progress: Arc<dyn Progress>,
}

impl BlobSink for ArchiveSink {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.writer.write_at(&self.blob, offset, bytes)?;
        self.progress.advance(Activity::Pull, bytes.len() as u64);
        self.progress.blob_advance(&self.blob.digest, bytes.len() as u64);
        Ok(())
    }
}
