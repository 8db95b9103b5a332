// SPDX-License-Identifier: Apache-2.0
//! Copies a bundle from the archive to a registry. It queries what is present, sends each blob once, mounts it into the
//! other repositories that need it, puts inner manifests before outer ones, reads them back, and puts tags last.

mod attach;
mod base;
mod blobs;
mod error;
mod left_behind;
mod locate;
mod manifests;
mod patched;
mod put;
mod referrers;
mod run;
mod tags;
mod tags_before;
mod target;
mod targets;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::stream::{self, StreamExt as _};
use tokio::sync::Semaphore;

use crate::bundle::{Bundle, BundledImages};
use crate::oci::reference::{Destination, RepositoryName, Selector};
use crate::progress::Progress;
use crate::registry::Client;
use crate::sync::rebuild::{RebuiltLayers, Scratch};

use run::{Counts, MAX_QUERIES, Run};
use tags_before::TagsBefore;

pub use base::{expected as expected_in, find as find_layer};
pub use error::{Claim, MissingLayer, PushError, TargetError};
pub use patched::RebuildForecast;
pub use put::{PutOutcome, put_as_manifest, put_manifest, put_tag, send_manifest};
pub use referrers::{
    PushedReferrer, ReferrerProblem, WrittenList, list as list_referrers, mend as mend_lists,
};
pub use run::PushReport;
pub use tags::tag_states;
pub use tags_before::{TagBefore, TagState};
pub use target::{Delivery, SetName, Target};
pub use targets::{deliveries, other_destinations, select};

/// How to push.
#[derive(Debug, Clone, Copy)]
pub struct PushOptions {
    /// The most transfers at the same time.
    pub jobs: usize,
    /// Whether signatures, SBOMs and attestations follow their images.
    pub referrers: bool,
}

impl From<usize> for PushOptions {
    fn from(jobs: usize) -> Self {
        Self { jobs, referrers: true }
    }
}

/// Pushes every image of `bundle` to `destination`. The contract is that of [`deliver`].
///
/// # Errors
/// [`PushError`]; after [`PushError::Targets`], all other targets are complete at the edge.
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
    let rebuilt = RebuiltLayers::new(Scratch::default());
    // One, where the bundle has sets.
    for delivery in deliveries(bundle, &sets, Some(destination))? {
        report =
            deliver(client, (bundle, images, &rebuilt), (&delivery, &[]), options.into(), progress).await?;
    }
    Ok(report)
}

/// Pushes the images of one delivery to its destination. `earlier` are the deliveries that were pushed before it: blobs that
/// they sent to the same registry are mounted from there. `rebuilt` has the layers that were made of patches, for all deliveries
/// of the bundle.
///
/// # Expected flow
/// [`Bundle::open`] and [`Bundle::images`], then [`select`] and [`deliveries`], then this for each delivery, in order.
///
/// # Guarantees
/// - Content that is already present is not sent again, so that a repeated run sends only what is missing.
/// - A bundle with a base is pushed only if the base's layers are in the registry. This is checked before the first write.
/// - A layer that travels as a patch is made and verified before the first write, unless the registry has it.
/// - A manifest is put after everything that it names, and read back. A tag is put last, so that a tag never names an
///   incomplete image.
/// - A failed image does not stop the others, and a failed referrer does not stop its image: it is in
///   [`PushReport::referrers`].
///
/// # Errors
/// [`PushError`]; after [`PushError::Targets`], all other targets are complete at the edge. [`PushError::Base`] and
/// [`PushError::Rebuild`] mean that nothing was written.
///
/// # Cancellation
/// The future may be dropped at any time. What the registry has stored by then stays, without a tag if its image is
/// incomplete, and the next run finds it. Then call [`Client::cancel_uploads`], which
/// cancels the uploads that were under way.
pub async fn deliver(
    client: &Client,
    (bundle, images, rebuilt): (&Arc<Bundle>, &BundledImages, &RebuiltLayers),
    (Delivery { destination, targets }, earlier): (&Delivery, &[Delivery]),
    PushOptions { jobs, referrers }: PushOptions,
    progress: &Arc<dyn Progress>,
) -> Result<PushReport, PushError> {
    let content = (bundle, images, rebuilt);
    let run = run_of(client, content, (destination, targets), PushOptions { jobs, referrers }, progress);
    let mut needs = run.needs(targets);
    let (present, mut failures) = run.query(&needs).await;
    // Before anything is written, so that a delta whose base is missing changes nothing.
    run.find_base(&mut needs, &present, targets).await?;
    run.find_earlier(&mut needs, earlier);
    run.make_layers(&mut needs, &present, targets).await?;
    run.send(&needs, present, &mut failures).await;
    let failures = &failures;
    // Sequential in each repository: two targets that put the same manifest, or the same list of referrers, at the same
    // time could read each other's half-written state.
    let mut repositories = BTreeMap::<RepositoryName, Vec<(usize, &Target)>>::new();
    for (index, target) in targets.iter().enumerate() {
        repositories.entry(target.repository.clone()).or_default().push((index, target));
    }
    let tasks = repositories.into_values().map(|targets| {
        let run = &run;
        async move {
            let mut results = Vec::with_capacity(targets.len());
            for (index, target) in targets {
                let result = run.put_target(target, failures).await;
                results.push((index, target, result));
            }
            results
        }
    });
    let results = stream::iter(tasks).buffer_unordered(MAX_QUERIES).collect::<Vec<_>>().await;
    let mut results = results.into_iter().flatten().collect::<Vec<_>>();
    results.sort_unstable_by_key(|(index, ..)| *index);
    let total = results.len();
    let (mut done, mut failed) = (Vec::new(), Vec::new());
    let (mut written, mut problems) = (BTreeMap::<_, Vec<_>>::new(), Vec::new());
    for (_, target, result) in results {
        match result {
            Ok(attach_result) => {
                written.entry(target.repository.clone()).or_default().extend(attach_result.written);
                problems.extend(attach_result.problems);
                done.push(target.clone());
            }
            Err(error) => failed.push((target.clone(), error)),
        }
    }
    problems.extend(run.mend_lists(written).await);
    // Two images of one repository may share a manifest, and so its referrers.
    let mut unique = BTreeSet::new();
    problems.retain(|of| unique.insert((of.repository.clone(), of.subject, of.digest, of.unlisted)));
    if failed.is_empty() {
        let tags = run.tags_before.states(targets);
        Ok(PushReport { referrers: problems, tags, ..run.counts.report(done) })
    } else {
        Err(PushError::Targets { total, failed, referrers: problems })
    }
}

/// Finds what [`deliver`] would make of patches for one delivery: whether the registry has the layers that patches read, and whether
/// the scratch space is large enough. Reads no layer, and writes nothing. `earlier` as there.
///
/// # Errors
/// [`PushError::Base`] and [`PushError::Rebuild`], with which the push would end before it writes anything; and what a registry
/// fails with.
pub async fn forecast(
    client: &Client,
    content: (&Arc<Bundle>, &BundledImages, &RebuiltLayers),
    (delivery, earlier): (&Delivery, &[Delivery]),
    options: PushOptions,
    progress: &Arc<dyn Progress>,
) -> Result<RebuildForecast, PushError> {
    let Delivery { destination, targets } = delivery;
    let run = run_of(client, content, (destination, targets), options, progress);
    let mut needs = run.needs(targets);
    let (present, _) = run.query(&needs).await;
    run.find_base(&mut needs, &present, targets).await?;
    run.find_earlier(&mut needs, earlier);
    run.forecast(&needs, &present, targets).await
}

fn run_of<'a>(
    client: &'a Client,
    (bundle, images, rebuilt): (&'a Arc<Bundle>, &'a BundledImages, &'a RebuiltLayers),
    (destination, targets): (&'a Destination, &[Target]),
    PushOptions { jobs, referrers }: PushOptions,
    progress: &'a Arc<dyn Progress>,
) -> Run<'a> {
    let tags = |target: &Target| {
        target.tags.iter().map(|tag| (target.repository.clone(), tag.clone())).collect::<Vec<_>>()
    };
    Run {
        client,
        destination,
        bundle,
        images,
        rebuilt,
        transfers: Arc::new(Semaphore::new(jobs.clamp(1, Semaphore::MAX_PERMITS))),
        referrers,
        optional: images
            .images
            .iter()
            .map(|image| images.manifests.optional(&image.root, &image.closure))
            .collect(),
        claimed: targets.iter().flat_map(tags).collect(),
        progress,
        counts: Counts::default(),
        tags_before: TagsBefore::default(),
    }
}

/// Counts the targets that are at their destination: with their tags, or under their digests if they have no tags. An image
/// gets its tags last, so that a tag stands for a complete image. A target that cannot be queried counts as absent.
pub async fn count_present(client: &Client, Delivery { destination, targets }: &Delivery) -> usize {
    let queries = targets.iter().map(|target| async move {
        let repository = client.repository(&destination.registry, &target.repository);
        let repository = repository.optional().optional_once();
        let tag = target.tags.first().cloned();
        let selector = tag.map_or(Selector::Digest(target.digest), Selector::Tag);
        let found = repository.head_manifest(&selector).await.ok().flatten();
        found.is_some_and(|found| found.digest == target.digest)
    });
    let found = stream::iter(queries).buffer_unordered(MAX_QUERIES).collect::<Vec<bool>>().await;
    found.into_iter().filter(|found| *found).count()
}
