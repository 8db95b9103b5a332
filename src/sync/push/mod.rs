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

use run::{Counts, QUESTIONS, Run};
use tags_before::TagsBefore;

pub use base::{expected as expected_in, find as find_layer};
pub use error::{Claim, MissingLayer, PushError, TargetError};
pub use put::{Put, put_as_manifest, put_manifest, put_tag, send_manifest};
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
