// SPDX-License-Identifier: Apache-2.0
//! Which targets are copied together. Pure.

use std::collections::{BTreeMap, BTreeSet};

use krs_core::oci::digest::Digest;
use krs_core::oci::reference::{RegistryHost, RepositoryName};

use super::observation::Observation;
use crate::model::bundle_inventory::StockImage;
use crate::model::job::{Batch, BatchSource};
use crate::model::target::Target;
use crate::model::task::{CopyTarget, MAX_MOUNT_FROM, MAX_TARGETS, MAX_TASK};

/// Bytes of a task that are not targets: the CA of the embedded registry, names, braces.
const TASK_OVERHEAD: usize = 20 << 10;

/// A target that can be copied now.
pub(super) struct CopyCandidate<'a> {
    /// Its position among the targets of the set.
    pub(super) position: usize,
    pub(super) target: &'a Target,
    pub(super) source: BatchSource,
    pub(super) image: Option<&'a StockImage>,
    /// Which attempt it would be.
    pub(super) attempt: u32,
}

/// The repositories that hold blobs, and whether each is at the same registry.
pub(super) type Holders<'a> = BTreeMap<Digest, BTreeSet<&'a RepositoryName>>;

/// Puts targets together: of one source, in spec order, spread evenly over the free slots, never two batches for one
/// repository, and none for a repository that is `claimed`. Answers the batches with the positions of their targets.
pub(super) fn batches(
    mut open: Vec<CopyCandidate<'_>>,
    mut slots: usize,
    claimed: &mut BTreeSet<(RegistryHost, RepositoryName)>,
    blob_locations: &Holders<'_>,
) -> Vec<(Batch, Vec<usize>)> {
    let mut batches = Vec::new();
    let claim = |target: &Target| (target.registry.clone(), target.repository.clone());
    open.retain(|open| !claimed.contains(&claim(open.target)));
    while slots > 0 {
        let Some(first) = open.first() else { break };
        let source = first.source.clone();
        // What is left is spread over what is free.
        let most = open.len().div_ceil(slots).clamp(1, MAX_TARGETS);
        let (targets, patches) = (Vec::new(), BTreeMap::new());
        let mut batch = Batch { source: source.clone(), targets, patches, attempt: 1, bytes: Some(0) };
        let (mut positions, mut repositories, mut size) = (Vec::new(), BTreeSet::new(), TASK_OVERHEAD);
        for open in open.iter().filter(|open| open.source == source) {
            let repository = claim(open.target);
            // Targets of one repository go together, even where the batch grows by it.
            let most = if repositories.contains(&repository) { MAX_TARGETS } else { most };
            if batch.targets.len() >= most {
                continue;
            }
            let mount_from = mount_from(open, blob_locations);
            let more = size_in_task(open.target, &mount_from);
            if !batch.targets.is_empty() && size + more > MAX_TASK {
                break;
            }
            size += more;
            repositories.insert(repository);
            batch.attempt = batch.attempt.max(open.attempt);
            batch.bytes = batch.bytes.zip(open.image).map(|(bytes, image)| bytes.saturating_add(image.size));
            let patches = open.image.and_then(|image| image.patches);
            batch.patches.extend(patches.map(|patches| (batch.targets.len(), patches)));
            batch.targets.push((open.target.clone(), mount_from));
            positions.push(open.position);
        }
        claimed.extend(repositories);
        // The rest of a repository waits for the end of this Job.
        open.retain(|open| !claimed.contains(&claim(open.target)));
        batches.push((batch, positions));
        slots -= 1;
    }
    batches
}

/// Whether a target fits a task at all.
pub(super) fn fits(target: &Target) -> bool {
    TASK_OVERHEAD + size_in_task(target, &[]) + MAX_MOUNT_FROM * 260 <= MAX_TASK
}

/// Bytes of a target in the JSON of a task. What stands for the source is as long as it may be.
fn size_in_task(target: &Target, mount_from: &[RepositoryName]) -> usize {
    const LONGEST_SOURCE: usize = 512;
    let target = CopyTarget::of(target, mount_from);
    serde_json::to_vec(&target).map_or(usize::MAX / 2, |json| json.len() + LONGEST_SOURCE)
}

/// Other repositories that hold blobs of the image, the one with most of them first.
fn mount_from(open: &CopyCandidate<'_>, blob_locations: &Holders<'_>) -> Vec<RepositoryName> {
    let contents = open.image.map(|image| image.contents.as_slice()).unwrap_or_default();
    let mut held = BTreeMap::<&RepositoryName, usize>::new();
    for blob in contents.iter().collect::<BTreeSet<_>>() {
        for repository in blob_locations.get(blob).into_iter().flatten() {
            *held.entry(repository).or_default() += 1;
        }
    }
    held.remove(&open.target.repository);
    let mut held = held.into_iter().collect::<Vec<_>>();
    held.sort_by(|(a, held_by_a), (b, held_by_b)| held_by_b.cmp(held_by_a).then(a.cmp(b)));
    // What a delta cannot do without comes first.
    let expected = open.image.map(|image| image.expected_in.as_slice()).unwrap_or_default();
    let mut names = expected.iter().filter(|name| **name != open.target.repository).collect::<Vec<_>>();
    names.extend(held.into_iter().map(|(repository, _)| repository).filter(|name| !expected.contains(name)));
    names.into_iter().take(MAX_MOUNT_FROM).cloned().collect()
}

/// Which repositories hold what: as verifications of other sets tell, and the verified targets of this one.
pub(super) fn blob_locations<'a>(
    observation: &Observation<'a>,
    verified: impl Iterator<Item = &'a Target>,
) -> Holders<'a> {
    let mut blob_locations = Holders::new();
    for (blob, repositories) in observation.blob_locations {
        blob_locations.entry(*blob).or_default().extend(repositories);
    }
    for target in verified {
        let image = observation
            .stock
            .find(observation.namespace, &target.digest, &target.platforms)
            .map(|(_, image)| image);
        for blob in image.into_iter().flat_map(|image| &image.contents) {
            blob_locations.entry(*blob).or_default().insert(&target.repository);
        }
    }
    blob_locations
}
