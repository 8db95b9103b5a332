// SPDX-License-Identifier: Apache-2.0
//! From a bundle to a registry, straight from the archive: asks first what is there, sends each blob once, links
//! it into the other repositories that need it, puts inner documents before outer ones, reads back, and tags last.

mod base;
mod documents;
mod error;
mod referrers;
mod targets;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::stream::{self, StreamExt as _};

use crate::bundle::{Bundle, BundleBlob, BundledImage, BundledImages};
use crate::closure::Closure;
use crate::digest::Digest;
use crate::oci::Descriptor;
use crate::progress::{Activity, Progress};
use crate::reference::{Destination, RegistryHost, RepositoryName};
use crate::registry::{BlobSource, Client, Pushed, RegistryError, Repository, SourceError};

pub use base::{ReadThrough, expected as expected_in, find as find_layer};
pub use documents::put_document;
pub use error::{MissingLayer, PushError, TargetError};
pub use referrers::list as list_referrers;
pub use targets::{Target, targets};

/// Small questions and documents that are under way at once, as far as the client has connections: over a slow link
/// each of them takes a round trip, and hardly any bytes.
const QUESTIONS: usize = 64;

/// What a push did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PushReport {
    /// Targets that are whole, tagged and read back.
    pub targets: Vec<Target>,
    /// Blobs that were sent.
    pub blobs_sent: u64,
    /// Their bytes.
    pub bytes_sent: u64,
    /// Blobs that the registry linked from another of its repositories.
    pub blobs_mounted: u64,
    /// Blobs that were there before.
    pub blobs_present: u64,
    /// Indexes and manifests that were sent.
    pub documents_sent: u64,
}

/// Brings every image of `bundle` to `destination`, with at most `jobs` transfers at once. What is there already
/// is not sent again; a failed image does not stop the others.
///
/// # Errors
/// [`PushError`]; with [`PushError::Targets`] all other targets are at the edge.
pub async fn push(
    client: &Client,
    bundle: &Arc<Bundle>,
    images: &BundledImages,
    destination: &Destination,
    jobs: usize,
    progress: &Arc<dyn Progress>,
) -> Result<PushReport, PushError> {
    let targets = targets(bundle, destination)?;
    let run = Run {
        client,
        registry: &destination.registry,
        bundle,
        images,
        jobs: jobs.max(1),
        progress,
        counts: Counts::default(),
    };
    let mut needs = run.needs(&targets);
    let (present, mut failures) = run.ask(&needs).await;
    // Before anything is written: a delta whose base is not there changes nothing.
    run.find_base(&mut needs, &present, &targets, destination).await?;
    run.send(&needs, present, &mut failures).await;
    let failures = &failures;
    // One after the other in each repository: two that put one manifest, or list themselves under one subject, at the same
    // time would read what the other has half written.
    let mut repositories = BTreeMap::<RepositoryName, Vec<(usize, Target)>>::new();
    for (place, target) in targets.into_iter().enumerate() {
        repositories.entry(target.repository.clone()).or_default().push((place, target));
    }
    let tasks = repositories.into_values().map(|targets| {
        let run = &run;
        async move {
            let mut results = Vec::with_capacity(targets.len());
            for (place, target) in targets {
                let result = run.put_target(&target, failures).await;
                results.push((place, target, result));
            }
            results
        }
    });
    let results = stream::iter(tasks).buffer_unordered(QUESTIONS).collect::<Vec<_>>().await;
    let mut results = results.into_iter().flatten().collect::<Vec<_>>();
    results.sort_unstable_by_key(|(place, ..)| *place);
    let total = results.len();
    let (mut done, mut failed) = (Vec::new(), Vec::new());
    for (_, target, result) in results {
        match result {
            Ok(()) => done.push(target),
            Err(error) => failed.push((target, error)),
        }
    }
    if failed.is_empty() { Ok(run.counts.report(done)) } else { Err(PushError::Targets { total, failed }) }
}

#[derive(Default)]
struct Counts {
    blobs_sent: AtomicU64,
    bytes_sent: AtomicU64,
    blobs_mounted: AtomicU64,
    blobs_present: AtomicU64,
    documents_sent: AtomicU64,
}

impl Counts {
    fn report(&self, targets: Vec<Target>) -> PushReport {
        PushReport {
            targets,
            blobs_sent: self.blobs_sent.load(Ordering::Relaxed),
            bytes_sent: self.bytes_sent.load(Ordering::Relaxed),
            blobs_mounted: self.blobs_mounted.load(Ordering::Relaxed),
            blobs_present: self.blobs_present.load(Ordering::Relaxed),
            documents_sent: self.documents_sent.load(Ordering::Relaxed),
        }
    }
}

/// A blob and the repositories that need it.
struct Need {
    digest: Digest,
    size: u64,
    /// Its place in the archive; `None`: the bundle leaves it to the site.
    blob: Option<BundleBlob>,
    repositories: BTreeSet<RepositoryName>,
    /// A repository that has it, beside those that need it.
    elsewhere: Option<RepositoryName>,
}

/// Where blobs are: repository and digest.
type Present = BTreeSet<(RepositoryName, Digest)>;
/// What went wrong with blobs, by digest and repository. The error is taken by the first target that needs it.
type Failures = std::sync::Mutex<BTreeMap<(Digest, RepositoryName), Option<RegistryError>>>;

struct Run<'a> {
    client: &'a Client,
    registry: &'a RegistryHost,
    bundle: &'a Arc<Bundle>,
    images: &'a BundledImages,
    jobs: usize,
    progress: &'a Arc<dyn Progress>,
    counts: Counts,
}

impl Run<'_> {
    fn repository(&self, name: &RepositoryName) -> Repository {
        self.client.repository(self.registry, name)
    }

    /// Configs and layers by the repositories that need them, in the order of the archive.
    fn needs(&self, targets: &[Target]) -> Vec<Need> {
        let mut needs = BTreeMap::<(u64, Digest), Need>::new();
        for target in targets {
            for content in self.closures(target).flat_map(|(_, closure)| &closure.contents) {
                let Descriptor { digest, size, .. } = *content;
                let blob = self.bundle.blob(&digest).copied();
                let need = || Need { digest, size, blob, repositories: BTreeSet::new(), elsewhere: None };
                let place = (blob.map_or(0, |blob| blob.offset), digest);
                needs.entry(place).or_insert_with(need).repositories.insert(target.repository.clone());
            }
        }
        needs.into_values().collect()
    }

    /// Finds where the registry has the layers that the bundle leaves to the site.
    async fn find_base(
        &self,
        needs: &mut [Need],
        present: &Present,
        targets: &[Target],
        destination: &Destination,
    ) -> Result<(), PushError> {
        let mut lacking = Vec::new();
        for need in needs.iter_mut().filter(|need| need.blob.is_none()) {
            let has = |name: &&RepositoryName| present.contains(&((*name).clone(), need.digest));
            if need.repositories.iter().any(|name| has(&name)) {
                continue;
            }
            let (Some(layer), Some(any)) = (self.bundle.base_layer(&need.digest), need.repositories.first())
            else {
                continue;
            };
            let expected = base::expected(layer, destination);
            let elsewhere = expected.difference(&need.repositories);
            let found = base::find(&self.repository(any), (&need.digest, need.size), elsewhere).await?;
            if found.is_none() {
                let needing = |target: &&Target| {
                    let mut contents = self.closures(target).flat_map(|(_, closure)| &closure.contents);
                    contents.any(|content| content.digest == need.digest)
                };
                let images = targets.iter().filter(needing).flat_map(|target| target.references.clone());
                let looked = need.repositories.union(&expected).cloned().collect();
                lacking.push(base::missing(layer, images.collect(), &looked));
            }
            need.elsewhere = found;
        }
        if lacking.is_empty() {
            return Ok(());
        }
        Err(PushError::Base { registry: self.registry.clone(), missing: lacking })
    }

    /// The image of a target and what refers to it.
    fn closures(&self, target: &Target) -> impl Iterator<Item = (&Descriptor, &Closure)> {
        let image = self.images.images.get(target.image).into_iter();
        image.flat_map(|BundledImage { root, closure, referrers, .. }| {
            std::iter::once((root, closure)).chain(referrers.iter().map(|(root, closure)| (root, closure)))
        })
    }

    /// Asks the registry which blobs it has where.
    async fn ask(&self, needs: &[Need]) -> (Present, Failures) {
        let pairs = needs.iter().flat_map(|need| need.repositories.iter().map(move |name| (need, name)));
        let heads = pairs.map(|(need, name)| async move {
            (need.digest, name.clone(), self.repository(name).has_blob(&need.digest, need.size).await)
        });
        let answers = stream::iter(heads).buffer_unordered(QUESTIONS).collect::<Vec<_>>().await;
        let (mut present, mut failures) = (Present::new(), BTreeMap::new());
        for (digest, name, answer) in answers {
            match answer {
                Ok(true) => {
                    present.insert((name, digest));
                }
                Ok(false) => {}
                Err(error) => {
                    failures.insert((digest, name), Some(error));
                }
            }
        }
        self.counts.blobs_present.store(present.len() as u64, Ordering::Relaxed);
        (present, Failures::new(failures))
    }

    /// Sends each blob that is nowhere once, and links it into the other repositories that need it.
    async fn send(&self, needs: &[Need], present: Present, failures: &mut Failures) {
        let known = failures.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        let work = needs.iter().filter_map(|need| {
            let has = |name: &&RepositoryName| present.contains(&((*name).clone(), need.digest));
            let failed = |name: &&RepositoryName| known.contains_key(&(need.digest, (*name).clone()));
            let holder = need.repositories.iter().find(has).or(need.elsewhere.as_ref()).cloned();
            let lacking = need.repositories.iter().filter(|name| !has(name) && !failed(name)).cloned();
            let lacking = lacking.collect::<Vec<_>>();
            (!lacking.is_empty()).then_some((need, holder, lacking))
        });
        let work = work.collect::<Vec<_>>();
        let bytes = work.iter().filter(|(_, holder, _)| holder.is_none()).map(|(need, ..)| need.size).sum();
        self.progress.begin(Activity::Push, bytes);
        let failures = &*failures;
        let tasks = work.into_iter().map(|(need, mut holder, lacking)| async move {
            for name in lacking {
                match self.send_blob(need, &name, holder.as_ref()).await {
                    Ok(()) => holder = holder.or(Some(name)),
                    Err(error) => {
                        let mut failures = failures.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                        failures.insert((need.digest, name), Some(error));
                    }
                }
            }
        });
        stream::iter(tasks).buffer_unordered(self.jobs).collect::<Vec<()>>().await;
        self.progress.end(Activity::Push);
    }

    async fn send_blob(
        &self,
        need: &Need,
        to: &RepositoryName,
        from: Option<&RepositoryName>,
    ) -> Result<(), RegistryError> {
        let Need { digest, size, .. } = *need;
        let source: Arc<dyn BlobSource> = match (need.blob, from) {
            (Some(blob), _) => Arc::new(ArchiveSource {
                bundle: Arc::clone(self.bundle),
                blob,
                progress: Arc::clone(self.progress),
            }),
            // Only for a registry that does not mount.
            (None, Some(from)) => Arc::new(ReadThrough::new(self.repository(from), digest, size)),
            // The base was found before; it can only be gone since.
            (None, None) => {
                return Err(RegistryError::Source {
                    digest,
                    source: SourceError::Read(io::ErrorKind::NotFound.into()),
                });
            }
        };
        self.progress.blob_begin(Activity::Push, &digest, size, to.as_str());
        let pushed = self.repository(to).push_blob(&digest, size, source, from).await;
        self.progress.blob_end(&digest);
        match pushed? {
            Pushed::Mounted => {
                self.counts.blobs_mounted.fetch_add(1, Ordering::Relaxed);
            }
            Pushed::Uploaded => {
                self.counts.blobs_sent.fetch_add(1, Ordering::Relaxed);
                self.counts.bytes_sent.fetch_add(size, Ordering::Relaxed);
            }
        }
        Ok(())
    }
}

/// Reads a blob of the archive for the registry client, which hashes it on the way.
struct ArchiveSource {
    bundle: Arc<Bundle>,
    blob: BundleBlob,
    progress: Arc<dyn Progress>,
}

impl BlobSource for ArchiveSource {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.bundle.read_at(&self.blob, offset, buf)?;
        self.progress.advance(Activity::Push, read as u64);
        self.progress.blob_advance(&self.blob.digest, read as u64);
        Ok(read)
    }
}
