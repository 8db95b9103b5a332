// SPDX-License-Identifier: Apache-2.0
//! From a bundle to a registry, straight from the archive: asks first what is there, sends each blob once, links
//! it into the other repositories that need it, puts inner documents before outer ones, reads back, and tags last.

mod attach;
mod base;
mod blobs;
mod documents;
mod error;
mod left_behind;
mod locate;
mod referrers;
mod tags;
mod targets;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use futures::stream::{self, StreamExt as _};
use tokio::sync::Semaphore;

use crate::bundle::{Bundle, BundleBlob, BundledImage, BundledImages};
use crate::oci::Descriptor;
use crate::oci::closure::{Closure, Optional};
use crate::oci::digest::Digest;
use crate::oci::reference::{Destination, RepositoryName, Selector, Tag};
use crate::progress::Progress;
use crate::registry::{Client, RegistryError, Repository};

use tags::TagsBefore;

pub use base::{expected as expected_in, find as find_layer};
pub use documents::{Put, put_as_manifest, put_document, put_tag, send_document};
pub use error::{Claim, MissingLayer, PushError, TargetError};
pub use referrers::{
    PushedReferrer, ReferrerProblem, WrittenList, list as list_referrers, mend as mend_lists,
};
pub use tags::{TagBefore, TagState, tag_states};
pub use targets::{Delivery, SetName, Target, deliveries, other_destinations, select};

/// Small questions and documents that are under way at once, as far as the client has connections: over a slow link
/// each of them takes a round trip, and hardly any bytes.
const QUESTIONS: usize = 64;

/// What a push did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PushReport {
    /// Targets that are whole, tagged and read back.
    pub targets: Vec<Target>,
    /// What the tags of all targets named before.
    pub tags: Vec<TagState>,
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
    /// Signatures, SBOMs and attestations that are not at the edge as they should be, and why.
    pub referrers: Vec<ReferrerProblem>,
}

/// How to push.
#[derive(Debug, Clone, Copy)]
pub struct PushOptions {
    /// Transfers at once.
    pub jobs: usize,
    /// Whether signatures, SBOMs and attestations follow their images.
    pub referrers: bool,
}

impl From<usize> for PushOptions {
    fn from(jobs: usize) -> Self {
        Self { jobs, referrers: true }
    }
}

/// Brings every image of `bundle` to `destination`, as [`deliver`] does.
///
/// # Errors
/// [`PushError`]; with [`PushError::Targets`] all other targets are at the edge.
pub async fn push(
    client: &Client,
    bundle: &Arc<Bundle>,
    images: &BundledImages,
    destination: &Destination,
    options: impl Into<PushOptions> + Copy,
    progress: &Arc<dyn Progress>,
) -> Result<PushReport, PushError> {
    let sets = select(bundle, &[])?;
    let mut report = PushReport::default();
    // One, where the bundle has sets.
    for delivery in deliveries(bundle, &sets, Some(destination))? {
        report = deliver(client, bundle, images, (&delivery, &[]), options.into(), progress).await?;
    }
    Ok(report)
}

/// Brings images of `bundle` to one destination. What is there already is not sent again; a failed image does not stop the
/// others, and a failed referrer does not stop its image. With the delivery come those that were pushed before it: what one
/// of them brought into the same registry is linked from there.
///
/// # Errors
/// [`PushError`]; with [`PushError::Targets`] all other targets are at the edge.
pub async fn deliver(
    client: &Client,
    bundle: &Arc<Bundle>,
    images: &BundledImages,
    (Delivery { destination, targets }, earlier): (&Delivery, &[Delivery]),
    PushOptions { jobs, referrers }: PushOptions,
    progress: &Arc<dyn Progress>,
) -> Result<PushReport, PushError> {
    let tags = |target: &Target| {
        target.tags.iter().map(|tag| (target.repository.clone(), tag.clone())).collect::<Vec<_>>()
    };
    let run = Run {
        client,
        destination,
        bundle,
        images,
        transfers: Arc::new(Semaphore::new(jobs.clamp(1, Semaphore::MAX_PERMITS))),
        referrers,
        optional: images
            .images
            .iter()
            .map(|image| images.documents.optional(&image.root, &image.closure))
            .collect(),
        claimed: targets.iter().flat_map(tags).collect(),
        progress,
        counts: Counts::default(),
        tags_before: TagsBefore::default(),
    };
    let mut needs = run.needs(targets);
    let (present, mut failures) = run.ask(&needs).await;
    // Before anything is written: a delta whose base is not there changes nothing.
    run.find_base(&mut needs, &present, targets).await?;
    run.find_earlier(&mut needs, earlier);
    run.send(&needs, present, &mut failures).await;
    let failures = &failures;
    // One after the other in each repository: two that put one manifest, or list themselves under one subject, at the same
    // time would read what the other has half written.
    let mut repositories = BTreeMap::<RepositoryName, Vec<(usize, &Target)>>::new();
    for (place, target) in targets.iter().enumerate() {
        repositories.entry(target.repository.clone()).or_default().push((place, target));
    }
    let tasks = repositories.into_values().map(|targets| {
        let run = &run;
        async move {
            let mut results = Vec::with_capacity(targets.len());
            for (place, target) in targets {
                let result = run.put_target(target, failures).await;
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
    let (mut written, mut problems) = (BTreeMap::<_, Vec<_>>::new(), Vec::new());
    for (_, target, result) in results {
        match result {
            Ok(attached) => {
                written.entry(target.repository.clone()).or_default().extend(attached.written);
                problems.extend(attached.problems);
                done.push(target.clone());
            }
            Err(error) => failed.push((target.clone(), error)),
        }
    }
    problems.extend(run.mend_lists(written).await);
    // Two images of one repository may have a part in common, and so what refers to it.
    let mut seen = BTreeSet::new();
    problems.retain(|of| seen.insert((of.repository.clone(), of.subject, of.digest, of.unlisted)));
    if failed.is_empty() {
        let tags = run.tags_before.states(targets);
        Ok(PushReport { referrers: problems, tags, ..run.counts.report(done) })
    } else {
        Err(PushError::Targets { total, failed, referrers: problems })
    }
}

/// How many targets are at their destination with their tags, or under their digests where they have none: an image gets
/// its tags when all of it is there. What cannot be asked counts as not there.
pub async fn present(client: &Client, Delivery { destination, targets }: &Delivery) -> usize {
    let asked = targets.iter().map(|target| async move {
        let repository = client.repository(&destination.registry, &target.repository);
        let repository = repository.optional().optional_once();
        let tag = target.tags.first().cloned();
        let selector = tag.map_or(Selector::Digest(target.digest), Selector::Tag);
        let found = repository.head_manifest(&selector).await.ok().flatten();
        found.is_some_and(|found| found.digest == target.digest)
    });
    let found = stream::iter(asked).buffer_unordered(QUESTIONS).collect::<Vec<bool>>().await;
    found.into_iter().filter(|found| *found).count()
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
            referrers: Vec::new(),
            tags: Vec::new(),
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
    /// Whether an image needs it, and not only a signature or the like.
    required: bool,
    /// A repository that has it, beside those that need it.
    elsewhere: Option<RepositoryName>,
}

/// Where blobs are: repository and digest.
type Present = BTreeSet<(RepositoryName, Digest)>;
/// What went wrong with blobs, by digest and repository. The error is taken by the first target that needs it.
type Failures = std::sync::Mutex<BTreeMap<(Digest, RepositoryName), Option<RegistryError>>>;

struct Run<'a> {
    client: &'a Client,
    destination: &'a Destination,
    bundle: &'a Arc<Bundle>,
    images: &'a BundledImages,
    /// One permit for each transfer that may be under way.
    transfers: Arc<Semaphore>,
    referrers: bool,
    /// What of each image only optional children of its indexes need.
    optional: Vec<Optional>,
    /// The tags that the sets give.
    claimed: BTreeSet<(RepositoryName, Tag)>,
    progress: &'a Arc<dyn Progress>,
    counts: Counts,
    tags_before: TagsBefore,
}

impl Run<'_> {
    fn repository(&self, name: &RepositoryName) -> Repository {
        self.client.repository(&self.destination.registry, name)
    }

    /// The repository for requests about a blob.
    fn repository_for(&self, need: &Need, name: &RepositoryName) -> Repository {
        let repository = self.repository(name);
        if need.required { repository } else { repository.optional() }
    }

    /// Configs and layers by the repositories that need them, in the order of the archive.
    fn needs(&self, targets: &[Target]) -> Vec<Need> {
        let mut needs = BTreeMap::<(u64, Digest), Need>::new();
        for target in targets {
            // The image is the first of its closures.
            for (content, required) in self
                .closures(target)
                .zip(std::iter::once(true).chain(std::iter::repeat(false)))
                .flat_map(|((_, closure), of_image)| closure.contents.iter().map(move |c| (c, of_image)))
            {
                let Descriptor { digest, size, .. } = *content;
                let required = required && !self.optional(target.image).contents.contains_key(&digest);
                let blob = self.bundle.blob(&digest).copied();
                let repositories = BTreeSet::new();
                let need = || Need { digest, size, blob, repositories, required, elsewhere: None };
                let position = (blob.map_or(0, |blob| blob.offset), digest);
                let need = needs.entry(position).or_insert_with(need);
                need.required |= required;
                need.repositories.insert(target.repository.clone());
            }
        }
        needs.into_values().collect()
    }

    /// Notes of what earlier deliveries have brought into the same registry where it is.
    fn find_earlier(&self, needs: &mut [Need], earlier: &[Delivery]) {
        let earlier = earlier.iter().filter(|one| one.destination.registry == self.destination.registry);
        let brought = earlier.flat_map(|one| self.needs(&one.targets));
        let brought = brought.filter_map(|need| Some((need.digest, need.repositories.first()?.clone())));
        let brought = brought.collect::<BTreeMap<_, _>>();
        for need in needs.iter_mut().filter(|need| need.elsewhere.is_none()) {
            need.elsewhere = brought.get(&need.digest).cloned();
        }
    }

    fn optional(&self, image: usize) -> &Optional {
        static NOTHING: LazyLock<Optional> = LazyLock::new(Optional::default);
        self.optional.get(image).unwrap_or(&NOTHING)
    }

    /// The image of a target, and what refers to it where that is wanted.
    fn closures(&self, target: &Target) -> impl Iterator<Item = (&Descriptor, &Closure)> {
        let (image, wanted) = (self.images.images.get(target.image).into_iter(), self.referrers);
        image.flat_map(move |BundledImage { root, closure, referrers, .. }| {
            let referrers = referrers.iter().filter(move |_| wanted);
            std::iter::once((root, closure)).chain(referrers.map(|(root, closure)| (root, closure)))
        })
    }

    /// Reads again the lists of referrers that this run wrote: another writer may have overwritten them. (T-114)
    async fn mend_lists(&self, written: BTreeMap<RepositoryName, Vec<WrittenList>>) -> Vec<ReferrerProblem> {
        let mended = written
            .into_iter()
            .map(|(name, written)| async move { referrers::mend(&self.repository(&name), written).await });
        let problems = stream::iter(mended).buffered(QUESTIONS).collect::<Vec<_>>().await;
        problems.into_iter().flatten().collect()
    }
}
